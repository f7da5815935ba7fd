"""Evaluation protocols: linear classifiers on splits, their C chosen on training images alone.

The Caltech-101 protocol of Donahue et al. (DeCAF, ICML 2014, section 4.1) for any images, the same
on given splits, such as the official one of the birds and the published ones of SUN-397
(:mod:`analysis.data.annotations`), and plain random splits.

A linear classifier with squared penalty needs no more than inner products. The training images span
at most as many directions as there are images, however wide the features are; in the basis of
their principal components one factorisation serves every value of C and every classifier.

Every image is scaled to unit length by itself; then the mean of the training images is subtracted
and all is divided by the root of the mean square length of what is fitted, so that ``C`` means the
same for every set of features. All of this can be done to inner products as well: where there are
more features than images, those of all images are computed once (:func:`inner_products`), and every
split takes its own. Dropout and a transformer change the features with the split, and have theirs
computed split by split.

Conventions
-----------
Nothing of a test image, neither its label nor its features, reaches what classifies it: features
are standardised with the mean and standard deviation of the training images alone.

Equally many training images of each class, all others are test images; the accuracy is the mean
over the classes. ``C`` is chosen split by split: of the training images some of each class validate
classifiers fitted to the others, the ``C`` of the best (of equals the smallest) is taken, and the
classifier fitted again to all training images. Values are tried in rising order until the accuracy
has been below the best twice in a row. The paper does not give its values of ``C`` (ours are
:data:`analysis.transfer.protocols.GRID`), nor whether it scales features, nor what its ± is.

Every image is scaled to unit length, the mean of the split's training images is subtracted (the
validation images are among them, which have no part in fitting while ``C`` is chosen), and all is
divided by the root of the mean square length of what is fitted, so that ``C`` means the same for
every set of features. No test image has a part in any of this. Features are not scaled one by one.

Dropout, in training, sets each raw value to 0 with probability one half. ``copies`` sets of zeros
are drawn, and the classifier is fitted to that many copies of every image, each counted
``1 / copies``. In testing all values are halved; the intercept is not. The validation images are
halved too. (The paper does not say how often it draws.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from time import perf_counter
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.metrics import balanced_accuracy_score

from analysis.data import stratified_splits
from analysis.data.images import checked_labels
from analysis.statistics.blocks import DIMS, dense
from analysis.statistics.threads import in_threads, one_blas_thread
from analysis.transfer._samples import images_and_labels
from analysis.transfer.classifiers import (
    linear_svm,
    principal_basis,
    solve_softmax,
    solve_squared_hinge,
    standardise,
    unit_rows,
)

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
        Share of the test images classified correctly, per draw.

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
    classified correctly, so that every class counts alike however many test images it has.

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
    scaled = standardise(X[train].astype(np.float64))
    units = unit_rows(scaled(X[train]))
    nearest = np.empty(test.size, np.int64)
    for start in range(0, test.size, _ROWS):
        part = slice(start, start + _ROWS)
        # Between unit rows, the least distance is the greatest inner product.
        rows = unit_rows(scaled(X[test[part]]))
        nearest[part] = (rows @ units.T).argmax(axis=1)
    return nearest


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


Rows = NDArray[np.float64]
Positions = NDArray[np.int64]

GRID = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
"""Values of C that are tried, for images of mean square length 1."""
_PATIENCE = 2
CLASSIFIERS: Mapping[str, Callable[..., Rows]] = {
    "linear SVM": solve_squared_hinge,
    "logistic regression": solve_softmax,
}


class SplitFit(NamedTuple):
    """A classifier fitted to the training images of a split.

    Attributes
    ----------
    C : float
        The one chosen, or given.
    validation : mapping of float to float
        Accuracy on the validation images of each C tried; empty if none was.
    weights : ndarray of float64, shape (components + 1, classifiers)
        In the basis of the images; the last row holds the intercepts.
    """

    C: float
    validation: Mapping[float, float]
    weights: Rows


@one_blas_thread
def fit_split(
    images: Reduced,
    labels: ArrayLike,
    *,
    classifier: str = "linear SVM",
    Cs: Sequence[float] = GRID,
    n_validate: int = 5,
    seed: int,
    tol: float = 1e-4,
) -> SplitFit:
    """Choose C on a part of the training images, and fit to all of them.

    Parameters
    ----------
    images : Reduced
        From :func:`analysis.transfer.protocols.reduced_images`.
    labels : array_like, shape (training images,)
        Their classes, in their order, without copies.
    classifier : str
        ``"linear SVM"`` or ``"logistic regression"``.
    Cs : sequence of float
        Values to choose from, in rising order until the accuracy has been below the best twice in
        a row; a single one is taken without a search.
    n_validate : int
        Images per class that validate.
    seed : int
        Seed of the choice of these.
    tol : float
        Of the solvers.
    """
    classes, members = np.unique(checked_labels(labels), return_inverse=True)
    copied = images.train.reshape(images.copies, members.size, -1)

    def fitted(kept: Positions, C: float, start: Rows | None) -> Rows:
        """Weights fitted to some training images, with all their copies."""
        rows = copied[:, kept].reshape(-1, copied.shape[2])
        repeated = np.tile(members[kept], images.copies)
        solve, C = CLASSIFIERS[classifier], C / images.copies
        return solve(rows, repeated, classes.size, C=C, start=start, tol=tol)

    ordered = sorted(set(Cs))
    tried: dict[float, float] = {}
    weights: dict[float, Rows] = {}
    if len(ordered) > 1:
        n_fit = int(np.bincount(members).min()) - n_validate
        inner = stratified_splits(members, n_train=n_fit, n_test=n_validate, n_splits=1, seed=seed)
        kept, held = inner[0]
        W: Rows | None = None
        for C in ordered:
            weights[C] = W = fitted(kept, C, W)
            tried[C] = mean_by_class(members[held], _decided(images.clean[held], W))
            if _declined(list(tried.values())):
                break
    C = max(ordered, key=lambda value: tried.get(value, 0.0))
    return SplitFit(C, tried, fitted(np.arange(members.size), C, weights.get(C)))


def _declined(accuracies: Sequence[float]) -> bool:
    """Whether the last accuracies, as many as patience lasts, are below the best before them."""
    before, last = accuracies[:-_PATIENCE], accuracies[-_PATIENCE:]
    return bool(before) and max(last) < max(before)


def mean_by_class(members: Positions, decided: Positions) -> float:
    """Mean over the classes of the share of their images that are decided correctly."""
    rights = np.bincount(members, weights=decided == members)
    sizes = np.bincount(members)
    return float((rights[sizes > 0] / sizes[sizes > 0]).mean())


def _decided(rows: Rows, weights: Rows) -> Positions:
    """Position of the class that each image is given."""
    values = rows @ weights[:-1] + weights[-1]
    if values.shape[1] == 1:
        return np.asarray(values[:, 0] > 0, dtype=np.int64)
    return np.asarray(values.argmax(axis=1), dtype=np.int64)


Array = NDArray[Any]

_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class Reduced:
    """Images of a split in the basis of what the classifier is fitted to.

    Attributes
    ----------
    train : ndarray of float64, shape (copies x training images, components)
        What to fit: copy by copy, with values dropped if there is dropout.
    clean : ndarray of float64, shape (training images, components)
        The training images as if they were test images.
    test : ndarray of float64, shape (test images, components)
        The test images.
    copies : int
        Copies of every training image.
    """

    train: Rows
    clean: Rows
    test: Rows
    copies: int


def inner_products(values: Array | xr.DataArray) -> Rows:
    """Inner products of all images with each other, each image scaled to unit length.

    Parameters
    ----------
    values : ndarray or DataArray, shape (images, features)
        Features. Those of a DataArray on Dask are read a column of chunks at a time: they need not
        fit into memory.

    Returns
    -------
    ndarray of float64, shape (images, images)
        Products within a block of features have the precision of the features (float32 for those
        of networks), their sum is float64.
    """
    products = np.zeros((len(values), len(values)))
    stored = values.chunksizes["feature"] if _is_lazy(values) else [values.shape[1]]
    for first, last in pairwise(np.cumsum([0, *stored]).tolist()):
        columns = np.asarray(values[:, first:last])
        for start in range(0, last - first, _BLOCK):
            block = columns[:, start : start + _BLOCK]
            products += block @ block.T
    if not np.isfinite(products).all():
        raise ValueError("expected finite features, got some that are not")
    lengths = np.sqrt(np.diag(products))
    lengths[lengths == 0] = 1
    products /= lengths
    products /= lengths[:, None]
    return products


def reduced_images(
    values: Array,
    train: Positions,
    test: Positions,
    *,
    draws: int = 0,
    seed: int = 0,
    transformer: BaseEstimator | None = None,
    products: Rows | None = None,
) -> Reduced:
    """Scale images to unit length, drop values, centre, and find the basis.

    Parameters
    ----------
    values : ndarray, shape (images, features)
        Features of all images.
    train, test : ndarray of int
        Positions of the training and of the test images.
    draws : int
        How many copies with half of the values set to 0 are drawn of each training image; test
        images are halved then. With 0 there is no dropout.
    seed : int
        Seed of what is dropped. It is drawn for blocks of features one after another.
    transformer : scikit-learn transformer, optional
        Fitted anew to the training images before the scaling, such as
        :class:`analysis.statistics.FullNetworkEmbedding`.
    products : ndarray of float64, shape (images, images), optional
        :func:`inner_products` of ``values``, used where there is neither dropout nor a transformer.

    Returns
    -------
    Reduced
        Of mean square length 1 in what is fitted.
    """
    if transformer is not None:
        values = np.asarray(clone(transformer).fit(values[train]).transform(values))
    elif products is not None and not draws:
        own, seen = _centred(products, train, test)
        basis = principal_basis(products=own)
        return _unit_scale(basis.rows, basis.rows, seen @ basis.vectors, 1)
    copies = max(draws, 1)
    n_rows, n_features = copies * train.size, values.shape[1]
    blocks = _blocks(values, train, test, draws, seed)
    if n_features < n_rows:
        parts = list(blocks)
        fitted, clean, tested = (np.hstack(part) for part in zip(*parts, strict=True))
        basis = principal_basis(fitted)
        tested = tested @ basis.vectors
        clean = clean @ basis.vectors if draws else basis.rows
        return _unit_scale(basis.rows, clean, tested, copies)
    summed = np.zeros((n_rows, n_rows))
    others = np.zeros((train.size + test.size if draws else test.size, n_rows))
    for fitted, clean, tested in blocks:
        summed += fitted @ fitted.T
        others += (np.vstack([clean, tested]) if draws else tested) @ fitted.T
    basis = principal_basis(products=summed)
    others = others @ basis.vectors
    if not draws:
        return _unit_scale(basis.rows, basis.rows, others, copies)
    return _unit_scale(basis.rows, others[: train.size], others[train.size :], copies)


def _unit_scale(train: Rows, clean: Rows, test: Rows, copies: int) -> Reduced:
    """Divide by the root of the mean square length of what is fitted."""
    length = float(np.sqrt(np.square(train).sum() / len(train))) or 1.0
    return Reduced(train / length, clean / length, test / length, copies)


def _centred(products: Rows, train: Positions, test: Positions) -> tuple[Rows, Rows]:
    """Inner products after the mean of the training images is subtracted from all images."""
    own, seen = products[np.ix_(train, train)], products[np.ix_(test, train)]
    mean, whole = own.mean(axis=0), float(own.mean())
    return own - mean - mean[:, None] + whole, seen - mean - seen.mean(axis=1)[:, None] + whole


def _blocks(
    values: Array, train: Positions, test: Positions, draws: int, seed: int
) -> Iterator[tuple[Rows, Rows, Rows]]:
    """Yield what to fit, training images as tested, and test images, for blocks of features."""
    lengths = _lengths(values)[:, None]
    for number, start in enumerate(range(0, values.shape[1], _BLOCK)):
        block = values[:, start : start + _BLOCK]
        clean, tested = (block[rows] / lengths[rows] for rows in (train, test))
        mean = clean.mean(axis=0)
        if not draws:
            yield clean - mean, clean - mean, tested - mean
            continue
        rng = np.random.default_rng((seed, number))
        left = rng.integers(0, 2, size=(draws, *clean.shape), dtype=np.int8)
        dropped = (left * clean).reshape(-1, clean.shape[1])
        yield dropped - mean / 2, clean / 2 - mean / 2, tested / 2 - mean / 2


def _lengths(values: Array) -> Rows:
    """Length of each image, 1 where it is 0; by blocks of features."""
    squares = np.zeros(len(values))
    for start in range(0, values.shape[1], _BLOCK):
        squares += np.square(values[:, start : start + _BLOCK], dtype=np.float64).sum(axis=1)
    return np.where(squares > 0, np.sqrt(squares), 1.0)


COLUMNS = ("split", "train", "test", "C", "validation", "accuracy", "chance", "seconds")


def protocol_on_splits(
    features: Mapping[str, ArrayLike],
    labels: ArrayLike,
    splits: Sequence[tuple[ArrayLike, ArrayLike]],
    *,
    seed: int,
    n_validate: int = 5,
    classifiers: Sequence[str] = tuple(CLASSIFIERS),
    dropout: Sequence[bool] = (False, True),
    copies: int = 1,
    Cs: Sequence[float] = GRID,
    transformers: Mapping[str, BaseEstimator] | None = None,
    tol: float = 1e-4,
) -> pd.DataFrame:
    """Classify images by several sets of features, on splits that are given.

    Parameters
    ----------
    features : mapping of str to array_like, each of shape (images, any)
        Name → finite features. Of a DataArray on Dask no more is held at a time than a column of
        its chunks, unless values are dropped or it has fewer features than images.
    labels : array_like, shape (images,)
        Class of each image.
    splits : sequence of (train, test), array_like of int
        Positions of training and of test images; no image in both.
    seed : int
        Seed of what validates, and of dropout.
    n_validate : int
        Training images of each class that choose ``C``. As many others of each class are fitted to
        meanwhile as the smallest class has left.
    classifiers : sequence of str
        ``"linear SVM"``, ``"logistic regression"``, or both.
    dropout : sequence of bool
        Without, with, or both.
    copies : int
        Copies of each training image with values dropped.
    Cs : sequence of float
        Values of C to choose from; a single one is taken without a search.
    transformers : mapping of str to scikit-learn transformer, optional
        Set of features → what is fitted to the training images of a split before images are scaled
        to unit length, such as :class:`analysis.statistics.FullNetworkEmbedding`.
    tol : float
        Of :mod:`analysis.transfer.classifiers`.

    Returns
    -------
    DataFrame
        One row per set of features, classifier, dropout and split: ``features``, ``classifier``,
        ``dropout``, ``split``, ``train`` and ``test`` (images), ``C``, ``validation`` (accuracy
        with this ``C``; not a number where there was no search), ``accuracy`` (mean over the
        classes that are tested), ``chance``, and ``seconds``: of choosing C and fitting, and of
        bringing the images into the basis, which both classifiers share and which is counted for
        each.

    Raises
    ------
    ValueError
        Shapes that do not fit, features that are not finite, fewer than two classes, a classifier
        or C that is not known, no split, an image in both parts of a split, a class without
        training images, or too few of a class to choose ``C`` by.
    """
    y = checked(features, labels, classifiers, Cs, copies)
    if unknown := sorted(set(transformers or {}) - set(features)):
        raise ValueError(f"expected transformers of {list(features)}, got some of {unknown}")
    n_held = n_validate if len(set(Cs)) > 1 else 0
    parts = [(k, *_checked_split(y, *split, n_held)) for k, split in enumerate(splits)]
    if not parts:
        raise ValueError("expected at least one split, got none")
    table = _measured(
        features,
        y,
        parts,
        grids={classifier: Cs for classifier in classifiers},
        dropout=dropout,
        seed=seed,
        copies=copies,
        n_validate=n_validate,
        tol=tol,
        transformers=transformers,
    )
    given = {"features": [*features], "classifier": [*classifiers]}
    return table[["features", "classifier", "dropout", *COLUMNS]].sort_values(
        ["features", "classifier", "dropout", "split"],
        key=lambda column: column.map(given[column.name].index) if column.name in given else column,
        ignore_index=True,
    )


def summarise_protocol(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over the splits, as in the paper's Figure 4.

    Parameters
    ----------
    table
        From :func:`protocol_on_splits`, :func:`analysis.transfer.caltech_protocol` or
        :func:`analysis.transfer.training_size_curve`.

    Returns
    -------
    DataFrame
        One row per configuration: its columns, ``mean`` and ``std`` (n - 1 in the denominator) of
        the accuracy, ``validation`` (mean, by which the paper picks its best), ``splits``, ``C``
        (the median), ``chance`` and ``seconds`` (sum over the splits).
    """
    keys = ["features", "classifier", "dropout", "n_train"]
    return (
        table.groupby([key for key in keys if key in table], sort=False)
        .agg(
            mean=("accuracy", "mean"),
            std=("accuracy", "std"),
            validation=("validation", "mean"),
            splits=("accuracy", "size"),
            C=("C", "median"),
            chance=("chance", "first"),
            seconds=("seconds", "sum"),
        )
        .reset_index()
    )


def _measured(
    features: Mapping[str, ArrayLike],
    y: Array,
    parts: Sequence[tuple[int, Positions, Positions]],
    *,
    grids: Mapping[str, Sequence[float]],
    dropout: Sequence[bool],
    seed: int,
    copies: int,
    tol: float,
    n_validate: int = 5,
    transformers: Mapping[str, BaseEstimator] | None = None,
    share: bool = True,
) -> pd.DataFrame:
    """Rows of all sets of features on numbered splits: a classifier each, with its values of C.

    Where that is less work than features, all splits may share the inner products of the images.
    """
    fewest = min(train.size for _, train, _ in parts)
    classes, members = np.unique(y, return_inverse=True)

    def measure(part: tuple[int, Positions, Positions]) -> list[dict[str, Any]]:
        number, train, test = part
        drawn = derived_seed(seed, number)
        begun = perf_counter()
        images = reduced_images(values, train, test, seed=drawn, **options)
        shared = perf_counter() - begun
        rows = []
        for classifier, Cs in grids.items():
            begun = perf_counter()
            fit = fit_split(
                images,
                y[train],
                classifier=classifier,
                Cs=Cs,
                n_validate=n_validate,
                seed=drawn,
                tol=tol,
            )
            decided = _decided(images.test, fit.weights)
            row = {
                "features": name,
                "classifier": classifier,
                "dropout": dropped,
                "split": number,
                "train": train.size,
                "test": test.size,
                "C": fit.C,
                "validation": fit.validation.get(fit.C, np.nan),
                "accuracy": mean_by_class(members[test], decided),
                "chance": 1 / classes.size,
                "seconds": shared + perf_counter() - begun,
            }
            rows.append(row)
        return rows

    measured = []
    for (name, X), dropped in product(features.items(), dropout):
        transformer, products = (transformers or {}).get(name), None
        values: Any = X if _is_lazy(X) else np.asarray(dense(X))
        if share and not dropped and transformer is None and values.shape[1] >= fewest:
            products = inner_products(values)
        elif _is_lazy(X):
            values, _ = images_and_labels(X, y, f"{name}: ")
        draws = copies if dropped else 0
        options: Any = {"draws": draws, "transformer": transformer, "products": products}
        measured += in_threads(measure, parts)
    return pd.DataFrame([row for rows in measured for row in rows])


def derived_seed(seed: int, number: int) -> int:
    """Seed of what is drawn within a split."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def checked(
    features: Mapping[str, ArrayLike],
    labels: ArrayLike,
    classifiers: Sequence[str],
    Cs: Sequence[float],
    copies: int,
) -> Array:
    """Labels, if all that is given fits together."""
    if not features:
        raise ValueError("expected at least one set of features to classify by, got none")
    unknown = [name for name in classifiers if name not in CLASSIFIERS]
    if unknown or not classifiers:
        raise ValueError(f"expected classifiers among {list(CLASSIFIERS)}, got {list(classifiers)}")
    if not len(Cs) or not all(np.isfinite(C) and C > 0 for C in Cs):
        raise ValueError(f"expected values of C above 0, got {list(Cs)}")
    if copies < 1:
        raise ValueError(f"expected at least one copy of each image, got copies={copies}")
    for name, X in features.items():
        # What is lazy is read later, and only by its shape before.
        given = np.zeros((len(X), 1)) if _is_lazy(X) else X
        _, y = images_and_labels(given, labels, f"{name}: ")
    return y


def _is_lazy(X: Any) -> TypeGuard[xr.DataArray]:
    return isinstance(X, xr.DataArray) and X.chunks is not None and X.dims == DIMS


def _checked_split(
    y: Array, train: ArrayLike, test: ArrayLike, n_validate: int
) -> tuple[Positions, Positions]:
    """Positions of a split, if it can be trained, validated and tested on."""
    first, second = (np.asarray(part, dtype=np.int64) for part in (train, test))
    if not second.size or np.intersect1d(first, second).size:
        raise ValueError(
            f"expected test images, and none that train; got {second.size} test images of which "
            f"{np.intersect1d(first, second).size} train"
        )
    classes = np.unique(y)
    sizes = np.array([np.count_nonzero(y[first] == name) for name in classes])
    if sizes.min() <= n_validate:
        name, size = classes[int(sizes.argmin())], int(sizes.min())
        raise ValueError(
            f"expected more than {n_validate} training images of every class, got {size} of class "
            f"{name}; take fewer to validate, or give a single C"
        )
    return first, second


SIZES = (1, 3, 5, 10, 15, 20, 25, 30)
"""Training images per class of the curve."""
FIXED_C: Mapping[str, float] = {"linear SVM": 1.0, "logistic regression": 30.0}
"""C of the curve over training sizes, the same for every size."""


def caltech_protocol(
    features: Mapping[str, ArrayLike],
    labels: ArrayLike,
    *,
    seed: int,
    n_train: int = 30,
    n_validate: int = 5,
    n_splits: int = 5,
    **options: Any,
) -> pd.DataFrame:
    """Classify images by several sets of features, as the paper classifies Caltech-101.

    Parameters
    ----------
    features, labels, **options
        As in :func:`protocol_on_splits`: ``classifiers``, ``dropout``, ``copies``, ``Cs``,
        ``transformers``, ``tol``.
    seed : int
        Seed of the splits, of what validates, and of dropout.
    n_train : int
        Training images per class. Where the smallest class has no more, as many as
        :func:`analysis.transfer.affordable_n_train` affords, and ``n_validate`` in proportion (at
        least 1).
    n_validate : int
        How many of these choose ``C``.
    n_splits : int
        How many splits.

    Returns
    -------
    DataFrame
        As of :func:`protocol_on_splits`.

    Raises
    ------
    ValueError
        As there; or classes too small to train, validate and test.
    """
    y = checked_labels(labels)
    search = len(set(options.get("Cs", GRID))) > 1
    n_train, n_validate = _affordable(y, n_train, n_validate, search)
    splits = stratified_splits(y, n_train=n_train, n_splits=n_splits, seed=seed)
    return protocol_on_splits(features, y, splits, seed=seed, n_validate=n_validate, **options)


def training_size_curve(
    features: Mapping[str, ArrayLike],
    labels: ArrayLike,
    *,
    seed: int,
    sizes: Sequence[int] | None = None,
    n_splits: int = 5,
    Cs: Mapping[str, float] = FIXED_C,
    dropout: Sequence[bool] = (True,),
    copies: int = 1,
    tol: float = 1e-4,
) -> pd.DataFrame:
    """Accuracy by the number of training images per class, from one on, with C fixed.

    ``C`` is the same for every size, because a single image per class leaves none to validate (the
    paper fixes its parameters too, and does not give them). The test images of a split are the same
    for every size: those that the greatest does not train on. Smaller training sets are parts of
    greater ones.

    Parameters
    ----------
    features, labels, seed, n_splits, dropout, copies, tol
        As in :func:`protocol_on_splits`.
    sizes : sequence of int, optional
        Training images per class. By default those of :data:`SIZES` that leave every class an image
        to be tested on.
    Cs : mapping of str to float
        Classifier → its ``C``.

    Returns
    -------
    DataFrame
        Columns of :func:`protocol_on_splits`, and ``n_train`` (per class) after ``dropout``;
        ``validation`` is not a number.

    Raises
    ------
    ValueError
        As there; or if a class is too small for one of ``sizes``.
    """
    y = checked(features, labels, tuple(Cs), tuple(Cs.values()), copies)
    smallest = int(np.unique(y, return_counts=True)[1].min())
    wanted = sorted([size for size in SIZES if size < smallest] if sizes is None else sizes)
    if not wanted or wanted[0] < 1 or wanted[-1] >= smallest:
        raise ValueError(
            f"expected sizes from 1 to {smallest - 1}, since the smallest class has {smallest} "
            f"images and one must be left to test on; got {wanted}"
        )
    outer = stratified_splits(y, n_train=wanted[-1], n_splits=n_splits, seed=seed)
    parts = [
        (number, _part(y, most, size, seed + number), test)
        for size, (number, (most, test)) in product(wanted, enumerate(outer))
    ]
    grids = {classifier: (C,) for classifier, C in Cs.items()}
    options: Any = {"dropout": dropout, "seed": seed, "copies": copies, "tol": tol}
    table = _measured(features, y, parts, grids=grids, share=False, **options)
    table["n_train"] = table["train"] // np.unique(y).size
    return table[["features", "classifier", "dropout", "n_train", *COLUMNS]]


def _part(y: Array, most: Array, size: int, seed: int) -> Array:
    """Take some training images; the same seed draws the same order, so that parts are nested."""
    if np.bincount(np.unique(y[most], return_inverse=True)[1]).min() == size:
        return most
    inner = stratified_splits(y[most], n_train=size, n_splits=1, seed=seed)
    part: Array = most[inner[0].train]
    return part


def _affordable(y: Array, n_train: int, n_validate: int, search: bool) -> tuple[int, int]:
    """Training and validation images per class that the smallest class can give."""
    if n_train < 1 or (search and not 1 <= n_validate < n_train):
        raise ValueError(
            "expected at least one image per class to train on and one to validate, got "
            f"n_train={n_train} of which n_validate={n_validate}"
        )
    smallest = int(np.unique(y, return_counts=True)[1].min())
    if smallest > n_train:
        return n_train, n_validate
    fewer = affordable_n_train(y, n_train)
    if fewer < (2 if search else 1):
        raise ValueError(
            f"the smallest class has {smallest} images, too few to train, validate and test; leave "
            "it out, or give a single C"
        )
    return fewer, max(1, n_validate * fewer // n_train)
