"""How surprising a signed Kolmogorov-Smirnov distance is, and which of many to believe.

Conventions
-----------
Null hypothesis
    The labels have nothing to do with the feature: every choice of the n_in images of a class among
    all N is equally likely. This is what shuffling labels draws from; nothing is shuffled here.
p-value
    Probability under it that |D| is as wide as found or wider, in either direction: the sign of D
    says which. One-sided values would need both gaps of a pair, of which
    :func:`~analysis.statistics.signed_ks` keeps the wider one.
conditional law
    The feature's values stay as they are, equal ones included, and only the labels move. The
    distribution functions are compared where the feature has values, which is what D does.
classical law
    All values differ. ``scipy.stats.ks_2samp`` assumes so for any feature. For a feature without
    ties both laws are one. With ties the classical one compares at places where nothing can be
    seen, and is too cautious: at 70 % zeros a test at 5 % rejects less than 1 % of true null
    hypotheses, at 90 % next to none.
rejection
    A p-value at or below α: of a test that keeps its word, a share of at most α of the pairs under
    shuffled labels.
discovery
    A Benjamini-Hochberg adjusted p-value at or below q, over the features given of a class.

The paper has no p-values: it compares with shuffled labels (section 7 of Garcia-Gasulla et al.,
2018), and that is the conditional law, drawn from once.

Exactly, the law is that of the inner count's walk through the images in order, looked at where
groups of equal values end, as in Schröer & Trenkler, *Exact and randomization distributions of
Kolmogorov-Smirnov tests two or three samples*, Computational Statistics & Data Analysis 1995, here
with far fewer looks (see below). Small p-values are as accurate as large ones, to a
relative 1e-10; below 1e-290 only their smallness is meant.

For large classes, n_in n_out |D| is close to √(n_in n_out N) times the widest place of a Brownian
bridge B on [0, 1], seen on [b, 1] where the lowest or the highest group of equal values holds a
share b of the images, as zeros do after a rectifier. With Φ the normal distribution function and
σ² = b (1 - b)::

    P(max |B| >= λ) = 2 Φ(-λ/σ) + 2 Σ_j (-1)^(j-1) exp(-2 j² λ²) [Φ(λ(1-2jb)/σ) - Φ(-λ(1+2jb)/σ)]

over j = 1, 2, ..., which is Kolmogorov's series for b = 0. As sizes are finite,
(L + 2 S) / 6 - gcd(L, S) / 2 is added to n_in n_out |D|, L being the larger and S the smaller of
n_in and n_out: the first term is that of Hodges, *The significance probability of the Smirnov
two-sample test*, Arkiv för Matematik 1958, the second lowers the bar by half a step of the lattice
on which D lies. Equal values elsewhere are taken to differ, which is cautious.

In the code, a *gap* is the integer n_in n_out |D|; ``half`` is the smaller of n_in and n_out, on
which alone, beside the number N of images, the two-sided law depends. *Hidden* images share the
lowest or the highest value of a feature.

The law of one side
-------------------
With U the widest gap in favour of presence and V the widest in favour of absence, D is positive
where U > V. The two-sided law knows only the larger of both; halving it would be right if presence
and absence were alike by chance, as they are for a feature without ties. With many zeros and few
images in the class they are not: one image above zero is a wide gap, and there is no counterpart.

So the walk is given two different bounds. Of gaps g_0 < g_1 < ... with T(d, u) the probability of
U >= d or V >= u, the walks with g_i <= U < g_(i+1) and V < g_i have T(g_i, g_i) - T(g_(i+1), g_i),
and their sum over i is P(U >= g, U > V), but for walks of which both gaps lie between two
neighbouring g. These are few; they are shared out equally, or count as absence where no other gap
lies between, since equal gaps do. With all possible gaps the law is exact.

Where more than 250 images of the class (or of the rest) are expected outside the largest group of
equals, half of the bridge's two-sided law is taken: measured at 250 to 320, off by less than 0.003.

The exact law's inner loops
---------------------------
Read in the order of the feature, a choice of the n_c inner images among all N is a walk: after e
images, k of them inner. Its scaled gap is k N - n_c e, and only the ends of groups of equal values
count. Given its end, the walk is one of N independent steps that go up with probability n_c / N, so
that e' - e images are passed at once by convolution with a binomial law.

Of all ends of groups, few have to be looked at. k never falls, and the k allowed at e are those
from ``lowest(e)`` to ``highest(e)``, which never fall either. Where ``highest`` stays the same, its
last end of a group decides, and where ``lowest`` does, its first: some 2 n_c places in all, however
many images there are.

The walks that leave are added up, never those that stay, so all terms are positive and small
probabilities keep their digits. Only quantities below ``NEGLIGIBLE`` of what has left already are
dropped, a few N of them at most. Of the walks that leave upwards the first few are added: as all
laws here are log-concave, the ratio of two terms bounds the remaining ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, ndtr
from scipy.stats import false_discovery_control, kstwo

from analysis.statistics._kernels import jit
from analysis.statistics.blocks import conform, features_of, run_in_threads
from analysis.statistics.ks import (
    RankedBlock,
    RankedFeatures,
    rank_features,
    ranked_blocks,
    signed_ks,
)
from analysis.statistics.named import classes_of, labelled

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Array = NDArray[Any]
Law = Literal["conditional", "classical"]
LAWS: tuple[Law, ...] = get_args(Law)
Ranked = Iterable[tuple[RankedBlock, Floats]]

_SCIPY_EXACT_UP_TO = 10_000


def ks_p_values(
    X: ArrayLike | RankedFeatures | xr.DataArray, labels: ArrayLike, *, law: Law = "conditional"
) -> Any:
    """Two-sided p-value of the exact signed Kolmogorov-Smirnov distance of every class and feature.

    Parameters
    ----------
    X : array_like, DataArray or RankedFeatures, shape (images, features)
        As for :func:`~analysis.statistics.signed_ks`. Anything but ranked features is sorted a
        block at a time.
    labels : array_like, shape (images,)
        Class of each image.
    law : {"conditional", "classical"}
        Given each feature's own pattern of equal values: exact or the bridge, whichever suits. Or
        as if all values differed: the values of ``scipy.stats.ks_2samp``, exact up to 10,000 images
        of a class or of the rest.

    Returns
    -------
    ndarray or DataArray of float64, shape (classes, features)
        In [0, 1], with the coordinates of ``signed_ks(X, labels)``; 1 where D is 0, as it is for a
        constant feature.

    Raises
    ------
    ValueError
        Another law; what :func:`~analysis.statistics.signed_ks` refuses.

    Notes
    -----
    Under the null hypothesis P(p <= α) is at most α, and less only as D has few possible values.
    Pairs that share size, distance and ties are computed once: over all features without ties, and
    within every feature that has some.

    The bridge takes over where more than 2,500 images of the class, or of the rest if that is
    smaller, are expected outside the larger of the lowest and the highest group of equal values.
    Measured there against the exact law, it is off by less than 0.001 in the p-value, by 0.5 % of
    it between 0.1 and 1e-4 and by 2 % down to 1e-6. Worst, by 0.002 and 5 %, are sizes that are
    almost but not quite equal.
    """
    if law not in LAWS:
        raise ValueError(f"expected law to be one of {LAWS}, got {law!r}")
    blocks: Iterable[RankedBlock]
    if isinstance(X, RankedFeatures):
        features, n_images, blocks = X.features, X.n_images, X.blocks
    else:
        features, X = features_of(X), conform(X)
        n_images, blocks = X.shape[0], ranked_blocks(X)
    classes, _, sizes = classes_of(labels, n_images)
    ranked = ((block, _sizes_of_distances(block, labels, n_images)) for block in blocks)
    P = (_conditional if law == "conditional" else _classical)(ranked, sizes)
    return P if features is None else labelled(P, classes, features, "p_value", law=law)


def _sizes_of_distances(block: RankedBlock, labels: ArrayLike, n_images: int) -> Floats:
    """|D| (classes, features) of one block."""
    ranks = RankedFeatures(n_images, block.stops.size, (block,))
    return np.asarray(np.abs(signed_ks(ranks, labels)))


def _classical(ranked: Ranked, sizes: Integers) -> Floats:
    """p-values (classes, features) as SciPy computes them."""
    distances = np.concatenate([part for _, part in ranked], axis=1)
    n_images = int(sizes.sum())
    P = np.empty(distances.shape)
    for size in np.unique(sizes):
        same = sizes == size
        larger = max(size, n_images - size)
        if larger <= _SCIPY_EXACT_UP_TO:
            gaps = scaled_gaps(distances[same], size, n_images)
            P[same] = exact_tail(np.full(gaps.shape, n_images - larger), gaps, n_images)
        else:
            found, place = np.unique(distances[same], return_inverse=True)
            effective = np.round(size * (n_images - size) / n_images)
            P[same] = kstwo.sf(found, effective)[place]
    return P


def _conditional(ranked: Ranked, sizes: Integers) -> Floats:
    """p-values (classes, features), each feature under its own ties."""
    n_images = int(sizes.sum())
    parts, wide = [], []
    for block, distances in ranked:
        wide.append(scaled_gaps(distances, sizes[:, None], n_images))
        parts.append(tails_of_block(block, wide[-1], sizes))
    P, gaps = np.concatenate(parts, axis=1), np.concatenate(wide, axis=1)
    free = np.isnan(P)
    half = np.broadcast_to(np.minimum(sizes, n_images - sizes)[:, None], P.shape)
    P[free] = exact_tail(half[free], gaps[free], n_images)
    return P


def false_discovery(P: ArrayLike | xr.DataArray) -> Any:
    """Adjust p-values for how many features were looked at, for each class by itself.

    Parameters
    ----------
    P : array_like or DataArray, shape (..., features)
        p-values; of a DataArray, those along the dimension ``feature`` belong together.

    Returns
    -------
    ndarray or DataArray of float64, shaped as P
        Benjamini and Hochberg's adjusted p-values. The features of a class at or below q are its
        discoveries at a false-discovery rate of q: on average over repetitions, at most the share q
        of those named are irrelevant. Holds for independent features and for features that depend
        positively; features of one network depend on each other in every way, and there it is
        customary rather than proven.

    Raises
    ------
    ValueError
        p-values outside [0, 1] or NaN, a DataArray without the dimension ``feature``.
    """
    if isinstance(P, xr.DataArray):
        if "feature" not in P.dims:
            raise ValueError(f"expected the dimension 'feature', got {P.dims}")
        axis = P.get_axis_num("feature")
        return P.copy(data=_adjusted(P.to_numpy(), axis)).rename("adjusted_p_value")
    return _adjusted(np.asarray(P, np.float64), -1)


def _adjusted(P: Floats, axis: Any) -> Floats:
    outside = ~((P >= 0) & (P <= 1))
    if outside.any():
        raise ValueError(f"expected p-values in [0, 1], got {outside.sum()} others")
    return np.asarray(false_discovery_control(P, axis=axis))


EXACT_UP_TO = 2_500
"""The exact law is preferred where at most so many images of the class, or of the rest if that is
smaller, are expected outside the hidden ones."""


def significant_features(D: xr.DataArray, P: xr.DataArray, *, q: float = 0.05) -> pd.DataFrame:
    """List the features that are characteristic of each class at a false-discovery rate.

    Parameters
    ----------
    D, P : DataArray (class, feature)
        Signed distances and their p-values (:func:`ks_p_values`), with equal coordinates.
    q : float
        Most that the expected share of irrelevant features among those listed of a class may be.

    Returns
    -------
    DataFrame
        A row per pair of class and feature, by class and then from the widest distance: ``class``,
        the coordinates of the feature such as ``layer`` and ``unit``, signed ``distance``,
        ``p_value``, ``adjusted_p_value``. Presence where the distance is positive, absence where
        it is negative.

    Raises
    ------
    ValueError
        q outside (0, 1), D and P of different dimensions or coordinates.
    """
    if not 0 < q < 1:
        raise ValueError(f"expected a false-discovery rate q between 0 and 1, got {q}")
    D, P = D.transpose("class", "feature"), P.transpose("class", "feature")
    if D.shape != P.shape or any(not D[name].equals(P[name]) for name in D.coords):
        raise ValueError(
            f"expected distances and p-values of the same classes and features, got {D.sizes} and "
            f"{P.sizes}: compute both of one X and its labels"
        )
    adjusted = false_discovery(P).to_numpy()
    rows, columns = np.nonzero(adjusted <= q)
    table = {"class": D["class"].to_numpy()[rows]}
    table |= {
        str(name): x.to_numpy()[columns] for name, x in D.coords.items() if x.dims == ("feature",)
    }
    for name, values in (("distance", D), ("p_value", P), ("adjusted_p_value", adjusted)):
        table[name] = np.asarray(values)[rows, columns]
    order = np.lexsort((columns, -np.abs(table["distance"]), rows))
    return pd.DataFrame(table).iloc[order].reset_index(drop=True)


def hidden_of(groups: Integers) -> Integers:
    """Images in the larger of the lowest and the highest group of equals, 0 where both are single.

    ``groups`` (..., 3) holds the count of groups and the images in the lowest and the highest.
    """
    end = groups[..., 1:].max(axis=-1)
    return np.where(end > 1, end, 0)


def scaled_gaps(distances: Floats, n_inner: int | Integers, n_images: int) -> Integers:
    """Least gap that sizes allow, a multiple of their divisor, at least as wide as each distance.

    Exact for distances (>= 0) that occur.
    """
    step = np.gcd(n_inner, n_images)
    steps = distances * (n_inner * (n_images - n_inner) // step)
    return np.asarray(np.ceil(steps * (1 - 4 * np.finfo(np.float64).eps)), np.int64) * step


def log_factorials(n: int) -> Floats:
    """Logarithms of 0!, 1!, ..., n!."""
    return np.asarray(gammaln(np.arange(n + 1) + 1.0))


def exact_tail(
    half: Integers, gaps: Integers, n_images: int, ties: tuple[Array, ...] | None = None
) -> Floats:
    """Probability of a gap at least as wide under one pattern of ties, each distinct pair once.

    ``half`` and ``gaps`` have one shape; ``ties`` are those of :func:`tail`, by default none.
    """
    if gaps.size == 0:
        return np.empty(gaps.shape)
    stride = int(gaps.max()) + 1
    found, place = np.unique(half * stride + gaps, return_inverse=True)
    sizes, wanted = np.divmod(found, stride)
    ties, out = ties or end_ties(n_images, 0), np.empty(found.size)

    def task(first: int, last: int) -> None:
        tails(ties, first, last, sizes, wanted, wanted, out)

    run_in_threads(task, n_images, found.size)
    return out[place].reshape(gaps.shape)


def bridge_tail(half: Integers, gaps: Integers, hidden: Integers, n_images: int) -> Floats:
    """Probability of a gap at least as wide, of the bridge; arguments broadcast."""
    rest = n_images - half
    b = hidden / n_images
    shift = (rest + 2 * half) / 6 - np.gcd(half, rest) / 2
    x = (gaps + shift) / np.sqrt(half * rest * float(n_images))
    x = np.maximum(x, np.sqrt(0.03 * (1 - b)))  # nearer to 0 the probability is 1 to the last digit
    with np.errstate(divide="ignore", invalid="ignore"):  # b = 0, and b = 1 where gaps are 0
        unit = x / np.sqrt(b * (1 - b))
    total = 2 * ndtr(-unit)
    for j in range(1, 60):
        within = ndtr((1 - 2 * j * b) * unit) - ndtr(-(1 + 2 * j * b) * unit)
        term = 2 * np.exp(-2 * (j * x) ** 2) * within
        total += term if j % 2 else -term
        if (term < 1e-17).all():
            break
    return np.where(gaps > 0, np.clip(total, 0, 1), 1.0)


def tails_of_block(block: RankedBlock, gaps: Integers, sizes: Integers) -> Floats:
    """Probability of a gap at least as wide, each feature under its own ties.

    ``gaps`` and the result have shape (classes, features), ``sizes`` (classes,). NaN where the
    exact law of a feature without ties is due, which all blocks share.
    """
    n_images = int(sizes.sum())
    small = np.minimum(sizes, n_images - sizes)
    half = np.broadcast_to(small[:, None], gaps.shape)
    groups = groups_of_block(block, n_images)
    hidden = np.broadcast_to(hidden_of(groups), gaps.shape)
    exact = half * (n_images - hidden) <= EXACT_UP_TO * n_images
    P = np.full(gaps.shape, np.nan)
    P[~exact] = bridge_tail(half[~exact], gaps[~exact], hidden[~exact], n_images)
    tied_gaps = np.where(exact & (groups[:, 0] < n_images), gaps, -1)
    factorials = log_factorials(n_images)

    def task(first: int, last: int) -> None:
        tails_of_ranked(block.ranks, first, last, small, tied_gaps, factorials, P)

    run_in_threads(task, n_images * sizes.size, block.stops.size)
    return P


def tie_counts(X: ArrayLike | RankedFeatures | xr.DataArray) -> Integers:
    """How many images share the lowest and the highest value of each feature.

    Parameters
    ----------
    X : array_like, DataArray or RankedFeatures, shape (images, features)
        As for :func:`~analysis.statistics.signed_ks`.

    Returns
    -------
    ndarray of int64, shape (features, 2)
        Lowest, highest; 1 where no other image has the value, all images for a constant feature.
    """
    ranked = X if isinstance(X, RankedFeatures) else rank_features(X)
    return np.concatenate([groups_of_block(b, ranked.n_images)[:, 1:] for b in ranked.blocks])


def groups_of_block(block: RankedBlock, n_images: int) -> Integers:
    """How many groups of equals each feature has, images in the lowest and in the highest."""
    groups = np.empty((block.stops.size, 3), np.int64)

    def task(first: int, last: int) -> None:
        groups_of_ranked(block.ranks, first, last, n_images, groups)

    run_in_threads(task, n_images, block.stops.size)
    return groups


WIDEST = 3.3  # bridges go so far with a probability below 1e-9
SPACING = 0.08
ALL_UP_TO = 256
SIGNED_EXACT_UP_TO = 250


def scale_of(n_inner: int, n_images: int) -> float:
    """Scaled gap of a bridge at 1: √(n_in n_out N)."""
    return float(np.sqrt(n_inner * (n_images - n_inner) * float(n_images)))


def gaps_of(n_inner: int, n_images: int) -> Integers:
    """Gaps at which the law is worked out: all possible ones if they are few, ascending from 1."""
    step = int(np.gcd(n_inner, n_images))
    most = n_inner * (n_images - n_inner) // step
    if most <= ALL_UP_TO:
        return np.arange(1, most + 1, dtype=np.int64) * step
    wanted = np.arange(0, WIDEST, SPACING) * scale_of(n_inner, n_images) / step
    steps = np.unique(np.clip(np.round(wanted).astype(np.int64), 1, most))
    return np.asarray(steps * step, np.int64)


@lru_cache(maxsize=20_000)
def signed_tails(
    n_inner: int, n_images: int, hidden: int, at_top: bool = False
) -> tuple[Floats, Floats]:
    """Probabilities of D > 0 and of D < 0 with a gap of at least each of :func:`gaps_of`.

    Parameters
    ----------
    n_inner, n_images
        Images of the class, and of all classes.
    hidden
        Images in the lowest group of equal values, or the highest if ``at_top``; all other values
        differ.
    """
    gaps = gaps_of(n_inner, n_images)
    half = min(n_inner, n_images - n_inner)
    sizes = np.full(gaps.size, half)
    if half * (n_images - hidden) > SIGNED_EXACT_UP_TO * n_images:
        both = bridge_tail(sizes, gaps, np.full(gaps.size, hidden), n_images)
        return both / 2, both / 2
    further = np.append(gaps[1:], gaps[-1] + np.gcd(n_inner, n_images))
    down, up = np.concatenate([gaps, further, gaps]), np.concatenate([gaps, gaps, further])
    found = np.empty(down.size)
    inside_out = half != n_inner  # what the rest has too much of, the class lacks
    bounds = (up, down) if inside_out else (down, up)
    ties = end_ties(n_images, hidden, at_top)
    tails(ties, 0, down.size, np.full(down.size, half), *bounds, found)
    either, without_plus, without_minus = found.reshape(3, -1)
    plus, minus = either - without_plus, either - without_minus
    both = either - np.append(either[1:], 0.0) - plus - minus
    single = further - gaps == np.gcd(n_inner, n_images)
    plus += np.where(single, 0.0, both / 2)
    minus += np.where(single, both, both / 2)
    return _summed_from_the_end(plus), _summed_from_the_end(minus)


def _summed_from_the_end(parts: Floats) -> Floats:
    return np.clip(np.cumsum(parts[::-1])[::-1], 0.0, 1.0)


def end_ties(n_images: int, hidden: int, at_top: bool = False) -> tuple[Array, Array, Floats]:
    """Ties of the lowest values, or of the highest, as :func:`tail` takes them."""
    images, factorials = np.arange(n_images + 1), log_factorials(n_images)
    if hidden < 2:
        return images, images, factorials
    low, high = (n_images - hidden, n_images) if at_top else (0, hidden)
    inside = (images > low) & (images < high)
    return np.where(inside, high, images), np.where(inside, low, images), factorials


NEGLIGIBLE = 1e-20
AT_ONCE = 8  # ways out upwards that are computed together


@jit
def _law(size: int, ties: Any) -> Any:
    """Of a step: log factorials, probability of going up, its logarithm, and that of not."""
    up = size / (ties[0].size - 1)
    return ties[2], up, np.log(up), np.log1p(-up)


@jit
def _binomial(n: int, k: int, law: Any) -> float:
    """Probability of k steps up out of n."""
    factorials, _, log_up, log_down = law
    ways = factorials[n] - factorials[k] - factorials[n - k]
    return float(np.exp(ways + k * log_up + (n - k) * log_down))


@jit
def _steps(n: int, most: int, negligible: float, law: Any, out: Array) -> int:
    """Probabilities of 0, 1, ... steps up out of n; returns the last of them, at most ``most``."""
    odds = law[1] / (1 - law[1])
    mode = min(int((n + 1) * law[1]), most)
    out[mode] = _binomial(n, mode, law)
    for j in range(mode, 0, -1):
        out[j - 1] = out[j] * (j / ((n - j + 1) * odds))
    for j in range(mode, most):
        if out[j] <= negligible:
            return j
        out[j + 1] = out[j] * ((n - j) * odds / (j + 1))
    return most


@jit
def _add(factor: float, terms: Array, total: Array) -> None:
    for i in range(total.size):
        total[i] += factor * terms[i]


@jit
def _convolve(walk: Any, then: Array, first: int, end: int) -> None:
    """Compute ``then[first:end]`` of a walk: ``now[low..high]`` and ``steps[0..last]``."""
    now, low, high, steps, last = walk
    then[first:end] = 0.0
    if last < high - low:  # the longer of both is the inner loop
        for j in range(last + 1):
            a, b = max(first, low + j), min(end, high + 1 + j)
            if a < b:
                _add(steps[j], now[a - j : b - j], then[a:b])
    else:
        for k in range(low, high + 1):
            a, b = max(first, k), min(end, k + last + 1)
            if a < b:
                _add(now[k], steps[a - k : b - k], then[a:b])


@jit
def _trim(terms: Array, low: int, high: int, negligible: float) -> tuple[int, int]:
    """Leave out the ends of ``terms[low..high]`` that are negligible, but never all."""
    while low < high and terms[low] <= negligible:
        low += 1
    while low < high and terms[high] <= negligible:
        high -= 1
    return low, high


@jit
def _next_check(e: int, lowest: int, ties: Any, size: int, down: int, up: int) -> int:
    """First end of a group after ``e`` that decides, or the number of images."""
    next_end, last_end, _ = ties
    n_images = next_end.size - 1
    rises = (n_images * lowest + down - 1) // size + 1  # from here on, more than ``lowest``
    below = next_end[rises] if rises <= n_images else n_images
    highest = (size * next_end[e + 1] + up - 1) // n_images
    if highest >= size:
        return int(below)
    stays = (n_images * (highest + 1) - up) // size  # up to here, ``highest``
    return int(min(below, last_end[min(stays, n_images)]))


@jit
def _upwards(
    walk: Any, then: Array, k: int, reach: int, rest: int, size: int, law: Any, left: float
) -> float:
    """Add to ``left`` the walks that are now at ``k`` or above; overwrites ``then[k:]``."""
    end, term = k, 0.0
    back = _binomial(rest, size - k, law) if k <= reach else 0.0
    while k <= reach:
        if k == end:
            end = min(reach, k + AT_ONCE - 1) + 1
            _convolve(walk, then, k, end)
        before, term = term, then[k] * back
        left += term
        if term < before and term * term < 1e-16 * left * (before - term):
            break
        back *= (size - k) / ((rest - size + k + 1) * law[1] / (1 - law[1]))
        k += 1
    return left


@jit
def tail(ties: Any, size: int, down: int, up: int, space: Array) -> float:
    """Probability that a scaled gap of ``up`` or above, or of -``down`` or below, occurs.

    Only the ends of groups count: ``ties[0][e]`` is the least that is at least ``e``,
    ``ties[1][e]`` the greatest that is at most ``e``, both of length N + 1, as are the logarithms
    of factorials, ``ties[2]``. ``size`` is that of
    the class or, if smaller, of the rest, whose gaps have the other sign. ``space`` has shape
    (3, size + 1) or more.
    """
    if min(down, up) <= 0:
        return 1.0
    n_images = ties[0].size - 1
    law = _law(size, ties)
    now, then, steps = space[0], space[1], space[2]
    now[0] = 1.0
    e = low = high = lowest = 0
    left = 0.0
    while low <= high:
        check = _next_check(e, lowest, ties, size, down, up)
        if check == n_images:
            break
        passed, rest, e = check - e, n_images - check, check
        lowest = max(0, -((down - 1 - size * e) // n_images))
        highest = min(size, (size * e + up - 1) // n_images)
        last = _steps(passed, min(passed, size - low), NEGLIGIBLE * left, law, steps)
        first, reach = max(low, size - rest), min(size, high + last)
        stay = min(highest, reach)
        walk = (now, low, high, steps, last)
        _convolve(walk, then, first, stay + 1)
        for k in range(first, min(lowest, reach + 1)):
            left += then[k] * _binomial(rest, size - k, law)
        left = _upwards(walk, then, highest + 1, reach, rest, size, law, left)
        low, high = _trim(then, max(first, lowest), stay, NEGLIGIBLE * left)
        now, then = then, now
    return min(1.0, left / _binomial(n_images, size, law))


@jit
def _find_ends(codes: Array, below: int, next_end: Array, last_end: Array) -> int:
    """Find where the groups of one ranked feature end, as :func:`tail` takes it; count them."""
    n_images = next_end.size - 1
    one = codes.dtype.type(1)
    last_end[:] = 0
    for i in range(codes.size):
        if codes[i] & one:
            last_end[i + 1 if i < below else n_images - (i + 1 - below)] = 1
    last_end[0] = last_end[n_images] = 1
    groups = last_end.sum() - 1
    at = n_images
    for e in range(n_images, -1, -1):
        if last_end[e]:
            at = e
        next_end[e] = at
    for e in range(n_images + 1):
        at = e if last_end[e] else at
        last_end[e] = at
    return int(groups)


@jit
def groups_of_ranked(ranks: Any, first: int, last: int, n_images: int, out: Array) -> None:
    """Count groups of equals, and the images in the lowest and the highest, into ``out`` (n, 3)."""
    codes, stops, below = ranks
    next_end = np.empty(n_images + 1, np.int64)
    last_end = np.empty(n_images + 1, np.int64)
    for j in range(first, last):
        start = stops[j - 1] if j > 0 else 0
        out[j, 0] = _find_ends(codes[start : stops[j]], below[j], next_end, last_end)
        out[j, 1] = next_end[1]
        out[j, 2] = n_images - last_end[n_images - 1]


@jit
def tails(
    ties: Any, first: int, last: int, sizes: Array, down: Array, up: Array, out: Array
) -> None:
    """Probabilities ``out[first:last]`` for as many sizes and gaps under one pattern of ties."""
    space = np.empty((3, sizes[first:last].max() + 2))
    for i in range(first, last):
        out[i] = tail(ties, sizes[i], down[i], up[i], space)


@jit
def tails_of_ranked(
    ranks: Any, first: int, last: int, sizes: Array, gaps: Array, factorials: Array, out: Array
) -> None:
    """Probabilities ``out[:, first:last]``, each feature under its own ties; none for gaps < 0."""
    codes, stops, below = ranks
    ties = (np.empty(factorials.size, np.int64), np.empty(factorials.size, np.int64), factorials)
    space = np.empty((3, sizes.max() + 2))
    for j in range(first, last):
        if gaps[:, j].max() < 0:
            continue
        start = stops[j - 1] if j > 0 else 0
        _find_ends(codes[start : stops[j]], below[j], ties[0], ties[1])
        for c in range(sizes.size):
            gap = gaps[c, j]
            if gap < 0:
                continue
            same = 0
            while sizes[same] != sizes[c] or gaps[same, j] != gap:
                same += 1
            out[c, j] = out[same, j] if same < c else tail(ties, sizes[c], gap, gap, space)


REAL = "real"
"""What the labels that mean something are called, beside shuffled ones."""

ZEROS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0)
"""Ends of the groups of features by their share of zeros; none at all is a group of its own."""


def rejection_shares(
    X: xr.DataArray,
    labels: ArrayLike,
    shuffled: Sequence[ArrayLike],
    *,
    alpha: float = 0.05,
    q: float = 0.05,
) -> pd.DataFrame:
    """Share of classes for which each feature is significant, by its labels and by shuffled ones.

    Parameters
    ----------
    X : DataArray (image, feature)
        Real numbers, sorted once for all labellings.
    labels : array_like, shape (images,)
        Class of each image.
    shuffled : sequence of array_like, shape (images,)
        The same labels in random order, as often as wanted.
    alpha : float
        Level of the tests.
    q : float
        False-discovery rate.

    Returns
    -------
    DataFrame
        A row per labelling and feature: ``labels``, which is ``REAL`` or the number of the shuffle
        from "0"; the feature's coordinates;
        ``zeros``, the share of its values that are 0; ``constant``, whether it is, in which case
        nothing can be found; shares of the classes with a rejection under each law,
        ``conditional`` and ``classical``, and with a discovery under the conditional one,
        ``discovered``.

    Raises
    ------
    ValueError
        What :func:`~analysis.statistics.ks_p_values` refuses.
    """
    ranked = rank_features(X)
    fixed = {str(k): x.to_numpy() for k, x in X.coords.items() if x.dims == ("feature",)}
    fixed["zeros"] = (X == 0).mean("image").to_numpy()
    fixed["constant"] = (X.min("image") == X.max("image")).to_numpy()
    parts = []
    for number, labelling in enumerate([labels, *shuffled], start=-1):
        P = {law: ks_p_values(ranked, labelling, law=law) for law in LAWS}
        found = {str(law): (P[law] <= alpha).mean("class").to_numpy() for law in LAWS}
        found["discovered"] = (false_discovery(P["conditional"]) <= q).mean("class").to_numpy()
        parts.append(pd.DataFrame({"labels": REAL if number < 0 else str(number)} | fixed | found))
    return pd.concat(parts, ignore_index=True)


def rejections_by(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Shares of rejections and discoveries by groups, under the labels and under shuffled ones.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`rejection_shares`, of which those called ``REAL`` are under the labels.
    columns : list of str
        What the groups have in common.

    Returns
    -------
    DataFrame
        A row per group, in order of appearance: ``columns``; ``conditional``, ``classical`` and
        ``discovered``, means over the group's features under the labels, and under all others, with
        ``_shuffled`` added to the name.
    """
    shares, real = [*LAWS, "discovered"], table["labels"] == REAL
    means, shuffled = (
        part.groupby(columns, sort=False)[shares].mean() for part in (table[real], table[~real])
    )
    return means.join(shuffled.add_suffix("_shuffled")).reset_index()


def rejection_by_zeros(table: pd.DataFrame) -> pd.DataFrame:
    """Rejection rate of both laws under shuffled labels by the features' share of zeros.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`rejection_shares`, with the columns ``network`` and ``dataset``; those called
        ``REAL`` are left out, and so are constant features.

    Returns
    -------
    DataFrame
        A row per network, law and group of features (no zeros, then up to each of ``ZEROS``; groups
        without features are left out): ``network``, ``law``, ``zeros`` (their mean), ``features``,
        ``rate``, and ``standard_error``, which takes each labelling of a dataset for one draw, as
        all features share it, and is NaN for a single one.
    """
    table = table[(table["labels"] != REAL) & ~table["constant"]]
    table = table.assign(group=np.searchsorted(ZEROS, table["zeros"].to_numpy()))
    rows = []
    for network, of_network in table.groupby("network", sort=False):
        for law in LAWS:
            for _, part in of_network.groupby("group"):
                draws, rate = part.groupby(["dataset", "labels"])[law], part[law].mean()
                rows.append(
                    {
                        "network": network,
                        "law": law,
                        "zeros": part["zeros"].mean(),
                        "features": len(part[["dataset", "layer", "unit"]].drop_duplicates()),
                        "rate": rate,
                        "standard_error": _clustered_error(draws.size(), draws.mean() - rate),
                    }
                )
    return pd.DataFrame(rows)


def _clustered_error(sizes: pd.Series[int], deviations: pd.Series[float]) -> float:
    """Give the standard error of a mean over clusters, of which each deviates as one."""
    if len(sizes) < 2:
        return float("nan")
    spread = np.sqrt(((sizes * deviations) ** 2).sum() * len(sizes) / (len(sizes) - 1))
    return float(spread / sizes.sum())
