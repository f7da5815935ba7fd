"""Images that are nearly the same, and classes that no feature can tell apart.

Conventions
-----------
distance
    Euclidean, between features that are standardised over all images (those that do not vary have
    no part in it), divided by what it is between two images in the mean (root of the mean
    square): 1 is as different as any two images of the dataset, 0 the same features.
near-duplicate
    Two images at a distance of at most ``NEAR``, each of which is or has the other's nearest. A
    choice, not a law: a copy that was compressed, resized or slightly brightened lies below it,
    another photograph of the same thing as a rule above. Look at the pairs.
projection
    More than ``DIMENSIONS`` features are projected onto as many random directions, drawn with a
    seed; that changes a distance by about 1 / sqrt(2 * DIMENSIONS) = 3 % of itself, small ones no
    more than large ones (Johnson and Lindenstrauss, *Extensions of Lipschitz mappings into a
    Hilbert space*, 1984), and equal features stay equal.
memory
    A block of rows of the matrix of distances at a time: 64 MB, the projected features
    (images × ``DIMENSIONS``), and a block of the features.
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

from analysis.statistics.blocks import blocks_of, conform
from analysis.statistics.ks import rank_features, signed_ks
from analysis.statistics.named import classes_of

Floats = NDArray[np.float32]

DIMENSIONS = 512
NEAR = 0.15
_BLOCK = 2**24  # distances at a time: 64 MB


def nearest_images(
    X: ArrayLike | xr.DataArray, labels: ArrayLike, *, seed: int = 0
) -> pd.DataFrame:
    """Nearest other image of every image, in its own class and in the other classes.

    Parameters
    ----------
    X : array_like or DataArray, shape (images, features)
        Finite numbers. A DataArray on Dask is read a block of features at a time.
    labels : array_like, shape (images,)
        Class of each image.
    seed : int
        Seed of the projection.

    Returns
    -------
    DataFrame
        A row per image: ``own`` and ``other``, positions of the nearest image of its class and of
        any other class (-1 where there is none), and ``own_distance`` and ``other_distance`` (NaN
        there). Of equally near images, the first.

    Raises
    ------
    ValueError
        Values that are not finite, shapes that do not fit, fewer than two classes.
    """
    P = standard_projection(X, seed=seed)
    _, members, _ = classes_of(labels, len(P))
    n_images = len(P)
    squares = np.einsum("ij,ij->i", P, P)
    found = np.full((2, n_images), -1)
    step = max(1, _BLOCK // n_images)
    for first in range(0, n_images, step):
        rows = np.arange(first, min(first + step, n_images))
        gaps = squares - 2 * (P[rows] @ P.T)  # but for the row's own square
        gaps[rows - first, rows] = np.inf
        same = members[rows, None] == members
        for side, hidden in enumerate((~same, same)):
            masked = np.where(hidden, np.inf, gaps)
            nearest = masked.argmin(axis=1)
            there = np.isfinite(masked[rows - first, nearest])
            found[side, rows] = np.where(there, nearest, -1)
    own, other = found
    return pd.DataFrame(
        {
            "own": own,
            "own_distance": _distances(P, own),
            "other": other,
            "other_distance": _distances(P, other),
        }
    )


def near_duplicates(nearest: pd.DataFrame, *, near: float = NEAR) -> pd.DataFrame:
    """Pairs of images that are nearly the same.

    Parameters
    ----------
    nearest : DataFrame
        Of :func:`nearest_images`.
    near : float
        Largest distance of a pair.

    Returns
    -------
    DataFrame
        ``first`` and ``second`` (positions, first < second), ``distance`` and ``same_class``; the
        nearest pair first. A pair is listed if one of the two is the other's nearest, within the
        class or outside it, so that of many equal images there are as many pairs as images, not
        their square.
    """
    parts = []
    for side, same in (("own", True), ("other", False)):
        close = nearest[(nearest[side] >= 0) & (nearest[f"{side}_distance"] <= near)]
        ends = np.sort(np.column_stack([close.index.to_numpy(), close[side].to_numpy()]), axis=1)
        parts.append(
            pd.DataFrame(
                {
                    "first": ends[:, 0],
                    "second": ends[:, 1],
                    "distance": close[f"{side}_distance"].to_numpy(),
                    "same_class": same,
                }
            )
        )
    pairs = pd.concat(parts, ignore_index=True).drop_duplicates(["first", "second"])
    return pairs.sort_values(["distance", "first", "second"], kind="stable", ignore_index=True)


def standard_projection(X: ArrayLike | xr.DataArray, *, seed: int = 0) -> Floats:
    """Features on one scale, projected, so that Euclidean distances are those of this module.

    Parameters
    ----------
    X : array_like or DataArray, shape (images, features)
        Finite numbers.
    seed : int
        Seed of the random directions; without effect up to ``DIMENSIONS`` features.

    Returns
    -------
    ndarray of float32, shape (images, at most ``DIMENSIONS``)
        All zero where no feature varies.

    Raises
    ------
    ValueError
        Values that are not finite, or another shape.
    """
    X = conform(X)
    n_images, n_features = X.shape
    direct = n_features <= DIMENSIONS
    P = np.zeros((n_images, n_features if direct else DIMENSIONS), np.float32)
    varying = 0
    for first, block in blocks_of(X):
        Z = _standardised(block, first)
        varying += int(Z.any(axis=0).sum())
        last = first + Z.shape[1]
        if direct:
            P[:, first:last] = Z
        else:
            P += Z @ _directions(first, last, seed)
    return P / np.float32(np.sqrt(2 * max(varying, 1) * n_images / max(n_images - 1, 1)))


def _standardised(block: NDArray[Any], offset: int) -> Floats:
    mean, deviation = block.mean(axis=0, dtype=np.float64), block.std(axis=0, dtype=np.float64)
    if not np.isfinite(deviation).all():
        odd = offset + int(np.flatnonzero(~np.isfinite(deviation))[0])
        raise ValueError(f"expected finite numbers, but feature {odd} has others")
    constant = block.min(axis=0) == block.max(axis=0)
    scale = np.where(constant, 1.0, deviation)
    Z: Floats = ((block - mean.astype(block.dtype)) / scale).astype(np.float32)
    Z[:, constant] = 0.0
    return Z


def _directions(first: int, last: int, seed: int) -> Floats:
    """Rows ``first`` to ``last`` of the projection, the same however features are cut to blocks."""
    rows = [
        np.random.default_rng((seed, feature)).standard_normal(DIMENSIONS, dtype=np.float32)
        for feature in range(first, last)
    ]
    directions: Floats = np.stack(rows) / np.float32(np.sqrt(DIMENSIONS))
    return directions


def _distances(P: Floats, partner: NDArray[np.int64]) -> NDArray[np.float64]:
    """Distance of each image to its partner: by differences, so that equal images are at 0."""
    distances = np.full(len(P), np.nan)
    there = np.flatnonzero(partner >= 0)
    step = max(1, _BLOCK // P.shape[1])
    for first in range(0, there.size, step):
        rows = there[first : first + step]
        distances[rows] = np.linalg.norm(P[rows] - P[partner[rows]], axis=1)
    return distances


MOST = 200
"""Images of a class that are compared; of larger ones so many are drawn."""

_VALUES_AT_ONCE = 2**27  # values at a time: 512 MB of float32


def nearest_classes(X: ArrayLike | xr.DataArray, labels: ArrayLike, *, seed: int = 0) -> Any:
    """Nearest class of every class by the mean of the standardised features.

    Parameters
    ----------
    X : array_like or DataArray, shape (images, features)
        Finite numbers.
    labels : array_like, shape (images,)
        Class of each image.
    seed : int
        Seed of the projection, see :mod:`analysis.statistics.similarity`.

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
    step = max(1, _VALUES_AT_ONCE // images.size)
    for first in range(0, X.shape[1], step):
        yield np.asarray(X[images, first : first + step])


def _some(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    members = np.flatnonzero(mask)
    return members if members.size <= MOST else rng.choice(members, MOST, replace=False)
