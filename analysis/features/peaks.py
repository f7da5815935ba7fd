"""The highest value of every unit in every image, of which the best are kept in passing.

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

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from tqdm.auto import tqdm

if TYPE_CHECKING:
    import numpy.typing as npt

    from analysis.data import ImageDataset
    from analysis.features.stream import Engine
    from analysis.networks import Backbone, Layer

__all__ = ["PEAK", "strongest_peaks"]

#: Highest value of a unit in an image: its image, crop of the image, and place in the map.
PEAK = np.dtype(
    [("activation", np.float32), ("image", np.int32), ("crop", np.int32), ("place", np.int32)]
)

_UNITS_LAST = {"nchw": (0, 2, 3, 1), "nhwc": (0, 1, 2, 3), "tokens": (0, 1, 2)}


def strongest_peaks(
    data: ImageDataset,
    net: Backbone,
    layers: tuple[Layer, ...],
    engine: Engine,
    n: int,
    *,
    units: npt.NDArray[np.int64] | None = None,
    activation: Literal["post", "pre"] = "post",
    progress: bool = True,
) -> npt.NDArray[np.void]:
    """Find the images in which units reach their highest values, in one pass for all of them.

    Parameters
    ----------
    data, net, layers, engine, activation
        What to compute, and how.
    n
        Images per unit.
    units : ndarray of int64, shape (features,)
        Units to keep, numbered through over all layers; None for all.
    progress
        Show a progress bar.

    Returns
    -------
    ndarray of :data:`PEAK`, shape (features, min(n, images))
        Strongest first. While images stream by, memory holds this table and a few batches.

    Raises
    ------
    ValueError
        If ``n`` is below 1, there are no images, or a value is not finite (the message names layer,
        unit and image).
    """
    if n < 1 or len(data) == 0:
        raise ValueError(f"expected n >= 1 and some images, got n={n} and {len(data)} images")
    everything = np.arange(sum(layer.units for layer in layers))
    numbers = everything if units is None else units

    def best_crop(images: range, found: list[torch.Tensor]) -> npt.NDArray[np.void]:
        """Peaks of every image and unit: (images, features)."""
        peaks = torch.cat(found, dim=2).view(len(images), -1, len(everything), 2)
        if units is not None:
            peaks = peaks[:, :, units]
        highest, crop = peaks[..., 0].max(1)
        table = np.empty(highest.shape, PEAK)
        table["activation"] = highest
        table["image"] = np.asarray(images)[:, None]
        table["crop"] = crop
        table["place"] = peaks[..., 1].gather(1, crop[:, None])[:, 0]
        _require_finite(table, data, layers, numbers)
        return table

    best = np.zeros((len(numbers), min(n, len(data))), PEAK)
    best["activation"] = -np.inf
    batches = engine.run(data, net, layers, peaks_of, best_crop, activation=activation)
    described = f"{net.name} on {data.name}"
    with tqdm(total=len(data), desc=described, unit="image", disable=not progress) as bar:
        for batch in batches:
            _keep_strongest(best, batch)
            bar.update(len(batch))
    return best


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
        rows = values.permute(_UNITS_LAST[layer.layout]).flatten(1, -2)
        if rows.device.type == "cpu" and rows.is_contiguous():
            highest, place = _scanned(rows.float())
        else:
            highest, place = rows.max(1)
    return torch.stack([highest.float(), place.float()], dim=-1).flatten(1)


def _scanned(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Like ``rows.max(1)`` for (crops, places, units), ten times as fast where units lie together.

    PyTorch follows one unit at a time, through memory that holds all of them side by side.
    """
    highest = rows[:, 0].clone()
    place = torch.zeros(highest.shape, dtype=torch.int32)
    _compiled_scan()(rows.numpy(), highest.numpy(), place.numpy())
    return highest, place


@cache
def _compiled_scan() -> Callable[..., None]:
    import numba  # takes a second to load, which only a search for peaks should pay

    compiled: Callable[..., None] = numba.njit(nogil=True)(_scan)
    return compiled


def _scan(
    rows: npt.NDArray[np.float32], highest: npt.NDArray[np.float32], places: npt.NDArray[np.int32]
) -> None:
    """Raise ``highest`` to the highest of each unit's values, all units abreast; NaN is highest."""
    for i in range(rows.shape[0]):
        best, place = highest[i], places[i]
        for p in range(1, rows.shape[1]):
            row = rows[i, p]
            for unit in range(row.size):
                higher = row[unit] > best[unit] or row[unit] != row[unit]
                best[unit] = row[unit] if higher else best[unit]
                place[unit] = p if higher else place[unit]


def _keep_strongest(best: npt.NDArray[np.void], batch: npt.NDArray[np.void]) -> None:
    """Merge a batch, (images, features), into the table of the best, (features, n)."""
    changed = (batch["activation"] > best["activation"][:, -1]).any(0)
    joined = np.concatenate([best[changed], batch.T[changed]], axis=1)
    order = np.argsort(-joined["activation"], axis=1, kind="stable")[:, : best.shape[1]]
    best[changed] = np.take_along_axis(joined, order, axis=1)


def _require_finite(
    table: npt.NDArray[np.void],
    data: ImageDataset,
    layers: tuple[Layer, ...],
    numbers: npt.NDArray[np.int64],
) -> None:
    bad = ~np.isfinite(table["activation"])
    if not bad.any():
        return
    row, column = np.argwhere(bad)[0]
    worst, number = table[row, column], int(numbers[column])
    for layer in layers:
        if number < layer.units:
            break
        number -= layer.units
    raise ValueError(
        f"expected finite activations, got {worst['activation']} from unit {number} of layer "
        f"{layer.name!r} for image {data.paths[worst['image']]!r}; check the network's weights"
    )
