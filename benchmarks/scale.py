"""The model of large runs against a run at a thousandth of ImageNet, taken through every stage.

1,280 images with VGG16's 12,416 features, drawn like real ones, are written to a store and worked
through by the functions of a cluster, here a worker in this process. Beside it the images of a
bundled dataset are extracted with the bundled network, and a few with VGG16. The model
(``analysis.chapters.scale``) gets rates that are measured, as the book's page measures them, on a
tenth of the images or of the features. Each row is what happened over what was predicted:
core-seconds and bytes. For what comes after extraction it is the median of five rounds, each with
rates of its own: on a machine that others share, a stage of a second swings by a third.

``python -m benchmarks scale`` prints the rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client, LocalCluster

from analysis.chapters import scale_rates
from analysis.chapters.scale import Rates, plan, sizes
from analysis.chapters.scale_layout import Run
from analysis.chapters.scale_rates import (
    bytes_in,
    core_seconds,
    drawn_store,
    measure_rates,
    run_of,
    seconds_per_image,
)
from analysis.data import load_dataset
from analysis.features import extract
from analysis.features.store import open_features
from analysis.networks import load_backbone
from analysis.statistics import noise_thresholds, signed_ks
from analysis.statistics.shards import shards_of, signed_ks_of_shards
from analysis.transfer import TransferComponentAnalysis

Row = dict[str, Any]
N_IMAGES, N_CLASSES, N_SHUFFLES, N_LANDMARKS = 1_280, 40, 5, 500
TENTH = N_IMAGES // 10
FACTOR = 1.3
FEW = 4  # images that VGG16 extracts
ROUNDS = 5


def run() -> list[Row]:
    """What happened over what was predicted, of every stage; some minutes on two cores."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows, X = extraction_rows(folder)
        vgg = load_backbone("vgg16", weights="random", seed=0)
        planned = run_of(
            vgg, "ten", N_IMAGES, N_CLASSES, n_shuffles=N_SHUFFLES, n_landmarks=N_LANDMARKS
        )
        scale_rates.WIDE = TENTH * planned.n_features
        data = load_dataset("materials")
        group = drawn_store(X, planned, N_IMAGES, folder, 1)
        rounds = []
        for _ in range(ROUNDS):
            rates = measure_rates(X, planned, data, vgg, "ten", 0)
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
