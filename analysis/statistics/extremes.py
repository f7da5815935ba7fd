"""The features and classes that stand furthest apart."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

__all__ = ["extreme_units", "shared_absences", "strongest_by_depth", "strongest_pairs"]

_PAIR = ["sign", "unit", "class", "distance"]
_SHARED = ["layer", "unit", "n_classes", "classes", "distances", "mean_distance"]


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
    D = _checked(D)
    layers = D["layer"].to_numpy()
    rows = [
        row
        for layer in dict.fromkeys(layers.tolist())
        for row in _both_ends(D, np.flatnonzero(layers == layer))
    ]
    return pd.DataFrame(rows, columns=["layer", *_PAIR])


def strongest_by_depth(D: xr.DataArray, *, parts: int = 3) -> pd.DataFrame:
    """Highest and lowest distance among the first, the middle and the last layers.

    Section 5 of Garcia-Gasulla et al. (2018) shows such pairs for a few layers chosen by hand
    (figures 2 and 4); here the depth is cut into runs of layers as equal as can be.

    Parameters
    ----------
    D : DataArray (class, feature) with the coordinates ``class``, ``layer`` and ``unit``
        Signed distances, layers in the order of the network.
    parts : int
        Runs into which the layers are cut; the first ones have a layer more where they cannot be
        equal. A network with fewer layers is cut into single layers.

    Returns
    -------
    DataFrame
        Two rows per part: ``part`` (from 1), and ``layer``, ``sign``, ``unit``, ``class`` and
        ``distance`` as of :func:`strongest_pairs`, with as much left out.

    Raises
    ------
    ValueError
        If ``parts`` is below 1, or dimensions or coordinates are missing.
    """
    if parts < 1:
        raise ValueError(f"expected parts >= 1, got {parts}")
    D = _checked(D)
    layers = D["layer"].to_numpy()
    names = list(dict.fromkeys(layers.tolist()))
    depth = np.array([names.index(layer) for layer in layers.tolist()], dtype=np.intp)
    runs = np.array_split(np.arange(len(names)), min(parts, len(names)))
    rows = [
        {"part": part} | row
        for part, run in enumerate(runs, start=1)
        for row in _both_ends(D, np.flatnonzero(np.isin(depth, run)))
    ]
    return pd.DataFrame(rows, columns=["part", "layer", *_PAIR])


def shared_absences(D: xr.DataArray, *, lowest: int = 10) -> pd.DataFrame:
    """Units that mark several classes by their absence (figure 3 of the paper).

    Parameters
    ----------
    D : DataArray (class, feature) with the coordinates ``class``, ``layer`` and ``unit``
        Signed distances.
    lowest : int
        A unit counts for a class if fewer than so many units have a lower distance to it, and its
        own is negative. All of several equal units count: to take the first of them would favour
        the same few layers in every class.

    Returns
    -------
    DataFrame
        A row per unit that counts for two classes or more: ``layer``, ``unit``, ``n_classes``,
        ``classes`` and ``distances`` (tuples, the lowest distance first) and ``mean_distance``.
        Most classes first, of these the lowest mean; no row where nothing is shared.

    Raises
    ------
    ValueError
        If ``lowest`` is below 1, or dimensions or coordinates are missing.

    References
    ----------
    Garcia-Gasulla et al. (2018), section 5: one unit of ``fc7`` is among the ten lowest of four
    classes of birds.
    """
    if lowest < 1:
        raise ValueError(f"expected lowest >= 1, got {lowest}")
    D = _checked(D)
    values, classes = D.to_numpy(), D["class"].to_numpy()
    layers, units = D["layer"].to_numpy(), D["unit"].to_numpy()
    last = min(lowest, values.shape[1]) - 1
    bound = np.partition(values, last, axis=1)[:, last : last + 1]
    counts = (values <= bound) & (values < 0)
    rows = []
    for column in np.flatnonzero(counts.sum(axis=0) > 1):
        marked = np.flatnonzero(counts[:, column])
        distances = values[marked, column]
        order = distances.argsort(kind="stable")
        rows.append(
            {
                "layer": layers[column],
                "unit": int(units[column]),
                "n_classes": marked.size,
                "classes": tuple(classes[marked[order]].tolist()),
                "distances": tuple(distances[order].tolist()),
                "mean_distance": float(distances.mean()),
            }
        )
    numbers = {"unit": int, "n_classes": int, "mean_distance": float}  # also of an empty table
    table = pd.DataFrame(rows, columns=_SHARED).astype(numbers)
    by = ["n_classes", "mean_distance"]
    return table.sort_values(by, ascending=[False, True], kind="stable", ignore_index=True)


def extreme_units(D: xr.DataArray, layer: str, label: Hashable, *, n: int = 3) -> pd.DataFrame:
    """Units of one layer that mark one class most, by presence and by absence.

    Parameters
    ----------
    D : DataArray (class, feature) with the coordinates ``class``, ``layer`` and ``unit``
        Signed distances.
    layer, label
        The layer, and the class as it stands in the coordinate ``class``.
    n : int
        Units of each sign; fewer where fewer have it.

    Returns
    -------
    DataFrame
        Columns ``layer``, ``sign``, ``unit``, ``class`` and ``distance``, as of
        :func:`strongest_pairs`; the widest of each sign first, of equals the first unit.

    Raises
    ------
    ValueError
        If there is no such layer or class, or dimensions or coordinates are missing.
    """
    D = _checked(D)
    columns = np.flatnonzero(D["layer"].to_numpy() == layer)
    (row,) = np.nonzero(D["class"].to_numpy() == label)
    if not columns.size or not row.size:
        raise ValueError(
            f"no distances of a layer {layer!r} to a class {label!r}; known layers: "
            f"{list(dict.fromkeys(D['layer'].to_numpy().tolist()))}, classes: "
            f"{D['class'].to_numpy().tolist()}"
        )
    values, units = D.to_numpy()[row[0], columns], D["unit"].to_numpy()[columns]
    rows = [
        {
            "layer": layer,
            "sign": name,
            "unit": int(units[at]),
            "class": label,
            "distance": float(values[at]),
        }
        for sign, name in ((1, "presence"), (-1, "absence"))
        for at in np.argsort(-sign * values, kind="stable")[:n]
        if sign * values[at] > 0
    ]
    return pd.DataFrame(rows, columns=["layer", *_PAIR])


def _both_ends(D: xr.DataArray, columns: NDArray[np.intp]) -> Iterator[dict[str, Hashable]]:
    """Highest and lowest distance of some features, those with the sign that they stand for."""
    part = D.to_numpy()[:, columns]
    for sign, name in ((1, "presence"), (-1, "absence")):
        row, column = np.unravel_index((sign * part).argmax(), part.shape)
        if sign * part[row, column] > 0:
            yield {
                "layer": D["layer"].to_numpy()[columns[column]],
                "sign": name,
                "unit": int(D["unit"].to_numpy()[columns[column]]),
                "class": D["class"].to_numpy()[row].item(),
                "distance": float(part[row, column]),
            }


def _checked(D: xr.DataArray) -> xr.DataArray:
    """Distances in the order (class, feature)."""
    wanted = {"class", "layer", "unit"}
    if set(D.dims) != {"class", "feature"} or not wanted <= set(D.coords):
        raise ValueError(
            "expected distances (class, feature) with the coordinates 'class', 'layer' and 'unit', "
            f"got {D.dims} with {list(D.coords)}: signed_ks keeps the coordinates of a DataArray"
        )
    return D.transpose("class", "feature")
