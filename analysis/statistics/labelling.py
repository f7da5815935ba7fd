"""The classes of a labelling, and results by class and feature with their coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from analysis.data.labels import checked_labels

Array = NDArray[Any]


def classes_of(labels: ArrayLike, n_images: int) -> tuple[Array, Array, NDArray[np.int64]]:
    """Classes in order, each image's position among them, images per class.

    Raises
    ------
    ValueError
        What :func:`~analysis.data.labels.checked_labels` refuses, fewer than two classes.
    """
    labels = checked_labels(labels, n_images)
    classes, members, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if classes.size < 2:
        raise ValueError(
            f"expected at least two classes, got only {classes.tolist()}: a class is compared with "
            "the images outside it"
        )
    narrow = np.uint16 if classes.size <= 2**16 else np.uint32
    return classes, members.astype(narrow), sizes.astype(np.int64)


def labelled(
    values: NDArray[np.float64], classes: Array, features: xr.Dataset, name: str, **attrs: Any
) -> xr.DataArray:
    """Give (classes, features) the coordinates of both, and say where they come from."""
    return xr.DataArray(
        values,
        dims=("class", "feature"),
        coords={"class": classes, **features.coords},
        name=name,
        attrs={**features.attrs, **attrs},
    )
