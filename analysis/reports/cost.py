"""What a study is expected to take: time of its forward passes, disk for its features."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tqdm.auto import tqdm

if TYPE_CHECKING:
    from analysis.networks import Backbone
    from analysis.studies import Study

__all__ = ["announce_cost", "expected_cost"]

_WORTH_SAYING = 60.0  # seconds


def expected_cost(study: Study) -> tuple[float, int]:
    """Estimate what extracting the study's features takes on this machine, at most.

    Times one image per network, so it is good to a factor of two. Features that are in the
    store already cost nothing, which is not looked up.

    Returns
    -------
    tuple of float and int
        Seconds, and bytes on disk before compression.
    """
    from analysis.features.crops import n_crops  # loads PyTorch

    n_images = sum(len(study.data(name)) for name in study.datasets)
    networks = [study.backbone(spec) for spec in study.networks]
    seconds = sum(_seconds_per_image(net, n_crops(study.crops)) for net in networks)
    return n_images * seconds, n_images * 4 * sum(net.n_features for net in networks)


def announce_cost(study: Study) -> None:
    """Tell the user what is coming, if it will take more than a minute."""
    seconds, size = expected_cost(study)
    if seconds > _WORTH_SAYING:
        tqdm.write(
            f"Features of '{study.title}' take about {_duration(seconds)} and "
            f"{size / 1e9:.1f} GB of disk, once; less where some are in the store already."
        )


def _seconds_per_image(net: Backbone, crops: int) -> float:
    import torch

    side = net.preprocessing.crop
    batch = torch.zeros(crops, 3, side, side)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module = net.module.to(device)
    try:
        with torch.inference_mode():
            module(batch[:1].to(device))  # the first pass also pays for set-up
            start = time.perf_counter()
            module(batch.to(device)).sum().item()
            return time.perf_counter() - start
    finally:
        module.to("cpu")


def _duration(seconds: float) -> str:
    for size, unit in ((86_400.0, "days"), (3_600.0, "hours")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1.0, seconds / 60):.0f} minutes"
