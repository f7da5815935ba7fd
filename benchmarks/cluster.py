"""A cluster of two workers with one thread each against one process with two threads.

Both do the same work on the same two cores, in turns, and give the same bits, which is checked:
features of photographs from SqueezeNet, and all distances of the store that ``streaming`` writes.
Starting the cluster is not counted; it is a row of its own, with what the first task has to import.
Blocks are smaller than usual, so that as few images as these are several blocks for each worker:
what a block costs beside its images counts four times as much as usual.

Processor time is that of all processes together. It also holds while others use the machine.

``python -m benchmarks cluster`` prints the rows.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import numpy as np
import psutil
import torch
from distributed import Client, LocalCluster

from analysis.cluster import connect
from analysis.features import extract, open_features
from analysis.features import store as feature_store
from analysis.networks import load_backbone
from analysis.statistics import signed_ks
from benchmarks.extraction import Row, photographs_on_disk, row
from benchmarks.streaming import write_store

ROUNDS = 5
IMAGES = 512
BLOCK = 64
CORES = 2
MOST_OVERHEAD = 15.0  # percent


def run() -> list[Row]:
    """Overheads in percent of one process; about ten minutes on two idle cores."""
    usual_block, usual_threads = feature_store.BLOCK_IMAGES, torch.get_num_threads()
    torch.set_num_threads(CORES)
    feature_store.BLOCK_IMAGES = BLOCK
    try:
        with tempfile.TemporaryDirectory() as name, two_workers() as (client, seconds):
            rows = [row("two workers: until they have computed a first block", seconds, "s")]
            feature_store.BLOCK_IMAGES = BLOCK
            rows += compare(client, "extraction", extraction(Path(name)))
            feature_store.BLOCK_IMAGES = usual_block
            rows += compare(client, "signed_ks", distances(Path(name)))
            rows += compare(client, "signed_ks in 100 bins", distances(Path(name), bins=100))
            return rows
    finally:
        feature_store.BLOCK_IMAGES = usual_block
        torch.set_num_threads(usual_threads)


Job = Callable[[Client | None], np.ndarray]


def extraction(folder: Path) -> Job:
    """Extract the centre crops of photographs with SqueezeNet 1.1, into an empty store."""
    data = photographs_on_disk(folder).subset(range(IMAGES))
    data.fingerprint  # noqa: B018 - kept with the data, so that it is computed once
    net = load_backbone("squeezenet1_1", weights="random", seed=0)

    def job(client: Client | None) -> np.ndarray:
        with tempfile.TemporaryDirectory(dir=folder) as store:
            how = {"crops": "center", "store": store, "progress": False, "client": client}
            return extract(data, net, **how).values

    return job


def distances(folder: Path, bins: int | None = None) -> Job:
    """Take the distances of 9,000 images of VGG16 in 102 classes."""
    group = folder / "random.zarr"
    features = open_features(group if group.exists() else write_store(folder))

    def job(client: Client | None) -> np.ndarray:
        threads = CORES if client is None else None
        found = signed_ks(
            features, features.label.values, bins=bins, threads=threads, client=client
        )
        return found.values

    return job


@contextmanager
def two_workers() -> Iterator[tuple[Client, float]]:
    """A cluster that has computed something, and how long that took to come."""
    from analysis.data import load_dataset

    begun = perf_counter()
    with (
        LocalCluster(CORES, threads_per_worker=1, dashboard_address=":0") as cluster,
        connect(cluster.scheduler_address) as client,
        tempfile.TemporaryDirectory() as store,
    ):
        few = load_dataset("digits").subset(range(4 * BLOCK))
        net = load_backbone("minivgg16", weights="random")
        extract(few, net, crops="center", store=store, progress=False, client=client)
        yield client, perf_counter() - begun


def compare(client: Client, name: str, job: Job) -> list[Row]:
    """Overhead of the cluster, round by round; the first round, which compiles, is left out."""
    wall, processor = [], []
    for number in range(ROUNDS + 1):
        here, there = measured(job, None), measured(job, client)
        if not np.array_equal(here[2], there[2]):
            raise ValueError(f"{name}: the cluster gives other values than one process")
        if number:
            wall.append((here[0], there[0]))
            processor.append((here[1], there[1]))
    return [
        row(f"{name} in one process, two threads", median(one for one, _ in wall), "s"),
        row(f"{name} by two workers: overhead", overhead(wall), "%", at_most=MOST_OVERHEAD),
        row(f"{name} by two workers: overhead in processor time", overhead(processor), "%"),
    ]


def measured(job: Job, client: Client | None) -> tuple[float, float, np.ndarray]:
    """Seconds, seconds of processors, and values of a job."""
    begun, used = perf_counter(), processor_seconds()
    values = job(client)
    return perf_counter() - begun, processor_seconds() - used, values


def processor_seconds() -> float:
    """Seconds that this process and its children have used of processors."""
    children = psutil.Process(os.getpid()).children(recursive=True)
    return process_time() + sum(sum(child.cpu_times()[:2]) for child in children)


def overhead(pairs: list[tuple[float, float]]) -> float:
    """Median over rounds of what the second takes beyond the first, in percent."""
    return 100 * (median(there / here for here, there in pairs) - 1)
