"""Which pictures, and where in them, a unit answers to most strongly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from analysis.features.peaks import strongest_peaks
from analysis.features.stream import Device, Engine
from analysis.networks import receptive_field
from analysis.networks.crops import cut_crops

if TYPE_CHECKING:
    import numpy.typing as npt

    from analysis.data import ImageDataset
    from analysis.networks import Backbone, Layer

__all__ = ["StrongCrop", "cut_strongest", "strongest_crops"]


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
        Which crop of the image, from 0, in the order of :mod:`analysis.networks.crops`.
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
    pixels: npt.NDArray[np.uint8]

    @property
    def patch(self) -> npt.NDArray[np.uint8]:
        """The receptive field, cut out of the crop."""
        left, top, right, bottom = self.box
        return self.pixels[top:bottom, left:right]


def strongest_crops(
    data: ImageDataset,
    net: Backbone,
    layer: str,
    units: Sequence[int],
    *,
    n: int = 9,
    crops: str = "center",
    activation: Literal["post", "pre"] = "post",
    dtype: str = "float32",
    device: Device = "auto",
    batch_size: int | None = None,
    progress: bool = True,
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
    n
        Images per unit (fewer where the dataset is smaller). Of each image only its strongest
        crop counts; equal activations keep the order of the dataset.
    crops, activation, dtype, device, batch_size, progress
        As in :func:`analysis.extract`.

    Returns
    -------
    dict
        For every unit, in the order given, its crops, strongest first.

    Raises
    ------
    ValueError
        If a name is unknown, a unit is not in the layer, ``n`` is below 1, or an activation is not
        finite (the message names layer, unit and image).
    """
    chosen = net.select([layer])[0]
    wanted = np.asarray(units, dtype=np.int64).reshape(-1)
    if not wanted.size or wanted.min() < 0 or wanted.max() >= chosen.units:
        raise ValueError(f"expected units of {layer!r} in 0..{chosen.units - 1}, got {list(units)}")
    engine = Engine.choose(device, dtype, crops, net.preprocessing.crop, batch_size)
    peaks = strongest_peaks(
        data, net, (chosen,), engine, n, units=wanted, activation=activation, progress=progress
    )
    return {
        int(unit): cut_strongest(found, data, net, chosen, crops)
        for unit, found in zip(wanted, peaks, strict=True)
    }


def cut_strongest(
    peaks: npt.NDArray[np.void], data: ImageDataset, net: Backbone, layer: Layer, crops: str
) -> tuple[StrongCrop, ...]:
    """Cut the crops that a unit's peaks were found in.

    Parameters
    ----------
    peaks : ndarray of :data:`analysis.features.peaks.PEAK`, shape (n,)
        Peaks of one unit.
    data, net, layer, crops
        What they were found in.
    """
    return tuple(_strong_crop(peak, data, net, layer, crops) for peak in peaks)


def _strong_crop(
    peak: np.void, data: ImageDataset, net: Backbone, layer: Layer, crops: str
) -> StrongCrop:
    image, crop, place = int(peak["image"]), int(peak["crop"]), int(peak["place"])
    columns = layer.spatial[1] if layer.spatial else 1
    position = (place // columns, place % columns)
    return StrongCrop(
        image=image,
        path=data.paths[image],
        crop=crop,
        activation=float(peak["activation"]),
        position=position,
        box=receptive_field(net, layer, position),
        pixels=cut_crops(data[image], crops, net.preprocessing)[crop],
    )
