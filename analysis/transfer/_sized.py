"""Linear machines on samples of mean squared norm 1, so that C means the same for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import Pipeline, make_pipeline

from analysis.transfer.batched import BatchedLinearSVC, BatchedLogisticRegression

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
