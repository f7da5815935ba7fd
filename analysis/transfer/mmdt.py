"""Max-margin domain transforms: classifiers and the way into their space, learnt together.

Conventions
-----------
Source: Hoffman, Rodner, Donahue, Saenko and Darrell, *Efficient learning of domain-invariant image
representations*, ICLR 2013. With a constant 1 appended to every sample, hyperplanes θ_k (one class
against the rest) and a matrix W that maps target samples to where source samples lie minimise

    ½ ‖W‖² + ½ Σ_k ‖θ_k‖² + C_S Σ_k Σ_i h(y_ik θ_k·x_i) + C_T Σ_k Σ_j h(y_jk θ_k·W z_j)

over source samples x and labelled target samples z, with h the hinge, max(0, 1 - ·). In turns, W
is held and the hyperplanes are linear classifiers on x and W z; then they are held, and W is one
linear classifier on the products θ_k ⊗ z_j. The first hyperplanes are those of the source alone.
Each half turn is a convex problem, so the objective never rises; the two together are not.

The linear classifiers have hinge loss and no intercept, and are solved to rounding error.
Coordinate descent, as in LIBLINEAR, takes long for samples that can be told apart perfectly, which
few samples of many features always can, and longer where many lie exactly on the margin. Samples
are few here, so that the dual problem is solved by a primal-dual interior point method (Mehrotra,
*On the implementation of a primal-dual interior point method*, SIAM Journal on Optimization 2,
1992), which takes some twenty factorisations of the matrix of inner products in any case. Where the
samples span few dimensions, these are of a matrix of as many rows instead (the identity of
Woodbury, refined by the residual); if rounding stops that early, the whole matrix takes over.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_factor, cho_solve, lapack
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from analysis.statistics.threads import one_blas_thread
from analysis.transfer._samples import Floats, KnownFeatures
from analysis.transfer.adaptation import labelled_domains


class MaxMarginDomainTransform(KnownFeatures, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classifier of target samples, learnt from many source and few target labels (MMDT).

    Parameters
    ----------
    C_source, C_target : float
        Weights of the losses of source and of target samples, above 0.
    tol : float
        Stop when a whole turn lowers the objective by less than this share of it.
    max_iter : int
        Turns at most.

    Attributes
    ----------
    classes_ : ndarray, shape (classes,)
        Sorted; those of the source.
    coef_ : ndarray of float64, shape (classes, features + 1)
        Hyperplanes in the space of the source, the last column for the constant.
    objective_ : ndarray of float64, shape (half turns,)
        Value after every half turn, beginning with the first W.
    n_iter_ : int
        Turns taken.

    Notes
    -----
    All solutions lie in the span of the samples, so everything is solved in as many dimensions as
    there are samples, after a rotation that changes no inner product. W is kept as two factors.
    Memory grows with the square of (classes x labelled target samples).
    """

    def __init__(
        self,
        C_source: float = 1.0,
        C_target: float = 1.0,
        *,
        tol: float = 1e-4,
        max_iter: int = 20,
    ) -> None:
        self.C_source = C_source
        self.C_target = C_target
        self.tol = tol
        self.max_iter = max_iter

    @one_blas_thread
    def fit(
        self, X_source: ArrayLike, y_source: ArrayLike, X_target: ArrayLike, y_target: ArrayLike
    ) -> Self:
        """Fit to labelled samples of both domains.

        Raises
        ------
        ValueError
            Samples and labels that do not fit together, fewer than two classes, target classes
            that the source lacks, weights that are not above 0, no turn.
        """
        if not (self.C_source > 0 and self.C_target > 0):
            raise ValueError(
                f"expected weights above 0, got C_source={self.C_source}, C_target={self.C_target}"
            )
        if self.max_iter < 1:
            raise ValueError(f"expected at least one turn, got max_iter={self.max_iter}")
        source, own, target, others = labelled_domains(X_source, y_source, X_target, y_target)
        classes = np.unique(own)
        unknown = np.setdiff1d(others, classes)
        if classes.size < 2 or unknown.size:
            raise ValueError(
                "expected at least two classes in the source, and all of the target's among them; "
                f"the source has {classes.tolist()[:10]}, the target also {unknown.tolist()[:10]}"
            )
        x, z = _with_constant(source), _with_constant(target)
        basis, _ = np.linalg.qr(np.vstack([x, z]).T)
        x, z, y, t = x @ basis, z @ basis, _signs(own, classes), _signs(others, classes)
        problem = _Problem(x, y, z, t, self.C_source, self.C_target)
        planes = problem.hyperplanes(None)
        W = problem.map(planes)
        path = [problem.objective(planes, W)]
        self.n_iter_ = 1
        while self.n_iter_ < self.max_iter:
            planes = problem.hyperplanes(W)
            path.append(problem.objective(planes, W))
            W = problem.map(planes)
            path.append(problem.objective(planes, W))
            self.n_iter_ += 1
            if path[-3] - path[-1] <= self.tol * path[-1]:
                break
        self.coef_, self._mapped_coef = planes @ basis.T, planes @ W @ basis.T
        self._basis, self._W = basis, W
        self.classes_, self.objective_ = classes, np.array(path)
        self._remember(X_source, source.shape[1])
        return self

    def decision_function(self, X: ArrayLike) -> Floats:
        """θ_k·W z for every class, shape (samples, classes), also where there are only two."""
        rows = _with_constant(self._samples(X, "target samples"))
        scores: Floats = rows @ self._mapped_coef.T
        return scores

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Classes of target samples, shape (samples,)."""
        scores = self.decision_function(X)
        predicted: NDArray[Any] = self.classes_[scores.argmax(axis=1)]
        return predicted

    def transform_matrix(self) -> Floats:
        """W, shape (features + 1, features + 1): a target sample z with its 1 goes to W z."""
        check_is_fitted(self)
        W: Floats = self._basis @ self._W @ self._basis.T
        return W


@dataclass(frozen=True, eq=False)
class _Problem:
    """Source x, target z, and for both a column of signs per class; constants are appended."""

    x: Floats
    y: Floats
    z: Floats
    t: Floats
    C_source: float
    C_target: float

    def hyperplanes(self, W: Floats | None) -> Floats:
        """θ (classes, dimensions), W held; without W those of the source alone."""
        rows, signs, weights = self.x, self.y, np.full(len(self.x), self.C_source)
        if W is not None:
            rows, signs = np.vstack([rows, self.z @ W.T]), np.vstack([signs, self.t])
            weights = np.append(weights, np.full(len(self.z), self.C_target))
        products = rows @ rows.T
        return np.stack([(dual_weights(products, own, weights) * own) @ rows for own in signs.T])

    def map(self, planes: Floats) -> Floats:
        """W (dimensions, dimensions), θ held; the inner product of two θ ⊗ z is a product too."""
        products = np.asarray(np.kron(planes @ planes.T, self.z @ self.z.T), np.float64)
        signs = self.t.T.ravel()
        solved = dual_weights(products, signs, np.full(signs.size, self.C_target)) * signs
        W: Floats = planes.T @ solved.reshape(len(planes), -1) @ self.z
        return W

    def objective(self, planes: Floats, W: Floats) -> float:
        """Value of what is minimised."""
        source = np.maximum(0, 1 - self.y * (self.x @ planes.T)).sum()
        target = np.maximum(0, 1 - self.t * (self.z @ W.T @ planes.T)).sum()
        squares = (W**2).sum() + (planes**2).sum()
        return float(squares / 2 + self.C_source * source + self.C_target * target)


def _with_constant(X: Floats) -> Floats:
    return np.hstack([X, np.ones((len(X), 1))])


def _signs(labels: NDArray[Any], classes: NDArray[Any]) -> Floats:
    """+1 where a sample is of the class, else -1, shape (samples, classes)."""
    return np.where(labels[:, None] == classes, 1.0, -1.0)


_GAP = 1e-12  # between the objectives of both problems, as a share, at which to stop
_WIDEST = 1e-6  # the widest that is still a solution
_RIDGE = 1e-13  # of the mean square of a sample; keeps Newton's matrix positive definite
_STEPS = 100
_TOWARDS = 0.995  # share of the way to the next bound


def dual_weights(products: Floats, signs: Floats, caps: Floats) -> Floats:
    """Weights of the samples in the normal, Σ_i a_i y_i x_i.

    Parameters
    ----------
    products : ndarray, shape (samples, samples)
        Inner products.
    signs : ndarray, shape (samples,)
        +1 and -1.
    caps : ndarray, shape (samples,)
        Weight of each sample's loss, above 0.

    Returns
    -------
    ndarray, shape (samples,)
        a, with 0 <= a <= caps, that minimises ½ Σ a_i a_j y_i y_j x_i·x_j - Σ a_i.

    Warns
    -----
    ConvergenceWarning
        If rounding errors leave the solution further than a millionth from the optimum.
    """
    Q = products * np.outer(signs, signs)
    slope = Q @ (caps / 2) - 1
    size = max(1.0, float(np.abs(slope).max()))
    low, high = np.maximum(slope, 0) + size, np.maximum(-slope, 0) + size
    point = _Point(caps / 2, caps, slope, low, high)
    factor = _few_dimensions(Q)
    _towards_optimum(point, Q, factor, size)
    if factor is not None:
        _towards_optimum(point, Q, None, size)
    if point.gap > _WIDEST * point.a.sum() or np.abs(point.unmet).max() > _WIDEST * size:
        warnings.warn(
            f"a linear classifier of {caps.size} samples was not solved: the objectives of the "
            f"problem and of its dual differ by {point.gap:.1e}; scale the samples to norms near 1",
            ConvergenceWarning,
            stacklevel=2,
        )
    return np.clip(point.a, 0, caps)


@dataclass(eq=False)
class _Point:
    """Weights a strictly between their bounds, and the multipliers of both bounds, above 0."""

    a: Floats
    caps: Floats
    slope: Floats
    low: Floats
    high: Floats

    @property
    def room(self) -> Floats:
        return self.caps - self.a

    @property
    def unmet(self) -> Floats:
        return self.slope - self.low + self.high

    @property
    def gap(self) -> float:
        return float(self.a @ self.low + self.room @ self.high)

    def newton(
        self,
        solve: Callable[[Floats], Floats],
        below: Floats | float = 0.0,
        above: Floats | float = 0.0,
    ) -> tuple[Floats, Floats, Floats, float]:
        """Newton's step to a·low = below and room·high = above.

        Returns
        -------
        a, low, high : ndarray, shape (samples,)
            Changes of these.
        longest : float
            Share of the step, at most 1, at which one of them becomes 0.
        """
        a = solve(-self.unmet - self.low + below / self.a + self.high - above / self.room)
        low = below / self.a - self.low - self.low / self.a * a
        high = above / self.room - self.high + self.high / self.room * a
        values = np.concatenate([self.a, self.room, self.low, self.high])
        changes = np.concatenate([a, -a, low, high])
        falling = changes < 0
        return a, low, high, float((values[falling] / -changes[falling]).min(initial=1.0))


def _towards_optimum(point: _Point, Q: Floats, factor: Floats | None, size: float) -> None:
    """Take Mehrotra's steps until the problem is solved or rounding errors are all that is left.

    As far as Newton's step would go, so much nearer is the centre that is aimed at.
    """
    ridge = _RIDGE * np.trace(Q) / len(Q)
    for _ in range(_STEPS):
        if point.gap <= _GAP * point.a.sum() and np.abs(point.unmet).max() <= _GAP * size:
            break
        solve = _solver(Q, factor, point.low / point.a + point.high / point.room + ridge)
        a, low, high, share = point.newton(solve)
        ahead = (point.a + share * a) @ (point.low + share * low)
        ahead += (point.room - share * a) @ (point.high + share * high)
        centre = point.gap / (2 * a.size) * (float(ahead) / point.gap) ** 3
        a, low, high, longest = point.newton(solve, centre - a * low, centre + a * high)
        share = _TOWARDS * longest
        if share < 1e-8:
            break
        point.a = point.a + share * a
        point.slope = Q @ point.a - 1
        point.low, point.high = point.low + share * low, point.high + share * high


def _few_dimensions(Q: Floats) -> Floats | None:
    """F (samples, dimensions) with Q = F Fᵀ, where that has at most a third as many columns."""
    lower, order, rank, _ = lapack.dpstrf(Q, lower=1)
    if 3 * rank > len(Q):
        return None
    F = np.empty((len(Q), rank))
    F[order - 1] = np.tril(lower)[:, :rank]
    return F


def _solver(Q: Floats, F: Floats | None, D: Floats) -> Callable[[Floats], Floats]:
    """Solve (Q + diag(D)) x = r, with Q = F Fᵀ if there is an F."""
    if F is None:
        whole = cho_factor(Q + np.diag(D))
        return lambda r: np.asarray(cho_solve(whole, r))
    over = F / D[:, None]
    inner = cho_factor(np.eye(F.shape[1]) + F.T @ over)

    def once(r: Floats) -> Floats:
        x: Floats = r / D
        return np.asarray(x - over @ cho_solve(inner, F.T @ x))

    def refined(r: Floats) -> Floats:
        x = once(r)
        for _ in range(2):
            x = x + once(r - F @ (F.T @ x) - D * x)
        return x

    return refined
