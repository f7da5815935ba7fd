"""The model of large runs against a run at a thousandth of ImageNet, taken through every stage.

1,280 images with VGG16's 12,416 features, drawn like real ones, are written to a store and worked
through by the functions of a cluster, here a worker in this process. Beside it the images of a
bundled dataset are extracted with the bundled network, and a few with VGG16. The model
(``analysis.chapters.scale``) gets rates that are measured on a
tenth of the images or of the features. Each row is what happened over what was predicted:
core-seconds and bytes. For what comes after extraction it is the median of five rounds, each with
rates of its own: on a machine that others share, a stage of a second swings by a third.

``python -m benchmarks scale`` prints the rows. ``python -m benchmarks.scale`` measures the rates
alone, and writes them to ``benchmarks/rates.json`` for the book's page on large runs.

Core-seconds are processor time of all threads of this process, so that other programs on a busy
machine count little. Everything is measured with the functions that a run uses, on features that
are drawn from real ones: columns and images are drawn with replacement, and values other than zero
are changed by up to a thousandth, so that as many values are zero as in reality, and no others are
equal.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from pickle import dumps, loads
from typing import Any

import numpy as np
from distributed import Client, LocalCluster
from numpy.typing import NDArray

from analysis.chapters.scale import Rates, Run, layout_of, plan, sizes
from analysis.data import ImageDataset, load_dataset
from analysis.data.images import ImageArrays
from analysis.features import extract
from analysis.features.pooling import Pooling
from analysis.features.store import Builder, open_features
from analysis.features.stream import Engine
from analysis.networks import Backbone, load_backbone
from analysis.networks.preprocessing import n_crops
from analysis.paths import written_whole
from analysis.statistics import noise_thresholds, rank_features, signed_ks, thresholds_between
from analysis.statistics.blocks import at_most, read_here
from analysis.statistics.histograms import (
    ClassHistograms,
    FeatureRanges,
    shards_of,
    signed_ks_of_shards,
)
from analysis.transfer import TransferComponentAnalysis
from analysis.transfer.adaptation import checked_samples
from analysis.transfer.tca import ROWS, Kernel, Landmarks, Sums, components_of
from benchmarks.__main__ import machine_facts

Row = dict[str, Any]
Array = NDArray[np.float32]
N_IMAGES, N_CLASSES, N_SHUFFLES, N_LANDMARKS = 1_280, 40, 5, 500
TENTH = N_IMAGES // 10
FACTOR = 1.3
FEW = 4  # images that VGG16 extracts
ROUNDS = 5
RATES = Path(__file__).with_name("rates.json")
NETWORKS = ("vgg16", "resnet50", "squeezenet1_0", "minivgg16")

TALL = 2**18
"""Images on which sorting is measured, at most."""

WIDE = 2**22
"""Values on which reading and counting are measured, or one block of a store if that is more."""

_CODES_OF = 2**15  # images up to which codes are narrow
_TOGETHER = 16  # features that are sorted together
_COLUMNS = 1024  # features of samples whose kernel values are measured
_SMALL = 400  # landmarks whose eigenproblems are measured
_SECONDS, _LEAST, _MOST = 4.0, 6, 128  # of extraction: aimed at, fewest and most images
_LONG = 0.1  # core-seconds of a crop
_AT_LEAST = 0.2  # core-seconds of what is measured otherwise
_FILE = 2**26


def run() -> list[Row]:
    """What happened over what was predicted, of every stage; some minutes on two cores."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows, X = extraction_rows(folder)
        vgg = load_backbone("vgg16", weights="random", seed=0)
        planned = run_of(
            vgg, "ten", N_IMAGES, N_CLASSES, n_shuffles=N_SHUFFLES, n_landmarks=N_LANDMARKS
        )
        data = load_dataset("materials")
        group = drawn_store(X, planned, N_IMAGES, folder, 1)
        rounds = []
        for _ in range(ROUNDS):
            rates = measure_rates(X, planned, data, vgg, "ten", 0, wide=TENTH * planned.n_features)
            written = sizes(planned, rates)["stored"]
            rounds.append(
                [
                    few_of_vgg16(data, vgg, rates),
                    ratio_row(
                        "drawn features of VGG16: bytes in the store", bytes_in(group), written
                    ),
                    *stage_rows(group, planned, rates),
                ]
            )
        return rows + [median_row(alike) for alike in zip(*rounds, strict=True)]


def extraction_rows(folder: Path) -> tuple[list[Row], np.ndarray]:
    """Of 1,280 images by the bundled network; and features to draw others from."""
    data, net = load_dataset("materials"), load_backbone("minivgg16", weights="bundled")
    data = data.subset(np.arange(N_IMAGES) % len(data))
    some = data.subset(np.linspace(0, N_IMAGES - 1, TENTH).astype(int))
    X = extract(some, net, store=folder / "some", progress=False)
    planned = run_of(net, "ten", N_IMAGES, N_CLASSES)
    image = seconds_per_image(some, net, "ten")
    (group,) = (folder / "some").glob("*.zarr")
    stored = bytes_in(group) / X.nbytes
    spent = core_seconds(lambda: extract(data, net, store=folder / "all", progress=False))
    (group,) = (folder / "all").glob("*.zarr")
    name = f"minivgg16, ten crops, {N_IMAGES:,} images"
    return [
        ratio_row(f"{name}: core-seconds of extraction", spent, N_IMAGES * image),
        ratio_row(f"{name}: bytes in the store", bytes_in(group), 4 * planned.n_values * stored),
    ], X.values


def few_of_vgg16(data: Any, vgg: Any, rates: Rates) -> Row:
    """All ten crops of some images, which the model has from one crop of others."""
    some = data.subset(np.arange(100, 100 + FEW))
    with tempfile.TemporaryDirectory() as store:
        spent = core_seconds(lambda: extract(some, vgg, store=store, progress=False))
    return ratio_row(
        f"vgg16, ten crops, {FEW} images: core-seconds of extraction", spent, FEW * rates.image
    )


def stage_rows(group: Path, planned: Run, rates: Rates) -> list[Row]:
    """Of all that comes after extraction."""
    X = open_features(group)
    labels = X["label"].to_numpy()
    half = 3 * X.chunks[0][0]  # between two blocks of images
    predicted = plan(planned, rates).set_index("stage")["core_seconds"]
    cluster = LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    )
    with cluster, Client(cluster, set_as_default=False) as client:
        tca = TransferComponentAnalysis(16, solver="nystrom", n_landmarks=N_LANDMARKS)
        stages: dict[str, Callable[[], Any]] = {
            "exact distances": lambda: signed_ks(X, labels, client=client),
            "distances on bins, from shards": lambda: signed_ks_of_shards(
                shards_of(X, 256), labels, client=client
            ),
            "thresholds": lambda: noise_thresholds(X, labels, N_SHUFFLES, client=client),
            "TCA by landmarks": lambda: tca.fit(X[:half], X[half:], client=client),
        }
        spent = {stage: core_seconds(task) for stage, task in stages.items()}
    name = f"{N_IMAGES:,} × {planned.n_features:,}"
    return [
        ratio_row(f"{name}: core-seconds of {stage}", seconds, predicted[stage])
        for stage, seconds in spent.items()
    ]


def median_row(rows: Sequence[Row]) -> Row:
    """Of the same ratio in several rounds."""
    return sorted(rows, key=lambda row: row["value"])[len(rows) // 2]


def ratio_row(name: str, happened: float, predicted: float) -> Row:
    """A ratio that is to be within 30 %."""
    ratio = happened / predicted
    return {
        "name": f"{name}, over the model's",
        "value": ratio,
        "unit": f"x, of {predicted:,.3g}",
        "target": FACTOR,
        "passed": bool(1 / FACTOR <= ratio <= FACTOR),
    }


def core_seconds(task: Callable[[], Any], *, at_least: float = 0.0) -> float:
    """Processor time of all threads of this process while a task runs.

    In the mean over so many runs that together they take ``at_least`` as many seconds.
    """
    runs, start = 0, time.process_time()
    while True:
        task()
        runs += 1
        if (spent := time.process_time() - start) >= at_least:
            return spent / runs


def run_of(net: Backbone, crops: str, n_images: int, n_classes: int, **more: int) -> Run:
    """Run of a network over so many images; more as :class:`~analysis.chapters.scale.Run`."""
    engine = Engine(net, net.layers, Pooling("mean").inside_hook, crops=crops)
    return Run(
        n_images,
        n_classes,
        {layer.name: layer.units for layer in net.layers},
        engine.images_per_batch,
        sum(x.numel() * x.element_size() for x in net.module.state_dict().values()),
        **more,
    )


def drawn_like(X: NDArray[Any], n_images: int, n_features: int, seed: int) -> Array:
    """Features like those of X (images, features), as many as wanted."""
    rng = np.random.default_rng(seed)
    columns = X.T[rng.integers(X.shape[1], size=n_features)]
    rows = rng.integers(X.shape[0], size=n_images)
    drawn = np.ascontiguousarray(columns[:, rows].T, np.float32)
    drawn *= 1 + 1e-3 * rng.random(drawn.shape, np.float32)
    return drawn


def drawn_store(X: NDArray[Any], run: Run, n_images: int, folder: Path, seed: int) -> Path:
    """Group of the store with drawn features of some images, written as an extraction does."""
    labels = np.arange(n_images) * min(run.n_classes, n_images) // n_images
    data = ImageDataset(
        name="drawn",
        classes=tuple(map(str, range(int(labels[-1]) + 1))),
        labels=labels,
        paths=tuple(map(str, range(n_images))),
        source=ImageArrays(np.zeros((n_images, 1, 1, 3), np.uint8)),
    )
    group = folder / "drawn.zarr"
    builder = Builder(group, data, run.layers, {}, layout_of(run).rows)
    for block in builder.missing:
        values = drawn_like(X, len(block), run.n_features, seed + block.start)
        builder.writer.write(block, values)
    builder.finish()
    return group


def measure_rates(
    X: NDArray[Any],
    run: Run,
    data: ImageDataset,
    net: Backbone,
    crops: str,
    seed: int,
    *,
    wide: int = WIDE,
) -> Rates:
    """Measure everything that :func:`~analysis.chapters.scale.plan` needs.

    Parameters
    ----------
    X : ndarray, shape (images, features)
        Real features, to draw others from.
    run
        Of this network, as :func:`run_of`.
    data
        Images to extract some of.
    net, crops
        As for :func:`analysis.extract`.
    seed
        Of what is drawn.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return Rates(
            image=seconds_per_image(data, net, crops),
            **_sorting(X, run, seed),
            **_reading(X, run, folder, seed, wide),
            **_landmarks(X, run, seed),
            **_disk(folder / "file"),
        )


def seconds_per_image(data: ImageDataset, net: Backbone, crops: str) -> float:
    """Core-seconds to extract an image, beyond what the first one takes.

    Of a network that takes long, one crop is timed and multiplied.
    """
    _extraction(data, net, "center", 1)
    first = _slope(data, net, "center", _LEAST)
    if crops == "ten" and first > _LONG:
        return n_crops(crops) * first
    number = int(np.clip(_SECONDS / (n_crops(crops) * first), _LEAST, _MOST))
    return _slope(data, net, crops, number)


def _slope(data: ImageDataset, net: Backbone, crops: str, number: int) -> float:
    """Core-seconds of an image more; of all, where the first alone took as long."""
    one, some = (_extraction(data, net, crops, n) for n in (1, number))
    return (some - one) / (number - 1) if some > one else some / number


def _extraction(data: ImageDataset, net: Backbone, crops: str, number: int) -> float:
    some = data.subset(np.resize(np.arange(len(data)), number))
    with tempfile.TemporaryDirectory() as store:
        return core_seconds(lambda: extract(some, net, crops=crops, store=store, progress=False))


def _sorting(X: NDArray[Any], run: Run, seed: int) -> Mapping[str, float]:
    n = min(run.n_images, TALL)
    width = int(np.clip(run.n_features // 10, 1, max(_TOGETHER, TALL * _TOGETHER // n)))
    tall, labels = drawn_like(X, n, width, seed), np.arange(n) * run.n_classes // n
    few = slice(0, _CODES_OF + 1)  # of as many images as need the wider codes, if n does
    signed_ks(rank_features(tall[few, :2], threads=1), labels[few], threads=1)
    signed_ks(tall[few, :2], labels[few], threads=1)
    ranked = rank_features(tall, threads=1)
    D = np.asarray(signed_ks(ranked, labels, threads=1))
    noise = [D[::-1], D[:, ::-1]]
    return {
        "exact": _rate(lambda: signed_ks(tall, labels, threads=1), tall.size),
        "rank": _rate(lambda: rank_features(tall, threads=1), tall.size),
        "compare": _rate(lambda: signed_ks(ranked, labels, threads=1), tall.size),
        "settle": _rate(lambda: thresholds_between(D, noise), 3 * D.size),
    }


def _reading(
    X: NDArray[Any], run: Run, folder: Path, seed: int, wide_values: int
) -> Mapping[str, float]:
    rows, n = layout_of(run).rows, min(run.n_images, max(_LEAST, wide_values // run.n_features))
    group = drawn_store(X, run, n if n < rows else n // rows * rows, folder, seed)
    lazy = open_features(group)
    wide = read_here(lazy.variable)
    labels = np.arange(len(wide)) * 2 // len(wide)
    ranges = FeatureRanges.of(wide)
    table = ClassHistograms.empty(np.arange(run.n_classes), _TOGETHER, run.bins)
    table.counts[:] = 1
    table.distances()
    few = ClassHistograms.empty(np.arange(2), _TOGETHER, run.bins)

    def count() -> None:
        with at_most(1):
            ClassHistograms.of(wide, labels, ranges, run.bins)

    def extent() -> None:
        with at_most(1):
            FeatureRanges.of(wide)

    count()
    return {
        "read": _rate(lambda: read_here(lazy.variable), wide.size),
        "extent": _rate(extent, wide.size),
        "count": _rate(count, wide.size),
        "merge": _rate(lambda: table.add(loads(dumps(few))), few.counts.size),
        "table": _rate(table.distances, table.counts.size),
        "stored": bytes_in(group) / wide.nbytes,
    }


def _landmarks(X: NDArray[Any], run: Run, seed: int) -> Mapping[str, float]:
    m, width = min(run.n_landmarks, run.n_images), min(run.n_features, _COLUMNS)
    some = drawn_like(X, ROWS + m, width, seed).astype(np.float64)
    samples, rows = some[:m], some[m:]
    kernel = Kernel("rbf", gamma=1 / (rows[:200] ** 2).sum(axis=1).mean())
    values = kernel.between(rows, samples)
    root = np.random.default_rng(seed).standard_normal((m, m))
    made = values @ root
    few = min(m, _SMALL)

    def small() -> None:
        landmarks = Landmarks.drawn(kernel, samples[:few], few, seed)
        found = landmarks.features(rows[: 2 * few])
        sums = Sums(found.T @ found, found[:few].sum(axis=0), found[few:].sum(axis=0))
        components_of(sums, few, few, 1.0, min(16, few - 1))

    stored = rows.astype(np.float32)
    prepare = _rate(lambda: kernel.between(checked_samples(stored, "samples"), samples[:2]), 1)
    whole = _rate(lambda: kernel.between(checked_samples(stored, "samples"), samples), 1)
    mapped, squared = _rate(lambda: values @ root, 1), _rate(lambda: made.T @ made, 1)
    return {
        "prepare": prepare / rows.size,
        "landmark": max(whole - prepare, 0.1 * whole) / (rows.size * m),
        "product": (2 * mapped + squared) / (ROWS * m**2),
        "small": _rate(small, 1) * (1000 / few) ** 3,
    }


def _rate(task: Callable[[], Any], size: float) -> float:
    return core_seconds(task, at_least=_AT_LEAST) / size


def bytes_in(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _disk(file: Path) -> Mapping[str, float]:
    """Bytes per second by the clock, of a file that is written through and read back."""
    content = np.random.default_rng(0).bytes(_FILE)
    start = time.perf_counter()
    with file.open("wb") as f:
        f.write(content)
        os.fsync(f.fileno())
        written = time.perf_counter() - start
    with file.open("rb") as f:
        if hasattr(os, "posix_fadvise"):  # not from the system's memory
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        start = time.perf_counter()
        f.read()
        read = time.perf_counter() - start
    return {"disk_read": _FILE / read, "disk_write": _FILE / written}


def write_rates() -> None:
    """Measure the rates that the book's page on large runs is made of; a minute or two."""
    data, net = load_dataset("materials"), load_backbone("minivgg16", weights="bundled")
    about = {"n_images": 1_281_167, "n_classes": 1000}
    X = extract(data, net, progress=False).values
    nets = {name: load_backbone(name, weights="random", seed=0) for name in NETWORKS}
    runs = {way: {n: run_of(nets[n], way, **about) for n in NETWORKS} for way in ("ten", "center")}
    rates = asdict(measure_rates(X, runs["ten"][NETWORKS[0]], data, nets[NETWORKS[0]], "ten", 0))
    del rates["image"]
    machine = machine_facts()
    content = {
        "date": machine["date"],
        "processor": machine["processor"],
        "dataset": data.name,
        "network": "minivgg16@bundled",
        "rates": rates,
        "networks": {
            name: {
                "layers": dict(runs["ten"][name].layers),
                "weights": runs["ten"][name].weights,
                "images_per_batch": {way: of[name].images_per_batch for way, of in runs.items()},
                "image": {way: seconds_per_image(data, nets[name], way) for way in runs},
            }
            for name in NETWORKS
        },
    }
    with written_whole(RATES) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    write_rates()
