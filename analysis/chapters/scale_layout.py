"""What a large run is to compute, and how its features would lie in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from analysis.features.store import CHUNK_BYTES, block_rows

__all__ = ["BYTES", "Layout", "Run", "layout_of"]

BYTES = 4
"""Of a value, before compression."""


@dataclass(frozen=True)
class Run:
    """What is to be computed.

    Attributes
    ----------
    n_images, n_classes : int
        Images lie class by class, as in a folder.
    layers : mapping of str to int
        Features of every layer, by name, in order.
    images_per_batch : int
        Images of one forward pass.
    weights : int
        Bytes of the network's parameters.
    n_shuffles, bins, n_landmarks : int
        Of thresholds, of distances on bins, of TCA.
    """

    n_images: int
    n_classes: int
    layers: Mapping[str, int]
    images_per_batch: int = 1
    weights: int = 0
    n_shuffles: int = 5
    bins: int = 100
    n_landmarks: int = 1000

    @property
    def n_features(self) -> int:
        """Features of all layers."""
        return sum(self.layers.values())

    @property
    def n_values(self) -> int:
        """Features of all images."""
        return self.n_images * self.n_features


class Layout(NamedTuple):
    """How the features of a run lie in the store.

    Attributes
    ----------
    rows : int
        Images of a block, which one task extracts.
    blocks, chunks : int
        How many.
    columns : tuple of int
        Features of every column of chunks.
    """

    rows: int
    blocks: int
    chunks: int
    columns: tuple[int, ...]


def layout_of(run: Run) -> Layout:
    """Cut the features of a run as the store does."""
    rows = block_rows(run.n_features, run.images_per_batch)
    widest = max(1, CHUNK_BYTES // (BYTES * rows))
    columns = tuple(
        min(widest, length - first)
        for length in run.layers.values()
        for first in range(0, length, widest)
    )
    blocks = ceil(run.n_images / rows)
    return Layout(rows, blocks, blocks * len(columns), columns)
