"""Distances between features and classes as tables that people and spreadsheets read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["distance_table", "strongest_pairs"]


def distance_table(distances: xr.DataArray, classes: Sequence[str]) -> pd.DataFrame:
    """Lay out every feature-class pair as a row.

    Parameters
    ----------
    distances
        Signed KS distances, classes × features, with coordinates ``class, layer, unit``.
    classes
        Names of the classes; the coordinate ``class`` indexes them.

    Returns
    -------
    pandas.DataFrame
        Columns ``class, layer, unit, d_ks``; features within classes.
    """
    n_classes, n_features = distances.shape
    names = np.asarray(classes, dtype=object)[distances.coords["class"].values]
    return pd.DataFrame(
        {
            "class": np.repeat(names, n_features),
            "layer": np.tile(distances.coords["layer"].values, n_classes),
            "unit": np.tile(distances.coords["unit"].values, n_classes),
            "d_ks": np.asarray(distances).ravel(),
        }
    )


def strongest_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Pick, for every layer, the pair most marked by presence and the one most by absence.

    Parameters
    ----------
    table
        As :func:`distance_table` gives it.

    Returns
    -------
    pandas.DataFrame
        One row per layer, in the order of the table: ``layer``, then ``unit, class, d_ks`` of the
        highest and of the lowest distance, their names ending in ``+`` and ``-``.
    """
    by_layer = table.groupby("layer", sort=False)["d_ks"]
    columns = ["unit", "class", "d_ks"]
    highest = table.loc[by_layer.idxmax(), ["layer", *columns]].set_index("layer")
    lowest = table.loc[by_layer.idxmin(), ["layer", *columns]].set_index("layer")
    return highest.add_suffix("+").join(lowest.add_suffix("-")).reset_index()
