"""What is lost when distribution functions are compared on bins, as the paper does.

Conventions
-----------
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

from typing import Any, overload

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from analysis.statistics._kernels import TILE, histogram_columns
from analysis.statistics.blocks import blocks_of, conform, features_of
from analysis.statistics.labelling import classes_of, labelled
from analysis.statistics.named import by_name, feature_names
from analysis.statistics.ranks import refuse_infinite, refuse_nan

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@overload
def binning_bound(X: xr.DataArray, labels: ArrayLike, *, bins: int = 100) -> xr.DataArray: ...
@overload
def binning_bound(X: ArrayLike, labels: ArrayLike, *, bins: int = 100) -> Floats: ...
def binning_bound(
    X: ArrayLike | xr.DataArray, labels: ArrayLike, *, bins: int = 100
) -> Floats | xr.DataArray:
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
    if not isinstance(bins, int | np.integer) or bins < 2:
        raise ValueError(f"expected bins to be an integer from 2, got {bins!r}")
    features, X = features_of(X), conform(X)
    n_images = X.shape[0]
    classes, members, sizes = classes_of(labels, n_images)
    bound = np.empty((sizes.size, X.shape[1]))
    for offset, block in blocks_of(X):
        nan, infinite = np.zeros((2, block.shape[1]), np.int64)
        for first in range(0, block.shape[1], TILE):
            last = min(first + TILE, block.shape[1])
            tables = np.empty((last - first, bins, sizes.size), np.int64)
            histogram_columns(block, first, last, members, tables, nan, infinite)
            _refuse(nan, infinite, n_images, offset)
            for j, table in enumerate(tables, start=first):
                found = _widest(block[:, j], members.astype(np.int64), sizes)
                bound[:, offset + j] = _bound(*found, table, sizes)
    return bound if features is None else labelled(bound, classes, features, "bound", bins=bins)


def _refuse(nan: Integers, infinite: Integers, n_images: int, offset: int) -> None:
    refuse_nan(nan, n_images, offset)
    refuse_infinite(infinite, offset)


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
