"""Max-margin domain transforms: classifiers and the way into their space, learnt together.

Conventions
-----------
Source: Hoffman, Rodner, Donahue, Saenko and Darrell, *Efficient learning of domain-invariant image
representations*, ICLR 2013. With a constant 1 appended to every sample, hyperplanes θ_k (one class
against the rest) and a matrix W that maps target samples to where source samples lie minimise

    ½ ‖W‖² + ½ Σ_k ‖θ_k‖² + C_S Σ_k Σ_i h(y_ik θ_k·x_i) + C_T Σ_k Σ_j h(y_jk θ_k·W z_j)

over source samples x and labelled target samples z, with h the hinge, max(0, 1 - ·). In turns, W
is held and the hyperplanes are linear machines on x and W z; then they are held, and W is one
linear machine on the products θ_k ⊗ z_j. The first hyperplanes are those of the source alone. Each
half turn is a convex problem, so the objective never rises; the two together are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from analysis.statistics.threads import one_blas_thread
from analysis.transfer._samples import KnownFeatures
from analysis.transfer.adaptation._domains import Floats, labelled_domains
from analysis.transfer.adaptation._machines import dual_weights

__all__ = ["MaxMarginDomainTransform"]


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
        self._check_parameters()
        source, own, target, others = labelled_domains(X_source, y_source, X_target, y_target)
        classes = np.unique(own)
        _refuse_classes(classes, others)
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

    def _check_parameters(self) -> None:
        if not (self.C_source > 0 and self.C_target > 0):
            raise ValueError(
                f"expected weights above 0, got C_source={self.C_source}, C_target={self.C_target}"
            )
        if self.max_iter < 1:
            raise ValueError(f"expected at least one turn, got max_iter={self.max_iter}")


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


def _refuse_classes(classes: NDArray[Any], target: NDArray[Any]) -> None:
    unknown = np.setdiff1d(target, classes)
    if classes.size < 2 or unknown.size:
        raise ValueError(
            f"expected at least two classes in the source, and all of the target's among them; the "
            f"source has {classes.tolist()[:10]}, the target also {unknown.tolist()[:10]}"
        )
