"""A few leading eigenvectors of a symmetric operator, from the subspace that its powers span.

Conventions
-----------
Vectors are rows: a block of b vectors of length n is an array (b, n), contiguous, and operators map
such blocks to such blocks. With a symmetric matrix K that is ``V @ K``, which BLAS does a third
faster for thin blocks than ``K @ V.T``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from analysis.transfer.adaptation._domains import Floats

__all__ = ["BLOCK", "Found", "KrylovBasis", "Operator", "leading", "worst_angle"]

Operator = Callable[[Floats], Floats]

BLOCK = 16
_TOLERANCE = 1e-8
_CLOSEST = 1e-6
_EPS = float(np.finfo(np.float64).eps)


class Found(NamedTuple):
    """Approximations to leading eigenvectors.

    Attributes
    ----------
    values : ndarray of float64, shape (k,)
        Eigenvalues, descending.
    vectors : ndarray of float64, shape (k, n)
        In the coordinates of a basis or, in the end, of the samples.
    angle : float
        Estimated angle, in radians, between their span and the exact one.
    """

    values: Floats
    vectors: Floats
    angle: float


class KrylovBasis:
    """Orthonormal vectors that span the powers of an operator, applied to a block of vectors.

    Block Lanczos with complete orthogonalisation, twice. Where the powers are exhausted, directions
    that rounding errors choose take their place; what the attributes say stays true.

    Attributes
    ----------
    size : int
        Vectors that the operator has been applied to; b more are held.
    """

    def __init__(self, operator: Operator, start: Floats) -> None:
        self._operator = operator
        self._block, n = start.shape
        self._rows = np.empty((8 * self._block, n))
        self._image = np.zeros((8 * self._block, 8 * self._block))
        self._rows[: self._block] = np.linalg.qr(start.T)[0].T
        self.size = 0

    @property
    def rows(self) -> Floats:
        """The vectors, shape (size + b, n)."""
        return self._rows[: self.size + self._block]

    @property
    def image(self) -> Floats:
        """Coordinates (size, size + b) of the operator's values: operator(rows[:size])."""
        return self._image[: self.size, : self.size + self._block]

    @property
    def last(self) -> slice:
        """The vectors that the operator was applied to last."""
        return slice(self.size - self._block, self.size)

    @property
    def exhausted(self) -> bool:
        """Whether the operator makes nothing of the vectors it was applied to last."""
        made = np.abs(self._image[self.last]).max()
        return bool(made <= self._rows.shape[1] * _EPS * np.abs(self._image).max())

    def extend(self) -> None:
        """Apply the operator to the newest block."""
        b, m = self._block, self.size + self._block
        self._make_room(m + b)
        values = self._operator(self._rows[self.size : m])
        inside, rest = self._split(values, m)
        fresh, lengths = np.linalg.qr(rest.T)
        if np.abs(lengths.diagonal()).min() <= 1e-8 * np.abs(self._image).max(initial=_EPS):
            _, rest = self._split(np.ascontiguousarray(fresh.T), m)
            fresh, turned = np.linalg.qr(rest.T)
            lengths = turned @ lengths
        self._rows[m : m + b] = fresh.T
        self._image[self.size : m, :m] = inside
        self._image[self.size : m, m : m + b] = lengths.T
        self.size = m

    def _split(self, values: Floats, m: int) -> tuple[Floats, Floats]:
        """Coordinates in the first m vectors, and what is orthogonal to them."""
        rows = self._rows[:m]
        first = values @ rows.T
        values = values - first @ rows
        second = values @ rows.T
        values -= second @ rows
        return first + second, values

    def _make_room(self, needed: int) -> None:
        if needed > len(self._rows):
            held, room = self.size + self._block, int(1.5 * needed)
            rows = np.empty((room, self._rows.shape[1]))
            rows[:held] = self._rows[:held]
            image = np.zeros((room, room))
            image[: len(self._image), : len(self._image)] = self._image
            self._rows, self._image = rows, image


def leading(
    operator: Operator,
    start: Floats,
    project: Callable[[KrylovBasis], Found],
    k: int,
    limit: int,
) -> Found | None:
    """Grow a basis until the vectors found in it are exact to 1e-8 radians.

    Parameters
    ----------
    operator : callable
        Maps (b, n) to (b, n).
    start : ndarray of float64, shape (b, n)
        First vectors.
    project : callable
        Finds k vectors, in the coordinates of a basis.
    k : int
        How many are wanted.
    limit : int
        Most vectors of the basis.

    Returns
    -------
    Found or None
        None where the basis would outgrow the limit.
    """
    basis = KrylovBasis(operator, start)
    due, before = 3 * k, None
    while basis.size + 2 * len(start) <= limit:
        basis.extend()
        if basis.size < due:
            continue
        found = project(basis)
        if found.angle <= _TOLERANCE or basis.exhausted:
            return Found(found.values, found.vectors @ basis.rows[: basis.size], found.angle)
        due = _next_check(basis.size, found.angle, before)
        before = basis.size, found.angle
    return None


def _next_check(size: int, angle: float, before: tuple[int, float] | None) -> int:
    """Size at which the angle will be small enough if it falls as it did; at most a third more."""
    furthest = size + size // 3
    if before is None or not 0 < angle < min(before[1], 1.0):
        return size + size // 8
    rate = np.log(before[1] / angle) / (size - before[0])
    return min(furthest, size + int(np.log(angle / _TOLERANCE) / rate))


def worst_angle(values: Floats, residuals: Floats, after: float) -> float:
    """Estimated angle of a span, from lengths of residuals and the first eigenvalue left out.

    Eigenvalues that are equal to six digits count as six digits apart: no method tells their
    vectors apart. Residuals as small as rounding errors count as none.
    """
    residuals = np.where(residuals <= 16 * _EPS * values[0], 0.0, residuals)
    gaps = np.maximum(values - after, np.maximum(_CLOSEST * values, 16 * _EPS * values[0]))
    return float((residuals / gaps).max())
