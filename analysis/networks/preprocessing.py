"""Preprocessing, which belongs to the weights: a network sees images as it saw them in training."""

from __future__ import annotations

from dataclasses import dataclass
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
        Side of the square crop, in pixels; at most ``resize``.
    mean, std
        Per channel (red, green, blue), for values in [0, 1].
    interpolation
        ``"bilinear"`` or ``"bicubic"``.
    """

    resize: int = 256
    crop: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"

    def __post_init__(self) -> None:
        if not 0 < self.crop <= self.resize:
            raise ValueError(
                f"expected 0 < crop <= resize, got crop={self.crop} and resize={self.resize}"
            )
        for name in ("mean", "std"):
            values = tuple(float(value) for value in getattr(self, name))
            if len(values) != 3:
                raise ValueError(f"expected 3 values of {name} (red, green, blue), got {values}")
            object.__setattr__(self, name, values)
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
        name = str(getattr(mode, "value", mode))
        return cls(int(resize), int(crop), tuple(mean), tuple(std), name)  # type: ignore[arg-type]
