"""Linear machines on samples of mean squared norm 1, so that C means the same for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC

__all__ = ["linear_machine", "logistic_regression", "mean_norm", "standardise"]

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
    return make_pipeline(_Sized(), LinearSVC(C=C, dual=False))


def logistic_regression(C: float = 100.0) -> Pipeline:
    """Build a multinomial logistic regression."""
    return make_pipeline(_Sized(), LogisticRegression(C=C, max_iter=1000))


class _Sized(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Samples over their root mean squared norm, in a basis of what they span if it is smaller.

    No machine that penalises squared weights sees the directions that its samples do not span.
    """

    def fit(self, X: Floats, y: Any = None) -> Self:
        self.basis_: Floats = np.eye(1)
        self.turned_ = len(X) < X.shape[1]
        if self.turned_:
            self.basis_ = np.linalg.qr(X.T)[0]
        self.size_ = mean_norm(X)
        return self

    def transform(self, X: Floats) -> Floats:
        rows: Floats = X @ self.basis_ if self.turned_ else X
        return rows / self.size_
