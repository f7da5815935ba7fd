"""The eigenproblem of transfer component analysis, with no matrix but the kernel's.

Conventions
-----------
K H K w = λ (K L K + μ I) w, with H = I - 11ᵀ/n and L = e eᵀ, where e is 1/n_S on samples of the
source and -1/n_T on those of the target. With u = K e the right side is A = μ I + u uᵀ, so that

    A^(-1/2) = μ^(-1/2) (I - c û ûᵀ),  û = u/‖u‖,  c = 1 - (μ / (μ + ‖u‖²))^(1/2),

and y = A^(1/2) w is an eigenvector of the symmetric A^(-1/2) K H K A^(-1/2), λ the same. A basis of
the powers of K, applied to a block in which 1 and e are, holds u and with it the powers of that
operator: one product with K per vector, where the operator itself costs two. On such a basis the
operator is R Rᵀ with R = A^(-1/2) K H, whose coordinates are known without a further product.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh, svd

from analysis.transfer._tca_krylov import (
    BLOCK,
    Found,
    KrylovBasis,
    Operator,
    leading,
    worst_angle,
)
from analysis.transfer.adaptation._domains import Floats

__all__ = [
    "Whitening",
    "domain_weights",
    "leading_squares",
    "settle_signs",
    "signs_of",
    "transfer_components",
]

_DENSE = 600
_SQUARED = 1e-8
"""Below this share of the largest, eigenvalues are not taken from squares."""


def domain_weights(n_source: int, n_target: int) -> Floats:
    """Weights e, shape (n,): e·z is the mean over the source minus that over the target."""
    return np.concatenate([np.full(n_source, 1 / n_source), np.full(n_target, -1 / n_target)])


def transfer_components(
    product: Operator, e: Floats, mu: float, k: int, seed: int
) -> tuple[Floats, Floats]:
    """Leading eigenvectors, with wᵀ (K L K + μ I) w = 1.

    Parameters
    ----------
    product : callable
        V @ K for rows V (b, n).
    e : ndarray of float64, shape (n,)
        As :func:`domain_weights`.
    mu : float
        Above 0.
    k : int
        How many; below n.
    seed : int
        Of the vectors that the basis starts from.

    Returns
    -------
    values : ndarray of float64, shape (k,)
        Descending. Zero where rounding errors reach.
    vectors : ndarray of float64, shape (k, n)
        One per row; the entry of largest size is positive.
    """
    n = e.size
    ones = np.full(n, n**-0.5)
    found = None
    if n > max(_DENSE, 8 * k):
        drawn = np.random.default_rng(seed).standard_normal((BLOCK - 2, n))
        found = leading(
            product,
            np.vstack([ones, e, drawn]),
            lambda basis: _project(basis, basis.rows @ e, basis.rows @ ones, mu, k),
            k,
            n // 2,
        )
    whitening = Whitening(product(e[None])[0], mu)
    values, y = _densely(product, whitening, n, k) if found is None else found[:2]
    return values, settle_signs(whitening(y))


class Whitening:
    """A^(-1/2) of A = μ I + u uᵀ, applied to rows (b, n)."""

    def __init__(self, u: Floats, mu: float) -> None:
        squared = float(u @ u)
        self._direction = u / np.sqrt(squared) if squared > 0 else u
        self._shrinkage = 1 - np.sqrt(mu / (mu + squared))
        self._scale = mu**-0.5

    def __call__(self, rows: Floats) -> Floats:
        along = self._shrinkage * (rows @ self._direction)
        whitened: Floats = (rows - np.outer(along, self._direction)) * self._scale
        return whitened


def _densely(product: Operator, whitening: Whitening, n: int, k: int) -> tuple[Floats, Floats]:
    """Leading λ and y (k, n), from matrices (n, n)."""
    R = whitening(product(np.eye(n)).T).T
    return leading_squares(R - R.mean(axis=1, keepdims=True), k)[:2]


def _project(basis: KrylovBasis, e: Floats, ones: Floats, mu: float, k: int) -> Found:
    """Vectors y in a basis of powers of K; of e and 1/√n, the coordinates are given.

    What the operator makes of y leaves the basis in two ways: through the newest block, which is
    known, and through what K makes of that block, estimated by what it made of the one before.
    """
    m, image = basis.size, basis.image
    whitening = Whitening((e[:m] @ image)[:m], mu)
    R = whitening(image.T).T
    values, y, after = leading_squares(R - np.outer(R @ ones, ones), k)
    values_of_k = whitening(y) @ image
    values_of_k -= np.outer(values_of_k @ ones, ones)
    newest = image[basis.last, m:]
    size = np.linalg.norm(image[basis.last, basis.last], 2) + 2 * np.linalg.norm(newest, 2)
    residuals = np.linalg.norm(values_of_k[:, basis.last] @ newest, axis=1)
    residuals += size * np.linalg.norm(values_of_k[:, m:], axis=1)
    return Found(values, y, worst_angle(values, residuals / np.sqrt(mu), after))


def leading_squares(R: Floats, k: int) -> tuple[Floats, Floats, float]:
    """Find k leading eigenvalues (descending) and eigenvectors (k, m) of R Rᵀ, and the next value.

    Values that rounding errors of R reach are 0.
    """
    m = len(R)
    ascending, columns = eigh(R @ R.T, subset_by_index=[max(m - k - 1, 0), m - 1])
    values, vectors = ascending[::-1], columns[:, ::-1].T
    if values[k - 1] < _SQUARED * values[0]:
        columns, sizes, _ = svd(R, full_matrices=False)
        sizes = np.where(sizes > m * np.finfo(np.float64).eps * sizes[0], sizes, 0.0)
        values, vectors = sizes**2, columns.T
    after = float(values[k]) if k < m else 0.0
    return values[:k], np.ascontiguousarray(vectors[:k]), after


def settle_signs(rows: Floats) -> Floats:
    """Rows (k, n), turned so that the entry of largest size of each is positive."""
    return rows * signs_of(rows)


def signs_of(rows: Floats) -> Floats:
    """Sign of the entry of largest size of each row (k, n), shape (k, 1)."""
    largest = np.abs(rows).argmax(axis=1)
    return np.where(rows[np.arange(len(rows)), largest] < 0, -1.0, 1.0)[:, None]
