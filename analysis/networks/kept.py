"""What frozen layers answer to images, computed once and kept for every epoch.

An image goes through frozen layers alone: on a CPU a convolution of a batch may differ in its last
bits with the number of images in it. So what is kept is what would be computed again, bit for bit,
whatever batch an image comes in.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from tqdm.auto import tqdm

from analysis.networks.augmentation import channel_statistics
from analysis.networks.crops import cut_crops
from analysis.networks.preprocessing import Preprocessing

if TYPE_CHECKING:
    from analysis.data import ImageDataset

__all__ = ["Examples", "Way", "shown"]


@dataclass(frozen=True)
class Way:
    """How images come to the layers that learn.

    Attributes
    ----------
    preprocessing, crops
        How they are cut and normalised, see :mod:`analysis.networks.crops`.
    front
        The frozen layers, see :func:`analysis.networks.freezing.cut_before`; None for none.
    cache
        Keep what the frozen layers give; else only the pixels, and compute it for every step.
    memory
        Bytes up to which a dataset is kept in memory; what is larger goes to a file without a name,
        which the system removes when the process ends, however it ends.
    folder
        Of that file; None for the system's folder of temporary files.
    """

    preprocessing: Preprocessing
    crops: str
    front: nn.Module | None
    cache: bool
    memory: int
    folder: Path | None


def shown(pixels: npt.NDArray[np.uint8], preprocessing: Preprocessing) -> torch.Tensor:
    """Normalise crops (n, side, side, 3): what the network sees, (n, 3, side, side), float32."""
    mean, std = channel_statistics(preprocessing)
    values = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float()
    return (values.div_(255) - mean) / std


class Examples:
    """Images of a dataset as the layers that learn are given them.

    Parameters
    ----------
    data
        At least one image; each is opened once.
    way
        How they come.
    progress
        Show a progress bar.
    """

    def __init__(self, data: ImageDataset, way: Way, *, progress: bool = False) -> None:
        self.labels = torch.from_numpy(np.array(data.labels))
        self._way = way
        self._kept: list[npt.NDArray[np.generic]] = []
        rows = tqdm(
            self._rows(data), desc=data.name, total=len(data), unit="image", disable=not progress
        )
        for number, row in enumerate(rows):
            if not self._kept:
                shapes = [((len(data), *one.shape), one.dtype) for one in row]
                n_bytes = sum(prod(shape) * dtype.itemsize for shape, dtype in shapes)
                in_memory = n_bytes <= way.memory
                self._kept = [_room(shape, dtype, in_memory, way.folder) for shape, dtype in shapes]
            for kept, one in zip(self._kept, row, strict=True):
                kept[number] = one

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, chosen: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Give what the layers that learn are shown of some images, by position."""
        way, rows = self._way, [kept[chosen.numpy()] for kept in self._kept]
        if way.front is not None and way.cache:
            return tuple(torch.from_numpy(values) for values in rows)
        (pixels,) = rows
        images = shown(pixels, way.preprocessing)
        if way.front is None:
            return (images,)
        singly = [_passed(way.front, image) for image in torch.split(images, 1)]
        return tuple(torch.cat(parts) for parts in zip(*singly, strict=True))

    def _rows(self, data: ImageDataset) -> Iterator[list[npt.NDArray[np.generic]]]:
        """Compute what is kept of every image."""
        way = self._way
        for image in data:
            pixels = cut_crops(image, way.crops, way.preprocessing)
            if way.front is None or not way.cache:
                yield [pixels[0]]
            else:
                passed = _passed(way.front, shown(pixels, way.preprocessing))
                yield [values[0].numpy() for values in passed]


def _passed(front: nn.Module, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
    with torch.no_grad():
        passed: tuple[torch.Tensor, ...] = front(image)
    return passed


def _room(
    shape: tuple[int, ...], dtype: np.dtype[np.generic], in_memory: bool, folder: Path | None
) -> npt.NDArray[np.generic]:
    if in_memory:
        return np.empty(shape, dtype)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:  # the array keeps it open, without a name
        return np.memmap(file, dtype, "w+", shape=shape)
