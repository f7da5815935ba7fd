"""A linear machine of one split, its C chosen on a part of the training images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.data import stratified_splits
from analysis.data.labels import checked_labels
from analysis.statistics.threads import one_blas_thread
from analysis.transfer.reduction import Reduced
from analysis.transfer.solvers import solve_softmax, solve_squared_hinge

__all__ = ["CLASSIFIERS", "GRID", "SplitFit", "fit_split", "mean_by_class"]

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
        From :func:`analysis.transfer.reduction.reduced_images`.
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
