"""Semi-supervised transfer component analysis: components that also go with labels and neighbours.

Conventions
-----------
Source: Pan, Tsang, Kwok and Yang, *Domain adaptation via transfer component analysis*, IEEE
Transactions on Neural Networks 22(2), 2011, section V. Beyond :mod:`analysis.transfer.tca`,
components shall depend on the labels, by K̃ = γ K_l + (1 - γ) I, where K_l is 1 between samples
that are labelled alike and 0 otherwise, and neighbours shall stay close, by the Laplacian 𝓛 of a
graph of neighbours in both domains:

    K H K̃ H K w = λ (K (L + s 𝓛 / n²) K + μ I) w.

affinities
    exp(-g ‖x - z‖²) between a sample and its nearest neighbours (Euclidean, either of the other),
    with the g of the median heuristic, whatever the kernel; 0 otherwise. 𝓛 is not normalised.
labels
    The paper labels the source only; here target labels may be given as well, with -1 for target
    samples without one, unless -1 is a class of the source.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import cholesky, eigh, solve_triangular
from scipy.sparse import csr_array, diags_array
from sklearn.neighbors import kneighbors_graph

from analysis.data.labels import checked_labels
from analysis.statistics.threads import one_blas_thread
from analysis.transfer._samples import Floats, whole_number
from analysis.transfer._tca_kernels import median_gamma
from analysis.transfer._tca_krylov import (
    BLOCK,
    Found,
    KrylovBasis,
    Operator,
    leading,
    worst_angle,
)
from analysis.transfer._tca_solver import domain_weights, settle_signs
from analysis.transfer.adaptation._domains import two_domains, unlabelled_among
from analysis.transfer.tca import KernelComponents

__all__ = ["SemiSupervisedTransferComponentAnalysis", "neighbour_laplacian"]

_DENSE = 600


class SemiSupervisedTransferComponentAnalysis(KernelComponents):
    """Transfer components that go with labels and keep neighbours together.

    Parameters
    ----------
    n_components : int
        How many; no more than classes where ``label_share`` is 1.
    kernel : {"rbf", "linear", "poly"}
        As in :class:`~analysis.transfer.TransferComponentAnalysis`, with gamma, degree and coef0.
    gamma, degree, coef0 : float
        Of the kernel.
    mu : float
        Above 0: weight of the size of w.
    label_share : float
        γ, from 0 to 1: how much labels count, against variance alone.
    smoothness : float
        s, at least 0: how much neighbours count.
    n_neighbors : int
        Of each sample, in both domains together.
    scaling : {"unit", "variance"}
        Length of the eigenvectors: 1, or such that wᵀ K H K̃ H K w = 1.
    seed : int
        Of the vectors that the solver starts from, and of the samples whose distances give gamma.

    Notes
    -----
    The right side is not of rank one here: one Cholesky factor of it is taken, and three matrices
    (samples, samples) are held. No inverse is formed.
    """

    def __init__(
        self,
        n_components: int = 64,
        kernel: str = "rbf",
        gamma: float | None = None,
        mu: float = 1.0,
        *,
        label_share: float = 0.5,
        smoothness: float = 1.0,
        n_neighbors: int = 10,
        degree: float = 3,
        coef0: float = 1.0,
        scaling: str = "unit",
        seed: int = 0,
    ) -> None:
        self.n_components = n_components
        self.kernel = kernel
        self.gamma = gamma
        self.mu = mu
        self.label_share = label_share
        self.smoothness = smoothness
        self.n_neighbors = n_neighbors
        self.degree = degree
        self.coef0 = coef0
        self.scaling = scaling
        self.seed = seed

    @one_blas_thread
    def fit(
        self,
        X_source: ArrayLike,
        y_source: ArrayLike,
        X_target: ArrayLike,
        y_target: ArrayLike | None = None,
    ) -> Self:
        """Find the components from samples (samples, features) and their labels.

        Raises
        ------
        ValueError
            Samples or labels that do not fit together, unknown options, or more components than
            the problem has directions that rounding errors do not reach.
        """
        self._check_options()
        self._check_own_options()
        source, target = two_domains(X_source, X_target)
        X = np.vstack([source, target])
        members = _members(source, y_source, target, y_target)
        number = self._number(len(X))
        self._kernel = self._kernel_of(X)
        K = self._kernel.within(X)
        e = domain_weights(len(source), len(target))
        values, W = self._solve(X, K, e, members, number)
        self._keep(values, W, W @ K, len(source))
        linear = self.kernel == "linear"
        self._references = None if linear else X
        self._weights = X.T @ self.eigenvectors_ if linear else self.eigenvectors_
        self._remember(X_source, X.shape[1])
        return self

    def _check_own_options(self) -> None:
        if self.kernel == "precomputed":
            raise ValueError("expected samples, whose neighbours are needed, not a kernel")
        if not 0 <= self.label_share <= 1:
            raise ValueError(f"expected label_share from 0 to 1, got {self.label_share}")
        if not self.smoothness >= 0:
            raise ValueError(f"expected smoothness of at least 0, got {self.smoothness}")

    def _solve(
        self, X: Floats, K: Floats, e: Floats, members: Floats, number: int
    ) -> tuple[Floats, Floats]:
        """Eigenvalues (k,) and eigenvectors (k, n) with wᵀ A w = 1."""
        n = len(K)
        A = np.outer(e @ K, e @ K)
        if self.smoothness:
            graph = neighbour_laplacian(X, whole_number("n_neighbors", self.n_neighbors), self.seed)
            A += K @ (graph @ K) * (self.smoothness / n**2)
        A.flat[:: n + 1] += self.mu
        factor = cholesky(A, lower=True, overwrite_a=True, check_finite=False)
        share = self.label_share

        def symmetric(V: Floats) -> Floats:
            V = _centred(_solved(factor, V, "T") @ K)
            V = _centred((1 - share) * V + share * (V @ members) @ members.T)
            return _solved(factor, V @ K, "N")

        values, y = _leading_of(symmetric, n, number, self.seed)
        return values, settle_signs(_solved(factor, y, "T"))


def neighbour_laplacian(X: Floats, n_neighbors: int, seed: int) -> csr_array:
    """Laplacian (samples, samples) of the graph of nearest neighbours; affinities as above.

    Raises
    ------
    ValueError
        If there are not as many other samples.
    """
    if not 1 <= n_neighbors < len(X):
        raise ValueError(f"expected n_neighbors from 1 to {len(X) - 1}, got {n_neighbors}")
    graph = csr_array(kneighbors_graph(X, n_neighbors, mode="distance"))
    graph.data = np.exp(-median_gamma(X, seed) * graph.data**2)
    graph = graph.maximum(graph.T)
    return csr_array(diags_array(graph.sum(axis=1)) - graph)


def _members(
    source: Floats, y_source: ArrayLike, target: Floats, y_target: ArrayLike | None
) -> Floats:
    """1 where a sample, of the rows, is labelled with a class, of the columns; else 0."""
    labels = checked_labels(y_source, len(source), "{} source samples")
    known = np.repeat([True, False], [len(source), len(target)])
    if y_target is not None:
        others = checked_labels(y_target, len(target), "{} target samples", like=labels)
        known[len(source) :] = ~unlabelled_among(others, labels)
        labels = np.concatenate([labels, others])[known]
    members = np.zeros((known.size, np.unique(labels).size))
    members[known] = labels[:, None] == np.unique(labels)
    return members


def _leading_of(operator: Operator, n: int, k: int, seed: int) -> tuple[Floats, Floats]:
    """Leading eigenvalues (k,) and eigenvectors (k, n) of a symmetric operator on rows."""
    found = None
    if n > max(_DENSE, 8 * k):
        start = np.random.default_rng(seed).standard_normal((BLOCK, n))
        found = leading(operator, start, lambda basis: _project(basis, k), k, n // 2)
    return _top(operator(np.eye(n)), k)[:2] if found is None else found[:2]


def _project(basis: KrylovBasis, k: int) -> Found:
    m = basis.size
    values, vectors, after = _top(basis.image[:, :m], k)
    left = np.linalg.norm(vectors[:, basis.last] @ basis.image[basis.last, m:], axis=1)
    return Found(values, vectors, worst_angle(values, left, after))


def _top(M: Floats, k: int) -> tuple[Floats, Floats, float]:
    """Find k leading eigenvalues (descending) and eigenvectors (k, m), and the next value.

    Values that rounding errors reach are 0.
    """
    m = len(M)
    values, vectors = eigh((M + M.T) / 2, subset_by_index=[max(m - k - 1, 0), m - 1])
    values = np.where(values > m * np.finfo(np.float64).eps * values[-1], values, 0.0)[::-1]
    after = float(values[k]) if k < m else 0.0
    return values[:k], np.ascontiguousarray(vectors[:, ::-1].T[:k]), after


def _centred(rows: Floats) -> Floats:
    centred: Floats = rows - rows.mean(axis=1, keepdims=True)
    return centred


def _solved(factor: Floats, rows: Floats, trans: str) -> Floats:
    """Rows v such that (C vᵀ) or (Cᵀ vᵀ) are the rows given, C the lower Cholesky factor."""
    solved: Floats = solve_triangular(factor, rows.T, lower=True, trans=trans, check_finite=False).T
    return np.ascontiguousarray(solved)
