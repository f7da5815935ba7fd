"""What every drawn dataset shares: a side, Matplotlib's fonts, coordinates, clouds and colours."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFont

__all__ = ["SIDE", "Floats", "clouds", "contrasting_colours", "directions", "font"]

SIDE = 96  # pixels: drawn images are SIDE x SIDE

Floats = npt.NDArray[np.float64]


@cache
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Font that Matplotlib carries.

    Parameters
    ----------
    name : str
        Its file without the ending, such as ``"DejaVuSans-Bold"``.
    size : int
        Pixels per em.

    Returns
    -------
    PIL.ImageFont.FreeTypeFont
        In Pillow's basic layout, which gives the same glyphs with and without libraqm.
    """
    import matplotlib  # for its fonts only

    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    return ImageFont.truetype(str(file), size, layout_engine=ImageFont.Layout.BASIC)


def directions(angle: float) -> Floats:
    """Position of each pixel along a direction, (96, 96); the edges' middles are at -1 and 1."""
    across, down = np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(-1, 1, SIDE))
    along: Floats = across * np.cos(angle) + down * np.sin(angle)
    return along


def clouds(rng: np.random.Generator, n_knots: int, spread: float) -> Floats:
    """Smooth random surface, (96, 96), through ``n_knots`` x ``n_knots`` normal draws."""
    coarse = Image.fromarray(rng.normal(0, spread, (n_knots, n_knots)).astype(np.float32))
    surface: Floats = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float64)
    return surface


def contrasting_colours(rng: np.random.Generator, min_contrast: float) -> tuple[Floats, Floats]:
    """Two colours (RGB, 0..255), redrawn until their means differ by more than a contrast."""
    while True:
        ink, ground = rng.uniform(0, 255, (2, 3))
        if abs(ink.mean() - ground.mean()) > min_contrast:
            return ink, ground
