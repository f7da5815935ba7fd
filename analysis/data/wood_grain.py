"""Drawing wood by its grain: a fine-grained task, brown throughout, told by structure alone.

A board is drawn from a field of year rings, with u across its grain and v along it; what differs
from class to class is how the rings run and what interrupts them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from analysis.data.noise import (
    Field,
    Palette,
    cells,
    fractal_noise,
    paint,
    shade,
    smoothstep,
    value_noise,
    view,
    warp,
)

__all__ = ["WOOD_GRAINS", "render_wood_grain"]

_TASK = 0x776F  # keeps these draws apart from those of other drawn tasks
_SPECIES = np.array(  # mean colours between which a board is drawn
    [
        [214, 182, 138],  # maple
        [203, 160, 104],  # pine
        [176, 132, 86],  # oak
        [158, 100, 66],  # cherry
        [112, 78, 54],  # walnut
    ],
    np.float32,
)


def render_wood_grain(label: int, index: int, *, stream: int, seed: int) -> npt.NDArray[np.uint8]:
    """Draw one piece of wood.

    Parameters
    ----------
    label : int
        Position in ``WOOD_GRAINS``.
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
    if not 0 <= label < len(WOOD_GRAINS):
        raise IndexError(
            f"expected a label in 0..{len(WOOD_GRAINS) - 1}, one of the {len(WOOD_GRAINS)} grains, "
            f"but got {label}"
        )
    rng = np.random.default_rng((_TASK, stream, seed, label, index))
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
    result: Field = -smoothstep(0.15, 0.85, year) * smoothstep(1.0, 0.88, year)
    return result


def _fibres(u: Field, v: Field, rng: np.random.Generator) -> Field:
    """Fine streaks along the grain, and short dark pores."""
    streaks = value_noise(u / 2, v / 32, rng) + 0.6 * value_noise(u / 5, v / 60, rng)
    pores = smoothstep(0.55, 0.85, value_noise(u / 1.5, v / 9, rng))
    strength = np.float32(rng.uniform(0.1, 0.25))
    result: Field = strength * streaks - 1.5 * strength * pores
    return result


def _ring_width(rng: np.random.Generator) -> float:
    return float(rng.uniform(7, 12))


def _quarter_sawn(u: Field, v: Field, rng: np.random.Generator) -> Field:
    ring = u / (0.7 * _ring_width(rng)) + 0.7 * value_noise(u / 40, v / 90, rng)
    bend = value_noise(u / 14, v / 20, rng)
    flecks = value_noise(u / 10, v / 3.2 + 0.25 * bend, rng) + 0.3 * value_noise(
        u / 30, v / 30, rng
    )
    tone: Field = 0.7 * _rings(ring) + _fibres(u, v, rng) + 0.9 * smoothstep(0.35, 0.75, flecks)
    return tone


def _plain_sawn(u: Field, v: Field, rng: np.random.Generator) -> Field:
    width = _ring_width(rng)
    middle, blunt = rng.uniform(-14, 14), rng.uniform(0.8, 2.0)
    ragged = 0.35 * fractal_noise(u / 9, v / 45, rng, octaves=2)
    across = (u - np.float32(middle)) / np.float32(width)
    ring = np.sqrt(across**2 + np.float32(blunt) ** 2) + v / np.float32(rng.uniform(18, 30))
    tone: Field = _rings(ring + ragged + np.float32(rng.uniform())) + _fibres(u, v, rng)
    return tone


def _curly(u: Field, v: Field, rng: np.random.Generator) -> Field:
    sway = 1.2 * value_noise(u / 30, v / 28, rng)
    phase = v / np.float32(rng.uniform(14, 24)) + sway
    band = np.sin(2 * np.pi * phase) * (0.7 + 0.5 * value_noise(u / 25, v / 25, rng))
    ring = u / _ring_width(rng) + 0.13 * np.sin(2 * np.pi * phase + 1.5)
    tone: Field = 0.4 * _rings(ring) + 0.4 * band + _fibres(u + 1.5 * band, v, rng)
    return tone


def _birds_eye(u: Field, v: Field, rng: np.random.Generator) -> Field:
    size = np.float32(rng.uniform(17, 24))
    eyes = cells(u / size, v / size / 1.2, rng, jitter=0.9, aspect=1.2)
    near = eyes.nearest * size
    seen = eyes.draw(rng) > -0.5
    lens = np.exp(-((near / 5) ** 2)) * seen
    ring = u / _ring_width(rng) + 0.5 * value_noise(u / 30, v / 60, rng) + 0.7 * lens
    halo = np.exp(-(((near - 4.2) / 1.3) ** 2)) * seen
    pupil = np.exp(-((near / 1.9) ** 2)) * seen
    tone: Field = 0.6 * _rings(ring) + _fibres(u, v, rng) + 0.45 * halo - 1.5 * pupil
    return tone


def _burl(u: Field, v: Field, rng: np.random.Generator) -> Field:
    u, v = warp(u, v, rng, size=26, by=14)
    swirl = fractal_noise(u / 42, v / 42, rng, octaves=2)
    ring = 4.5 * swirl + u / 60
    buds = cells(u / 26, v / 26, rng, jitter=0.9)
    shown = buds.draw(rng) > 0.1
    bud = np.exp(-((buds.nearest * 26 / 3.5) ** 2)) * shown
    fine = value_noise(3.5 * ring, u / 60, rng)
    tone: Field = 0.7 * _rings(ring + 0.8 * bud) + 0.2 * fine - 0.9 * bud + _fibres(u, v, rng)
    return tone


def _spalted(u: Field, v: Field, rng: np.random.Generator) -> Field:
    ring = u / _ring_width(rng) + 0.6 * value_noise(u / 40, v / 80, rng)
    zone = fractal_noise(u / 34, v / 60, rng, octaves=4, gain=0.6)
    level = zone - np.float32(rng.uniform(-0.25, 0.25))
    line = sum(np.exp(-(((level - at) / 0.035) ** 2)) for at in (-0.45, 0.0, 0.4))
    bleached = 0.35 * np.tanh(8 * level) * np.float32(rng.uniform(0.5, 1))
    tone: Field = 0.45 * _rings(ring) + _fibres(u, v, rng) + bleached - 1.9 * np.minimum(line, 1)
    return tone


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
    width, radius = _ring_width(rng), float(rng.uniform(13, 21))
    _, part, parted = _around(u, v, radius, rng)
    grain = _rings(parted / width + 0.5 * value_noise(u / 30, v / 60, rng))
    knot = _rings(part * radius / 4.5 + 0.3 * value_noise(u / 8, v / 8, rng))
    inside = smoothstep(1.2, 0.8, part)
    fibres = _fibres(parted, v, rng)
    heart = -0.7 - 0.5 * np.exp(-((part / 0.25) ** 2)) + 0.45 * knot
    tone: Field = (1 - inside) * (0.8 * grain + fibres) + inside * heart
    return tone


def _dry_knot(u: Field, v: Field, rng: np.random.Generator) -> Field:
    width, radius = _ring_width(rng), float(rng.uniform(12, 20))
    bearing, part, parted = _around(u, v, radius, rng)
    grain = _rings(parted / width + 0.5 * value_noise(u / 30, v / 60, rng))
    rough = fractal_noise(u / 5, v / 5, rng, octaves=2)
    bark = np.exp(-(((part - 0.98) / 0.11) ** 2)) * (0.9 + 0.3 * rough)
    turns = int(rng.integers(3, 6))
    spoke = np.cos(turns * (bearing + 0.25 * rough) + np.float32(rng.uniform(0, 6.28)))
    split = smoothstep(0.9, 0.98, spoke) * smoothstep(0.1, 0.3, part) * (part < 0.9)
    inside = smoothstep(1.02, 0.94, part)
    heart = -0.3 + 0.3 * rough + 0.15 * shade(rough, rng) - 1.5 * split
    tone: Field = (
        (1 - inside) * (0.8 * grain + _fibres(parted, v, rng)) + inside * heart - 1.9 * bark
    )
    return tone


_GRAINS: dict[str, Callable[[Field, Field, np.random.Generator], Field]] = {
    "birds_eye": _birds_eye,
    "burl": _burl,
    "curly": _curly,
    "dry_knot": _dry_knot,
    "plain_sawn": _plain_sawn,
    "quarter_sawn": _quarter_sawn,
    "sound_knot": _sound_knot,
    "spalted": _spalted,
}
WOOD_GRAINS = tuple(_GRAINS)
