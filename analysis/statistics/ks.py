"""The signed Kolmogorov-Smirnov distance between a class and the rest, for every feature.

The order of a feature's values does not depend on the labels, so the real labels and every shuffle
of them can share one sort (:func:`rank_features`). On bins, as the paper compares distribution
functions, some of a distance is lost (:func:`binning_bound`).

Conventions
-----------
With the empirical distribution functions F_in of a feature on the images of a class, F_out on all
other images, and x* = argmax |F_out(x) - F_in(x)|::

    D = F_out(x*) - F_in(x*)    in [-1, 1]

Positive: the feature is *higher* inside the class (characteristic by presence); negative: lower
(by absence). This is equation 3, made signed, of Garcia-Gasulla et al., *On the behavior of
convolutional nets for feature extraction*, JAIR 2018, section 4. ``scipy.stats.ks_2samp(inner,
outer)`` gives the same |D| as ``statistic`` and the opposite sign as ``statistic_sign``.

Where the widest positive and the widest negative gap are equal, which the paper leaves open, D is
negative: SciPy's choice. Gaps are compared as integers, so no rounding decides. A constant feature
has D = 0.

The exact distance compares the distribution functions at every value. The paper compares them on
100 bins; it does not say which. ``bins=100`` takes equal widths between the feature's own least and
greatest value over all images, each bin closed below and open above, the last one closed, and
compares after each bin: the bins of ``numpy.histogram`` on float64. As these are some of the places
that the exact distance looks at, no binned distance is wider.
x*
    A place where |F_out - F_in| is widest over all values, on the side that gives the exact signed
    distance D.
bins
    Those of ``signed_ks(X, labels, bins=...)``: equal widths between the feature's least and
    greatest value over all images. After a ReLU the first one holds the zeros, and with them all
    values up to one width.

Let D be positive, o the share of outer images that lie in the bin of x*, at or below x*, and i the
share of inner images that lie in that bin above x*. Then::

    0 <= |D| - |D_binned| <= min(o, i)

From the lower end of the bin to x* the gap F_out - F_in can grow by no more than o, as F_in does
not fall; from x* to the upper end it can shrink by no more than i, as F_out does not fall. The
binned distance sees both ends (before the first bin and after the last the gap is 0), so it is at
least D - o and at least D - i. For negative D, inside and outside change places. If x* is the last
value of its bin nothing is lost, and never more than the smaller of the shares of inner and of
outer images in the bin; just that much is lost where all its outer images lie below its inner ones
and no gap is wider elsewhere. Garcia-Gasulla et al. (JAIR 2018, section 4) take 100 bins and call
the loss of resolution 1 %: that holds for the values of the feature, not for the distance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from analysis.statistics._kernels import (
    TILE,
    binned_columns,
    distance_columns,
    distances_of_ranked,
    histogram_columns,
    rank_columns,
)
from analysis.statistics.blocks import (
    BLOCK_VALUES,
    at_most,
    blocks_of,
    conform,
    features_of,
    over_feature_blocks,
    require_lazy,
    run_in_threads,
)
from analysis.statistics.named import by_name, classes_of, feature_names, labelled

if TYPE_CHECKING:
    from distributed import Client

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Array = NDArray[Any]

_SHORT_CODES = 2**15
"""Up to so many images, a code (an image and one bit) fits 16 bits."""


@dataclass(frozen=True, eq=False)
class RankedBlock:
    """Consecutive features in sorted order.

    Attributes
    ----------
    codes : ndarray of uint16 or uint32, shape (total,)
        Per feature the images in order, without those at exactly zero: negative values upwards
        from the lowest, then positive ones downwards from the highest. A code is twice the image's
        position, plus 1 where a group of equal values ends.
    stops : ndarray of int64, shape (features,)
        Where each feature's codes end.
    below : ndarray of int64, shape (features,)
        How many of its codes are of negative values.
    """

    codes: NDArray[Any]
    stops: NDArray[np.int64]
    below: NDArray[np.int64]

    @property
    def ranks(self) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
        """All three, as the kernels take them."""
        return self.codes, self.stops, self.below


@dataclass(frozen=True, eq=False)
class RankedFeatures:
    """The order of every feature's values, as :func:`rank_features` finds it.

    Attributes
    ----------
    n_images, n_features : int
        Shape of the array that was ranked.
    blocks : tuple of RankedBlock
        All features, in order.
    features : Dataset or None
        Coordinates of the features and attributes of the DataArray that was ranked, if it was one.
    """

    n_images: int
    n_features: int
    blocks: tuple[RankedBlock, ...]
    features: xr.Dataset | None = None

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes: 2 (4 beyond 32,768 images) for each value that is not zero."""
        return sum(b.codes.nbytes + b.stops.nbytes + b.below.nbytes for b in self.blocks)


def rank_features(X: ArrayLike | xr.DataArray, *, threads: int | None = None) -> RankedFeatures:
    """Sort every feature once.

    Parameters
    ----------
    X : array_like or DataArray, shape (images, features)
        Real numbers; infinities sort last and first, -0.0 equals 0.0. A DataArray has the
        dimensions ``image`` and ``feature``; one on Dask is read a block of features at a time.
    threads : int, optional
        At most so many threads; by default every processor that this process may use.

    Returns
    -------
    RankedFeatures
        Takes half the memory of float32 or less, and no memory for zeros.

    Raises
    ------
    ValueError
        NaN, naming how many and the first feature; empty or unsuitable arrays, as in
        :func:`~analysis.statistics.signed_ks`.
    """
    features, X = features_of(X), conform(X)
    with at_most(threads):
        return RankedFeatures(X.shape[0], X.shape[1], tuple(ranked_blocks(X)), features)


def ranked_blocks(X: Array | xr.DataArray) -> Iterator[RankedBlock]:
    """Sort the features of a conforming X a block at a time; errors as in :func:`rank_features`."""
    for first, block in blocks_of(X):
        yield from ranked_parts(block, first)


def ranked_parts(block: Array, offset: int) -> Iterator[RankedBlock]:
    """Sort a block as of :func:`blocks_of`, in parts; ``offset`` is its first feature's number."""
    n_images, width = block.shape
    bits, step = as_bits(block), max(TILE, BLOCK_VALUES // n_images)
    for start in range(0, width, step):
        yield _rank_block(bits, offset, start, min(start + step, width))


def _rank_block(bits: Array, offset: int, start: int, end: int) -> RankedBlock:
    """Rank the columns ``start`` to ``end``; ``offset`` is the number of the first column."""
    n_images, width = bits.shape[0], end - start
    codes = np.empty((width, n_images), code_type(n_images))
    counts, below, nan = np.zeros((3, width), np.int64)

    def task(first: int, last: int) -> None:
        results = (each[first:last] for each in (codes, counts, below, nan))
        rank_columns(bits, start + first, start + last, *results)

    run_in_threads(task, n_images, width)
    refuse(nan, None, n_images, offset + start)
    kept = np.concatenate([row[:count] for row, count in zip(codes, counts, strict=True)])
    return RankedBlock(kept, np.cumsum(counts), below)


def as_bits(block: NDArray[Any]) -> NDArray[Any]:
    """View float32 or float64 as the unsigned integers that hold them."""
    return block.view(np.uint32 if block.dtype.itemsize == 4 else np.uint64)


def code_type(n_images: int) -> type[np.uint16] | type[np.uint32]:
    """Narrowest unsigned type for the codes of so many images."""
    return np.uint16 if n_images <= _SHORT_CODES else np.uint32


def refuse(nan: Integers, infinite: Integers | None, n_images: int, offset: int = 0) -> None:
    """Raise ValueError where a feature has NaN, or an infinite range where there are to be bins."""
    if nan.any():
        first = int(np.flatnonzero(nan)[0])
        raise ValueError(
            f"expected numbers, got {nan.sum()} NaN in {np.count_nonzero(nan)} features; the "
            f"first is feature {offset + first}, NaN for {nan[first]} of {n_images} images: "
            "leave out these images or features, or repair the extraction"
        )
    if infinite is not None and infinite.any():
        raise ValueError(
            f"bins need a finite range, which feature {offset + int(np.flatnonzero(infinite)[0])} "
            "lacks: leave it out, or use bins=None, which takes infinities as extremes"
        )


def checked_bins(bins: int) -> int:
    """Take a number of bins.

    Raises
    ------
    ValueError
        If it is no integer from 2.
    """
    if not isinstance(bins, int | np.integer) or bins < 2:
        raise ValueError(f"expected bins to be an integer from 2, got {bins!r}")
    return int(bins)


def signed_ks(
    X: ArrayLike | RankedFeatures | xr.DataArray,
    labels: ArrayLike,
    *,
    bins: int | None = None,
    threads: int | None = None,
    client: Client | None = None,
) -> Any:
    """Signed Kolmogorov-Smirnov distance of every class and feature.

    Parameters
    ----------
    X : array_like, DataArray or RankedFeatures, shape (images, features)
        Real numbers. Infinities are allowed, as the extremes they are, unless there are bins;
        -0.0 equals 0.0. A DataArray has the dimensions ``image`` and ``feature``; one on Dask is
        read a block of features at a time. Ranked features (:func:`rank_features`) spare the
        sorting when several labellings are compared.
    labels : array_like, shape (images,)
        Class of each image, any values that NumPy can sort.
    bins : int, optional
        Compare the distribution functions on so many equal bins per feature (the paper's version
        is 100); by default at every value, which is exact.
    threads : int, optional
        At most so many threads; by default every processor that this process may use. The result
        does not depend on it. With a client: threads of each task, by default 1.
    client : distributed.Client, optional
        Cluster whose workers read blocks of features from the store, and send distances back; see
        :func:`analysis.cluster.connect`. Only for a lazy X. The same bits as without; the block
        of a lost worker is done again by another.

    Returns
    -------
    ndarray or DataArray of float64, shape (classes, features)
        In [-1, 1], positive where the feature is higher inside the class; classes as
        ``numpy.unique(labels)``. A DataArray, or one ranked, gives a DataArray (class, feature)
        with the coordinate ``class`` and those of the features, such as ``layer`` and ``unit``.

    Raises
    ------
    ValueError
        NaN in X (saying how many, and in which feature first), labels of another length, fewer
        than two classes, an empty X, other dimensions; with bins, infinities or ranked features;
        with a client, values in memory.
    FileNotFoundError
        A worker does not see the store.

    Notes
    -----
    With N images, n_c of the class and F_all over all images, F_in - F_out =
    (F_in - F_all) N / (N - n_c). Its extremes lie at the end of a group of equal values that holds
    an image of the class, or just before one, so one sort of a feature serves all classes. Zeros,
    most of what a rectifier gives, are one such group and are not sorted.
    """
    bins = None if bins is None else checked_bins(bins)
    if client is not None:
        X = require_lazy(X)
    if not isinstance(X, RankedFeatures):
        features, X = features_of(X), conform(X)
        n_images, n_features = X.shape
    elif bins is None:
        features, n_images, n_features = X.features, X.n_images, X.n_features
    else:
        raise ValueError("bins need the values, which ranked features lack: give X itself")
    classes, members, sizes = classes_of(labels, n_images)
    D = np.empty((classes.size, n_features))
    measure = partial(_distances, bins=bins, members=members, sizes=sizes)
    with at_most(threads):
        if isinstance(X, RankedFeatures):
            np.concatenate([measure(block, 0) for block in X.blocks], axis=1, out=D)
        else:
            over_feature_blocks(X, measure, client, D)
    if features is None:
        return D
    return labelled(D, classes, features, "signed_ks", bins="exact" if bins is None else bins)


def _distances(
    block: Array | RankedBlock, offset: int, *, bins: int | None, members: Array, sizes: Integers
) -> Floats:
    """Signed distances (classes, features) of one block, by values or by ranks."""
    n_images = members.size
    width = block.stops.size if isinstance(block, RankedBlock) else block.shape[1]
    D, classes = np.empty((sizes.size, width)), (members, sizes)
    nan, infinite = np.zeros((2, width), np.int64)

    def task(first: int, last: int) -> None:
        if isinstance(block, RankedBlock):
            distances_of_ranked(block.ranks, first, last, classes, D)
        elif bins is None:
            codes = np.empty(n_images, code_type(n_images))
            distance_columns(as_bits(block), first, last, codes, classes, D, nan)
        else:
            binned_columns(block, first, last, bins, classes, D, nan, infinite)

    run_in_threads(task, n_images, width)
    refuse(nan, infinite, n_images, offset)
    return D


def binning_bound(X: ArrayLike | xr.DataArray, labels: ArrayLike, *, bins: int = 100) -> Any:
    """Most by which the exact distance of each class and feature can exceed the binned one.

    Parameters
    ----------
    X : array_like or DataArray, shape (images, features)
        Finite real numbers. A DataArray has the dimensions ``image`` and ``feature``; one on Dask
        is read a block of features at a time.
    labels : array_like, shape (images,)
        Class of each image, any values that NumPy can sort.
    bins : int
        Equal bins of each feature's range.

    Returns
    -------
    ndarray or DataArray of float64, shape (classes, features)
        min(o, i) as above, from 0 to 1; 0 where D is 0. Where several places are equally wide, each
        gives a bound that holds, and this is one of them.

    Raises
    ------
    ValueError
        What :func:`~analysis.statistics.signed_ks` refuses with bins.
    """
    bins, features, X = checked_bins(bins), features_of(X), conform(X)
    n_images = X.shape[0]
    classes, members, sizes = classes_of(labels, n_images)
    places = members.astype(np.int64)

    def measure(block: Array, offset: int) -> Floats:
        bound = np.empty((sizes.size, block.shape[1]))
        nan, infinite = np.zeros((2, block.shape[1]), np.int64)
        for first in range(0, block.shape[1], TILE):
            last = min(first + TILE, block.shape[1])
            tables = np.empty((last - first, bins, sizes.size), np.int64)
            histogram_columns(block, first, last, members, tables, nan, infinite)
            refuse(nan, infinite, n_images, offset)
            for j, table in enumerate(tables, start=first):
                bound[:, j] = _bound(*_widest(block[:, j], places, sizes), table, sizes)
        return bound

    bound = over_feature_blocks(X, measure, None, np.empty((sizes.size, X.shape[1])))
    return bound if features is None else labelled(bound, classes, features, "bound", bins=bins)


def _widest(
    x: NDArray[Any], members: Integers, sizes: Integers
) -> tuple[Integers, Integers, Integers]:
    """Find x* of every class: n_in N D' there, images of all classes and of the class up to it.

    D' = F_all - F_in has the sign of D and is widest where D is: at the end of a group of equal
    values that holds an image of the class, or just before one.
    """
    n_images = x.size
    ordered = np.sort(x)
    order = np.lexsort((x, members))  # class by class, each upwards
    owner, starts = members[order], np.cumsum(sizes) - sizes
    ranks = np.array([np.searchsorted(ordered, x[order], side) for side in ("left", "right")])
    keys = owner * (n_images + 1) + ranks[1]
    inner = np.array([np.searchsorted(keys, keys, side) for side in ("left", "right")])
    inner -= starts[owner]
    gaps = ranks * sizes[owner] - inner * n_images
    highest = np.maximum.reduceat(gaps.max(axis=0), starts)
    lowest = np.minimum.reduceat(gaps.min(axis=0), starts)
    widest = np.where(highest > -lowest, highest, lowest)
    hit = gaps == widest[owner]
    places = np.flatnonzero(hit.any(axis=0))
    at = places[np.unique(owner[places], return_index=True)[1]]
    side = hit[1, at].astype(np.int64)
    return widest, ranks[side, at], inner[side, at]


def _bound(
    widest: Integers, rank: Integers, inner: Integers, table: Integers, sizes: Integers
) -> Floats:
    """min(o, i) of every class from x* and the counts (bins, classes) of one feature."""
    ends, inner_ends = table.sum(axis=1).cumsum(), table.cumsum(axis=0)
    place = np.searchsorted(ends, rank)
    upper = inner_ends[place, np.arange(sizes.size)]
    lower = upper - table[place, np.arange(sizes.size)]
    outer_upper = ends[place] - upper
    outer_lower = ends[place] - table.sum(axis=1)[place] - lower
    outer, outer_sizes = rank - inner, sizes.sum() - sizes
    positive = np.minimum((outer - outer_lower) / outer_sizes, (upper - inner) / sizes)
    negative = np.minimum((inner - lower) / sizes, (outer_upper - outer) / outer_sizes)
    return np.where(widest == 0, 0.0, np.where(widest > 0, positive, negative))


def summarise_binning(exact: ArrayLike, binned: ArrayLike) -> pd.DataFrame:
    """How much narrower binned distances are than exact ones.

    Parameters
    ----------
    exact, binned : array_like, of one shape
        Signed distances of the same classes and features.

    Returns
    -------
    DataFrame
        One row: ``pairs``; ``mean``, ``q99`` (quantile 0.99) and ``largest`` of
        |exact| - |binned|; ``flipped``, pairs whose sign is turned round.

    Raises
    ------
    ValueError
        Shapes that differ.
    """
    binned = by_name(binned, feature_names(exact), "binned distances")
    exact, binned = np.asarray(exact, np.float64), np.asarray(binned, np.float64)
    if exact.shape != binned.shape:
        raise ValueError(
            f"expected distances of the same pairs, got shapes {exact.shape} and {binned.shape}"
        )
    loss = np.abs(exact) - np.abs(binned)
    return pd.DataFrame(
        {
            "pairs": [loss.size],
            "mean": [loss.mean()],
            "q99": [np.quantile(loss, 0.99)],
            "largest": [loss.max()],
            "flipped": [int((exact * binned < 0).sum())],
        }
    )
