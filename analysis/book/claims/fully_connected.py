"""Claims of section 6.2: the fully connected layers, and the overlap with the source task."""

from __future__ import annotations

import pandas as pd

from analysis.book.claims.claim import (
    PRACTICALLY,
    RATIO,
    Claim,
    Finding,
    NotTestableError,
    almost_equal,
    chosen,
    conclude,
    every,
    holds_if,
    require_fc,
    testable,
)
from analysis.book.claims.evidence import FC, Evidence

__all__ = ["CLAIMS", "absence_prevails", "of_group", "sides_are_symmetrical"]

BROAD = ("imagenet", "caltech101", "caltech256")
LIMITED = ("stanforddogs", "catsdogs")
ALMOST_NOTHING = 0.05
SPIKE = (0.06, 0.1)


def of_group(evidence: Evidence, *groups: str) -> list[str]:
    """Testable datasets whose overlap with the network's source task is of these groups."""
    names = [name for name, group in evidence.groups.items() if group in groups]
    wanted = " or ".join(groups)
    if not names:
        if not evidence.trained:
            raise NotTestableError("the network has learnt no source task to overlap with")
        raise NotTestableError(f"the study has no dataset of group {wanted} for this network")
    return testable(evidence, names)


def absence_prevails(evidence: Evidence, names: list[str]) -> Finding:
    """Whether negative distances are far more numerous than positive ones in the fc layers."""
    require_fc(evidence)
    presence, absence = (evidence.of(FC, side)[names] for side in ("presence", "absence"))
    here = f"{absence.mean():.0%} of the pairs negative, {presence.mean():.0%} positive"
    return every(absence >= RATIO * presence, here)


def sides_are_symmetrical(evidence: Evidence, names: list[str]) -> Finding:
    """Whether negative and positive distances are about as numerous in the fc layers."""
    require_fc(evidence)
    presence, absence = (evidence.of(FC, side)[names] for side in ("presence", "absence"))
    here = f"{absence.mean():.0%} of the pairs negative, {presence.mean():.0%} positive"
    return every(almost_equal(presence, absence), here)


def _spike(evidence: Evidence) -> Finding:
    require_fc(evidence)
    names = chosen(evidence, ["food101"])
    share = evidence.of(FC, "near_zero")[names]
    return every(share.between(*SPIKE), f"{share.mean():.1%} with |D| ≤ 0.01")


def _few_extremes(evidence: Evidence) -> Finding:
    require_fc(evidence)
    food, names = chosen(evidence, ["food101"]), testable(evidence, least=2)
    tail = (evidence.of(FC, "above_0.5") + evidence.of(FC, "below_0.5"))[names]
    others = tail.drop(food)
    here = f"{tail[food].mean():.2%} of the pairs, elsewhere at least {others.min():.2%}"
    return conclude(holds_if(bool(tail[food].max() < others.min())), here, names)


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


def _empties_at_zero(evidence: Evidence) -> Finding:
    names = chosen(evidence, BROAD)
    of_group(evidence, "a")
    ratio = _density_at_zero(evidence, names)
    return every(ratio <= ALMOST_NOTHING, _said(evidence, names, ratio))


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


def _rank_of_textures(evidence: Evidence) -> Finding:
    require_fc(evidence)
    wanted = ["textures", *BROAD]
    missing = [name for name in wanted if name not in evidence.datasets.index]
    if missing:
        raise NotTestableError(f"the study lacks {', '.join(missing)}")
    names = testable(evidence)
    rank = int(evidence.of(FC, "near_zero")[names].rank()["textures"])
    return conclude(holds_if(rank == len(wanted)), f"rank {rank} of {len(names)}", names)


def _absence_in_a_and_b(evidence: Evidence) -> Finding:
    return absence_prevails(evidence, of_group(evidence, "a", "b"))


def _symmetry_in_c(evidence: Evidence) -> Finding:
    return sides_are_symmetrical(evidence, of_group(evidence, "c"))


def _tail_in_a_and_b(evidence: Evidence) -> Finding:
    require_fc(evidence)
    near, far = of_group(evidence, "a", "b"), of_group(evidence, "c")
    tail = evidence.of(FC, "above_0.5")
    one, other = tail[near].mean(), tail[far].mean()
    here = f"{one:.2%} of the pairs with D > 0.5, against {other:.2%}"
    why = f"groups a, b: {', '.join(near)}; group c: {', '.join(far)}"
    return conclude(holds_if(bool(one > other)), here, [*near, *far], why)


CLAIMS = (
    Claim(
        "C19",
        "6.2, Fig. 6",
        "On food101, close to 8 % of the fully connected part's pairs lie in the bin at 0.",
        "Between 6 % and 10 % with |D| ≤ 0.01 (the paper does not say how wide its bin is).",
        "8 %",
        _spike,
    ),
    Claim(
        "C20",
        "6.2",
        "On food101, very few fully connected features have extreme distances.",
        "Share of pairs with |D| > 0.5 smaller than on any other dataset.",
        "fewest",
        _few_extremes,
    ),
    Claim(
        "C22",
        "6.2, Fig. 8a",
        "Two datasets that resemble each other in content, not in size, have almost identical "
        "distributions in the fully connected part (caltech101, caltech256).",
        "The area between their distribution functions is at most a tenth of mean |D|.",
        "almost identical",
        _caltechs,
    ),
    Claim(
        "C32",
        "6.2, Fig. 8a",
        "On broad datasets inside the source task, no fully connected feature is irrelevant: "
        "the density at 0 falls almost to nothing.",
        "Density for |D| ≤ 0.01 is at most 5 % of that at the lower mode.",
        "almost 0",
        _empties_at_zero,
    ),
    Claim(
        "C33",
        "6.2, Fig. 8a",
        "On datasets inside the source task but of one domain (dogs; cats and dogs), it does not.",
        "Density for |D| ≤ 0.01 is more than 5 % of that at the lower mode.",
        "above 0",
        _stays_above_zero,
    ),
    Claim(
        "C34",
        "6.2, Fig. 8c",
        "After imagenet and the two Caltechs, textures has the fewest fully connected pairs "
        "near 0.",
        "Rank by the share of pairs with |D| ≤ 0.01.",
        "rank 4",
        _rank_of_textures,
    ),
    Claim(
        "C35",
        "6.2, Fig. 8",
        "Where the classes overlap with the source task (groups a, b), absence takes a "
        "significantly larger area than presence in the fully connected part.",
        "At least 5/4 as many negative as positive distances, on all these datasets.",
        "larger",
        _absence_in_a_and_b,
    ),
    Claim(
        "C36",
        "6.2, Fig. 8",
        "Where they do not (group c), both sides are symmetrical, as in convolutional layers.",
        "Ratio of the numbers of negative and positive distances between 4/5 and 5/4, on all "
        "these datasets.",
        "symmetry",
        _symmetry_in_c,
    ),
    Claim(
        "C37",
        "6.2, Fig. 8",
        "Groups a and b have the higher tail of presence in the fully connected part.",
        "Share of pairs with D > 0.5: mean of groups a and b above mean of group c.",
        "higher",
        _tail_in_a_and_b,
    ),
)
