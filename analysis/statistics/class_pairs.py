"""Classes that no feature can tell apart.

Conventions
-----------
criterion
    Two classes are *told apart* if the widest ``|D_KS|`` between them, over all features, is wider
    than under each of ``n_shuffles`` shuffles of the labels within the two. By chance alone this
    happens once in ``n_shuffles + 1`` pairs (a permutation test of the largest distance, which
    needs no law for it and minds that many features are looked at). A pair that is not told apart
    is either alike, or has too few images to say.
nearest class
    For every class, the one whose mean features are nearest, features standardised. A class that
    cannot be told from any other can hardly be far from all of them, so these pairs are enough; all
    pairs would be too many for hundreds of classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.blocks import conform
from analysis.statistics.distances import signed_ks
from analysis.statistics.duplicates import standard_projection
from analysis.statistics.labelling import classes_of
from analysis.statistics.ranks import rank_features

__all__ = ["compare_nearest_classes", "nearest_classes"]

MOST = 200
"""Images of a class that are compared; of larger ones so many are drawn."""

_BLOCK = 2**27  # values at a time: 512 MB of float32


def nearest_classes(X: ArrayLike | xr.DataArray, labels: ArrayLike, *, seed: int = 0) -> Any:
    """Nearest class of every class by the mean of the standardised features.

    Parameters
    ----------
    X : array_like or DataArray, shape (images, features)
        Finite numbers.
    labels : array_like, shape (images,)
        Class of each image.
    seed : int
        Seed of the projection, see :mod:`analysis.statistics.duplicates`.

    Returns
    -------
    ndarray of int64, shape (classes,)
        Positions in ``numpy.unique(labels)``; of equally near classes the first.
    """
    P = standard_projection(X, seed=seed)
    _, members, sizes = classes_of(labels, len(P))
    means = np.zeros((sizes.size, P.shape[1]))
    np.add.at(means, members, P)
    means /= sizes[:, None]
    squares = (means**2).sum(axis=1)
    gaps = squares[:, None] + squares - 2 * means @ means.T
    np.fill_diagonal(gaps, np.inf)
    return gaps.argmin(axis=1)


def compare_nearest_classes(
    X: ArrayLike | xr.DataArray, labels: ArrayLike, *, n_shuffles: int = 19, seed: int = 0
) -> pd.DataFrame:
    """Test for every class whether any feature tells it from the class nearest to it.

    Parameters
    ----------
    X : array_like or DataArray, shape (images, features)
        Finite numbers. A DataArray on Dask is read twice, some features at a time.
    labels : array_like, shape (images,)
        Class of each image.
    n_shuffles : int
        Shuffles of the labels within each pair.
    seed : int
        Seed of the shuffles, of the images drawn from large classes, and of the projection.

    Returns
    -------
    DataFrame
        A row per pair, each pair once: ``first`` and ``second`` (positions in
        ``numpy.unique(labels)``, first < second), ``images`` (compared, of both), ``widest`` (the
        widest distance), ``widest_shuffled`` (the widest under any shuffle) and ``told_apart``.
        The pair whose widest distance exceeds chance least comes first.

    Raises
    ------
    ValueError
        No shuffle, shapes that do not fit, fewer than two classes.
    """
    if n_shuffles < 1:
        raise ValueError(f"expected at least one shuffle, got n_shuffles={n_shuffles}")
    X = conform(X)
    nearest = nearest_classes(X, labels, seed=seed)
    pairs = sorted({(min(pair), max(pair)) for pair in enumerate(nearest.tolist())})
    _, members, _ = classes_of(labels, X.shape[0])
    drawn = [_drawn(members, pair, n_shuffles, seed) for pair in pairs]
    widest = np.zeros((len(pairs), 1 + n_shuffles))  # under the labels, and under each shuffle
    images = np.unique(np.concatenate([chosen for chosen, _ in drawn]))
    for block in _blocks_of_images(X, images):
        for number, (chosen, labellings) in enumerate(drawn):
            ranked = rank_features(block[np.searchsorted(images, chosen)])
            found = [np.abs(np.asarray(signed_ks(ranked, y))).max() for y in labellings]
            widest[number] = np.maximum(widest[number], found)
    table = pd.DataFrame(pairs, columns=["first", "second"])
    table["images"] = [chosen.size for chosen, _ in drawn]
    table["widest"], table["widest_shuffled"] = widest[:, 0], widest[:, 1:].max(axis=1)
    table["told_apart"] = table["widest"] > table["widest_shuffled"]
    order = (table["widest"] - table["widest_shuffled"]).argsort(kind="stable")
    return table.iloc[order].reset_index(drop=True)


def _drawn(
    members: NDArray[Any], pair: tuple[int, int], n_shuffles: int, seed: int
) -> tuple[NDArray[np.int64], list[NDArray[np.bool_]]]:
    """Images to compare of two classes; which are of the second, and shuffles of that."""
    rng = np.random.default_rng((seed, *pair))
    chosen = np.sort(np.concatenate([_some(members == label, rng) for label in pair]))
    y = members[chosen] == pair[1]
    return chosen, [y, *(rng.permutation(y) for _ in range(n_shuffles))]


def _blocks_of_images(
    X: NDArray[Any] | xr.DataArray, images: NDArray[np.int64]
) -> Iterator[NDArray[Any]]:
    """Read the features of some images, a block of features at a time, each once."""
    step = max(1, _BLOCK // images.size)
    for first in range(0, X.shape[1], step):
        yield np.asarray(X[images, first : first + step])


def _some(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    members = np.flatnonzero(mask)
    return members if members.size <= MOST else rng.choice(members, MOST, replace=False)
