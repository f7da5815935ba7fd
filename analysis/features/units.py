"""What every unit answers to: its highest values over a dataset, and the pictures they come from.

Garcia-Gasulla et al. (2018), section 5, show for a feature the images of highest activation, so
that a reader sees what it stands for. The best of every unit are kept while the images stream by.

Conventions
-----------
place
    Position of a value within its unit's map, counted from 0, row by row (tokens one by one; 0 for
    vectors). Where a map reaches its highest value more than once, the first place counts.
order
    Strongest first. Of each image only its strongest crop counts, the first of equal ones. Images
    with equal activations keep the order of the dataset; so a unit that is silent everywhere has
    the first images, with activation 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from analysis.features.stream import Engine
from analysis.networks import receptive_field
from analysis.networks.preprocessing import cut_crops

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from analysis.data import ImageDataset
    from analysis.networks import Backbone, Layer

#: Highest value of a unit in an image: its image, crop of the image, and place in the map.
PEAK = np.dtype(
    [("activation", np.float32), ("image", np.int32), ("crop", np.int32), ("place", np.int32)]
)


def peaks_of(values: torch.Tensor, layer: Layer) -> torch.Tensor:
    """Reduce the values of one tap to the highest value of every unit and its place.

    Parameters
    ----------
    values
        Values of the tap, laid out as ``layer.layout`` says; batch first.
    layer
        The layer that the tap belongs to.

    Returns
    -------
    Tensor of float32, shape (crops, 2 x units)
        Value and place in turns, so that several taps can be concatenated. A float32 counts to
        16,777,216 places exactly. A map that holds NaN has the value NaN.
    """
    if layer.layout == "vector":
        highest, place = values, torch.zeros_like(values)
    else:
        rows = values.movedim(layer.unit_axis, -1).flatten(1, -2)
        if rows.device.type == "cpu" and rows.is_contiguous():
            # PyTorch follows one unit at a time, through memory that holds all of them side by
            # side: ten times as slow.
            rows = rows.float()
            highest = rows[:, 0].clone()
            place = torch.zeros(highest.shape, dtype=torch.int32)
            _compiled_scan()(rows.numpy(), highest.numpy(), place.numpy())
        else:
            highest, place = rows.max(1)
    return torch.stack([highest.float(), place.float()], dim=-1).flatten(1)


@cache
def _compiled_scan() -> Callable[..., None]:
    import numba  # takes a second to load, which only a search for peaks should pay

    def scan(
        rows: NDArray[np.float32], highest: NDArray[np.float32], places: NDArray[np.int32]
    ) -> None:
        """Raise ``highest`` to each unit's highest value, all units abreast; NaN is highest."""
        for i in range(rows.shape[0]):
            best, place = highest[i], places[i]
            for p in range(1, rows.shape[1]):
                row = rows[i, p]
                for unit in range(row.size):
                    higher = row[unit] > best[unit] or row[unit] != row[unit]
                    best[unit] = row[unit] if higher else best[unit]
                    place[unit] = p if higher else place[unit]

    compiled: Callable[..., None] = numba.njit(nogil=True)(scan)
    return compiled


def _keep_strongest(best: NDArray[np.void], batch: NDArray[np.void]) -> None:
    """Merge a batch, (images, features), into the table of the best, (features, n)."""
    changed = (batch["activation"] > best["activation"][:, -1]).any(0)
    joined = np.concatenate([best[changed], batch.T[changed]], axis=1)
    order = np.argsort(-joined["activation"], axis=1, kind="stable")[:, : best.shape[1]]
    best[changed] = np.take_along_axis(joined, order, axis=1)


@dataclass(frozen=True, eq=False)
class StrongCrop:
    """One picture that a unit answers to strongly.

    Attributes
    ----------
    image : int
        Position in the dataset.
    path : str
        The dataset's name of the image.
    crop : int
        Which crop of the image, from 0, in the order of :mod:`analysis.networks.preprocessing`.
    activation : float
        The unit's highest value over the crop.
    position : (int, int)
        Row and column of that value in the feature map; (0, 0) for vectors, (token, 0) for tokens.
    box : (int, int, int, int)
        Left, top, right, bottom of that position's receptive field in pixels of the crop, right
        and bottom exclusive; the whole crop for vectors and tokens.
    pixels : ndarray of uint8, shape (height, width, 3)
        The whole crop.
    """

    image: int
    path: str
    crop: int
    activation: float
    position: tuple[int, int]
    box: tuple[int, int, int, int]
    pixels: NDArray[np.uint8]

    @property
    def patch(self) -> NDArray[np.uint8]:
        """The receptive field, cut out of the crop."""
        left, top, right, bottom = self.box
        return self.pixels[top:bottom, left:right]


def strongest_crops(
    data: ImageDataset,
    net: Backbone,
    layer: str,
    units: Sequence[int],
    **options: Any,
) -> dict[int, tuple[StrongCrop, ...]]:
    """Find the images to which units answer most strongly, in one pass for all units.

    For units of several layers, :func:`analysis.features.unit_atlas` takes one pass as well.

    Parameters
    ----------
    data, net
        Images and network.
    layer
        Name of one layer.
    units
        Units of the layer, from 0.
    **options
        ``n`` (images per unit), ``crops`` and all else that :func:`unit_atlas` takes.

    Returns
    -------
    dict
        For every unit, in the order given, its crops, strongest first.

    Raises
    ------
    ValueError
        As :func:`unit_atlas`, and if a unit is not in the layer.
    """
    for unit in units:
        _require_unit(net.select([layer])[0], unit)
    atlas = unit_atlas(data, net, layers=[layer], **options)
    return {int(unit): atlas.strongest(layer, unit) for unit in units}


def _require_unit(layer: Layer, unit: int) -> None:
    if not 0 <= unit < layer.units:
        raise ValueError(f"expected a unit of {layer.name!r} in 0..{layer.units - 1}, got {unit}")


@dataclass(frozen=True, eq=False)
class UnitAtlas:
    """The images that each unit of a network answers to most strongly, and where in them.

    Made by :func:`unit_atlas`. Holds 16 bytes per unit and image; pictures are cut out of the
    dataset when they are asked for.

    Attributes
    ----------
    data : ImageDataset
        The images that were looked through.
    net : Backbone
        The network.
    crops : str
        Name of the crops.
    layers : tuple of Layer
        Layers of the atlas, whose units, layer by layer, are its features.
    peaks : ndarray of :data:`PEAK`, shape (features, n)
        Activation, image, crop and place in the map, strongest first.
    """

    data: ImageDataset
    net: Backbone
    crops: str
    layers: tuple[Layer, ...]
    peaks: NDArray[np.void]

    def strongest(self, layer: str, unit: int, n: int | None = None) -> tuple[StrongCrop, ...]:
        """Cut the crops that one unit answers to most strongly.

        Parameters
        ----------
        layer
            Name of a layer of the atlas.
        unit
            Unit of the layer, from 0.
        n
            How many crops; None for all that the atlas holds.

        Returns
        -------
        tuple of StrongCrop
            Strongest first.

        Raises
        ------
        ValueError
            If the atlas does not hold the layer, the unit, or as many crops.
        """
        held = self.peaks.shape[1]
        wanted = held if n is None else n
        if not 1 <= wanted <= held:
            raise ValueError(f"expected n in 1..{held}, which this atlas holds per unit, got {n}")
        names = [one.name for one in self.layers]
        if layer not in names:
            raise ValueError(
                f"no layer {layer!r} in this atlas of {self.net.name}; it holds: {', '.join(names)}"
            )
        number = names.index(layer)
        chosen = self.layers[number]
        _require_unit(chosen, unit)
        feature = sum(one.units for one in self.layers[:number]) + unit
        columns = chosen.spatial[1] if chosen.spatial else 1
        strongest = []
        for activation, image, crop, place in self.peaks[feature, :wanted].tolist():
            position = divmod(place, columns)
            box = receptive_field(self.net, chosen, position)
            pixels = cut_crops(self.data[image], self.crops, self.net.preprocessing)[crop]
            path = self.data.paths[image]
            strongest.append(StrongCrop(image, path, crop, activation, position, box, pixels))
        return tuple(strongest)


def unit_atlas(
    data: ImageDataset,
    net: Backbone,
    *,
    layers: Iterable[str] | str | None = None,
    n: int = 9,
    crops: str = "center",
    progress: bool = True,
    **options: Any,
) -> UnitAtlas:
    """Find the images that activate each unit of a network most, in one pass over a dataset.

    Parameters
    ----------
    data, net
        Images and network.
    layers
        Names of layers; None for the network's default embedding.
    n
        Images per unit (fewer where the dataset is smaller). Of each image only its strongest
        crop counts; equal activations keep the order of the dataset.
    crops, progress, **options
        As in :func:`analysis.extract`; also ``activation``, ``dtype``, ``device``, ``batch_size``.

    Returns
    -------
    UnitAtlas
        Memory holds features × n peaks and a few batches, however large the dataset is.

    Raises
    ------
    ValueError
        If a name is unknown, ``n`` is below 1, there are no images, or an activation is not finite
        (the message names layer and image).
    """
    if n < 1 or len(data) == 0:
        raise ValueError(f"expected n >= 1 and some images, got n={n} and {len(data)} images")
    chosen = net.select(layers)
    engine = Engine(net, chosen, peaks_of, crops=crops, **options)
    n_units = sum(layer.units for layer in chosen)

    def best_crop(images: range, values: list[torch.Tensor]) -> NDArray[np.void]:
        """Peaks of every image and unit: (images, units)."""
        peaks = torch.cat(values, dim=2).view(len(images), -1, n_units, 2)
        highest, crop = peaks[..., 0].max(1)
        table = np.empty(highest.shape, PEAK)
        table["activation"] = highest
        table["image"] = np.asarray(images)[:, None]
        table["crop"] = crop
        table["place"] = peaks[..., 1].gather(1, crop[:, None])[:, 0]
        return table

    best = np.zeros((n_units, min(n, len(data))), PEAK)
    best["activation"] = -np.inf
    described = f"{net.name} on {data.name}"
    with tqdm(total=len(data), desc=described, unit="image", disable=not progress) as bar:
        for batch in engine.run(data, best_crop):
            _keep_strongest(best, batch)
            bar.update(len(batch))
    return UnitAtlas(data, net, crops, chosen, best)


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
        size = "{} × {}".format(*layer.spatial) if layer.spatial else ""
        zeros, mean, largest = map(float, ((values == 0).mean(), values.mean(), values.max()))
        described = (layer.name, layer.kind, layer.units, size)
        rows.append((*described, values.size, zeros, mean, largest))
    columns = ["layer", "kind", "units", "map of a unit", "numbers", "zeros", "mean", "largest"]
    return pd.DataFrame(rows, columns=columns)


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
