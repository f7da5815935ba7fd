"""What a run takes that is too large to be tried: a model of bytes, passes, time, memory and cost.

Conventions
-----------
value
    One feature of one image, 4 bytes before compression. Most stages take as many core-seconds as
    they meet values, each at its own rate.
core-second
    A second of one core. Time by the clock is core-seconds over workers of one core each, and no
    less than the bytes that are read and written over the rate of the disk that all of them share.
    That workers are all busy and nothing is done twice is assumed; a cluster's own overhead is
    measured by the benchmarks.
passes
    How often a stage meets every value. It is above one where a column of chunks is wider than a
    block may be: each block then reads the whole chunks, and uses its part of them.

Layout, blocks and groups are not assumed: they are asked of the functions that cut them. Rates are
measured by ``python -m benchmarks.scale``, which writes them to ``benchmarks/rates.json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import dask.array
import numpy as np
import pandas as pd
import xarray as xr

from analysis.features.store import CHUNK_BYTES, block_rows
from analysis.statistics.blocks import BLOCK_VALUES, bounds_of
from analysis.statistics.histograms import feature_groups

BYTES = 4
"""Of a value, before compression."""


STAGES = (
    "extraction",
    "exact distances",
    "distances on bins, from shards",
    "thresholds",
    "TCA by landmarks",
)
_ROWS = 2048  # samples whose kernel values are held at once
_GAMMA = 2000  # samples whose distances give a kernel's width
_PASS_BYTES = 10**9  # of a forward pass, over the network's weights: the benchmarks' bound


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


@dataclass(frozen=True)
class Rates:
    """What was measured: core-seconds, a share, and bytes per second.

    Attributes
    ----------
    image : float
        Core-seconds to decode an image, compute its features and store them.
    read, exact, rank, compare, extent, count : float
        Core-seconds per value: to read it from the store; for the exact distances; to sort it for
        many labellings, and for the distances under each; for the range of its feature, and to
        count it into a bin.
    settle : float
        Core-seconds per distance, for the thresholds from all of them; by the caller alone.
    merge : float
        Core-seconds per count of a shard, to send it and to add it to those of all images.
    table : float
        Core-seconds per feature, bin and class, for the distances from counts.
    prepare, landmark : float
        Core-seconds per value of samples and landmarks that come together, and per value and
        landmark, for kernel values.
    product : float
        Core-seconds per image and pair of landmarks.
    small : float
        Core-seconds of the eigenproblems of 1,000 landmarks; it grows with their cube.
    stored : float
        Bytes in the store over bytes of values.
    disk_read, disk_write : float
        Bytes per second.
    """

    image: float
    read: float
    exact: float
    rank: float
    compare: float
    extent: float
    count: float
    settle: float
    merge: float
    table: float
    prepare: float
    landmark: float
    product: float
    small: float
    stored: float
    disk_read: float
    disk_write: float


def read_rates(
    file: Path, crops: str, **about: Any
) -> tuple[dict[str, str], dict[str, tuple[Run, Rates]]]:
    """Read what was measured, and make a run of every network that was.

    Parameters
    ----------
    file
        ``benchmarks/rates.json``.
    crops
        As for :func:`analysis.extract`.
    **about
        Of the run, as for :class:`Run`.

    Returns
    -------
    measured : dict
        When and where: ``date``, ``processor``, ``dataset`` and ``network`` (of the features that
        others were drawn like).
    runs : dict
        Network to its run and rates.
    """
    content = json.loads(file.read_text("utf-8"))
    way = "ten" if crops == "ten" else "center"  # the others are of one crop as well
    runs = {
        name: (
            Run(
                layers=one["layers"],
                images_per_batch=one["images_per_batch"][way],
                weights=one["weights"],
                **about,
            ),
            Rates(image=one["image"][way], **content["rates"]),
        )
        for name, one in content["networks"].items()
    }
    return {name: str(content[name]) for name in content if name not in ("rates", "networks")}, runs


def sizes(run: Run, rates: Rates) -> dict[str, float]:
    """Features, bytes of values, bytes in the store, blocks and chunks."""
    layout = layout_of(run)
    raw = BYTES * run.n_values
    return {
        "n_features": run.n_features,
        "raw": raw,
        "stored": raw * rates.stored,
        "block_images": layout.rows,
        "blocks": layout.blocks,
        "chunks": layout.chunks,
    }


class _Cost(NamedTuple):
    passes: float
    tasks: int
    core_seconds: float
    memory: float
    written: float = 0.0


def plan(run: Run, rates: Rates, *, tasks_wanted: int = 256) -> pd.DataFrame:
    """Every stage of a run.

    Parameters
    ----------
    run
        What is to be computed.
    rates
        As measured.
    tasks_wanted
        Shards into which images are cut where any number would do.

    Returns
    -------
    DataFrame
        A row per stage: ``stage``, ``passes`` over the features, ``tasks``, bytes ``read`` and
        ``written``, ``core_seconds``, and ``memory``, the bytes of data that a worker holds.
    """
    costs = (
        _extraction(run, rates),
        _exact(run, rates),
        _by_shards(run, rates, tasks_wanted),
        _thresholds(run, rates),
        _components(run, rates),
    )
    table = pd.DataFrame([cost._asdict() for cost in costs])
    table.insert(0, "stage", STAGES)
    stored = BYTES * run.n_values * rates.stored
    table.insert(3, "read", table["passes"] * stored)
    return table[["stage", "passes", "tasks", "read", "written", "core_seconds", "memory"]]


def by_workers(
    stages: pd.DataFrame, rates: Rates, workers: Iterable[int], price: float
) -> pd.DataFrame:
    """Time by the clock and cost of every stage.

    Parameters
    ----------
    stages
        As of :func:`plan`.
    rates
        Of the disk that all workers share.
    workers
        Numbers of workers, of one core each.
    price
        Of a core-hour.

    Returns
    -------
    DataFrame
        A row per stage and number of workers: ``hours`` by the clock, ``disk_hours``, which no
        number of workers shortens, and ``cost`` of the cores for as long.
    """
    disk = stages["read"] / rates.disk_read + stages["written"] / rates.disk_write
    rows = []
    for n in workers:
        hours = (stages["core_seconds"] / n).clip(lower=disk) / 3600
        rows.append(
            pd.DataFrame(
                {
                    "stage": stages["stage"],
                    "workers": n,
                    "hours": hours,
                    "disk_hours": disk / 3600,
                    "cost": hours * n * price,
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def _extraction(run: Run, rates: Rates) -> _Cost:
    layout = layout_of(run)
    block = BYTES * layout.rows * run.n_features
    memory = run.weights + _PASS_BYTES + 2 * block
    written = BYTES * run.n_values * rates.stored
    return _Cost(0, layout.blocks, run.n_images * rates.image, memory, written)


def _columns(run: Run, n_images: int) -> xr.DataArray:
    """Array of nothing, with the columns of chunks of a run."""
    chunks = ((n_images,), layout_of(run).columns)
    values = dask.array.empty((n_images, run.n_features), chunks=chunks, dtype="f4")
    return xr.DataArray(values, dims=("image", "feature"))


def _passes(X: xr.DataArray, pieces: list[tuple[int, int]]) -> float:
    """How often features are met, if every piece of them reads the whole chunks that it touches."""
    ends = [0, *np.cumsum(X.chunksizes["feature"]).tolist()]
    met = sum(
        (last - first) * sum(a < last and b > first for a, b in pieces)
        for first, last in pairwise(ends)
    )
    return float(met / X.sizes["feature"])


def _feature_blocks(run: Run) -> tuple[float, int, int]:
    """Count passes and blocks of features with all images of each; and the widest block."""
    X = _columns(run, run.n_images)
    pieces = list(pairwise(bounds_of(X)))
    return _passes(X, pieces), len(pieces), max(b - a for a, b in pieces)


def _exact(run: Run, rates: Rates) -> _Cost:
    passes, tasks, width = _feature_blocks(run)
    seconds = run.n_values * (passes * rates.read + rates.exact)
    return _Cost(passes, tasks, seconds, BYTES * run.n_images * width)


def _thresholds(run: Run, rates: Rates) -> _Cost:
    passes, tasks, width = _feature_blocks(run)
    labellings = 1 + run.n_shuffles
    per_value = passes * rates.read + rates.rank + labellings * rates.compare
    memory = run.n_images * width * (BYTES + 4) + 8 * labellings * run.n_classes * width
    seconds = run.n_values * per_value
    seconds += labellings * run.n_classes * run.n_features * rates.settle
    return _Cost(passes, tasks, seconds, memory)


def _by_shards(run: Run, rates: Rates, tasks_wanted: int) -> _Cost:
    layout = layout_of(run)
    shards = min(tasks_wanted, layout.blocks)
    images = ceil(layout.blocks / shards) * layout.rows
    classes = min(run.n_classes, ceil(images * run.n_classes / run.n_images) + 1)
    X = _columns(run, 1)
    groups = feature_groups(X, run.bins, run.n_classes)
    passes = 1 + _passes(X, groups)
    per_value = passes * rates.read + rates.extent + rates.count
    counts = run.n_features * run.bins * run.n_classes
    width = max(b - a for a, b in groups)
    block = BYTES * max(layout.rows * run.n_features, BLOCK_VALUES)
    memory = block + 4 * width * run.bins * classes
    seconds = run.n_values * per_value + counts * rates.table
    seconds += shards * run.n_features * run.bins * classes * rates.merge
    return _Cost(passes, shards * (1 + len(groups)), seconds, memory)


def _components(run: Run, rates: Rates) -> _Cost:
    m = min(run.n_landmarks, run.n_images)
    layout = layout_of(run)
    rows = min(max(_ROWS, layout.rows), ceil(run.n_images / 2))
    prepared = rates.prepare * (1 + m / rows)
    twice = 2 * run.n_values * (rates.read + prepared + m * rates.landmark)
    chosen = (m, min(_GAMMA, run.n_images))  # landmarks, and samples whose distances give gamma
    among = sum(run.n_features * n * (n * rates.landmark + 2 * rates.prepare) for n in chosen)
    drawn = sum(1 - (1 - 1 / layout.blocks) ** n for n in chosen)  # shares of blocks read for them
    tasks = 2 * ceil(run.n_images / (4 * rows))
    seconds = twice + among + run.n_images * m**2 * rates.product + rates.small * (m / 1000) ** 3
    seconds += drawn * run.n_values * rates.read
    memory = 8 * (2 * rows * run.n_features + 2 * rows * m + 2 * m**2 + 2 * m * run.n_features)
    return _Cost(2 + drawn, tasks, seconds, memory)


def rates_table(rates: Rates) -> pd.DataFrame:
    """Rates as readers see them: what, value, unit."""
    shown = (
        ("extraction, per image", "image", 1.0, "core-seconds"),
        ("reading", "read", 1e9, "core-nanoseconds per value"),
        ("exact distances", "exact", 1e9, "core-nanoseconds per value"),
        ("sorting once, for thresholds", "rank", 1e9, "core-nanoseconds per value"),
        ("distances under each labelling", "compare", 1e9, "core-nanoseconds per value"),
        ("thresholds from distances", "settle", 1e9, "core-nanoseconds per distance"),
        ("ranges, for bins", "extent", 1e9, "core-nanoseconds per value"),
        ("counting into bins", "count", 1e9, "core-nanoseconds per value"),
        ("merging counts", "merge", 1e9, "core-nanoseconds per count"),
        ("distances from counts", "table", 1e9, "core-nanoseconds per count"),
        ("samples made ready for kernel values", "prepare", 1e9, "core-nanoseconds per value"),
        ("kernel values", "landmark", 1e12, "core-picoseconds per value and landmark"),
        ("products of kernel features", "product", 1e12, "core-picoseconds per pair of landmarks"),
        ("eigenproblems of 1,000 landmarks", "small", 1.0, "core-seconds"),
        ("size in the store", "stored", 1.0, "of the values' bytes"),
        ("disk, reading", "disk_read", 1e-9, "GB/s"),
        ("disk, writing", "disk_write", 1e-9, "GB/s"),
    )
    values = asdict(rates)
    rows = [(what, values[name] * scale, unit) for what, name, scale, unit in shown]
    return pd.DataFrame(rows, columns=["what", "measured", "unit"])


def in_units(stages: pd.DataFrame) -> pd.DataFrame:
    """Stages as of :func:`plan` in gigabytes and core-hours, other columns as they are."""
    table = stages.copy()
    for name in ("read", "written", "memory"):
        table[name] /= 1e9
    table["core_seconds"] /= 3600
    return table.rename(
        columns={
            "read": "read_gb",
            "written": "written_gb",
            "core_seconds": "core_hours",
            "memory": "memory_gb",
        }
    )


def facts(
    run: Run, rates: Rates, stages: pd.DataFrame, price: float
) -> dict[str, float | int | str]:
    """Plain numbers and names for the text: of one run, as of :func:`plan`."""
    size, by_stage = sizes(run, rates), stages.set_index("stage")
    extraction, exact, binned, thresholds, components = STAGES
    hours = by_stage["core_seconds"] / 3600
    disk = by_stage["read"] / rates.disk_read + by_stage["written"] / rates.disk_write
    found = {
        "n_features": run.n_features,
        "raw_gb": size["raw"] / 1e9,
        "stored_gb": size["stored"] / 1e9,
        "stored_share": rates.stored,
        "n_blocks": int(size["blocks"]),
        "n_chunks": int(size["chunks"]),
        "extraction_hours": hours[extraction],
        "extraction_share": hours[extraction] / hours.sum(),
        "exact_passes": by_stage["passes"][exact],
        "exact_hours": hours[exact],
        "binned_passes": by_stage["passes"][binned],
        "binned_hours": hours[binned],
        "thresholds_hours": hours[thresholds],
        "components_hours": hours[components],
        "widest_gb": by_stage["memory"].max() / 1e9,
        "widest": str(by_stage["memory"].idxmax()),
        "binned_gb": by_stage["memory"][binned] / 1e9,
        "total_hours": hours.sum(),
        "total_cost": hours.sum() * price,
        "slowest_disk_hours": disk.max() / 3600,
        "slowest_disk": str(disk.idxmax()),
    }
    return {name: x.item() if isinstance(x, np.generic) else x for name, x in found.items()}
