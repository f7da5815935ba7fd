"""Everything that shuffled labels tell of one dataset, from one sort of its features."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from analysis.data.labels import checked_labels
from analysis.statistics.distances import signed_ks
from analysis.statistics.expected import tie_counts
from analysis.statistics.noise import NoiseThresholds, shuffled_distances, thresholds_between
from analysis.statistics.ranks import rank_features

__all__ = ["MeasuredNoise", "measure_noise"]


class MeasuredNoise(NamedTuple):
    """Distances under real and under shuffled labels, and what follows from them.

    Attributes
    ----------
    D : DataArray of float64 (class, feature)
        Signed distances under the labels, with the features' coordinates.
    shuffled : ndarray of float64, shape (shuffles, classes, features)
        Under shuffled labels.
    thresholds : NoiseThresholds
        Of both.
    class_sizes : ndarray of int64, shape (classes,)
        Images of each class.
    ties : ndarray of int64, shape (features, 2)
        As of :func:`~analysis.statistics.tie_counts`.
    """

    D: xr.DataArray
    shuffled: NDArray[np.float64]
    thresholds: NoiseThresholds
    class_sizes: NDArray[np.int64]
    ties: NDArray[np.int64]


def measure_noise(
    X: xr.DataArray,
    labels: ArrayLike,
    n_shuffles: int = 5,
    seed: int = 0,
    *,
    threads: int | None = None,
) -> MeasuredNoise:
    """Measure distances, noise and thresholds of a dataset together.

    Parameters
    ----------
    X : DataArray (image, feature)
        As for :func:`~analysis.statistics.signed_ks`; sorted once, and the order is not kept.
    labels, n_shuffles, seed, threads
        As for :func:`~analysis.statistics.noise_thresholds`, which gives the same thresholds.

    Returns
    -------
    MeasuredNoise
        Distances, thresholds, class sizes and ties.

    Raises
    ------
    ValueError
        As for :func:`~analysis.statistics.noise_thresholds`.
    """
    ranked = rank_features(X.compute(), threads=threads)
    D = signed_ks(ranked, labels, threads=threads)
    shuffled = shuffled_distances(ranked, labels, n_shuffles, seed, threads=threads)
    return MeasuredNoise(
        D,
        shuffled,
        thresholds_between(D, shuffled),
        np.unique(checked_labels(labels), return_counts=True)[1],
        tie_counts(ranked),
    )
