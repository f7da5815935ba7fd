"""Features by blocks of images: in this process, or on the workers of a cluster.

A block is computed from its images alone and written to chunks of its own, so that it can be done
anywhere, in any order, and again if a worker is lost. All processes see the same files under the
same names. A block gives the same bits wherever it is computed by like processors and versions:
batches are cut by position, and every pass uses as many threads as it would in one process.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from analysis.cluster import map_in_order
from analysis.features.pooling import Pooling
from analysis.features.store import BlockWriter
from analysis.features.stream import Engine, Forwards

if TYPE_CHECKING:
    import numpy.typing as npt
    from distributed import Client

    from analysis.data import ImageDataset
    from analysis.networks import Backbone, Layer

__all__ = ["Job", "on_cluster"]


@dataclass(frozen=True, eq=False)
class Job:
    """What is to be computed of which images."""

    data: ImageDataset
    net: Backbone
    layers: tuple[Layer, ...]
    pool: Pooling
    engine: Engine
    activation: Literal["post", "pre"]

    def prepare(self) -> Forwards:
        """Networks to run, see :meth:`Engine.prepare`."""
        return self.engine.prepare(self.net, self.layers, self.pool.inside_hook, self.activation)

    def batches(
        self, blocks: Sequence[range], forwards: Forwards | None = None
    ) -> Generator[npt.NDArray[np.float32]]:
        """Features of the images of some blocks, batch by batch.

        Yields
        ------
        ndarray of float32, shape (images, features)
            The layers side by side. No batch is of two blocks.

        Raises
        ------
        ValueError
            If values are not finite.
        OSError
            If an image cannot be read, or is not the one that the fingerprint has seen.
        """
        return self.engine.run(
            self.data,
            self.net,
            self.layers,
            self.pool.inside_hook,
            self._averaged,
            activation=self.activation,
            parts=blocks,
            read=self.data.verified,
            forwards=forwards,
        )

    def _averaged(self, images: range, values: list[torch.Tensor]) -> npt.NDArray[np.float32]:
        """Mean over the crops of every image, shape (images, features)."""
        pairs = zip(values, self.layers, strict=True)
        pooled = [self.pool.after(value.flatten(0, 1), layer) for value, layer in pairs]
        _require_finite(pooled, self.layers, self.data, images)
        features = torch.cat(pooled, dim=1)
        return features.view(len(images), -1, features.shape[1]).mean(1).numpy()


def on_cluster(
    client: Client,
    job: Job,
    writer: BlockWriter,
    blocks: Sequence[range],
    count: Callable[[int], object],
) -> Generator[range]:
    """Compute and write blocks by the workers of a cluster.

    Parameters
    ----------
    client
        The cluster.
    job
        What to compute. It travels once to every worker.
    writer
        Of the group.
    blocks
        What to compute of it.
    count
        Called with the number of images of every block that is written.

    Yields
    ------
    range
        Every block, in order, when it is written.

    Raises
    ------
    Exception
        As :meth:`Job.batches` and :func:`analysis.cluster.map_in_order`.
    """
    # One pass for each thread of the workers.
    shard = _Shard(replace(job, engine=replace(job.engine, passes=1)), writer)
    with closing(map_in_order(client, shard, blocks)) as done:
        for block in done:
            count(len(block))
            yield block


class _Shard:
    """On a worker: a job, with networks that are ready to run, one for each of its threads."""

    def __init__(self, job: Job, writer: BlockWriter) -> None:
        self._job, self._writer = job, writer
        self._idle: SimpleQueue[Forwards] = SimpleQueue()

    def __reduce__(self) -> tuple[type[_Shard], tuple[Job, BlockWriter]]:
        return _Shard, (self._job, self._writer)

    def __call__(self, block: range) -> range:
        """Compute and write a block, unless that was done."""
        if not self._writer.group.is_dir():
            raise FileNotFoundError(
                f"a worker does not find {self._writer.group}: all workers must see the store, and "
                "the images, under the same names as the caller"
            )
        if not self._writer.is_done(block):
            try:
                forwards = self._idle.get_nowait()
            except Empty:
                forwards = self._job.prepare()
            self._writer.write(block, np.concatenate([*self._job.batches([block], forwards)]))
            self._idle.put(forwards)
        return block


def _require_finite(
    pooled: Sequence[torch.Tensor],
    layers: tuple[Layer, ...],
    data: ImageDataset,
    images: range,
) -> None:
    for values, layer in zip(pooled, layers, strict=True):
        # A sum is finite only if all its terms are: one pass, and no array of booleans.
        if torch.isfinite(values.sum(dtype=torch.float64)):
            continue
        bad = ~torch.isfinite(values).all(1)
        image = images[int(bad.nonzero()[0]) * len(images) // len(values)]
        raise ValueError(
            f"layer {layer.name!r} gives values that are not finite for image "
            f"{data.paths[image]!r}; check the network's weights"
        )
