"""Drawing characters of Matplotlib's fonts: typeset digits, and symbols in two styles.

Each digit draws its own font, size, place, slant, stroke, colours, ground, blur and noise, and
light on dark as often as dark on light, so that no single pixel, and no mean, tells the classes.

Of symbols there is one set of classes in two styles. *Clean* is a catalogue: large, upright, one
ink on near white. *Cluttered* is the wild: small, turned, sheared, partly hidden, in any colour
over any texture among strokes and fragments. A symbol is measured by its own outline, not by the
font's, and comes in filled and hollow variants and from several fonts, so that neither size nor ink
tells the classes.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIDE = 96  # pixels: drawn images are SIDE x SIDE

Floats = Any  # array of float64, which arithmetic leaves one
_Affine = tuple[float, float, float, float, float, float]
DIGITS = tuple("0123456789")

_FAMILIES = {
    "DejaVuSans": ("", "-Bold", "-Oblique", "-BoldOblique"),
    "DejaVuSansMono": ("", "-Bold", "-Oblique", "-BoldOblique"),
    "DejaVuSerif": ("", "-Bold", "-Italic", "-BoldItalic"),
    "STIXGeneral": ("", "Bol", "Italic", "BolIta"),
}
_FONTS = tuple(family + style for family, styles in _FAMILIES.items() for style in styles)
_MIN_DIGIT_CONTRAST = 60.0  # of 255, between the mean colours of digit and ground

Style = Literal["clean", "cluttered"]

_STYLES: tuple[Style, ...] = ("clean", "cluttered")
_KEY = 0x676C7970  # sets the draws of this module apart from those of others

_SANS, _MONO, _STIX = "DejaVuSans", "DejaVuSansMono", "STIXGeneral"

# Characters of each class and the fonts that have all of them. Classes were chosen to stay apart
# when mirrored or turned by 30 degrees; source and held-out classes correspond in kind.
_CHARACTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "spade": ("\N{BLACK SPADE SUIT}\N{WHITE SPADE SUIT}", (_SANS, _MONO, _STIX)),
    "star": ("\N{BLACK STAR}\N{WHITE STAR}", (_SANS, _MONO, _STIX)),
    "wheel": ("\N{WHEEL OF DHARMA}", (_SANS, _MONO)),
    "smiley": ("\N{WHITE SMILING FACE}\N{BLACK SMILING FACE}", (_SANS, _MONO, _STIX)),
    "umbrella": ("\N{UMBRELLA}\N{UMBRELLA WITH RAIN DROPS}", (_SANS, _MONO)),
    "anchor": ("\N{ANCHOR}", (_SANS, _MONO)),
    "aeroplane": ("\N{AIRPLANE}", (_SANS, _MONO)),
    "knight": ("\N{BLACK CHESS KNIGHT}\N{WHITE CHESS KNIGHT}", (_SANS, _MONO)),
    "skull": ("\N{SKULL AND CROSSBONES}", (_SANS, _MONO)),
    "notes": ("\N{BEAMED EIGHTH NOTES}\N{BEAMED SIXTEENTH NOTES}", (_SANS, _MONO)),
    "heart": ("\N{BLACK HEART SUIT}\N{WHITE HEART SUIT}", (_SANS, _MONO, _STIX)),
    "snowflake": ("\N{SNOWFLAKE}\N{HEAVY CHEVRON SNOWFLAKE}", (_SANS, _MONO)),
    "radiation": ("\N{RADIOACTIVE SIGN}", (_SANS, _MONO)),
    "yin-yang": ("\N{YIN YANG}", (_SANS, _MONO)),
    "telephone": ("\N{BLACK TELEPHONE}\N{WHITE TELEPHONE}", (_SANS, _MONO)),
    "balance": ("\N{SCALES}", (_SANS, _MONO)),
    "scissors": ("\N{BLACK SCISSORS}\N{WHITE SCISSORS}", (_SANS, _MONO)),
    "king": ("\N{BLACK CHESS KING}\N{WHITE CHESS KING}", (_SANS, _MONO)),
    "fleur-de-lis": ("\N{FLEUR-DE-LIS}", (_SANS, _MONO)),
    "flag": ("\N{BLACK FLAG}\N{WHITE FLAG}", (_SANS,)),
}
GLYPHS: tuple[str, ...] = tuple(_CHARACTERS)
SOURCE_GLYPHS: tuple[str, ...] = GLYPHS[:10]

# Outlines, too thin where small: their strokes are widened by 1 to 4 pixels, others' by 0 or 1.
_HOLLOW = frozenset(
    "\N{WHITE SPADE SUIT}\N{WHITE STAR}\N{WHITE CHESS KNIGHT}\N{WHITE HEART SUIT}"
    "\N{WHITE TELEPHONE}\N{WHITE CHESS KING}\N{WHITE FLAG}"
)

_MASTER = 144  # pixels: longer side of a symbol before it is placed
_MIN_CONTRAST = 85.0  # of 255, between the mean colours of symbol and ground
_MAX_HIDDEN = 0.25  # share of the symbol that may be covered


@cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
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


def _directions(angle: float) -> Floats:
    """Position of each pixel along a direction, (96, 96); the edges' middles are at -1 and 1."""
    across, down = np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(-1, 1, SIDE))
    return across * np.cos(angle) + down * np.sin(angle)


def _clouds(rng: np.random.Generator, n_knots: int, spread: float) -> Floats:
    """Smooth random surface, (96, 96), through ``n_knots`` x ``n_knots`` normal draws."""
    coarse = Image.fromarray(rng.normal(0, spread, (n_knots, n_knots)).astype(np.float32))
    return np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float64)


def _contrasting_colours(rng: np.random.Generator, min_contrast: float) -> tuple[Floats, Floats]:
    """Two colours (RGB, 0..255), redrawn until their means differ by more than a contrast."""
    while True:
        ink, ground = rng.uniform(0, 255, (2, 3))
        if abs(ink.mean() - ground.mean()) > min_contrast:
            return ink, ground


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
    rng = np.random.default_rng((seed, label, index))
    ink, ground = _contrasting_colours(rng, _MIN_DIGIT_CONTRAST)
    mask = _digit_mask(DIGITS[label], rng)[..., None]
    picture = (1 - mask) * _digit_ground(ground, rng) + mask * (ink + rng.normal(0, 4, 3))
    return _pixels(picture + rng.normal(0, rng.uniform(0, 14), picture.shape))


def _pixels(picture: Floats) -> npt.NDArray[np.uint8]:
    return np.asarray(picture.clip(0, 255).round(), np.uint8)


def _digit_mask(character: str, rng: np.random.Generator) -> Floats:
    """How much of each pixel the digit covers, in [0, 1]."""
    size = int(rng.integers(40, 79))
    typeface = _font(_FONTS[rng.integers(len(_FONTS))], size)
    canvas = Image.new("L", (SIDE, SIDE), 0)
    place = SIDE / 2 + rng.uniform(-1, 1, 2) * (SIDE - 0.75 * size) / 3
    stroke = int(rng.choice([0, 0, 1, 2]))
    ImageDraw.Draw(canvas).text(
        tuple(place), character, fill=255, font=typeface, anchor="mm", stroke_width=stroke
    )
    slant = _slant(place, rng)
    canvas = canvas.transform(canvas.size, Image.Transform.AFFINE, slant, Image.Resampling.BILINEAR)
    canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.6)))
    return np.asarray(canvas, dtype=np.float64) / 255


def _slant(centre: Floats, rng: np.random.Generator) -> _Affine:
    """Draw a rotation (to 25 degrees), shear and stretch about the digit's centre."""
    rotation = _rotation(rng.uniform(-25, 25))
    shear = np.array([[rng.uniform(0.8, 1.25), rng.uniform(-0.25, 0.25)], [0, 1]])
    matrix = rotation @ shear
    return _affine(matrix, centre - matrix @ centre)


def _rotation(degrees: float) -> Floats:
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def _affine(matrix: Floats, offset: Floats) -> _Affine:
    """Coefficients as Pillow takes them."""
    (a, b), (d, e) = matrix.tolist()
    return a, b, offset.tolist()[0], d, e, offset.tolist()[1]


def _digit_ground(colour: Floats, rng: np.random.Generator) -> Floats:
    """Draw a ground, (96, 96, 3): plain, shaded, striped or clouded about a colour."""
    along = _directions(rng.uniform(0, 2 * np.pi))
    kind = rng.integers(4)
    if kind == 0:
        pattern = np.zeros_like(along)
    elif kind == 1:
        pattern = along
    elif kind == 2:
        pattern = np.sin(along * rng.uniform(4, 20) + rng.uniform(0, 2 * np.pi))
    else:
        pattern = _clouds(rng, 7, 0.7)
    return colour + pattern[..., None] * rng.uniform(5, 35) * rng.uniform(0.3, 1, 3)


def render_glyph(
    label: int, index: int, *, style: Style, stream: int, seed: int
) -> npt.NDArray[np.uint8]:
    """Draw one symbol.

    Parameters
    ----------
    label : int
        Position in ``GLYPHS``.
    index : int
        Which image of this class and style.
    style : {"clean", "cluttered"}
        A catalogue's picture, or one in the wild.
    stream : int
        Sets tasks apart: images of different streams share no draws.
    seed : int
        Seed; not negative.

    Returns
    -------
    ndarray of uint8, shape (96, 96, 3)
        RGB. It depends on the arguments only; the same on every machine with the same FreeType.

    Raises
    ------
    ValueError
        If there is no such class or style.
    """
    if not 0 <= label < len(GLYPHS):
        raise ValueError(f"expected a label in 0..{len(GLYPHS) - 1}, got {label}")
    if style not in _STYLES:
        raise ValueError(f"expected style 'clean' or 'cluttered', got {style!r}")
    rng = np.random.default_rng((_KEY, stream, seed, label, _STYLES.index(style), index))
    return _pixels(_clean(label, rng) if style == "clean" else _cluttered(label, rng))


def _clean(label: int, rng: np.random.Generator) -> Floats:
    pose = _Pose(
        size=rng.uniform(58, 80), place=SIDE / 2 + rng.uniform(-4, 4, 2), angle=rng.uniform(-3, 3)
    )
    mask = _blurred(_placed(label, pose, rng), rng.uniform(0, 0.8))[..., None]
    ink = rng.uniform(0, 120) + rng.uniform(-1, 1, 3) * rng.uniform(0, 60)
    ground = rng.uniform(232, 255) + rng.uniform(-6, 6, 3)
    shade = _directions(rng.uniform(0, 2 * np.pi))[..., None] * rng.uniform(0, 5)
    noise = rng.normal(0, rng.uniform(0, 3), (SIDE, SIDE, 1))
    return (1 - mask) * (ground + shade) + mask * ink.clip(0, 140) + noise


def _cluttered(label: int, rng: np.random.Generator) -> Floats:
    size = rng.uniform(0.36, 0.62) * SIDE
    pose = _Pose(
        size=size,
        place=SIDE / 2 + rng.uniform(-1, 1, 2) * (SIDE - 1.05 * size) / 2,
        angle=rng.uniform(-30, 30),
        stretch=rng.uniform(0.82, 1.22),
        shear=rng.uniform(-0.25, 0.25),
    )
    ink, ground = _contrasting_colours(rng, _MIN_CONTRAST)
    picture = _with_fragments(ground + _texture(rng), ink, ground, rng)
    symbol = _placed(label, pose, rng)
    mask = symbol[..., None]
    shading = _directions(rng.uniform(0, 2 * np.pi))[..., None] * rng.uniform(0, 25)
    picture = (1 - mask) * picture + mask * (ink + shading)
    picture = _with_cover(picture, symbol, pose, rng)
    blurred = Image.fromarray(picture.clip(0, 255).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(rng.uniform(0, 0.9))
    )
    noise = rng.standard_normal((SIDE, SIDE, 3), dtype=np.float32) * rng.uniform(0, 13)
    return np.asarray(blurred, np.float64) + noise


class _Pose(NamedTuple):
    size: float  # pixels, longer side
    place: Floats  # (x, y) of the centre
    angle: float  # degrees
    stretch: float = 1.0
    shear: float = 0.0


@cache
def _master(character: str, family: str, stroke: int) -> Image.Image:
    """Upright symbol whose longer side is ``_MASTER``, in the middle of a square twice as large."""
    probe = _drawn(character, family, _MASTER, 0).getbbox()
    left, top, right, bottom = probe or (0, 0, 1, 1)
    size = _MASTER * (_MASTER - 2 * stroke) / max(right - left, bottom - top)
    return _drawn(character, family, round(size), stroke)


def _drawn(character: str, family: str, size: int, stroke: int) -> Image.Image:
    canvas = Image.new("L", (3 * _MASTER, 3 * _MASTER), 0)
    ImageDraw.Draw(canvas).text(
        (_MASTER, _MASTER), character, fill=255, font=_font(family, size), stroke_width=stroke
    )
    left, top, right, bottom = canvas.getbbox() or (0, 0, 1, 1)
    across, down = (left + right) // 2, (top + bottom) // 2
    return canvas.crop((across - _MASTER, down - _MASTER, across + _MASTER, down + _MASTER))


def _placed(label: int, pose: _Pose, rng: np.random.Generator) -> Floats:
    """How much of each pixel one variant of a symbol covers, (96, 96) in [0, 1]."""
    characters, fonts = _CHARACTERS[GLYPHS[label]]
    character = characters[rng.integers(len(characters))]
    family = fonts[rng.integers(len(fonts))]
    stroke = int(rng.integers(1, 5) if character in _HOLLOW else rng.integers(2))
    master = _master(character, family, stroke)
    scale = _MASTER / (2 * pose.size)
    shape = np.array([[pose.stretch, pose.shear], [0, 1 / pose.stretch]])
    matrix = scale * _rotation(pose.angle) @ shape
    pull = _affine(matrix, _MASTER - matrix @ (2 * pose.place))
    double = (2 * SIDE, 2 * SIDE)
    doubled = master.transform(double, Image.Transform.AFFINE, pull, Image.Resampling.BILINEAR)
    return np.asarray(doubled.reduce(2), np.float64) / 255


def _blurred(mask: Floats, radius: float) -> Floats:
    picture = Image.fromarray((255 * mask).astype(np.uint8))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)), np.float64) / 255


def _texture(rng: np.random.Generator) -> Floats:
    """Departure of the ground from its colour, (96, 96, 3)."""
    angle, phase = rng.uniform(0, 2 * np.pi, 2)
    along, across = _directions(angle), _directions(angle + np.pi / 2)
    kind = rng.integers(6)
    if kind == 0:
        pattern = along
    elif kind == 1:
        pattern = np.sin(along * rng.uniform(6, 45) + phase + rng.uniform(0, 2) * across**2)
    elif kind == 2:
        pitch = rng.uniform(5, 30)
        pattern = np.sign(np.sin(along * pitch + phase) * np.sin(across * pitch))
    elif kind == 3:
        pattern = _clouds(rng, 5, 0.5) + _clouds(rng, 13, 0.4) + _clouds(rng, 37, 0.3)
    elif kind == 4:
        pattern = _clouds(rng, int(rng.integers(20, 96)), 0.7)
    else:
        pattern = np.tanh(3 * _clouds(rng, int(rng.integers(6, 24)), 0.8))
    unevenness = _clouds(rng, 3, rng.uniform(0, 12))[..., None]
    strength = rng.uniform(8, 42) * rng.uniform(0.3, 1, 3)
    return pattern[..., None] * strength + unevenness


def _with_fragments(
    picture: Floats, ink: Floats, ground: Floats, rng: np.random.Generator
) -> Floats:
    """Strew strokes, arcs, polygons and letters, each in a colour from ground's to ink's."""
    canvas = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(2, 9)):
        likeness = rng.uniform(0.2, 0.95)
        colour = likeness * ink + (1 - likeness) * ground + rng.normal(0, 30, 3)
        fill = tuple(colour.clip(0, 255).astype(int).tolist())
        corners = rng.uniform(0, SIDE, 2) + rng.normal(0, 12, (3, 2))
        low, high = np.sort(corners[:2], axis=0).round().tolist()
        width = int(rng.integers(1, 5))
        kind = rng.integers(4)
        if kind == 0:
            draw.line([tuple(corner) for corner in corners.tolist()], fill, width)
        elif kind == 1:
            start = rng.uniform(0, 360)
            draw.arc((*low, *high), start, start + rng.uniform(60, 300), fill, width)
        elif kind == 2:
            draw.polygon([tuple(corner) for corner in corners.tolist()], fill)
        else:
            letter = chr(ord("A") + int(rng.integers(26)))
            draw.text(tuple(low), letter, fill, _font(_SANS, int(rng.integers(10, 31))))
    return np.asarray(canvas, np.float64)


def _with_cover(picture: Floats, symbol: Floats, pose: _Pose, rng: np.random.Generator) -> Floats:
    """Hide up to a quarter of the symbol behind bars and blobs of a colour of their own."""
    hidden = np.zeros((SIDE, SIDE), dtype=bool)
    for _ in range(rng.integers(0, 3)):
        angle = rng.uniform(0, 2 * np.pi)
        centre = (2 * (pose.place + rng.normal(0, 0.25, 2) * pose.size) / (SIDE - 1)) - 1
        along = _directions(angle) - centre @ [np.cos(angle), np.sin(angle)]
        across = _directions(angle + np.pi / 2) - centre @ [-np.sin(angle), np.cos(angle)]
        length, width = rng.uniform((0.2, 0.06), (0.6, 0.16)) * 2 * pose.size / SIDE
        if rng.integers(2):
            shape = (np.abs(along) < 2 * length) & (np.abs(across) < width / 2)
        else:
            shape = (along / length) ** 2 + (across / (1.8 * width)) ** 2 < 0.5
        if symbol[hidden | shape].sum() <= _MAX_HIDDEN * symbol.sum():
            hidden |= shape
    colour = rng.uniform(0, 255, 3)
    return np.where(hidden[..., None], colour, picture)
