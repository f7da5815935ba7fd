"""Crops: an image becomes the pixels that a network is shown.

All crops are cut as torchvision's transforms cut them, bit for bit (Pillow resizes, with its
antialiasing), without importing torchvision. Images so thin that they would grow to hundreds of
megabytes are resized crop by crop, which is the same up to rounding.

Conventions
-----------
center
    Shorter side resized to ``resize``, aspect ratio kept; the central ``crop`` x ``crop`` pixels.
ten
    The same resizing; upper left, upper right, lower left, lower right and centre, then the same
    five of the mirrored image (the order of torchvision's ``TenCrop``).
warp
    Resized to ``resize`` x ``resize``, aspect ratio ignored; the central crop. DeCAF's.
whole
    Resized to ``crop`` x ``crop``, aspect ratio ignored: the image with its borders. That of dos
    Santos and Ponti (2019).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from analysis.data.windows import grows_too_large, resized_window

if TYPE_CHECKING:
    import numpy.typing as npt

    from analysis.networks.preprocessing import Preprocessing

__all__ = ["CROPS", "cut_crops", "n_crops"]

#: Crops per image, by the name of the way to cut them.
CROPS = {"center": 1, "ten": 10, "warp": 1, "whole": 1}

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def n_crops(crops: str) -> int:
    """Crops per image.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if crops not in CROPS:
        raise ValueError(f"unknown crops {crops!r}; known: {', '.join(CROPS)}")
    return CROPS[crops]


def cut_crops(
    image: Image.Image, crops: str, preprocessing: Preprocessing
) -> npt.NDArray[np.uint8]:
    """Cut the crops of one image.

    Parameters
    ----------
    image
        RGB, of any size.
    crops
        A name of :data:`CROPS`.
    preprocessing
        Sizes and interpolation.

    Returns
    -------
    ndarray of uint8, shape (n_crops, crop, crop, 3)
        Not normalised.

    Raises
    ------
    ValueError
        If the image is not RGB, or the name of the crops is unknown.
    """
    number = n_crops(crops)
    if image.mode != "RGB":
        raise ValueError(f"expected an RGB image, got mode {image.mode!r}")
    side = preprocessing.crop
    shorter = side if crops == "whole" else preprocessing.resize
    size = _resized(image.size, shorter, keep_aspect=crops in ("center", "ten"))
    resample = _RESAMPLING[preprocessing.interpolation]
    too_large = grows_too_large(image.size, size)
    if size != image.size and not too_large:
        image = image.resize(size, resample)

    def cut(left: int, top: int) -> npt.NDArray[np.uint8]:
        if too_large:
            return np.asarray(resized_window(image, size, (left, top), (side, side), resample))
        return np.asarray(image.crop((left, top, left + side, top + side)))

    boxes = _boxes(size, side)
    if number == 1:
        return cut(*boxes[-1])[None]
    mirrored = [cut(size[0] - side - left, top)[:, ::-1] for left, top in boxes]
    return np.stack([cut(*box) for box in boxes] + mirrored)


def _resized(size: tuple[int, int], shorter: int, *, keep_aspect: bool) -> tuple[int, int]:
    """(width, height) after resizing; torchvision truncates the longer side."""
    width, height = size
    if not keep_aspect:
        return shorter, shorter
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter


def _boxes(size: tuple[int, int], side: int) -> list[tuple[int, int]]:
    """(left, top) of the four corners and the centre; torchvision rounds half to even."""
    right, bottom = size[0] - side, size[1] - side
    return [(0, 0), (right, 0), (0, bottom), (right, bottom), (round(right / 2), round(bottom / 2))]
