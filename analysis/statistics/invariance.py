"""How far features move when images are changed.

Conventions
-----------
relative change
    Euclidean distance between the features of an image before and after, divided by the mean
    distance between the features of two different images. 0: the features ignore the change;
    1: they take the changed image for another one. Free of the scale of the features, so layers
    compare.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from scipy.spatial.distance import pdist

from analysis.statistics.named import by_name, feature_names

__all__ = ["change_by_layer", "relative_change"]


def relative_change(before: npt.ArrayLike, after: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Distance that each image's features moved, in units of the distance between two images.

    Parameters
    ----------
    before, after : array_like, shape (n, f)
        Features of ``n`` images and of their changed copies, in the same order.

    Returns
    -------
    ndarray of float64, shape (n,)
        Relative change of every image, zero or more.

    Raises
    ------
    ValueError
        If the shapes differ, there are fewer than two images, or all images have the same
        features.
    """
    X = np.asarray(before, dtype=np.float64)
    Y = np.asarray(by_name(after, feature_names(before), "the features after"), dtype=np.float64)
    if X.ndim != 2 or X.shape != Y.shape:
        raise ValueError(f"expected two arrays of one shape (n, f), got {X.shape} and {Y.shape}")
    if len(X) < 2:
        raise ValueError(f"expected at least two images to compare with, got {len(X)}")
    between = pdist(X).mean()
    if between == 0:
        raise ValueError("all images have the same features: there is no distance to compare with")
    moved: npt.NDArray[np.float64] = np.linalg.norm(Y - X, axis=1) / between
    return moved


def change_by_layer(before: xr.DataArray, after: Mapping[str, xr.DataArray]) -> pd.DataFrame:
    """Relative change of the features of each layer under several changes of the images.

    Parameters
    ----------
    before : DataArray (image, feature) with coordinate ``layer``
        Features of the images.
    after : mapping of str to DataArray
        Name of the change → features of the changed images, in the same order.

    Returns
    -------
    DataFrame
        One row per change and layer: ``layer``, ``change``, and over the images ``median``,
        ``lower`` and ``upper`` (the quartiles) of :func:`relative_change`.
    """
    layers = before["layer"].to_numpy()
    X = before.to_numpy()
    rows = []
    for change, copies in after.items():
        Y = by_name(copies, feature_names(before), "the features after").to_numpy()
        for layer in dict.fromkeys(layers.tolist()):
            moved = relative_change(X[:, layers == layer], Y[:, layers == layer])
            lower, median, upper = np.quantile(moved, [0.25, 0.5, 0.75])
            rows.append((layer, change, median, lower, upper))
    return pd.DataFrame(rows, columns=["layer", "change", "median", "lower", "upper"])
