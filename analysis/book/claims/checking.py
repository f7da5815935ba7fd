"""The register of claims, and their verdicts as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from analysis.book.claims import (
    convolutional,
    counts,
    distributions,
    fully_connected,
    source_tasks,
    thresholds,
)
from analysis.book.claims.claim import (
    PAPER_DATASETS,
    Claim,
    Finding,
    NotTestableError,
    list_datasets,
)
from analysis.book.claims.evidence import Evidence

__all__ = ["CLAIMS", "check_claims", "verdict_counts"]

CLAIMS: tuple[Claim, ...] = (
    *distributions.CLAIMS,
    *convolutional.CLAIMS,
    *fully_connected.CLAIMS,
    *thresholds.CLAIMS,
    *source_tasks.CLAIMS,
    *counts.CLAIMS,
)
"""In reading order. Another section's claims are another module with a tuple of its own."""


def check_claims(
    evidence: Mapping[str, Evidence], claims: Sequence[Claim] = CLAIMS
) -> pd.DataFrame:
    """Verdict on every claim, network by network.

    Parameters
    ----------
    evidence
        Of each network, see :func:`gather_evidence`.
    claims
        What to test.

    Returns
    -------
    DataFrame
        ``network``, ``trained``; of the claim ``claim`` (its name), ``section``, ``statement``,
        ``criterion`` and ``paper``; and what was found, ``here``, ``tested_on``, ``verdict``
        (``"holds"``, ``"fails"`` or ``"cannot be tested"``) and ``why``. ``shuffled`` is the
        verdict that the same test gives under shuffled labels, empty for counts: what holds there
        too, holds by the nature of the distance.
    """
    rows = []
    for network, of_network in evidence.items():
        for claim in claims:
            finding = _finding(claim, of_network)
            rows.append(
                {
                    "network": network,
                    "trained": of_network.trained,
                    "claim": claim.id,
                    "section": claim.section,
                    "statement": claim.statement,
                    "criterion": claim.criterion,
                    "paper": claim.paper,
                    "here": finding.here,
                    "tested_on": finding.tested_on,
                    "verdict": finding.verdict,
                    "why": finding.why,
                    "shuffled": _by_chance(claim, of_network),
                }
            )
    return pd.DataFrame(rows)


def verdict_counts(table: pd.DataFrame) -> dict[str, int | str]:
    """Count the verdicts on trained networks, and name the claims behind them.

    Parameters
    ----------
    table
        As of :func:`check_claims`.

    Returns
    -------
    dict
        How many of the verdicts are each, over all trained networks: ``n_holds``, ``n_fails``,
        ``n_untested``. Names of the claims that hold (``holds``) and that fail (``fails``) with
        every trained network that can test them; of those that hold, the ones that do so under
        shuffled labels too (``by_chance``), and the ones that fail with every untrained network
        that can test them (``learnt``). Lists are one string with commas, or ``"none"``.
    """
    trained, control = table[table["trained"]], table[~table["trained"]]
    holding, failing = _unanimous(trained, "holds"), _unanimous(trained, "fails")
    chance = _unanimous(trained, "holds", column="shuffled")
    unlearnt = _unanimous(control, "fails")
    return {
        "n_networks": int(trained["network"].nunique()),
        "n_holds": int((trained["verdict"] == "holds").sum()),
        "n_fails": int((trained["verdict"] == "fails").sum()),
        "n_untested": int((trained["verdict"] == "cannot be tested").sum()),
        "holds": _listed(holding),
        "fails": _listed(failing),
        "by_chance": _listed([name for name in holding if name in chance]),
        "learnt": _listed([name for name in holding if name in unlearnt]),
    }


def _unanimous(table: pd.DataFrame, verdict: str, *, column: str = "verdict") -> list[str]:
    """Claims on which all networks that can test them give this verdict."""
    decided = table[table[column].isin(["holds", "fails"])]
    agreed = (decided[column] == verdict).groupby(decided["claim"], sort=False).all()
    return [str(name) for name in agreed.index[agreed]]


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"


def _finding(claim: Claim, evidence: Evidence) -> Finding:
    try:
        finding = claim.test(evidence)
    except NotTestableError as lacking:
        return Finding("cannot be tested", why=str(lacking))
    names = [str(name) for name in evidence.datasets.index]
    if finding.tested_on == list_datasets(names) and len(names) > 1:
        return replace(finding, tested_on=_all_of(names))
    return finding


def _by_chance(claim: Claim, evidence: Evidence) -> str:
    if not claim.labelled or evidence.shuffled is None:
        return ""
    return _finding(claim, evidence.shuffled).verdict


def _all_of(names: list[str]) -> str:
    own = [name for name in names if name in PAPER_DATASETS]
    whose = f"the paper's: {', '.join(own)}" if own else "none of them the paper's"
    return f"all {len(names)} datasets of the study, {whose}"
