"""Claims of section 6.1: single datasets in the convolutional layers."""

from __future__ import annotations

from typing import NoReturn

import pandas as pd

from analysis.book.claims.claim import (
    CLEARLY,
    Claim,
    Finding,
    NotTestableError,
    chosen,
    conclude,
    every,
    holds_if,
    testable,
)
from analysis.book.claims.evidence import CONV, Evidence

__all__ = ["CLAIMS", "long_bars"]

FIRST = 0.25
UPPER_FROM = 1 / 3


def long_bars(evidence: Evidence) -> Finding:
    """Claim C13, which section 8 repeats for another source task."""
    wood, others = _wood_and_others(evidence)
    early, late = (
        evidence.of(layers, "presence_spread")[[*wood, *others]]
        for layers in (evidence.early(FIRST), evidence.late(FIRST))
    )
    absence = evidence.of(evidence.early(FIRST), "absence_spread")[[*wood, *others]]
    ranked = [name for name in others if name != "flowers102"]
    longest = early[wood].min() > early[others].max()
    second = "flowers102" not in others or not ranked or early["flowers102"] > early[ranked].max()
    fades = _lead(late, wood, others) < _lead(early, wood, others)
    one_sided = _lead(absence, wood, others) < _lead(early, wood, others)
    here = (
        f"spread {early[wood].mean():.3f} against at most {early[others].max():.3f}; lead over "
        f"the others' mean {_lead(early, wood, others):+.3f}, in the last layers "
        f"{_lead(late, wood, others):+.3f}, of absence {_lead(absence, wood, others):+.3f}"
    )
    broken = [
        text
        for text, kept in (
            ("another dataset has longer bars", longest),
            ("flowers102 is not second", second),
            ("the lead does not fade", fades),
            ("the lead of absence is as large", one_sided),
        )
        if not kept
    ]
    return conclude(holds_if(not broken), here, [*wood, *others], "; ".join(broken))


def _lead(values: pd.Series[float], ahead: list[str], others: list[str]) -> float:
    return float(values[ahead].mean() - values[others].mean())


def _wood_and_others(evidence: Evidence) -> tuple[list[str], list[str]]:
    wood = chosen(evidence, ["wood"], ["wood_grain"])
    others = [name for name in testable(evidence, least=2) if name not in wood]
    if not others:
        raise NotTestableError("needs another dataset to compare with")
    return wood, others


def _position(evidence: Evidence) -> Finding:
    names = chosen(evidence, ["textures"], ["materials", "materials_unbalanced"])
    layers = evidence.layers(CONV)
    upper = layers[-(-len(layers) // round(1 / UPPER_FROM)) :]
    table = evidence.measures[evidence.measures["scope"] == "layer"]
    rates = table.pivot(index="dataset", columns="name", values="among_widest").loc[names]
    best = rates.idxmax(axis=1)
    here = ", ".join(f"{best[name]} on {name} ({rates.max(axis=1)[name]:.1%})" for name in names)
    return every(best.isin(upper), here)


def _extremes(evidence: Evidence, layers: list[str] | str) -> pd.Series[float]:
    """Share of pairs beyond 0.5 on either side, less that under shuffled labels."""
    return sum(
        evidence.of(layers, tail) - evidence.of(layers, tail, by_chance=True)
        for tail in ("above_0.5", "below_0.5")
    )  # type: ignore[return-value]


def _wood_tail(evidence: Evidence) -> Finding:
    wood, others = _wood_and_others(evidence)
    tail = _extremes(evidence, evidence.early(FIRST))
    here = (
        f"{tail[wood].mean():.2%} of the pairs extreme, elsewhere at most {tail[others].max():.2%}"
    )
    clearly = tail[wood].min() > CLEARLY * tail[others].max()
    return conclude(holds_if(bool(clearly)), here, [*wood, *others])


def _small_classes(evidence: Evidence) -> Finding:
    usable = testable(evidence, least=3)
    sizes = (evidence.datasets["images"] / evidence.datasets["classes"])[usable]
    wood = [name for name in usable if name in ("wood", "wood_grain")]
    fewest = [str(sizes.drop(wood).idxmin())] if len(wood) < len(usable) else []
    small = chosen(evidence, ["flowers102", "caltech101"], fewest)
    rest = [name for name in usable if name not in [*small, *wood]]
    if not rest:
        raise NotTestableError("needs another dataset to compare with")
    tail = _extremes(evidence, CONV)
    found = tail[small]
    here = f"{found.mean():.2%} of the pairs extreme, against {tail[rest].mean():.2%}"
    finding = every(found > tail[rest].mean(), here)
    if small == fewest:
        reason = f"{small[0]} has the fewest images per class of the others"
        return Finding(finding.verdict, here, finding.tested_on, reason)
    return finding


def _by_eye(evidence: Evidence) -> NoReturn:
    raise NotTestableError("it takes eyes, and the paper's flowers102")


CLAIMS = (
    Claim(
        "C13",
        "6.1, Fig. 5",
        "In the first convolutional layers, wood and to a degree flowers102 have unusually long "
        "bars of presence; this fades in later layers and is not so for absence.",
        "Spread (middle 68 %) of positive D in the first quarter of the convolutional layers: "
        "widest on wood, then on flowers102; wood's lead is smaller in the last quarter, and "
        "smaller for absence.",
        "wood > flowers102 > rest",
        long_bars,
    ),
    Claim(
        "C15",
        "6.1",
        "On textures, the most discriminative features lie in middle and upper convolutional "
        "layers.",
        "Among the widest 1 % of the embedding's pairs, the layer most often found, for its size, "
        "is a convolutional one above the first third.",
        "middle, upper",
        _position,
    ),
    Claim(
        "C16",
        "6.1, Fig. 6",
        "Only on wood are extreme distances clearly more frequent in low-level layers.",
        "Share of pairs with |D| > 0.5 in the first quarter of the convolutional layers, less "
        "that under shuffled labels: 3/2 of that on any other dataset.",
        "higher",
        _wood_tail,
    ),
    Claim(
        "C17",
        "6.1",
        "Datasets with small classes (flowers102, caltech101) have tails above average in the "
        "convolutional part.",
        "Share of pairs with |D| > 0.5, less that under shuffled labels: above the mean of the "
        "other datasets, wood aside.",
        "above average",
        _small_classes,
    ),
    Claim(
        "C18",
        "6.1, Fig. 7",
        "Features of conv1_1 and conv1_2 that mark a class of flowers are gradients and edges.",
        "Not a matter of numbers.",
        "by eye",
        _by_eye,
    ),
)
