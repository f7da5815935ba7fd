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

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from analysis.statistics.discoveries import false_discovery
from analysis.statistics.ranks import rank_features
from analysis.statistics.significance import Law, ks_p_values

REAL = "real"
"""What the labels that mean something are called, beside shuffled ones."""

LAWS: tuple[Law, Law] = ("conditional", "classical")
ZEROS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0)
"""Ends of the groups of features by their share of zeros; none at all is a group of its own."""


def rejection_shares(
    X: xr.DataArray,
    labels: ArrayLike,
    shuffled: Sequence[ArrayLike],
    *,
    alpha: float = 0.05,
    q: float = 0.05,
    threads: int | None = None,
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
    threads : int, optional
        As for :func:`~analysis.statistics.signed_ks`.

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
    ranked = rank_features(X, threads=threads)
    fixed = {str(k): x.to_numpy() for k, x in X.coords.items() if x.dims == ("feature",)}
    fixed["zeros"] = (X == 0).mean("image").to_numpy()
    fixed["constant"] = (X.min("image") == X.max("image")).to_numpy()
    parts = []
    for number, labelling in enumerate([labels, *shuffled], start=-1):
        P = {law: ks_p_values(ranked, labelling, law=law, threads=threads) for law in LAWS}
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
