"""Signed distances on bins, from shards of images: no feature is ever brought together.

The exact distance needs every value of a feature in one place. On bins it needs only counts, which
each shard of images gives by itself and which add up (:mod:`analysis.statistics.histograms`). So
features that lie on several machines, in several stores, or in more images than fit anywhere, stay
where they are: every shard is read twice, and what travels are counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from analysis.cluster import map_in_order
from analysis.statistics._on_cluster import lean, require_lazy, slots, threads_of
from analysis.statistics.blocks import bounds_of, conform, features_of
from analysis.statistics.histograms import ClassHistograms, FeatureRanges, checked_bins
from analysis.statistics.labelling import classes_of, labelled
from analysis.statistics.named import by_name, feature_names

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["feature_groups", "shards_of", "signed_ks_of_shards"]

R = TypeVar("R")
Array = NDArray[Any]
Conforming = NDArray[Any] | xr.DataArray

GROUP_BYTES = 2**29
"""Counts of all classes that the caller holds at once: features are taken in groups of so much."""

_TASKS_PER_THREAD = 4


@overload
def signed_ks_of_shards(
    shards: xr.DataArray | Sequence[xr.DataArray],
    labels: ArrayLike,
    *,
    bins: int = 100,
    threads: int | None = None,
    client: Client | None = None,
) -> xr.DataArray: ...
@overload
def signed_ks_of_shards(
    shards: Sequence[Array],
    labels: ArrayLike,
    *,
    bins: int = 100,
    threads: int | None = None,
    client: None = None,
) -> NDArray[np.float64]: ...
def signed_ks_of_shards(
    shards: xr.DataArray | Sequence[xr.DataArray] | Sequence[Array],
    labels: ArrayLike,
    *,
    bins: int = 100,
    threads: int | None = None,
    client: Client | None = None,
) -> NDArray[np.float64] | xr.DataArray:
    """Signed Kolmogorov-Smirnov distance on bins, as ``signed_ks(X, labels, bins=bins)``.

    Parameters
    ----------
    shards : DataArray, or sequence of arrays, each of shape (images, features)
        The images, all with the same features, which are put into the order of the first. One
        lazy DataArray is cut at its chunks.
    labels : array_like, shape (images of all shards,)
        Class of each image, one shard after the other.
    bins : int
        Equal bins between the least and the greatest value of a feature over all images.
    threads : int, optional
        At most so many threads; with a client, threads of each task, by default 1.
    client : distributed.Client, optional
        Cluster whose workers read the shards; these are lazy then. A lost worker's shard is counted
        again by another.

    Returns
    -------
    ndarray or DataArray of float64, shape (classes, features)
        Bit for bit what :func:`~analysis.statistics.signed_ks` gives for all images at once,
        whatever the cut into shards and the number of workers.

    Raises
    ------
    ValueError
        What :func:`~analysis.statistics.signed_ks` refuses with bins; no shard, or shards of
        different features; with a client, shards in memory.
    FileNotFoundError
        A worker does not see the store.

    Notes
    -----
    Each shard is read twice, some 64 MB at a time. A task holds that, and 4 bytes for each feature,
    bin and class of its shard: at most 0.5 GB, as features are taken in groups of so many that the
    counts of *all* classes fill 0.5 GB. Where there are more groups than one, a chunk that crosses
    from one into the next is read again.
    """
    bins = checked_bins(bins)
    cut = _cut(shards, client)
    features, names = features_of(cut[0]), feature_names(cut[0])
    ordered: Iterator[Any] = (by_name(X, names, f"shard number {k}") for k, X in enumerate(cut))
    parts = [*map(conform, ordered)]
    for number, part in enumerate(parts):
        if part.shape[1] != parts[0].shape[1]:
            raise ValueError(
                f"expected shards of the same features, got {parts[0].shape} and, as number "
                f"{number}, {part.shape}"
            )
    starts = np.cumsum([0, *(len(shard) for shard in parts)]).tolist()
    classes, members, _ = classes_of(labels, starts[-1])
    threads = threads_of(threads, client)
    reading = map(_Shard, parts, starts)
    ranges = reduce(FeatureRanges.merged, _map(client, partial(_ranges, threads=threads), reading))
    ranges.require_finite()
    D = np.empty((classes.size, ranges.low.size))
    for first, last in feature_groups(parts[0], bins, classes.size):
        total = ClassHistograms.empty(np.arange(classes.size), last - first, bins)
        count = partial(_histograms, ranges=ranges.part(first, last), bins=bins, threads=threads)
        counting = (
            _Shard(part[:, first:last], start, members[start : start + len(part)])
            for part, start in zip(parts, starts, strict=False)
        )
        for counts in _map(client, count, counting):
            total.add(counts)
        D[:, first:last] = total.distances()
    return D if features is None else labelled(D, classes, features, "signed_ks", bins=bins)


def shards_of(X: xr.DataArray, n: int) -> list[xr.DataArray]:
    """Cut a lazy array (images, features) between its chunks into ``n`` shards, or fewer."""
    ends = np.cumsum([0, *X.chunksizes["image"]])
    at = np.linspace(0, ends.size - 1, min(n, ends.size - 1) + 1).astype(int)
    return [X.isel(image=slice(first, last)) for first, last in pairwise(ends[at].tolist())]


def feature_groups(X: Conforming, bins: int, n_classes: int) -> list[tuple[int, int]]:
    """First and last feature of groups whose counts fit in memory together."""
    most = max(1, GROUP_BYTES // (4 * bins * n_classes))
    if X.shape[1] <= most:
        return [(0, X.shape[1])]
    if isinstance(X, xr.DataArray):
        return list(pairwise(bounds_of(X, most, most)))
    return list(pairwise([*range(0, X.shape[1], most), X.shape[1]]))


@dataclass(frozen=True)
class _Shard:
    """Images and, for counting, the classes that they belong to; number of the first one."""

    X: Conforming
    first: int
    members: Array | None = None


def _ranges(shard: _Shard, *, threads: int | None) -> FeatureRanges:
    return FeatureRanges.of(shard.X, threads=threads)


def _histograms(
    shard: _Shard, *, ranges: FeatureRanges, bins: int, threads: int | None
) -> ClassHistograms:
    assert shard.members is not None
    return ClassHistograms.of(shard.X, shard.members, ranges, bins, threads=threads)


def _map(client: Client | None, function: Any, tasks: Iterable[_Shard]) -> Iterator[Any]:
    if client is None:
        return map(function, tasks)
    return map_in_order(
        client, function, (replace(task, X=lean(require_lazy(task.X))) for task in tasks)
    )


def _cut(
    shards: xr.DataArray | Sequence[xr.DataArray] | Sequence[Array], client: Client | None
) -> Sequence[xr.DataArray] | Sequence[Array]:
    """Shards as a sequence; one lazy array as some for each thread of the workers."""
    if isinstance(shards, xr.DataArray):
        if shards.chunks is None or client is None:
            return [shards]
        return shards_of(shards, _TASKS_PER_THREAD * slots(client))
    if len(shards) == 0:
        raise ValueError("expected at least one shard of images, got none")
    return shards
