"""The features and classes that stand furthest apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

__all__ = ["strongest_pairs"]


def strongest_pairs(D: xr.DataArray) -> pd.DataFrame:
    """Highest and lowest distance of each layer, with the feature and class that have it.

    Parameters
    ----------
    D : DataArray (class, feature) with the coordinates ``class``, ``layer`` and ``unit``
        Signed distances.

    Returns
    -------
    DataFrame
        Two rows per layer: ``layer``, ``sign`` ("presence" for the highest, "absence" for the
        lowest), ``unit``, ``class`` and ``distance``. Of equals, the first class and unit. A layer
        all of whose distances have one sign has no row for the other.
    """
    D = D.transpose("class", "feature")
    values, layers = D.to_numpy(), D["layer"].to_numpy()
    rows = []
    for layer in dict.fromkeys(layers.tolist()):
        columns = np.flatnonzero(layers == layer)
        part = values[:, columns]
        for sign, name in ((1, "presence"), (-1, "absence")):
            row, column = np.unravel_index((sign * part).argmax(), part.shape)
            if sign * part[row, column] <= 0:
                continue
            rows.append(
                {
                    "layer": layer,
                    "sign": name,
                    "unit": int(D["unit"].to_numpy()[columns[column]]),
                    "class": D["class"].to_numpy()[row].item(),
                    "distance": float(part[row, column]),
                }
            )
    return pd.DataFrame(rows)
