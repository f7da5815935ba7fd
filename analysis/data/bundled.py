"""Datasets that need no download: scikit-learn's digits, photographs, and the drawn ones."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np

from analysis.data.cards import CARDS
from analysis.data.drawn import DRAWN
from analysis.data.images import ImageArrays, ImageDataset, ImageFiles
from analysis.data.rendering import DIGITS

__all__ = ["BUNDLED", "digits", "photographs"]

_LOG = logging.getLogger(__name__)

_PHOTOGRAPHS = {
    "skimage/data": (
        "astronaut.png",
        "brick.png",
        "camera.png",
        "chelsea.png",
        "coffee.png",
        "coins.png",
        "grass.png",
        "gravel.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "moon.png",
        "motorcycle_left.png",
        "retina.jpg",
        "rocket.jpg",
    ),
    "sklearn/datasets/images": ("china.jpg", "flower.jpg"),
}


def digits() -> ImageDataset:
    """Give the 1,797 handwritten digits of scikit-learn: 8 x 8, grey 0..16 scaled to 0..255."""
    from sklearn.datasets import load_digits  # slow to import, and seldom needed

    table = load_digits()
    grey = (table.images * 255 / 16).round().astype(np.uint8)
    return ImageDataset(
        name="digits",
        classes=DIGITS,
        labels=table.target,
        paths=tuple(f"digits/{index:04d}" for index in range(len(grey))),
        source=ImageArrays(np.repeat(grey[..., None], 3, axis=-1)),
        overlap_group=CARDS["digits"].overlap_group,
    )


def photographs() -> ImageDataset:
    """Give the photographs inside the scikit-image and scikit-learn wheels, one class each.

    Left out are drawings, documents, test patterns, blurred or tiny frames, and the second view of
    the stereo pair. The files are read where they are installed; nothing is downloaded.
    """
    here = {
        f"{package.partition('/')[0]}/{name}": path
        for package, names in _PHOTOGRAPHS.items()
        for name in names
        if (path := _installed(package) / name).is_file()
    }
    expected = sum(map(len, _PHOTOGRAPHS.values()))
    if len(here) < expected:
        _LOG.warning("%d of %d photographs are not installed", expected - len(here), expected)
    return ImageDataset(
        name="photographs",
        classes=tuple(Path(name).stem for name in here),
        labels=np.arange(len(here)),
        paths=tuple(here),
        source=ImageFiles(tuple(map(str, here.values()))),
    )


def _installed(folder: str) -> Path:
    package, _, inside = folder.partition("/")
    return Path(str(files(package))) / inside


BUNDLED: dict[str, Callable[[], ImageDataset]] = {
    "digits": digits,
    **DRAWN,
    "photographs": photographs,
}
