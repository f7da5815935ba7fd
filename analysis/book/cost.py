"""What a study is expected to take: time of its forward passes, disk for its features."""

from __future__ import annotations

import tempfile
import time
from typing import TYPE_CHECKING

from tqdm.auto import tqdm

if TYPE_CHECKING:
    from analysis.chapters import Study
    from analysis.data import ImageDataset
    from analysis.networks import Backbone

__all__ = ["announce_cost", "expected_cost"]

_SAMPLE = 8  # images
_WORTH_SAYING = 60.0  # seconds


def expected_cost(study: Study) -> tuple[float, int]:
    """Estimate what extracting the study's features takes on this machine, at most.

    Extracts a few images with each network, so it is good to a factor of two or so. What is in
    the store already costs nothing; that is not looked up.

    Returns
    -------
    tuple of float and int
        Seconds, and bytes on disk before compression.
    """
    n_images = sum(len(study.data(name)) for name in study.datasets)
    networks = [study.backbone(spec) for spec in study.networks]
    some = study.data(study.datasets[0])
    some = some.subset(range(min(_SAMPLE, len(some))))
    seconds = sum(_seconds_per_image(some, net, study.crops) for net in networks)
    return n_images * seconds, n_images * 4 * sum(net.n_features for net in networks)


def announce_cost(study: Study) -> None:
    """Tell the user what is coming, if it will take more than a minute."""
    seconds, size = expected_cost(study)
    if seconds > _WORTH_SAYING:
        tqdm.write(
            f"Features of '{study.title}' take about {_duration(seconds)} and "
            f"up to {size / 1e9:.2f} GB of disk, once; less where some are in the store already."
        )


def _seconds_per_image(some: ImageDataset, net: Backbone, crops: str) -> float:
    from analysis.features import extract  # loads PyTorch

    with tempfile.TemporaryDirectory() as store:
        extract(some.subset([0]), net, crops=crops, store=store, progress=False)  # set-up
        start = time.perf_counter()
        extract(some, net, crops=crops, store=store, progress=False)
        return (time.perf_counter() - start) / len(some)


def _duration(seconds: float) -> str:
    for size, unit in ((86_400.0, "days"), (3_600.0, "hours")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f} {unit}"
    minutes = max(1, round(seconds / 60))
    return f"{minutes} minute{'s' * (minutes > 1)}"
