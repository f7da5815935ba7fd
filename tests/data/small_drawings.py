"""Few images of every drawn dataset: those of the full size take a minute to draw."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from analysis.data import ImageDataset
from analysis.data.drawn import (
    digits_rendered,
    glyphs_clean,
    glyphs_cluttered,
    materials,
    materials_unbalanced,
    source_drawn,
    wood_grain,
)

SMALL: dict[str, Callable[..., ImageDataset]] = {
    "digits_rendered": partial(digits_rendered, 3),
    "glyphs_clean": partial(glyphs_clean, 3),
    "glyphs_cluttered": partial(glyphs_cluttered, 3),
    "materials": partial(materials, 3),
    "materials_unbalanced": partial(materials_unbalanced, 1, 6),
    "wood_grain": partial(wood_grain, 1, 6),
    "source_drawn": partial(source_drawn, n_per_class=3),
}
