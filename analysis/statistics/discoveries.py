"""Which of many features to believe, once each has its p-value."""

from __future__ import annotations

from typing import overload

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control


@overload
def false_discovery(P: xr.DataArray) -> xr.DataArray: ...
@overload
def false_discovery(P: ArrayLike) -> NDArray[np.float64]: ...
def false_discovery(P: ArrayLike | xr.DataArray) -> NDArray[np.float64] | xr.DataArray:
    """Adjust p-values for how many features were looked at, for each class by itself.

    Parameters
    ----------
    P : array_like or DataArray, shape (..., features)
        p-values; of a DataArray, those along the dimension ``feature`` belong together.

    Returns
    -------
    ndarray or DataArray of float64, shaped as P
        Benjamini and Hochberg's adjusted p-values. The features of a class at or below q are its
        discoveries at a false-discovery rate of q: on average over repetitions, at most the share q
        of those named are irrelevant. Holds for independent features and for features that depend
        positively; features of one network depend on each other in every way, and there it is
        customary rather than proven.

    Raises
    ------
    ValueError
        p-values outside [0, 1] or NaN, a DataArray without the dimension ``feature``.
    """
    if isinstance(P, xr.DataArray) and "feature" not in P.dims:
        raise ValueError(f"expected the dimension 'feature', along which to adjust, got {P.dims}")
    values = np.asarray(P, dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(
            f"expected p-values in [0, 1], got {(~((values >= 0) & (values <= 1))).sum()} others"
        )
    axis = P.get_axis_num("feature") if isinstance(P, xr.DataArray) else -1
    adjusted = false_discovery_control(values, axis=axis)
    if isinstance(P, xr.DataArray):
        return P.copy(data=adjusted).rename("adjusted_p_value")
    return np.asarray(adjusted)


def significant_features(D: xr.DataArray, P: xr.DataArray, *, q: float = 0.05) -> pd.DataFrame:
    """List the features that are characteristic of each class at a false-discovery rate.

    Parameters
    ----------
    D, P : DataArray (class, feature)
        Signed distances and their p-values (:func:`ks_p_values`), with equal coordinates.
    q : float
        Most that the expected share of irrelevant features among those listed of a class may be.

    Returns
    -------
    DataFrame
        A row per pair of class and feature, by class and then from the widest distance: ``class``,
        the coordinates of the feature such as ``layer`` and ``unit``, signed ``distance``,
        ``p_value``, ``adjusted_p_value``. Presence where the distance is positive, absence where
        it is negative.

    Raises
    ------
    ValueError
        q outside (0, 1), D and P of different dimensions or coordinates.
    """
    if not 0 < q < 1:
        raise ValueError(f"expected a false-discovery rate q between 0 and 1, got {q}")
    D, P = D.transpose("class", "feature"), P.transpose("class", "feature")
    if D.shape != P.shape or any(not D[name].equals(P[name]) for name in D.coords):
        raise ValueError(
            f"expected distances and p-values of the same classes and features, got {D.sizes} and "
            f"{P.sizes}: compute both of one X and its labels"
        )
    adjusted = false_discovery(P).to_numpy()
    rows, columns = np.nonzero(adjusted <= q)
    table = {"class": D["class"].to_numpy()[rows]}
    table |= {
        str(name): x.to_numpy()[columns] for name, x in D.coords.items() if x.dims == ("feature",)
    }
    for name, values in (("distance", D), ("p_value", P), ("adjusted_p_value", adjusted)):
        table[name] = np.asarray(values)[rows, columns]
    order = np.lexsort((columns, -np.abs(table["distance"]), rows))
    return pd.DataFrame(table).iloc[order].reset_index(drop=True)
