"""Preprocessing, which belongs to the weights: a network sees images as it saw them in training."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, nan
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
        (crop, *others), (resize, *more) = _numbers(self.crop), _numbers(self.resize)
        whole = crop.is_integer() and resize.is_integer() and {crop, *others} == {crop}
        if more or not whole or not 0 < crop <= resize:
            raise ValueError(
                "expected whole numbers of pixels, 0 < crop <= resize, crop the side of a square "
                "and resize the shorter side of the resized image; got "
                f"crop={self.crop!r} and resize={self.resize!r}"
            )
        mean, std = _numbers(self.mean), _numbers(self.std)
        for name, values in (("mean", mean), ("std", std)):
            if len(values) != 3 or not all(map(isfinite, values)):
                raise ValueError(
                    f"expected 3 values of {name} (red, green, blue), got {getattr(self, name)!r}"
                )
        if min(mean) < 0 or max(mean) > 1:
            raise ValueError(
                f"expected a mean of values in [0, 1], got {self.mean}; divide what was measured "
                "on values from 0 to 255 by 255, the std too"
            )
        if min(std) <= 0:
            raise ValueError(f"expected positive values of std, got {self.std}")
        made = {"crop": int(crop), "resize": int(resize), "mean": tuple(mean), "std": tuple(std)}
        for name, value in made.items():
            object.__setattr__(self, name, value)
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


def _numbers(given: Any) -> list[float]:
    """Numbers of a sequence, or of one; NaN for what is none."""
    plain = given.tolist() if hasattr(given, "tolist") else given  # NumPy's and PyTorch's
    values = plain if isinstance(plain, list | tuple) and plain else [plain]
    return [float(v) if not isinstance(v, bool) and isinstance(v, Real) else nan for v in values]
