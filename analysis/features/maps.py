"""Units to look at: their maps, what they answer to, and how much comes out of each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from analysis.features.strongest import StrongCrop
    from analysis.networks import Backbone, Layer

__all__ = ["describe_outputs", "describe_strongest", "layer_maps", "most_varied_units"]


def layer_maps(X: xr.DataArray, layer: Layer) -> NDArray[np.float32]:
    """Cut the maps of one layer out of flattened features.

    Parameters
    ----------
    X
        Features with ``pooling="none"``.
    layer
        A layer of theirs that has maps.

    Returns
    -------
    ndarray of float32, shape (images, units, height, width)

    Raises
    ------
    ValueError
        If the layer has no maps, or the features do not hold them whole.
    """
    if layer.spatial is None:
        raise ValueError(f"layer {layer.name!r} gives one number per unit, not maps")
    values = X[:, X["layer"].to_numpy() == layer.name].to_numpy()
    shape = (len(values), layer.units, *layer.spatial)
    if values.size != np.prod(shape):
        raise ValueError(
            f"expected {np.prod(shape[1:])} values per image of layer {layer.name!r}, got "
            f'{values.shape[1]}; extract with pooling="none"'
        )
    return values.reshape(shape)


def most_varied_units(maps: NDArray[np.floating[Any]], n: int) -> list[int]:
    """Units whose mean over the map differs most between images, most varied first.

    Parameters
    ----------
    maps : ndarray, shape (images, units, height, width)
        Of several images.
    n
        How many units.
    """
    spread = maps.mean(axis=(2, 3)).std(axis=0)
    order = np.argsort(-spread, kind="stable")
    return [int(unit) for unit in order[:n]]


def describe_outputs(X: xr.DataArray, net: Backbone) -> pd.DataFrame:
    """Describe what each layer makes of one image: how many numbers, and how large.

    Parameters
    ----------
    X
        Features of the default embedding of one image with ``pooling="none"``.
    net
        The network.

    Returns
    -------
    DataFrame
        One row per layer: ``layer``, ``kind``, ``units``, ``map of a unit`` (height × width),
        ``numbers``, ``zeros`` (share of them), ``largest`` and ``mean``.
    """
    rows = []
    for layer in net.layers:
        values = X[:, X["layer"].to_numpy() == layer.name].to_numpy()
        rows.append(
            {
                "layer": layer.name,
                "kind": layer.kind,
                "units": layer.units,
                "map of a unit": "{} × {}".format(*layer.spatial) if layer.spatial else "",
                "numbers": values.size,
                "zeros": float((values == 0).mean()),
                "mean": float(values.mean()),
                "largest": float(values.max()),
            }
        )
    return pd.DataFrame(rows)


def describe_strongest(found: Mapping[str, Mapping[int, Sequence[StrongCrop]]]) -> pd.DataFrame:
    """Tabulate the strongest crops of several layers.

    Parameters
    ----------
    found
        Layer → what :func:`analysis.features.strongest_crops` found for its units.

    Returns
    -------
    DataFrame
        One row per layer, unit and crop: ``rank`` (from 1), ``photograph``, ``activation``, and
        the receptive field in pixels of the crop, ``left, top, right, bottom``.
    """
    rows = [
        (layer, unit, rank, crop.path, crop.activation, *crop.box)
        for layer, of_layer in found.items()
        for unit, of_unit in of_layer.items()
        for rank, crop in enumerate(of_unit, start=1)
    ]
    box = ["left", "top", "right", "bottom"]
    return pd.DataFrame(rows, columns=["layer", "unit", "rank", "photograph", "activation", *box])
