"""Preprocessing, which belongs to the weights: a network sees images as it saw them in training.

Crops turn an image into the pixels that a network is shown. They are cut as torchvision's
transforms cut them, bit for bit (Pillow resizes, with its antialiasing), without importing
torchvision. Images so thin that they would grow to hundreds of megabytes are resized crop by crop,
which is the same up to rounding.

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

from dataclasses import dataclass
from math import isfinite, nan
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from analysis.data.decoding import grows_too_large, resized_window

if TYPE_CHECKING:
    import numpy.typing as npt

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a network's input: resize, crop, scale to [0, 1], normalise.

    Parameters
    ----------
    resize
        Length of the shorter side after resizing, in pixels; the aspect ratio is kept.
    crop
        Side of the square crop, in pixels; at most ``resize``. ``(224, 224)`` is taken for 224.
    mean, std
        Per channel (red, green, blue), for values in [0, 1].
    interpolation
        ``"bilinear"`` or ``"bicubic"``.

    Raises
    ------
    ValueError
        For sizes that are no whole numbers of pixels, crops that are no squares or larger than
        ``resize``, means outside of [0, 1], standard deviations that are not positive, and
        interpolations that are not known.
    """

    resize: int = 256
    crop: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"

    def __post_init__(self) -> None:
        (crop, *others), (resize, *more) = _numbers(self.crop), _numbers(self.resize)
        whole = crop.is_integer() and resize.is_integer() and {crop, *others} == {crop}
        if more or not whole or not 0 < crop <= resize:
            raise ValueError(
                "expected whole numbers of pixels, 0 < crop <= resize, crop the side of a square "
                "and resize the shorter side of the resized image; got "
                f"crop={self.crop!r} and resize={self.resize!r}"
            )
        mean, std = _numbers(self.mean), _numbers(self.std)
        channels = len(mean) == len(std) == 3 and all(map(isfinite, (*mean, *std)))
        if not channels or min(mean) < 0 or max(mean) > 1 or min(std) <= 0:
            raise ValueError(
                "expected 3 values (red, green, blue) of mean, in [0, 1], and of std, above 0; got "
                f"mean={self.mean!r} and std={self.std!r}. Divide what was measured on values from "
                "0 to 255 by 255"
            )
        made = {"crop": int(crop), "resize": int(resize), "mean": tuple(mean), "std": tuple(std)}
        for name, value in made.items():
            object.__setattr__(self, name, value)
        if self.interpolation not in ("bilinear", "bicubic"):
            raise ValueError(
                f"unknown interpolation {self.interpolation!r}; known: bilinear, bicubic"
            )

    @classmethod
    def from_torchvision(cls, preset: Any) -> Preprocessing:
        """Preprocessing of a torchvision ``ImageClassification`` preset, or given as it is."""
        if isinstance(preset, Preprocessing):
            return preset
        try:
            (resize,), (crop,) = preset.resize_size, preset.crop_size
            mean, std, mode = preset.mean, preset.std, preset.interpolation
        except (AttributeError, TypeError, ValueError):
            raise ValueError(
                "expected a Preprocessing, or a torchvision ImageClassification preset with one "
                f"resize and one crop size, got {preset!r}"
            ) from None
        return cls(resize, crop, mean, std, str(getattr(mode, "value", mode)))  # type: ignore[arg-type]


def _numbers(given: Any) -> list[float]:
    """Numbers of a sequence, or of one; NaN for what is none."""
    plain = given.tolist() if hasattr(given, "tolist") else given  # NumPy's and PyTorch's
    values = plain if isinstance(plain, list | tuple) and plain else [plain]
    return [float(v) if not isinstance(v, bool) and isinstance(v, Real) else nan for v in values]


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
