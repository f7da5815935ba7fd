"""Features of an array, a block at a time, over the threads of the machine.

Everything the statistics compute is independent by feature. A block is what fits comfortably in
memory: whole chunks of a Dask array, or some tens of megabytes of anything else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from math import ceil
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from analysis.statistics._compiling import TILE

BLOCK_VALUES = 2**24
"""Values per block where the array does not say: 64 MB of float32."""

DIMS = ("image", "feature")

_EXACT_IN_FLOAT32 = 2**24
_EXACT_IN_FLOAT64 = 2**53
_WORTH_THREADS = 2**18


def conform(X: ArrayLike | xr.DataArray) -> NDArray[Any] | xr.DataArray:
    """Check the shape of X; returns it as (images, features), not yet read if it is lazy.

    Raises
    ------
    ValueError
        No images or no features, not two dimensions, other dimension names.
    """
    if isinstance(X, xr.DataArray):
        if set(X.dims) != set(DIMS):
            raise ValueError(
                f"expected the dimensions {DIMS}, got {X.dims}: rename them with X.rename(...)"
            )
        X = X.transpose(*DIMS)
    else:
        X = np.asarray(X)
        if X.ndim != 2:
            raise ValueError(f"expected X of shape (images, features), got {X.shape}")
    if 0 in X.shape:
        raise ValueError(f"expected at least one image and one feature, got X of shape {X.shape}")
    return X


def features_of(X: ArrayLike | xr.DataArray) -> xr.Dataset | None:
    """Coordinates of a DataArray's features, with its attributes; None for other arrays."""
    if not isinstance(X, xr.DataArray):
        return None
    coords = {name: x.variable for name, x in X.coords.items() if x.dims == ("feature",)}
    return xr.Dataset(coords=coords, attrs=X.attrs)


def blocks_of(X: NDArray[Any] | xr.DataArray) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield ``(first feature, block)`` of a conforming X.

    A block (images, width) is a writeable C-ordered array of float32 or float64, whichever holds
    the values without loss: the one kind of array that the kernels are compiled for. Chunks of a
    Dask array are computed some at a time, each once.

    Raises
    ------
    ValueError
        Values that are not real numbers or not exact in float64.
    """
    for first, last in pairwise(_bounds(X)):
        if isinstance(X, xr.DataArray):
            yield first, _as_float(X.variable[:, first:last].values)
        else:
            yield first, _as_float(X if last - first == X.shape[1] else X[:, first:last])


def _bounds(X: NDArray[Any] | xr.DataArray) -> list[int]:
    """Columns at which blocks start, and the end; chunks are joined up to a block, never cut."""
    n_images, n_features = X.shape
    wanted = max(TILE, BLOCK_VALUES // n_images)
    if isinstance(X, np.ndarray) and _is_plain(X):
        return [0, n_features]  # in memory already, and used as it is
    ends = [*range(wanted, n_features, wanted), n_features]
    if isinstance(X, xr.DataArray) and X.chunks is not None:
        ends = np.cumsum(X.chunks[1]).tolist()
    bounds = [0]
    for end, following in pairwise(ends):
        if following - bounds[-1] > wanted:
            bounds.append(end)
    return [*bounds, n_features]


def _is_plain(X: NDArray[Any]) -> bool:
    in_order = X.flags.c_contiguous and X.flags.writeable
    return in_order and X.dtype in (np.dtype(np.float32), np.dtype(np.float64))


def _as_float(block: NDArray[Any]) -> NDArray[Any]:
    """Give the same numbers as a plain array, itself if it is one."""
    dtype: type[np.float32] | type[np.float64]
    kind, size = block.dtype.kind, block.dtype.itemsize
    if kind == "f" and size <= 8:
        dtype = np.float64 if size == 8 else np.float32
    elif kind in "iub":
        largest = max(abs(int(block.min())), abs(int(block.max())))
        if largest > _EXACT_IN_FLOAT64:
            raise ValueError(
                f"integers up to {largest} are not exact in float64 (limit 2**53): subtract an "
                "offset"
            )
        dtype = np.float32 if largest <= _EXACT_IN_FLOAT32 else np.float64
    else:
        raise ValueError(
            f"expected real numbers of at most 64 bits, got {block.dtype}: convert X, for example "
            "with X.astype('float32')"
        )
    return np.require(block, dtype, ("C", "W"))


def run_in_threads(
    task: Callable[[int, int], None], n_images: int, n_features: int, threads: int | None
) -> None:
    """Call ``task(first, last)`` on runs of features that together cover all of them.

    Parameters
    ----------
    task : callable
        Releases the interpreter's lock and writes only what belongs to its features.
    n_images, n_features : int
        Size of the work; little of it is done without starting threads.
    threads : int or None
        At most so many at once; None takes every processor that this process may use.

    Raises
    ------
    ValueError
        ``threads`` below 1.
    """
    if threads is None:
        threads = processors()
    elif threads < 1:
        raise ValueError(f"expected threads from 1, or None for all processors, got {threads}")
    if n_images * n_features < _WORTH_THREADS:
        threads = 1
    tiles = ceil(n_features / TILE)
    step = TILE * max(1, ceil(tiles / (8 * threads)))
    runs = [(a, min(a + step, n_features)) for a in range(0, n_features, step)]
    if threads == 1:
        task(0, n_features)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda run: task(*run), runs):
            pass


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
