"""The signed Kolmogorov-Smirnov distance between a class and the rest, for every feature.

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
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from analysis.statistics._kernels import binned_columns, distance_columns, distances_of_ranked
from analysis.statistics._on_cluster import over_feature_blocks, require_lazy, threads_of
from analysis.statistics.blocks import conform, features_of, run_in_threads
from analysis.statistics.labelling import classes_of, labelled
from analysis.statistics.ranks import (
    RankedBlock,
    RankedFeatures,
    as_bits,
    code_type,
    refuse_infinite,
    refuse_nan,
)

if TYPE_CHECKING:
    from distributed import Client

Array = NDArray[Any]


@overload
def signed_ks(
    X: xr.DataArray,
    labels: ArrayLike,
    *,
    bins: int | None = None,
    threads: int | None = None,
    client: Client | None = None,
) -> xr.DataArray: ...
@overload
def signed_ks(
    X: RankedFeatures,
    labels: ArrayLike,
    *,
    bins: None = None,
    threads: int | None = None,
    client: None = None,
) -> Any: ...
@overload
def signed_ks(
    X: ArrayLike,
    labels: ArrayLike,
    *,
    bins: int | None = None,
    threads: int | None = None,
    client: None = None,
) -> NDArray[np.float64]: ...
def signed_ks(
    X: ArrayLike | RankedFeatures | xr.DataArray,
    labels: ArrayLike,
    *,
    bins: int | None = None,
    threads: int | None = None,
    client: Client | None = None,
) -> NDArray[np.float64] | xr.DataArray:
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
    if bins is not None and (not isinstance(bins, int | np.integer) or bins < 2):
        raise ValueError(f"expected bins to be None (exact) or an integer from 2, got {bins!r}")
    if client is not None:
        X = require_lazy(X)
    if isinstance(X, RankedFeatures):
        if bins is not None:
            raise ValueError("bins need the values, which ranked features lack: give X itself")
        classes, members, sizes = classes_of(labels, X.n_images)
        D = _of_ranked(X, members, sizes, threads)
        return (
            D if X.features is None else labelled(D, classes, X.features, "signed_ks", bins="exact")
        )
    features = features_of(X)
    X = conform(X)
    classes, members, sizes = classes_of(labels, X.shape[0])
    D = np.empty((classes.size, X.shape[1]))
    measure = partial(
        _of_block, bins=bins, members=members, sizes=sizes, threads=threads_of(threads, client)
    )
    for first, part in over_feature_blocks(X, measure, client):
        D[:, first : first + part.shape[1]] = part
    if features is None:
        return D
    return labelled(D, classes, features, "signed_ks", bins="exact" if bins is None else bins)


def _of_block(
    block: Array,
    offset: int,
    *,
    bins: int | None,
    members: Array,
    sizes: Array,
    threads: int | None,
) -> NDArray[np.float64]:
    if bins is None:
        return _exact(block, offset, members, sizes, threads)
    return _binned(block, offset, int(bins), members, sizes, threads)


def _exact(
    block: Array, offset: int, members: Array, sizes: Array, threads: int | None
) -> NDArray[np.float64]:
    n_images, width = block.shape
    bits = as_bits(block)
    D = np.empty((sizes.size, width))
    nan = np.zeros(width, np.int64)

    def task(first: int, last: int) -> None:
        codes = np.empty(n_images, code_type(n_images))
        distance_columns(bits, first, last, codes, members, sizes, D, nan)

    run_in_threads(task, n_images, width, threads)
    refuse_nan(nan, n_images, offset)
    return D


def _binned(
    block: Array, offset: int, bins: int, members: Array, sizes: Array, threads: int | None
) -> NDArray[np.float64]:
    n_images, width = block.shape
    D = np.empty((sizes.size, width))
    nan, infinite = np.zeros((2, width), np.int64)

    def task(first: int, last: int) -> None:
        binned_columns(block, first, last, bins, members, sizes, D, nan, infinite)

    run_in_threads(task, n_images, width, threads)
    refuse_nan(nan, n_images, offset)
    remedy = "leave it out, or use bins=None, which takes infinities as extremes"
    refuse_infinite(infinite, offset, remedy=remedy)
    return D


def _of_ranked(
    X: RankedFeatures, members: Array, sizes: Array, threads: int | None
) -> NDArray[np.float64]:
    parts = []
    for block in X.blocks:
        parts.append(part := np.empty((sizes.size, block.stops.size)))

        def task(first: int, last: int, block: RankedBlock = block, part: Array = part) -> None:
            distances_of_ranked(
                block.codes, block.stops, block.below, first, last, members, sizes, part
            )

        run_in_threads(task, X.n_images, block.stops.size, threads)
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
