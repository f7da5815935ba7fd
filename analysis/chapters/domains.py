"""Which datasets of a study are domains of each other: the same classes, seen otherwise.

Conventions
-----------
domains
    Two datasets are domains of each other if the names of their classes are exactly the same, in
    any order, and neither of these holds:

    the same images
        They have an image in common, byte by byte: what is tested on one could have been learnt on
        the other.
    the same rule
        Both are drawn, and each class by the same function with the same options; only seed, stream
        and numbers of images differ. They are two samples of one domain. Of images that are not
        drawn nothing of the kind is known, so that two halves of one collection pass for domains.
directions
    Every two domains give two pairs, each of them once the source. Pairs come in the order of
    the study's datasets, of the source first.
labels
    Classes are compared by name, since their numbers may differ.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from itertools import permutations
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.data import ImageDataset
from analysis.data.drawn import DrawnImages
from analysis.data.images import hashing_threads

NO_PAIRS = (
    "This chapter learns from one dataset and is tested on another with the same classes, seen "
    "otherwise. This study has no two such datasets. Name another one whose classes have exactly "
    "the same names, for instance a second folder with the same sub-folders: "
    "`make book DATASETS=folder:/first,folder:/second`."
)
_COLUMNS = ("source", "target", "classes", "source_images", "target_images", "refused")
_DRAWS = {"seed", "stream"}  # options that draw anew by the same rule


class DomainPair(NamedTuple):
    """Names of two datasets: one to learn from, one to be tested on."""

    source: str
    target: str

    @property
    def short(self) -> str:
        """Both names with an arrow between, without what their beginnings share up to a slash."""
        source, target = (name.rpartition("/") for name in self)
        if source[0] == target[0]:
            return f"{source[2]} → {target[2]}"
        return f"{self.source} → {self.target}"


def domain_pairs(datasets: Mapping[str, ImageDataset], *, n_target: int = 0) -> list[DomainPair]:
    """Pairs of datasets that are domains of each other.

    Parameters
    ----------
    datasets : mapping of str to ImageDataset
        Datasets by name.
    n_target : int
        Labelled images that each class of the target has to give; one more must be left to test.

    Returns
    -------
    list of DomainPair
        Both directions of each, unless one of them lacks images.

    Raises
    ------
    ValueError
        If there are none; the message says what would be one.
    """
    return pairs_of(compare_domains(datasets, n_target=n_target))


def pairs_of(table: pd.DataFrame) -> list[DomainPair]:
    """Pairs that a table of :func:`compare_domains` does not refuse; ValueError if none is left."""
    kept = table[table["refused"] == ""]
    if kept.empty:
        raise ValueError(NO_PAIRS)
    return [DomainPair(*names) for names in zip(kept["source"], kept["target"], strict=True)]


def compare_domains(datasets: Mapping[str, ImageDataset], *, n_target: int = 0) -> pd.DataFrame:
    """Every two datasets with the same classes, and why some are no pair of domains.

    Parameters
    ----------
    datasets : mapping of str to ImageDataset
        Datasets by name. Files are read, but only of datasets that share their classes.
    n_target : int
        As in :func:`domain_pairs`.

    Returns
    -------
    DataFrame
        A row for each direction: ``source``, ``target``, ``classes`` (number), ``source_images``,
        ``target_images``, and ``refused``: empty, or why they are no pair.
    """
    digests: dict[str, frozenset[bytes]] = {}
    rows = []
    for pair in permutations(datasets, 2):
        source, target = (datasets[name] for name in pair)
        if len(source.classes) < 2 or sorted(source.classes) != sorted(target.classes):
            continue
        for name in pair:
            if name not in digests:
                digests[name] = _digests(datasets[name])
        refused = _too_few(source, 0) or _too_few(target, n_target)
        refused = _of_one_domain(source, target, digests[pair[0]] & digests[pair[1]]) or refused
        sizes = (len(source.classes), len(source), len(target))
        rows.append(dict(zip(_COLUMNS, (*pair, *sizes, refused), strict=True)))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def named_labels(data: ImageDataset) -> NDArray[np.str_]:
    """Name of the class of each image, shape (images,)."""
    return np.asarray(data.classes)[data.labels]


def _of_one_domain(source: ImageDataset, target: ImageDataset, shared: frozenset[bytes]) -> str:
    """Why two datasets of the same classes are samples of one domain; empty if they are not."""
    if shared:
        return f"{len(shared)} images are in both"
    rules = _rules(source), _rules(target)
    return "drawn by the same rule" if rules[0] and rules[0] == rules[1] else ""


def _too_few(data: ImageDataset, n_labelled: int) -> str:
    least = int(np.bincount(data.labels, minlength=len(data.classes)).min())
    if least > n_labelled:
        return ""
    return f"a class of {data.name} has {least} images, and {n_labelled + 1} are needed"


def _digests(data: ImageDataset) -> frozenset[bytes]:
    with hashing_threads() as pool:
        return frozenset(pool.map(data.source.digest, range(len(data))))


def _rules(data: ImageDataset) -> frozenset[Hashable]:
    """How each class is drawn, whatever is drawn; nothing for images that are not drawn."""
    if not isinstance(data.source, DrawnImages):
        return frozenset()
    return frozenset(
        (each.render, each.label, _style(each.options)) for each in data.source.drawings
    )


def _style(options: Iterable[tuple[str, Hashable]]) -> tuple[tuple[str, Hashable], ...]:
    return tuple(option for option in options if option[0] not in _DRAWS)
