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

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from analysis.statistics.distances import signed_ks
from analysis.statistics.divergences import bhattacharyya, kullback_leibler, mutual_information

MEASURES = ("dks", "kullback_leibler", "bhattacharyya", "mutual_information")
"""Columns of the four distances."""


def compare_measures(X: xr.DataArray, labels: ArrayLike, *, bins: int = 100) -> pd.DataFrame:
    """Four distances of every feature/class pair.

    Parameters
    ----------
    X : DataArray (image, feature) with the coordinates ``layer`` and ``unit``
        Finite real numbers.
    labels : array_like, shape (images,)
        Class of each image.
    bins : int
        Equal bins of each feature's range, for all but the exact ``dks``.

    Returns
    -------
    DataFrame
        A row per class and feature: ``class``, ``layer``, ``unit``; ``share`` of the images in the
        class; ``zeros``, the share of the feature's values that are 0; ``dks``, ``dks_binned`` and
        the three divergences in nats.
    """
    D = signed_ks(X, labels)
    _, sizes = np.unique(np.asarray(labels), return_counts=True)
    n_classes, n_features = D.shape
    zeros = (X == 0).mean("image").to_numpy()
    measured = {
        "dks": D,
        "dks_binned": signed_ks(X, labels, bins=bins),
        "kullback_leibler": kullback_leibler(X, labels, bins=bins),
        "bhattacharyya": bhattacharyya(X, labels, bins=bins),
        "mutual_information": mutual_information(X, labels, bins=bins),
    }
    table = {
        "class": np.repeat(D["class"].to_numpy(), n_features),
        "layer": np.tile(D["layer"].to_numpy(), n_classes),
        "unit": np.tile(D["unit"].to_numpy(), n_classes),
        "share": np.repeat(sizes / sizes.sum(), n_features),
        "zeros": np.tile(zeros, n_classes),
    }
    return pd.DataFrame(
        table | {name: values.to_numpy().ravel() for name, values in measured.items()}
    )


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
    row |= {name: _correlation(sizes, found[name].rank()) for name in MEASURES[1:]}
    ratio = found["mutual_information"] / (found["share"] * found["kullback_leibler"])
    return pd.DataFrame([row | {"information_ratio": ratio.median()}])


def chance_by_measure(
    real: pd.DataFrame, shuffled: pd.DataFrame, coarser: pd.DataFrame
) -> pd.DataFrame:
    """How much of each distance chance alone gives, and how much the bins decide.

    Parameters
    ----------
    real, shuffled, coarser : DataFrame
        :func:`compare_measures` of the same features: under the labels, under shuffled labels, and
        under the labels with half as many bins.

    Returns
    -------
    DataFrame
        A row per ``measure``: ``largest`` size; ``median`` size under the labels, ``chance``, that
        under shuffled labels, and ``chance_ratio`` of the two; ``beyond_chance``, the share of
        pairs beyond the 0.95 quantile of the shuffled ones, which is 0.05 where labels mean
        nothing; ``bins_ratio``, the median with half the bins over that with all (of ``dks``, the
        binned distances). All over pairs with D_KS other than 0.
    """
    found, noise, halved = _not_zero(real), _not_zero(shuffled), _not_zero(coarser)
    rows = []
    for measure in MEASURES:
        binned = "dks_binned" if measure == "dks" else measure
        sizes, chance = found[measure].abs(), noise[measure].abs()
        rows.append(
            {
                "measure": measure,
                "largest": sizes.max(),
                "median": sizes.median(),
                "chance": chance.median(),
                "chance_ratio": chance.median() / sizes.median(),
                "beyond_chance": (sizes > chance.quantile(0.95)).mean(),
                "bins_ratio": halved[binned].abs().median() / found[binned].abs().median(),
            }
        )
    return pd.DataFrame(rows)


def widest_disagreements(real: pd.DataFrame, shuffled: pd.DataFrame) -> pd.DataFrame:
    """Find the pairs that D_KS and a divergence rank most differently, either way.

    Parameters
    ----------
    real, shuffled : DataFrame
        :func:`compare_measures` of one X, under the labels and under shuffled ones.

    Returns
    -------
    DataFrame
        Two rows, first the pair on which a divergence is widest for what D_KS is, then the reverse:
        the columns of ``real``; ``measure``, which divergence, its ``value``, and both sizes under
        shuffled labels, ``value_shuffled`` and ``dks_shuffled``; ``dks_rank`` and ``value_rank``,
        the shares of pairs that are no larger.
    """
    ranks = real[list(MEASURES)].abs().rank(pct=True)
    rows = []
    for sign in (1, -1):
        differences = sign * ranks[list(MEASURES[1:])].sub(ranks["dks"], axis=0)
        measure = str(differences.max().idxmax())
        at = int(np.argmax(differences[measure]))
        pair, noise, rank = real.iloc[at], shuffled.iloc[at], ranks.iloc[at]
        row = {"measure": measure, "value": pair[measure], "value_shuffled": noise[measure]}
        row |= {"dks_shuffled": noise["dks"], "dks_rank": rank["dks"], "value_rank": rank[measure]}
        rows.append({str(name): value for name, value in pair.items()} | row)
    return pd.DataFrame(rows)


def _not_zero(pairs: pd.DataFrame) -> pd.DataFrame:
    return pairs[pairs["dks"] != 0]


def _correlation(a: pd.Series[float], b: pd.Series[float]) -> float:
    if a.nunique() < 2 or b.nunique() < 2:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
