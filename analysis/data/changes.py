"""Small changes of photographs that leave what they show as it is.

A person sees the same thing in a photograph and in its changed copy; how much the features of a
network move says what a layer ignores. Every change happens at the size at which the network sees
the image, so that its strength means the same for photographs of any size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageOps

from analysis.data.images import ImageDataset, ImageSource

__all__ = ["CHANGES", "UNCHANGED", "ChangedImages", "change_images"]

UNCHANGED = "unchanged"
SHIFT, ANGLE, BRIGHTER, NOISE = 1 / 16, 8.0, 1.3, 12.0
_LONGEST = 64  # sides: of an image thinner than this, the middle is taken

Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def _shift(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    step = round(SHIFT * min(image.size))
    return image.transform(image.size, Image.Transform.AFFINE, (1, 0, -step, 0, 1, 0))


def _turn(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return image.rotate(ANGLE, resample=Image.Resampling.BILINEAR)


def _add_noise(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    pixels = np.asarray(image)
    noisy = pixels + rng.normal(0.0, NOISE, pixels.shape)
    return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


CHANGES: dict[str, Change] = {
    "mirrored": lambda image, rng: ImageOps.mirror(image),
    "shifted by 1/16": _shift,
    "turned by 8°": _turn,
    "30 % brighter": lambda image, rng: ImageEnhance.Brightness(image).enhance(BRIGHTER),
    "noise (s.d. 12 of 255)": _add_noise,
    "without colour": lambda image, rng: image.convert("L").convert("RGB"),
}
"""Name → change. The shift is a share of the shorter side, to the right."""


@dataclass(frozen=True)
class ChangedImages:
    """Images of another source, resized and then changed.

    Attributes
    ----------
    source : ImageSource
        Where the images come from.
    change : str
        Key of ``CHANGES``, or ``"unchanged"``.
    side : int
        Shorter side after resizing, in pixels.
    seed : int
        Seed of the noise. The same image gets the same noise wherever it stands in a dataset.
    """

    source: ImageSource
    change: str
    side: int
    seed: int = 0

    def __len__(self) -> int:
        return len(self.source)

    def image(self, index: int) -> Image.Image:
        """Image number ``index``, resized and changed."""
        image = self.source.image(index)
        width, height = (min(edge, _LONGEST * min(image.size)) for edge in image.size)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        scale = self.side / min(width, height)
        size = (max(self.side, round(scale * width)), max(self.side, round(scale * height)))
        box = (left, top, left + width, top + height)
        resized = image.crop(box).resize(size, Image.Resampling.BILINEAR)
        if self.change == UNCHANGED:
            return resized
        rng = np.random.default_rng([self.seed, *self.source.digest(index)[:16]])
        return CHANGES[self.change](resized, rng)

    def digest(self, index: int) -> bytes:
        """Hash of the original image and of what is done to it."""
        done = f"{self.change}|{self.side}|{self.seed}".encode()
        return hashlib.sha256(self.source.digest(index) + done).digest()

    def take(self, indices: npt.NDArray[np.int64]) -> ChangedImages:
        """Restrict to some of the images."""
        return replace(self, source=self.source.take(indices))


def change_images(data: ImageDataset, change: str, *, side: int, seed: int = 0) -> ImageDataset:
    """Dataset of changed copies, in the same order and with the same labels and paths.

    Parameters
    ----------
    data
        Images to change. They are changed when they are opened.
    change
        Key of ``CHANGES``, or ``"unchanged"`` for copies that are resized only.
    side
        Shorter side in pixels at which the change happens: the ``resize`` of a network's
        preprocessing. A shift leaves a black edge of 1/16 of ``side`` and a turn black corners;
        a central crop of 7/8 of ``side`` does not see them.
    seed
        Seed of the noise.

    Returns
    -------
    ImageDataset

    Raises
    ------
    ValueError
        If the change is unknown or ``side`` is not positive.
    """
    if change != UNCHANGED and change not in CHANGES:
        known = ", ".join([UNCHANGED, *CHANGES])
        raise ValueError(f"unknown change {change!r}; known: {known}")
    if side <= 0:
        raise ValueError(f"expected a positive side in pixels, got {side}")
    source = ChangedImages(data.source, change, side, seed)
    return replace(data, name=f"{data.name}, {change}", source=source)
