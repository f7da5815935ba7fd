"""Compiled inner loops of the signed Kolmogorov-Smirnov distance on bins."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.statistics._compiling import PADDING, TILE, jit
from analysis.statistics._kernels import signed

Array = NDArray[Any]


@jit
def _bin(values: Array, edges: Array, labels: Array, table: Array, totals: Array) -> None:
    """Count values per bin and class as ``numpy.histogram`` bins them, rounding included."""
    bins = totals.size
    span = edges[bins] - edges[0]
    for i in range(values.size):
        value = values[i]
        b = min(int((value - edges[0]) / span * bins), bins - 1)
        if value < edges[b]:
            b -= 1
        elif b < bins - 1 and value >= edges[b + 1]:
            b += 1
        table[b, labels[i]] += 1
        totals[b] += 1


@jit
def binned_columns(
    X: Array,
    first: int,
    last: int,
    bins: int,
    labels: Array,
    sizes: Array,
    out: Array,
    nan: Array,
    infinite: Array,
) -> None:
    """Signed distances ``out[:, first:last]`` on bins, 0 beside ``nan`` or an infinite range."""
    n_images = labels.size
    values = np.empty((TILE, n_images + PADDING))
    edges = np.empty(bins + 1)
    table = np.empty((bins, sizes.size), np.int64)
    totals = np.empty(bins, np.int64)
    state = np.empty((3, sizes.size), np.int64)
    for tile in range(first, last, TILE):
        width = min(TILE, last - tile)
        for i in range(n_images):
            for j in range(width):
                values[j, i] = X[i, tile + j]
        for j in range(width):
            column = values[j, :n_images]
            low, high = column.min(), column.max()
            nan[tile + j] = np.isnan(column).sum()
            infinite[tile + j] = not np.isfinite(high - low)
            if nan[tile + j] or infinite[tile + j] or low == high:
                out[:, tile + j] = 0.0
                continue
            step = (high - low) / bins
            for b in range(bins):
                edges[b] = b * step + low
            edges[bins] = high
            table[:] = 0
            totals[:] = 0
            _bin(column, edges, labels, table, totals)
            state[:] = 0
            outer = 0
            for b in range(bins):
                outer += totals[b]
                for c in range(sizes.size):
                    state[0, c] += table[b, c] * n_images
                    gap = state[0, c] - sizes[c] * outer
                    state[1, c] = min(state[1, c], gap)
                    state[2, c] = max(state[2, c], gap)
            for c in range(sizes.size):
                out[c, tile + j] = signed(state[1, c], state[2, c], sizes[c], n_images)
