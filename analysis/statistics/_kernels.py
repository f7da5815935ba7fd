"""Compiled inner loops: ranking, the signed distance on ranks and on bins, histograms by class.

The exact distance works on integers. Of N images, n_c belong to class c; after the first e images
in sorted order, k of them inner, the gap between the two distribution functions is

    F_in - F_out = (k N - n_c e) / (n_c (N - n_c)),

so comparing k N - n_c e, the *scaled gap*, finds the widest gap without rounding.

A feature is ranked into *codes*, the visiting order of its images without those at exactly zero:
first the negative values upwards from the lowest, then the positive ones downwards from the
highest. A code is ``2 * image + last``, ``last`` set where a group of equal values ends. Both runs
end at the block of zeros; its class counts follow from the rest, so zeros are never sorted.

These kernels share a file because numba's cache notices changes to a kernel's own file only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., Any])

LINE = 64
"""Bytes of a cache line. Features are packed as many together as one line of a row holds: twice as
many have taken ten times as long."""

TILE = 16
"""That many of float32, by which the work is divided."""

PADDING = 80
"""Keeps the rows of a work space off the same cache sets when their length is a power of two."""


def jit(function: Function) -> Function:
    """Compile without the interpreter's lock, cached on disk where a folder can be written."""
    try:
        return cast(Function, numba.njit(nogil=True, cache=True)(function))
    except RuntimeError:  # numba found no writable folder for its cache
        return cast(Function, numba.njit(nogil=True)(function))


Array = NDArray[Any]

DIGIT = 11  # bits sorted per pass: three passes for 32 bits, six for 64
RADIX = 1 << DIGIT


@jit
def _pack(bits: Array, first: int, width: int, keys: Array, images: Array, counts: Array) -> None:
    """Transpose ``width`` features into sortable keys of their non-zero values, with the images.

    The bits of IEEE numbers sort like unsigned integers once the sign bit of positive numbers and
    every bit of negative ones are flipped.
    """
    unsigned = keys.dtype.type
    shift = unsigned(keys.itemsize * 8 - 1)
    sign = unsigned(1) << shift
    counts[:width] = 0
    for i in range(bits.shape[0]):
        for j in range(width):
            u = bits[i, first + j]
            at = counts[j]
            keys[j, at] = u ^ (sign | (unsigned(0) - (u >> shift)))
            images[j, at] = i
            counts[j] = at + (unsigned(u << unsigned(1)) != unsigned(0))


@jit
def _sort(keys: Array, images: Array, size: int, space: Any, lowest: int) -> bool:
    """Radix sort from the digit ``lowest`` upwards; True if the result lies in the spare arrays."""
    _, _, spare_keys, spare_images, table = space
    unsigned = keys.dtype.type
    width = unsigned(DIGIT)
    mask = unsigned(RADIX - 1)
    table[lowest:] = 0
    for d in range(lowest, table.shape[0], 3):  # three digits at a time keep the processor busy
        low, middle, high = table[d], table[d + 1], table[d + 2]
        shift = unsigned(d) * width
        for i in range(size):
            key = keys[i] >> shift
            low[key & mask] += np.uint32(1)
            middle[(key >> width) & mask] += np.uint32(1)
            high[(key >> (width + width)) & mask] += np.uint32(1)
        at_low, at_middle, at_high = np.uint32(0), np.uint32(0), np.uint32(0)
        for r in range(RADIX):
            n_low, n_middle, n_high = low[r], middle[r], high[r]
            low[r], middle[r], high[r] = at_low, at_middle, at_high
            at_low += n_low
            at_middle += n_middle
            at_high += n_high
    moved = False
    for d in range(lowest, table.shape[0]):
        place = table[d]
        shift = unsigned(d) * width
        if size > 0:
            digit = (keys[0] >> shift) & mask
            after = place[digit + unsigned(1)] if digit < mask else np.uint32(size)
            if place[digit] == 0 and after == size:
                continue  # every key has this digit, as half-precision values do
        for i in range(size):
            key = keys[i]
            digit = (key >> shift) & mask
            at = place[digit]
            spare_keys[at] = key
            spare_images[at] = images[i]
            place[digit] = at + np.uint32(1)
        keys, spare_keys = spare_keys, keys
        images, spare_images = spare_images, images
        moved = not moved
    return moved


@jit
def _settle(keys: Array, images: Array, size: int) -> bool:
    """Sort nearly sorted keys by insertion; False, unfinished, where that would take long."""
    budget = 4 * size
    for i in range(1, size):
        key, image = keys[i], images[i]
        at = i
        while at > 0 and keys[at - 1] > key:
            keys[at], images[at] = keys[at - 1], images[at - 1]
            at -= 1
        keys[at], images[at] = key, image
        budget -= i - at
        if budget < 0:
            return False
    return True


@jit
def _count_nan(keys: Array) -> int:
    """Count the NaN among sorted keys, where they lie beyond the infinities at either end."""
    unsigned = keys.dtype.type
    infinity = 0xFF800000 if keys.itemsize == 4 else 0xFFF0000000000000
    top = unsigned(infinity)
    bottom = unsigned(~top)
    count = 0
    while count < keys.size and keys[count] < bottom:
        count += 1
    at = keys.size
    while at > count and keys[at - 1] > top:
        at -= 1
    return int(count + keys.size - at)


@jit
def _encode(keys: Array, images: Array, size: int, codes: Array) -> int:
    """Write the codes of ``size`` sorted keys (with room for one more); counts the negative."""
    code = codes.dtype.type
    one = code(1)
    zero = keys.dtype.type(1) << keys.dtype.type(keys.itemsize * 8 - 1)
    below = int(np.searchsorted(keys[:size], zero))
    for i in range(below):
        codes[i] = (code(images[i]) << one) | code(keys[i] != keys[i + 1])
    for i in range(below, size):
        codes[below + size - 1 - i] = (code(images[i]) << one) | code(keys[i] != keys[i - 1])
    if below > 0:
        codes[below - 1] |= one
    if size > below:
        codes[size - 1] |= one
    return below


@jit
def _walk(codes: Array, classes: Any, inner: Array, low: Array, high: Array) -> None:
    """Follow one run of codes; ``inner`` ends as k N, ``low`` and ``high`` as extreme scaled gaps.

    The lowest gap of a class lies just before a group of equal values that holds one of its
    images, the highest at the end of one. Where k has moved inside a group and e has not, the gap
    is only larger than just before the group, so it may take part in the search for the lowest.
    """
    labels, sizes = classes
    code = codes.dtype.type
    one = code(1)
    n_images = labels.size
    groups = np.intp(0)
    for i in range(codes.size):
        groups += np.intp(codes[i] & one)
    if groups == codes.size:  # no ties: the common case without its branches
        for i in range(codes.size):
            c = labels[codes[i] >> one]
            gap = inner[c] - sizes[c] * i
            inner[c] += n_images
            low[c] = min(low[c], gap)
            high[c] = max(high[c], gap + n_images - sizes[c])
        return
    start = 0
    for i in range(codes.size):
        c = labels[codes[i] >> one]
        low[c] = min(low[c], inner[c] - sizes[c] * start)
        inner[c] += n_images
        if codes[i] & one:
            for member in range(start, i + 1):
                c = labels[codes[member] >> one]
                high[c] = max(high[c], inner[c] - sizes[c] * (i + 1))
            start = i + 1


@jit
def signed(low: int, high: int, size: int, n_images: int) -> float:
    """Distance from a class's lowest and highest scaled gap; of two equal ones, the negative."""
    return (-low if -low > high else -high) / (size * (n_images - size))


@jit
def _distances(codes: Array, below: int, classes: Any, state: Array, out: Array) -> None:
    """Signed distances (classes,) of one feature into ``out``."""
    labels, sizes = classes
    above = codes.size - below
    n_images = labels.size
    state[:] = 0
    _walk(codes[:below], classes, state[0], state[1], state[2])
    _walk(codes[below:], classes, state[3], state[4], state[5])
    for c in range(sizes.size):
        # From above, k and e count from the top, so that scaled gaps come with the other sign.
        before_zeros = state[0, c] - sizes[c] * below
        after_zeros = sizes[c] * above - state[3, c]
        low = min(min(state[1, c], -state[5, c]), min(before_zeros, after_zeros))
        high = max(max(state[2, c], -state[4, c]), max(before_zeros, after_zeros))
        out[c] = signed(low, high, sizes[c], n_images)


@jit
def _work_space(bits: Array, codes: Array) -> Any:
    """Arrays that one thread reuses for all its tiles."""
    stride = bits.shape[0] + PADDING
    together = LINE // bits.itemsize
    return (
        np.empty((together, stride), bits.dtype),
        np.empty((together, stride), codes.dtype),
        np.empty(stride, bits.dtype),
        np.empty(stride, codes.dtype),
        np.empty((3 * (bits.itemsize // 4), RADIX), np.uint32),
    )


@jit
def _rank(keys: Array, images: Array, size: int, space: Any, codes: Array) -> tuple[int, int]:
    """Codes of one packed feature; returns the counts of negative values and of NaN.

    The upper half of a 64-bit key tells most values apart, so that half is sorted first.
    """
    first, second, spare_keys, spare_images, table = space
    upper = table.shape[0] - 3
    if _sort(keys, images, size, space, upper):
        keys, images, spare_keys, spare_images = spare_keys, spare_images, keys, images
    spare = (first, second, spare_keys, spare_images, table)
    if upper > 0 and not _settle(keys, images, size) and _sort(keys, images, size, spare, 0):
        keys, images = spare_keys, spare_images
    return _encode(keys, images, size, codes), _count_nan(keys[:size])


@jit
def rank_columns(
    bits: Array, first: int, last: int, codes: Array, counts: Array, below: Array, nan: Array
) -> None:
    """Rank the features ``first`` to ``last`` of ``bits`` (images, features).

    Row j of ``codes``, counted from ``first`` as in all results, receives ``counts[j]`` codes,
    ``below[j]`` of them of negative values; where ``nan[j]`` is not 0 they mean nothing.
    """
    space = _work_space(bits, codes)
    keys, images = space[0], space[1]
    for tile in range(0, last - first, keys.shape[0]):
        width = min(keys.shape[0], last - first - tile)
        _pack(bits, first + tile, width, keys, images, counts[tile:])
        for j in range(width):
            at = tile + j
            below[at], nan[at] = _rank(keys[j], images[j], counts[at], space, codes[at])


@jit
def distance_columns(
    bits: Array, first: int, last: int, row: Array, classes: Any, out: Array, nan: Array
) -> None:
    """Signed distances ``out[:, first:last]``; ``row`` (images,) holds one feature's codes."""
    space = _work_space(bits, row)
    keys, images = space[0], space[1]
    counts = np.empty(keys.shape[0], np.int64)
    state = np.empty((6, classes[1].size), np.int64)
    found = np.empty((keys.shape[0], classes[1].size))
    for tile in range(first, last, keys.shape[0]):
        width = min(keys.shape[0], last - tile)
        _pack(bits, tile, width, keys, images, counts)
        for j in range(width):
            below, nan[tile + j] = _rank(keys[j], images[j], counts[j], space, row)
            _distances(row[: counts[j]], below, classes, state, found[j])
        out[:, tile : tile + width] = found[:width].T


@jit
def distances_of_ranked(ranks: Any, first: int, last: int, classes: Any, out: Array) -> None:
    """Signed distances ``out[:, first:last]`` of features whose codes end at ``stops``."""
    codes, stops, below = ranks
    state = np.empty((6, classes[1].size), np.int64)
    found = np.empty((TILE, classes[1].size))
    for tile in range(first, last, TILE):
        width = min(TILE, last - tile)
        for j in range(tile, tile + width):
            start = stops[j - 1] if j > 0 else 0
            _distances(codes[start : stops[j]], below[j], classes, state, found[j - tile])
        out[:, tile : tile + width] = found[:width].T


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
def _count(values: Array, ends: Any, labels: Array, edges: Array, table: Array) -> None:
    """Count values of one feature, all between both ends, into ``table`` (bins, classes)."""
    low, high = ends
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
        _count(values, (low, high), labels, edges, table)
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
def _of_table(table: Array, sizes: Array, n_images: int, state: Array, out: Array) -> None:
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
    classes: Any,
    out: Array,
    nan: Array,
    infinite: Array,
) -> None:
    """Signed distances ``out[:, first:last]`` on bins, 0 beside ``nan`` or an infinite range."""
    labels, sizes = classes
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
            _of_table(table, sizes, n_images, state, out[:, tile + j])


@jit
def count_columns(
    X: Array, first: int, last: int, ends: Any, labels: Array, tables: Array, outside: Array
) -> None:
    """Add the features ``first`` to ``last`` of X to ``tables`` (features, bins, classes).

    ``ends`` are the least and the greatest value of each feature. ``outside`` counts values beyond
    them; beside any there are no counts.
    """
    low, high = ends
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
                _count(own, (low[at], high[at]), labels, edges, tables[at])


@jit
def table_columns(tables: Array, first: int, last: int, sizes: Array, out: Array) -> None:
    """Signed distances ``out[:, first:last]`` of counts ``tables`` (features, bins, classes)."""
    n_images = sizes.sum()
    state = np.empty((3, sizes.size), np.int64)
    for j in range(first, last):
        _of_table(tables[j], sizes, n_images, state, out[:, j])
