"""Drawing materials by rule: sixteen of all kinds, and wood by its grain.

A material is what its structure says: each image draws its own colours, contrast, size,
orientation, light, blur and noise, and mean and contrast of a channel are set without regard to
the material.

Wood is a fine-grained task, brown throughout, told by structure alone. A board is drawn from a
field of year rings, with u across its grain and v along it; what differs from class to class is how
the rings run and what interrupts them.

Conventions
-----------
Every function that draws takes its random generator, and none uses threads, so that a seed gives
the same picture on any number of cores. Fields are 96 × 96, float32 where speed matters.

Textures are functions of *texture coordinates* (u, v), in pixels, which ``view`` draws: turned,
mirrored, zoomed, stretched and tilted. ``value_noise`` and ``cells`` have a lattice of spacing 1,
so a texture divides its coordinates by the size it wants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from analysis.data.glyphs import SIDE

_LATTICE = 32  # cells and noise repeat after so many: more than a picture shows

Field = Any  # array of float, (96, 96), which arithmetic leaves one

_HALF = np.float32((SIDE - 1) / 2)
_DOWN, _ACROSS = (axis - _HALF for axis in np.mgrid[:SIDE, :SIDE].astype(np.float32))
_FY = np.fft.fftfreq(SIDE).astype(np.float32)[:, None]
_FX = np.fft.fftfreq(SIDE).astype(np.float32)[None, :]
_RADIUS = np.hypot(_FY, _FX) + np.float32(1e-6)
_LOG_RADIUS = np.log(_RADIUS)
_BEARING = np.arctan2(_FY, _FX)

_TASK = 0x6D61  # keeps these draws apart from those of other drawn tasks
_FINE = 2  # shapes are drawn so many times larger, then reduced

_Layers = tuple[Field, Field | None]  # tone, and where the hue changes


def render_material(label: int, index: int, *, stream: int, seed: int) -> npt.NDArray[np.uint8]:
    """Draw one image of a material.

    Parameters
    ----------
    label : int
        Position in ``MATERIALS``.
    index : int
        Number of the image within its class, from 0.
    stream : int
        Number of a stream of draws: images of different streams share none.
    seed : int
        Seed; the image depends on the four arguments only.

    Returns
    -------
    ndarray of uint8, shape (96, 96, 3)
        RGB.

    Raises
    ------
    IndexError
        If there is no such label.
    """
    rng = _generator(_TASK, MATERIALS, label, index, stream, seed)
    u, v = view(rng)
    u, v = warp(u, v, rng, size=45, by=4)
    place = rng.uniform(-500, 500, 2).astype(np.float32)
    tone, tint = _PATTERNS[MATERIALS[label]](u + place[0], v + place[1], rng)
    return paint(tone, tint, any_palette(rng), rng)


def _generator(
    task: int, classes: tuple[str, ...], label: int, index: int, stream: int, seed: int
) -> np.random.Generator:
    if not 0 <= label < len(classes):
        raise IndexError(
            f"expected a label in 0..{len(classes) - 1}, one of the classes {', '.join(classes)}, "
            f"but got {label}"
        )
    return np.random.default_rng((task, stream, seed, label, index))


def _marble(u: Field, v: Field, rng: np.random.Generator) -> _Layers:
    clouds = fractal_noise(u / 42, v / 42, rng, octaves=4)
    veins = np.exp(-7 * np.abs(np.sin(np.pi * (u / 55 + 1.3 * clouds))))
    finer = fractal_noise(u / 30, v / 30, rng, octaves=3)
    threads = np.exp(-14 * np.abs(finer + 0.15))
    return veins + 0.5 * threads * (0.5 + clouds) + 0.25 * clouds, finer


def _brick(u: Field, v: Field, rng: np.random.Generator) -> _Layers:
    length, height = 34.0, 15.0
    row = np.floor(v / height)
    along = u / length + 0.5 * (row % 2)
    column = np.floor(along)
    beside = (0.5 - np.abs(along - column - 0.5)) * length
    above = (0.5 - np.abs(v / height - row - 0.5)) * height
    grit = fractal_noise(u / 6, v / 6, rng, octaves=2)
    body = smoothstep(0.7, 2.2, np.minimum(beside, above) + 0.5 * grit)
    each = value_noise(column * 7 + 0.0, row * 5 + 0.0, rng)
    tone = body * (2.4 + 0.7 * each) + 0.3 * grit
    return tone + 0.35 * shade(body + 0.15 * grit, rng), body * each


def _weave(u: Field, v: Field, rng: np.random.Generator) -> _Layers:
    pitch, width = 14.0, rng.uniform(0.33, 0.40)
    column, row = np.floor(u / pitch), np.floor(v / pitch)
    x, y = u / pitch - column - 0.5, v / pitch - row - 0.5
    lies = (column + row) % 2 == 0
    next_x, next_y = x - np.sign(x), y - np.sign(y)
    upper = _strand(np.where(lies, y, x), np.where(lies, x, y), width)
    lower = _strand(np.where(lies, x, y), np.where(lies, next_y, next_x), width)
    flat = np.where((upper >= lower) == lies, 1.0, -1.0)
    shown = np.maximum(upper, lower)
    along: Field = np.where(flat > 0, v, u)
    fibre = np.sin(2 * np.pi * along / 3.5) * (shown > 0)
    return shown * (1 + rng.uniform(0, 0.25) * flat) + 0.05 * fibre, flat * shown


def _strand(across: Field, along: Field, width: float) -> Field:
    """Height of a round strand above the cloth's back: 1 over a crossing, little under the next."""
    rounded = np.sqrt(np.maximum(0.0, 1 - (across / width) ** 2))
    return rounded * (0.58 + 0.42 * np.cos(np.pi * along))


def _scales(u: Field, v: Field, rng: np.random.Generator) -> _Layers:
    pitch = 19.0
    x, y = u / pitch, v / pitch * 2
    row = np.floor(y)
    upper = x + 0.5 * (row % 2)
    lower = x + 0.5 * ((row + 1) % 2)
    over = np.hypot(upper - np.floor(upper) - 0.5, (y - row) / 2)
    under = np.hypot(lower - np.floor(lower) - 0.5, (y - row - 1) / 2)
    front = over < 0.5
    distance = np.where(front, over, under)
    column = np.where(front, np.floor(upper), np.floor(lower))
    depth = np.where(front, y - row, y - row - 1) / 2
    each = value_noise(column * 7, (row + ~front) * 5, rng)
    # A bright rim, and the shadow of the scale in front upon the one behind.
    rim = smoothstep(0.36, 0.48, distance) * (depth > -0.1)
    shadow = np.where(front, 0, np.exp(-(over - 0.5) * 14))
    dome = depth * 1.6 + 0.25 * each + 0.45 * rim - 0.9 * shadow
    return dome.astype(np.float32), each


def _zebra(u: Field, v: Field, rng: np.random.Generator) -> _Layers:
    wave = band_noise(
        rng, period=rng.uniform(15, 27), spread=0.2, angle=rng.uniform(0, 2 * np.pi), turn=0.3
    )
    hair = value_noise(u / 2, v / 9, rng)
    return np.tanh(5 * (wave.real + 0.08 * hair)) + 0.12 * hair, None


def _sand(u: Field, v: Field, rng: np.random.Generator) -> _Layers:
    wave = band_noise(
        rng, period=rng.uniform(8, 15), spread=0.12, angle=rng.uniform(0, 2 * np.pi), turn=0.13
    )
    strength = np.abs(wave) + 1e-3
    steep = wave.real + 0.45 * (wave * wave).imag / strength
    grains = rng.standard_normal((SIDE, SIDE), np.float32)
    hollows = value_noise(u / 40, v / 40, rng)
    return steep / (0.4 + strength) + 0.28 * grains + 0.2 * hollows, hollows


def _bubbles(u: Field, v: Field, rng: np.random.Generator) -> _Layers:
    tone = 0.15 * fractal_noise(u / 40, v / 40, rng, octaves=2)
    film = np.zeros_like(tone)
    for size in (13.0, 27.0):
        froth = cells(u / size, v / size, rng, jitter=0.6)
        radius = 0.36 + 0.10 * froth.draw(rng)
        part = froth.nearest / radius
        inside = smoothstep(1.04, 0.96, part)
        rim = inside * part**6
        ball = np.sqrt(np.maximum(0.0, 1 - part * part))
        lit = shade(ball, rng) * inside
        gloss = smoothstep(1.2, 2.2, lit) * (part < 0.85)
        shown = inside * (froth.draw(rng) > (-0.7 if size < 20 else -0.1))
        tone = tone + shown * (1.3 * rim - 0.6 * ball + 0.25 * lit + gloss - 0.6 * tone)
        film = film + shown * lit
    return tone.astype(np.float32), film.astype(np.float32)


def _cracks(u: Field, v: Field, rng: np.random.Generator) -> _Layers:
    bent_u, bent_v = warp(u, v, rng, size=9, by=2.2)
    plates = cells(bent_u / 27, bent_v / 27, rng, jitter=0.95)
    edge = plates.second - plates.nearest
    gap = smoothstep(0.13, 0.03, edge)
    skin = fractal_noise(u / 8, v / 8, rng, octaves=2)
    curl = smoothstep(0.0, 0.45, edge) + 0.12 * skin
    each = plates.draw(rng)
    return -2.6 * gap + 0.3 * shade(curl, rng) + 0.25 * each + 0.15 * skin, each


def _fur(u: Field, v: Field, rng: np.random.Generator) -> _Layers:
    bent_u, bent_v = warp(u, v, rng, size=38, by=13)
    tufts = value_noise(bent_u / 9, bent_v / 26, rng)
    hairs = value_noise(bent_u / 2.6, bent_v / 18 + 0.6 * tufts, rng)
    finer = value_noise(bent_u / 1.5, bent_v / 13 + 0.8 * tufts, rng)
    return hairs + 0.6 * finer + 0.7 * tufts, tufts


def _knit(u: Field, v: Field, rng: np.random.Generator) -> _Layers:
    width, height = 15.0, 11.0
    x = np.abs(u / width - np.floor(u / width) - 0.5) * 2
    rise = v / height - 0.85 * x
    y = rise - np.floor(rise) - 0.5
    leg = np.sqrt(np.maximum(0.0, 1 - (y / 0.47) ** 2)) * np.sqrt(
        np.sin(np.pi * x.clip(0, 1)) + 1e-4
    )
    yarn = np.sin(2 * np.pi * (2.2 * y + 1.5 * x))
    row = value_noise(np.floor(rise), np.zeros_like(u), rng)
    fuzz = value_noise(u / 2.5, v / 2.5, rng)
    return leg * (1 + 0.08 * yarn) + 0.1 * shade(leg, rng) + 0.1 * fuzz, row


def _honeycomb(u: Field, v: Field, rng: np.random.Generator) -> _Layers:
    aspect = np.sqrt(3) / 2
    size = 21.0
    comb = cells(u / size, v / size / aspect, rng, jitter=0.07, stagger=0.5, aspect=aspect)
    edge = comb.second - comb.nearest
    wall = smoothstep(0.26, 0.13, edge)
    bowl = smoothstep(0.1, 0.9, edge)
    each = comb.draw(rng)
    tone = 2 * wall - 0.9 * bowl + 0.35 * (1 - wall) * each + 0.25 * shade(wall - 0.5 * bowl, rng)
    return tone.astype(np.float32), each * (1 - wall)


def _terrazzo(u: Field, v: Field, rng: np.random.Generator) -> _Layers:
    canvas = Image.new("L", (SIDE * _FINE, SIDE * _FINE), 110)
    pen = ImageDraw.Draw(canvas)
    n = int(rng.integers(60, 110))
    size = np.sort(rng.gamma(2.5, 1.0, n))[::-1] * rng.uniform(3.2, 5.2) + 2
    angles = np.sort(rng.uniform(0, 2 * np.pi, (n, 6)), axis=1)
    spokes = (size[:, None] * rng.uniform(0.7, 1.15, (n, 6)))[..., None]
    corners = spokes * np.stack([np.cos(angles), 0.8 * np.sin(angles)], -1)
    corners += rng.uniform(-5, SIDE * _FINE + 5, (n, 1, 2))
    tones = rng.choice([5, 60, 175, 215, 255], n)
    for chip, tone in zip(corners.reshape(n, 12).tolist(), tones.tolist(), strict=True):
        pen.polygon(chip, fill=tone)
    chips = _reduced(canvas)
    return chips + 0.12 * fractal_noise(u / 4, v / 4, rng, octaves=2), (chips - 0.2) ** 2


def _foliage(u: Field, v: Field, rng: np.random.Generator) -> _Layers:
    canvas = Image.new("L", (SIDE * _FINE, SIDE * _FINE), 0)
    pen = ImageDraw.Draw(canvas)
    n = 115
    angle = rng.uniform(0, 2 * np.pi, n)
    length = rng.uniform(15, 25) * rng.uniform(0.8, 1.25, n)
    width = length * rng.uniform(0.36, 0.5, n)
    outline = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    tip = np.cos(outline)
    side = np.sin(outline) * (1 - 0.35 * tip) * np.sqrt(np.maximum(0, 1 - 0.6 * tip**8))
    cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x, y = length[:, None] * tip, width[:, None] * side
    centre = rng.uniform(-15, SIDE * _FINE + 15, (n, 2))
    leaves = np.stack([x * cosine - y * sine, x * sine + y * cosine], -1) + centre[:, None]
    stems = leaves[:, [7, 0]]
    tones = np.linspace(35, 190, n) + rng.uniform(-30, 50, n)
    for leaf, stem, tone in zip(leaves, stems, tones.astype(int).tolist(), strict=True):
        pen.polygon(leaf.ravel().tolist(), fill=tone, outline=max(0, tone - 70))
        pen.polygon(leaf[[7, *range(8, 14), 0]].ravel().tolist(), fill=max(0, tone - 28))
        pen.line(stem.ravel().tolist(), fill=min(255, tone + 60), width=2)
    return _reduced(canvas), value_noise(u / 14, v / 14, rng)


def _crumpled_paper(u: Field, v: Field, rng: np.random.Generator) -> _Layers:
    relief = 0.1 * fractal_noise(u / 30, v / 30, rng, octaves=2)
    for size in (36.0, 17.0):
        facets = cells(u / size, v / size, rng, jitter=1.0)
        relief = relief + size / 36 * (facets.second - facets.nearest) * facets.draw(rng)
    lit = shade(gaussian_filter(relief, 0.6), rng)
    return lit.clip(-2.2, 2.2) + 0.2 * standardise(relief), relief


def _waves(u: Field, v: Field, rng: np.random.Generator) -> _Layers:
    u, v = standardise(u) * 28, standardise(v) * 28
    height = 0.3 * fractal_noise(u / 30, v / 30, rng, octaves=2)
    period = rng.uniform(8, 15)
    for strength in (1.0, 0.7, 0.5)[: int(rng.integers(2, 4))]:
        x, y = rng.uniform(-45, 45, 2).astype(np.float32)
        distance = np.hypot(u - x, v - y)
        ring = np.sin(2 * np.pi * (distance / np.float32(period) + rng.uniform()))
        height = height + np.float32(strength) * ring * np.exp(-distance / 70)
    lit = shade(height, rng)
    return height + 0.5 * lit + 0.4 * smoothstep(1.2, 2.2, lit), lit


def _speckle(u: Field, v: Field, rng: np.random.Generator) -> _Layers:
    grain = rng.uniform(5, 8)
    coarse = band_noise(rng, period=2.2 * grain, spread=0.3, angle=0, turn=9).real
    fine = band_noise(rng, period=grain, spread=0.25, angle=0, turn=9).real
    dark = smoothstep(0.5, 0.8, fine + 0.4 * coarse)
    light = smoothstep(0.5, 0.8, coarse - 0.6 * fine)
    return 0.9 * light - 1.3 * dark + 0.15 * fine, light + dark


def _reduced(canvas: Image.Image) -> Field:
    return np.asarray(canvas.reduce(_FINE), np.float32) / np.float32(128)


_PATTERNS: dict[str, Callable[[Field, Field, np.random.Generator], _Layers]] = {
    pattern.__name__[1:]: pattern
    for pattern in (
        *(_brick, _bubbles, _cracks, _crumpled_paper, _foliage, _fur, _honeycomb, _knit, _marble),
        *(_sand, _scales, _speckle, _terrazzo, _waves, _weave, _zebra),
    )
}
MATERIALS = tuple(_PATTERNS)

_WOOD_TASK = 0x776F  # keeps these draws apart from those of other drawn tasks
# Mean colours between which a board is drawn: maple, pine, oak, cherry, walnut.
_SPECIES = np.array(
    [[214, 182, 138], [203, 160, 104], [176, 132, 86], [158, 100, 66], [112, 78, 54]], np.float32
)


def render_wood_grain(label: int, index: int, *, stream: int, seed: int) -> npt.NDArray[np.uint8]:
    """Draw one piece of wood; as :func:`render_material`, of the classes ``WOOD_GRAINS``."""
    rng = _generator(_WOOD_TASK, WOOD_GRAINS, label, index, stream, seed)
    u, v = view(rng, zoom=(0.8, 1.4))
    u, v = warp(u, v, rng, size=60, by=3)
    tone = _GRAINS[WOOD_GRAINS[label]](u, v, rng)
    return paint(tone, value_noise(u / 25, v / 60, rng), _browns(rng), rng)


def _browns(rng: np.random.Generator) -> Palette:
    between = rng.uniform(0, len(_SPECIES) - 1.001)
    first, part = int(between), np.float32(between % 1)
    mean = (1 - part) * _SPECIES[first] + part * _SPECIES[first + 1]
    contrast = rng.uniform(13, 24)
    return Palette(
        mean=mean + (rng.normal(0, 8) + rng.normal(0, 2.5, 3)).astype(np.float32),
        spread=(contrast * np.array([1.0, 0.95, 0.8])).astype(np.float32),
        tint=rng.uniform(0, 0.3) * np.array([0.6, 0.0, -0.6], np.float32),
    )


def _rings(ring: Field) -> Field:
    """Earlywood darkens slowly to latewood, which ends at once: -1 darkest, 0 lightest."""
    year = ring - np.floor(ring)
    return -smoothstep(0.15, 0.85, year) * smoothstep(1.0, 0.88, year)


def _fibres(u: Field, v: Field, rng: np.random.Generator) -> Field:
    """Fine streaks along the grain, and short dark pores."""
    streaks = value_noise(u / 2, v / 32, rng) + 0.6 * value_noise(u / 5, v / 60, rng)
    pores = smoothstep(0.55, 0.85, value_noise(u / 1.5, v / 9, rng))
    strength = np.float32(rng.uniform(0.1, 0.25))
    return strength * streaks - 1.5 * strength * pores


def _quarter_sawn(u: Field, v: Field, rng: np.random.Generator) -> Field:
    ring = u / (0.7 * rng.uniform(7, 12)) + 0.7 * value_noise(u / 40, v / 90, rng)
    bend = value_noise(u / 14, v / 20, rng)
    flecks = value_noise(u / 10, v / 3.2 + 0.25 * bend, rng) + 0.3 * value_noise(
        u / 30, v / 30, rng
    )
    return 0.7 * _rings(ring) + _fibres(u, v, rng) + 0.9 * smoothstep(0.35, 0.75, flecks)


def _plain_sawn(u: Field, v: Field, rng: np.random.Generator) -> Field:
    width = rng.uniform(7, 12)
    middle, blunt = rng.uniform(-14, 14), rng.uniform(0.8, 2.0)
    ragged = 0.35 * fractal_noise(u / 9, v / 45, rng, octaves=2)
    across = (u - np.float32(middle)) / np.float32(width)
    ring = np.sqrt(across**2 + np.float32(blunt) ** 2) + v / np.float32(rng.uniform(18, 30))
    return _rings(ring + ragged + np.float32(rng.uniform())) + _fibres(u, v, rng)


def _curly(u: Field, v: Field, rng: np.random.Generator) -> Field:
    sway = 1.2 * value_noise(u / 30, v / 28, rng)
    phase = v / np.float32(rng.uniform(14, 24)) + sway
    band = np.sin(2 * np.pi * phase) * (0.7 + 0.5 * value_noise(u / 25, v / 25, rng))
    ring = u / rng.uniform(7, 12) + 0.13 * np.sin(2 * np.pi * phase + 1.5)
    return 0.4 * _rings(ring) + 0.4 * band + _fibres(u + 1.5 * band, v, rng)


def _birds_eye(u: Field, v: Field, rng: np.random.Generator) -> Field:
    size = np.float32(rng.uniform(17, 24))
    eyes = cells(u / size, v / size / 1.2, rng, jitter=0.9, aspect=1.2)
    near = eyes.nearest * size
    seen = eyes.draw(rng) > -0.5
    lens = np.exp(-((near / 5) ** 2)) * seen
    ring = u / rng.uniform(7, 12) + 0.5 * value_noise(u / 30, v / 60, rng) + 0.7 * lens
    halo = np.exp(-(((near - 4.2) / 1.3) ** 2)) * seen
    pupil = np.exp(-((near / 1.9) ** 2)) * seen
    return 0.6 * _rings(ring) + _fibres(u, v, rng) + 0.45 * halo - 1.5 * pupil


def _burl(u: Field, v: Field, rng: np.random.Generator) -> Field:
    u, v = warp(u, v, rng, size=26, by=14)
    swirl = fractal_noise(u / 42, v / 42, rng, octaves=2)
    ring = 4.5 * swirl + u / 60
    buds = cells(u / 26, v / 26, rng, jitter=0.9)
    shown = buds.draw(rng) > 0.1
    bud = np.exp(-((buds.nearest * 26 / 3.5) ** 2)) * shown
    fine = value_noise(3.5 * ring, u / 60, rng)
    return 0.7 * _rings(ring + 0.8 * bud) + 0.2 * fine - 0.9 * bud + _fibres(u, v, rng)


def _spalted(u: Field, v: Field, rng: np.random.Generator) -> Field:
    ring = u / rng.uniform(7, 12) + 0.6 * value_noise(u / 40, v / 80, rng)
    zone = fractal_noise(u / 34, v / 60, rng, octaves=4, gain=0.6)
    level = zone - np.float32(rng.uniform(-0.25, 0.25))
    line = sum(np.exp(-(((level - at) / 0.035) ** 2)) for at in (-0.45, 0.0, 0.4))
    bleached = 0.35 * np.tanh(8 * level) * np.float32(rng.uniform(0.5, 1))
    return 0.45 * _rings(ring) + _fibres(u, v, rng) + bleached - 1.9 * np.minimum(line, 1)


def _around(
    u: Field, v: Field, radius: float, rng: np.random.Generator
) -> tuple[Field, Field, Field]:
    """Coordinates about a knot, how far from its middle (1 at its edge), and rings that part."""
    x = u - np.float32(rng.uniform(-16, 16))
    y = (v - np.float32(rng.uniform(-16, 16))) * np.float32(rng.uniform(0.65, 1.0))
    wobble = 1 + 0.16 * value_noise(x / 11, y / 11, rng)
    part = np.hypot(x, y) / np.float32(radius) * wobble
    # Streamlines about a cylinder: the grain makes room for the branch.
    parted = x * (1 - 1 / np.maximum(part, 1.0) ** 2)
    return np.arctan2(y, x), part, parted


def _sound_knot(u: Field, v: Field, rng: np.random.Generator) -> Field:
    width, radius = rng.uniform(7, 12), float(rng.uniform(13, 21))
    _, part, parted = _around(u, v, radius, rng)
    grain = _rings(parted / width + 0.5 * value_noise(u / 30, v / 60, rng))
    knot = _rings(part * radius / 4.5 + 0.3 * value_noise(u / 8, v / 8, rng))
    inside = smoothstep(1.2, 0.8, part)
    fibres = _fibres(parted, v, rng)
    heart = -0.7 - 0.5 * np.exp(-((part / 0.25) ** 2)) + 0.45 * knot
    return (1 - inside) * (0.8 * grain + fibres) + inside * heart


def _dry_knot(u: Field, v: Field, rng: np.random.Generator) -> Field:
    width, radius = rng.uniform(7, 12), float(rng.uniform(12, 20))
    bearing, part, parted = _around(u, v, radius, rng)
    grain = _rings(parted / width + 0.5 * value_noise(u / 30, v / 60, rng))
    rough = fractal_noise(u / 5, v / 5, rng, octaves=2)
    bark = np.exp(-(((part - 0.98) / 0.11) ** 2)) * (0.9 + 0.3 * rough)
    turns = int(rng.integers(3, 6))
    spoke = np.cos(turns * (bearing + 0.25 * rough) + np.float32(rng.uniform(0, 6.28)))
    split = smoothstep(0.9, 0.98, spoke) * smoothstep(0.1, 0.3, part) * (part < 0.9)
    inside = smoothstep(1.02, 0.94, part)
    heart = -0.3 + 0.3 * rough + 0.15 * shade(rough, rng) - 1.5 * split
    return (1 - inside) * (0.8 * grain + _fibres(parted, v, rng)) + inside * heart - 1.9 * bark


_GRAINS: dict[str, Callable[[Field, Field, np.random.Generator], Field]] = {
    grain.__name__[1:]: grain
    for grain in (
        *(_birds_eye, _burl, _curly, _dry_knot, _plain_sawn, _quarter_sawn, _sound_knot, _spalted),
    )
}
WOOD_GRAINS = tuple(_GRAINS)


# --- what textures are drawn from ---


class Cells(NamedTuple):
    """The cells of scattered points (Worley's cellular noise).

    Attributes
    ----------
    nearest, second : ndarray of float, shape (96, 96)
        Distance to the nearest and the second nearest point, in lattice spacings.
    identity : ndarray of int32, shape (96, 96)
        Number of the nearest point, in 0 .. 1023: the cell that a pixel is in.
    """

    nearest: Field
    second: Field
    identity: npt.NDArray[np.int32]

    def draw(self, rng: np.random.Generator) -> Field:
        """Give each cell one number, uniform in [-1, 1]."""
        return _uniform(rng)[self.identity]


class Palette(NamedTuple):
    """How a tone becomes a colour.

    Attributes
    ----------
    mean, spread, tint : ndarray of float32, shape (3,)
        Mean and standard deviation of each channel (0..255), and how much of a second field each
        channel shows.
    """

    mean: npt.NDArray[np.float32]
    spread: npt.NDArray[np.float32]
    tint: npt.NDArray[np.float32]


def view(rng: np.random.Generator, zoom: tuple[float, float] = (0.7, 1.4)) -> tuple[Field, Field]:
    """Draw how a camera sees a flat texture.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the draws.
    zoom : (float, float)
        Least and greatest magnification.

    Returns
    -------
    u, v : ndarray of float, shape (96, 96)
        Texture coordinates in pixels, 0 at the centre: turned by any angle, mirrored as often as
        not, stretched to 15 %, and tilted a little.
    """
    angle = rng.uniform(0, 2 * np.pi)
    size = np.exp(rng.uniform(np.log(zoom[0]), np.log(zoom[1])))
    stretch = np.exp(rng.uniform(-0.15, 0.15))
    tilt_x, tilt_y = rng.uniform(-0.15, 0.15, 2) / SIDE
    mirror = rng.choice([-1.0, 1.0])
    depth = np.float32(1 / size) / (1 + np.float32(tilt_x) * _ACROSS + np.float32(tilt_y) * _DOWN)
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u = (cosine * _ACROSS + sine * _DOWN) * depth * np.float32(mirror * stretch)
    v = (cosine * _DOWN - sine * _ACROSS) * depth
    return u, v


def value_noise(u: Field, v: Field, rng: np.random.Generator) -> Field:
    """Smooth noise in [-1, 1]: random numbers on a unit lattice, joined by smooth steps."""
    table = _uniform(rng)
    column, row = np.floor(u), np.floor(v)
    across, down = u - column, v - row
    across *= across * (3 - 2 * across)
    down *= down * (3 - 2 * down)
    left, top = column.astype(np.int32), row.astype(np.int32)
    right = (left + 1) & (_LATTICE - 1)
    left &= _LATTICE - 1
    above = (top & (_LATTICE - 1)) * _LATTICE
    below = ((top + 1) & (_LATTICE - 1)) * _LATTICE
    upper = table[above + left]
    upper += across * (table[above + right] - upper)
    lower = table[below + left]
    lower += across * (table[below + right] - lower)
    return upper + down * (lower - upper)


def fractal_noise(
    u: Field, v: Field, rng: np.random.Generator, octaves: int = 3, gain: float = 0.5
) -> Field:
    """Sum of value noises, each twice as fine and ``gain`` times as strong as the one before."""
    total = np.zeros_like(u)
    for octave in range(octaves):
        scale = np.float32(2**octave)
        # Lattices that lie apart, so that their lines do not show.
        total += np.float32(gain**octave) * value_noise(scale * u + octave, scale * v, rng)
    return total


def warp(
    u: Field, v: Field, rng: np.random.Generator, *, size: float, by: float
) -> tuple[Field, Field]:
    """Bend texture coordinates by up to ``by`` pixels, over bumps of ``size`` pixels."""
    coarse, strength = (u / np.float32(size), v / np.float32(size)), np.float32(by)
    u = u + strength * value_noise(*coarse, rng)
    return u, v + strength * value_noise(*coarse, rng)


def cells(
    u: Field,
    v: Field,
    rng: np.random.Generator,
    *,
    jitter: float = 0.9,
    stagger: float = 0.0,
    aspect: float = 1.0,
) -> Cells:
    """Cellular noise after Worley (1996): one point in each square of a unit lattice.

    Parameters
    ----------
    u, v : ndarray of float, shape (96, 96)
        Coordinates, in lattice spacings.
    rng : numpy.random.Generator
        Source of the draws.
    jitter : float
        How far the points leave the centres of their squares: 0 not at all, 1 anywhere.
    stagger : float
        Shift of every other row. With 0.5, ``aspect`` √3/2 and no jitter the cells are hexagons.
    aspect : float
        Height of a row over the width of a column.

    Returns
    -------
    Cells
        Distances and cells. Points are sought in the 3 × 3 squares about a pixel, which may miss
        the second nearest one when jitter is near 1.
    """
    x, y = (np.float32(0.5 * jitter) * _uniform(rng) + np.float32(0.5) for _ in "xy")
    nearest = np.full_like(u, np.inf)
    second = np.full_like(u, np.inf)
    identity = np.zeros(u.shape, np.int32)
    middle = np.floor(v)
    for row in (middle - 1, middle, middle + 1):
        whole = row.astype(np.int32)
        shift = np.float32(stagger) * (whole & 1).astype(np.float32)
        start = (whole & (_LATTICE - 1)) * _LATTICE
        base = np.floor(u - shift)
        for column in (base - 1, base, base + 1):
            number = start + (column.astype(np.int32) & (_LATTICE - 1))
            right = column + shift + x[number] - u
            down = (row + y[number] - v) * np.float32(aspect)
            distance = right * right + down * down
            np.copyto(identity, number, where=distance < nearest)
            np.minimum(second, np.maximum(nearest, distance), out=second)
            np.minimum(nearest, distance, out=nearest)
    return Cells(np.sqrt(nearest), np.sqrt(second), identity)


def band_noise(
    rng: np.random.Generator, *, period: float, spread: float, angle: float, turn: float
) -> npt.NDArray[np.complex64]:
    """Noise of one wavelength, in about one direction: stripes that wander, fork and end.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the draws.
    period : float
        Wavelength in pixels.
    spread : float
        Standard deviation of the logarithm of the frequency.
    angle : float
        Direction in radians in which the stripes follow each other.
    turn : float
        Standard deviation of that direction; above 1.5 there is none left.

    Returns
    -------
    ndarray of complex64, shape (96, 96)
        The real part is the noise, the argument its phase, the modulus its strength; it repeats
        beyond the picture's borders.
    """
    white = rng.standard_normal((2, SIDE, SIDE), np.float32)
    off = _BEARING - np.float32(angle)
    off -= np.float32(2 * np.pi) * np.round(off / np.float32(2 * np.pi))
    distance = (_LOG_RADIUS + np.float32(np.log(period))) / np.float32(spread)
    power = np.exp(-0.5 * distance**2 - 0.5 * (off / np.float32(turn)) ** 2)
    wave = np.fft.ifft2((white[0] + 1j * white[1]) * power)
    result: npt.NDArray[np.complex64] = wave / np.sqrt(np.mean(wave.real**2))
    return result.astype(np.complex64)


def smoothstep(low: float, high: float, x: Field) -> Field:
    """Rise smoothly from 0, where x is ``low``, to 1, where it is ``high``."""
    t = ((x - np.float32(low)) / np.float32(high - low)).clip(0, 1)
    return t * t * (3 - 2 * t)


def standardise(field: Field) -> Field:
    """Shift and scale to mean 0 and standard deviation 1; a flat field becomes 0."""
    centred = field - field.mean()
    return centred / max(float(centred.std()), 1e-6)


def shade(relief: Field, rng: np.random.Generator) -> Field:
    """Light a relief from one side, any side: the slope towards the lamp, standardised."""
    angle = rng.uniform(0, 2 * np.pi)
    down, across = np.gradient(relief)
    slope = np.float32(np.cos(angle)) * across + np.float32(np.sin(angle)) * down
    return standardise(np.asarray(slope)).clip(-3, 3)


def any_palette(rng: np.random.Generator) -> Palette:
    """Draw colours of any hue, in any contrast, as often light on dark as dark on light."""
    contrast = rng.uniform(20, 46) * rng.choice([-1, 1])
    hue = rng.normal(0, 1, 3)
    grey, saturation = rng.uniform(80, 175), rng.uniform(0.2, 1)
    return Palette(
        mean=(grey + saturation * rng.uniform(-70, 70, 3)).clip(62, 192).astype(np.float32),
        spread=(contrast * rng.uniform(0.6, 1.2, 3)).astype(np.float32),
        tint=(rng.uniform(0.1, 0.6) * (hue - hue.mean())).astype(np.float32),
    )


def paint(
    tone: Field, tint: Field | None, palette: Palette, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Colour a tone and photograph it: blur, uneven light, noise.

    Parameters
    ----------
    tone : ndarray of float, shape (96, 96)
        Structure; its scale and offset do not matter, so that neither tells one texture from
        another.
    tint : ndarray of float, shape (96, 96), optional
        Where the hue changes; the square of the tone where nothing is given.
    palette : Palette
        Mean and spread that each channel gets before the light falls on it.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    ndarray of uint8, shape (96, 96, 3)
        RGB.
    """
    blur = rng.uniform(0, 0.8)
    tone = standardise(gaussian_filter(tone, blur, mode="nearest", truncate=2.5)).clip(-3, 3)
    hue = standardise(tone * tone if tint is None else tint).clip(-3, 3)
    light = 1 + (_ACROSS * rng.uniform(-0.2, 0.2) + _DOWN * rng.uniform(-0.2, 0.2)) / SIDE
    grain = rng.standard_normal((SIDE, SIDE), np.float32) * np.float32(rng.uniform(0, 6))
    picture = np.empty((SIDE, SIDE, 3), np.float32)
    for channel in range(3):
        field = standardise(tone + palette.tint[channel] * hue)
        field = palette.mean[channel] + palette.spread[channel] * field
        picture[..., channel] = field * light + grain
    return picture.clip(0, 255).round().astype(np.uint8)


def _uniform(rng: np.random.Generator) -> Field:
    """One number in [-1, 1] for each place of the lattice."""
    return 2 * rng.random(_LATTICE**2, np.float32) - 1
