"""Arrays in, findings about features out: distances between classes, and how they distribute."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
