"""From which distance on a feature is more than noise: the thresholds t+ and t-.

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
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from analysis.data.labels import checked_labels
from analysis.statistics._on_cluster import over_feature_blocks, require_lazy, threads_of
from analysis.statistics.blocks import conform
from analysis.statistics.distances import signed_ks
from analysis.statistics.labelling import classes_of
from analysis.statistics.ranks import RankedFeatures, rank_features, ranked_parts
from analysis.statistics.significance import tie_counts

if TYPE_CHECKING:
    from distributed import Client

Floats = NDArray[np.float64]

GRID = np.linspace(0.0, 1.0, 101)


class Spread(NamedTuple):
    """Standard deviation of t+ and of t- over single shuffles; NaN if there is only one."""

    t_plus: float
    t_minus: float


@dataclass(frozen=True, eq=False)
class NoiseThresholds:
    """Thresholds of a dataset, and the curves whose maxima they are.

    Attributes
    ----------
    t_plus, t_minus : float
        In [0, 1] and [-1, 0].
    x : ndarray of float64, shape (points,)
        Ascending distances in [0, 1]: every 0.01, and both thresholds.
    d_avg_plus, d_avg_minus : ndarray of float64, shape (points,)
        Features per class with D > x, with D < -x, more than under shuffled labels.
        ``t_plus == x[d_avg_plus.argmax()]`` and ``t_minus == -x[d_avg_minus.argmax()]``.
    spread : Spread
        Standard deviation of both thresholds over single shuffles.
    single : ndarray of float64, shape (shuffles, 2)
        t+ and t- of each shuffle by itself.
    """

    t_plus: float
    t_minus: float
    x: Floats
    d_avg_plus: Floats
    d_avg_minus: Floats
    spread: Spread
    single: Floats


def noise_thresholds(
    X: ArrayLike | RankedFeatures | xr.DataArray,
    labels: ArrayLike,
    n_shuffles: int = 5,
    seed: int = 0,
    *,
    threads: int | None = None,
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
    threads : int, optional
        As for :func:`~analysis.statistics.signed_ks`.
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
    if client is not None:
        D = _on_cluster(require_lazy(X), labels, n_shuffles, seed, threads, client)
        return thresholds_between(D[0], D[1:])
    ranked = X if isinstance(X, RankedFeatures) else rank_features(X, threads=threads)
    noise = shuffled_distances(ranked, labels, n_shuffles, seed, threads=threads)
    return thresholds_between(signed_ks(ranked, labels, threads=threads), noise)


def _on_cluster(
    X: xr.DataArray,
    labels: ArrayLike,
    n_shuffles: int,
    seed: int,
    threads: int | None,
    client: Client,
) -> Floats:
    """Distances (1 + shuffles, classes, features): under the labels, then under each shuffle."""
    conforming = conform(X)
    classes, members, _ = classes_of(labels, X.sizes["image"])
    _shuffles(members, n_shuffles, seed)  # refuses before anything is read
    measure = partial(
        _of_block,
        members=members,
        n_shuffles=n_shuffles,
        seed=seed,
        threads=threads_of(threads, client),
    )
    D = np.empty((1 + n_shuffles, classes.size, X.sizes["feature"]))
    for first, part in over_feature_blocks(conforming, measure, client):
        D[:, :, first : first + part.shape[2]] = part
    return D


def _of_block(
    block: NDArray[Any],
    offset: int,
    *,
    members: NDArray[Any],
    n_shuffles: int,
    seed: int,
    threads: int | None,
) -> Floats:
    n_images, width = block.shape
    ranked = RankedFeatures(n_images, width, tuple(ranked_parts(block, offset, threads)))
    labellings = [members, *_shuffles(members, n_shuffles, seed)]
    return np.stack([np.asarray(signed_ks(ranked, y, threads=threads)) for y in labellings])


def shuffled_distances(
    X: ArrayLike | RankedFeatures | xr.DataArray,
    labels: ArrayLike,
    n_shuffles: int = 5,
    seed: int = 0,
    *,
    threads: int | None = None,
) -> Floats:
    """Signed distances under shuffled labels.

    Parameters
    ----------
    X, labels, n_shuffles, seed, threads
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
    drawn = _shuffles(labels, n_shuffles, seed)
    ranked = X if isinstance(X, RankedFeatures) else rank_features(X, threads=threads)
    return np.stack([np.asarray(signed_ks(ranked, y, threads=threads)) for y in drawn])


def _shuffles(labels: ArrayLike, n_shuffles: int, seed: int) -> Iterator[NDArray[Any]]:
    """Shuffled labels, each drawn when it is needed."""
    if n_shuffles < 1:
        raise ValueError(f"expected at least one shuffle, got n_shuffles={n_shuffles}")
    labels = checked_labels(labels)
    return (
        np.random.default_rng((seed, number)).permutation(labels) for number in range(n_shuffles)
    )


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
    sides = [_Side(sign * real, [sign * part for part in noise]) for sign in (1, -1)]
    best = [side.best() for side in sides]
    single = np.array([[side.best(k) for side in sides] for k in range(len(noise))])
    scatter = single.std(axis=0, ddof=1) if len(noise) > 1 else np.full(2, np.nan)
    x = np.union1d(GRID, best)
    return NoiseThresholds(
        t_plus=best[0],
        t_minus=0.0 - best[1],
        x=x,
        d_avg_plus=sides[0].d_avg(x),
        d_avg_minus=sides[1].d_avg(x),
        spread=Spread(float(scatter[0]), float(scatter[1])),
        single=single * [1, -1] + 0.0,
    )


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


class _Side:
    """Distances of one sign, as sorted sizes."""

    def __init__(self, real: Floats, noise: list[Floats]) -> None:
        self.classes = len(real)
        self.real = _positive(real)
        self.noise = [_positive(part) for part in noise]
        self.together = np.sort(np.concatenate(self.noise))

    def best(self, shuffle: int | None = None) -> float:
        """Exact argmax of d_avg, over all shuffles or for one."""
        noise, times = (
            (self.together, len(self.noise)) if shuffle is None else (self.noise[shuffle], 1)
        )
        # d_avg falls where a real distance is passed, so that its maxima begin at chance's.
        places = np.union1d([0.0], noise)
        gain = times * _above(self.real, places) - _above(noise, places)
        return float(places[gain.argmax()])

    def d_avg(self, x: Floats) -> Floats:
        gain = len(self.noise) * _above(self.real, x) - _above(self.together, x)
        return np.asarray(gain / (len(self.noise) * self.classes))


def _positive(sizes: Floats) -> Floats:
    return np.sort(sizes[sizes > 0])


def _above(ordered: Floats, x: Floats) -> NDArray[np.int64]:
    """How many of the sorted sizes lie above each x."""
    return np.asarray(ordered.size - np.searchsorted(ordered, x, side="right"), np.int64)


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
    X: xr.DataArray,
    labels: ArrayLike,
    n_shuffles: int = 5,
    seed: int = 0,
    *,
    threads: int | None = None,
) -> MeasuredNoise:
    """Measure distances, noise and thresholds of a dataset together.

    Parameters
    ----------
    X : DataArray (image, feature)
        As for :func:`~analysis.statistics.signed_ks`; sorted once, and the order is not kept.
    labels, n_shuffles, seed, threads
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
    ranked = rank_features(X.compute(), threads=threads)
    D = signed_ks(ranked, labels, threads=threads)
    shuffled = shuffled_distances(ranked, labels, n_shuffles, seed, threads=threads)
    return MeasuredNoise(
        D,
        shuffled,
        thresholds_between(D, shuffled),
        np.unique(checked_labels(labels), return_counts=True)[1],
        tie_counts(ranked),
    )


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
