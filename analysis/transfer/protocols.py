"""Evaluation protocols.

Conventions
-----------
Nothing of a test image, neither its label nor its features, reaches what classifies it: features
are standardised with the mean and standard deviation of the training images alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import xarray as xr

_ROWS = 512


def one_shot_accuracy(
    features: ArrayLike, labels: ArrayLike, *, n_draws: int = 20, seed: int = 0
) -> NDArray[np.float64]:
    """Accuracy of the nearest neighbour among one training image per class.

    Each draw takes one image of every class at random for training and tests on all others.
    Features are standardised by the training images (those that do not vary there are only
    centred), rows are scaled to unit norm, and a test image gets the class of the training image
    at the least Euclidean distance, the first class where several are equally near.

    Parameters
    ----------
    features : array_like, shape (images, features)
        Finite numbers.
    labels : array_like, shape (images,)
        Class of each image; every class has at least two images.
    n_draws : int
        How often to draw training images.
    seed : int
        Seed of the draws. A draw depends on the seed and its number, not on ``n_draws``.

    Returns
    -------
    ndarray of float64, shape (n_draws,)
        Share of the test images classified rightly, per draw.

    Raises
    ------
    ValueError
        Shapes that do not fit, features that are not finite, fewer than two classes, or a class
        with a single image, which could be learnt but never tested.
    """
    X, y = np.asarray(features), np.asarray(labels)
    if X.ndim != 2 or y.shape != X.shape[:1]:
        raise ValueError(
            f"expected features (images, features) and one label per image, got {X.shape} and "
            f"{y.shape}"
        )
    if n_draws < 1:
        raise ValueError(f"expected at least one draw, got n_draws={n_draws}")
    if not np.isfinite(X).all():
        raise ValueError(f"expected finite features, got {(~np.isfinite(X)).sum()} that are not")
    classes, members, sizes = np.unique(y, return_inverse=True, return_counts=True)
    if classes.size < 2:
        raise ValueError(f"expected at least two classes, got only {classes.tolist()}")
    if (sizes < 2).any():
        raise ValueError(
            f"classes with a single image cannot be tested: {classes[sizes < 2].tolist()[:10]}; "
            "leave them out"
        )
    by_class = np.split(np.argsort(members, kind="stable"), np.cumsum(sizes)[:-1])
    accuracies = np.empty(n_draws)
    for draw in range(n_draws):
        rng = np.random.default_rng([seed, draw])
        train = np.array([rng.choice(images) for images in by_class])
        test = np.setdiff1d(np.arange(y.size), train)
        accuracies[draw] = np.mean(_nearest(X, train, test) == members[test])
    return accuracies


def one_shot_by_layer(
    X: xr.DataArray,
    labels: ArrayLike,
    *,
    beside: Mapping[str, ArrayLike] | None = None,
    n_draws: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Accuracy of :func:`one_shot_accuracy` for every layer, all together, and others beside them.

    All see the same draws.

    Parameters
    ----------
    X : DataArray (image, feature) with coordinate ``layer``
        Embedding.
    labels : array_like, shape (images,)
        Class of each image.
    beside
        Name → other features of the same images, shape (images, any), such as pixels.
    n_draws, seed
        As in :func:`one_shot_accuracy`.

    Returns
    -------
    DataFrame
        One row per set of features, ``beside`` first, then the layers in order, then
        ``"all layers"``: ``features``, and over the draws ``mean``, ``lower`` and ``upper`` (5th
        and 95th percentile); ``chance`` is one over the number of classes.
    """
    layers = X["layer"].to_numpy()
    values = X.to_numpy()
    sets = {name: np.asarray(other) for name, other in (beside or {}).items()}
    sets |= {str(name): values[:, layers == name] for name in dict.fromkeys(layers.tolist())}
    sets["all layers"] = values
    rows = []
    for name, part in sets.items():
        accuracy = one_shot_accuracy(part, labels, n_draws=n_draws, seed=seed)
        lower, upper = np.quantile(accuracy, [0.05, 0.95])
        rows.append((name, accuracy.mean(), lower, upper, 1 / np.unique(labels).size))
    return pd.DataFrame(rows, columns=["features", "mean", "lower", "upper", "chance"])


def _nearest(X: NDArray[Any], train: NDArray[np.int64], test: NDArray[np.int64]) -> NDArray[Any]:
    """Position in ``train`` of each test image's nearest neighbour."""
    examples = X[train].astype(np.float64)
    mean, deviation = examples.mean(axis=0), examples.std(axis=0)
    constant = (examples == examples[0]).all(axis=0)
    deviation[constant] = 1.0
    units = _unit_rows((examples - mean) / deviation)
    nearest = np.empty(test.size, np.int64)
    for start in range(0, test.size, _ROWS):
        part = slice(start, start + _ROWS)
        # Between unit rows, the least distance is the greatest inner product.
        rows = _unit_rows((X[test[part]] - mean) / deviation)
        nearest[part] = (rows @ units.T).argmax(axis=1)
    return nearest


def _unit_rows(X: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale rows to unit norm; a row of zeros stays."""
    norms = np.linalg.norm(X, axis=1, keepdims=True)
    return X / np.where(norms > 0, norms, 1.0)
