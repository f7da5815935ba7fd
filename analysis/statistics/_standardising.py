"""Moments of features, and their discretisation, without a second copy of the array."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from analysis.statistics.blocks import blocks_of

Array = NDArray[Any]

FIT_VALUES, TRANSFORM_VALUES = 2**22, 2**19
"""Values held in float64 at a time."""


def columns(X: Array | xr.DataArray, kept: NDArray[np.int64]) -> Iterator[tuple[int, Array]]:
    """Yield ``(first, block)``: the kept features as float64, some at a time."""
    blocks: Iterable[tuple[int, Array]]
    blocks = blocks_of(X.isel(feature=kept)) if isinstance(X, xr.DataArray) else [(0, X)]
    step = max(1, FIT_VALUES // X.shape[0])
    for offset, block in blocks:
        n = block.shape[1] if isinstance(X, xr.DataArray) else kept.size
        for first in range(0, n, step):
            part = slice(first, min(first + step, n))
            taken = block[:, part] if isinstance(X, xr.DataArray) else block[:, kept[part]]
            yield offset + first, taken.astype(np.float64)


def moments(X: Array | xr.DataArray, kept: NDArray[np.int64]) -> tuple[Array, Array]:
    """Mean and standard deviation (population's) of the kept features."""
    mean, scale = np.empty((2, kept.size))
    for first, block in columns(X, kept):
        part = slice(first, first + block.shape[1])
        # Rounding gives equal values a mean beside them, and so a deviation.
        constant = (block == block[0]).all(axis=0)
        mean[part] = np.where(constant, block[0], block.mean(axis=0))
        scale[part] = np.where(constant, 0.0, block.std(axis=0))
    bad = np.flatnonzero(~np.isfinite(mean + scale))
    if bad.size:
        raise ValueError(
            f"expected finite features of a finite variance, got NaN, infinity or a number too "
            f"large in {bad.size}, first in feature {kept[bad[0]]}"
        )
    return mean, scale


def discretised(
    X: Array, kept: NDArray[np.int64], mean: Array, scale: Array, *, lower: float, upper: float
) -> NDArray[np.int8]:
    """-1, 0 or 1 for every image and kept feature, some images at a time."""
    out = np.empty((len(X), kept.size), np.int8)
    divisor = np.where(scale > 0, scale, 1.0)
    rows = max(1, TRANSFORM_VALUES // max(1, kept.size))
    for first in range(0, len(X), rows):
        part = X[first : first + rows]
        z = (part if kept.size == X.shape[1] else part[:, kept]) - mean
        if not np.isfinite(z).all():
            raise ValueError(
                f"expected finite features, got {(~np.isfinite(z)).sum()} that are not"
            )
        z /= divisor
        out[first : first + rows] = np.subtract(z > upper, z < lower, dtype=np.int8)
    out[:, scale == 0] = 0
    return out
