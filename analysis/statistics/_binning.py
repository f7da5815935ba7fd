"""Compiled inner loops on equal bins: histograms by class, and the signed distance on them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.statistics._compiling import PADDING, TILE, jit
from analysis.statistics._kernels import signed

Array = NDArray[Any]


@jit
def _bin(values: Array, edges: Array, labels: Array, table: Array) -> None:
    """Count values per bin and class as ``numpy.histogram`` bins them, rounding included."""
    bins = table.shape[0]
    span = edges[bins] - edges[0]
    for i in range(values.size):
        value = values[i]
        b = min(int((value - edges[0]) / span * bins), bins - 1)
        if value < edges[b]:
            b -= 1
        elif b < bins - 1 and value >= edges[b + 1]:
            b += 1
        table[b, labels[i]] += 1


@jit
def _count(
    values: Array, low: float, high: float, labels: Array, edges: Array, table: Array
) -> None:
    """Count values of one feature, all from ``low`` to ``high``, into ``table`` (bins, classes)."""
    if low == high:
        for i in range(values.size):
            table[0, labels[i]] += 1
        return
    bins = table.shape[0]
    step = (high - low) / bins
    for b in range(bins):
        edges[b] = b * step + low
    edges[bins] = high
    _bin(values, edges, labels, table)


@jit
def _tabulate(values: Array, labels: Array, edges: Array, table: Array) -> tuple[int, bool]:
    """Count one feature into ``table`` (bins, classes).

    Returns how many values are NaN and whether the range is infinite; beside either there are no
    counts. A constant feature fills the first bin.
    """
    low, high = values.min(), values.max()
    nan = int(np.isnan(values).sum())
    infinite = not np.isfinite(high - low)
    table[:] = 0
    if nan == 0 and not infinite:
        _count(values, low, high, labels, edges, table)
    return nan, infinite


@jit
def _turn(X: Array, first: int, last: int, values: Array) -> None:
    """Lay the features ``first`` to ``last`` out one after the other."""
    for i in range(X.shape[0]):
        for j in range(last - first):
            values[j, i] = X[i, first + j]


@jit
def histogram_columns(
    X: Array, first: int, last: int, labels: Array, tables: Array, nan: Array, infinite: Array
) -> None:
    """Count the features ``first`` to ``last`` into ``tables`` (features, bins, classes).

    Beside ``nan`` or an infinite range there are no counts.
    """
    values = np.empty((last - first, labels.size + PADDING))
    edges = np.empty(tables.shape[1] + 1)
    _turn(X, first, last, values)
    for j in range(last - first):
        found = _tabulate(values[j, : labels.size], labels, edges, tables[j])
        nan[first + j], infinite[first + j] = found


@jit
def _distances(table: Array, sizes: Array, n_images: int, state: Array, out: Array) -> None:
    """Signed distances (classes,) of one feature's counts (bins, classes) into ``out``."""
    state[:] = 0
    outer = np.int64(0)
    for b in range(table.shape[0]):
        for c in range(sizes.size):
            outer += np.int64(table[b, c])
        for c in range(sizes.size):
            state[0, c] += np.int64(table[b, c]) * n_images
            gap = state[0, c] - sizes[c] * outer
            state[1, c] = min(state[1, c], gap)
            state[2, c] = max(state[2, c], gap)
    for c in range(sizes.size):
        out[c] = signed(state[1, c], state[2, c], sizes[c], n_images)


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
    state = np.empty((3, sizes.size), np.int64)
    for tile in range(first, last, TILE):
        width = min(TILE, last - tile)
        _turn(X, tile, tile + width, values)
        for j in range(width):
            found = _tabulate(values[j, :n_images], labels, edges, table)
            nan[tile + j], infinite[tile + j] = found
            _distances(table, sizes, n_images, state, out[:, tile + j])


@jit
def range_columns(X: Array, first: int, last: int, low: Array, high: Array, nan: Array) -> None:
    """Widen ``low`` and ``high`` by the features ``first`` to ``last`` of X, and count NaN."""
    for i in range(X.shape[0]):
        for j in range(first, last):
            value = X[i, j]
            if value < low[j]:
                low[j] = value
            if value > high[j]:
                high[j] = value
            if value != value:
                nan[j] += 1


@jit
def count_columns(
    X: Array,
    first: int,
    last: int,
    low: Array,
    high: Array,
    labels: Array,
    tables: Array,
    outside: Array,
) -> None:
    """Add the features ``first`` to ``last`` of X to ``tables`` (features, bins, classes).

    ``outside`` counts values outside their feature's range, ``low`` to ``high``; beside any there
    are no counts.
    """
    values = np.empty((TILE, labels.size + PADDING))
    edges = np.empty(tables.shape[1] + 1)
    for tile in range(first, last, TILE):
        width = min(TILE, last - tile)
        _turn(X, tile, tile + width, values)
        for j in range(width):
            at = tile + j
            own = values[j, : labels.size]
            for i in range(own.size):
                outside[at] += not (low[at] <= own[i] <= high[at])
            if outside[at] == 0:
                _count(own, low[at], high[at], labels, edges, tables[at])


@jit
def table_columns(tables: Array, first: int, last: int, sizes: Array, out: Array) -> None:
    """Signed distances ``out[:, first:last]`` of counts ``tables`` (features, bins, classes)."""
    n_images = sizes.sum()
    state = np.empty((3, sizes.size), np.int64)
    for j in range(first, last):
        _distances(tables[j], sizes, n_images, state, out[:, j])
