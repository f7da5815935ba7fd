"""What every method of adaptation is given: samples of two domains, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.data.labels import checked_labels
from analysis.statistics.named import by_name, feature_names
from analysis.transfer._samples import Floats, checked_samples, whole_number

__all__ = [
    "Floats",
    "checked_samples",
    "labelled_domains",
    "principal_axes",
    "principal_components",
    "two_domains",
]

Labels = NDArray[Any]


def two_domains(X_source: ArrayLike, X_target: ArrayLike) -> tuple[Floats, Floats]:
    """Take samples of both domains, at least two of each; target features in the source's order.

    Raises
    ------
    ValueError
        As :func:`~analysis.transfer._samples.checked_samples`; fewer than two samples, domains of
        different features, labels in the place of the target.
    """
    source = checked_samples(X_source, "source samples")
    if X_target is None or np.ndim(X_target) == 1:
        raise ValueError(
            "expected fit(X_source, X_target), target samples of shape (samples, features), got "
            f"{np.shape(X_target)}: a Pipeline gives labels in their place, so fit the adaptation "
            "before, and give the Pipeline what it transforms"
        )
    aligned = by_name(X_target, feature_names(X_source), "target samples")
    target = checked_samples(aligned, "target samples", source.shape[1])
    if min(len(source), len(target)) < 2:
        raise ValueError(
            f"expected at least two samples of each domain, got {len(source)} and {len(target)}"
        )
    return source, target


def labelled_domains(
    X_source: ArrayLike,
    y_source: ArrayLike,
    X_target: ArrayLike,
    y_target: ArrayLike,
    what: str = "samples",
) -> tuple[Floats, Labels, Floats, Labels]:
    """Take samples and labels of both domains, whose classes are named alike.

    Raises
    ------
    ValueError
        As :func:`two_domains`; labels that are missing (in the target also -1, where that is no
        class of the source), too few, or of another kind than the source's.
    """
    source, target = two_domains(X_source, X_target)
    ys = checked_labels(y_source, len(source), f"{{}} source {what}")
    yt = checked_labels(y_target, len(target), f"{{}} target {what}", like=ys)
    unlabelled = np.flatnonzero((yt == -1) & ~(ys == -1).any())
    if unlabelled.size:
        raise ValueError(
            f"expected labels of all target {what}, got {unlabelled.size} that are -1, which marks "
            f"what has no label, the first at position {unlabelled[0]}: leave these out, or take "
            "an adaptation without target labels"
        )
    return source, ys, target, yt


def principal_axes(X: Floats, number: Any, what: str) -> Floats:
    """Orthonormal axes of most variance of centred samples, (features, number).

    Raises
    ------
    ValueError
        If the samples span fewer, or it is no whole number.
    """
    number = whole_number("n_components", number)
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
