"""Parts of a stored array as tasks of a cluster: what travels is how to read them, not the values.

A worker reads what its task needs from the store, by the path that the caller has. Results come
back in order, so that they do not depend on the number of workers or on which of them were lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import dask.base
import xarray as xr
from numpy.typing import NDArray

from analysis.cluster import map_in_order
from analysis.statistics._kernels import TILE
from analysis.statistics.blocks import (
    BLOCK_VALUES,
    DIMS,
    MOST_VALUES,
    as_float,
    blocks_of,
    bounds_of,
    read_here,
)

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["lean", "over_feature_blocks", "require_lazy", "slots", "threads_of"]

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
    measure: Callable[[NDArray[Any], int], R],
    client: Client | None,
) -> Iterator[tuple[int, R]]:
    """Measure a conforming X block by block; yields the number of a first feature, and the result.

    Parameters
    ----------
    X : ndarray or DataArray, shape (images, features)
        Lazy, if there is a client.
    measure : callable
        Of a block, as of :func:`~analysis.statistics.blocks.blocks_of`, and the number of its first
        feature.
    client : distributed.Client or None
        Cluster on which to measure.
    """
    if client is None:
        yield from ((first, measure(block, first)) for first, block in blocks_of(X))
    else:
        task = partial(_measured, measure=measure)
        yield from map_in_order(client, task, _feature_blocks(client, require_lazy(X)))


def _measured(
    block: tuple[int, xr.DataArray], measure: Callable[[NDArray[Any], int], R]
) -> tuple[int, R]:
    first, lazy = block
    return first, measure(as_float(read_here(lazy.variable)), first)


def threads_of(threads: int | None, client: Client | None) -> int | None:
    """Threads of a computation: on a cluster, one of each task unless more are asked for."""
    return 1 if client is not None and threads is None else threads


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
