"""A study of one dataset whose files may be broken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from analysis.chapters import Study
from analysis.chapters.study import as_names
from analysis.data import ImageDataset, load_dataset

__all__ = ["DatasetStudy", "refuse_unusable", "write_broken"]


@dataclass
class DatasetStudy(Study):
    """The first dataset and the first network of a study; unreadable images are left out.

    Parameters
    ----------
    title, datasets, networks, crops, seed, reference_images, results, max_images, progress
        As for :class:`analysis.chapters.Study`; further datasets and networks are not looked at.
    broken
        JSON file that names the images to leave out, from :func:`write_broken`. Empty: every image
        of the dataset is read once to find them.

    Raises
    ------
    ValueError
        As for ``Study``, and for datasets that :func:`refuse_unusable` refuses.
    """

    broken: str = ""

    def __post_init__(self) -> None:
        self.datasets = as_names("datasets", self.datasets)[:1]
        self.networks = as_names("networks", self.networks)[:1]
        super().__post_init__()
        refuse_unusable(self.images)

    @property
    def images(self) -> ImageDataset:
        """The dataset."""
        return self.data(self.datasets[0])

    def _load(self, name: str) -> ImageDataset:
        if name not in self.datasets:
            return super()._load(name)
        if not self.broken:
            return load_dataset(name, on_error="skip", progress=self.progress)
        reasons = json.loads(Path(self.broken).read_text(encoding="utf-8"))
        return _leave_out(load_dataset(name), reasons)


def write_broken(data: ImageDataset, path: Path) -> Path:
    """Write which images of a dataset were left out, and why, as JSON."""
    path.write_text(json.dumps(dict(data.skipped), ensure_ascii=False), encoding="utf-8")
    return path


def refuse_unusable(data: ImageDataset) -> None:
    """Stop where there is nothing to compare.

    Raises
    ------
    ValueError
        If there are fewer than two classes, or a class has fewer than two readable images; the
        message names the classes and says what to do.
    """
    if len(data.classes) < 2:
        raise ValueError(
            f"{data.name} has one class, {data.classes[0]!r}: a class is compared with the images "
            "outside it, so there must be two or more sub-folders"
        )
    sizes = np.bincount(data.labels, minlength=len(data.classes))
    small = [data.classes[label] for label in np.flatnonzero(sizes < 2)]
    if small:
        named = ", ".join(map(repr, small[:10])) + (" …" if len(small) > 10 else "")
        broken = f" ({len(data.skipped)} images left out)" if data.skipped else ""
        raise ValueError(
            f"every class needs two readable images or more, but {len(small)} of "
            f"{len(data.classes)} in {data.name}{broken} have fewer: {named}; add images, or move "
            "these folders away"
        )


def _leave_out(data: ImageDataset, reasons: Mapping[str, str]) -> ImageDataset:
    kept = np.array([path not in reasons for path in data.paths])
    lost = reasons.keys() - set(data.paths) - dict(data.skipped).keys()
    if lost:
        raise ValueError(
            f"{data.name} has changed: it lacks {len(lost)} of the {len(reasons)} images that were "
            "left out before"
        )
    return replace(data.subset(kept), skipped=tuple(reasons.items())) if reasons else data
