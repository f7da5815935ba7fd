"""How the noise thresholds depend on the number of images per class.

The paper fits them to the logarithm of that number, over its datasets. A study has fewer datasets,
so classes can be cut to several sizes as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.data.labels import checked_labels
from analysis.statistics.noise import NoiseThresholds, noise_thresholds

__all__ = [
    "LogFit",
    "fit_threshold_to_size",
    "fits_by_network",
    "subsample_classes",
    "thresholds_by_size",
]

Floats = NDArray[np.float64]

SIZES = (10, 20, 40, 80, 160)
"""Images per class to which classes are cut."""


class LogFit(NamedTuple):
    """The curve t = intercept + slope · ln(size), and the share of the variance it explains.

    ``r_squared_root`` is that of the line in 1/√size instead, as which distances by chance shrink.
    """

    intercept: float
    slope: float
    r_squared: float
    r_squared_root: float


def fit_threshold_to_size(sizes: ArrayLike, thresholds: ArrayLike) -> LogFit:
    """Least-squares fit of thresholds to the logarithm of the number of images per class.

    Section 7.1 of the paper has R² = 0.82 for t+ and 0.84 for t-, over eleven datasets. It does
    not say which number of images stands for a dataset of unequal classes; their mean is assumed.

    Parameters
    ----------
    sizes, thresholds : array_like, shape (datasets,)
        Images per class (mean), above 0, and t+ or t-.

    Returns
    -------
    LogFit
        All NaN where the sizes are not at least three different ones, through which any curve
        would go; R² is NaN where the thresholds are all equal.

    Raises
    ------
    ValueError
        Shapes that differ, sizes that are not above 0, thresholds that are not finite.
    """
    n, t = np.asarray(sizes, np.float64), np.asarray(thresholds, np.float64)
    if n.shape != t.shape or n.ndim != 1:
        raise ValueError(f"expected one threshold for each size, got {t.shape} and {n.shape}")
    if not (n > 0).all() or not np.isfinite(t).all():
        raise ValueError("expected sizes above 0 and finite thresholds")
    if np.unique(n).size < 3:
        return LogFit(np.nan, np.nan, np.nan, np.nan)
    slope, intercept = np.polyfit(np.log(n), t, 1)
    r_squared, by_root = (_explained(x, t) for x in (np.log(n), n**-0.5))
    return LogFit(float(intercept), float(slope), r_squared, by_root)


def _explained(x: Floats, t: Floats) -> float:
    """R² of a straight line, which is the square of the correlation."""
    return float(np.corrcoef(x, t)[0, 1] ** 2) if np.ptp(t) > 0 else float("nan")


def subsample_classes(labels: ArrayLike, size: int, *, seed: int) -> NDArray[np.int64]:
    """Positions of ``size`` images of each class, ascending, drawn with the seed.

    Raises
    ------
    ValueError
        If a class has fewer; the message names it.
    """
    y = checked_labels(labels)
    classes, counts = np.unique(y, return_counts=True)
    if size < 1 or counts.min() < size:
        raise ValueError(
            f"expected at least {size} images in each class and a size from 1, but class "
            f"{classes[counts.argmin()]} has {counts.min()}"
        )
    rng = np.random.default_rng((seed, size))
    drawn = [rng.permutation(np.flatnonzero(y == name))[:size] for name in classes]
    return np.sort(np.concatenate(drawn))


def thresholds_by_size(
    X: Any,
    labels: ArrayLike,
    sizes: Sequence[int] = SIZES,
    *,
    n_shuffles: int = 5,
    seed: int = 0,
    whole: NoiseThresholds | None = None,
    threads: int | None = None,
) -> pd.DataFrame:
    """Thresholds of a dataset, and of the same with all classes cut to one number of images.

    Parameters
    ----------
    X : array_like or DataArray, shape (images, features)
        Not ranked, as images are left out.
    labels : array_like, shape (images,)
        Class of each image.
    sizes : sequence of int
        Images per class; those of which a class has fewer are passed over, so that all classes are
        always there, and those that leave no image out.
    n_shuffles, seed, threads
        As for :func:`~analysis.statistics.noise_thresholds`; the seed draws the images as well.
    whole : NoiseThresholds, optional
        Thresholds of all images with this seed and number of shuffles, where they are known.

    Returns
    -------
    DataFrame
        A row per size and one for all images: ``cut``, whether classes were;
        ``images_per_class`` (mean), ``t_plus``, ``t_minus``, ``spread_plus``, ``spread_minus``.
    """
    y = checked_labels(labels)
    counts = np.unique(y, return_counts=True)[1]
    fitting = [n for n in sizes if n <= counts.min() and n * counts.size < y.size]
    samples = [subsample_classes(y, size, seed=seed) for size in fitting]
    rows = []
    for chosen in (*samples, np.arange(y.size)):
        t = whole if chosen.size == y.size else None
        t = t or noise_thresholds(X[chosen], y[chosen], n_shuffles, seed, threads=threads)
        row: dict[str, Any] = {"cut": chosen.size < y.size}
        row["images_per_class"] = chosen.size / counts.size
        row |= {"t_plus": t.t_plus, "t_minus": t.t_minus}
        rows.append(row | {"spread_plus": t.spread.t_plus, "spread_minus": t.spread.t_minus})
    return pd.DataFrame(rows)


def fits_by_network(table: pd.DataFrame) -> pd.DataFrame:
    """Logarithmic fits of both thresholds, for each network.

    Parameters
    ----------
    table
        Rows of :func:`thresholds_by_size` with the column ``network`` as well.

    Returns
    -------
    DataFrame
        Four rows per network: ``network``, ``side`` ("t+" or "t-"), ``points`` ("datasets" alone,
        as in the paper, or "with cut classes"), their ``number``, ``intercept``, ``slope``,
        ``r_squared`` and ``r_squared_root``.
    """
    rows = []
    for network, own in table.groupby("network", sort=False):
        for side, name in (("t+", "t_plus"), ("t-", "t_minus")):
            for points, part in (("datasets", own[~own["cut"]]), ("with cut classes", own)):
                fit = fit_threshold_to_size(part["images_per_class"], part[name])
                row = {"network": network, "side": side, "points": points, "number": len(part)}
                rows.append(row | fit._asdict())
    return pd.DataFrame(rows)
