"""Images: dataset cards, verified downloads, lazy readers, offline datasets and seeded splits."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
