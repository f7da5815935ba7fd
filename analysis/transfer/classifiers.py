"""Classifiers of the transfer protocols, as scikit-learn pipelines.

Conventions
-----------
Features are standardised by the images that a classifier is fitted to, with the population's
standard deviation; those that do not vary there are only centred.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cholesky, solve_triangular
from sklearn import preprocessing
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC

from analysis.statistics.blocks import dense
from analysis.statistics.named import NamedFeatures, feature_names
from analysis.statistics.threads import one_blas_thread
from analysis.transfer._samples import KnownFeatures, images_and_labels

__all__ = ["WideLinearSVC", "linear_svm"]

_RIDGE = 1e-9  # of the mean squared norm of a row; keeps the factor of a singular matrix finite


def linear_svm(*, C: float = 1.0) -> Pipeline:
    """Build a linear support vector machine on standardised features.

    Parameters
    ----------
    C : float
        As in :class:`WideLinearSVC`.

    Returns
    -------
    Pipeline
        Steps ``standardscaler`` and ``widelinearsvc``.
    """
    return make_pipeline(StandardScaler(), WideLinearSVC(C=C))


class StandardScaler(NamedFeatures, preprocessing.StandardScaler):  # type: ignore[misc]
    """scikit-learn's, with features by name."""

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Add images (images, features) to those that mean and deviation are of."""
        super().partial_fit(_frame(X), y, sample_weight)
        return self

    def transform(self, X: Any, copy: bool | None = None) -> Any:
        """Standardise images (images, features)."""
        return super().transform(_frame(self._in_order(X, "images")), copy)


def _frame(X: Any) -> Any:
    """scikit-learn knows the names of features from DataFrames alone."""
    names = feature_names(X) if isinstance(X, xr.DataArray) else None
    return dense(X) if names is None else pd.DataFrame(dense(X).to_numpy(), columns=names)


class WideLinearSVC(KnownFeatures, LinearSVC):  # type: ignore[misc]  # scikit-learn has no types
    """scikit-learn's ``LinearSVC``, faster where there are more features than images.

    One class against the rest, squared hinge loss. It differs in two things. Features are divided
    by the square root of their number, so that ``C`` means the same for any number of standardised
    features. And where there are at least as many features as images, the machine is not fitted to
    the features but to the rows of the triangular (Cholesky) factor of the matrix of their inner
    products, which has the same inner products in fewer and half as many numbers; the solution is
    the same.

    Parameters are those of ``LinearSVC``.
    """

    coef_: NDArray[np.float64]

    @one_blas_thread
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit to features (images, features) and labels (images,)."""
        rows, labels = images_and_labels(X, y)
        rows = rows.astype(np.float64, copy=False)
        n_images, n_features = rows.shape
        if n_features < n_images:
            super().fit(rows / np.sqrt(n_features), labels, sample_weight)
            self.coef_ /= np.sqrt(n_features)
        else:
            self.fit_products(rows, rows @ rows.T / n_features, labels, sample_weight)
        self._remember(X, n_features)
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Decision values, shape (images, classes), or (images,) for two classes."""
        rows = self._samples(X, "images")
        values: NDArray[np.float64] = rows @ self.coef_.T + self.intercept_
        return values[:, 0] if values.shape[1] == 1 else values

    @one_blas_thread
    def fit_products(
        self,
        X: NDArray[np.float64],
        products: NDArray[np.float64],
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Fit as :meth:`fit`, where inner products are known.

        Parameters
        ----------
        X : ndarray of float64, shape (images, features)
            Features.
        products : ndarray of float64, shape (images, images)
            Inner products of the images, divided by the number of features.
        y, sample_weight
            Labels and weights (images,).
        """
        factor = _triangular_factor(products)
        super().fit(factor, y, sample_weight)
        weights = solve_triangular(factor, self.coef_.T, lower=True, trans="T")
        self.coef_ = weights.T @ X / X.shape[1]
        self.n_features_in_ = X.shape[1]
        return self


def _triangular_factor(products: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lower triangular matrix whose rows have these inner products (up to the ridge)."""
    size = float(np.trace(products)) / len(products) or 1.0
    ridge = _RIDGE * size * np.eye(len(products))
    factor: NDArray[Any] = cholesky(products + ridge, lower=True)
    return factor
