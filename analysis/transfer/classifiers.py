"""Linear classifiers of many classes at once: Newton's method in the basis of principal components.

They are scikit-learn's, as estimators and pipelines. Features are standardised by the images that a
classifier is fitted to, with the population's standard deviation; those that do not vary there are
only centred. Some are fitted to samples of mean squared norm 1, so that C means the same for all.

Conventions
-----------
The problems are scikit-learn's, so that the solutions are the same up to the tolerance:

- :func:`solve_squared_hinge` solves that of ``LinearSVC``: squared hinge loss, one class against
  the rest, the intercept penalised like a weight (as for ``intercept_scaling=1``).
- :func:`solve_softmax` solves that of ``LogisticRegression``: softmax over the
  classes, for two classes the logistic loss of a single vector, the intercept not penalised.

Newton's equations are solved by conjugate gradients. A step of these costs two matrix products for
all classes together, where LIBLINEAR goes through the images class by class. In the basis of the
principal components the penalised squares are nearly diagonal, hence few steps are needed. These
steps are taken in single precision; objectives, gradients and lengths of steps in double, so that
what is found is as exact as ``tol`` says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.special import logsumexp
from sklearn import preprocessing
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC

from analysis.statistics.blocks import dense
from analysis.statistics.named import NamedFeatures, feature_names
from analysis.statistics.threads import one_blas_thread
from analysis.transfer._samples import KnownFeatures, images_and_labels

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
    features. Where there are at least as many features as images, the classifier is fitted not to
    the features but to the rows of the triangular (Cholesky) factor of the matrix of their inner
    products, which has the same inner products in fewer and half as many numbers; the solution is
    the same.

    Parameters are those of ``LinearSVC``.
    """

    coef_: NDArray[np.float64]

    @one_blas_thread
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit to features (images, features) and labels (images,)."""
        rows, labels = images_and_labels(X, y)
        rows = rows.astype(np.float64, copy=False)
        n_images, n_features = rows.shape
        if n_features < n_images:
            super().fit(rows / np.sqrt(n_features), labels)
            self.coef_ /= np.sqrt(n_features)
        else:
            self.fit_products(rows, rows @ rows.T / n_features, labels)
        self._remember(X, n_features)
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Decision values, shape (images, classes), or (images,) for two classes."""
        return _decision_values(self, X)

    @one_blas_thread
    def fit_products(
        self, X: NDArray[np.float64], products: NDArray[np.float64], y: ArrayLike
    ) -> Self:
        """Fit as :meth:`fit`, where inner products are known.

        Parameters
        ----------
        X : ndarray of float64, shape (images, features)
            Features.
        products : ndarray of float64, shape (images, images)
            Inner products of the images, divided by the number of features.
        y : array_like, shape (images,)
            Labels.
        """
        size = float(np.trace(products)) / len(products) or 1.0
        factor = cholesky(products + _RIDGE * size * np.eye(len(products)), lower=True)
        super().fit(factor, y)
        weights = solve_triangular(factor, self.coef_.T, lower=True, trans="T")
        self.coef_ = weights.T @ X / X.shape[1]
        self.n_features_in_ = X.shape[1]
        return self


def _decision_values(fitted: Any, X: ArrayLike) -> NDArray[np.float64]:
    values: NDArray[np.float64] = fitted._samples(X, "images") @ fitted.coef_.T + fitted.intercept_
    return values[:, 0] if values.shape[1] == 1 else values


Rows = NDArray[np.float64]
Single = NDArray[np.float32]

_NEGLIGIBLE = 1e-13  # of the greatest eigenvalue
_CG_STEPS = 60
_ROUNDING = 1e-14  # of the objective, of the loss of all images
_HALVINGS = 30


class Basis(NamedTuple):
    """Orthonormal directions that images span, and the images in them.

    Attributes
    ----------
    rows : ndarray of float64, shape (images, components)
        The images in this basis; inner products are those of the images.
    vectors : ndarray of float64
        If ``dual``, (images, components): the product of inner products with the images and these
        gives other images in this basis. Else (features, components), to be multiplied with their
        features.
    dual : bool
        Whether there were more features than images.
    """

    rows: Rows
    vectors: Rows
    dual: bool


def principal_basis(X: Rows | None = None, *, products: Rows | None = None) -> Basis:
    """Directions of the principal components (without centring) of some images.

    Parameters
    ----------
    X : ndarray of float64, shape (images, features), optional
        Features.
    products : ndarray of float64, shape (images, images), optional
        Their inner products, which are computed where there are more features than images if they
        are not given. One of the two is needed.

    Returns
    -------
    Basis
        Components whose share of the greatest eigenvalue is above rounding.
    """
    if products is None:
        if X is None:
            raise ValueError("expected features or their inner products, got neither")
        if X.shape[1] < X.shape[0]:
            values, vectors = _leading(X.T @ X)
            return Basis(X @ vectors, vectors, dual=False)
        products = X @ X.T
    values, vectors = _leading(products)
    roots = np.sqrt(values)
    return Basis(vectors * roots, vectors / roots, dual=True)


def solve_squared_hinge(
    X: Rows,
    members: NDArray[np.int64],
    n_classes: int,
    *,
    C: float,
    start: Rows | None = None,
    tol: float = 1e-4,
    max_iter: int = 100,
) -> Rows:
    """Weights of one-against-rest classifiers with squared hinge loss.

    Parameters
    ----------
    X : ndarray of float64, shape (images, components)
        Images, in the basis of their principal components if this should be fast.
    members : ndarray of int, shape (images,)
        Class of each image, 0 to ``n_classes`` - 1.
    n_classes : int
        Two give one classifier, that of the second class.
    C : float
        Weight of the loss.
    start : ndarray of float64, shape (components + 1, classifiers), optional
        Weights to begin with, such as those for another ``C``.
    tol : float
        A classifier is done when the norm of its gradient is below this share of its norm at zero.
    max_iter : int
        Most Newton steps.

    Returns
    -------
    ndarray of float64, shape (components + 1, classifiers)
        Weights; the last row holds the intercepts.

    Raises
    ------
    RuntimeError
        If ``max_iter`` steps are not enough.
    """
    signs = np.where(members[:, None] == np.arange(n_classes), 1.0, -1.0)
    signs = signs[:, 1:] if n_classes == 2 else signs
    wide = np.hstack([X, np.ones((len(X), 1))])
    single = wide.astype(np.float32)
    squares = np.square(wide).sum(axis=0)[:, None]
    W = np.zeros((wide.shape[1], signs.shape[1])) if start is None else start.copy()
    scale = np.linalg.norm(2 * C * wide.T @ signs, axis=0)
    Z = wide @ W
    for _ in range(max_iter):
        short = np.maximum(1 - signs * Z, 0)
        gradient = W - 2 * C * (wide.T @ (signs * short))
        norms = np.linalg.norm(gradient, axis=0)
        live = np.flatnonzero(norms > tol * scale + _ROUNDING * C * len(X))
        if live.size == 0:
            return W
        weights = 2 * C * (short[:, live] > 0).astype(np.float32)

        def curved(Q: Single, weights: Single = weights) -> Single:
            answers = single @ Q
            answers *= weights
            return Q + single.T @ answers

        inverse = 1 / (1 + squares * weights.mean(axis=0, dtype=np.float64))
        goal = norms[live] * np.minimum(0.1, np.sqrt(norms[live] / scale[live]))
        D = _conjugate_gradients(curved, gradient[:, live], inverse, goal)
        ZD = wide @ D
        step = _hinge_steps(W[:, live], D, Z[:, live], ZD, signs[:, live], C)
        W[:, live] += step * D
        Z[:, live] += step * ZD
    raise RuntimeError(f"expected to converge in {max_iter} steps; raise max_iter or tol={tol:g}")


def solve_softmax(
    X: Rows,
    members: NDArray[np.int64],
    n_classes: int,
    *,
    C: float,
    start: Rows | None = None,
    tol: float = 1e-4,
    max_iter: int = 100,
) -> Rows:
    """Weights of multinomial logistic regression; arguments as in :func:`solve_squared_hinge`.

    Two classes have two columns of weights, opposite to each other, with ``C`` halved, which is the
    problem of a single vector. The gradient counts as a whole, not class by class.
    """
    C = C / 2 if n_classes == 2 else C
    wanted = (members[:, None] == np.arange(n_classes)).astype(np.float64)
    wide = np.hstack([X, np.ones((len(X), 1))])
    penalised = np.ones((wide.shape[1], 1))
    penalised[-1] = 0.0
    single = wide.astype(np.float32)
    squares = np.square(wide)
    W = np.zeros((wide.shape[1], n_classes)) if start is None else start.copy()
    scale = float(np.linalg.norm(C * (wide.T @ (1 / n_classes - wanted))))
    Z = wide @ W
    for _ in range(max_iter):
        P = np.exp(Z - logsumexp(Z, axis=1, keepdims=True))
        gradient = penalised * W + C * (wide.T @ (P - wanted))
        norm = float(np.linalg.norm(gradient))
        if norm <= tol * scale + _ROUNDING * C * len(X):
            return W

        narrow = P.astype(np.float32)

        def curved(Q: Single, P: Single = narrow) -> Single:
            spread = P * (single @ Q)
            spread -= P * spread.sum(axis=1, keepdims=True)
            spread *= np.float32(C)
            answers = single.T @ spread
            answers[:-1] += Q[:-1]
            return answers

        inverse = 1 / (penalised + C * (squares.T @ (P * (1 - P))) + 1e-12)
        goal = np.array([norm * min(0.1, np.sqrt(norm / scale))])
        D = _conjugate_gradients(curved, gradient, inverse, goal, jointly=True)
        ZD = wide @ D
        step = _softmax_step(penalised * W, penalised * D, Z, ZD, wanted, C)
        W += step * D
        Z += step * ZD
    raise RuntimeError(f"expected to converge in {max_iter} steps; raise max_iter or tol={tol:g}")


def _leading(symmetric: Rows) -> tuple[Rows, Rows]:
    """Eigenvalues above rounding, greatest first, and their vectors."""
    values, vectors = np.linalg.eigh(symmetric)  # SciPy would stop all other threads
    keep = values > _NEGLIGIBLE * max(float(values[-1]), np.finfo(float).tiny)
    return values[keep][::-1], np.ascontiguousarray(vectors[:, keep][:, ::-1])


def _conjugate_gradients(
    curved: Callable[[Single], Single],
    gradient: Rows,
    inverse: Rows,
    goal: Rows,
    jointly: bool = False,
) -> Rows:
    """Newton direction, each column by itself or all jointly, until the residuals are short.

    In single precision: a direction need not be exact, since gradients and steps are.
    """

    def inner(A: Single, B: Single) -> Rows:
        sums: Rows = np.einsum("ij,ij->j", A, B).astype(np.float64)
        return sums.sum(keepdims=True) if jointly else sums

    size = np.linalg.norm(gradient) if jointly else np.linalg.norm(gradient, axis=0)
    tiny = np.finfo(np.float32).tiny
    R = (-gradient / size).astype(np.float32)
    D = np.zeros_like(R)
    preconditioner = inverse.astype(np.float32)
    Q = preconditioner * R
    rz = inner(R, Q)
    for _ in range(_CG_STEPS):
        left = np.sqrt(inner(R, R)) > goal / size
        if not left.any():
            break
        HQ = curved(Q)
        length = np.where(left, rz / np.maximum(inner(Q, HQ), tiny), 0).astype(np.float32)
        D += length * Q
        R -= length * HQ
        scaled = preconditioner * R
        following = inner(R, scaled)
        Q *= (following / np.maximum(rz, tiny)).astype(np.float32)
        Q += scaled
        rz = following
    return D.astype(np.float64) * size


def _hinge_steps(W: Rows, D: Rows, Z: Rows, ZD: Rows, signs: Rows, C: float) -> Rows:
    """Best length of each classifier's step: the root of the slope, which rises along the step.

    The slope is piecewise linear; Newton's method on it, kept within a bracket.
    """
    base, own = np.einsum("ij,ij->j", W, D), np.einsum("ij,ij->j", D, D)
    low, high = np.zeros(len(own)), np.full(len(own), np.inf)
    step = np.ones(len(own))
    for _ in range(_HALVINGS):
        short = 1 - signs * (Z + step * ZD)
        active = short > 0
        slope = base + step * own - 2 * C * (np.where(active, short, 0) * signs * ZD).sum(axis=0)
        rise = own + 2 * C * (active * np.square(ZD)).sum(axis=0)
        low, high = np.where(slope < 0, step, low), np.where(slope > 0, step, high)
        change = np.where(rise > 0, -slope / np.where(rise > 0, rise, 1), 0)
        done = np.abs(change) <= 1e-3 * step
        if done.all():
            break
        proposed = step + change
        middle = np.where(np.isfinite(high), (low + high) / 2, 2 * step)
        within = (proposed > low) & (proposed < high)
        step = np.where(done, step, np.where(within, proposed, middle))
    return step


def _softmax_step(W: Rows, D: Rows, Z: Rows, ZD: Rows, wanted: Rows, C: float) -> float:
    """Length of the step: 1, or the first of its halves that lowers the objective enough."""

    def objective(t: float) -> float:
        moved = Z + t * ZD
        lost = logsumexp(moved, axis=1).sum() - (wanted * moved).sum()
        return float(0.5 * np.square(W + t * D).sum() + C * lost)

    P = np.exp(Z - logsumexp(Z, axis=1, keepdims=True))
    slope = float((W * D).sum() + C * ((P - wanted) * ZD).sum())
    begin, t = objective(0.0), 1.0
    rounding = _ROUNDING * abs(begin)
    for _ in range(_HALVINGS):
        if objective(t) <= begin + 1e-4 * t * slope + rounding:
            break
        t /= 2
    return t


class BatchedLinearSVC(KnownFeatures, ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """``LinearSVC`` of scikit-learn (squared hinge, primal or dual), all classes at once.

    Parameters
    ----------
    C : float
        Weight of the loss.
    tol : float
        Norm of the gradient, as a share of its norm at zero weights, at which a classifier is done.
    max_iter : int
        Most Newton steps.

    Attributes
    ----------
    classes_, coef_, intercept_
        As in ``LinearSVC``; for two classes, ``coef_`` has one row.
    """

    _solve: Callable[..., Rows] = staticmethod(solve_squared_hinge)

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
        W = self._solve(basis.rows, members, classes.size, **self.get_params())
        W = W[:, 1:] - W[:, :1] if W.shape[1] == 2 else W
        vectors = rows.T @ basis.vectors if basis.dual else basis.vectors
        self.coef_: Rows = (vectors @ W[:-1]).T
        self.intercept_: Rows = W[-1]
        self.classes_ = classes
        self._remember(X, rows.shape[1])
        return self

    def decision_function(self, X: ArrayLike) -> Rows:
        """Decision values, shape (images, classes), or (images,) for two classes."""
        return _decision_values(self, X)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Class of each image."""
        values = self.decision_function(X)
        chosen = (values > 0).astype(int) if values.ndim == 1 else values.argmax(axis=1)
        labels: NDArray[Any] = self.classes_[chosen]
        return labels


class BatchedLogisticRegression(BatchedLinearSVC):
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


def centred_to_size(X: Floats) -> Callable[[Floats], Floats]:
    """Learn to centre samples by the mean of these, and to divide by the norm that leaves there."""
    mean = X.mean(axis=0)
    size = mean_norm(X - mean)
    return lambda Z: (Z - mean) / size


def unit_rows(X: Floats) -> Floats:
    """Scale samples to unit norm; those that are all zeros stay."""
    norms = np.linalg.norm(X, axis=1, keepdims=True)
    rows: Floats = X / np.where(norms > 0, norms, 1.0)
    return rows


def linear_classifier(C: float = 1.0) -> Pipeline:
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
