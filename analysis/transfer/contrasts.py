"""The full-network embedding, and other sets of features, against each other on the same splits.

Conventions
-----------
last layer
    The penultimate layer of the network, before its class scores: the last fully connected one,
    ``fc7`` of VGG16, or, in a network without any, the last of its embedding, such as ``fire9`` of
    SqueezeNet.
best layer
    The single layer with the highest mean accuracy on the test images, known only in hindsight.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from analysis.transfer.comparison import ROUNDING, paired_differences
from analysis.transfer.recommendation import ALL_LAYERS, DISCRETISED

__all__ = ["contrast", "contrast_full_network", "summarise_contrasts", "tabulate_accuracies"]


def contrast(
    splits: pd.DataFrame, features: str, over: str, against: str | None = None
) -> pd.DataFrame:
    """Contrast two sets of features on every dataset of every network.

    Parameters
    ----------
    splits : DataFrame
        Tables :attr:`Recommendation.splits`, stacked, with the columns ``network`` and ``dataset``.
    features, over : str
        Sets of features, as the column ``features`` names them.
    against : str, optional
        What to call the second; by default as it is named.

    Returns
    -------
    DataFrame
        A row per network and dataset: ``network``, ``dataset``, ``features``, ``against``,
        ``over``, the mean ``accuracy`` and ``n_features`` of the first, ``over_accuracy`` and
        ``over_n_features`` of the second, and by how much the first is more accurate:
        ``difference``, ``standard_error`` and ``corrected_error`` (:func:`paired_differences`).
    """
    keys = ["network", "dataset"]
    rows = []
    for (network, dataset), part in splits.groupby(keys, sort=False):
        found = paired_differences(part, features, [over]).iloc[0]
        means = part.groupby("features")[["accuracy", "n_features"]].mean()
        rows.append(
            {
                "network": network,
                "dataset": dataset,
                "features": features,
                "against": against or over,
                "over": over,
                **means.loc[features],
                **means.loc[over].add_prefix("over_"),
                **found[["difference", "standard_error", "corrected_error"]],
            }
        )
    return pd.DataFrame(rows)


def contrast_full_network(splits: pd.DataFrame) -> pd.DataFrame:
    """Contrast the full-network embedding with the concatenation and with single layers.

    Parameters
    ----------
    splits : DataFrame
        As for :func:`contrast`.

    Returns
    -------
    DataFrame
        Rows of :func:`contrast` for three rivals, by network and dataset: all layers, standardised
        only ("concatenation"), the "last layer" and the "best layer" (see the conventions), which
        ``over`` names.
    """
    tables = []
    for _, part in splits.groupby(["network", "dataset"], sort=False):
        single = part[part["kind"] == "single layer"]
        means = single.groupby("features", sort=False)["accuracy"].mean()
        rivals = {
            "concatenation": ALL_LAYERS,
            "last layer": str(means.index[-1]),
            "best layer": str(means.idxmax()),
        }
        tables += [contrast(part, DISCRETISED, over, name) for name, over in rivals.items()]
    return pd.concat(tables, ignore_index=True)


def summarise_contrasts(contrasts: pd.DataFrame) -> pd.DataFrame:
    """Mean difference over the datasets of each network.

    Parameters
    ----------
    contrasts : DataFrame
        Rows of :func:`contrast`.

    Returns
    -------
    DataFrame
        A row per network and rival: ``network``, ``against``, ``over`` (its names), ``datasets``,
        ``difference`` (mean) with two standard errors: ``over_datasets`` (s/√n of the differences;
        NaN of one) and ``standard_error`` (of the splits, combined); ``better``: datasets where the
        difference is positive, and ``worse``, where it is negative.
    """
    rows = []
    for (network, against), part in contrasts.groupby(["network", "against"], sort=False):
        n = len(part)
        rows.append(
            {
                "network": network,
                "against": against,
                "over": _listed(part["over"]),
                "datasets": n,
                "difference": float(part["difference"].mean()),
                "over_datasets": float(part["difference"].std() / np.sqrt(n)),
                "standard_error": float(np.sqrt((part["standard_error"] ** 2).sum()) / n),
                "better": int((part["difference"] > ROUNDING).sum()),
                "worse": int((part["difference"] < -ROUNDING).sum()),
            }
        )
    return pd.DataFrame(rows)


def tabulate_accuracies(summary: pd.DataFrame) -> pd.DataFrame:
    """Lay out the accuracies of all sets of features for readers, a column for each dataset.

    Parameters
    ----------
    summary : DataFrame
        Tables :attr:`Recommendation.summary`, stacked, with the columns ``network`` and
        ``dataset``.

    Returns
    -------
    DataFrame
        A row per network and set: ``network``, ``features``, for each dataset "accuracy ± standard
        error" in per cent, and means over datasets: ``n_features`` and ``bytes``, rounded, and
        ``seconds``.
    """
    keys = ["network", "features"]
    texts = [
        f"{100 * mean:.1f} ± {100 * error:.1f}"
        for mean, error in zip(summary["mean"], summary["standard_error"], strict=True)
    ]
    wide = summary.assign(text=texts).pivot(index=keys, columns="dataset", values="text")
    costs = summary.groupby(keys, sort=False)[["n_features", "bytes", "seconds"]].mean()
    costs = costs.round({"n_features": 0, "bytes": 0}).astype({"n_features": int, "bytes": int})
    laid_out = wide[list(dict.fromkeys(summary["dataset"]))].join(costs).loc[costs.index]
    return laid_out.rename_axis(columns=None).reset_index()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))
