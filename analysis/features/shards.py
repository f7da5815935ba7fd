"""Features by blocks of images: in this process, or on the workers of a cluster.

A block is computed from its images alone and written to chunks of its own, so that it can be done
anywhere, in any order, and again if a worker is lost. All processes see the same files under the
same names. A block gives the same bits wherever it is computed by like processors and versions:
batches are cut by position, and every pass uses as many threads as it would in one process.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
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
        What to compute. It travels once to every worker, as a file beside the unfinished group.
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
    from distributed.protocol.pickle import dumps

    # One pass for each thread of the workers.
    content = dumps(replace(job, engine=replace(job.engine, passes=1)))
    file = writer.folder / "job"
    file.write_bytes(content)
    shard = partial(_shard, file, hashlib.sha256(content).hexdigest(), writer)
    with closing(map_in_order(client, shard, blocks)) as done:
        for block in done:
            count(len(block))
            yield block


def _shard(file: Path, content_hash: str, writer: BlockWriter, block: range) -> range:
    """On a worker: compute and write a block, unless that was done."""
    if not writer.is_done(block):
        awake = _awake(file, content_hash)
        writer.write(block, np.concatenate(list(awake.batches(block))))
    return block


class _Awake:
    """A job on a worker, with networks that are ready to run: one for each of its threads."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._idle: SimpleQueue[Forwards] = SimpleQueue()

    def batches(self, block: range) -> Iterator[npt.NDArray[np.float32]]:
        try:
            forwards = self._idle.get_nowait()
        except Empty:
            forwards = self._job.prepare()
        yield from self._job.batches([block], forwards)
        self._idle.put(forwards)


_ONE_WAKES = threading.Lock()


def _awake(file: Path, content_hash: str) -> _Awake:
    """Read the job of a file: once on every worker."""
    with _ONE_WAKES:
        return _read(file, content_hash)


@lru_cache(maxsize=1)
def _read(file: Path, content_hash: str) -> _Awake:
    from distributed.protocol.pickle import loads

    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"a worker does not find {file}: all workers must see the store, and the images, under "
            "the same names as the caller"
        ) from error
    # Only what the caller has written is unpickled.
    if hashlib.sha256(content).hexdigest() != content_hash:
        raise OSError(f"{file} is not what was written; say the same again")
    job = loads(content)
    if not isinstance(job, Job):
        raise TypeError(f"expected a job in {file}, found {type(job).__name__}")
    return _Awake(job)


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
