"""An atlas of a network: the images that each of its units answers to most strongly.

Garcia-Gasulla et al. (2018), section 5, show for a feature the images of highest activation, so
that a reader sees what it stands for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from analysis.features.peaks import strongest_peaks
from analysis.features.stream import Device, Engine
from analysis.features.strongest import StrongCrop, cut_strongest

if TYPE_CHECKING:
    import numpy.typing as npt

    from analysis.data import ImageDataset
    from analysis.networks import Backbone, Layer

__all__ = ["UnitAtlas", "unit_atlas"]


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
    peaks : ndarray of :data:`analysis.features.peaks.PEAK`, shape (features, n)
        Activation, image, crop and place in the map, strongest first.
    """

    data: ImageDataset
    net: Backbone
    crops: str
    layers: tuple[Layer, ...]
    peaks: npt.NDArray[np.void]

    @property
    def activations(self) -> npt.NDArray[np.float32]:
        """Highest values, (features, n)."""
        return self.peaks["activation"]

    @property
    def images(self) -> npt.NDArray[np.int32]:
        """Positions in the dataset, (features, n)."""
        return self.peaks["image"]

    @property
    def crop_numbers(self) -> npt.NDArray[np.int32]:
        """Which crop of the image, from 0, (features, n)."""
        return self.peaks["crop"]

    @property
    def places(self) -> npt.NDArray[np.int32]:
        """Positions in the maps, counted row by row, (features, n)."""
        return self.peaks["place"]

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
        chosen, first = self._find(layer)
        if not 0 <= unit < chosen.units:
            raise ValueError(f"expected a unit of {layer!r} in 0..{chosen.units - 1}, got {unit}")
        peaks = self.peaks[first + unit, :wanted]
        return cut_strongest(peaks, self.data, self.net, chosen, self.crops)

    def _find(self, name: str) -> tuple[Layer, int]:
        """Layer by name, and the feature that is its first unit."""
        first = 0
        for layer in self.layers:
            if layer.name == name:
                return layer, first
            first += layer.units
        known = ", ".join(layer.name for layer in self.layers)
        raise ValueError(f"no layer {name!r} in this atlas of {self.net.name}; it holds: {known}")


def unit_atlas(
    data: ImageDataset,
    net: Backbone,
    *,
    layers: Iterable[str] | str | None = None,
    n: int = 9,
    crops: str = "center",
    activation: Literal["post", "pre"] = "post",
    dtype: str = "float32",
    device: Device = "auto",
    batch_size: int | None = None,
    progress: bool = True,
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
    crops, activation, dtype, device, batch_size, progress
        As in :func:`analysis.extract`.

    Returns
    -------
    UnitAtlas
        Memory holds features × n peaks and a few batches, however large the dataset is.

    Raises
    ------
    ValueError
        If a name is unknown, ``n`` is below 1, there are no images, or an activation is not finite
        (the message names layer, unit and image).
    """
    chosen = net.select(layers)
    engine = Engine.choose(device, dtype, crops, net.preprocessing.crop, batch_size)
    peaks = strongest_peaks(data, net, chosen, engine, n, activation=activation, progress=progress)
    return UnitAtlas(data, net, crops, chosen, peaks)
