"""Source samples moved to where target samples lie: by their covariance, or by their subspace."""

from __future__ import annotations

from typing import Self

from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from analysis.statistics.threads import one_blas_thread
from analysis.transfer._samples import KnownFeatures
from analysis.transfer.adaptation._domains import (
    Floats,
    principal_axes,
    principal_components,
    two_domains,
)

__all__ = ["CorrelationAlignment", "SubspaceAlignment"]


class CorrelationAlignment(KnownFeatures, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """CORAL: source samples are whitened, then given the covariance of the target.

    Source: Sun, Feng and Saenko, *Return of frustratingly easy domain adaptation*, AAAI 2016,
    algorithm 1: X C_S^(-1/2) C_T^(1/2), with C the covariance (n - 1) plus ``ridge`` on the
    diagonal. Means are left alone.

    Parameters
    ----------
    ridge : float
        Above 0; 1 in the paper.

    Notes
    -----
    C differs from a multiple of the identity in no more directions than there are samples, so
    its powers are taken from a thin singular value decomposition of the samples. With fewer samples
    than features this is the same at a fraction of the cost.
    """

    def __init__(self, ridge: float = 1.0) -> None:
        self.ridge = ridge

    @one_blas_thread
    def fit(self, X_source: ArrayLike, X_target: ArrayLike) -> Self:
        """Learn both covariances from samples (samples, features); no labels.

        Raises
        ------
        ValueError
            Samples that do not fit together, or a ridge that is not above 0.
        """
        if not self.ridge > 0:
            raise ValueError(f"expected a ridge above 0, got {self.ridge}")
        source, target = two_domains(X_source, X_target)
        self.whitening_ = _power(source, self.ridge, -0.5)
        self.colouring_ = _power(target, self.ridge, 0.5)
        self._remember(X_source, source.shape[1])
        return self

    def transform_source(self, X: ArrayLike) -> Floats:
        """Source samples with the target's covariance, shape (samples, features)."""
        moved = self._samples(X, "source samples")
        for axes, gains in (self.whitening_, self.colouring_):
            moved = moved + (moved @ axes) * gains @ axes.T
        return moved

    def transform_target(self, X: ArrayLike) -> Floats:
        """Target samples as they are."""
        return self._samples(X, "target samples")


class SubspaceAlignment(KnownFeatures, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Principal axes of the source, turned onto those of the target.

    Source: Fernando, Habrard, Sebban and Tuytelaars, *Unsupervised visual domain adaptation using
    subspace alignment*, ICCV 2013, algorithm 1: with principal axes P, X_S P_S P_Sᵀ P_T is
    compared with X_T P_T. Samples are centred for the axes only; standardise them before.

    Parameters
    ----------
    n_components : int
        Dimensions of both subspaces.
    """

    def __init__(self, n_components: int = 20) -> None:
        self.n_components = n_components

    @one_blas_thread
    def fit(self, X_source: ArrayLike, X_target: ArrayLike) -> Self:
        """Learn both subspaces from samples (samples, features); no labels.

        Raises
        ------
        ValueError
            Samples that do not fit together, or more components than they span.
        """
        source, target = two_domains(X_source, X_target)
        own = principal_axes(source, self.n_components, "source samples")
        self.target_axes_ = principal_axes(target, self.n_components, "target samples")
        self.source_axes_: Floats = own @ (own.T @ self.target_axes_)
        self._remember(X_source, source.shape[1])
        return self

    def transform_source(self, X: ArrayLike) -> Floats:
        """Source samples on the target's axes, shape (samples, n_components)."""
        return self._samples(X, "source samples") @ self.source_axes_

    def transform_target(self, X: ArrayLike) -> Floats:
        """Target samples on their own axes, shape (samples, n_components)."""
        return self._samples(X, "target samples") @ self.target_axes_


def _power(X: Floats, ridge: float, exponent: float) -> tuple[Floats, Floats]:
    """Power of (covariance + ridge · identity), up to its own factor ridge^exponent.

    Returns
    -------
    axes : ndarray, shape (features, k)
    gains : ndarray, shape (k,)
        The power is ridge^exponent (identity + axes diag(gains) axesᵀ); the factors of whitening
        and colouring cancel.
    """
    axes, variances = principal_components(X)
    return axes, (1 + variances / ridge) ** exponent - 1
