"""The datasets that Layerbook draws from a seed, for tasks in all three overlap groups.

Their overlap groups are with respect to the source task of the bundled network, which consists of
photographs and of the classes of ``source_drawn``. Each dataset draws from a stream of its own, so
a target task and the source task never share a draw, even where they share classes and seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from analysis.data.cards import CARDS
from analysis.data.drawings import Drawing, DrawnImages, drawing
from analysis.data.glyphs import GLYPHS, SOURCE_GLYPHS, render_glyph
from analysis.data.images import ImageDataset
from analysis.data.materials import MATERIALS, render_material
from analysis.data.rendering import DIGITS, render_digit
from analysis.data.wood_grain import WOOD_GRAINS, render_wood_grain

__all__ = [
    "DRAWN",
    "digits_rendered",
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
    return _dataset(
        "digits_rendered",
        {
            name: [drawing(render_digit, label, n_per_class, seed=seed)]
            for label, name in enumerate(DIGITS)
        },
    )


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
    options = {"style": style, "stream": _STREAMS[name], "seed": seed}
    return _dataset(
        name,
        {
            glyph: [drawing(render_glyph, label, n_per_class, **options)]
            for label, glyph in enumerate(GLYPHS)
        },
    )


def materials(n_per_class: int = 80, *, seed: int = 0) -> ImageDataset:
    """Draw sixteen materials, all of them classes of ``source_drawn``.

    For the parameters see ``digits_rendered``.
    """
    return _sized("materials", MATERIALS, render_material, [n_per_class] * len(MATERIALS), seed)


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
    return _sized("materials_unbalanced", MATERIALS, render_material, sizes, seed)


def wood_grain(smallest: int = 14, largest: int = 160, *, seed: int = 0) -> ImageDataset:
    """Draw wood by its grain: classes that differ finely, and unequal in size.

    The smallest class has as few images as that of the papers' ``wood``. For the parameters see
    ``materials_unbalanced``.
    """
    sizes = _spread(smallest, largest, len(WOOD_GRAINS), seed)
    return _sized("wood_grain", WOOD_GRAINS, render_wood_grain, sizes, seed)


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
    contents = {
        f"glyph {name}": [
            drawing(render_glyph, GLYPHS.index(name), n_images // 2, style="clean", **shared),
            drawing(
                render_glyph,
                GLYPHS.index(name),
                n_images - n_images // 2,
                style="cluttered",
                **shared,
            ),
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
    seed: int,
) -> ImageDataset:
    return _dataset(
        name,
        {
            each: [drawing(render, label, size, stream=_STREAMS[name], seed=seed)]
            for label, (each, size) in enumerate(zip(classes, sizes, strict=True))
        },
    )


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
