"""How near the thresholds that the law of D_KS lets expect come to the measured ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.expected import STEP, Chance, ExpectedThresholds, Law
from analysis.statistics.noise import checked_distances, thresholds_between

__all__ = ["compare_thresholds", "costs_by_law"]

Floats = NDArray[np.float64]

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
