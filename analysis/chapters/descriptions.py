"""What a study consists of, as tables and a sentence for its readers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.data import CARDS
from analysis.data.cards import Overlap
from analysis.statistics.distributions import KINDS

if TYPE_CHECKING:
    from analysis.chapters.study import Study

__all__ = [
    "caveats",
    "describe_datasets",
    "describe_layers",
    "describe_networks",
    "describe_overlaps",
    "overlap_of",
]

UNGROUPED = "\N{EN DASH}"


def overlap_of(dataset: str, source_task: str | None) -> Overlap:
    """Overlap of a dataset with a source task; of no group for folders and unknown tasks."""
    if source_task is None or dataset not in CARDS:
        return Overlap()
    return CARDS[dataset].overlap_with(source_task)


def describe_datasets(study: Study) -> pd.DataFrame:
    """One row per dataset: images, classes, images per class, overlap with each source task."""
    rows = []
    for name in study.datasets:
        data = study.data(name)
        sizes = np.bincount(data.labels, minlength=len(data.classes))
        alike = sizes.min() == sizes.max()
        spread = "in every class" if alike else f"({sizes.min()} to {sizes.max()})"
        row: dict[str, Any] = {
            "dataset": name,
            "images": len(data),
            "classes": len(data.classes),
            "images per class": f"{sizes.mean():.0f} {spread}",
        }
        for task in _source_tasks(study):
            row[f"overlap with {task}"] = overlap_of(name, task).group or UNGROUPED
        rows.append(row)
    return pd.DataFrame(rows)


def describe_overlaps(study: Study) -> pd.DataFrame:
    """One row per source task and dataset: its group, and why."""
    rows = [
        {
            "source task": task,
            "dataset": name,
            "group": overlap.group or UNGROUPED,
            "because": overlap.reason or "nobody has compared them",
        }
        for task in _source_tasks(study)
        for name in study.datasets
        for overlap in [overlap_of(name, task)]
    ]
    return pd.DataFrame(rows, columns=["source task", "dataset", "group", "because"])


def describe_networks(study: Study) -> pd.DataFrame:
    """One row per network: its weights, layers and features."""
    rows = []
    for spec in study.networks:
        net = study.backbone(spec)
        rows.append(
            {
                "network": net.name,
                "weights": net.weights,
                "layers": len(net.layers),
                "features": net.n_features,
                "input": f"{net.preprocessing.crop} × {net.preprocessing.crop} px",
            }
        )
    return pd.DataFrame(rows)


def describe_layers(study: Study) -> pd.DataFrame:
    """One row per layer of each architecture: its kind, positions and features."""
    architectures = {study.backbone(spec).name: study.backbone(spec) for spec in study.networks}
    kinds = KINDS | {"block": "convolutional block"}
    rows = [
        {
            "network": name,
            "layer": layer.name,
            "kind": kinds.get(layer.kind, layer.kind),
            "positions": " × ".join(map(str, layer.spatial)) if layer.spatial else "1",
            "features": layer.units,
        }
        for name, net in architectures.items()
        for layer in net.layers
    ]
    return pd.DataFrame(rows)


def caveats(study: Study) -> str:
    """Say what a reader must know before the numbers, as Markdown."""
    untrained = [spec for spec in study.networks if study.backbone(spec).weights == "random"]
    if not untrained:
        return "Every network of this study has been trained."
    names = ", ".join(f"`{spec}`" for spec in untrained)
    return (
        f"**{names} was never trained.** Its weights are random: what its features tell apart, "
        "they tell apart by architecture alone. Read these numbers as the baseline that a "
        "trained network has to exceed."
    )


def _source_tasks(study: Study) -> list[str]:
    tasks = (study.backbone(spec).source_task for spec in study.networks)
    return list(dict.fromkeys(task for task in tasks if task))
