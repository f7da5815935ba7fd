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
from math import ceil
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from analysis.book.evidence import CONV, FC, Evidence
from analysis.chapters import split_network
from analysis.statistics import fit_threshold_to_size

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler
    from pandas.io.formats.style_render import CSSDict

Verdict = Literal["holds", "fails", "cannot be tested"]

PAPER_DATASETS = (
    "mit67", "flowers102", "cub200", "catsdogs", "stanforddogs", "caltech101", "food101",
    "textures", "caltech256", "wood", "imagenet",
)  # fmt: skip

RATIO, PRACTICALLY, CORRELATION, ROUNDING = 1.25, 0.1, -0.5, 0.05
TWO_MODES, MOST_LAYERS, MOST_SHAPES = 0.5, 0.9, 0.75
IMAGES_PER_CLASS = 10
LEAST_FITTED = 5  # datasets; through three points of different size a curve nearly always goes


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


# Datasets that a claim is about.


def _testable(
    evidence: Evidence, among: Iterable[str] | None = None, *, least: int = 1
) -> list[str]:
    """Datasets, of those named, whose classes are large enough; ``least`` of them or none."""
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
        + (_listed(kept) if kept else f"at most {per_class.max():.0f}")
    )


def _of_groups(evidence: Evidence, groups: Sequence[str], before: Sequence[str]) -> list[str]:
    """Datasets of these overlap groups, and of others with the first source task, if asked for."""
    if before:
        first = _first_source(evidence)
        pairs = {n: (first.groups.get(n) or "none", g) for n, g in evidence.groups.items()}
        if names := [n for n, (old, new) in pairs.items() if old in before and new in groups]:
            return names
        changes = ", ".join(f"{n} {old} → {new or 'none'}" for n, (old, new) in pairs.items())
        raise NotTestableError(f"no dataset changed its group like that: {changes}")
    names = [name for name, group in evidence.groups.items() if group in groups]
    if not names and not evidence.trained:
        raise NotTestableError("the network has learnt no source task to overlap with")
    if not names:
        wanted = " or ".join(groups)
        raise NotTestableError(f"the study has no dataset of group {wanted} for this network")
    return names


def _select(
    evidence: Evidence,
    *,
    named: Sequence[str] = (),
    instead: Sequence[str] = (),
    together: bool = False,
    groups: Sequence[str] = (),
    before: Sequence[str] = (),
    aside: Sequence[str] = (),
    fewest: bool = False,
    classes: int = 0,
    least: int = 1,
) -> list[str]:
    """Testable datasets that ``claims.toml`` asks for.

    Parameters
    ----------
    named, instead
        The datasets that the paper names, or if the study has none of them, those in their place;
        ``["*"]`` for any.
    together
        Whether all that are named are needed.
    groups, before
        Overlap groups with the network's source task, and with the first one.
    aside
        Datasets to leave out.
    fewest
        Whether the dataset with the fewest images per class stands in for those that are named.
    classes, least
        Smallest number of classes of a dataset, and of datasets.

    Raises
    ------
    NotTestableError
        If the study lacks them.
    """
    pool = [str(name) for name in evidence.datasets.index if name not in aside]
    if classes and not (pool := [n for n in pool if evidence.datasets["classes"][n] >= classes]):
        raise NotTestableError(f"needs a dataset with at least {classes} classes")
    if groups:
        of_groups = _of_groups(evidence, groups, before)
        pool = [name for name in pool if name in of_groups]
    if named:
        for names in (named, instead):
            present = pool if names == ["*"] else [name for name in names if name in pool]
            if present and (not together or len(present) == len(names)):
                return _testable(evidence, present, least=least)
        if fewest and pool:
            return [str(_per_class(evidence, _testable(evidence, pool)).idxmin())]
        join = " and " if together else " or "
        also = f", nor {join.join(instead)} in place of it" if instead else ""
        raise NotTestableError(f"the study has no {join.join(named)}{also}")
    return _testable(evidence, pool, least=least)


# Numbers that claims are about.

_FIRST_SOURCE = "first source task, "


def _part(evidence: Evidence, where: str) -> str | list[str]:
    """Part of the embedding or layers by the name that ``claims.toml`` has for them."""
    convolutions, connected = evidence.layers(CONV), evidence.layers(FC)
    if not connected and FC in where:
        raise NotTestableError("the network has no fully connected layer in its embedding")
    if where == f"last {FC} but one":
        if len(connected) < 2:
            raise NotTestableError("needs two fully connected layers in the embedding")
        return connected[-2:-1]
    shares = {
        f"first quarter of {CONV}": convolutions[: ceil(len(convolutions) / 4)],
        f"first half of {CONV}": convolutions[: ceil(len(convolutions) / 2)],
        f"last quarter of {CONV}": convolutions[-ceil(len(convolutions) / 4) :],
    }
    return shares.get(where, where)


def _values(
    evidence: Evidence, where: str, *measures: str, beyond_chance: bool = False
) -> pd.Series[float]:
    """Sum of measures of a part of the embedding, or the size of a threshold, by dataset."""
    if where.startswith(_FIRST_SOURCE):
        evidence, where = _first_source(evidence), where.removeprefix(_FIRST_SOURCE)
    if where == "thresholds":
        (measure,) = measures
        if FC in measure:
            _part(evidence, FC)
        column = evidence.thresholds[measure]
        return column.abs() if measure.startswith("t_") else column
    part = _part(evidence, where)
    table = pd.concat([evidence.of(part, measure) for measure in measures], axis=1)
    if beyond_chance:
        chance = [evidence.of(part, measure, by_chance=True) for measure in measures]
        table = table - pd.concat(chance, axis=1)
    return table.sum(axis=1, skipna=False)


def _first_source(evidence: Evidence) -> Evidence:
    if evidence.first is None:
        raise NotTestableError(evidence.alone)
    return evidence.first


def _per_class(evidence: Evidence, names: list[str]) -> pd.Series[float]:
    return (evidence.datasets["images"] / evidence.datasets["classes"])[names]


# Verdicts.


def _listed(names: Iterable[str]) -> str:
    """Names, the paper's own first and all others marked as not the paper's."""
    names = list(names)
    own = [name for name in names if name in PAPER_DATASETS]
    others = [name for name in names if name not in PAPER_DATASETS]
    parts = [", ".join(own)] if own else []
    if others:
        parts.append(f"not the paper's: {', '.join(others)}")
    return "; ".join(parts)


def _conclude(holds: bool, here: str, datasets: Iterable[str], why: str = "") -> Finding:
    return Finding("holds" if holds else "fails", here, _listed(datasets), why)


def _on_each(holds: pd.Series[bool], here: str) -> Finding:
    """Judge a claim that has to hold on each dataset of a series; name the exceptions."""
    broken = [str(name) for name in holds.index[~holds]]
    counted = f"{here}; in {int(holds.sum())} of {len(holds)} datasets" if len(holds) > 1 else here
    why = f"not on {', '.join(broken)}" if 0 < len(broken) < len(holds) else ""
    return _conclude(not broken, counted, map(str, holds.index), why)


_RELATIONS: dict[str, Callable[[pd.Series[float], pd.Series[float]], pd.Series[bool]]] = {
    "greater": lambda one, other: one > other,
    "significantly larger": lambda one, other: one >= RATIO * other,
    "almost equal": lambda one, other: (one / other).between(1 / RATIO, RATIO),
}


# What many claims ask.


@_predicate
def _compare(
    evidence: Evidence,
    *,
    one: list[list[str]],
    other: list[list[str]],
    relation: str,
    said: str = "",
    anywhere: bool = False,
    **on: Any,
) -> Finding:
    """Whether measures stand in a relation to others, on every dataset or anywhere."""
    names = _select(evidence, **on)
    firsts, seconds = ([_values(evidence, *each)[names] for each in side] for side in (one, other))
    pairs = [_RELATIONS[relation](a, b) for a, b in zip(firsts, seconds, strict=True)]
    holds = pd.concat(pairs, axis=1).all(axis=1)
    if anywhere:
        where = [str(name) for name in holds.index[holds]]
        here = f"in {len(where)} of {len(names)} datasets" + f": {', '.join(where)}" * bool(where)
        return _conclude(bool(where), here, names)
    return _on_each(holds, said.format(*(each.mean() for each in [*firsts, *seconds])))


@_predicate
def _within(
    evidence: Evidence,
    *,
    measures: list[list[str]],
    said: str,
    low: float = -np.inf,
    high: float = np.inf,
    above: float = -np.inf,
    above_chance: bool = False,
    missing: str = "",
    **on: Any,
) -> Finding:
    """Whether measures lie between two bounds on every dataset; where they exist at all."""
    names = _select(evidence, **on)
    table = pd.concat([_values(evidence, *each)[names] for each in measures], axis=1)
    absent = table.index[table.isna().any(axis=1)]
    table = table.drop(absent)
    if table.empty:
        raise NotTestableError(f"no {missing}")
    chance = pd.Series(0.0, table.index)
    if measures[0][0] != "thresholds":
        where, measure = measures[0]
        chance = evidence.of(_part(evidence, where), measure, by_chance=True)[table.index]
    holds = ((table >= low) & (table <= high) & (table > above)).all(axis=1)
    if above_chance:
        holds &= table.iloc[:, 0] > chance
    mean, least, most = table.to_numpy().mean(), table.to_numpy().min(), table.to_numpy().max()
    shown = {"mean": mean, "least": least, "most": most}
    shown |= {"chance": chance.mean(), "most_by_chance": chance.max()}
    finding = _on_each(holds, said.format(**shown))
    unseen = f"no {missing} on {', '.join(map(str, absent))}" if len(absent) else ""
    return replace(finding, why="; ".join(filter(None, [finding.why, unseen])))


@_predicate
def _more_in_these(
    evidence: Evidence,
    *,
    measure: list[str],
    said: str,
    these: Mapping[str, Any],
    those: Mapping[str, Any] = {},
    beyond_chance: bool = False,
    each: bool = False,
    clearly: float = 0.0,
) -> Finding:
    """Whether a measure is greater on some datasets than on others.

    By default in the mean; with ``each`` on each of these than in the mean of those; with
    ``clearly``, on each of these by that factor than on any of those. Without a selection of their
    own those are all others.
    """
    these, those = dict(these), dict(those)
    called = [side.pop("called", "") for side in (these, those)]
    names, others = _select(evidence, **these), _select(evidence, **those)
    if not (others := [name for name in others if name not in names]):
        raise NotTestableError("needs another dataset to compare with")
    values = _values(evidence, *measure, beyond_chance=beyond_chance)
    one, other = values[names], values[others]
    here = said.format(one=one.mean(), other=other.mean(), least=one.min(), most=other.max())
    tested = [str(name) for name in evidence.datasets.index if name in {*names, *others}]
    if each:
        return _on_each(one > other.mean(), here)
    if clearly:
        return _conclude(bool(one.min() > clearly * other.max()), here, tested)
    why = "; ".join(f"{c}: {', '.join(n)}" for c, n in zip(called, (names, others), strict=True))
    return _conclude(bool(one.mean() > other.mean()), here, tested, why)


@_predicate
def _practically_equal(
    evidence: Evidence, *, where: str, second_source: bool = False, **on: Any
) -> Finding:
    """Whether datasets differ by a tenth of mean |D| or less."""
    if second_source:
        _first_source(evidence)
    names, part = _select(evidence, least=2, **on), _part(evidence, where)
    difference = evidence.difference(part, names)
    bar = PRACTICALLY * float(evidence.of(part, "mean_size")[names].mean())
    here = f"they differ by {difference:.3f}; a tenth of mean |D| is {bar:.3f}"
    return _conclude(difference <= bar, here, names)


@_predicate
def _falls_with_size(
    evidence: Evidence, *, values: list[list[str]], said: str, **on: Any
) -> Finding:
    """Whether numbers are the smaller, the more images a class has."""
    names = _select(evidence, **on)
    sizes = _per_class(evidence, names)
    if values[0][0] == "thresholds":
        sizes = evidence.thresholds.loc[names, "images_per_class"]
    if sizes.nunique() < 2:
        raise NotTestableError("all datasets have the same number of images per class")
    found = [
        float(_values(evidence, *each)[names].corr(sizes, method="spearman")) for each in values
    ]
    here = f"rank correlation {said.format(*found)} over {len(names)} datasets"
    return _conclude(max(found) <= CORRELATION, here, names)


@_predicate
def _fitted(evidence: Evidence, *, side: str, paper: float) -> Finding:
    """Whether a logarithmic curve of the images per class fits a threshold."""
    names = _select(evidence, least=LEAST_FITTED)
    rows = evidence.thresholds.loc[names]
    fit = fit_threshold_to_size(rows["images_per_class"], rows[f"t_{side}"].abs())
    if pd.isna(fit.r_squared):
        raise NotTestableError("needs three different numbers of images per class")
    falls = "falling" if fit.slope < 0 else "not falling"
    here = f"R² = {fit.r_squared:.2f}, {falls}, over {len(rows)} datasets"
    return _conclude(fit.slope < 0 and fit.r_squared >= paper / RATIO, here, names)


@_predicate
def _kept(evidence: Evidence, *, by: str, paper: float = 0.0, more_than: float = 0.0) -> Finding:
    """Whether thresholds keep as large a share of the embedding as the paper's, or more."""
    names = _select(evidence)
    rows = evidence.thresholds.loc[names]
    share, noise = ((rows[name] / rows["features"]).mean() for name in (by, "kept_shuffled"))
    if not paper:
        here = f"{share:.0%} (the same thresholds keep {noise:.0%} of shuffled labels)"
        return _conclude(bool(share > more_than), here, names)
    here = f"{share:.0%} ({rows[by].mean():,.0f} of {rows['features'].iloc[0]:,})"
    return _conclude(bool(1 / RATIO <= share / paper <= RATIO), here, names)


# What one claim asks.


@_predicate
def _bimodal(evidence: Evidence) -> Finding:
    names = _select(evidence)
    ratios = _of_layers(evidence, names)["valley_ratio"]
    share = float((ratios <= TWO_MODES).mean())
    here = f"in {share:.0%} of {len(ratios)} distributions (median valley {ratios.median():.2f})"
    return _conclude(share >= MOST_LAYERS, here, names)


def _of_layers(evidence: Evidence, names: list[str]) -> pd.DataFrame:
    table = evidence.measures
    return table[(table["scope"] == "layer") & table["dataset"].isin(names)]


@_predicate
def _lognormal(evidence: Evidence) -> Finding:
    names, laws = _select(evidence), ("lognormal", "normal", "exponential")
    rows = _of_layers(evidence, names)
    sides = [rows[[f"{side}_{law}" for law in laws]] for side in ("presence", "absence")]
    gaps = np.concatenate(sides)
    gaps = gaps[np.isfinite(gaps).all(axis=1)]
    if not len(gaps):
        raise NotTestableError("no layer has two different distances on one side")
    share = float((gaps.argmin(axis=1) == 0).mean())
    log, normal, exponential = gaps.mean(axis=0)
    here = (
        f"nearest to log-normal in {share:.0%} of {len(gaps)} humps (mean distance {log:.3f}; "
        f"normal {normal:.3f}, exponential {exponential:.3f})"
    )
    return _conclude(share >= MOST_SHAPES, here, names)


@_predicate
def _same_for_all(evidence: Evidence) -> Finding:
    names = _select(evidence, least=2)
    conv, fc = (evidence.difference(_part(evidence, part), names) for part in (CONV, FC))
    here = f"two datasets differ by {conv:.3f} in the mean, against {fc:.3f}"
    return _conclude(conv < fc, here, names)


@_predicate
def _specific(evidence: Evidence) -> Finding:
    names, _ = _select(evidence), _part(evidence, FC)
    *rest, last = evidence.layers(CONV)
    if not rest:
        raise NotTestableError("the network has one convolutional layer only")
    one_sided = []
    for layers in ([last, *evidence.layers(FC)], rest):
        above, below = (evidence.of(layers, f"{side}_0.25")[names] for side in ("above", "below"))
        one_sided.append((above / (above + below) - 0.5).abs())
    here = f"presence departs from half by {one_sided[0].mean():.2f}, against "
    return _on_each(one_sided[0] > one_sided[1], here + f"{one_sided[1].mean():.2f}")


@_predicate
def _rank_of_textures(evidence: Evidence, *, after: list[str]) -> Finding:
    missing = [name for name in ("textures", *after) if name not in evidence.datasets.index]
    if missing:
        raise NotTestableError(f"the study lacks {', '.join(missing)}")
    names = _select(evidence)
    rank = int(_values(evidence, FC, "near_zero")[names].rank()["textures"])
    return _conclude(rank == 1 + len(after), f"rank {rank} of {len(names)}", names)


@_predicate
def _long_bars(evidence: Evidence) -> Finding:
    wood = _select(evidence, named=["wood"], instead=["wood_grain"])
    others = [name for name in _select(evidence) if name not in wood]
    if not others:
        raise NotTestableError("needs another dataset to compare with")
    early, late, absence = (
        _values(evidence, f"{where} quarter of {CONV}", f"{side}_spread")
        for where, side in (("first", "presence"), ("last", "presence"), ("first", "absence"))
    )

    def lead(spread: pd.Series[float]) -> float:
        return float(spread[wood].mean() - spread[others].mean())

    here = (
        f"spread {early[wood].mean():.3f} against at most {early[others].max():.3f}; lead over "
        f"the others' mean {lead(early):+.3f}, in the last layers {lead(late):+.3f}, of absence "
        f"{lead(absence):+.3f}"
    )
    ranked = early[others].drop("flowers102", errors="ignore")
    second = "flowers102" not in others or ranked.empty or early["flowers102"] > ranked.max()
    kept = {
        "another dataset has longer bars": early[wood].min() > early[others].max(),
        "flowers102 is not second": second,
        "the lead does not fade": lead(late) < lead(early),
        "the lead of absence is as large": lead(absence) < lead(early),
    }
    broken = [text for text, holds in kept.items() if not holds]
    return _conclude(not broken, here, [*wood, *others], "; ".join(broken))


@_predicate
def _same_wood(evidence: Evidence) -> Finding:
    if _long_bars(_first_source(evidence)).verdict != "holds":
        raise NotTestableError("C13 fails with the first source task already")
    return _long_bars(evidence)


@_predicate
def _position(evidence: Evidence, *, named: list[str], instead: list[str]) -> Finding:
    names, layers = _select(evidence, named=named, instead=instead), evidence.layers(CONV)
    rates = _of_layers(evidence, names).pivot(
        index="dataset", columns="name", values="among_widest"
    )
    best, most = rates.idxmax(axis=1)[names], rates.max(axis=1)
    here = ", ".join(f"{best[name]} on {name} ({most[name]:.1%})" for name in names)
    return _on_each(best.isin(layers[ceil(len(layers) / 3) :]), here)


@_predicate
def _similar(evidence: Evidence) -> Finding:
    first, table = _first_source(evidence), evidence.source_differences
    assert table is not None  # comes with the first network
    names = _select(evidence, least=2)
    layers = evidence.layers(CONV) + evidence.layers(FC)
    chosen = table["layer"].isin(layers) & table["dataset"].isin(names)
    between_tasks = float(table.loc[chosen, "difference"].mean())
    between_datasets = first.difference(layers, names)
    here = f"source tasks differ by {between_tasks:.3f}, datasets by {between_datasets:.3f}"
    return _conclude(between_tasks < between_datasets, here, names)


@_predicate
def _features(evidence: Evidence, *, part: str, expected: int) -> Finding:
    name = split_network(evidence.network)[0]
    if name != "vgg16":
        raise NotTestableError(f"the network is {name}, not vgg16")
    table = evidence.measures
    units = int(table.loc[(table["scope"] != "layer") & (table["name"] == part), "units"].iloc[0])
    return _conclude(units == expected, f"{units:,}", ())


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
    number = (row | {"images per class": row["images"] / row["classes"]})[what]
    holds = abs(number - expected) <= (ROUNDING * expected if rounded else 0)
    return _conclude(holds, f"{round(number, 1):,}", [dataset])


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
        "holds": ", ".join(holding) or "none",
        "fails": ", ".join(failing) or "none",
        "by_chance": ", ".join(name for name in holding if name in chance) or "none",
        "learnt": ", ".join(name for name in holding if name in unlearnt) or "none",
    }


def _unanimous(table: pd.DataFrame, verdict: str, *, column: str = "verdict") -> list[str]:
    """Claims on which all networks that can test them give this verdict."""
    decided = table[table[column].isin(["holds", "fails"])]
    agreed = (decided[column] == verdict).groupby(decided["claim"], sort=False).all()
    return [str(name) for name in agreed.index[agreed]]


def _finding(claim: Claim, evidence: Evidence) -> Finding:
    try:
        finding = claim.test(evidence)
    except NotTestableError as lacking:
        return Finding("cannot be tested", why=str(lacking))
    names = [str(name) for name in evidence.datasets.index]
    if finding.tested_on == _listed(names) and len(names) > 1:
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
