"""How well the features describe each class: how many it keeps, and how many chance would.

Conventions
-----------
kept
    Features beyond the noise thresholds, as in :mod:`analysis.statistics.pruning`.
by chance
    Features that the class keeps under shuffled labels, which leave its size as it is. Small
    classes keep more of them, so classes of different sizes are compared by what they keep beyond
    chance.
under-described
    A class that keeps no more features than it does under one of the shuffles.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from analysis.data.labels import checked_labels
from analysis.statistics.noise import NoiseThresholds, checked_distances
from analysis.statistics.pruning import kept

__all__ = ["describe_classes", "ends_of"]


def describe_classes(
    D: xr.DataArray, shuffled: ArrayLike, thresholds: NoiseThresholds, labels: ArrayLike
) -> pd.DataFrame:
    """Count the features that each class keeps, and find its widest ones.

    Parameters
    ----------
    D : DataArray (class, feature) with the coordinates ``class``, ``layer`` and ``unit``
        Signed distances.
    shuffled : array_like, shape (shuffles, classes, features)
        Under shuffled labels, as of :func:`analysis.statistics.shuffled_distances`.
    thresholds : NoiseThresholds
        Of both.
    labels : array_like, shape (images,)
        Class of each image.

    Returns
    -------
    DataFrame
        A row per class, that with most features beyond chance first: ``class`` (as in the
        coordinate), ``images``, ``presence``, ``absence`` and ``kept`` (features beyond t+, beyond
        t- and either), ``by_chance`` (mean over the shuffles), ``beyond_chance`` (the difference),
        ``under_described``; and of the highest distance ``presence_layer``, ``presence_unit`` and
        ``presence_distance``, of the lowest the same with ``absence``.
    """
    D = D.transpose("class", "feature")
    values, noise = checked_distances(D), np.asarray(shuffled)
    counts = kept(noise, thresholds).sum(axis=2)  # (shuffles, classes)
    classes, sizes = np.unique(checked_labels(labels), return_counts=True)
    table = pd.DataFrame(
        {
            "class": D["class"].to_numpy(),
            "images": sizes[np.searchsorted(classes, D["class"].to_numpy())],
            "presence": (values > thresholds.t_plus).sum(axis=1),
            "absence": (values < thresholds.t_minus).sum(axis=1),
            "kept": kept(values, thresholds).sum(axis=1),
            "by_chance": counts.mean(axis=0),
        }
    )
    table["beyond_chance"] = table["kept"] - table["by_chance"]
    table["under_described"] = table["kept"].to_numpy() <= counts.max(axis=0)
    for sign, side in ((1, "presence"), (-1, "absence")):
        widest = (sign * values).argmax(axis=1)
        table[f"{side}_layer"] = D["layer"].to_numpy()[widest]
        table[f"{side}_unit"] = D["unit"].to_numpy()[widest]
        table[f"{side}_distance"] = values[np.arange(len(values)), widest]
    return table.sort_values("beyond_chance", ascending=False, kind="stable", ignore_index=True)


def ends_of(n: int, most: int) -> NDArray[np.int64]:
    """Positions of the first and the last of ``n`` rows, ``most`` together; all if they are fewer.

    Of an odd number, the first ones are one more.
    """
    if n <= most:
        return np.arange(n)
    first = (most + 1) // 2
    return np.concatenate([np.arange(first), np.arange(n - most + first, n)])
