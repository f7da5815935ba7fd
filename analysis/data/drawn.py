"""The datasets that Layerbook draws from a seed, for tasks in all three overlap groups.

Their overlap groups are with respect to the source task of the bundled network, which consists of
photographs and of the classes of ``source_drawn``. Each dataset draws from a stream of its own, so
a target task and the source task never share a draw, even where they share classes and seed.

Images are described by the calls that draw them, drawn once, and kept on disk. What is kept goes by
a hash of the calls, of the source of every module that they run through and of the versions of the
libraries that these use, so a change of any of them draws anew.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import import_module
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, features

from analysis.data.cards import CARDS
from analysis.data.glyphs import DIGITS, GLYPHS, SIDE, SOURCE_GLYPHS, render_digit, render_glyph
from analysis.data.images import ImageArrays, ImageDataset
from analysis.data.materials import MATERIALS, WOOD_GRAINS, render_material, render_wood_grain
from analysis.paths import drawn_root, written_whole

__all__ = [
    "DRAWN",
    "Drawing",
    "DrawnImages",
    "digits_rendered",
    "drawing",
    "glyphs_clean",
    "glyphs_cluttered",
    "materials",
    "materials_unbalanced",
    "source_drawn",
    "wood_grain",
]

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
    return _sized("digits_rendered", DIGITS, render_digit, [n_per_class] * len(DIGITS), seed=seed)


def glyphs_clean(n_per_class: int = 50, *, seed: int = 0) -> ImageDataset:
    """Draw twenty symbols as in a catalogue, half of them classes of ``source_drawn``.

    For the parameters see ``digits_rendered``.
    """
    return _glyphs("glyphs_clean", "clean", n_per_class, seed)


def glyphs_cluttered(n_per_class: int = 80, *, seed: int = 0) -> ImageDataset:
    """Draw the symbols of ``glyphs_clean`` small, turned and partly hidden over textures.

    For the parameters see ``digits_rendered``.
    """
    return _glyphs("glyphs_cluttered", "cluttered", n_per_class, seed)


def _glyphs(
    name: str, style: Literal["clean", "cluttered"], n_per_class: int, seed: int
) -> ImageDataset:
    sizes = [n_per_class] * len(GLYPHS)
    return _sized(name, GLYPHS, render_glyph, sizes, style=style, seed=seed)


def materials(n_per_class: int = 80, *, seed: int = 0) -> ImageDataset:
    """Draw sixteen materials, all of them classes of ``source_drawn``.

    For the parameters see ``digits_rendered``.
    """
    return _sized(
        "materials", MATERIALS, render_material, [n_per_class] * len(MATERIALS), seed=seed
    )


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
    halves = {"clean": n_images // 2, "cluttered": n_images - n_images // 2}
    contents = {
        f"glyph {name}": [
            drawing(render_glyph, GLYPHS.index(name), half, style=style, **shared)
            for style, half in halves.items()
        ]
        for name in SOURCE_GLYPHS
    }
    contents |= {
        f"material {name}": [drawing(render_material, label, n_images, **shared)]
        for label, name in enumerate(MATERIALS)
    }
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
    sizes: Sequence[int],
    **options: object,
) -> ImageDataset:
    options |= {"stream": _STREAMS[name]} if name in _STREAMS else {}
    drawings = [[drawing(render, label, size, **options)] for label, size in enumerate(sizes)]
    return _dataset(name, dict(zip(classes, drawings, strict=True)))


def _dataset(name: str, contents: Mapping[str, Sequence[Drawing]]) -> ImageDataset:
    """Dataset of the drawings of each class."""
    sizes = {each: sum(part.n_images for part in parts) for each, parts in contents.items()}
    return ImageDataset(
        name=name,
        classes=tuple(contents),
        labels=np.repeat(np.arange(len(contents)), list(sizes.values())),
        paths=tuple(f"{each}/{k:04d}" for each, size in sizes.items() for k in range(size)),
        source=DrawnImages.of(name, [part for parts in contents.values() for part in parts]),
        overlap_group=CARDS[name].overlap_group,
    )


DRAWN: dict[str, Callable[[], ImageDataset]] = {
    "digits_rendered": digits_rendered,
    "glyphs_clean": glyphs_clean,
    "glyphs_cluttered": glyphs_cluttered,
    "materials": materials,
    "materials_unbalanced": materials_unbalanced,
    "wood_grain": wood_grain,
    "source_drawn": source_drawn,
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
    images.flags.writeable = False
    try:
        with written_whole(file) as partial, partial.open("wb") as opened:
            np.save(opened, images)
    except OSError as error:
        _LOG.warning("%s is drawn anew by every process: it cannot be kept, %s", name, error)
        return images
    kept = _mapped(file, shape)
    return images if kept is None else kept


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
    for position, image in enumerate(chain.from_iterable(drawings)):
        images[position] = image
    return images


def _key(drawings: Sequence[Drawing]) -> str:
    calls = []
    modules: dict[str, str] = {}
    for each in drawings:
        function = f"{each.render.__module__}.{each.render.__qualname__}"
        calls.append((function, each.label, each.n_images, each.options))
        _add_sources(each.render.__module__, modules)
    versions = [version(library) for library in _LIBRARIES]
    content = repr((calls, sorted(modules.items()), versions, features.version("freetype2")))
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _add_sources(module: str, found: dict[str, str]) -> None:
    """Add the source of a module, and of the modules of this room that it imports."""
    if module in found:
        return
    found[module] = inspect.getsource(import_module(module))
    for node in ast.walk(ast.parse(found[module])):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("analysis.data."):
            _add_sources(str(node.module), found)
