"""Kernels of samples: linear, polynomial, radial; the width of a radial one from distances."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from analysis.transfer.adaptation._domains import Floats

__all__ = [
    "KERNELS",
    "MEDIAN_OF",
    "Kernel",
    "blocks",
    "check_precomputed",
    "kernel_for",
    "median_gamma",
]

KERNELS = ("linear", "rbf", "poly", "precomputed")
_BLOCK = 128
MEDIAN_OF = 2000
"""Samples whose distances give the width of a radial kernel, where there are more."""


@dataclass(frozen=True)
class Kernel:
    """Values of a kernel between samples.

    Attributes
    ----------
    name : {"linear", "rbf", "poly"}
        x·z, exp(-gamma ‖x - z‖²), (gamma x·z + coef0)^degree.
    gamma, degree, coef0 : float
        As in these formulas.
    """

    name: str
    gamma: float = 1.0
    degree: float = 3
    coef0: float = 1.0

    def between(self, X: Floats, Z: Floats) -> Floats:
        """Values (samples of X, samples of Z)."""
        centre = Z.mean(axis=0)
        return self._of_products(self._left(self._right(X, centre)) @ self._right(Z, centre).T)

    def within(self, X: Floats) -> Floats:
        """Values (samples, samples): symmetric, each pair computed once, nothing else as large."""
        right = self._right(X, X.mean(axis=0))
        K = np.empty((len(X), len(X)))
        for rows in blocks(len(X), _BLOCK):
            part = self._of_products(self._left(right[rows]) @ right[rows.start :].T)
            size = len(part)
            part[:, :size] = (part[:, :size] + part[:, :size].T) / 2
            K[rows, rows.start :] = part
            K[rows.stop :, rows] = part[:, size:].T
        return K

    def _right(self, X: Floats, centre: Floats) -> Floats:
        """Columns whose products with those of :meth:`_left` are x·z, or -gamma ‖x - z‖²."""
        if self.name != "rbf":
            return X
        sides = np.empty((len(X), X.shape[1] + 2))
        np.subtract(X, centre, out=sides[:, :-2])
        sides[:, -2] = 1
        sides[:, -1] = -self.gamma * _squares(sides[:, :-2])
        sides[:, :-2] *= np.sqrt(2 * self.gamma)
        return sides

    def _left(self, right: Floats) -> Floats:
        if self.name != "rbf":
            return right
        left = right.copy()
        left[:, -2:] = right[:, :-3:-1]
        return left

    def _of_products(self, products: Floats) -> Floats:
        """Values, in the place of the products of both sides."""
        if self.name == "poly":
            products *= self.gamma
            products += self.coef0
            return np.power(products, self.degree, out=products)
        if self.name == "rbf":
            np.minimum(products, 0, out=products)
            np.exp(products, out=products)
        return products


def kernel_for(
    X: Floats, name: str, gamma: float | None, degree: float, coef0: float, seed: int
) -> Kernel:
    """Kernel of that name for samples of both domains (samples, features).

    Without a gamma, a radial kernel gets that of :func:`median_gamma`, a polynomial one the inverse
    of the number of features.

    Raises
    ------
    ValueError
        For a gamma that is not above 0.
    """
    if gamma is not None and not gamma > 0:
        raise ValueError(f"expected a gamma above 0, or None, got {gamma}")
    if gamma is None and name == "rbf":
        gamma = median_gamma(X, seed)
    return Kernel(name, 1 / X.shape[1] if gamma is None else float(gamma), degree, coef0)


def median_gamma(X: Floats, seed: int) -> float:
    """1 / (2 median of ‖x - z‖²) over all pairs of samples (samples, features).

    Of more than 2,000 samples, over the pairs of 2,000 that are drawn.

    Raises
    ------
    ValueError
        If half of the pairs coincide.
    """
    if len(X) > MEDIAN_OF:
        X = X[np.random.default_rng(seed).choice(len(X), MEDIAN_OF, replace=False)]
    X = X - X.mean(axis=0)
    squares = _squares(X)
    distances = squares[:, None] + squares - 2 * (X @ X.T)
    median = float(np.median(distances[np.triu_indices(len(X), 1)]))
    if not median > len(X) * np.finfo(np.float64).eps * squares.max():
        raise ValueError(
            "expected samples that differ, to choose gamma by the median distance, but at least "
            "half of the pairs coincide: give gamma"
        )
    return 1 / (2 * median)


def blocks(n: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` that cover n rows."""
    for begin in range(0, n, size):
        yield slice(begin, min(begin + size, n))


def _squares(X: Floats) -> Floats:
    squares: Floats = np.einsum("ij,ij->i", X, X)
    return squares


def check_precomputed(source: Floats, target: Floats, solver: str, seed: int) -> None:
    """Refuse rows that are not those of a symmetric kernel of both domains.

    That K is symmetric is asked of one vector that is drawn, which needs no second matrix.

    Raises
    ------
    ValueError
        If they are not, or the solver is not the exact one.
    """
    n_source, n = len(source), len(source) + len(target)
    if source.shape[1] != n:
        raise ValueError(
            f"expected rows of a precomputed kernel with {n} values, one for each sample of both "
            f"domains, got {source.shape[1]}"
        )
    if solver != "exact":
        raise ValueError(
            "expected the exact solver for a precomputed kernel, whose values are all there "
            f"already, got {solver!r}"
        )
    v = np.random.default_rng(seed).standard_normal(n)
    by_rows = np.concatenate([source @ v, target @ v])
    by_columns = v[:n_source] @ source + v[n_source:] @ target
    if np.abs(by_rows - by_columns).max() > 1e-8 * np.abs(by_rows).max():
        raise ValueError(
            "expected a symmetric precomputed kernel, source samples first in rows and columns"
        )
