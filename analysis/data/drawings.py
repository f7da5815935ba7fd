"""Drawn images: described by the calls that draw them, drawn once, and kept on disk.

What is kept goes by a hash of the calls, of the source of every module that they run through and of
the versions of the libraries that these use, so a change of any of them draws anew.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt
from PIL import Image, features

from analysis.data.canvas import SIDE
from analysis.data.images import ImageArrays
from analysis.paths import drawn_root

__all__ = ["Drawing", "DrawnImages", "drawing"]

_LOG = logging.getLogger(__name__)
_ONE_DRAWS = Lock()  # threads that ask at once wait for the first

_LIBRARIES = ("numpy", "scipy", "pillow", "matplotlib")

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Drawing:
    """Images of one class that one function draws.

    Attributes
    ----------
    render : callable
        Function of a module; ``render(label, index, **options)`` gives uint8, (96, 96, 3).
    label : int
        What to draw, as ``render`` counts its classes.
    n_images : int
        The images are those of ``index`` 0, 1, ... ``n_images - 1``.
    options : tuple of (str, value)
        Keyword arguments, in order of name.
    """

    render: Callable[..., Images]
    label: int
    n_images: int
    options: tuple[tuple[str, Any], ...]

    def __iter__(self) -> Iterator[Images]:
        for index in range(self.n_images):
            yield self.render(self.label, index, **dict(self.options))


def drawing(
    render: Callable[..., Images], label: int, n_images: int, /, **options: object
) -> Drawing:
    """Describe images; for the parameters see ``Drawing``.

    Raises
    ------
    ValueError
        If fewer than no images are asked for.
    """
    if n_images < 0:
        raise ValueError(f"expected a number of images to draw, got {n_images}")
    return Drawing(render, label, n_images, tuple(sorted(options.items())))


@dataclass(frozen=True, eq=False)
class DrawnImages:
    """Drawn images, an ``ImageSource``: nothing is drawn before the first image is asked for.

    A pickled copy holds the description only, and finds or draws the images where it wakes up.

    Attributes
    ----------
    name : str
        Beginning of the file's name.
    drawings : tuple of Drawing
        What is drawn, in order.
    positions : ndarray of int64, shape (n,)
        Which of the drawn images this source holds.
    """

    name: str
    drawings: tuple[Drawing, ...]
    positions: npt.NDArray[np.int64]

    @classmethod
    def of(cls, name: str, drawings: Sequence[Drawing]) -> DrawnImages:
        """Source of all images of some drawings."""
        n_images = sum(each.n_images for each in drawings)
        return cls(name, tuple(drawings), np.arange(n_images, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.positions)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return DrawnImages, (self.name, self.drawings, self.positions)

    def image(self, index: int) -> Image.Image:
        """Image number ``index``."""
        return self._held.image(int(self.positions[index]))

    def digest(self, index: int) -> bytes:
        """Hash of the shape and values."""
        return self._held.digest(int(self.positions[index]))

    def take(self, indices: npt.NDArray[np.int64]) -> DrawnImages:
        """Restrict to some of the images."""
        return DrawnImages(self.name, self.drawings, self.positions[indices])

    @cached_property
    def _held(self) -> ImageArrays:
        with _ONE_DRAWS:
            return ImageArrays(_kept(self.name, self.drawings, drawn_root()))


@lru_cache(maxsize=16)
def _kept(name: str, drawings: tuple[Drawing, ...], folder: Path) -> Images:
    """Images from the folder, mapped into memory; drawn and put there where it has none."""
    file = folder / f"{name}-{_key(drawings)}.npy"
    shape = (sum(each.n_images for each in drawings), SIDE, SIDE, 3)
    kept = _mapped(file, shape)
    if kept is not None:
        return kept
    images = _draw(name, drawings, shape)
    try:
        _save(file, images)
    except OSError as error:
        _LOG.warning("%s is drawn anew by every process: it cannot be kept, %s", name, error)
    else:
        kept = _mapped(file, shape)
    if kept is None:
        images.flags.writeable = False
        return images
    return kept


def _mapped(file: Path, shape: tuple[int, ...]) -> Images | None:
    """Whole file as a read-only array, or None where there is none that fits."""
    try:
        images: Images = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        _LOG.warning("drawing again what cannot be read from %s: %s", file, error)
        return None
    if images.shape != shape or images.dtype != np.uint8:
        _LOG.warning(
            "drawing again: expected uint8 of shape %s in %s, got %s of shape %s",
            *(shape, file, images.dtype, images.shape),
        )
        return None
    return images


def _draw(name: str, drawings: Sequence[Drawing], shape: tuple[int, ...]) -> Images:
    _LOG.info("drawing the %d images of %s", shape[0], name)
    images = np.empty(shape, np.uint8)
    position = 0
    for each in drawings:
        for image in each:
            images[position] = image
            position += 1
    return images


def _save(file: Path, images: Images) -> None:
    """Write a file whole or not at all, whoever else writes it at the same time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.{uuid4().hex}.part")
    try:
        with part.open("wb") as opened:
            np.save(opened, images)
        os.replace(part, file)  # noqa: PTH105 - the idiom for atomic replacement
    finally:
        part.unlink(missing_ok=True)


def _key(drawings: Sequence[Drawing]) -> str:
    calls = [(_spelled(each.render), each.label, each.n_images, each.options) for each in drawings]
    modules: dict[str, str] = {}
    for name in sorted({each.render.__module__ for each in drawings}):
        _add_sources(name, modules)
    versions = [version(library) for library in _LIBRARIES]
    content = repr((calls, sorted(modules.items()), versions, features.version("freetype2")))
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _spelled(function: Callable[..., Images]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _add_sources(module: str, found: dict[str, str]) -> None:
    """Add the source of a module, and of the modules of this room that it imports."""
    if module in found:
        return
    found[module] = inspect.getsource(import_module(module))
    for node in ast.walk(ast.parse(found[module])):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("analysis.data."):
            _add_sources(str(node.module), found)
