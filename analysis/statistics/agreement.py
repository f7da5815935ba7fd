"""Four distances of a class from the rest: where they agree, and how much of each is chance.

Conventions
-----------
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
from numpy.typing import ArrayLike

from analysis.data.labels import checked_labels
from analysis.statistics.distances import signed_ks
from analysis.statistics.divergences import bhattacharyya, kullback_leibler, mutual_information
from analysis.statistics.resolution import binning_bound

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
