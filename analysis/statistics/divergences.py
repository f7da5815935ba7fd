"""How far the histograms of a feature inside and outside a class lie apart, without a direction.

And where they and the signed distance agree, and how much of each is chance.

Conventions
-----------
P, Q, R
    Histograms of a feature over the images of a class, over all others, and over all together:
    shares of the images in each bin. They are those that ``signed_ks(X, labels, bins=...)``
    accumulates: equal widths between the feature's own least and greatest value over all images.
unit
    Nats: all logarithms are natural.

Kullback-Leibler and Bhattacharyya are equations 1 and 2 of Garcia-Gasulla et al., *On the behavior
of convolutional nets for feature extraction*, JAIR 2018, section 4, which considers them beside
mutual information and prefers D_KS, as it has a sign, a bounded range and needs no density. It
has no word on bins without images. Here both compared histograms are smoothed towards the pooled
one, by ``smoothing`` images that are distributed like R::

    P' = (n_in P + smoothing R) / (n_in + smoothing),    Q' likewise with n_out

A bin that is empty in both stays empty and adds nothing, no ratio is infinite, and P = Q gives 0
whatever the sizes. (The same count added to every bin would make histograms of unequal sizes differ
where the data do not.) Mutual information needs no smoothing. A constant feature fills one bin and
all three are 0.

With few images per bin all three are positive by chance alone: some (occupied bins - 1) / (2 n_in)
for Kullback-Leibler. Compare with shuffled labels before reading small values.

Mutual information I of the bin and of membership in a class, and the share π = n_in / N::

    I = π KL(P, R) + (1 - π) KL(Q, R)

so that it is at most the entropy of membership, itself at most log 2. In a dataset of many classes
Q is nearly R and I nearly π KL(P, Q): the approximation of the paper, which leaves π out.
dks, kullback_leibler, bhattacharyya, mutual_information
    :func:`~analysis.statistics.signed_ks` (exact), and the three divergences that section 4 of
    Garcia-Gasulla et al., *On the behavior of convolutional nets for feature extraction*, JAIR
    2018, considers beside it, on equal bins and with their default smoothing.
size of a distance
    Its absolute value, as three of the four have no sign.
pairs with D_KS other than 0
    Summaries are over these. A constant feature has 0 for every class, and in all four distances:
    such agreements would only count how many features are constant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.special import rel_entr

from analysis.data.images import checked_labels
from analysis.statistics._kernels import TILE, histogram_columns
from analysis.statistics.blocks import conform, features_of, over_feature_blocks, run_in_threads
from analysis.statistics.ks import binning_bound, checked_bins, refuse, signed_ks
from analysis.statistics.named import classes_of, labelled

Floats = NDArray[np.float64]
Measure = Callable[[Floats, Floats, Floats, Floats], Floats]

_TABLE = 2**20
"""Counts of images (bins × classes × features) worked on at once."""


def kullback_leibler(
    X: ArrayLike | xr.DataArray, labels: ArrayLike, *, bins: int = 100, smoothing: float = 1.0
) -> Any:
    """Kullback-Leibler divergence of the inner histogram from the outer one.

    Parameters
    ----------
    X : array_like or DataArray, shape (images, features)
        Finite real numbers. A DataArray has the dimensions ``image`` and ``feature``; one on Dask
        is read a block of features at a time.
    labels : array_like, shape (images,)
        Class of each image, any values that NumPy can sort.
    bins : int
        Equal bins of each feature's range.
    smoothing : float
        Images distributed like all images, added to both histograms (see above). 0 gives the plain
        divergence: infinite where a bin has inner images and no outer ones.

    Returns
    -------
    ndarray or DataArray of float64, shape (classes, features)
        Sum over bins of P log(P / Q), from 0 up; classes as ``numpy.unique(labels)``, a DataArray
        with their and the features' coordinates if X is one.

    Raises
    ------
    ValueError
        NaN or infinities in X, and what else :func:`~analysis.statistics.signed_ks` refuses;
        negative smoothing.
    """

    def measure(inner: Floats, outer: Floats, *_: Floats) -> Floats:
        return _sum_of_ratios(inner, outer)

    return _by_histogram(X, labels, measure, "kullback_leibler", bins, smoothing)


def bhattacharyya(
    X: ArrayLike | xr.DataArray, labels: ArrayLike, *, bins: int = 100, smoothing: float = 1.0
) -> Any:
    """Bhattacharyya distance between the inner and the outer histogram.

    Parameters
    ----------
    X, labels, bins, smoothing
        As for :func:`kullback_leibler`. Without smoothing, histograms that share no bin are
        infinitely far apart.

    Returns
    -------
    ndarray or DataArray of float64, shape (classes, features)
        Minus the logarithm of the sum over bins of √(P Q), from 0 up; the same for a class and for
        its complement.

    Raises
    ------
    ValueError
        As for :func:`kullback_leibler`.
    """

    def measure(inner: Floats, outer: Floats, pooled: Floats, share: Floats) -> Floats:
        with np.errstate(divide="ignore"):
            shared = np.minimum(np.sqrt(inner * outer).sum(axis=1), 1.0)
            return np.asarray(np.abs(np.log(shared)))

    return _by_histogram(X, labels, measure, "bhattacharyya", bins, smoothing)


def mutual_information(X: ArrayLike | xr.DataArray, labels: ArrayLike, *, bins: int = 100) -> Any:
    """Mutual information between a feature's bin and membership of a class.

    Parameters
    ----------
    X, labels, bins
        As for :func:`kullback_leibler`.

    Returns
    -------
    ndarray or DataArray of float64, shape (classes, features)
        From 0 to the entropy of membership, at most log 2; the same for a class and for its
        complement.

    Raises
    ------
    ValueError
        As for :func:`kullback_leibler`.
    """

    def measure(inner: Floats, outer: Floats, pooled: Floats, share: Floats) -> Floats:
        inside, outside = _sum_of_ratios(inner, pooled), _sum_of_ratios(outer, pooled)
        return share * inside + (1 - share) * outside

    return _by_histogram(X, labels, measure, "mutual_information", bins, 0.0)


def _sum_of_ratios(P: Floats, Q: Floats) -> Floats:
    """Sum over the bins, axis 1, of P log(P / Q); rounding below 0 is cut off."""
    return np.asarray(np.maximum(rel_entr(P, Q).sum(axis=1), 0.0))


def _by_histogram(
    X: ArrayLike | xr.DataArray,
    labels: ArrayLike,
    measure: Measure,
    name: str,
    bins: int,
    smoothing: float,
) -> Any:
    """Apply a measure of smoothed (inner, outer, pooled) histograms (features, bins, classes).

    Its last argument is each class's share of the images, its result (features, classes).
    """
    bins = checked_bins(bins)
    if not 0 <= smoothing < np.inf:
        raise ValueError(f"expected smoothing to be a number of images from 0, got {smoothing}")
    features, X = features_of(X), conform(X)
    n_images = X.shape[0]
    classes, members, sizes = classes_of(labels, n_images)
    together = int(np.clip(_TABLE // (bins * sizes.size), 1, TILE))

    def of_block(block: NDArray[Any], offset: int) -> Floats:
        out = np.empty((sizes.size, block.shape[1]))
        nan, infinite = np.zeros((2, block.shape[1]), np.int64)

        def task(first: int, last: int) -> None:
            tables = np.empty((together, bins, sizes.size), np.int64)
            for start in range(first, last, together):
                end = min(start + together, last)
                counts = tables[: end - start]
                histogram_columns(block, start, end, members, counts, nan, infinite)
                histograms = _histograms(counts, sizes, smoothing)
                out[:, start:end] = measure(*histograms, sizes / n_images).T

        run_in_threads(task, n_images, block.shape[1])
        refuse(nan, infinite, n_images, offset)
        return out

    D = over_feature_blocks(X, of_block, None, np.empty((classes.size, X.shape[1])))
    if features is None:
        return D
    return labelled(D, classes, features, name, bins=bins, smoothing=smoothing)


def _histograms(
    counts: NDArray[np.int64], sizes: NDArray[np.int64], smoothing: float
) -> tuple[Floats, Floats, Floats]:
    """Inner and outer histograms, smoothed, and the pooled one, from counts (n, bins, classes)."""
    totals = counts.sum(axis=2, keepdims=True)
    n_images = sizes.sum()
    pooled = totals / n_images
    inner = (counts + smoothing * pooled) / (sizes + smoothing)
    outer = (totals - counts + smoothing * pooled) / (n_images - sizes + smoothing)
    return inner, outer, pooled


DIVERGENCES: dict[str, Callable[..., Any]] = {
    "kullback_leibler": kullback_leibler,
    "bhattacharyya": bhattacharyya,
    "mutual_information": mutual_information,
}
MEASURES = ("dks", *DIVERGENCES)
"""Columns of the four distances."""


def sample_by_layer(X: xr.DataArray, n: int, *, seed: int) -> xr.DataArray:
    """Draw features, as many of each layer.

    Parameters
    ----------
    X : DataArray with the dimension ``feature`` and its coordinate ``layer``
        Any values.
    n : int
        Features of each layer; all of a layer that has no more.
    seed : int
        Seed of the draw, which depends on the layers alone: equal for all images of a network.

    Returns
    -------
    DataArray
        Part of X, features in their order.

    Raises
    ------
    ValueError
        n below 1.
    """
    if n < 1:
        raise ValueError(f"expected to draw at least 1 feature of each layer, got n = {n}")
    order = np.random.default_rng(seed).permutation(X.sizes["feature"])
    place = pd.Series(order).groupby(X["layer"].to_numpy()[order]).cumcount().to_numpy()
    return X.isel(feature=np.sort(order[place < n]))


def compare_measures(
    X: xr.DataArray, labels: ArrayLike, shuffled: ArrayLike, *, bins: int = 100
) -> pd.DataFrame:
    """Four distances of every feature/class pair, what chance gives, and what the bins do.

    Parameters
    ----------
    X : DataArray (image, feature) with the coordinates ``layer`` and ``unit``
        Finite real numbers.
    labels, shuffled : array_like, shape (images,)
        Class of each image, and the same labels in random order.
    bins : int
        Equal bins of each feature's range, for all but the exact ``dks``; at least 4.

    Returns
    -------
    DataFrame
        A row per class and feature: ``class``, ``layer``, ``unit``; ``share`` of the images in the
        class; ``zeros``, the share of the feature's values that are 0; ``dks`` and the three
        divergences in nats, each also with ``_shuffled`` (under shuffled labels) and ``_coarse``
        (with half the bins) added to its name; ``dks_binned``; ``loss``, by which that is narrower
        than ``dks``, and ``bound``, the most that it can be (:func:`binning_bound`).
    """
    D = signed_ks(X, labels)
    _, sizes = np.unique(checked_labels(labels), return_counts=True)
    n_classes, n_features = D.shape
    table = {
        "class": np.repeat(D["class"].to_numpy(), n_features),
        "layer": np.tile(D["layer"].to_numpy(), n_classes),
        "unit": np.tile(D["unit"].to_numpy(), n_classes),
        "share": np.repeat(sizes / sizes.sum(), n_features),
        "zeros": np.tile((X == 0).mean("image").to_numpy(), n_classes),
    }
    measured = {"dks": D, "dks_shuffled": signed_ks(X, shuffled)}
    for name, bins_of_dks in (("dks_binned", bins), ("dks_coarse", bins // 2)):
        measured[name] = signed_ks(X, labels, bins=bins_of_dks)
    for name, measure in DIVERGENCES.items():
        measured[name] = measure(X, labels, bins=bins)
        measured[f"{name}_shuffled"] = measure(X, shuffled, bins=bins)
        measured[f"{name}_coarse"] = measure(X, labels, bins=bins // 2)
    measured["loss"] = abs(D) - abs(measured["dks_binned"])
    measured["bound"] = binning_bound(X, labels, bins=bins)
    return pd.DataFrame(table | {name: x.to_numpy().ravel() for name, x in measured.items()})


def rank_correlations(pairs: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rank correlation of |D_KS| with each divergence.

    Parameters
    ----------
    pairs : DataFrame
        As :func:`compare_measures` gives it.

    Returns
    -------
    DataFrame
        One row: ``pairs`` with D_KS other than 0, of which these are the numbers; a correlation
        for each divergence, NaN where one side is constant; ``information_ratio``, the median of
        I / (π KL), which is 1 where the paper's approximation of mutual information I holds.
    """
    found = _not_zero(pairs)
    sizes = found["dks"].abs().rank()
    row: dict[str, float] = {"pairs": len(found)}
    row |= {name: _correlation(sizes, found[name].rank()) for name in DIVERGENCES}
    ratio = found["mutual_information"] / (found["share"] * found["kullback_leibler"])
    return pd.DataFrame([row | {"information_ratio": ratio.median()}])


def chance_by_measure(pairs: pd.DataFrame) -> pd.DataFrame:
    """How much of each distance chance alone gives, and how much the bins decide.

    Parameters
    ----------
    pairs : DataFrame
        As :func:`compare_measures` gives it.

    Returns
    -------
    DataFrame
        A row per ``measure``: ``largest`` size; ``median`` size under the labels, ``chance``, that
        under shuffled labels, and ``chance_ratio`` of the two; ``beyond_chance``, the share of
        pairs beyond the 0.95 quantile of the shuffled ones, which is 0.05 where labels mean
        nothing; ``bins_ratio``, the median with half the bins over that with all (of ``dks``, the
        binned distances). All over pairs with D_KS other than 0.
    """
    real, noise = _not_zero(pairs), pairs[pairs["dks_shuffled"] != 0]
    rows = []
    for measure in MEASURES:
        sizes, chance = real[measure].abs(), noise[f"{measure}_shuffled"].abs()
        binned = real["dks_binned"].abs() if measure == "dks" else sizes
        rows.append(
            {
                "measure": measure,
                "largest": sizes.max(),
                "median": sizes.median(),
                "chance": chance.median(),
                "chance_ratio": chance.median() / sizes.median(),
                "beyond_chance": (sizes > chance.quantile(0.95)).mean(),
                "bins_ratio": real[f"{measure}_coarse"].abs().median() / binned.median(),
            }
        )
    return pd.DataFrame(rows)


def widest_disagreements(pairs: pd.DataFrame) -> pd.DataFrame:
    """Find the pairs that D_KS and a divergence rank most differently, either way.

    Parameters
    ----------
    pairs : DataFrame
        As :func:`compare_measures` gives it.

    Returns
    -------
    DataFrame
        Two rows, first the pair on which a divergence is widest for what D_KS is, then the reverse:
        the columns of ``pairs``; ``measure``, which divergence; its ``value``, and
        ``value_shuffled`` under shuffled labels; ``dks_rank`` and ``value_rank``, the shares of
        pairs that are no larger.
    """
    ranks = pairs[list(MEASURES)].abs().rank(pct=True)
    rows = []
    for sign in (1, -1):
        differences = sign * ranks[list(DIVERGENCES)].sub(ranks["dks"], axis=0)
        measure = str(differences.max().idxmax())
        at = int(np.argmax(differences[measure]))
        pair, rank = pairs.iloc[at], ranks.iloc[at]
        row = {"measure": measure, "value": pair[measure]}
        row |= {"value_shuffled": pair[f"{measure}_shuffled"]}
        row |= {"dks_rank": rank["dks"], "value_rank": rank[measure]}
        rows.append({str(name): value for name, value in pair.items()} | row)
    return pd.DataFrame(rows)


def _not_zero(pairs: pd.DataFrame) -> pd.DataFrame:
    return pairs[pairs["dks"] != 0]


def _correlation(a: pd.Series[float], b: pd.Series[float]) -> float:
    if a.nunique() < 2 or b.nunique() < 2:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
