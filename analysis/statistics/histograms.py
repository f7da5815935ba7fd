"""Signed distances on bins, from shards of images whose histograms merge exactly.

The exact distance needs every value of a feature in one place. On bins it needs only counts, which
each shard of images gives by itself and which add up. So
features that lie on several machines, in several stores, or in more images than fit anywhere, stay
where they are: every shard is read twice, and what travels are counts.

Conventions
-----------
A shard is some of the images with all features. Two passes over the shards give the distances on
bins of all images, without laying a feature's values side by side anywhere:

1. :class:`FeatureRanges`, the least and greatest value of each feature, merge by minimum and
   maximum;
2. :class:`ClassHistograms`, how many images of each class fall into each bin of that range, merge
   by addition of integers.

Neither rounds, so neither the cut into shards nor the order of merging shows: the distances are
those of ``signed_ks(X, labels, bins=...)``, bit for bit. The bins are those explained in
:mod:`analysis.statistics.ks`.

A shard's histograms hold only the classes that occur in it. Of 4 bytes a count, that is
``4 * features * bins * classes of the shard``: images that lie class by class, as those of folders
do, keep it as small as the shard itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from analysis.data.images import checked_labels
from analysis.statistics._kernels import count_columns, table_columns
from analysis.statistics.blocks import (
    bounds_of,
    conform,
    features_of,
    image_blocks_of,
    lean,
    on_workers,
    require_lazy,
    run_in_threads,
    slots,
)
from analysis.statistics.ks import checked_bins, refuse
from analysis.statistics.named import by_name, classes_of, feature_names, labelled, order_by_name

if TYPE_CHECKING:
    from distributed import Client

Floats = NDArray[np.float64]
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class FeatureRanges:
    """Least and greatest value of every feature over some images.

    Attributes
    ----------
    low, high : ndarray of float64, shape (features,)
        Over the values that are numbers.
    nan : ndarray of int64, shape (features,)
        How many values are NaN.
    n_images : int
        How many images.
    names : ndarray of object, shape (features,), optional
        Of the features, where they have any.
    """

    low: Floats
    high: Floats
    nan: NDArray[np.int64]
    n_images: int
    names: Array | None = None

    @classmethod
    def of(cls, X: ArrayLike | xr.DataArray) -> Self:
        """Ranges over the images of X (images, features), read some images at a time.

        Raises
        ------
        ValueError
            An empty or unsuitable X, as in :func:`~analysis.statistics.signed_ks`.
        """
        names, X = feature_names(X), conform(X)
        n_images, n_features = X.shape
        low, high = np.full(n_features, np.inf), np.full(n_features, -np.inf)
        nan = np.zeros(n_features, np.int64)
        for _, block in image_blocks_of(X):
            low, high = np.fmin(low, np.fmin.reduce(block)), np.fmax(high, np.fmax.reduce(block))
            nan += np.isnan(block).sum(axis=0)
        return cls(low, high, nan, n_images, names)

    def merged(self, other: Self) -> Self:
        """Ranges over the images of both.

        Raises
        ------
        ValueError
            Other features.
        """
        if self.low.size != other.low.size:
            raise ValueError(
                f"expected shards of the same features, got {self.low.size} and {other.low.size}"
            )
        at = order_by_name(other.names, self.names, "the other images")
        return type(self)(
            np.minimum(self.low, other.low[at]),
            np.maximum(self.high, other.high[at]),
            self.nan + other.nan[at],
            self.n_images + other.n_images,
            self.names,
        )

    def require_finite(self) -> None:
        """Refuse features on which there are no equal bins.

        Raises
        ------
        ValueError
            NaN or infinities, in the words of :func:`~analysis.statistics.signed_ks`.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            refuse(self.nan, ~np.isfinite(self.high - self.low), self.n_images)

    def part(self, first: int, last: int) -> Self:
        """Ranges of the features ``first`` to ``last``."""
        cut = slice(first, last)
        names = None if self.names is None else self.names[cut]
        return type(self)(self.low[cut], self.high[cut], self.nan[cut], self.n_images, names)


@dataclass(frozen=True, eq=False)
class ClassHistograms:
    """How many of some images fall into each bin of each feature, by class.

    Attributes
    ----------
    classes : ndarray, shape (classes,)
        Those that occur among the images, ascending.
    counts : ndarray of uint32, shape (features, bins, classes)
        Images.
    """

    classes: Array
    counts: NDArray[np.uint32]

    @classmethod
    def of(
        cls, X: ArrayLike | xr.DataArray, labels: ArrayLike, ranges: FeatureRanges, bins: int = 100
    ) -> Self:
        """Count the images of X (images, features), read some at a time.

        Parameters
        ----------
        X, labels
            As for :func:`~analysis.statistics.signed_ks`; one class is enough.
        ranges
            Of these features over the images of all shards.
        bins
            Equal bins of each range.

        Raises
        ------
        ValueError
            Ranges that are not finite, of other features, or that do not hold every value; labels
            of another length, fewer than two bins.
        """
        ranges.require_finite()
        bins, X = checked_bins(bins), conform(by_name(X, ranges.names))
        n_images, n_features = X.shape
        labels = checked_labels(labels, n_images)
        if ranges.low.size != n_features:
            raise ValueError(f"expected ranges of {n_features} features, got {ranges.low.size}")
        classes, members = np.unique(labels, return_inverse=True)
        counts = np.zeros((n_features, bins, classes.size), np.uint32)
        ends, outside = (ranges.low, ranges.high), np.zeros(n_features, np.int64)
        for row, block in image_blocks_of(X):
            own = members[row : row + len(block)]

            def task(first: int, last: int, block: Array = block, own: Array = own) -> None:
                count_columns(block, first, last, ends, own, counts, outside)

            run_in_threads(task, len(block), n_features)
        if outside.any():
            raise ValueError(
                f"expected every value within its feature's range, got {outside.sum()} outside; "
                f"the first is of feature {np.flatnonzero(outside)[0]}: merge the ranges of all "
                "shards before counting"
            )
        return cls(classes, counts)

    @classmethod
    def empty(cls, classes: Array, n_features: int, bins: int) -> Self:
        """Begin to count: no images yet."""
        return cls(classes, np.zeros((n_features, bins, len(classes)), np.uint32))

    def add(self, other: Self) -> None:
        """Add counts of other images, whose classes are all among these, in place."""
        at = np.searchsorted(self.classes, other.classes)
        if at.size and at[-1] - at[0] == at.size - 1:  # neighbours, as in shards by folder
            self.counts[:, :, at[0] : at[-1] + 1] += other.counts
        else:
            self.counts[:, :, at] += other.counts

    def distances(self) -> Floats:
        """Signed distances (classes, features)."""
        sizes = self.counts.sum(axis=1, dtype=np.int64)
        n_features, bins, n_classes = self.counts.shape
        D = np.empty((n_classes, n_features))

        def task(first: int, last: int) -> None:
            table_columns(self.counts, first, last, sizes[0], D)

        run_in_threads(task, bins * n_classes, n_features)
        return D


Conforming = NDArray[Any] | xr.DataArray

GROUP_BYTES = 2**29
"""Counts of all classes that the caller holds at once: features are taken in groups of so much."""

_TASKS_PER_THREAD = 4


def signed_ks_of_shards(
    shards: xr.DataArray | Sequence[xr.DataArray] | Sequence[Array],
    labels: ArrayLike,
    *,
    bins: int = 100,
    client: Client | None = None,
) -> Any:
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
    ranges = reduce(FeatureRanges.merged, _map(client, _ranges, ((part, None) for part in parts)))
    ranges.require_finite()
    D = np.empty((classes.size, ranges.low.size))
    for first, last in feature_groups(parts[0], bins, classes.size):
        total = ClassHistograms.empty(np.arange(classes.size), last - first, bins)
        count = partial(_histograms, ranges=ranges.part(first, last), bins=bins)
        counting = (
            (part[:, first:last], members[start : start + len(part)])
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


def _ranges(shard: tuple[Conforming, None]) -> FeatureRanges:
    return FeatureRanges.of(shard[0])


def _histograms(
    shard: tuple[Conforming, Array], *, ranges: FeatureRanges, bins: int
) -> ClassHistograms:
    return ClassHistograms.of(*shard, ranges, bins)


def _map(client: Client | None, function: Any, shards: Iterable[Any]) -> Iterator[Any]:
    """Apply a function to images with their classes, on workers if there are some."""
    if client is None:
        return map(function, shards)
    return on_workers(client, function, ((lean(require_lazy(X)), y) for X, y in shards))


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
