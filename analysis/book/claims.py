"""The claims of Garcia-Gasulla et al. (2018), sections 5 to 8, tested on a study's results.

The claims themselves are in ``claims.toml``; here are the predicates that judge them, section by
section, and the table of their verdicts.

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

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from analysis.book.evidence import ALL, CONV, FC, Evidence, gather_evidence, table_of_measures
from analysis.chapters import split_network
from analysis.statistics import fit_threshold_to_size

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler
    from pandas.io.formats.style_render import CSSDict

__all__ = [
    "CLAIMS",
    "PAPER_DATASETS",
    "Claim",
    "Finding",
    "check_claims",
    "gather_evidence",
    "lacking_table",
    "table_of_measures",
    "verdict_counts",
    "verdict_table",
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


_PREDICATES: dict[str, Callable[..., Finding]] = {}


def _predicate(test: Callable[..., Finding]) -> Callable[..., Finding]:
    """Let ``claims.toml`` name a test, without its underscore."""
    _PREDICATES[test.__name__.removeprefix("_")] = test
    return test


@_predicate
def _not_testable(evidence: Evidence, *, reason: str) -> Finding:
    raise NotTestableError(reason)


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


# What several sections ask: which datasets, and how two measures compare on them.


def of_group(evidence: Evidence, *groups: str) -> list[str]:
    """Testable datasets whose overlap with the network's source task is of these groups."""
    names = [name for name, group in evidence.groups.items() if group in groups]
    wanted = " or ".join(groups)
    if not names:
        if not evidence.trained:
            raise NotTestableError("the network has learnt no source task to overlap with")
        raise NotTestableError(f"the study has no dataset of group {wanted} for this network")
    return testable(evidence, names)


def moved(evidence: Evidence, before: Sequence[str], groups: Sequence[str]) -> list[str]:
    """Testable datasets whose group changed like that from the first source task to this one."""
    first, _ = _both(evidence)
    names = [
        name
        for name, group in evidence.groups.items()
        if first.groups.get(name) in before and group in groups
    ]
    if not names:
        changes = ", ".join(
            f"{n} {first.groups.get(n) or 'none'} → {group or 'none'}"
            for n, group in evidence.groups.items()
        )
        raise NotTestableError(f"no dataset changed its group like that: {changes}")
    return testable(evidence, names)


def _named(
    evidence: Evidence,
    *,
    named: Sequence[str] = (),
    instead: Sequence[str] = (),
    groups: Sequence[str] = (),
    before: Sequence[str] = (),
) -> list[str]:
    """Datasets that ``claims.toml`` asks for: by name, by group, by change of group, or all."""
    if before:
        return moved(evidence, before, groups)
    if groups:
        return of_group(evidence, *groups)
    return chosen(evidence, named, instead) if named else testable(evidence)


def _measured(evidence: Evidence, part: str, *measures: str) -> pd.Series[float]:
    """Sum of measures of a part of the embedding, or a column of the thresholds."""
    if part == "thresholds":
        return evidence.thresholds[measures[0]]
    return sum(evidence.of(part, measure) for measure in measures)  # type: ignore[return-value]


@_predicate
def _compare(
    evidence: Evidence, *, one: list[str], other: list[str], relation: str, said: str, **on: Any
) -> Finding:
    """Whether two measures stand in a relation on every dataset."""
    require_fc(evidence)
    names = _named(evidence, **on)
    first, second = _measured(evidence, *one)[names], _measured(evidence, *other)[names]
    holds = {
        "greater": first > second,
        "significantly larger": first >= RATIO * second,
        "almost equal": almost_equal(first, second),
    }[relation]
    return every(holds, said.format(one=first.mean(), other=second.mean()))


@_predicate
def _more_in_these(
    evidence: Evidence,
    *,
    measure: list[str],
    these: dict[str, Any],
    those: dict[str, Any],
    said: str,
    beyond_chance: bool = False,
) -> Finding:
    """Whether a measure is greater on some datasets, in the mean, than on others."""
    part, *_ = measure
    if part == FC:
        require_fc(evidence)
    sets = {on.pop("called"): _named(evidence, **on) for on in (dict(these), dict(those))}
    tail = _measured(evidence, *measure)
    if beyond_chance:
        tail = tail - evidence.of(part, measure[1], by_chance=True)
    one, other = (tail[names].mean() for names in sets.values())
    why = "; ".join(f"{called}: {', '.join(names)}" for called, names in sets.items())
    tested = [name for names in sets.values() for name in names]
    return conclude(holds_if(bool(one > other)), said.format(one=one, other=other), tested, why)


# Section 5: what distances mean, and how they are distributed.

CLASSES = 8
TWO_MODES, MOST_LAYERS = 0.5, 0.9
MOST_SHAPES = 0.75
FEW_CLASSES = 0.25
BIRDS = 4


@_predicate
def _shared_lowest(evidence: Evidence) -> Finding:
    require_fc(evidence)
    many = _with_classes(evidence, CLASSES)
    names = chosen(evidence, ["cub200"], many)
    found = evidence.of(FC, "shared_lowest")[names]
    by_chance = evidence.of(FC, "shared_lowest", by_chance=True)[names]
    here = f"one feature in up to {found.max():.0f} classes (shuffled: {by_chance.max():.0f})"
    return every((found >= BIRDS) & (found > by_chance), here)


@_predicate
def _few_classes(evidence: Evidence) -> Finding:
    names = testable(evidence, _with_classes(evidence, CLASSES))
    shares = evidence.of(ALL, "absent_share")[names]
    without = shares.index[shares.isna()]
    if len(without) == len(names):
        raise NotTestableError("no feature has D < −0.5 for any class")
    here = f"95 % of such features in at most {shares.max():.0%} of the classes"
    finding = every(shares.dropna() <= FEW_CLASSES, here)
    if without.empty:
        return finding
    unseen = f"no such feature on {', '.join(without)}"
    return replace(finding, why="; ".join(filter(None, [finding.why, unseen])))


@_predicate
def _bimodal(evidence: Evidence) -> Finding:
    names = testable(evidence)
    rows = evidence.measures[evidence.measures["dataset"].isin(names)]
    ratios = rows.loc[rows["scope"] == "layer", "valley_ratio"]
    share = float((ratios <= TWO_MODES).mean())
    here = f"in {share:.0%} of {len(ratios)} distributions (median valley {ratios.median():.2f})"
    return conclude(holds_if(share >= MOST_LAYERS), here, names)


@_predicate
def _lognormal(evidence: Evidence) -> Finding:
    names = testable(evidence)
    rows = evidence.measures[evidence.measures["dataset"].isin(names)]
    rows = rows[rows["scope"] == "layer"]
    gaps = np.concatenate(
        [
            rows[[f"{side}_{law}" for law in ("lognormal", "normal", "exponential")]].to_numpy()
            for side in ("presence", "absence")
        ]
    )
    gaps = gaps[np.isfinite(gaps).all(axis=1)]
    if not len(gaps):
        raise NotTestableError("no layer has two different distances on one side")
    share = float((gaps.argmin(axis=1) == 0).mean())
    log, normal, exponential = gaps.mean(axis=0)
    here = (
        f"nearest to log-normal in {share:.0%} of {len(gaps)} humps (mean distance {log:.3f}; "
        f"normal {normal:.3f}, exponential {exponential:.3f})"
    )
    return conclude(holds_if(share >= MOST_SHAPES), here, names)


@_predicate
def _same_for_all(evidence: Evidence) -> Finding:
    require_fc(evidence)
    names = testable(evidence, least=2)
    conv, fc = evidence.difference(CONV, names), evidence.difference(FC, names)
    here = f"two datasets differ by {conv:.3f} in the mean, against {fc:.3f}"
    return conclude(holds_if(conv < fc), here, names)


@_predicate
def _symmetrical(evidence: Evidence) -> Finding:
    names = testable(evidence)
    number = [evidence.of(CONV, side)[names] for side in ("presence", "absence")]
    degree = [evidence.of(CONV, f"{side}_size")[names] for side in ("presence", "absence")]
    here = (
        f"{number[0].mean():.0%} presence, {number[1].mean():.0%} absence; mean |D| "
        f"{degree[0].mean():.3f} and {degree[1].mean():.3f}"
    )
    return every(almost_equal(*number) & almost_equal(*degree), here)


@_predicate
def _longer_tail(evidence: Evidence) -> Finding:
    require_fc(evidence)
    names = testable(evidence)
    higher = evidence.of(FC, "above_0.5")[names] > evidence.of(CONV, "above_0.5")[names]
    longer = evidence.of(FC, "highest")[names] > evidence.of(CONV, "highest")[names]
    both = [name for name in names if higher[name] and longer[name]]
    here = f"in {len(both)} of {len(names)} datasets" + (f": {', '.join(both)}" if both else "")
    return conclude(holds_if(bool(both)), here, names)


@_predicate
def _specific(evidence: Evidence) -> Finding:
    require_fc(evidence)
    names = testable(evidence)
    last = evidence.layers(CONV)[-1:] + evidence.layers(FC)
    rest = evidence.layers(CONV)[:-1]
    if not rest:
        raise NotTestableError("the network has one convolutional layer only")
    one_sided = []
    for layers in (last, rest):
        above, below = (evidence.of(layers, f"{side}_0.25")[names] for side in ("above", "below"))
        one_sided.append((above / (above + below) - 0.5).abs())
    here = f"presence departs from half by {one_sided[0].mean():.2f}, against "
    return every(one_sided[0] > one_sided[1], here + f"{one_sided[1].mean():.2f}")


def _with_classes(evidence: Evidence, least: int) -> list[str]:
    names = [str(name) for name in evidence.datasets.index[evidence.datasets["classes"] >= least]]
    if not names:
        raise NotTestableError(f"needs a dataset with at least {least} classes")
    return names


# Section 6.2: the fully connected layers, and the overlap with the source task.

BROAD_IN_SOURCE = ("imagenet", "caltech101", "caltech256")
LIMITED = ("stanforddogs", "catsdogs")
ALMOST_NOTHING = 0.05
SPIKE = (0.06, 0.1)


@_predicate
def _spike(evidence: Evidence) -> Finding:
    require_fc(evidence)
    names = chosen(evidence, ["food101"])
    share = evidence.of(FC, "near_zero")[names]
    return every(share.between(*SPIKE), f"{share.mean():.1%} with |D| ≤ 0.01")


@_predicate
def _few_extremes(evidence: Evidence) -> Finding:
    require_fc(evidence)
    food, names = chosen(evidence, ["food101"]), testable(evidence, least=2)
    tail = (evidence.of(FC, "above_0.5") + evidence.of(FC, "below_0.5"))[names]
    others = tail.drop(food)
    here = f"{tail[food].mean():.2%} of the pairs, elsewhere at least {others.min():.2%}"
    return conclude(holds_if(bool(tail[food].max() < others.min())), here, names)


@_predicate
def _caltechs(evidence: Evidence) -> Finding:
    require_fc(evidence)
    wanted, instead = ["caltech101", "caltech256"], ["materials", "materials_unbalanced"]
    present = set(evidence.datasets.index)
    names = next((pair for pair in (wanted, instead) if present.issuperset(pair)), None)
    if names is None:
        raise NotTestableError(f"needs both {' and '.join(wanted)} (or {' and '.join(instead)})")
    testable(evidence, names, least=2)
    difference = evidence.difference(FC, names)
    bar = PRACTICALLY * float(evidence.of(FC, "mean_size")[names].mean())
    here = f"they differ by {difference:.3f}; a tenth of mean |D| is {bar:.3f}"
    return conclude(holds_if(difference <= bar), here, names)


@_predicate
def _empties_at_zero(evidence: Evidence) -> Finding:
    names = chosen(evidence, BROAD_IN_SOURCE)
    of_group(evidence, "a")
    ratio = _density_at_zero(evidence, names)
    return every(ratio <= ALMOST_NOTHING, _said(evidence, names, ratio))


@_predicate
def _stays_above_zero(evidence: Evidence) -> Finding:
    stand_ins = [n for n in ("materials", "materials_unbalanced") if evidence.groups.get(n) == "a"]
    names = chosen(evidence, LIMITED, stand_ins)
    ratio = _density_at_zero(evidence, names)
    return every(ratio > ALMOST_NOTHING, _said(evidence, names, ratio))


def _said(evidence: Evidence, names: list[str], ratio: pd.Series[float]) -> str:
    by_chance = evidence.of(FC, "near_zero_ratio", by_chance=True)[names]
    return (
        f"density at 0 is {ratio.mean():.1%} of that at the lower mode (shuffled labels: "
        f"{by_chance.mean():.1%})"
    )


def _density_at_zero(evidence: Evidence, names: list[str]) -> pd.Series[float]:
    require_fc(evidence)
    ratio = evidence.of(FC, "near_zero_ratio")[names]
    if ratio.isna().any():
        raise NotTestableError("all distances of the fully connected part have one sign")
    return ratio


@_predicate
def _rank_of_textures(evidence: Evidence) -> Finding:
    require_fc(evidence)
    wanted = ["textures", *BROAD_IN_SOURCE]
    missing = [name for name in wanted if name not in evidence.datasets.index]
    if missing:
        raise NotTestableError(f"the study lacks {', '.join(missing)}")
    names = testable(evidence)
    rank = int(evidence.of(FC, "near_zero")[names].rank()["textures"])
    return conclude(holds_if(rank == len(wanted)), f"rank {rank} of {len(names)}", names)


# Section 7: what is noise, and what the noise thresholds keep.

REACH = (0.1, 0.3)
LEAST_FITTED = 5  # datasets; through three points of different size a curve nearly always goes
CORRELATION = -0.5
SIDES = ("plus", "minus")
SAME_AS_SOURCE = "imagenet"


def _rows(evidence: Evidence, *, least: int = 1) -> pd.DataFrame:
    return evidence.thresholds.loc[testable(evidence, least=least)]


@_predicate
def _reach(evidence: Evidence) -> Finding:
    rows = _rows(evidence)
    low = rows[[f"reach_low_{side}" for side in SIDES]].min(axis=1)
    high = rows[[f"reach_high_{side}" for side in SIDES]].max(axis=1)
    here = f"quartiles from {low.min():.2f} to {high.max():.2f}"
    return every((low >= REACH[0]) & (high <= REACH[1]), here)


@_predicate
def _leads(evidence: Evidence) -> Finding:
    rows = _rows(evidence)
    least = rows[[f"lead_{side}" for side in SIDES]].min(axis=1)
    return every(least > 0, f"at the best x by at least {least.min():,.0f} features")


@_predicate
def _fitted(evidence: Evidence, *, side: str, paper: float) -> Finding:
    rows = _rows(evidence, least=LEAST_FITTED)
    fit = fit_threshold_to_size(rows["images_per_class"], rows[f"t_{side}"].abs())
    if pd.isna(fit.r_squared):
        raise NotTestableError("needs three different numbers of images per class")
    falls = "falling" if fit.slope < 0 else "not falling"
    here = f"R² = {fit.r_squared:.2f}, {falls}, over {len(rows)} datasets"
    close = fit.slope < 0 and fit.r_squared >= paper / RATIO
    return conclude(holds_if(close), here, map(str, rows.index))


@_predicate
def _shrinks(evidence: Evidence) -> Finding:
    names = [name for name in testable(evidence, least=LEAST_FITTED) if name != SAME_AS_SOURCE]
    rows = evidence.thresholds.loc[names]
    if rows["images_per_class"].nunique() < 2:
        raise NotTestableError("all datasets have the same number of images per class")
    plus, minus = (
        float(rows[f"t_{side}"].abs().corr(rows["images_per_class"], method="spearman"))
        for side in SIDES
    )
    here = f"rank correlation {plus:+.2f} for t+, {minus:+.2f} for t− over {len(rows)} datasets"
    return conclude(holds_if(max(plus, minus) <= CORRELATION), here, names)


@_predicate
def _kept(evidence: Evidence, *, side: str, paper: float) -> Finding:
    rows = _rows(evidence)
    share = (rows[f"kept_{side}"] / rows["features"]).mean()
    close = 1 / RATIO <= share / paper <= RATIO
    here = f"{share:.0%} ({rows[f'kept_{side}'].mean():,.0f} of {rows['features'].iloc[0]:,})"
    return conclude(holds_if(bool(close)), here, map(str, rows.index))


@_predicate
def _most_is_kept(evidence: Evidence) -> Finding:
    rows = _rows(evidence)
    share, noise = ((rows[name] / rows["features"]).mean() for name in ("kept", "kept_shuffled"))
    here = f"{share:.0%} (the same thresholds keep {noise:.0%} of shuffled labels)"
    return conclude(holds_if(bool(share > 0.5)), here, map(str, rows.index))


@_predicate
def _nobody_is_left_out(evidence: Evidence) -> Finding:
    rows = _rows(evidence)
    by_side = rows[[f"least_{side}" for side in SIDES]].min()
    here = f"at least {rows['least'].min():,.0f} features" + (
        f" ({by_side.iloc[0]:,.0f} by t+, {by_side.iloc[1]:,.0f} by t−)"
    )
    return every(rows["least"] > 0, here)


# Section 6.1: single datasets in the convolutional layers.

FIRST = 0.25
UPPER_FROM = 1 / 3


@_predicate
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


@_predicate
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


@_predicate
def _wood_tail(evidence: Evidence) -> Finding:
    wood, others = _wood_and_others(evidence)
    tail = _extremes(evidence, evidence.early(FIRST))
    here = (
        f"{tail[wood].mean():.2%} of the pairs extreme, elsewhere at most {tail[others].max():.2%}"
    )
    clearly = tail[wood].min() > CLEARLY * tail[others].max()
    return conclude(holds_if(bool(clearly)), here, [*wood, *others])


@_predicate
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


# Section 8: the same network, trained on another source task.

EARLY = 0.5


def _both(evidence: Evidence) -> tuple[Evidence, pd.DataFrame]:
    """Evidence of the first network, and how far the two differ."""
    if evidence.first is None or evidence.source_differences is None:
        raise NotTestableError(evidence.alone)
    return evidence.first, evidence.source_differences


@_predicate
def _similar(evidence: Evidence) -> Finding:
    first, table = _both(evidence)
    names = testable(evidence, least=2)
    layers = evidence.layers(CONV) + evidence.layers(FC)
    chosen = table["layer"].isin(layers) & table["dataset"].isin(names)
    between_tasks = float(table.loc[chosen, "difference"].mean())
    between_datasets = first.difference(layers, names)
    here = f"source tasks differ by {between_tasks:.3f}, datasets by {between_datasets:.3f}"
    return conclude(holds_if(between_tasks < between_datasets), here, names)


@_predicate
def _early_alike(evidence: Evidence) -> Finding:
    _both(evidence)
    names = testable(evidence, least=2)
    layers = evidence.early(EARLY)
    difference = evidence.difference(layers, names)
    bar = PRACTICALLY * float(evidence.of(layers, "mean_size")[names].mean())
    here = f"two datasets differ by {difference:.3f} in the mean; a tenth of mean |D| is {bar:.3f}"
    return conclude(holds_if(difference <= bar), here, names)


@_predicate
def _contracts(evidence: Evidence) -> Finding:
    first, _ = _both(evidence)
    require_fc(evidence)
    names, layers = testable(evidence), evidence.layers(FC)
    if len(layers) < 2:
        raise NotTestableError("needs two fully connected layers in the embedding")
    before, now = (e.of(layers[-2], "mean_size")[names] for e in (first, evidence))
    here = f"mean |D| of {layers[-2]} {now.mean():.3f} after {before.mean():.3f}"
    return every(now * RATIO <= before, here)


@_predicate
def _same_wood(evidence: Evidence) -> Finding:
    first, _ = _both(evidence)
    if long_bars(first).verdict != "holds":
        raise NotTestableError("C13 fails with the first source task already")
    return long_bars(evidence)


@_predicate
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


# Counts: of features, of images and of classes.

ROUNDING = 0.05
_PER = "images per class"


@_predicate
def _features(evidence: Evidence, *, part: str, expected: int) -> Finding:
    name = split_network(evidence.network)[0]
    if name != "vgg16":
        raise NotTestableError(f"the network is {name}, not vgg16")
    table = evidence.measures
    units = int(table.loc[(table["scope"] != "layer") & (table["name"] == part), "units"].iloc[0])
    return Finding(holds_if(units == expected), f"{units:,}")


@_predicate
def _count(
    evidence: Evidence, *, dataset: str, what: str, expected: float, rounded: bool = False
) -> Finding:
    if dataset not in evidence.datasets.index:
        raise NotTestableError(f"the study has no {dataset}")
    row = evidence.datasets.loc[dataset].to_dict()
    if row["images"] != row["expected_images"]:
        raise NotTestableError(
            f"{dataset} is not complete here: {row['images']:,.0f} images, expected "
            f"{row['expected_images']:,.0f}"
        )
    found = row["images"] / row["classes"] if what == _PER else row[what]
    holds = abs(found - expected) <= (ROUNDING * expected if rounded else 0)
    return conclude(holds_if(holds), f"{round(found, 1):,}", [dataset])


def _read_claims() -> tuple[Claim, ...]:
    rows = tomllib.loads(files("analysis.book").joinpath("claims.toml").read_text("utf-8"))["claim"]
    return tuple(
        Claim(test=partial(_PREDICATES[row.pop("predicate")], **row.pop("arguments", {})), **row)
        for row in rows
    )


CLAIMS = _read_claims()
"""In reading order."""


_COLUMNS = [
    *("network", "trained", "claim", "section", "statement", "criterion", "paper"),
    *("here", "tested_on", "verdict", "why", "shuffled"),
]


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
            row = vars(claim) | vars(_finding(claim, of_network))
            row |= {"network": network, "trained": of_network.trained, "claim": claim.id}
            by_chance = of_network.shuffled if claim.labelled else None
            row["shuffled"] = "" if by_chance is None else _finding(claim, by_chance).verdict
            rows.append(row)
    return pd.DataFrame(rows, columns=_COLUMNS)


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


def _all_of(names: list[str]) -> str:
    own = [name for name in names if name in PAPER_DATASETS]
    whose = f"the paper's: {', '.join(own)}" if own else "none of them the paper's"
    return f"all {len(names)} datasets of the study, {whose}"


MARKS = {"holds": "✓ holds", "fails": "✗ fails", "cannot be tested": "– cannot be tested"}
_WRAPPED: list[CSSDict] = [
    {"selector": "", "props": "table-layout: fixed; width: 100%"},
    {
        "selector": "td, th",
        "props": "text-align: left; vertical-align: top; padding: 0.35rem 0.45rem",
    },
    {"selector": "td", "props": "overflow-wrap: anywhere; white-space: normal"},
]


def verdict_table(claims: pd.DataFrame, network: str) -> Styler:
    """Claims that one network's results decide: what is claimed, by which test, what was found.

    Parameters
    ----------
    claims
        As of :func:`check_claims`.
    network
        Whose rows to show.

    Returns
    -------
    Styler
        Fits a page's width. Under each verdict, the one under shuffled labels.
    """
    rows = claims[(claims["network"] == network) & (claims["verdict"] != "cannot be tested")]
    shown = pd.DataFrame(
        {
            "claim": _stacked(rows, "claim", "section"),
            "what is claimed, and the test": _stacked(rows, "statement", "criterion"),
            "paper": _stacked(rows, "paper"),
            "here": _stacked(rows, "here", "tested_on", "why"),
            "verdict": [
                _verdict(*pair) for pair in zip(rows["verdict"], rows["shuffled"], strict=True)
            ],
        }
    )
    return _laid_out(shown, (11, 34, 13, 27, 15))


def lacking_table(claims: pd.DataFrame, network: str) -> Styler:
    """Claims that one network's results cannot decide, and what is lacking."""
    rows = claims[(claims["network"] == network) & (claims["verdict"] == "cannot be tested")]
    shown = pd.DataFrame(
        {
            "claim": _stacked(rows, "claim", "section"),
            "what is claimed": _stacked(rows, "statement"),
            "paper": _stacked(rows, "paper"),
            "cannot be tested, because": _stacked(rows, "why"),
        }
    )
    return _laid_out(shown, (12, 43, 13, 32))


def _verdict(verdict: str, shuffled: str) -> str:
    small = f"<br><small>shuffled: {shuffled}</small>" if shuffled else ""
    return f"<strong>{MARKS[verdict]}</strong>{small}"


def _stacked(rows: pd.DataFrame, first: str, *below: str) -> list[str]:
    """Text of one column, and small under it that of the others."""
    cells = []
    for row in rows[[first, *below]].to_dict("records"):
        small = [f"<br><small>{escape(row[name])}</small>" for name in below if row[name]]
        cells.append(escape(row[first]) + "".join(small))
    return cells


def _laid_out(shown: pd.DataFrame, widths: tuple[int, ...]) -> Styler:
    columns: list[CSSDict] = [
        {"selector": f"th.col{number}", "props": f"width: {width}%"}
        for number, width in enumerate(widths)
    ]
    return shown.style.hide().set_table_styles([*_WRAPPED, *columns])
