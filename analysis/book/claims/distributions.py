"""Claims of section 5: what distances mean, and how they are distributed."""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

import numpy as np

from analysis.book.claims.claim import (
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
from analysis.book.claims.evidence import ALL, CONV, FC, Evidence

__all__ = ["CLAIMS"]

FINE = ("wood_grain", "digits", "digits_rendered")
BROAD = ("materials", "materials_unbalanced", "glyphs_clean", "glyphs_cluttered")
CLASSES = 8
TWO_MODES, MOST_LAYERS = 0.5, 0.9
MOST_SHAPES = 0.75
FEW_CLASSES = 0.25
BIRDS = 4


def _by_eye(evidence: Evidence) -> NoReturn:
    raise NotTestableError("it takes eyes: the chapter on what CNN features are shows such units")


def _neurons(evidence: Evidence) -> NoReturn:
    raise NotTestableError(
        "the neurons' numbers are those of the original VGG19 weights, which are not here"
    )


def _convexity(evidence: Evidence) -> NoReturn:
    raise NotTestableError("an assumption about classifiers, not about distances")


def _shared_lowest(evidence: Evidence) -> Finding:
    require_fc(evidence)
    many = _with_classes(evidence, CLASSES)
    names = chosen(evidence, ["cub200"], many)
    found = evidence.of(FC, "shared_lowest")[names]
    by_chance = evidence.of(FC, "shared_lowest", by_chance=True)[names]
    here = f"one feature in up to {found.max():.0f} classes (shuffled: {by_chance.max():.0f})"
    return every((found >= BIRDS) & (found > by_chance), here)


def _fine_grained(evidence: Evidence) -> Finding:
    fine = chosen(evidence, ["cub200", "flowers102"], FINE)
    broad = chosen(evidence, ["imagenet", "mit67"], BROAD)
    tail = evidence.of(ALL, "below_0.5") - evidence.of(ALL, "below_0.5", by_chance=True)
    one, other = tail[fine].mean(), tail[broad].mean()
    here = f"{one:.2%} of the pairs against {other:.2%}, shuffled labels subtracted"
    why = f"fine-grained: {', '.join(fine)}; broad: {', '.join(broad)}"
    return conclude(holds_if(one > other), here, [*fine, *broad], why)


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


def _bimodal(evidence: Evidence) -> Finding:
    names = testable(evidence)
    rows = evidence.measures[evidence.measures["dataset"].isin(names)]
    ratios = rows.loc[rows["scope"] == "layer", "valley_ratio"]
    share = float((ratios <= TWO_MODES).mean())
    here = f"in {share:.0%} of {len(ratios)} distributions (median valley {ratios.median():.2f})"
    return conclude(holds_if(share >= MOST_LAYERS), here, names)


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


def _same_for_all(evidence: Evidence) -> Finding:
    require_fc(evidence)
    names = testable(evidence, least=2)
    conv, fc = evidence.difference(CONV, names), evidence.difference(FC, names)
    here = f"two datasets differ by {conv:.3f} in the mean, against {fc:.3f}"
    return conclude(holds_if(conv < fc), here, names)


def _symmetrical(evidence: Evidence) -> Finding:
    names = testable(evidence)
    number = [evidence.of(CONV, side)[names] for side in ("presence", "absence")]
    degree = [evidence.of(CONV, f"{side}_size")[names] for side in ("presence", "absence")]
    here = (
        f"{number[0].mean():.0%} presence, {number[1].mean():.0%} absence; mean |D| "
        f"{degree[0].mean():.3f} and {degree[1].mean():.3f}"
    )
    return every(almost_equal(*number) & almost_equal(*degree), here)


def _conv_farther(evidence: Evidence) -> Finding:
    require_fc(evidence)
    names = testable(evidence)
    conv, fc = (evidence.of(part, "mean_size")[names] for part in (CONV, FC))
    return every(conv > fc, f"mean |D| {conv.mean():.3f} against {fc.mean():.3f}")


def _longer_tail(evidence: Evidence) -> Finding:
    require_fc(evidence)
    names = testable(evidence)
    higher = evidence.of(FC, "above_0.5")[names] > evidence.of(CONV, "above_0.5")[names]
    longer = evidence.of(FC, "highest")[names] > evidence.of(CONV, "highest")[names]
    both = [name for name in names if higher[name] and longer[name]]
    here = f"in {len(both)} of {len(names)} datasets" + (f": {', '.join(both)}" if both else "")
    return conclude(holds_if(bool(both)), here, names)


def _conv_discriminates(evidence: Evidence) -> Finding:
    require_fc(evidence)
    names = chosen(evidence, ["wood", "flowers102"], ["wood_grain"])
    conv, fc = (
        evidence.of(part, "above_0.5")[names] + evidence.of(part, "below_0.5")[names]
        for part in (CONV, FC)
    )
    return every(conv > fc, f"{conv.mean():.1%} of the pairs extreme, against {fc.mean():.1%}")


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


CLAIMS = (
    Claim(
        "C01",
        "5, Fig. 2",
        "The features with the widest positive distances show what belongs to the class.",
        "Not a matter of numbers.",
        "by eye",
        _by_eye,
    ),
    Claim(
        "C02",
        "5, Fig. 3",
        "One fully connected feature is among the ten lowest of several classes (four of birds).",
        f"Some such feature is among the embedding's ten lowest for {BIRDS} classes or more, and "
        "for more than under shuffled labels.",
        "4 classes",
        _shared_lowest,
    ),
    Claim(
        "C03",
        "5, Fig. 4",
        "Two named neurons mark some flowers by their absence.",
        "The same neurons, looked up by number.",
        "n1449, n3529",
        _neurons,
    ),
    Claim(
        "C04",
        "5",
        "Fine-grained datasets have more extreme absence than broad ones.",
        "Share of pairs with D < −0.5, less that under shuffled labels: mean of the fine-grained "
        "above mean of the broad datasets.",
        "more",
        _fine_grained,
    ),
    Claim(
        "C05",
        "5",
        "A feature can be extremely absent in few classes only.",
        "Of the features with D < −0.5 for some class, 95 % have it for a quarter of the classes "
        f"or fewer (datasets of {CLASSES} classes and more; one half is the limit by arithmetic).",
        "few",
        _few_classes,
    ),
    Claim(
        "C06a",
        "5.1, Fig. 6",
        "The distances of a layer have two modes.",
        "Between the two, the density falls to half the lower mode, in nine of ten distributions "
        "(one per dataset and layer).",
        "2 modes",
        _bimodal,
    ),
    Claim(
        "C06b",
        "5.1, Fig. 6",
        "Each of the two modes resembles a log-normal law.",
        "Of a log-normal, a normal and an exponential law, the first is nearest (Kolmogorov-"
        "Smirnov) in three of four humps.",
        "log-normal",
        _lognormal,
    ),
    Claim(
        "C07",
        "5.1, Fig. 6",
        "Convolutional features are distributed nearly alike on all datasets.",
        "Mean difference between two datasets: less in the convolutional than in the fully "
        "connected part.",
        "less",
        _same_for_all,
    ),
    Claim(
        "C08",
        "5.1, Fig. 6",
        "In the convolutional part, presence and absence are almost symmetrical.",
        "Ratios of numbers and of mean |D| between 4/5 and 5/4, on all datasets.",
        "symmetry",
        _symmetrical,
    ),
    Claim(
        "C09",
        "5.2, Fig. 6",
        "Convolutional features are farther from 0 than fully connected ones.",
        "Mean |D| is greater, on all datasets.",
        "farther",
        _conv_farther,
    ),
    Claim(
        "C10",
        "5.2, Fig. 6",
        "On some datasets the fully connected part has the higher and longer tail of presence.",
        "On one dataset at least: more pairs with D > 0.5, and a greater quantile 0.999 of D.",
        "some",
        _longer_tail,
    ),
    Claim(
        "C11",
        "5.2",
        "On wood and flowers, convolutional features discriminate better.",
        "Share of pairs with |D| > 0.5 greater than in the fully connected part.",
        "better",
        _conv_discriminates,
    ),
    Claim(
        "C12",
        "5.2",
        "Two features of 0.3 are worth less than one of 0.5.",
        "Not a matter of distances alone.",
        "assumed",
        _convexity,
    ),
    Claim(
        "C38",
        "5.1, 9",
        "The last convolutional and the fully connected layers are specific; the others mark by "
        "presence and by absence.",
        "Among pairs with |D| > 0.25, the share of presence is farther from half there than in "
        "the other convolutional layers, on all datasets.",
        "specific",
        _specific,
    ),
)
