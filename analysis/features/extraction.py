"""Features of images: every chosen layer from one forward pass, streamed to the store.

They are computed by blocks of images, in this process or on the workers of a cluster. A block is
computed from its images alone and written to chunks of its own, so that it can be done anywhere, in
any order, and again if a worker is lost. It gives the same bits wherever it is computed by like
processors and versions: batches are cut by position, and every pass uses as many threads as it
would in one process. All processes see the same files under the same names.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from tqdm.auto import tqdm

from analysis import paths
from analysis.cluster import map_in_order
from analysis.features.pooling import Pooling
from analysis.features.probe import Probe
from analysis.features.store import (
    BlockWriter,
    Builder,
    block_rows,
    key_of,
    locked,
    open_features,
)
from analysis.features.stream import Device, Engine
from analysis.networks.trace import record

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr
    from distributed import Client

    from analysis.data import ImageDataset
    from analysis.networks import Backbone

_PACKAGES = ("numpy", "pillow")


def extract(
    data: ImageDataset,
    net: Backbone,
    *,
    crops: str = "ten",
    layers: Iterable[str] | str | None = None,
    pooling: str = "mean",
    activation: Literal["post", "pre"] = "post",
    dtype: Literal["float32", "bfloat16"] = "float32",
    device: Device = "auto",
    batch_size: int | None = None,
    store: str | Path | None = None,
    progress: bool = True,
    client: Client | None = None,
    tokens: Literal["mean", "class", "all"] = "mean",
) -> xr.DataArray:
    """Compute the features of images, or open them if they were computed before.

    Parameters
    ----------
    data
        Images, from :func:`analysis.load_dataset`.
    net
        Network, from :func:`analysis.load_backbone`.
    crops
        ``"ten"`` (features are averaged over the crops), ``"center"``, ``"warp"`` or
        ``"whole"``, see :mod:`analysis.networks.preprocessing`.
    layers
        Names of layers; None for the network's default embedding.
    pooling
        ``"mean"``, ``"none"``, ``"flatten:100"`` or ``"grid:2"``, see
        :mod:`analysis.features.pooling`.
    activation
        ``"post"``: after the activation function; ``"pre"``: before it.
    dtype
        Arithmetic of the forward pass. ``"bfloat16"`` is about twice as fast on processors that
        have it, with about three significant digits.
    device
        ``"auto"`` (``cuda`` where there is one, else ``cpu``), ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
    batch_size
        Crops per forward pass; None for 4 of 224 × 224 pixels on a CPU and 160 on CUDA, more of
        smaller ones.
    store
        Folder of the feature store; None for :func:`analysis.paths.store_root`.
    progress
        Show a progress bar.
    client
        A cluster whose workers compute the features, block by block, see
        :func:`analysis.cluster.connect`; None for this process. They see the images and the store
        under the same names, and have the device. Each of their threads runs one forward pass, as
        one of this process would: the same bits come out.
    tokens
        What is taken of a transformer's tokens: ``"mean"`` of those of the image, ``"class"`` (the
        class token) or ``"all"``, see :mod:`analysis.features.pooling`.

    Returns
    -------
    DataArray of float32, dims (image, feature)
        Lazy, backed by Dask and the store. Coordinates: ``label``, ``path`` (image); ``layer``,
        ``unit`` (feature; from 0 within its layer, order as in :mod:`analysis.features.pooling`).
        ``attrs`` hold the provenance.

    Raises
    ------
    ValueError
        For names that are not known, a device that is not there, values that are not finite (the
        message names image and layer), or a network that draws random numbers.
        Also if a newer Layerbook has written what is in the store.
    OSError
        If an image cannot be read, or has changed since its dataset was opened (the message names
        it), the disk has no room, or what is in the store is damaged.

    Notes
    -----
    An interrupted extraction continues where it stopped, in one process or on a cluster, wherever
    it was begun. Bits are the same for equal batch size,
    threads, device and versions, all of which are in ``attrs``; what is in the store is found again
    whatever these were. Values of crops are averaged in float32.

    What a network computes is part of what features are found again by: its weights, and the
    operations of a recorded forward pass with their constants. What those might not tell (a branch
    that values decide) one picture does, whose features are kept with the others and compared. That
    costs one forward pass of one crop, and two more before anything is computed.
    """
    if len(data) == 0:
        raise ValueError(f"dataset {data.name!r} holds no images")
    pool = Pooling.parse(pooling, tokens)
    chosen = net.select(layers)
    lengths = {layer.name: pool.length(layer) for layer in chosen}
    engine = Engine(
        net,
        chosen,
        pool.inside_hook,
        activation=activation,
        dtype=dtype,
        device=device,
        crops=crops,
        batch_size=batch_size,
    )
    trace = record(net.module, (2, 3, net.preprocessing.crop, net.preprocessing.crop))
    meant = {
        "fingerprint": data.fingerprint,
        "network": net.name,
        "weights_hash": net.weights_hash,
        "architecture": trace.digest(),
        "taps": {layer.name: [asdict(tap) for tap in layer.taps(activation)] for layer in chosen},
        "order": [layer.name for layer in chosen],
        "preprocessing": asdict(net.preprocessing),
        "crops": crops,
        "pooling": pooling,
        "tokens": tokens,
        "activation": activation,
        "dtype": dtype,
    }
    probe = Probe(engine)
    folder = (Path(store) if store is not None else paths.store_root()).absolute()
    plain_name = re.sub(r"[^A-Za-z0-9_.-]+", "-", net.name)
    for twin in count():  # networks that only the probe can tell apart
        key = key_of({**meant, "twin": twin})
        group = folder / f"{plain_name}-{crops}-{key[:20]}.zarr"
        if not group.is_dir():  # only finished groups bear their final name
            with locked(group):
                if not group.is_dir():
                    probe.require_repeatable(trace)
                    rows = block_rows(sum(lengths.values()), engine.images_per_batch)
                    attributes = {**_provenance(data, engine, meant, key), **probe.attributes}
                    builder = Builder(group, data, lengths, attributes, rows)
                    job = Job(data, engine, pool, builder.writer)
                    _compute(builder, job, client, progress)
                    builder.finish()
        if probe.agrees(group):
            return open_features(group, data.labels)
    raise AssertionError  # the loop ends by itself


def _compute(builder: Builder, job: Job, client: Client | None, progress: bool) -> None:
    blocks = builder.missing
    done = job.run(blocks) if client is None else map_in_order(client, job, blocks)
    with (
        closing(done),
        tqdm(
            total=builder.n_images,
            initial=builder.n_images - sum(map(len, blocks)),
            desc=f"{job.engine.net.name} on {job.data.name}",
            unit="image",
            disable=not progress,
        ) as bar,
    ):
        for n_images in done:
            bar.update(n_images)


def _provenance(
    data: ImageDataset, engine: Engine, meant: dict[str, Any], key: str
) -> dict[str, Any]:
    """Where the features come from: flat and JSON-able."""
    net = engine.net
    device = engine.device.type
    if device == "cuda":
        device = f"cuda ({torch.cuda.get_device_name(engine.device)})"
    flat = {name: value for name, value in meant.items() if isinstance(value, str)}
    shown = json.loads(json.dumps(meant["preprocessing"]))  # lists instead of tuples
    return {
        "dataset": data.name,
        "skipped_images": len(data.skipped),
        "weights": net.weights,
        **flat,
        **{f"preprocessing_{k}": v for k, v in shown.items()},
        **{f"network_{k}": v for k, v in net.provenance.items()},
        "device": device,
        "batch_size": engine.batch_size,
        "threads": engine.threads,
        "version_torch": str(torch.__version__),  # with its build, on which bits depend
        **{f"version_{package}": version(package) for package in _PACKAGES},
        "key": key,
    }


@dataclass(frozen=True, eq=False)
class Job:
    """What is computed of which images, and where it is written; can be sent to workers."""

    data: ImageDataset
    engine: Engine
    pool: Pooling
    writer: BlockWriter

    def __call__(self, block: range) -> int:
        """Compute and write a block on a worker, unless that was done; its number of images."""
        if not self.writer.group.is_dir():
            raise FileNotFoundError(
                f"a worker does not find {self.writer.group}: all workers must see the store, and "
                "the images, under the same names as the caller"
            )
        if not self.writer.is_done(block):
            # One pass in each thread of the worker.
            deque(self.run([block], passes=1), maxlen=0)
        return len(block)

    def run(self, blocks: Sequence[range], passes: int | None = None) -> Generator[int]:
        """Compute and write blocks one after another, ``passes`` batches at once.

        Yields
        ------
        int
            Images in a batch that was computed. No batch is of two blocks.

        Raises
        ------
        ValueError
            If values are not finite.
        OSError
            If an image cannot be read, or is not the one that the fingerprint has seen.
        """
        batches = self.engine.run(
            self.data, self._averaged, parts=blocks, read=self.data.verified, passes=passes
        )
        with closing(batches):
            for block in blocks:
                parts: list[npt.NDArray[np.float32]] = []
                while sum(map(len, parts)) < len(block):
                    parts.append(next(batches))
                    yield len(parts[-1])
                self.writer.write(block, np.concatenate(parts))

    def _averaged(self, images: range, values: list[torch.Tensor]) -> npt.NDArray[np.float32]:
        """Mean over the crops of every image, shape (images, features)."""
        pairs = zip(values, self.engine.layers, strict=True)
        pooled = [self.pool.after(value.flatten(0, 1), layer) for value, layer in pairs]
        features = torch.cat(pooled, dim=1)
        return features.view(len(images), -1, features.shape[1]).mean(1).numpy()
