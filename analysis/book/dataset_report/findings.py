"""What the report says of a dataset, as tables and pictures for its notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.data.images import identical_images
from analysis.data.readers import left_out_by_reason
from analysis.figures.dataset_report import ImagePair
from analysis.statistics.noise import ends_of

if TYPE_CHECKING:
    from analysis.book.dataset_report.study import DatasetStudy
    from analysis.data import ImageDataset

__all__ = [
    "MUCH_BROKEN",
    "broken_files",
    "identical_files",
    "image_pairs",
    "pairs_by_class",
    "strongest_of_classes",
    "warnings_of",
    "what_was_read",
    "with_paths",
]

MUCH_BROKEN = 0.02
"""Share of images left out from which on the report says so before anything else."""


def what_was_read(study: DatasetStudy) -> pd.DataFrame:
    """Facts of the dataset and the network, in two columns."""
    data, net = study.images, study.backbone(study.networks[0])
    sizes = np.bincount(data.labels, minlength=len(data.classes))
    ends = {"smallest class": sizes.argmin(), "largest class": sizes.argmax()}
    per_class = {"class sizes": f"{sizes[0]:,} images in every class"}
    if sizes.min() < sizes.max():
        per_class = {"images per class, mean": f"{sizes.mean():.1f}"} | {
            name: f"{data.classes[label]} ({sizes[label]:,})" for name, label in ends.items()
        }
    rows = {
        "dataset": data.name,
        "images": f"{len(data):,}",
        "classes": f"{len(data.classes):,}",
        **per_class,
        "images left out": "; ".join(left_out_by_reason(data)) or "0",
        "network": f"{net.name}, weights {net.weights}",
        "features": f"{net.n_features:,} of {len(net.layers)} layers",
        "crops": study.crops,
    }
    return pd.DataFrame({"": rows.keys(), " ": rows.values()})


def broken_files(data: ImageDataset) -> pd.DataFrame:
    """Images that were left out: ``path`` and ``reason``."""
    rows = [(path, reason.rpartition(f"{path}: ")[2]) for path, reason in data.skipped]
    return pd.DataFrame(rows, columns=["path", "reason"])


def warnings_of(data: ImageDataset) -> list[str]:
    """Sentences that a reader must see first."""
    files = len(data) + len(data.skipped)
    share = len(data.skipped) / files
    said = []
    if share >= MUCH_BROKEN:
        said.append(
            f"{len(data.skipped):,} of {files:,} images ({share:.1%}) are left out; they are named "
            f"below. All numbers are of the others. {'; '.join(left_out_by_reason(data))}."
        )
    sizes = np.bincount(data.labels, minlength=len(data.classes))
    small = int((sizes < 10).sum())
    if small:
        said.append(
            f"{small:,} of {len(sizes):,} classes have fewer than ten images. By chance alone, "
            "wide distances are common in such classes."
        )
    return said


def identical_files(data: ImageDataset) -> pd.DataFrame:
    """Images that are the same byte by byte: ``group``, ``path``, ``class`` and ``classes``.

    ``classes`` is the number of classes in the group; groups that lie in several come first, for
    at least one of their labels must be wrong.
    """
    groups = identical_images(data)
    groups.sort(key=lambda group: -np.unique(data.labels[group]).size)
    rows = [
        {
            "group": number,
            "path": data.paths[position],
            "class": data.classes[data.labels[position]],
            "classes": np.unique(data.labels[group]).size,
        }
        for number, group in enumerate(groups, start=1)
        for position in group
    ]
    return pd.DataFrame(rows, columns=["group", "path", "class", "classes"])


def with_paths(data: ImageDataset, pairs: pd.DataFrame) -> pd.DataFrame:
    """Pairs of images by their paths: ``first``, ``second``, ``distance`` and ``same_class``."""
    paths = np.array(data.paths, dtype=object)
    ends = {end: paths[pairs[end].to_numpy(dtype=int)] for end in ("first", "second")}
    return pairs.assign(**ends)


def pairs_by_class(data: ImageDataset, pairs: pd.DataFrame) -> pd.DataFrame:
    """Pairs of images, counted by their classes.

    Parameters
    ----------
    data
        The images.
    pairs
        Of :func:`analysis.statistics.similarity.near_duplicates`.

    Returns
    -------
    DataFrame
        ``class``, ``other_class``, ``pairs`` and ``least_distance``; pairs across classes first,
        then those of classes with most.
    """
    names = np.array(data.classes, dtype=object)
    labels = np.sort(data.labels[pairs[["first", "second"]].to_numpy(dtype=int)], axis=1)
    table = pd.DataFrame(
        {"class": names[labels[:, 0]], "other_class": names[labels[:, 1]]}, dtype=object
    ).assign(distance=pairs["distance"].to_numpy(), across=labels[:, 0] != labels[:, 1])
    grouped = table.groupby(["across", "class", "other_class"], sort=False)["distance"]
    counted = grouped.agg(pairs="size", least_distance="min").reset_index()
    order = ["across", "pairs", "least_distance"]
    counted = counted.sort_values(order, ascending=[False, False, True], kind="stable")
    return counted.drop(columns="across").reset_index(drop=True)


def image_pairs(data: ImageDataset, pairs: pd.DataFrame, n: int) -> list[ImagePair]:
    """Pictures of the first ``n`` pairs, those across classes before the others."""
    first = pairs.sort_values("same_class", kind="stable").head(n)
    return [
        ImagePair(
            first=data[row["first"]],
            second=data[row["second"]],
            names=(data.paths[row["first"]], data.paths[row["second"]]),
            distance=row["distance"],
        )
        for row in first.to_dict("records")
    ]


def strongest_of_classes(
    study: DatasetStudy, described: pd.DataFrame, side: str, *, most: int
) -> pd.DataFrame:
    """Widest feature of each class, as :func:`analysis.chapters.marked_classes` takes it.

    Parameters
    ----------
    study
        Names the network and the dataset.
    described
        Of :func:`analysis.statistics.noise.describe_classes`.
    side
        ``"presence"`` or ``"absence"``.
    most
        Rows at most: of more classes, the best and the least described ones.

    Returns
    -------
    DataFrame
        ``network``, ``dataset``, ``class``, ``layer``, ``unit`` and ``distance``; without classes
        that have no distance of that sign.
    """
    sign = {"presence": 1, "absence": -1}[side]
    columns: dict[str, Any] = {f"{side}_{name}": name for name in ("layer", "unit", "distance")}
    chosen = described.iloc[ends_of(len(described), most)].rename(columns=columns)
    chosen = chosen[sign * chosen["distance"] > 0]
    table = chosen[["class", *columns.values()]]
    return table.assign(network=study.networks[0], dataset=study.datasets[0])
