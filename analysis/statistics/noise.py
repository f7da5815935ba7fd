"""From which distance on a feature is more than noise: the thresholds t+ and t-.

Their estimates by shuffled labels and, without a shuffle, by the law of D_KS; how they depend on
the size of classes; and what they leave of an embedding.

Under shuffled labels the number of features beyond x has an expectation that needs no shuffle: the
sum over features of P(D > x), a law that depends on the sizes of the class and of the dataset and
on the feature's equal values. Put in the place of the shuffled counts in d_avg, it gives the
thresholds. The paper has no such thing. This goes further than a fit to the number of images per
class: a threshold depends on the real distances and on the ties as well.

The paper fits thresholds to the logarithm of that number, over its datasets. A study has fewer
datasets, so classes can be cut to several sizes as well.

Conventions
-----------
d_avg
    ``d_avg(x)`` = mean over classes of #{f : D(f, c) > x} minus the same mean under shuffled
    labels, x in [0, 1]: how many more features per class lie beyond x than chance puts there. For
    absence, #{f : D(f, c) < -x}. Section 7.1 of Garcia-Gasulla et al., *On the behavior of
    convolutional nets for feature extraction*, JAIR 2018.
t+, t-
    Where d_avg is largest: t+ = argmax d_avg(x) >= 0, and t- = -argmax of its mirror image <= 0. A
    pair of a feature and a class is pruned if t- <= D <= t+; of equal maxima the smallest |x|
    counts.
shuffled labels
    Every class keeps its size. The paper does not say how often it shuffled (its Q4). Here the
    counts of several shuffles are averaged before the maximum is looked for. Shuffle k is drawn
    with ``numpy.random.default_rng((seed, k))``; the first is that of
    :func:`analysis.data.shuffle_labels` with the same seed.
resolution
    The maximum is exact, where the paper has 100 bins. d_avg rises only at distances that occur
    under shuffled labels, so t+ and -t- are such distances, or 0.
spread
    Standard deviation (n - 1) of the thresholds that single shuffles give. Where d_avg is flat at
    its top these scatter widely and d_avg hardly: both belong to a threshold.
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
kept
    A pair of a feature and a class is kept if D > t+ or D < t-. The paper's text leaves open what
    becomes of pairs on a threshold; they are pruned here, so that as many features per class are
    kept as d_avg counts.
shares
    Of all pairs of a layer, those at D = 0 and of constant features included.
by chance
    Features that the class keeps under shuffled labels, which leave its size as it is. Small
    classes keep more of them, so classes of different sizes are compared by what they keep beyond
    chance.
under-described
    A class that keeps no more features than it does under one of the shuffles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from analysis.data.images import checked_labels
from analysis.statistics.blocks import conform, over_feature_blocks, require_lazy
from analysis.statistics.ks import RankedFeatures, rank_features, ranked_parts, signed_ks
from analysis.statistics.named import by_name, classes_of, feature_names
from analysis.statistics.significance import (
    LAWS,
    Law,
    false_discovery,
    gaps_of,
    ks_p_values,
    scale_of,
    signed_tails,
    tie_counts,
)

if TYPE_CHECKING:
    from distributed import Client

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

GRID = np.linspace(0.0, 1.0, 101)


class Spread(NamedTuple):
    """Standard deviation of t+ and of t- over single shuffles; NaN if there is only one."""

    t_plus: float
    t_minus: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Thresholds:
    """Thresholds of a dataset, and the curves whose maxima they are.

    Attributes
    ----------
    t_plus, t_minus : float
        In [0, 1] and [-1, 0].
    x : ndarray of float64, shape (points,)
        Ascending distances in [0, 1].
    d_avg_plus, d_avg_minus : ndarray of float64, shape (points,)
        Features per class with D > x, with D < -x, more than by chance.
        ``t_plus == x[d_avg_plus.argmax()]`` and ``t_minus == -x[d_avg_minus.argmax()]``.
    """

    t_plus: float
    t_minus: float
    x: Floats
    d_avg_plus: Floats
    d_avg_minus: Floats


@dataclass(frozen=True, eq=False, kw_only=True)
class NoiseThresholds(Thresholds):
    """Thresholds from shuffled labels; ``x`` is every 0.01, and both thresholds.

    Attributes
    ----------
    spread : Spread
        Standard deviation of both thresholds over single shuffles.
    single : ndarray of float64, shape (shuffles, 2)
        t+ and t- of each shuffle by itself.
    """

    spread: Spread
    single: Floats

    def row(self) -> dict[str, float]:
        """Both thresholds and their spread, as columns of a table."""
        spread = {"spread_plus": self.spread.t_plus, "spread_minus": self.spread.t_minus}
        return {"t_plus": self.t_plus, "t_minus": self.t_minus} | spread


def noise_thresholds(
    X: ArrayLike | RankedFeatures | xr.DataArray,
    labels: ArrayLike,
    n_shuffles: int = 5,
    seed: int = 0,
    *,
    client: Client | None = None,
) -> NoiseThresholds:
    """Thresholds at which real labels differ most from shuffled ones.

    Parameters
    ----------
    X : array_like, DataArray or RankedFeatures, shape (images, features)
        As for :func:`~analysis.statistics.signed_ks`; sorted once for all labellings.
    labels : array_like, shape (images,)
        Class of each image.
    n_shuffles : int
        How many shuffles the noise is averaged over.
    seed : int
        Seed of the shuffles.
    client : distributed.Client, optional
        As for :func:`~analysis.statistics.signed_ks`: workers read, sort and measure blocks of
        features under all labellings, so that every feature is still read and sorted once.

    Returns
    -------
    NoiseThresholds
        t+ and t-, the curves, and how the thresholds scatter.

    Raises
    ------
    ValueError
        No shuffle; what :func:`~analysis.statistics.signed_ks` refuses.
    """
    D = _under_labellings(X, labels, n_shuffles, seed, client=client)
    return thresholds_between(D[0], D[1:])


def shuffled_distances(
    X: ArrayLike | RankedFeatures | xr.DataArray,
    labels: ArrayLike,
    n_shuffles: int = 5,
    seed: int = 0,
) -> Floats:
    """Signed distances under shuffled labels.

    Parameters
    ----------
    X, labels, n_shuffles, seed
        As for :func:`noise_thresholds`.

    Returns
    -------
    ndarray of float64, shape (shuffles, classes, features)
        Under one shuffle after the other.

    Raises
    ------
    ValueError
        As for :func:`noise_thresholds`.
    """
    return _under_labellings(X, labels, n_shuffles, seed, shuffled_only=True)


def _under_labellings(
    X: Any,
    labels: ArrayLike,
    n_shuffles: int,
    seed: int,
    *,
    shuffled_only: bool = False,
    client: Client | None = None,
) -> Floats:
    """Distances (labellings, classes, features): under the labels, then under each shuffle."""
    if n_shuffles < 1:
        raise ValueError(f"expected at least one shuffle, got n_shuffles={n_shuffles}")
    if client is not None:
        X = require_lazy(X)
    ranked = isinstance(X, RankedFeatures)
    n_images, n_features = (X.n_images, X.n_features) if ranked else (X := conform(X)).shape
    classes, members, _ = classes_of(labels, n_images)
    draw = partial(_labellings, members, n_shuffles, seed, shuffled_only)
    if ranked:
        return np.stack([np.asarray(signed_ks(X, y)) for y in draw()])
    out = np.empty((n_shuffles + (not shuffled_only), classes.size, n_features))
    return over_feature_blocks(X, partial(_of_block, draw=draw), client, out)


def _labellings(
    members: NDArray[Any], n_shuffles: int, seed: int, shuffled_only: bool
) -> Iterator[NDArray[Any]]:
    """Yield the labels and shuffles of them, each drawn when it is needed."""
    if not shuffled_only:
        yield members
    for number in range(n_shuffles):
        yield np.random.default_rng((seed, number)).permutation(members)


def _of_block(
    block: NDArray[Any], offset: int, *, draw: Callable[[], Iterator[NDArray[Any]]]
) -> Floats:
    n_images, width = block.shape
    ranked = RankedFeatures(n_images, width, tuple(ranked_parts(block, offset)))
    return np.stack([signed_ks(ranked, labels) for labels in draw()])


def thresholds_between(D: ArrayLike, shuffled: Iterable[ArrayLike]) -> NoiseThresholds:
    """Thresholds from distances that are known already, of all features or of some.

    Parameters
    ----------
    D : array_like or DataArray, shape (classes, features)
        Signed distances under the labels.
    shuffled : iterable of array_like, shape (classes, features)
        The same under shuffled labels, at least once, as of :func:`shuffled_distances`.

    Returns
    -------
    NoiseThresholds
        As of :func:`noise_thresholds`.

    Raises
    ------
    ValueError
        No shuffle, no distance, NaN, distances outside [-1, 1], or of different shapes.
    """
    real = checked_distances(D)
    noise = [checked_distances(part) for part in shuffled]
    if not noise or any(part.shape != real.shape for part in noise):
        raise ValueError(
            f"expected distances under shuffled labels, each of shape {real.shape} as under the "
            f"labels, got {[part.shape for part in noise] or 'none'}"
        )
    best, single, curves = [], [], []
    for sign in (1, -1):
        inside, parts = (sign * real).ravel(), [(sign * part).ravel() for part in noise]
        best.append(_best(inside, np.concatenate(parts), len(parts)))
        single.append([_best(inside, part, 1) for part in parts])
        curves.append((inside, np.concatenate(parts)))
    scatter = np.std(single, axis=1, ddof=1) if len(noise) > 1 else np.full(2, np.nan)
    x = np.union1d(GRID, best)
    plus, minus = (
        (len(noise) * _above(inside, x) - _above(outside, x)) / (len(noise) * len(real))
        for inside, outside in curves
    )
    return NoiseThresholds(
        t_plus=best[0],
        t_minus=0.0 - best[1],
        x=x,
        d_avg_plus=plus,
        d_avg_minus=minus,
        spread=Spread(*scatter.tolist()),
        single=np.transpose(single) * [1, -1] + 0.0,
    )


def _best(real: Floats, noise: Floats, times: int) -> float:
    """Exact argmax of d_avg, with ``times`` as many distances by chance."""
    # d_avg falls where a real distance is passed, so that its maxima begin at chance's.
    places = np.union1d([0.0], noise[noise > 0])
    gain = times * _above(real, places) - _above(noise, places)
    return float(places[gain.argmax()])


def _above(values: Floats, x: Floats) -> NDArray[np.int64]:
    """How many of some values lie above each x >= 0."""
    ordered = np.sort(values[values > 0])
    return np.asarray(ordered.size - np.searchsorted(ordered, x, side="right"), np.int64)


def checked_distances(D: Any) -> Floats:
    """Distances (classes, features) as a plain array; a DataArray may have its dimensions swapped.

    Raises
    ------
    ValueError
        Another shape, none, NaN, or distances outside [-1, 1].
    """
    if isinstance(D, xr.DataArray):
        D = D.transpose("class", "feature")
    values = np.asarray(D, np.float64)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"expected distances (classes, features), got shape {values.shape}")
    if not (np.abs(values) <= 1).all():
        odd = values[~(np.abs(values) <= 1)]
        raise ValueError(f"expected distances in [-1, 1], got {odd.size} others such as {odd[0]}")
    return values


class MeasuredNoise(NamedTuple):
    """Distances under real and under shuffled labels, and what follows from them.

    Attributes
    ----------
    D : DataArray of float64 (class, feature)
        Signed distances under the labels, with the features' coordinates.
    shuffled : ndarray of float64, shape (shuffles, classes, features)
        Under shuffled labels.
    thresholds : NoiseThresholds
        Of both.
    class_sizes : ndarray of int64, shape (classes,)
        Images of each class.
    ties : ndarray of int64, shape (features, 2)
        As of :func:`~analysis.statistics.tie_counts`.
    """

    D: xr.DataArray
    shuffled: NDArray[np.float64]
    thresholds: NoiseThresholds
    class_sizes: NDArray[np.int64]
    ties: NDArray[np.int64]


def measure_noise(
    X: xr.DataArray, labels: ArrayLike, n_shuffles: int = 5, seed: int = 0
) -> MeasuredNoise:
    """Measure distances, noise and thresholds of a dataset together.

    Parameters
    ----------
    X : DataArray (image, feature)
        As for :func:`~analysis.statistics.signed_ks`; sorted once, and the order is not kept.
    labels, n_shuffles, seed
        As for :func:`~analysis.statistics.noise_thresholds`, which gives the same thresholds.

    Returns
    -------
    MeasuredNoise
        Distances, thresholds, class sizes and ties.

    Raises
    ------
    ValueError
        As for :func:`~analysis.statistics.noise_thresholds`.
    """
    ranked = rank_features(X.compute())
    D, shuffled = signed_ks(ranked, labels), shuffled_distances(ranked, labels, n_shuffles, seed)
    sizes = np.unique(checked_labels(labels), return_counts=True)[1]
    return MeasuredNoise(D, shuffled, thresholds_between(D, shuffled), sizes, tie_counts(ranked))


SIDES = {"t+": "plus", "t-": "minus"}
FLAT = 0.25
"""Two spreads, as a share of the threshold, above which its place is hardly determined."""


def noise_facts(
    summary: pd.DataFrame,
    fits: pd.DataFrame,
    expected: pd.DataFrame,
    costs: pd.DataFrame,
    network: str,
) -> dict[str, int | float | str]:
    """Sum up what was found, for one network and for all.

    Parameters
    ----------
    summary
        Rows of :func:`~analysis.statistics.summarise_thresholds` with ``network``, ``dataset``.
    fits
        As of :func:`~analysis.statistics.fits_by_network`.
    expected
        Rows of :func:`~analysis.statistics.compare_thresholds` with ``network``, ``dataset``.
    costs
        As of :func:`~analysis.statistics.costs_by_law`, of these.
    network
        Whose thresholds to describe.

    Returns
    -------
    dict
        Of the network: least, mean and greatest (``_min``, ``_mean``, ``_max``) over the datasets
        of the columns of ``summary``; ``n_features``, ``n_datasets``, the mean ``share`` kept and
        ``noise_share``, what is kept of shuffled labels for each pair kept; of each fit the R²
        (``r2_``, ``root_``) and number of points (``n_``), with ``plus`` or ``minus``, and ``_all``
        with cut classes. Of all networks, over whole embeddings: ``n_whole`` thresholds, of which
        ``n_weak`` lack a signal (``weak``: which); of the others, ``n_flat`` have two spreads wider
        than a quarter of the threshold (``flat``: which), and, with ``conditional_`` and
        ``classical_``, the ``number``, mean ``distance`` and ``cost``, the share ``within`` two
        spreads, and which are not (``beyond``). Lists are one string, or "none".
    """
    own = summary[summary["network"] == network]
    facts: dict[str, Any] = {"n_features": int(own["features"].iloc[0]), "n_datasets": len(own)}
    for name in ("t_plus", "t_minus", "kept_plus", "kept_minus", "kept", "least"):
        facts |= {f"{name}_{key}": float(own[name].agg(key)) for key in ("min", "mean", "max")}
    facts["share"] = float((own["kept"] / own["features"]).mean())
    facts["noise_share"] = float(own["kept_shuffled"].sum() / own["kept"].sum())
    for fit in fits[fits["network"] == network].to_dict("records"):
        key = SIDES[fit["side"]] + ("" if fit["points"] == "datasets" else "_all")
        facts |= {f"r2_{key}": float(fit["r_squared"]), f"n_{key}": int(fit["number"])}
        facts[f"root_{key}"] = float(fit["r_squared_root"])
    whole = expected[expected["part"] == "all"]
    facts |= {"n_whole": len(whole), "n_weak": int(whole["weak"].sum())}
    facts["weak"] = _listed(whole[whole["weak"]])
    sure = whole[~whole["weak"]]
    flat = sure[2 * sure["spread"] > FLAT * sure["measured"].abs()]
    facts |= {"n_flat": len(flat), "flat": _listed(flat)}
    by_law = costs[costs["whole"] & ~costs["weak"]].set_index("law")
    for law in ("conditional", "classical"):
        numbers = by_law[["number", "distance", "cost", "within"]].reindex([law]).iloc[0].fillna(0)
        facts |= {f"{law}_{key}": float(value) for key, value in numbers.items()}
        facts[f"{law}_beyond"] = _listed(sure[~sure[f"{law}_within"].astype(bool)])
    return facts


def _listed(thresholds: pd.DataFrame) -> str:
    """Name thresholds by side, dataset and network."""
    rows = thresholds.to_dict("records")
    return "; ".join(f"{r['side']} of {r['dataset']}, {r['network']}" for r in rows) or "none"


STEP = 0.001
EXPECTED_AT = np.linspace(0.0, 1.0, 1001)
NODES = 8
PATTERNS = 40
NEXT = 0.8  # of the images that are not tied, from one number of them to the next
_LEAST = 1e-12


@dataclass(frozen=True, eq=False, kw_only=True)
class ExpectedThresholds(Thresholds):
    """Thresholds from the expected counts, and these; ``x`` is 0 to 1, every 0.001.

    Attributes
    ----------
    chance_plus, chance_minus : ndarray of float64, shape (1001,)
        Features per class expected there by chance.
    """

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
    if law not in LAWS:
        raise ValueError(f"expected law to be one of {LAWS}, got {law!r}")
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
        plus = _above(D.ravel(), EXPECTED_AT) / len(D) - null_plus
        minus = _above(-D.ravel(), EXPECTED_AT) / len(D) - null_minus
        return ExpectedThresholds(
            t_plus=float(EXPECTED_AT[plus.argmax()]),
            t_minus=0.0 - float(EXPECTED_AT[minus.argmax()]),
            x=EXPECTED_AT,
            d_avg_plus=plus,
            d_avg_minus=minus,
            chance_plus=null_plus,
            chance_minus=null_minus,
        )


@lru_cache(maxsize=32)
def _laws_by_ties(
    sizes: tuple[tuple[int, int], ...], n_images: int, free: tuple[int, ...], at_top: bool
) -> tuple[Floats, Floats]:
    """P(D > x) and P(D < -x), each (patterns, points), for numbers of images that are not tied.

    ``sizes`` are class sizes with the number of such classes; the laws are means over classes.
    """
    laws = np.zeros((2, len(free), EXPECTED_AT.size))
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
    steps = np.floor(EXPECTED_AT * (size * (n_images - size) / step) + 1e-9).astype(np.int64) + 1
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
    if sizes.size <= NODES:
        return sizes
    return np.unique(np.round(np.geomspace(sizes.min(), sizes.max(), NODES)).astype(np.int64))


def _hats(values: NDArray[Any], nodes: NDArray[Any]) -> Floats:
    """Weights (values, nodes) of linear interpolation between ascending nodes."""
    return np.stack([np.interp(values, nodes, unit) for unit in np.eye(np.size(nodes))], axis=-1)


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


SIZES = (10, 20, 40, 80, 160)
"""Images per class to which classes are cut."""


class LogFit(NamedTuple):
    """The curve t = intercept + slope · ln(size), and the share of the variance it explains.

    ``r_squared_root`` is that of the line in 1/√size instead, as which distances by chance shrink.
    """

    intercept: float
    slope: float
    r_squared: float
    r_squared_root: float


def fit_threshold_to_size(sizes: ArrayLike, thresholds: ArrayLike) -> LogFit:
    """Least-squares fit of thresholds to the logarithm of the number of images per class.

    Section 7.1 of the paper has R² = 0.82 for t+ and 0.84 for t-, over eleven datasets. It does
    not say which number of images stands for a dataset of unequal classes; their mean is assumed.

    Parameters
    ----------
    sizes, thresholds : array_like, shape (datasets,)
        Images per class (mean), above 0, and t+ or t-.

    Returns
    -------
    LogFit
        All NaN where the sizes are not at least three different ones, through which any curve
        would go; R² is NaN where the thresholds are all equal.

    Raises
    ------
    ValueError
        Shapes that differ, sizes that are not above 0, thresholds that are not finite.
    """
    n, t = np.asarray(sizes, np.float64), np.asarray(thresholds, np.float64)
    if n.shape != t.shape or n.ndim != 1:
        raise ValueError(f"expected one threshold for each size, got {t.shape} and {n.shape}")
    if not (n > 0).all() or not np.isfinite(t).all():
        raise ValueError("expected sizes above 0 and finite thresholds")
    if np.unique(n).size < 3:
        return LogFit(np.nan, np.nan, np.nan, np.nan)
    slope, intercept = np.polyfit(np.log(n), t, 1)
    r_squared, by_root = (_explained(x, t) for x in (np.log(n), n**-0.5))
    return LogFit(float(intercept), float(slope), r_squared, by_root)


def _explained(x: Floats, t: Floats) -> float:
    """R² of a straight line, which is the square of the correlation."""
    return float(np.corrcoef(x, t)[0, 1] ** 2) if np.ptp(t) > 0 else float("nan")


def subsample_classes(labels: ArrayLike, size: int, *, seed: int) -> NDArray[np.int64]:
    """Positions of ``size`` images of each class, ascending, drawn with the seed."""
    y = checked_labels(labels)
    rng = np.random.default_rng((seed, size))
    drawn = [rng.permutation(np.flatnonzero(y == name))[:size] for name in np.unique(y)]
    return np.sort(np.concatenate(drawn))


def thresholds_by_size(
    X: Any,
    labels: ArrayLike,
    sizes: Sequence[int] = SIZES,
    *,
    n_shuffles: int = 5,
    seed: int = 0,
    whole: NoiseThresholds | None = None,
) -> pd.DataFrame:
    """Thresholds of a dataset, and of the same with all classes cut to one number of images.

    Parameters
    ----------
    X : array_like or DataArray, shape (images, features)
        Not ranked, as images are left out.
    labels : array_like, shape (images,)
        Class of each image.
    sizes : sequence of int
        Images per class; those of which a class has fewer are passed over, so that all classes are
        always there, and those that leave no image out.
    n_shuffles, seed
        As for :func:`~analysis.statistics.noise_thresholds`; the seed draws the images as well.
    whole : NoiseThresholds, optional
        Thresholds of all images with this seed and number of shuffles, where they are known.

    Returns
    -------
    DataFrame
        A row per size and one for all images: ``cut``, whether classes were;
        ``images_per_class`` (mean), ``t_plus``, ``t_minus``, ``spread_plus``, ``spread_minus``.
    """
    y = checked_labels(labels)
    counts = np.unique(y, return_counts=True)[1]
    fitting = [n for n in sizes if n <= counts.min() and n * counts.size < y.size]
    samples = [subsample_classes(y, size, seed=seed) for size in fitting]
    rows = []
    for chosen in (*samples, np.arange(y.size)):
        t = whole if chosen.size == y.size else None
        t = t or noise_thresholds(X[chosen], y[chosen], n_shuffles, seed)
        row = {"cut": chosen.size < y.size, "images_per_class": chosen.size / counts.size}
        rows.append(row | t.row())
    return pd.DataFrame(rows)


def fits_by_network(table: pd.DataFrame) -> pd.DataFrame:
    """Logarithmic fits of both thresholds, for each network.

    Parameters
    ----------
    table
        Rows of :func:`thresholds_by_size` with the column ``network`` as well.

    Returns
    -------
    DataFrame
        Four rows per network: ``network``, ``side`` ("t+" or "t-"), ``points`` ("datasets" alone,
        as in the paper, or "with cut classes"), their ``number``, ``intercept``, ``slope``,
        ``r_squared`` and ``r_squared_root``.
    """
    rows = []
    for network, own in table.groupby("network", sort=False):
        for side, name in (("t+", "t_plus"), ("t-", "t_minus")):
            for points, part in (("datasets", own[~own["cut"]]), ("with cut classes", own)):
                fit = fit_threshold_to_size(part["images_per_class"], part[name])
                row = {"network": network, "side": side, "points": points, "number": len(part)}
                rows.append(row | fit._asdict())
    return pd.DataFrame(rows)


def kept(D: Any, thresholds: NoiseThresholds) -> Any:
    """Tell which pairs lie beyond the thresholds.

    Parameters
    ----------
    D : array_like or DataArray, shape (classes, features)
        Signed distances.
    thresholds : NoiseThresholds
        Of which t+ and t- are used.

    Returns
    -------
    ndarray or DataArray of bool, shape (classes, features)
        True where D > t+ or D < t-; a DataArray keeps its coordinates.
    """
    values = D if isinstance(D, xr.DataArray) else np.asarray(D)
    beyond = (values > thresholds.t_plus) | (values < thresholds.t_minus)
    return beyond.rename("kept") if isinstance(beyond, xr.DataArray) else beyond


def beyond_by_class(D: ArrayLike, shuffled: ArrayLike, *, step: float = 0.02) -> pd.DataFrame:
    """Features of each class beyond every distance, under both labellings (figure 9).

    Parameters
    ----------
    D : array_like or DataArray, shape (classes, features)
        Signed distances under the labels.
    shuffled : array_like, shape (classes, features)
        Under labels shuffled once, as in the paper.
    step : float
        Between two distances, from 0 up to 1 and down to -1.

    Returns
    -------
    DataFrame
        ``labels`` ("real" or "shuffled"), ``class`` (position), ``x`` (ascending) and ``features``:
        how many have D > x for x >= 0, and D < x for x < 0 and for x = -0.0, which comes first.
    """
    x = np.linspace(0, 1, round(1 / step) + 1)
    parts = []
    for name, distances in (("real", D), ("shuffled", shuffled)):
        values = checked_distances(distances)
        below, above = (np.stack([_above(row, x) for row in side]) for side in (-values, values))
        columns = {
            "labels": name,
            "class": np.repeat(np.arange(len(values)), 2 * x.size),
            "x": np.tile(np.concatenate([-x[::-1], x]), len(values)),
            "features": np.concatenate([below[:, ::-1], above], axis=1).ravel(),
        }
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def stand_out(D: ArrayLike, shuffled: ArrayLike, *, step: float = 0.005) -> pd.DataFrame:
    """How far noise reaches, and whether all classes stand out from it somewhere (figure 9).

    Parameters
    ----------
    D : array_like or DataArray, shape (classes, features)
        Signed distances under the labels.
    shuffled : array_like, shape (classes, features)
        Under labels shuffled once, as in the paper.
    step : float
        Between two of the distances at which features are counted.

    Returns
    -------
    DataFrame
        One row, each column for presence (``_plus``, D > x) and for absence (``_minus``, D < -x):
        ``reach_low`` and ``reach_high``, quartiles over the shuffled classes of the widest
        distance, beyond which a class has no feature; and ``lead``, how many features more than
        its shuffled version a class has at least, at the x where that is most.
    """
    real, noise = checked_distances(D), checked_distances(shuffled)
    x = np.linspace(0, 1, round(1 / step) + 1)
    row: dict[str, float] = {}
    for side, sign in (("plus", 1), ("minus", -1)):
        low, high = np.quantile((sign * noise).max(axis=1).clip(0), [0.25, 0.75])
        row |= {f"reach_low_{side}": float(low), f"reach_high_{side}": float(high)}
        rows = zip(sign * real, sign * noise, strict=True)
        leads = [_above(own, x) - _above(shuffled_own, x) for own, shuffled_own in rows]
        row[f"lead_{side}"] = int(np.min(leads, axis=0).max())
    return pd.DataFrame([row])


def summarise_thresholds(
    D: ArrayLike, shuffled: ArrayLike, thresholds: NoiseThresholds, labels: ArrayLike
) -> pd.DataFrame:
    """Thresholds of a dataset and what they keep (table 3).

    Parameters
    ----------
    D : array_like or DataArray, shape (classes, features)
        Signed distances under the labels.
    shuffled : array_like, shape (shuffles, classes, features)
        Under shuffled labels.
    thresholds : NoiseThresholds
        Of both.
    labels : array_like, shape (images,)
        Class of each image.

    Returns
    -------
    DataFrame
        One row: ``classes``, ``images_per_class`` (mean), ``features``; ``t_plus``, ``t_minus``,
        ``spread_plus``, ``spread_minus``; features kept per class, in the mean, by t+
        (``kept_plus``), t- (``kept_minus``) and either (``kept``), and of the class that keeps
        fewest (``least_plus``, ``least_minus``, ``least``); and the mean of either under shuffled
        labels (``kept_shuffled``).
    """
    values = checked_distances(D)
    sizes = np.unique(checked_labels(labels), return_counts=True)[1]
    row: dict[str, Any] = {"classes": len(values), "images_per_class": float(sizes.mean())}
    row |= {"features": values.shape[1]} | thresholds.row()
    counts = {side: pairs.sum(axis=1) for side, pairs in _sides(values, thresholds).items()}
    row |= {f"kept{side}": float(count.mean()) for side, count in counts.items()}
    row |= {f"least{side}": int(count.min()) for side, count in counts.items()}
    row["kept_shuffled"] = float(kept(np.asarray(shuffled), thresholds).mean() * values.shape[1])
    return pd.DataFrame([row])


def _sides(distances: Floats, thresholds: Thresholds) -> dict[str, NDArray[np.bool_]]:
    """Which pairs are kept by t+, by t- and by either."""
    plus, minus = distances > thresholds.t_plus, distances < thresholds.t_minus
    return {"_plus": plus, "_minus": minus, "": plus | minus}


def kept_by_part(
    D: xr.DataArray,
    shuffled: ArrayLike,
    thresholds: NoiseThresholds,
    parts: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Share of the pairs that thresholds keep, layer by layer (figure 10).

    Parameters
    ----------
    D : DataArray (class, feature) with the coordinate ``layer``
        Signed distances under the labels.
    shuffled : array_like, shape (shuffles, classes, features)
        Under shuffled labels.
    thresholds : NoiseThresholds
        Of the whole embedding, one pair for all layers.
    parts : mapping of str to str, optional
        Part that each layer belongs to, such as its kind; by default each layer is one.

    Returns
    -------
    DataFrame
        A row per part, in order of appearance: ``part``, ``units``, and the shares of its pairs
        kept by t+ (``kept_plus``), by t- (``kept_minus``), by either (``kept``), and by either
        under shuffled labels (``kept_shuffled``).
    """
    names = D["layer"].to_numpy()
    part_of = np.array([parts[str(name)] if parts else str(name) for name in names])
    sides = _sides(checked_distances(D), thresholds) | {
        "_shuffled": kept(np.asarray(shuffled), thresholds)
    }
    rows = []
    for part in dict.fromkeys(part_of.tolist()):
        own = part_of == part
        shares = {f"kept{side}": float(pairs[..., own].mean()) for side, pairs in sides.items()}
        rows.append({"part": part, "units": int(own.sum())} | shares)
    return pd.DataFrame(rows)[["part", "units", "kept_plus", "kept_minus", "kept", "kept_shuffled"]]


def compare_with_discoveries(
    D: ArrayLike,
    thresholds: NoiseThresholds,
    X: ArrayLike | RankedFeatures | xr.DataArray,
    labels: ArrayLike,
    *,
    q: float = 0.05,
) -> pd.DataFrame:
    """How many features per class thresholds keep, and how many a false-discovery rate.

    Parameters
    ----------
    D : array_like or DataArray, shape (classes, features)
        Signed distances under the labels.
    thresholds : NoiseThresholds
        What :func:`kept` goes by.
    X, labels
        As for :func:`~analysis.statistics.ks_p_values`.
    q : float
        False-discovery rate over the features of each class.

    Returns
    -------
    DataFrame
        One row: ``thresholds``, ``discoveries`` and ``both``, features per class, in the mean.
    """
    beyond, P = np.asarray(kept(D, thresholds)), ks_p_values(X, labels)
    found = np.asarray(by_name(false_discovery(P), feature_names(D), "X")) <= q
    sets = {"thresholds": beyond, "discoveries": found, "both": beyond & found}
    return pd.DataFrame([{name: pairs.sum() / len(pairs) for name, pairs in sets.items()}])


def describe_classes(
    D: xr.DataArray, shuffled: ArrayLike, thresholds: NoiseThresholds, labels: ArrayLike
) -> pd.DataFrame:
    """Count the features that each class keeps, and find its widest ones.

    Parameters
    ----------
    D : DataArray (class, feature) with the coordinates ``class``, ``layer`` and ``unit``
        Signed distances.
    shuffled : array_like, shape (shuffles, classes, features)
        Under shuffled labels, as of :func:`analysis.statistics.shuffled_distances`.
    thresholds : NoiseThresholds
        Of both.
    labels : array_like, shape (images,)
        Class of each image.

    Returns
    -------
    DataFrame
        A row per class, that with most features beyond chance first: ``class`` (as in the
        coordinate), ``images``, ``presence``, ``absence`` and ``kept`` (features beyond t+, beyond
        t- and either), ``by_chance`` (mean over the shuffles), ``beyond_chance`` (the difference),
        ``under_described``; and of the highest distance ``presence_layer``, ``presence_unit`` and
        ``presence_distance``, of the lowest the same with ``absence``.
    """
    D = D.transpose("class", "feature")
    values, noise = checked_distances(D), np.asarray(shuffled)
    counts = kept(noise, thresholds).sum(axis=2)  # (shuffles, classes)
    classes, sizes = np.unique(checked_labels(labels), return_counts=True)
    sides = {side: pairs.sum(axis=1) for side, pairs in _sides(values, thresholds).items()}
    table = pd.DataFrame({"class": D["class"].to_numpy()})
    table["images"] = sizes[np.searchsorted(classes, table["class"])]
    table["presence"], table["absence"], table["kept"] = sides.values()
    table["by_chance"] = counts.mean(axis=0)
    table["beyond_chance"] = table["kept"] - table["by_chance"]
    table["under_described"] = table["kept"].to_numpy() <= counts.max(axis=0)
    for sign, side in ((1, "presence"), (-1, "absence")):
        widest = (sign * values).argmax(axis=1)
        table[f"{side}_layer"] = D["layer"].to_numpy()[widest]
        table[f"{side}_unit"] = D["unit"].to_numpy()[widest]
        table[f"{side}_distance"] = values[np.arange(len(values)), widest]
    return table.sort_values("beyond_chance", ascending=False, kind="stable", ignore_index=True)


def first_and_last(n: int, limit: int) -> NDArray[np.int64]:
    """Positions of the first and the last of ``n`` rows, ``limit`` together; all if they are fewer.

    Of an odd number, the first ones are one more.
    """
    rows = np.arange(n)
    return rows if n <= limit else np.r_[rows[: (limit + 1) // 2], rows[n - limit // 2 :]]
