"""Features of an array, a block at a time, over the threads of the machine.

Everything the statistics compute is independent by feature. A block is what fits comfortably in
memory: whole chunks of a Dask array, or some tens of megabytes of anything else.

On a cluster, what travels is how to read a part of a stored array, not its values. A worker reads
what its task needs from the store, by the path that the caller has. Results come back in order, so
that they do not depend on the number of workers or on which of them were lost.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, Any, TypeVar

import dask.array
import dask.base
import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse

from analysis.cluster import map_in_order
from analysis.statistics._kernels import TILE

if TYPE_CHECKING:
    from distributed import Client

BLOCK_VALUES = 2**24
"""Values per block where the array does not say: 64 MB of float32."""

MOST_VALUES = 2**28
"""Values per block at most, whatever the array says: 1 GB of float32."""

DIMS = ("image", "feature")

_EXACT_IN_FLOAT32 = 2**24
_EXACT_IN_FLOAT64 = 2**53
_WORTH_THREADS = 2**18

_THREADS: ContextVar[int | None] = ContextVar("threads", default=None)


def conform(X: ArrayLike | xr.DataArray) -> NDArray[Any] | xr.DataArray:
    """Check the shape of X; returns it as (images, features), not yet read if it is lazy.

    Raises
    ------
    ValueError
        No images or no features, not two dimensions, other dimension names.
    """
    X = dense(X)
    if isinstance(X, xr.DataArray):
        if set(X.dims) != set(DIMS):
            raise ValueError(
                f"expected the dimensions {DIMS}, got {X.dims}: rename them with X.rename(...)"
            )
    else:
        X = np.asarray(X)
        if X.ndim != 2:
            raise ValueError(f"expected X of shape (images, features), got {X.shape}")
    if 0 in X.shape:
        raise ValueError(f"expected at least one image and one feature, got X of shape {X.shape}")
    return X


def dense(X: Any) -> Any:
    """Give what is (images, features) as NumPy takes it: not sparse, dimensions in this order."""
    if isinstance(X, xr.DataArray) and set(X.dims) == set(DIMS):
        return X.transpose(*DIMS)
    return X.toarray() if issparse(X) else X


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
    Dask array are computed some at a time, each once, unless a column of chunks is larger than a
    block may be.

    Raises
    ------
    ValueError
        Values that are not real numbers or not exact in float64.
    """
    for first, last in pairwise(bounds_of(X)):
        if isinstance(X, xr.DataArray):
            yield first, as_float(X.variable[:, first:last].values)
        else:
            yield first, as_float(X if last - first == X.shape[1] else X[:, first:last])


def image_blocks_of(X: NDArray[Any] | xr.DataArray) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield ``(first image, block)`` of a conforming X: all features of some images.

    A block is as of :func:`blocks_of`. Chunks of a Dask array are read in this thread, each once.

    Raises
    ------
    ValueError
        As :func:`blocks_of`.
    """
    for first, last in pairwise(image_bounds_of(X)):
        part = X[first:last]
        yield first, as_float(part if isinstance(part, np.ndarray) else read_here(part.variable))


def image_bounds_of(X: NDArray[Any] | xr.DataArray, wanted: int | None = None) -> list[int]:
    """Rows at which blocks of images start, and the end; chunks are joined, never cut.

    Parameters
    ----------
    X : ndarray or DataArray, shape (images, features)
        As of :func:`conform`.
    wanted : int, optional
        Images up to which chunks are joined; by default 64 MB of float32.
    """
    n_images, n_features = X.shape
    wanted = wanted or max(1, BLOCK_VALUES // n_features)
    if isinstance(X, xr.DataArray) and X.chunks is not None:
        return _joined(np.cumsum(X.chunks[0]).tolist(), wanted)
    return [*range(0, n_images, wanted), n_images]


def read_here(part: xr.Variable) -> NDArray[Any]:
    """Values, read chunk by chunk in this thread alone: what a task of a cluster does.

    Nothing as large as the result is held beside it.
    """
    if not hasattr(part.data, "dask"):
        return np.asarray(part.data)
    values = np.empty(part.shape, part.dtype)
    lazy: Any = dask.array  # its functions carry no types
    lazy.store(part.data, values, lock=False, scheduler="synchronous")
    return values


def bounds_of(
    X: NDArray[Any] | xr.DataArray, wanted: int | None = None, most: int | None = None
) -> list[int]:
    """Columns at which blocks of a conforming X start, and the end.

    Parameters
    ----------
    X : ndarray or DataArray, shape (images, features)
        As of :func:`conform`.
    wanted : int, optional
        Features up to which columns of chunks are joined; by default 64 MB of float32.
    most : int, optional
        Features above which a column of chunks is cut; by default 1 GB of float32.
    """
    n_images, n_features = X.shape
    if isinstance(X, np.ndarray) and _is_plain(X):
        return [0, n_features]  # in memory already, and used as it is
    wanted = wanted or max(TILE, BLOCK_VALUES // n_images)
    most = most or max(TILE, MOST_VALUES // n_images)
    ends = [*range(wanted, n_features, wanted), n_features]
    if isinstance(X, xr.DataArray) and X.chunks is not None:
        ends = np.cumsum(X.chunks[1]).tolist()
    return _cut(_joined(ends, wanted), most)


def _joined(ends: list[int], wanted: int) -> list[int]:
    """Bounds of chunks that end at ``ends``, joined as far as they come to ``wanted``."""
    bounds = [0]
    for end, following in pairwise(ends):
        if following - bounds[-1] > wanted:
            bounds.append(end)
    return [*bounds, ends[-1]]


def _cut(bounds: list[int], most: int) -> list[int]:
    """Add bounds so that no block is wider than ``most``: pieces of whole tiles, about equal."""
    cut: list[int] = []
    for first, last in pairwise(bounds):
        pieces = ceil((last - first) / most)
        step = min(most, TILE * ceil((last - first) / (pieces * TILE)))
        cut += range(first, last, step)
    return [*cut, bounds[-1]]


def _is_plain(X: NDArray[Any]) -> bool:
    in_order = X.flags.c_contiguous and X.flags.writeable
    return in_order and X.dtype in (np.dtype(np.float32), np.dtype(np.float64))


def as_float(block: NDArray[Any]) -> NDArray[Any]:
    """Give the same numbers as a plain array, itself if it is one.

    Raises
    ------
    ValueError
        Values that are not real numbers or not exact in float64.
    """
    kind, size = block.dtype.kind, block.dtype.itemsize
    if kind not in "fiub" or size > 8:
        raise ValueError(
            f"expected real numbers of at most 64 bits, got {block.dtype}: convert X, for example "
            "with X.astype('float32')"
        )
    exact = size < 8
    if kind != "f":
        largest = max(abs(int(block.min())), abs(int(block.max())))
        if largest > _EXACT_IN_FLOAT64:
            raise ValueError(
                f"integers up to {largest} are not exact in float64 (limit 2**53): subtract an "
                "offset"
            )
        exact = largest <= _EXACT_IN_FLOAT32
    return np.require(block, np.float32 if exact else np.float64, ("C", "W"))


@contextmanager
def at_most(threads: int | None) -> Iterator[None]:
    """Use at most so many threads for what is measured inside.

    Parameters
    ----------
    threads : int or None
        None leaves the limit as it is: first, every processor that this process may use.

    Raises
    ------
    ValueError
        ``threads`` below 1.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"expected threads from 1, or None for all processors, got {threads}")
    token = _THREADS.set(threads or _THREADS.get())
    try:
        yield
    finally:
        _THREADS.reset(token)


def run_in_threads(task: Callable[[int, int], None], n_images: int, n_features: int) -> None:
    """Call ``task(first, last)`` on runs of features that together cover all of them.

    Parameters
    ----------
    task : callable
        Releases the interpreter's lock and writes only what belongs to its features.
    n_images, n_features : int
        Size of the work; little of it is done without starting threads.
    """
    threads = _THREADS.get() or processors()
    if threads == 1 or n_images * n_features < _WORTH_THREADS:
        task(0, n_features)
        return
    bounds = [*range(0, n_features, TILE * ceil(n_features / (8 * threads * TILE))), n_features]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(task, bounds, bounds[1:]))


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


T = TypeVar("T")
R = TypeVar("R")

_TASKS_PER_THREAD = 4
_LEAST_WIDTH = 64  # features: narrower blocks read too many chunks for what they use of them
_LARGEST_MESSAGE = 2**20


def require_lazy(X: Any) -> xr.DataArray:
    """Take an array that workers can read for themselves.

    Raises
    ------
    ValueError
        If its values are in memory.
    """
    if not isinstance(X, xr.DataArray) or X.chunks is None:
        raise ValueError(_in_memory(getattr(X, "nbytes", 0)))
    return X


def lean(X: xr.DataArray) -> xr.DataArray:
    """Leave of a lazy array (image, feature) what a worker needs to read it.

    Raises
    ------
    ValueError
        If its values are in memory and would have to travel.
    """
    from distributed.protocol.pickle import dumps

    optimize: Any = dask.base.optimize  # carries no types
    (culled,) = optimize(X.data)
    made = xr.DataArray(culled, dims=DIMS)
    size = len(dumps(made))
    if size > _LARGEST_MESSAGE and size > X.nbytes / 10:
        raise ValueError(_in_memory(size))
    return made


def _in_memory(size: int) -> str:
    return (
        "expected a lazy DataArray of the store with a client, as extract() returns it, got "
        f"values in memory ({size / 1e6:,.1f} MB), which would have to travel to the workers: "
        "leave client out"
    )


def over_feature_blocks(
    X: NDArray[Any] | xr.DataArray,
    measure: Callable[[NDArray[Any], int], NDArray[Any]],
    client: Client | None,
    out: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Measure a conforming X block by block.

    Parameters
    ----------
    X : ndarray or DataArray, shape (images, features)
        Lazy, if there is a client.
    measure : callable
        Of a block, as of :func:`blocks_of`, and the number of its first feature; returns one value
        or more for each feature, along the last axis.
    client : distributed.Client or None
        Cluster on which to measure.
    out : ndarray of float64, shape (..., features)
        Filled with the results, and returned.
    """
    parts: Iterator[tuple[int, NDArray[Any]]]
    if client is None:
        parts = ((first, measure(block, first)) for first, block in blocks_of(X))
    else:
        task = partial(_measured, measure=measure)
        parts = on_workers(client, task, _feature_blocks(client, require_lazy(X)))
    for first, part in parts:
        out[..., first : first + part.shape[-1]] = part
    return out


def _measured(block: tuple[int, xr.DataArray], measure: Callable[..., R]) -> tuple[int, R]:
    first, lazy = block
    return first, measure(as_float(read_here(lazy.variable)), first)


def on_workers(client: Client, task: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Apply a task to items in order, each on one thread unless :func:`at_most` allows more."""
    return map_in_order(client, partial(_limited, task=task, threads=_THREADS.get() or 1), items)


def _limited(item: T, task: Callable[[T], R], threads: int) -> R:
    with at_most(threads):
        return task(item)


def _feature_blocks(client: Client, X: xr.DataArray) -> Iterator[tuple[int, xr.DataArray]]:
    """Blocks of the features of a conforming lazy X, some for each thread of the workers."""
    n_images, n_features = X.shape
    share = max(_LEAST_WIDTH, n_features // (_TASKS_PER_THREAD * slots(client)))
    wanted = min(share, max(TILE, BLOCK_VALUES // n_images))
    most = min(2 * share, max(TILE, MOST_VALUES // n_images))
    for first, last in pairwise(bounds_of(X, wanted, most)):
        yield first, lean(X[:, first:last])


def slots(client: Client) -> int:
    """How many tasks the workers run at once, at least 1."""
    threads: dict[str, int] = client.nthreads()
    return max(1, sum(threads.values()))
