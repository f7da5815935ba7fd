"""Layerbook measures what every layer of a CNN knows about your images.

The names that it exports are the everyday entry points; each room of the package
(``analysis.data``, ``analysis.networks``, ``analysis.features``, ``analysis.statistics``,
``analysis.transfer``, ``analysis.figures``) offers the rest. Rooms, and the modules in them, are
imported on first use, so ``import analysis`` does not load PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
