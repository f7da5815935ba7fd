"""A claim of a paper, what a study says of it, and the words in which tests of claims are written.

Criteria
--------
The paper judges by eye. What "almost symmetrical" or "clearly higher" means here was fixed before
any of it was measured:

almost equal
    Two numbers whose ratio lies between 4/5 and 5/4.
significantly larger
    By a factor of 5/4 and more.
clearly higher
    By a factor of 3/2 and more.
practically the same distribution
    Their difference (area between the distribution functions) is at most a tenth of mean |D|.
extreme
    |D| above 0.5.
in all datasets
    In each dataset that is tested, without exception.
testable
    Datasets with at least 10 images per class in the mean. With fewer, |D| is wide by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from analysis.book.claims.evidence import FC, Evidence

__all__ = [
    "CLEARLY",
    "PAPER_DATASETS",
    "PRACTICALLY",
    "RATIO",
    "Claim",
    "Finding",
    "NotTestableError",
    "Verdict",
    "almost_equal",
    "chosen",
    "conclude",
    "every",
    "holds_if",
    "list_datasets",
    "require_fc",
    "testable",
]

Verdict = Literal["holds", "fails", "cannot be tested"]

PAPER_DATASETS = (
    "mit67", "flowers102", "cub200", "catsdogs", "stanforddogs", "caltech101", "food101",
    "textures", "caltech256", "wood", "imagenet",
)  # fmt: skip

RATIO, CLEARLY, PRACTICALLY = 1.25, 1.5, 0.1
IMAGES_PER_CLASS = 10


@dataclass(frozen=True)
class Finding:
    """What a study says of a claim.

    Attributes
    ----------
    verdict
        Whether the claim holds here.
    here
        The numbers found, in words.
    tested_on
        The datasets, those that are not the paper's named as such.
    why
        What is lacking, or where the claim fails; empty where there is nothing to add.
    """

    verdict: Verdict
    here: str = ""
    tested_on: str = ""
    why: str = ""


@dataclass(frozen=True)
class Claim:
    """One statement of a paper that numbers can contradict.

    Attributes
    ----------
    id
        Name, such as ``"C07"``.
    section
        Section or figure of the paper.
    statement
        The claim, in other words than the paper's.
    criterion
        When it holds.
    paper
        The paper's number, or the direction where it gives none.
    test
        Pure function from the evidence to the finding; raises ``NotTestableError``.
    labelled
        Whether the labels of the images matter, as they do not for counts.
    """

    id: str
    section: str
    statement: str
    criterion: str
    paper: str
    test: Callable[[Evidence], Finding]
    labelled: bool = True


class NotTestableError(Exception):
    """The study lacks what a claim is about; the message says what."""


def holds_if(condition: bool) -> Verdict:
    """Verdict on a condition."""
    return "holds" if condition else "fails"


def almost_equal(one: pd.Series[float], other: pd.Series[float]) -> pd.Series[bool]:
    """Whether the ratio lies between 4/5 and 5/4."""
    ratio = one / other
    return (ratio >= 1 / RATIO) & (ratio <= RATIO)


def testable(
    evidence: Evidence, among: Iterable[str] | None = None, *, least: int = 1
) -> list[str]:
    """Datasets, of those named, whose classes are large enough.

    Raises
    ------
    NotTestableError
        If fewer than ``least`` are left.
    """
    named = set(evidence.datasets.index if among is None else among)
    table = evidence.datasets[evidence.datasets.index.isin(named)]
    per_class = table["images"] / table["classes"]
    kept = [str(name) for name in table.index[per_class >= IMAGES_PER_CLASS]]
    if len(kept) >= least:
        return kept
    if table.empty:
        raise NotTestableError(f"the study has none of: {', '.join(sorted(named))}")
    needed = "a dataset" if least == 1 else f"{least} datasets"
    raise NotTestableError(
        f"needs {needed} with {IMAGES_PER_CLASS} images per class; the study has "
        + (list_datasets(kept) if kept else f"at most {per_class.max():.0f}")
    )


def chosen(evidence: Evidence, named: Sequence[str], instead: Sequence[str] = ()) -> list[str]:
    """Datasets that the paper names, or if the study has none of them, those in their place."""
    present = [name for name in named if name in evidence.datasets.index]
    if present:
        return testable(evidence, present)
    stand_ins = [name for name in instead if name in evidence.datasets.index]
    if stand_ins:
        return testable(evidence, stand_ins)
    lacking = f"the study has no {' or '.join(named)}"
    also = f", nor {' or '.join(instead)} in place of it" if instead else ""
    raise NotTestableError(lacking + also)


def require_fc(evidence: Evidence) -> None:
    """Refuse networks without a fully connected layer."""
    if not evidence.layers(FC):
        raise NotTestableError("the network has no fully connected layer in its embedding")


def list_datasets(names: Iterable[str]) -> str:
    """Names, the paper's own first and all others marked as not the paper's."""
    names = list(names)
    own = [name for name in names if name in PAPER_DATASETS]
    others = [name for name in names if name not in PAPER_DATASETS]
    parts = [", ".join(own)] if own else []
    if others:
        parts.append(f"not the paper's: {', '.join(others)}")
    return "; ".join(parts)


def conclude(verdict: Verdict, here: str, datasets: Iterable[str], why: str = "") -> Finding:
    """Put a finding on some datasets together."""
    return Finding(verdict, here, list_datasets(datasets), why)


def every(holds: pd.Series[bool], here: str) -> Finding:
    """Judge a claim that has to hold on each dataset of a series; name the exceptions."""
    broken = [str(name) for name in holds.index[~holds]]
    counted = f"{here}; in {int(holds.sum())} of {len(holds)} datasets" if len(holds) > 1 else here
    why = f"not on {', '.join(broken)}" if 0 < len(broken) < len(holds) else ""
    return conclude(holds_if(not broken), counted, map(str, holds.index), why)
