"""Linear machines with hinge loss and no intercept, solved to rounding error.

Coordinate descent, as in LIBLINEAR, takes long for samples that can be told apart perfectly, which
few samples of many features always can, and longer where many lie exactly on the margin. Samples
are few here, so that the dual problem is solved by a primal-dual interior point method (Mehrotra,
*On the implementation of a primal-dual interior point method*, SIAM Journal on Optimization 2,
1992), which takes some twenty factorisations of the matrix of inner products in any case. Where
the samples span few dimensions, these are of a matrix of as many rows instead (the identity of
Woodbury, refined by the residual); if rounding stops that early, the whole matrix takes over.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, lapack
from sklearn.exceptions import ConvergenceWarning

__all__ = ["dual_weights"]

Floats = NDArray[np.float64]

_GAP = 1e-12  # between the objectives of both problems, as a share, at which to stop
_WIDEST = 1e-6  # the widest that is still a solution
_RIDGE = 1e-13  # of the mean square of a sample; keeps Newton's matrix positive definite
_STEPS = 100
_TOWARDS = 0.995  # share of the way to the next bound


def dual_weights(products: Floats, signs: Floats, most: Floats) -> Floats:
    """Weights of the samples in the normal, Σ_i a_i y_i x_i.

    Parameters
    ----------
    products : ndarray, shape (samples, samples)
        Inner products.
    signs : ndarray, shape (samples,)
        +1 and -1.
    most : ndarray, shape (samples,)
        Weight of each sample's loss, above 0.

    Returns
    -------
    ndarray, shape (samples,)
        a, with 0 <= a <= most, that minimises ½ Σ a_i a_j y_i y_j x_i·x_j - Σ a_i.

    Warns
    -----
    ConvergenceWarning
        If rounding errors leave the solution further than a millionth from the optimum.
    """
    Q = products * np.outer(signs, signs)
    at = _start(Q, most)
    size = max(1.0, float(np.abs(at.slope).max()))
    factor = _few_dimensions(Q)
    at = _towards_optimum(at, Q, factor, size)
    if factor is not None and not _solved(at, size):
        at = _towards_optimum(at, Q, None, size)
    if at.gap > _WIDEST * at.a.sum() or np.abs(at.unmet).max() > _WIDEST * size:
        warnings.warn(
            f"a linear machine of {most.size} samples was not solved: the objectives of the "
            f"problem and of its dual differ by {at.gap:.1e}; scale the samples to norms near 1",
            ConvergenceWarning,
            stacklevel=2,
        )
    return np.clip(at.a, 0, most)


@dataclass(frozen=True, eq=False)
class _Point:
    """Weights a strictly between their bounds, and the multipliers of both bounds, above 0."""

    a: Floats
    most: Floats
    slope: Floats
    low: Floats
    high: Floats

    @property
    def left(self) -> Floats:
        return self.most - self.a

    @property
    def unmet(self) -> Floats:
        return self.slope - self.low + self.high

    @property
    def gap(self) -> float:
        return float(self.a @ self.low + self.left @ self.high)


def _solved(at: _Point, size: float) -> bool:
    return at.gap <= _GAP * at.a.sum() and bool(np.abs(at.unmet).max() <= _GAP * size)


def _towards_optimum(at: _Point, Q: Floats, factor: Floats | None, size: float) -> _Point:
    """Take steps until the problem is solved or rounding errors are all that is left."""
    for _ in range(_STEPS):
        if _solved(at, size):
            break
        step = _Step.to(at, Q, factor)
        share = _TOWARDS * step.longest
        if share < 1e-8:
            break
        a = at.a + share * step.a
        at = replace(
            at,
            a=a,
            slope=Q @ a - 1,
            low=at.low + share * step.low,
            high=at.high + share * step.high,
        )
    return at


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


def _start(Q: Floats, most: Floats) -> _Point:
    slope = Q @ (most / 2) - 1
    size = max(1.0, float(np.abs(slope).max()))
    low, high = np.maximum(slope, 0) + size, np.maximum(-slope, 0) + size
    return _Point(most / 2, most, slope, low, high)


@dataclass(frozen=True, eq=False)
class _Step:
    """Change of a and of both multipliers; ``longest`` is the share at which one becomes 0."""

    a: Floats
    low: Floats
    high: Floats
    longest: float

    @classmethod
    def to(cls, at: _Point, Q: Floats, factor: Floats | None) -> _Step:
        """Mehrotra's step: as far as Newton's would go, so much nearer is the centre aimed at."""
        ridge = _RIDGE * np.trace(Q) / len(Q)
        solve = _solver(Q, factor, at.low / at.a + at.high / at.left + ridge)
        zero = np.zeros_like(at.a)
        first = cls._newton(at, solve, zero, zero)
        a, left = at.a + first.longest * first.a, at.left - first.longest * first.a
        ahead = a @ (at.low + first.longest * first.low)
        ahead += left @ (at.high + first.longest * first.high)
        centre = at.gap / (2 * at.a.size) * (float(ahead) / at.gap) ** 3
        return cls._newton(at, solve, centre - first.a * first.low, centre + first.a * first.high)

    @classmethod
    def _newton(
        cls, at: _Point, solve: Callable[[Floats], Floats], below: Floats, above: Floats
    ) -> _Step:
        """Newton's step to a·low = below and left·high = above."""
        right = -at.unmet - at.low + below / at.a + at.high - above / at.left
        a = solve(right)
        low = below / at.a - at.low - at.low / at.a * a
        high = above / at.left - at.high + at.high / at.left * a
        values = np.concatenate([at.a, at.left, at.low, at.high])
        changes = np.concatenate([a, -a, low, high])
        falling = changes < 0
        longest = (values[falling] / -changes[falling]).min(initial=1.0)
        return cls(a, low, high, float(longest))
