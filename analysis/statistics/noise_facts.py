"""The numbers that a page on noise thresholds says in words."""

from __future__ import annotations

from typing import Any

import pandas as pd

__all__ = ["noise_facts"]

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
