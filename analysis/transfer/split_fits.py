"""A linear machine of one split, its C chosen on a part of the training images.

A linear machine with squared penalty needs no more than inner products. The training images span
at most as many directions as there are images, however wide the features are; in the basis of
their principal components one factorisation serves every value of C and every classifier.

Every image is scaled to unit length by itself; then the mean of the training images is subtracted
and all is divided by the root of the mean square length of what is fitted, so that ``C`` means the
same for every set of features. All of this can be done to inner products as well: where there are
more features than images, those of all images are computed once (:func:`inner_products`), and every
split takes its own. Dropout and a transformer change the features with the split, and have theirs
computed split by split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone

from analysis.data import stratified_splits
from analysis.data.labels import checked_labels
from analysis.statistics.threads import one_blas_thread
from analysis.transfer.solvers import principal_basis, solve_softmax, solve_squared_hinge

Rows = NDArray[np.float64]
Positions = NDArray[np.int64]

GRID = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
"""Values of C that are tried, for images of mean square length 1."""
_PATIENCE = 2
CLASSIFIERS: Mapping[str, Callable[..., Rows]] = {
    "linear SVM": solve_squared_hinge,
    "logistic regression": solve_softmax,
}


@dataclass(frozen=True, eq=False)
class SplitFit:
    """A machine fitted to the training images of a split.

    Attributes
    ----------
    C : float
        The one chosen, or given.
    validation : mapping of float to float
        Accuracy on the validation images of each C tried; empty if none was.
    weights : ndarray of float64, shape (components + 1, machines)
        In the basis of ``images``; the last row holds the intercepts.
    images : Reduced
        Training and test images in that basis.
    """

    C: float
    validation: Mapping[float, float]
    weights: Rows
    images: Reduced

    def predicted(self) -> Positions:
        """Positions, among the sorted classes, of the classes of the test images."""
        return _decided(self.images.test, self.weights)


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
        From :func:`analysis.transfer.split_fits.reduced_images`.
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
    ordered = sorted(set(Cs))
    tried: dict[float, float] = {}
    found: dict[float, Rows] = {}
    if len(ordered) > 1:
        n_fit = int(np.bincount(members).min()) - n_validate
        inner = stratified_splits(members, n_train=n_fit, n_test=n_validate, n_splits=1, seed=seed)
        kept, held = inner[0]
        W: Rows | None = None
        for C in ordered:
            W = _fitted(images, members, kept, classes.size, classifier, C, tol, start=W)
            found[C] = W
            decided = _decided(images.clean[held], W)
            tried[C] = mean_by_class(members[held], decided)
            if _declined(list(tried.values())):
                break
    C = max(ordered, key=lambda each: tried.get(each, 0.0))
    every = np.arange(members.size)
    start = found.get(C)
    weights = _fitted(images, members, every, classes.size, classifier, C, tol, start=start)
    return SplitFit(C, tried, weights, images)


def _declined(accuracies: Sequence[float]) -> bool:
    """Whether the last accuracies, as many as patience lasts, are below the best before them."""
    before, last = accuracies[:-_PATIENCE], accuracies[-_PATIENCE:]
    return bool(before) and max(last) < max(before)


def mean_by_class(members: Positions, decided: Positions) -> float:
    """Mean over the classes of the share of their images that are decided rightly."""
    rights = np.bincount(members, weights=decided == members)
    sizes = np.bincount(members)
    return float((rights[sizes > 0] / sizes[sizes > 0]).mean())


def _fitted(
    images: Reduced,
    members: Positions,
    kept: Positions,
    n_classes: int,
    classifier: str,
    C: float,
    tol: float,
    start: Rows | None = None,
) -> Rows:
    """Weights fitted to some training images, with all their copies."""
    copied = images.train.reshape(images.copies, members.size, -1)
    rows = copied[:, kept].reshape(-1, copied.shape[2])
    return CLASSIFIERS[classifier](
        rows,
        np.tile(members[kept], images.copies),
        n_classes,
        C=C / images.copies,
        start=start,
        tol=tol,
    )


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
    """Images of a split in the basis of what the machine is fitted to.

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


def inner_products(values: Array) -> Rows:
    """Inner products of all images with each other, each image scaled to unit length.

    Parameters
    ----------
    values : ndarray, shape (images, features)
        Features, which are read in blocks.

    Returns
    -------
    ndarray of float64, shape (images, images)
        Products within a block of features have the precision of the features (float32 for those
        of networks), their sum is float64.
    """
    products = np.zeros((len(values), len(values)))
    for start in range(0, values.shape[1], _BLOCK):
        block = np.asarray(values[:, start : start + _BLOCK])
        products += block @ block.T
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
        fitted, clean, tested = (np.hstack(each) for each in zip(*parts, strict=True))
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
