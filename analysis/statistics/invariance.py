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

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import pdist

__all__ = ["relative_change"]


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
    Y = np.asarray(after, dtype=np.float64)
    if X.ndim != 2 or X.shape != Y.shape:
        raise ValueError(f"expected two arrays of one shape (n, f), got {X.shape} and {Y.shape}")
    if len(X) < 2:
        raise ValueError(f"expected at least two images to compare with, got {len(X)}")
    between = pdist(X).mean()
    if between == 0:
        raise ValueError("all images have the same features: there is no distance to compare with")
    moved: npt.NDArray[np.float64] = np.linalg.norm(Y - X, axis=1) / between
    return moved
