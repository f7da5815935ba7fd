"""scikit-learn's linear classifiers, fitted to many classes at once.

Some are fitted to samples of mean squared norm 1, so that C means the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.pipeline import Pipeline, make_pipeline

from analysis.statistics.threads import one_blas_thread
from analysis.transfer._samples import KnownFeatures, images_and_labels
from analysis.transfer.solvers import principal_basis, solve_softmax, solve_squared_hinge

Rows = NDArray[np.float64]


class _Batched(KnownFeatures, ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What both machines share."""

    _solve: Callable[..., Rows]

    def __init__(self, C: float = 1.0, *, tol: float = 1e-4, max_iter: int = 100) -> None:
        self.C = C
        self.tol = tol
        self.max_iter = max_iter

    @one_blas_thread
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit to features (images, features) and labels (images,)."""
        rows, labels = images_and_labels(X, y)
        rows = rows.astype(np.float64, copy=False)
        classes, members = np.unique(labels, return_inverse=True)
        basis = principal_basis(rows)
        W = type(self)._solve(
            basis.rows,
            members,
            classes.size,
            C=self.C,
            tol=self.tol,
            max_iter=self.max_iter,
        )
        W = W[:, 1:] - W[:, :1] if W.shape[1] == 2 else W
        vectors = rows.T @ basis.vectors if basis.dual else basis.vectors
        self.coef_: Rows = (vectors @ W[:-1]).T
        self.intercept_: Rows = W[-1]
        self.classes_ = classes
        self._remember(X, rows.shape[1])
        return self

    def decision_function(self, X: ArrayLike) -> Rows:
        """Decision values, shape (images, classes), or (images,) for two classes."""
        rows = self._samples(X, "images")
        values: Rows = rows @ self.coef_.T + self.intercept_
        return values[:, 0] if self.classes_.size == 2 else values

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Class of each image."""
        values = self.decision_function(X)
        chosen = (values > 0).astype(int) if values.ndim == 1 else values.argmax(axis=1)
        labels: NDArray[Any] = self.classes_[chosen]
        return labels


class BatchedLinearSVC(_Batched):
    """``LinearSVC`` of scikit-learn (squared hinge, primal or dual), all classes at once.

    Parameters
    ----------
    C : float
        Weight of the loss.
    tol : float
        Norm of the gradient, as a share of its norm at zero weights, at which a machine is done.
    max_iter : int
        Most Newton steps.

    Attributes
    ----------
    classes_, coef_, intercept_
        As in ``LinearSVC``; for two classes, ``coef_`` has one row.
    """

    _solve = staticmethod(solve_squared_hinge)


class BatchedLogisticRegression(_Batched):
    """``LogisticRegression`` of scikit-learn with an L2 penalty; parameters as above.

    ``coef_`` and ``intercept_`` are its own, except that a number added to the intercepts of all
    classes changes nothing, and scikit-learn does not say which it gives; here their mean is 0.
    """

    _solve = staticmethod(solve_softmax)

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit to features (images, features) and labels (images,)."""
        super().fit(X, y)
        if self.classes_.size > 2:
            self.intercept_ = self.intercept_ - self.intercept_.mean()
        return self


Floats = NDArray[np.float64]


def standardise(X: Floats) -> Callable[[Floats], Floats]:
    """Learn mean and standard deviation of samples; features that do not vary are only centred."""
    mean, deviation = X.mean(axis=0), X.std(axis=0)
    deviation[(X[0] == X).all(axis=0)] = 1.0
    return lambda Z: (Z - mean) / deviation


def mean_norm(X: Floats) -> float:
    """Root mean squared norm of samples; 1 where all are zero."""
    return float(np.sqrt((X**2).sum(axis=1).mean())) or 1.0


def linear_machine(C: float = 1.0) -> Pipeline:
    """Build a support vector machine, one class against the rest, squared hinge loss."""
    return make_pipeline(_Sized(), BatchedLinearSVC(C))


def logistic_regression(C: float = 100.0) -> Pipeline:
    """Build a multinomial logistic regression."""
    return make_pipeline(_Sized(), BatchedLogisticRegression(C))


class _Sized(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Samples over their root mean squared norm."""

    def fit(self, X: Floats, y: Any = None) -> Self:
        self.size_ = mean_norm(X)
        return self

    def transform(self, X: Floats) -> Floats:
        return X / self.size_
