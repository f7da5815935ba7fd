"""Coarse groups of ImageNet's classes, from their places in the WordNet hierarchy.

Conventions
-----------
A class of ImageNet is a noun of WordNet 3.0, ``n`` and eight digits (its *wnid*), which are its
place in WordNet's file of nouns. That file is sorted by subject (animals before artefacts, before
food, and so on) and, within animals, by kind. So the digits alone tell the group. The borders below
lie between the 1,000 classes of ILSVRC 2012, for which the groups are meant.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["COARSE_GROUPS", "coarse_groups"]

COARSE_GROUPS = (
    "birds",
    "dogs",
    "other mammals",
    "other animals",
    "artefacts",
    "food, plants, fungi",
    "land, sea, people",
)
"""Names of the groups."""

_BIRD, _DOG, _MAMMAL, _ANIMAL, _THING, _FOOD, _LAND = COARSE_GROUPS
_FROM = (
    (1_313_093, _ANIMAL),  # fishes
    (1_503_061, _BIRD),
    (1_627_424, _ANIMAL),  # amphibians, reptiles, spiders
    (1_789_740, _BIRD),  # fowl and parrots
    (1_861_778, _MAMMAL),  # that lay eggs or have pouches
    (1_905_661, _ANIMAL),  # jellyfish, snails, crabs
    (2_000_954, _BIRD),  # of water
    (2_062_017, _MAMMAL),  # of the sea
    (2_084_071, _DOG),
    (2_114_100, _MAMMAL),  # wolves, cats, bears
    (2_159_955, _ANIMAL),  # insects, starfish
    (2_323_449, _MAMMAL),  # hares, hoofed animals, apes
    (2_512_053, _ANIMAL),  # fishes
    (2_663_000, _THING),
    (7_555_000, _FOOD),
    (9_186_000, _LAND),
    (11_529_000, _FOOD),
    (13_200_000, _THING),
)
_STARTS = [start for start, _ in _FROM]
_WNID = re.compile(r"n(\d{8})(?:\D|$)")


def coarse_groups(names: Iterable[str]) -> NDArray[np.str_] | None:
    """Coarse group of each class, by the wnid that its name begins with.

    Parameters
    ----------
    names : iterable of str
        Names of classes, such as ``"n02123045_tabby"``.

    Returns
    -------
    ndarray of str, or None
        One of :data:`COARSE_GROUPS` for each name; None if any name does not begin with a wnid.
    """
    found = [_WNID.match(name) for name in names]
    if not found or not all(found):
        return None
    places = [int(match.group(1)) for match in found if match]
    return np.array([_FROM[bisect_right(_STARTS, place) - 1][1] for place in places])
