"""How often the two laws of D_KS reject, and how often they do where there is nothing to find.

Conventions
-----------
rejection
    A p-value at or below α: of a test that keeps its word, a share of at most α of the pairs under
    shuffled labels.
discovery
    A Benjamini-Hochberg adjusted p-value at or below q, over the features given of a class.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from analysis.statistics.discoveries import false_discovery
from analysis.statistics.ranks import rank_features
from analysis.statistics.significance import Law, ks_p_values

LAWS: tuple[Law, Law] = ("conditional", "classical")
ZEROS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0)
"""Ends of the groups of features by their share of zeros; none at all is a group of its own."""


def rejection_shares(
    X: xr.DataArray,
    labellings: dict[str, ArrayLike],
    *,
    alpha: float = 0.05,
    q: float = 0.05,
    threads: int | None = None,
) -> pd.DataFrame:
    """Share of classes for which each feature is significant, under several labellings.

    Parameters
    ----------
    X : DataArray (image, feature)
        Real numbers, sorted once for all labellings.
    labellings : dict of str to array_like, shape (images,)
        Class of each image, by the name of the labelling.
    alpha : float
        Level of the tests.
    q : float
        False-discovery rate.
    threads : int, optional
        As for :func:`~analysis.statistics.signed_ks`.

    Returns
    -------
    DataFrame
        A row per labelling and feature: ``labels``, the name; the feature's coordinates;
        ``zeros``, the share of its values that are 0; ``constant``, whether it is, in which case
        nothing can be found; shares of the classes with a rejection under each law,
        ``conditional`` and ``classical``, and with a discovery under the conditional one,
        ``discovered``.

    Raises
    ------
    ValueError
        What :func:`~analysis.statistics.ks_p_values` refuses.
    """
    ranked = rank_features(X, threads=threads)
    fixed = {str(k): x.to_numpy() for k, x in X.coords.items() if x.dims == ("feature",)}
    fixed["zeros"] = (X == 0).mean("image").to_numpy()
    fixed["constant"] = (X.min("image") == X.max("image")).to_numpy()
    parts = []
    for name, labels in labellings.items():
        P = {law: ks_p_values(ranked, labels, law=law, threads=threads) for law in LAWS}
        found = {str(law): (P[law] <= alpha).mean("class").to_numpy() for law in LAWS}
        found["discovered"] = (false_discovery(P["conditional"]) <= q).mean("class").to_numpy()
        parts.append(pd.DataFrame({"labels": name} | fixed | found))
    return pd.concat(parts, ignore_index=True)


def rejection_by_zeros(table: pd.DataFrame) -> pd.DataFrame:
    """Rejection rate of both laws by the features' share of zeros.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`rejection_shares`, of one or several datasets (column ``dataset``).

    Returns
    -------
    DataFrame
        A row per law and group of features (no zeros, then up to each of ``ZEROS``; groups without
        features are left out): ``law``, ``zeros`` (their mean), ``features``, ``rate``, and
        ``standard_error``, which takes each labelling of a dataset for one draw, as all features
        share it, and is NaN for a single one. Constant features are left out.
    """
    table = table[~table["constant"]]
    group = np.searchsorted(ZEROS, table["zeros"].to_numpy())
    rows = []
    for law in LAWS:
        for number in np.unique(group):
            part = table[group == number]
            draws = part.groupby(["dataset", "labels"])[law]
            rate = part[law].mean()
            rows.append(
                {
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
