"""Drawing typeset digits in many hands: the offline dataset ``digits_rendered``.

Each image draws its own font, size, place, slant, stroke, colours, ground, blur and noise, and
light on dark as often as dark on light, so that no single pixel, and no mean, tells the classes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from analysis.data.canvas import SIDE, Floats, clouds, contrasting_colours, directions, font

__all__ = ["DIGITS", "render_digit"]

DIGITS = tuple("0123456789")

_FAMILIES = {
    "DejaVuSans": ("", "-Bold", "-Oblique", "-BoldOblique"),
    "DejaVuSansMono": ("", "-Bold", "-Oblique", "-BoldOblique"),
    "DejaVuSerif": ("", "-Bold", "-Italic", "-BoldItalic"),
    "STIXGeneral": ("", "Bol", "Italic", "BolIta"),
}
_FONTS = tuple(family + style for family, styles in _FAMILIES.items() for style in styles)
_MIN_CONTRAST = 60.0  # of 255, between the mean colours of digit and ground


def render_digit(label: int, index: int, *, seed: int) -> npt.NDArray[np.uint8]:
    """Draw one digit.

    Parameters
    ----------
    label : int
        Which digit, 0 to 9.
    index : int
        Which image of this digit.
    seed : int
        Seed; not negative.

    Returns
    -------
    ndarray of uint8, shape (96, 96, 3)
        RGB. It depends on the arguments only; the same on every machine with the same FreeType.
    """
    return _digit(DIGITS[label], np.random.default_rng((seed, label, index)))


def _digit(character: str, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    ink, ground = contrasting_colours(rng, _MIN_CONTRAST)
    mask = _mask(character, rng)[..., None]
    picture = (1 - mask) * _ground(ground, rng) + mask * (ink + rng.normal(0, 4, 3))
    picture += rng.normal(0, rng.uniform(0, 14), picture.shape)
    return picture.clip(0, 255).round().astype(np.uint8)


def _mask(character: str, rng: np.random.Generator) -> Floats:
    """How much of each pixel the digit covers, in [0, 1]."""
    size = int(rng.integers(40, 79))
    typeface = font(_FONTS[rng.integers(len(_FONTS))], size)
    canvas = Image.new("L", (SIDE, SIDE), 0)
    place = SIDE / 2 + rng.uniform(-1, 1, 2) * (SIDE - 0.75 * size) / 3
    stroke = int(rng.choice([0, 0, 1, 2]))
    ImageDraw.Draw(canvas).text(
        tuple(place), character, fill=255, font=typeface, anchor="mm", stroke_width=stroke
    )
    canvas = canvas.transform(
        (SIDE, SIDE), Image.Transform.AFFINE, _slant(place, rng), Image.Resampling.BILINEAR
    )
    canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.6)))
    return np.asarray(canvas, dtype=np.float64) / 255


def _slant(
    centre: Floats, rng: np.random.Generator
) -> tuple[float, float, float, float, float, float]:
    """Coefficients of a rotation (to 25 degrees), shear and stretch about the digit's centre."""
    angle = np.deg2rad(rng.uniform(-25, 25))
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    shear = np.array([[rng.uniform(0.8, 1.25), rng.uniform(-0.25, 0.25)], [0, 1]])
    matrix = rotation @ shear
    (a, b), (d, e) = matrix.tolist()
    c, f = (centre - matrix @ centre).tolist()
    return a, b, c, d, e, f


def _ground(colour: Floats, rng: np.random.Generator) -> Floats:
    """Draw a ground, (96, 96, 3): plain, shaded, striped or clouded about a colour."""
    along = directions(rng.uniform(0, 2 * np.pi))
    kind = rng.integers(4)
    if kind == 0:
        pattern = np.zeros_like(along)
    elif kind == 1:
        pattern = along
    elif kind == 2:
        pattern = np.sin(along * rng.uniform(4, 20) + rng.uniform(0, 2 * np.pi))
    else:
        pattern = clouds(rng, 7, 0.7)
    picture: Floats = colour + pattern[..., None] * rng.uniform(5, 35) * rng.uniform(0.3, 1, 3)
    return picture
