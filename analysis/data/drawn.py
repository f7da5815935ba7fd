"""The datasets that Layerbook draws from a seed, for tasks in all three overlap groups.

Their overlap groups are with respect to the source task of the bundled network, which consists of
photographs and of the classes of ``source_drawn``. Each dataset draws from a stream of its own, so
a target task and the source task never share a draw, even where they share classes and seed.

Images are described by the calls that draw them, drawn once, and kept on disk. What is kept goes by
a hash of the calls, of the source of the modules that draw and of the versions of the libraries
that these use, so a change of any of them draws anew.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, features

from analysis.data import glyphs
from analysis.data import materials as materials_drawn
from analysis.data.cards import CARDS
from analysis.data.glyphs import DIGITS, GLYPHS, SIDE, SOURCE_GLYPHS, render_digit, render_glyph
from analysis.data.images import ImageArrays, ImageDataset
from analysis.data.materials import MATERIALS, WOOD_GRAINS, render_material, render_wood_grain
from analysis.paths import drawn_root, written_whole

# Never renumber: the images would change.
_STREAMS = {
    "source_drawn/train": 0,
    "source_drawn/val": 1,
    "glyphs_clean": 2,
    "glyphs_cluttered": 3,
    "materials": 4,
    "materials_unbalanced": 5,
    "wood_grain": 6,
}
_SOURCE_SIZES = {"train": 250, "val": 25}
_SIZES = 0x73697A65  # sets the draws of class sizes apart from those of images


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
    return _sized("digits_rendered", DIGITS, render_digit, n_per_class, seed=seed)


def glyphs_clean(n_per_class: int = 50, *, seed: int = 0) -> ImageDataset:
    """Draw twenty symbols as in a catalogue, half of them classes of ``source_drawn``.

    For the parameters see ``digits_rendered``.
    """
    return _sized("glyphs_clean", GLYPHS, render_glyph, n_per_class, style="clean", seed=seed)


def glyphs_cluttered(n_per_class: int = 80, *, seed: int = 0) -> ImageDataset:
    """Draw the symbols of ``glyphs_clean`` small, turned and partly hidden over textures.

    For the parameters see ``digits_rendered``.
    """
    style = "cluttered"
    return _sized("glyphs_cluttered", GLYPHS, render_glyph, n_per_class, style=style, seed=seed)


def materials(n_per_class: int = 80, *, seed: int = 0) -> ImageDataset:
    """Draw sixteen materials, all of them classes of ``source_drawn``.

    For the parameters see ``digits_rendered``.
    """
    return _sized("materials", MATERIALS, render_material, n_per_class, seed=seed)


def materials_unbalanced(smallest: int = 10, largest: int = 320, *, seed: int = 0) -> ImageDataset:
    """Draw the materials again, in classes of strongly unequal sizes.

    Parameters
    ----------
    smallest, largest : int
        Images of the smallest and of the largest class; the sizes between are spread
        geometrically, and which class has which is drawn from the seed.
    seed : int
        Seed of the draws.

    Returns
    -------
    ImageDataset
        Images in order of class; none of them is in ``materials``.
    """
    sizes = _spread(smallest, largest, len(MATERIALS), seed)
    return _sized("materials_unbalanced", MATERIALS, render_material, sizes, seed=seed)


def wood_grain(smallest: int = 14, largest: int = 160, *, seed: int = 0) -> ImageDataset:
    """Draw wood by its grain: classes that differ finely, and unequal in size.

    The smallest class has as few images as that of the papers' ``wood``. For the parameters see
    ``materials_unbalanced``.
    """
    sizes = _spread(smallest, largest, len(WOOD_GRAINS), seed)
    return _sized("wood_grain", WOOD_GRAINS, render_wood_grain, sizes, seed=seed)


def source_drawn(
    split: Literal["train", "val"] = "train", *, n_per_class: int | None = None, seed: int = 0
) -> ImageDataset:
    """Draw the generated part of the bundled network's source task: 10 glyphs, all materials.

    Parameters
    ----------
    split : {"train", "val"}
        Images to learn from, or images to measure the accuracy on.
    n_per_class : int, optional
        Images of each of the 26 classes; by default 250 for training, 25 for validation. Half of
        the images of a glyph are clean, half cluttered.
    seed : int
        Seed of the draws.

    Returns
    -------
    ImageDataset
        Images in order of class. Class names have "glyph" or "material" in front.

    Raises
    ------
    ValueError
        If there is no such split.
    """
    if split not in _SOURCE_SIZES:
        raise ValueError(f"expected split 'train' or 'val', got {split!r}")
    n_images = _SOURCE_SIZES[split] if n_per_class is None else n_per_class
    shared = {"stream": _STREAMS[f"source_drawn/{split}"], "seed": seed}
    halves = {"clean": n_images // 2, "cluttered": n_images - n_images // 2}.items()
    contents = {}
    for label, name in enumerate(SOURCE_GLYPHS):
        contents[f"glyph {name}"] = [
            drawing(render_glyph, label, half, style=style, **shared) for style, half in halves
        ]
    for label, name in enumerate(MATERIALS):
        contents[f"material {name}"] = [drawing(render_material, label, n_images, **shared)]
    return _dataset("source_drawn", contents)


def _spread(smallest: int, largest: int, n_classes: int, seed: int) -> list[int]:
    """Class sizes from the smallest to the largest in equal ratios, in an order of the seed's."""
    if not 0 < smallest <= largest:
        raise ValueError(f"expected 0 < smallest <= largest, got {smallest} and {largest}")
    sizes = np.geomspace(smallest, largest, n_classes).round().astype(int)
    order: list[int] = np.random.default_rng((_SIZES, seed)).permutation(sizes).tolist()
    return order


def _sized(
    name: str,
    classes: Sequence[str],
    render: Callable[..., np.ndarray],
    sizes: int | Sequence[int],
    **options: object,
) -> ImageDataset:
    sizes = [sizes] * len(classes) if isinstance(sizes, int) else sizes
    options |= {"stream": _STREAMS[name]} if name in _STREAMS else {}
    drawings = [[drawing(render, label, size, **options)] for label, size in enumerate(sizes)]
    return _dataset(name, dict(zip(classes, drawings, strict=True)))


def _dataset(name: str, contents: Mapping[str, Sequence[Drawing]]) -> ImageDataset:
    """Dataset of the drawings of each class."""
    sizes = [sum(part.n_images for part in parts) for parts in contents.values()]
    drawings = tuple(chain.from_iterable(contents.values()))
    return ImageDataset(
        name=name,
        classes=tuple(contents),
        labels=np.repeat(np.arange(len(contents)), sizes),
        paths=tuple(
            f"{c}/{k:04d}" for c, size in zip(contents, sizes, strict=True) for k in range(size)
        ),
        source=DrawnImages(name, drawings, np.arange(sum(sizes))),
        overlap_group=CARDS[name].overlap_group,
    )


DRAWN: dict[str, Callable[[], ImageDataset]] = {
    draw.__name__: draw
    for draw in (
        *(digits_rendered, glyphs_clean, glyphs_cluttered, materials, materials_unbalanced),
        *(wood_grain, source_drawn),
    )
}


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
    """Describe images; for the parameters see ``Drawing``."""
    return Drawing(render, label, n_images, tuple(sorted(options.items())))


@dataclass(frozen=True, eq=False)
class DrawnImages:
    """Drawn images, an ``ImageSource``: nothing is drawn before the first image is asked for.

    It holds the description only: a pickled copy finds or draws the images where it wakes up.

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

    def __len__(self) -> int:
        return len(self.positions)

    def image(self, index: int) -> Image.Image:
        """Image number ``index``."""
        return self._held().image(int(self.positions[index]))

    def digest(self, index: int) -> bytes:
        """Hash of the shape and values."""
        return self._held().digest(int(self.positions[index]))

    def take(self, indices: npt.NDArray[np.int64]) -> DrawnImages:
        """Restrict to some of the images."""
        return DrawnImages(self.name, self.drawings, self.positions[indices])

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
    images.flags.writeable = False
    try:
        with written_whole(file) as partial, partial.open("wb") as opened:
            np.save(opened, images)
    except OSError as error:
        _LOG.warning("%s is drawn anew by every process: it cannot be kept, %s", name, error)
    return images


def _mapped(file: Path, shape: tuple[int, ...]) -> Images | None:
    """Whole file as a read-only array, or None where there is none that fits."""
    try:
        images: Images = np.load(file, mmap_mode="r", allow_pickle=False)
        if images.shape != shape or images.dtype != np.uint8:
            raise ValueError(f"expected uint8 of shape {shape}, got {images.dtype}, {images.shape}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        _LOG.warning("drawing again what cannot be read from %s: %s", file, error)
        return None
    return images


def _draw(name: str, drawings: Sequence[Drawing], shape: tuple[int, ...]) -> Images:
    _LOG.info("drawing the %d images of %s", shape[0], name)
    images = np.empty(shape, np.uint8)
    for position, image in enumerate(chain.from_iterable(drawings)):
        images[position] = image
    return images


def _key(drawings: Sequence[Drawing]) -> str:
    calls = [
        (d.render.__module__, d.render.__qualname__, d.label, d.n_images, d.options)
        for d in drawings
    ]
    sources = [inspect.getsource(module) for module in (glyphs, materials_drawn)]
    versions = [version(library) for library in _LIBRARIES]
    content = repr((calls, sources, versions, features.version("freetype2")))
    return hashlib.sha256(content.encode()).hexdigest()[:16]
