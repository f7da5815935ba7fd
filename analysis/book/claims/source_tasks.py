"""Claims of section 8: the same network, trained on another source task."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import pandas as pd

from analysis.book.claims.claim import (
    PRACTICALLY,
    RATIO,
    Claim,
    Finding,
    NotTestableError,
    conclude,
    every,
    holds_if,
    require_fc,
    testable,
)
from analysis.book.claims.convolutional import long_bars
from analysis.book.claims.evidence import CONV, FC, Evidence
from analysis.book.claims.fully_connected import absence_prevails, sides_are_symmetrical

__all__ = ["CLAIMS"]

EARLY = 0.5
CORRELATION = -0.5


def _both(evidence: Evidence) -> tuple[Evidence, pd.DataFrame]:
    """Evidence of the first network, and how far the two differ."""
    if evidence.first is None or evidence.source_differences is None:
        raise NotTestableError(evidence.alone)
    return evidence.first, evidence.source_differences


def _similar(evidence: Evidence) -> Finding:
    first, table = _both(evidence)
    names = testable(evidence, least=2)
    layers = evidence.layers(CONV) + evidence.layers(FC)
    chosen = table["layer"].isin(layers) & table["dataset"].isin(names)
    between_tasks = float(table.loc[chosen, "difference"].mean())
    between_datasets = first.difference(layers, names)
    here = f"source tasks differ by {between_tasks:.3f}, datasets by {between_datasets:.3f}"
    return conclude(holds_if(between_tasks < between_datasets), here, names)


def _places(evidence: Evidence) -> NoReturn:
    raise NotTestableError("the training images of a network are no part of a study")


def _early_alike(evidence: Evidence) -> Finding:
    _both(evidence)
    names = testable(evidence, least=2)
    layers = evidence.early(EARLY)
    difference = evidence.difference(layers, names)
    bar = PRACTICALLY * float(evidence.of(layers, "mean_size")[names].mean())
    here = f"two datasets differ by {difference:.3f} in the mean; a tenth of mean |D| is {bar:.3f}"
    return conclude(holds_if(difference <= bar), here, names)


def _drawn_in(evidence: Evidence) -> Finding:
    names = _moved(evidence, lambda before, now: now == "a" and before not in ("a", None))
    return absence_prevails(evidence, names)


def _left_out(evidence: Evidence) -> Finding:
    names = _moved(evidence, lambda before, now: before == "a" and now == "c")
    return sides_are_symmetrical(evidence, names)


def _contracts(evidence: Evidence) -> Finding:
    first, _ = _both(evidence)
    require_fc(evidence)
    names, layers = testable(evidence), evidence.layers(FC)
    if len(layers) < 2:
        raise NotTestableError("needs two fully connected layers in the embedding")
    before, now = (e.of(layers[-2], "mean_size")[names] for e in (first, evidence))
    here = f"mean |D| of {layers[-2]} {now.mean():.3f} after {before.mean():.3f}"
    return every(now * RATIO <= before, here)


def _same_wood(evidence: Evidence) -> Finding:
    first, _ = _both(evidence)
    if long_bars(first).verdict != "holds":
        raise NotTestableError("C13 fails with the first source task already")
    return long_bars(evidence)


def _sizes_matter(evidence: Evidence) -> Finding:
    first, _ = _both(evidence)
    names = testable(evidence, least=4)
    sizes = (evidence.datasets["images"] / evidence.datasets["classes"])[names]
    if sizes.nunique() < 2:
        raise NotTestableError("all datasets have the same number of images per class")
    before, now = (
        float(e.of(CONV, "mean_size")[names].corr(sizes, method="spearman"))
        for e in (first, evidence)
    )
    here = (
        f"rank correlation {now:+.2f} (first source task {before:+.2f}) over {len(names)} datasets"
    )
    return conclude(holds_if(max(before, now) <= CORRELATION), here, names)


def _moved(evidence: Evidence, wanted: Callable[[str | None, str | None], bool]) -> list[str]:
    """Datasets that changed their group as asked, from the first source task to this one."""
    first, _ = _both(evidence)
    names = [n for n, group in evidence.groups.items() if wanted(first.groups.get(n), group)]
    if not names:
        changes = ", ".join(
            f"{n} {first.groups.get(n) or 'none'} → {group or 'none'}"
            for n, group in evidence.groups.items()
        )
        raise NotTestableError(f"no dataset changed its group like that: {changes}")
    return testable(evidence, names)


CLAIMS = (
    Claim(
        "C52",
        "8, Fig. 11",
        "With another source task, distances are distributed much the same.",
        "Over all layers, the mean difference between two source tasks on one dataset is smaller "
        "than that between two datasets under one source task.",
        "similar",
        _similar,
    ),
    Claim(
        "C53",
        "8",
        "The other source task, Places2, has 1.8 million images.",
        "A count.",
        "1,800,000",
        _places,
    ),
    Claim(
        "C54",
        "8, Fig. 11",
        "With the other source task, convolutional layers up to conv3_3 are practically equal on "
        "all datasets.",
        "In the first half of the convolutional layers, the mean difference between two datasets "
        "is at most a tenth of mean |D|.",
        "equal",
        _early_alike,
    ),
    Claim(
        "C55",
        "8, Fig. 11",
        "A dataset close to the other source task (mit67) behaves in the fully connected part as "
        "group a did before.",
        "Datasets of group a now and not before: at least 5/4 as many negative as positive "
        "distances.",
        "as group a",
        _drawn_in,
    ),
    Claim(
        "C56",
        "8, Fig. 11",
        "Datasets that the other source task does not touch (dogs, cats) behave the opposite way.",
        "Datasets of group a before and of group c now: ratio of negative and positive distances "
        "between 4/5 and 5/4.",
        "reversed",
        _left_out,
    ),
    Claim(
        "C57",
        "8, Fig. 11",
        "With Places2, the distances of the last fully connected layer but one contract on all "
        "datasets.",
        "Mean |D| there at most 4/5 of that with the first source task, on all datasets.",
        "contracts",
        _contracts,
    ),
    Claim(
        "C58a",
        "8, Fig. 11",
        "What sets wood and flowers102 apart shows with the other source task too.",
        "C13, which has to hold with the first source task, holds with this one.",
        "same",
        _same_wood,
    ),
    Claim(
        "C58b",
        "8, Fig. 11",
        "The images per class correlate with the distances in the convolutional part.",
        "Spearman's correlation of images per class and mean |D| over the datasets: −0.5 or less "
        "with both source tasks.",
        "negative",
        _sizes_matter,
    ),
)
