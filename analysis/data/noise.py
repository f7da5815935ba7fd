"""Noise, cells and light: the primitives that procedural textures are drawn from.

Every function that draws takes its random generator, and none uses threads, so that a seed gives
the same picture on any number of cores. Fields are 96 × 96, float32 where speed matters.

Textures are functions of *texture coordinates* (u, v), in pixels, which ``view`` draws: turned,
mirrored, zoomed, stretched and tilted. ``value_noise`` and ``cells`` have a lattice of spacing 1,
so a texture divides its coordinates by the size it wants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

__all__ = [
    "SIDE",
    "Cells",
    "Field",
    "Palette",
    "any_palette",
    "band_noise",
    "cells",
    "fractal_noise",
    "paint",
    "shade",
    "smoothstep",
    "standardise",
    "value_noise",
    "view",
    "warp",
]

SIDE = 96  # pixels: drawn images are SIDE x SIDE
_LATTICE = 32  # cells and noise repeat after so many: more than a picture shows

Field = npt.NDArray[np.floating[Any]]

_HALF = np.float32((SIDE - 1) / 2)
_DOWN, _ACROSS = (axis - _HALF for axis in np.mgrid[:SIDE, :SIDE].astype(np.float32))
_FY = np.fft.fftfreq(SIDE).astype(np.float32)[:, None]
_FX = np.fft.fftfreq(SIDE).astype(np.float32)[None, :]
_RADIUS = np.hypot(_FY, _FX) + np.float32(1e-6)
_LOG_RADIUS = np.log(_RADIUS)
_BEARING = np.arctan2(_FY, _FX)


@dataclass(frozen=True)
class Cells:
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
        return _uniform(rng, _LATTICE**2)[self.identity]


@dataclass(frozen=True)
class Palette:
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
    table = _uniform(rng, _LATTICE**2)
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
    result: Field = upper + down * (lower - upper)
    return result


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
    coarse_u, coarse_v = u / np.float32(size), v / np.float32(size)
    strength = np.float32(by)
    return (
        u + strength * value_noise(coarse_u, coarse_v, rng),
        v + strength * value_noise(coarse_u, coarse_v, rng),
    )


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
    x, y = (np.float32(0.5 * jitter) * _uniform(rng, _LATTICE**2) + np.float32(0.5) for _ in "xy")
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
    result: Field = t * t * (3 - 2 * t)
    return result


def standardise(field: Field) -> Field:
    """Shift and scale to mean 0 and standard deviation 1; a flat field becomes 0."""
    centred = field - field.mean()
    result: Field = centred / max(float(centred.std()), 1e-6)
    return result


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


def _uniform(rng: np.random.Generator, n: int) -> Field:
    return 2 * rng.random(n, np.float32) - 1
