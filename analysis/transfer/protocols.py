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
from sklearn.base import BaseEstimator, clone
from sklearn.metrics import balanced_accuracy_score

from analysis.data import stratified_splits
from analysis.data.labels import checked_labels
from analysis.statistics.blocks import dense
from analysis.statistics.threads import one_blas_thread
from analysis.transfer._samples import images_and_labels
from analysis.transfer.classifiers import linear_svm

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["affordable_n_train", "one_shot_accuracy", "one_shot_by_layer", "split_accuracies"]

_ROWS = 512


@one_blas_thread
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
    X, y = images_and_labels(features, labels)
    if n_draws < 1:
        raise ValueError(f"expected at least one draw, got n_draws={n_draws}")
    classes, members, sizes = np.unique(y, return_inverse=True, return_counts=True)
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
    values = dense(X).to_numpy()
    sets = {name: np.asarray(other) for name, other in (beside or {}).items()}
    sets |= {str(name): values[:, layers == name] for name in dict.fromkeys(layers.tolist())}
    sets["all layers"] = values
    rows = []
    for name, part in sets.items():
        accuracy = one_shot_accuracy(part, labels, n_draws=n_draws, seed=seed)
        lower, upper = np.quantile(accuracy, [0.05, 0.95])
        rows.append((name, accuracy.mean(), lower, upper, 1 / np.unique(labels).size))
    return pd.DataFrame(rows, columns=["features", "mean", "lower", "upper", "chance"])


@one_blas_thread
def split_accuracies(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    n_train: int,
    n_splits: int = 5,
    seed: int,
    classifier: BaseEstimator | None = None,
) -> pd.DataFrame:
    """Accuracy of a classifier on random splits with equally many training images per class.

    The accuracy is the mean over the classes of the share of the class's test images that are
    classified rightly, so that every class counts alike however many test images it has.

    Parameters
    ----------
    features : array_like, shape (images, features)
        Finite numbers.
    labels : array_like, shape (images,)
        Class of each image.
    n_train : int
        Training images per class; all others are test images.
    n_splits : int
        How many splits.
    seed : int
        Seed of :func:`analysis.data.stratified_splits`.
    classifier : scikit-learn classifier, optional
        Fitted anew on the training images of each split; it is not changed. By default
        :func:`analysis.transfer.linear_svm`.

    Returns
    -------
    DataFrame
        One row per split: ``split``, ``train`` and ``test`` (images), ``accuracy``, and ``chance``
        (one over the number of classes).

    Raises
    ------
    ValueError
        Shapes that do not fit, features that are not finite, fewer than two classes, or a class
        with no more than ``n_train`` images.
    """
    X, y = images_and_labels(features, labels)
    chance = 1 / np.unique(y).size
    rows = []
    for number, (train, test) in enumerate(
        stratified_splits(y, n_train=n_train, n_splits=n_splits, seed=seed)
    ):
        fitted = clone(linear_svm() if classifier is None else classifier)
        predicted = fitted.fit(X[train], y[train]).predict(X[test])
        accuracy = float(balanced_accuracy_score(y[test], predicted))
        rows.append((number, train.size, test.size, accuracy, chance))
    return pd.DataFrame(rows, columns=["split", "train", "test", "accuracy", "chance"])


def affordable_n_train(labels: ArrayLike, at_most: int) -> int:
    """Training images per class that leave every class as many to be tested on.

    Parameters
    ----------
    labels : array_like, shape (images,)
        Class of each image.
    at_most : int
        Training images per class where the classes are large enough.

    Returns
    -------
    int
        ``at_most``, or half of the smallest class where that is less.
    """
    smallest = np.unique(checked_labels(labels), return_counts=True)[1].min()
    return int(min(at_most, smallest // 2))


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


def best_layer_over_pixels(shots: pd.DataFrame) -> pd.DataFrame:
    """Find the best layer of each network on each dataset, beside the pixels.

    Parameters
    ----------
    shots : DataFrame
        Columns ``network``, ``dataset`` and those of :func:`one_shot_by_layer` with ``"pixels"``
        among the ``features``.

    Returns
    -------
    DataFrame
        A row per network and dataset: ``network``, ``dataset``, ``best features``, their
        ``accuracy``, that of the ``pixels``, ``chance``, and ``better``: whether the lower end of
        the one lies above the upper end of the other.
    """
    rows = []
    for (network, dataset), part in shots.groupby(["network", "dataset"], sort=False):
        pixels = part[part["features"] == "pixels"].iloc[0]
        layers = part[part["features"] != "pixels"]
        best = layers.iloc[int(layers["mean"].to_numpy().argmax())]
        rows.append(
            {
                "network": network,
                "dataset": dataset,
                "best features": best["features"],
                "accuracy": best["mean"],
                "pixels": pixels["mean"],
                "chance": pixels["chance"],
                "better": bool(best["lower"] > pixels["upper"]),
            }
        )
    return pd.DataFrame(rows)
