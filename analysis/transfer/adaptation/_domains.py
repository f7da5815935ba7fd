"""What every method of adaptation is given: samples of two domains, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Floats",
    "checked_labels",
    "checked_samples",
    "principal_axes",
    "principal_components",
    "two_domains",
]

Floats = NDArray[np.float64]


def checked_samples(X: ArrayLike, what: str, n_features: int | None = None) -> Floats:
    """Take samples as float64 if they are finite and of the expected width.

    Raises
    ------
    ValueError
        If they are not (samples, features), not finite, or of another width.
    """
    values = np.asarray(X, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"expected {what} of shape (samples, features), got {values.shape}")
    if n_features is not None and values.shape[1] != n_features:
        raise ValueError(
            f"expected {n_features} features as in the other samples, but {what} have "
            f"{values.shape[1]}: take both from the same layers of the same network"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"expected finite {what}, got {(~np.isfinite(values)).sum()} others")
    return values


def two_domains(X_source: ArrayLike, X_target: ArrayLike) -> tuple[Floats, Floats]:
    """Take samples of both domains if there are at least two of each.

    Raises
    ------
    ValueError
        As :func:`checked_samples`; fewer than two samples.
    """
    source = checked_samples(X_source, "source samples")
    target = checked_samples(X_target, "target samples", source.shape[1])
    if min(len(source), len(target)) < 2:
        raise ValueError(
            f"expected at least two samples of each domain, got {len(source)} and {len(target)}"
        )
    return source, target


def checked_labels(y: ArrayLike, X: Floats, what: str) -> NDArray[Any]:
    """One label per sample.

    Raises
    ------
    ValueError
        If there are more or fewer.
    """
    labels = np.asarray(y)
    if labels.shape != X.shape[:1]:
        raise ValueError(f"expected one label for each of {len(X)} {what}, got {labels.shape}")
    return labels


def principal_axes(X: Floats, number: int, what: str) -> Floats:
    """Orthonormal axes of most variance of centred samples, (features, number).

    Raises
    ------
    ValueError
        If the samples span fewer.
    """
    axes, variances = principal_components(X)
    rank = int((variances > 0).sum())
    if not 1 <= number <= rank:
        raise ValueError(
            f"expected n_components from 1 to {rank}, as many as {len(X)} {what} span, got {number}"
        )
    return np.ascontiguousarray(axes[:, :number])


def principal_components(X: Floats) -> tuple[Floats, Floats]:
    """Axes of most variance (features, k), and the variances (k,), n - 1 in the denominator.

    Of more samples than features the covariance is decomposed, in a third of the time; variances
    that rounding errors cannot be told from are 0.
    """
    centred = X - X.mean(axis=0)
    n, width = centred.shape
    if n > width:
        ascending, columns = np.linalg.eigh(centred.T @ centred)
        squares, axes = ascending[::-1], columns[:, ::-1]
        noise = np.finfo(np.float64).eps * n * squares[0]
    else:
        _, lengths, rows = np.linalg.svd(centred, full_matrices=False)
        squares, axes = lengths**2, rows.T
        noise = (np.finfo(np.float64).eps * width) ** 2 * squares[0]
    return axes, np.where(squares > noise, squares, 0.0) / (n - 1)
