"""The noise thresholds without shuffling: what chance is expected to put beyond every distance.

Under shuffled labels the number of features beyond x has an expectation that needs no shuffle: the
sum over features of P(D > x), a law that depends on the sizes of the class and of the dataset and
on the feature's equal values. Put in the place of the shuffled counts in d_avg (module ``noise``),
it gives the thresholds. The paper has no such thing. This goes further than a fit to the number of
images per class: a threshold depends on the real distances and on the ties as well.

Conventions
-----------
conditional law
    Given how many images share a feature's lowest value (zeros, after a rectifier) or its highest,
    whichever are more. Other equal values are taken to differ.
classical law
    All values differ.
accuracy
    Distances at every 0.001. The law is exact at some 40 distances, some 40 numbers of zeros and at
    most 8 class sizes (bridges from 250 images on, module ``significance``), and linear between
    them; over the classes and features of an embedding this comes to less than 1 % of the expected
    number of features, against every feature and class by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.noise import checked_distances, thresholds_between
from analysis.statistics.significance import gaps_of, scale_of, signed_tails

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Law = Literal["conditional", "classical"]

STEP = 0.001
GRID = np.linspace(0.0, 1.0, 1001)
SIZES = 8
PATTERNS = 40
NEXT = 0.8  # of the images that are not tied, from one number of them to the next
_LEAST = 1e-12


@dataclass(frozen=True, eq=False)
class ExpectedThresholds:
    """Thresholds from the expected counts, and these counts.

    Attributes
    ----------
    t_plus, t_minus : float
        In [0, 1] and [-1, 0], multiples of 0.001.
    x : ndarray of float64, shape (1001,)
        0 to 1.
    d_avg_plus, d_avg_minus : ndarray of float64, shape (1001,)
        Features per class with D > x, with D < -x, more than expected by chance.
    chance_plus, chance_minus : ndarray of float64, shape (1001,)
        Features per class expected there by chance.
    """

    t_plus: float
    t_minus: float
    x: Floats
    d_avg_plus: Floats
    d_avg_minus: Floats
    chance_plus: Floats
    chance_minus: Floats


def expected_threshold(
    D: ArrayLike, class_sizes: ArrayLike, tie_counts: ArrayLike, *, law: Law = "conditional"
) -> ExpectedThresholds:
    """Thresholds at which real labels differ most from what chance is expected to do.

    Parameters
    ----------
    D : array_like or DataArray, shape (classes, features)
        Signed distances under the labels.
    class_sizes : array_like of int, shape (classes,)
        Images of each class.
    tie_counts : array_like of int, shape (features, 2)
        As of :func:`tie_counts`.
    law : {"conditional", "classical"}
        Given the features' ties, or as if all values differed.

    Returns
    -------
    ExpectedThresholds
        To be compared with :func:`~analysis.statistics.noise_thresholds`.

    Raises
    ------
    ValueError
        Shapes that do not belong together, classes without images, ties of more images than there
        are, another law.
    """
    real = checked_distances(D)
    sizes, ties = np.asarray(class_sizes, np.int64), np.asarray(tie_counts, np.int64)
    if law not in get_args(Law):
        raise ValueError(f"expected law to be one of {get_args(Law)}, got {law!r}")
    if sizes.shape != real.shape[:1] or ties.shape != (real.shape[1], 2):
        raise ValueError(
            f"expected {len(real)} class sizes and ties of shape {(real.shape[1], 2)} for "
            f"distances of shape {real.shape}, got {sizes.shape} and {ties.shape}"
        )
    n_images = int(sizes.sum())
    if sizes.size < 2 or sizes.min() < 1 or ties.min() < 1 or ties.max() > n_images:
        raise ValueError(
            "expected two classes or more, each with an image, and ties of 1 image up to all"
        )
    return Chance.of(sizes, ties, law).thresholds(real)


class Chance(NamedTuple):
    """What chance does to each feature, worked out once for all parts of an embedding.

    Attributes
    ----------
    weights : ndarray of float64, shape (features, patterns)
        How much of each law a feature has.
    plus, minus : ndarray of float64, shape (patterns, points)
        P(D > x) and P(D < -x) for some numbers of tied images, means over the classes.
    """

    weights: Floats
    plus: Floats
    minus: Floats

    @classmethod
    def of(cls, sizes: Integers, ties: Integers, law: Law) -> Chance:
        """Laws for class sizes (classes,) and ties (features, 2), which are taken as checked."""
        n_images = int(sizes.sum())
        if law == "classical":
            ties = np.ones_like(ties)
        found, counts = np.unique(sizes, return_counts=True)
        each = tuple(zip(found.tolist(), counts.tolist(), strict=True))
        at_top, hidden = ties[:, 1] > ties[:, 0], ties.max(axis=1)
        images = n_images - np.where(hidden > 1, hidden, 0)
        parts = []
        for top in np.unique(at_top):
            own = at_top == top
            free = _numbers_of_free_images(images[own], n_images)
            laws = _laws_by_ties(each, n_images, tuple(free.tolist()), bool(top))
            parts.append((_hats(images, free) * own[:, None], *laws))
        weights, plus, minus = zip(*parts, strict=True)
        return cls(np.hstack(weights), np.vstack(plus), np.vstack(minus))

    def thresholds(self, D: Floats, features: Integers | slice = slice(None)) -> ExpectedThresholds:
        """Thresholds from the distances D (classes, features) of some features alone."""
        weights = self.weights[features].sum(axis=0)
        null_plus, null_minus = weights @ self.plus, weights @ self.minus
        plus, minus = (_above(sign * D) - null for sign, null in ((1, null_plus), (-1, null_minus)))
        return ExpectedThresholds(
            t_plus=float(GRID[plus.argmax()]),
            t_minus=0.0 - float(GRID[minus.argmax()]),
            x=GRID,
            d_avg_plus=plus,
            d_avg_minus=minus,
            chance_plus=null_plus,
            chance_minus=null_minus,
        )


def _above(D: Floats) -> Floats:
    """Features per class above each x, in the mean over the classes."""
    ordered = np.sort(D[D > 0])
    return np.asarray((ordered.size - np.searchsorted(ordered, GRID, side="right")) / len(D))


@lru_cache(maxsize=32)
def _laws_by_ties(
    sizes: tuple[tuple[int, int], ...], n_images: int, free: tuple[int, ...], at_top: bool
) -> tuple[Floats, Floats]:
    """P(D > x) and P(D < -x), each (patterns, points), for numbers of images that are not tied.

    ``sizes`` are class sizes with the number of such classes; the laws are means over classes.
    """
    laws = np.zeros((2, len(free), GRID.size))
    total = sum(count for _, count in sizes)
    nodes = _size_nodes(np.array([size for size, _ in sizes]))
    all_weights = _hats(np.log([size for size, _ in sizes]), np.log(nodes))
    for (size, count), weights in zip(sizes, all_weights, strict=True):
        places = _places_on_bridge(size, n_images)
        for at in np.flatnonzero(weights):
            for row, images in enumerate(free):
                if images > 0:  # a constant feature has no distance
                    both = _at(places, int(nodes[at]), n_images, n_images - images, at_top)
                    laws[:, row] += weights[at] * count / total * both
    return laws[0], laws[1]


def _at(places: Floats, node: int, n_images: int, hidden: int, at_top: bool) -> Floats:
    """Tails (2, points) of a class of ``node`` images, at places in units of the bridge."""
    known = _middles(gaps_of(node, n_images), node, n_images)
    tails = signed_tails(node, n_images, hidden, at_top)
    logs = [np.log(np.maximum(tail, _LEAST)) for tail in tails]
    found = np.exp([np.interp(places, known, log, right=np.log(_LEAST)) for log in logs])
    return np.asarray(np.where(found > 2 * _LEAST, found, 0.0))


def _places_on_bridge(size: int, n_images: int) -> Floats:
    """Where the next wider distance than each x of the grid lies, in units of the bridge."""
    step = np.gcd(size, n_images)
    steps = np.floor(GRID * (size * (n_images - size) / step) + 1e-9).astype(np.int64) + 1
    return _middles(steps * step, size, n_images)


def _middles(gaps: Integers, size: int, n_images: int) -> Floats:
    """Gaps in units of the bridge, less half a step, for which classes of any size are alike."""
    return np.asarray((gaps - np.gcd(size, n_images) / 2) / scale_of(size, n_images))


def _numbers_of_free_images(images: Integers, n_images: int) -> Integers:
    """Those that occur, if few; else from none (a constant feature) to all, closer where few."""
    found = np.unique(images)
    if found.size <= PATTERNS:
        return found
    powers = n_images * NEXT ** np.arange(np.ceil(np.log(n_images) / -np.log(NEXT)) + 1)
    return np.unique(np.append(np.maximum(np.round(powers), 1), 0).astype(np.int64))


def _size_nodes(sizes: Integers) -> Integers:
    if sizes.size <= SIZES:
        return sizes
    return np.unique(np.round(np.geomspace(sizes.min(), sizes.max(), SIZES)).astype(np.int64))


def _hats(values: NDArray[Any], nodes: NDArray[Any]) -> Floats:
    """Weights (values, nodes) of linear interpolation between ascending nodes."""
    return np.stack([np.interp(values, nodes, unit) for unit in np.eye(np.size(nodes))], axis=-1)


LAWS: tuple[Law, ...] = get_args(Law)
WEAK = 0.02  # of the features


def compare_thresholds(
    D: xr.DataArray, shuffled: ArrayLike, class_sizes: ArrayLike, tie_counts: ArrayLike
) -> pd.DataFrame:
    """Set expected thresholds beside measured ones, for the embedding and for each layer.

    Parameters
    ----------
    D : DataArray (class, feature) with the coordinate ``layer``
        Signed distances under the labels.
    shuffled : array_like, shape (shuffles, classes, features)
        Under shuffled labels.
    class_sizes, tie_counts
        As for :func:`expected_threshold`.

    Returns
    -------
    DataFrame
        A row per part (``"all"``, then the layers) and side: ``part``, ``units``, ``side`` ("t+"
        or "t-"); ``measured``, ``spread``, and ``d_avg``, the maximum in features per class; and
        for both laws the expected threshold, ``LAW``, the measured d_avg there, ``LAW_d_avg``, and
        ``LAW_within``, whether it is within two spreads (or 0.001, if that is more) of the
        measured one. ``weak`` marks parts whose d_avg is nowhere above 2 % of their features: it is
        then mostly what the shuffles drawn left over, and the place of its maximum means little.
    """
    real, noise, layers = checked_distances(D), np.asarray(shuffled), D["layer"].to_numpy()
    sizes, ties = np.asarray(class_sizes, np.int64), np.asarray(tie_counts, np.int64)
    chances = {law: Chance.of(sizes, ties, law) for law in LAWS}
    rows = []
    for part in ("all", *dict.fromkeys(layers.tolist())):
        own = np.flatnonzero((layers == part) | (part == "all"))
        laws = {law: chance.thresholds(real[:, own], own) for law, chance in chances.items()}
        rows += _compared(str(part), real[:, own], noise[..., own], laws)
    return pd.DataFrame(rows)


def costs_by_law(table: pd.DataFrame) -> pd.DataFrame:
    """Sum up how far expected thresholds are from measured ones, and what that costs.

    Parameters
    ----------
    table
        Rows of :func:`compare_thresholds`.

    Returns
    -------
    DataFrame
        A row for each ``whole`` (embeddings, or single layers), ``weak`` and ``law``: ``number`` of
        thresholds, their mean ``distance`` from the measured ones, ``cost`` (what the measured
        d_avg lacks there of its maximum, as a mean share of the features) and the share
        ``within``.
    """
    parts = []
    for law in LAWS:
        facts = table[["weak"]].assign(whole=table["part"] == "all", law=law, number=1)
        facts["distance"] = (table[law] - table["measured"]).abs()
        facts["cost"] = (table["d_avg"] - table[f"{law}_d_avg"]) / table["units"]
        parts.append(facts.assign(within=table[f"{law}_within"]))
    means = {"number": "sum", "distance": "mean", "cost": "mean", "within": "mean"}
    groups = pd.concat(parts).groupby(["whole", "weak", "law"], sort=False)
    return groups.agg(means).reset_index()


def _compared(
    part: str, real: Floats, noise: Floats, laws: Mapping[Law, ExpectedThresholds]
) -> list[dict[str, Any]]:
    found = thresholds_between(real, noise)
    rows = []
    for side, sign in (("plus", 1), ("minus", -1)):
        measured, spread = getattr(found, f"t_{side}"), getattr(found.spread, f"t_{side}")
        row: dict[str, Any] = {"part": part, "units": real.shape[1]}
        row |= {"side": "t+" if sign == 1 else "t-", "measured": measured, "spread": spread}
        row["d_avg"] = _d_avg_beyond(sign * measured, sign * real, sign * noise)
        row["weak"] = bool(row["d_avg"] < WEAK * real.shape[1])
        for law, expected in laws.items():
            t = getattr(expected, f"t_{side}")
            row[law] = t
            row[f"{law}_d_avg"] = _d_avg_beyond(sign * t, sign * real, sign * noise)
            row[f"{law}_within"] = bool(abs(t - measured) <= np.fmax(2 * spread, STEP))
        rows.append(row)
    return rows


def _d_avg_beyond(x: float, real: Floats, noise: Floats) -> float:
    """d_avg of one side at one distance."""
    return float((real > x).sum() - (noise > x).sum() / len(noise)) / len(real)
