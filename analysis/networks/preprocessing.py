"""Preprocessing, which belongs to the weights: a network sees images as it saw them in training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from numbers import Real
from typing import Any, Literal

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Preprocessing"]

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
        crop: Any = self.crop
        sides = crop if isinstance(crop, list | tuple) else [crop]
        object.__setattr__(self, "crop", _pixels("crop", sides, crop))
        object.__setattr__(self, "resize", _pixels("resize", [self.resize], self.resize))
        if self.crop > self.resize:
            raise ValueError(
                f"expected 0 < crop <= resize, got crop={self.crop} and resize={self.resize}"
            )
        for name in ("mean", "std"):
            object.__setattr__(self, name, _per_channel(name, getattr(self, name)))
        if min(self.mean) < 0 or max(self.mean) > 1:
            raise ValueError(
                f"expected a mean of values in [0, 1], got {self.mean}; divide what was measured "
                "on values from 0 to 255 by 255, the std too"
            )
        if min(self.std) <= 0:
            raise ValueError(f"expected positive values of std, got {self.std}")
        if self.interpolation not in ("bilinear", "bicubic"):
            raise ValueError(
                f"unknown interpolation {self.interpolation!r}; known: bilinear, bicubic"
            )

    @classmethod
    def from_torchvision(cls, preset: Any) -> Preprocessing:
        """Preprocessing of a torchvision ``ImageClassification`` preset."""
        try:
            (resize,), (crop,) = preset.resize_size, preset.crop_size
            mean, std, mode = preset.mean, preset.std, preset.interpolation
        except (AttributeError, TypeError, ValueError):
            raise ValueError(
                "expected a Preprocessing, or a torchvision ImageClassification preset with one "
                f"resize and one crop size, got {preset!r}"
            ) from None
        return cls(resize, crop, mean, std, str(getattr(mode, "value", mode)))  # type: ignore[arg-type]


def _pixels(name: str, sides: Iterable[Any], given: Any) -> int:
    """One length in pixels; several that agree are the sides of a square."""
    lengths = {float(side) if _is_number(side) else None for side in sides}
    length = lengths.pop() if len(lengths) == 1 else None
    if length is None or not length.is_integer() or length < 1:
        what = "shorter side of the resized image" if name == "resize" else "side of a square"
        raise ValueError(
            f"expected {name} as one whole number of pixels, the {what}; got {given!r}"
        )
    return int(length)


def _per_channel(name: str, given: Any) -> tuple[float, ...]:
    plain = given.tolist() if hasattr(given, "tolist") else given  # NumPy's and PyTorch's
    values = list(plain) if isinstance(plain, Iterable) else [plain]
    if len(values) != 3 or not all(_is_number(value) for value in values):
        raise ValueError(f"expected 3 values of {name} (red, green, blue), got {given!r}")
    return tuple(float(value) for value in values)


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and isfinite(value)
