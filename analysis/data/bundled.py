"""Datasets that need no download: scikit-learn's digits, drawn digits, bundled photographs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from analysis.data.images import ImageArrays, ImageDataset, ImageFiles
from analysis.data.rendering import DIGITS, render_digits

__all__ = ["BUNDLED", "digits", "digits_rendered", "photographs"]

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
    )


def digits_rendered(n_per_class: int = 100, *, seed: int = 0) -> ImageDataset:
    """Draw typeset digits, 96 x 96, from fonts that Matplotlib carries.

    Parameters
    ----------
    n_per_class : int
        Images of each of the ten classes.
    seed : int
        Seed of the draws. Image ``k`` of a class is the same whatever ``n_per_class`` is.

    Returns
    -------
    ImageDataset
        Images in order of class.
    """
    labels = np.repeat(np.arange(10), n_per_class)
    return ImageDataset(
        name="digits_rendered",
        classes=DIGITS,
        labels=labels,
        paths=tuple(f"{digit}/{k:04d}" for digit in DIGITS for k in range(n_per_class)),
        source=ImageArrays(_rendered(n_per_class, seed)),
    )


@cache
def _rendered(n_per_class: int, seed: int) -> np.ndarray:
    return render_digits(n_per_class, seed=seed)


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
    "digits_rendered": digits_rendered,
    "photographs": photographs,
}
