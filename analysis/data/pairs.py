"""Pairs of datasets with the same classes: one to learn from, one to be tested on.

Conventions
-----------
spelling
    ``"source → target"`` or ``"source -> target"``, both as for ``load_dataset``.
classes in common
    Of the pairs of dos Santos and Ponti (2019, section IV), those of :data:`PAIRS`. Of any other
    pair, classes of the same name; capitals, spaces, ``_`` and ``-`` make no difference, so that
    ``Coffee mug`` and ``coffee_mug`` are one. Their names and their order are those of the source.
a dataset and itself
    ``"corel1000 → corel1000"`` is split at random: of each class four fifths, rounded, are the
    source and the rest is the target. The paper says 80/20 and not whether by class.
what is left out
    Images of other classes. They are counted in ``Pair.left_out``, told in ``Pair.note`` and
    logged.

Numbers of the paper that agree: HAM10000 has 6,705 nevi and 1,113 melanomas, together the "about
7,800" images; PH2 has 160 nevi (80 common, 80 atypical) and 40 melanomas, 200 images; Corel-1000
gives 800 and 200; Amazon and Webcam of Office-31 have 2,817 and 795 images of 31 classes. That of
Supermarket Produce is not known to agree: all accuracies of its table are multiples of 1/2004.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from analysis.data.images import ImageDataset, merge_classes
from analysis.data.readers import load_dataset

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class PairCard:
    """What is known about a pair whose classes have other names in each dataset.

    Attributes
    ----------
    classes : mapping of str to (tuple of str, tuple of str)
        Name of each class in common, and the classes of the source and of the target that make it
        up.
    note : str
        What was decided because the paper does not say it.
    """

    classes: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
    note: str = ""


#: Pairs with names of their own, by how they are spelled.
PAIRS: Mapping[str, PairCard] = {
    "fruits360 → supermarket_produce": PairCard(
        {
            "red apple": (
                ("Apple Red 1", "Apple Red 2", "Apple Red 3", "Apple Red Delicious"),
                ("fuji_apple",),
            ),
            "green apple": (("Apple Granny Smith",), ("granny_smith_apple",)),
            "kiwi": (("Kiwi",), ("kiwi",)),
            "lime": (("Limes",), ("taiti_lime",)),
            "nectarine": (("Nectarine",), ("nectarine",)),
            "orange": (("Orange",), ("orange",)),
            "peach": (("Peach",), ("diamond_peach",)),
            "pear": (("Pear",), ("spanish_pear",)),
            "plum": (("Plum",), ("plum",)),
        },
        "The nine names are the paper's. It joins several classes of red apples and does not list "
        "them: here those that are called red and nothing else. Of other fruits the class without "
        "the name of a variety is taken, for want of a list.",
    ),
    "ham10000 → ph2": PairCard(
        {
            "nevus": (("nv",), ("common nevus", "atypical nevus")),
            "melanoma": (("mel",), ("melanoma",)),
        },
        "PH2's common and atypical nevi are one class, as in the paper, which counts two.",
    ),
}


@dataclass(frozen=True)
class Pair:
    """Two datasets with the same classes in the same order; unpacks as ``source, target``.

    Attributes
    ----------
    source, target : ImageDataset
        Lazy, like the datasets that they are taken from. Their fingerprints are those of the images
        and classes that are left.
    left_out : tuple of two mappings of str to int
        Of the source and of the target, the classes that are not in common, and their images.
    note : str
        How many images and classes are left out, and what was decided.
    """

    source: ImageDataset
    target: ImageDataset
    left_out: tuple[Mapping[str, int], Mapping[str, int]]
    note: str

    def __iter__(self) -> Iterator[ImageDataset]:
        return iter((self.source, self.target))


def load_pair(name: str, *, seed: int = 0, fetch: bool = False, progress: bool = False) -> Pair:
    """Two datasets with the same classes, by name.

    Parameters
    ----------
    name : str
        ``"source → target"``, such as ``"ham10000 → ph2"`` or ``"digits_rendered → digits"``.
    seed : int
        Seed of the split of a dataset that is paired with itself; else nothing is drawn.
    fetch : bool
        Download what is not on disk.
    progress : bool
        Show progress bars.

    Returns
    -------
    Pair

    Raises
    ------
    ValueError
        If a name is not known or not spelled as a pair, fewer than two classes are in common (the
        message names those of both), or a class that the pair is made of is missing.
    FileNotFoundError
        If a dataset is not on disk; the message says how to get it.

    Examples
    --------
    >>> source, target = load_pair("digits_rendered → digits")
    >>> source.classes == target.classes
    True
    """
    names = [part.strip() for part in re.split(r"→|(?<=\s)->(?=\s)", name)]
    if len(names) != 2 or not all(names):
        raise ValueError(f"expected a pair such as 'ham10000 → ph2', got {name!r}")
    spelled = " → ".join(names)
    source = load_dataset(names[0], fetch=fetch, progress=progress)
    if names[0] == names[1]:
        return _split(source, seed)
    target = load_dataset(names[1], fetch=fetch, progress=progress)
    card = PAIRS.get(spelled) or _same_names(source, target)
    kept, left_out, notes = [], [], []
    for side, data in enumerate((source, target)):
        classes = {common: parts[side] for common, parts in card.classes.items()}
        kept.append(merge_classes(data, classes))
        counts = np.bincount(data.labels, minlength=len(data.classes)).tolist()
        used = {part for parts in classes.values() for part in parts}
        of_class = zip(data.classes, counts, strict=True)
        left_out.append({name: count for name, count in of_class if name not in used})
        if left_out[side]:
            notes.append(
                f"Left out of {data.name}: {len(left_out[side])} of its {len(data.classes)} "
                f"classes (images: {sum(left_out[side].values()):,})."
            )
    note = " ".join([*notes, card.note]).strip()
    if notes:
        level = logging.INFO if spelled in PAIRS else logging.WARNING
        _LOG.log(level, "%s: %s", spelled, note)
    return Pair(kept[0], kept[1], (left_out[0], left_out[1]), note)


def _same_names(source: ImageDataset, target: ImageDataset) -> PairCard:
    """Classes of the same name in both, in the order and the spelling of the source."""
    ours, theirs = _by_key(source), _by_key(target)
    common = {name: ((name,), (theirs[key],)) for key, name in ours.items() if key in theirs}
    if len(common) < 2:
        raise ValueError(
            f"expected at least two classes in common, found {list(common)}: {source.name} has "
            f"{', '.join(source.classes)}; {target.name} has {', '.join(target.classes)}"
        )
    return PairCard(common)


def _by_key(data: ImageDataset) -> dict[str, str]:
    """Classes of a dataset by what counts of their names."""
    keys: dict[str, str] = {}
    for name in data.classes:
        key = re.sub(r"[\s_-]+", "", name).casefold() or name
        if (other := keys.setdefault(key, name)) != name:
            raise ValueError(
                f"classes {other!r} and {name!r} of {data.name} differ in capitals, spaces, _ or - "
                "alone, so that it cannot be told which is meant; rename one"
            )
    return keys


def _split(data: ImageDataset, seed: int) -> Pair:
    """Split a dataset into a pair without an image in common."""
    rng = np.random.default_rng(seed)
    source = np.zeros(len(data), dtype=bool)
    for label, name in enumerate(data.classes):
        members = rng.permutation(np.flatnonzero(data.labels == label))
        if len(members) < 2:
            raise ValueError(
                f"expected at least two images of each class to split {data.name}, got "
                f"{len(members)} of {name}"
            )
        n_source = min(round(0.8 * len(members)), len(members) - 1)
        source[members[: max(1, n_source)]] = True
    note = (
        f"{data.name} is split at random by class (seed {seed}): {source.sum():,} images to learn "
        f"from, {(~source).sum():,} to be tested on."
    )
    return Pair(
        replace(data.subset(source), name=f"{data.name} (source)"),
        replace(data.subset(~source), name=f"{data.name} (target)"),
        ({}, {}),
        note,
    )
