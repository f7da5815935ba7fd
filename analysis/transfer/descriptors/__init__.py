"""Descriptors that no network makes: controls beside the features of networks.

Each takes a dataset and gives one row per image, as an array of float32 to classify by. None but
the codebook of words is learnt from images, and none knows labels.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
