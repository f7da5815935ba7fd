"""Tables and arrays as files for use outside Layerbook, written whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.chapters import write_csv
from analysis.statistics import signed_ks, strongest_pairs

if TYPE_CHECKING:
    import xarray as xr

    from analysis.data import ImageDataset
    from analysis.networks import Backbone


def measure_distances(
    data: ImageDataset, net: Backbone, path: Path, *, crops: str = "ten", progress: bool = True
) -> tuple[pd.DataFrame, int]:
    """Write the signed KS distance of every feature and class as CSV.

    Parameters
    ----------
    data, net, crops, progress
        As in :func:`analysis.extract`.
    path
        The table of :func:`distance_table`.

    Returns
    -------
    tuple of DataFrame and int
        The widest pairs of each layer, ready to print: ``layer, distance, unit, sign, class``; and
        the number of pairs written.
    """
    from analysis.features import extract  # loads PyTorch

    distances = signed_ks(extract(data, net, crops=crops, progress=progress), data.labels)
    table = distance_table(distances, data.classes)
    write_csv(table, path)
    strongest = strongest_pairs(distances)
    strongest["class"] = [data.classes[label] for label in strongest["class"]]
    strongest["distance"] = strongest["distance"].map("{:+.3f}".format)
    return strongest[["layer", "distance", "unit", "sign", "class"]], len(table)


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


def write_zarr(features: xr.DataArray, path: Path) -> Path:
    """Write labelled features as a Zarr folder for ``xarray.open_dataarray(path, engine="zarr")``.

    Raises
    ------
    FileExistsError
        If there is something of that name already.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists already; remove it, or give another name")
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        # Chunks of one size, which the store's layers are not; format 2 specifies text as well.
        features.chunk("auto").to_dataset(name="features").to_zarr(partial, zarr_format=2)
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return path
