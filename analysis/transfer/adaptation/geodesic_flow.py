"""The geodesic flow kernel: all subspaces on the way from one domain to the other.

Conventions
-----------
Source: Gong, Shi, Sha and Grauman, *Geodesic flow kernel for unsupervised domain adaptation*, CVPR
2012, section 3. The subspaces of both domains are their principal components; the shortest way
between them on the Grassmannian is followed from source to target, and the inner products of
samples projected into every subspace on it are integrated. The paper's common factor 1/2 is left
out, which changes neither neighbours nor, up to the scale of C, linear machines.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from analysis.statistics.threads import one_blas_thread
from analysis.transfer._samples import KnownFeatures, whole_number
from analysis.transfer.adaptation._domains import Floats, principal_axes, two_domains

__all__ = ["GeodesicFlowKernel"]


class GeodesicFlowKernel(KnownFeatures, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Features whose inner product is the geodesic flow kernel.

    Parameters
    ----------
    n_components : int
        Dimensions of both subspaces, at most half of the features and as many as the samples of
        either domain span.

    Attributes
    ----------
    angles_ : ndarray of float64, shape (n_components,)
        Principal angles between the two subspaces, in radians, ascending.
    factor_ : ndarray of float64, shape (features, 2 * n_components)
        F with G = F Fᵀ.

    Notes
    -----
    G has rank 2 d: it is kept as a factor, and neither the orthogonal complement of a subspace nor
    a matrix of features × features is made.
    """

    def __init__(self, n_components: int = 20) -> None:
        self.n_components = n_components

    @one_blas_thread
    def fit(self, X_source: ArrayLike, X_target: ArrayLike) -> Self:
        """Learn the kernel from samples of both domains, (samples, features); no labels.

        Samples are centred for the subspaces only. Standardise them before, as a rule each domain
        by itself.

        Raises
        ------
        ValueError
            Samples that do not fit together, or more components than they span or than half of
            the features.
        """
        source, target = two_domains(X_source, X_target)
        d, width = whole_number("n_components", self.n_components), source.shape[1]
        if 2 * d > width:
            raise ValueError(
                f"expected n_components of at most half of {width} features, got {d}: two "
                "subspaces need as many dimensions to turn into each other"
            )
        axes = (
            principal_axes(source, d, "source samples"),
            principal_axes(target, d, "target samples"),
        )
        self.angles_, self.factor_ = _flow(*axes)
        self._remember(X_source, width)
        return self

    def transform(self, X: ArrayLike) -> Floats:
        """Features of samples of either domain, shape (samples, 2 * n_components)."""
        return self._samples(X) @ self.factor_

    transform_source = transform_target = transform

    def kernel(self, X: ArrayLike, Z: ArrayLike) -> Floats:
        """Kernel between samples, shape (samples of X, samples of Z)."""
        return self.transform(X) @ self.transform(Z).T


def _flow(source: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Principal angles and a factor of G, from orthonormal axes (features, d) of both domains.

    With the principal vectors p of the source and q of the target, q = p cos θ + w, where w is
    orthogonal to the source and of length sin θ. In (p, w), G consists of a block for each angle,
    [[1 + s, sin θ / θ], [sin θ / θ, (1 - s) / sin² θ]] with s = sin 2θ / 2θ, which stays finite
    and positive definite where θ goes to 0, where its limit is [[2, 1], [1, 2/3]].
    """
    left, cosines, right = np.linalg.svd(source.T @ target)
    p, q = source @ left, target @ right.T
    w = q - p * cosines
    w -= source @ (source.T @ w)
    sines = np.linalg.norm(w, axis=0)
    angles = np.arctan2(sines, cosines)
    a, b = 1 + np.sinc(2 * angles / np.pi), np.sinc(angles / np.pi)
    near = angles < 3e-3  # there the difference loses more digits than the series lacks
    t = np.where(near, 1.0, angles)
    direct = (1 - np.sinc(2 * t / np.pi)) / np.sin(t) ** 2
    c = np.where(near, 2 / 3 + 4 * angles**2 / 45, direct)
    first = np.sqrt(a)
    factor = np.hstack([p * first + w * (b / first), w * np.sqrt(c - b**2 / a)])
    return angles, factor
