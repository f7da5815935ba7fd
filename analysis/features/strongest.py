"""Which pictures, and where in them, a unit answers to most strongly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from tqdm.auto import tqdm

from analysis.features.crops import cut_crops
from analysis.features.stream import Engine
from analysis.networks import receptive_field

if TYPE_CHECKING:
    import numpy.typing as npt

    from analysis.data import ImageDataset
    from analysis.networks import Backbone, Layer

__all__ = ["StrongCrop", "strongest_crops"]

_UNITS_LAST = {"nchw": (0, 2, 3, 1), "nhwc": (0, 1, 2, 3), "tokens": (0, 1, 2)}


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
        Which crop of the image, from 0, in the order of :mod:`analysis.features.crops`.
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
    device: str = "auto",
    batch_size: int | None = None,
    progress: bool = True,
) -> dict[int, tuple[StrongCrop, ...]]:
    """Find the images to which units answer most strongly, in one pass for all units.

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
        If a name is unknown, a unit is not in the layer, or ``n`` is below 1.
    """
    chosen = net.select([layer])[0]
    wanted = np.asarray(units, dtype=np.int64).reshape(-1)
    if not wanted.size or wanted.min() < 0 or wanted.max() >= chosen.units:
        raise ValueError(f"expected units of {layer!r} in 0..{chosen.units - 1}, got {list(units)}")
    if n < 1 or len(data) == 0:
        raise ValueError(f"expected n >= 1 and some images, got n={n} and {len(data)} images")
    engine = Engine.choose(device, dtype, crops, net.preprocessing.crop, batch_size)

    def best_crop(images: range, found: list[torch.Tensor]) -> npt.NDArray[np.float64]:
        """Value, crop and place for every image and unit: (images, units, 3)."""
        peaks = found[0].view(len(images), -1, chosen.units, 2)[:, :, wanted]
        values, crop = peaks[..., 0].max(1)
        places = peaks[..., 1].gather(1, crop[:, None])[:, 0]
        return np.stack([part.numpy().astype(float) for part in (values, crop, places)], axis=-1)

    batches = engine.run(data, net, (chosen,), _peaks, best_crop, activation=activation)
    table = np.empty((len(data), wanted.size, 3))
    done = 0
    with tqdm(total=len(data), desc=f"{net.name} {layer}", disable=not progress) as bar:
        for batch in batches:
            table[done : done + len(batch)] = batch
            done += len(batch)
            bar.update(len(batch))
    return {
        int(unit): _ranked(table[:, column], data, net, chosen, crops, n)
        for column, unit in enumerate(wanted)
    }


def _peaks(values: torch.Tensor, layer: Layer) -> torch.Tensor:
    """Highest value of every unit and its place, in turns: (crops, 2 x units)."""
    if layer.layout == "vector":
        values = values[:, None]
    else:
        values = values.permute(_UNITS_LAST[layer.layout]).flatten(1, -2)
    highest, place = values.max(1)
    return torch.stack([highest.float(), place.float()], dim=-1).flatten(1)


def _ranked(
    table: npt.NDArray[np.float64],
    data: ImageDataset,
    net: Backbone,
    layer: Layer,
    crops: str,
    n: int,
) -> tuple[StrongCrop, ...]:
    """Build the strongest crops of one unit from (images, 3): value, crop, place."""
    order = np.argsort(-table[:, 0], kind="stable")[:n]
    return tuple(_strong_crop(int(i), table[i], data, net, layer, crops) for i in order)


def _strong_crop(
    image: int,
    found: npt.NDArray[np.float64],
    data: ImageDataset,
    net: Backbone,
    layer: Layer,
    crops: str,
) -> StrongCrop:
    crop, place = int(found[1]), int(found[2])
    columns = layer.spatial[1] if layer.spatial else 1
    position = (place // columns, place % columns)
    return StrongCrop(
        image=image,
        path=data.paths[image],
        crop=crop,
        activation=float(found[0]),
        position=position,
        box=receptive_field(net, layer, position),
        pixels=cut_crops(data[image], crops, net.preprocessing)[crop],
    )
