"""Claims of section 7: what is noise, and what the noise thresholds keep."""

from __future__ import annotations

from functools import partial

import pandas as pd

from analysis.book.claims.claim import (
    RATIO,
    Claim,
    Finding,
    NotTestableError,
    almost_equal,
    conclude,
    every,
    holds_if,
    require_fc,
    testable,
)
from analysis.book.claims.evidence import CONV, FC, Evidence
from analysis.book.claims.fully_connected import of_group
from analysis.statistics import fit_threshold_to_size

__all__ = ["CLAIMS"]

REACH = (0.1, 0.3)
LEAST_FITTED = 5  # datasets; through three points of different size a curve nearly always goes
CORRELATION = -0.5
SIDES = ("plus", "minus")
SAME_AS_SOURCE = "imagenet"


def _rows(evidence: Evidence, *, least: int = 1) -> pd.DataFrame:
    return evidence.thresholds.loc[testable(evidence, least=least)]


def _reach(evidence: Evidence) -> Finding:
    rows = _rows(evidence)
    low = rows[[f"reach_low_{side}" for side in SIDES]].min(axis=1)
    high = rows[[f"reach_high_{side}" for side in SIDES]].max(axis=1)
    here = f"quartiles from {low.min():.2f} to {high.max():.2f}"
    return every((low >= REACH[0]) & (high <= REACH[1]), here)


def _leads(evidence: Evidence) -> Finding:
    rows = _rows(evidence)
    least = rows[[f"lead_{side}" for side in SIDES]].min(axis=1)
    return every(least > 0, f"at the best x by at least {least.min():,.0f} features")


def _fitted(evidence: Evidence, *, side: str, paper: float) -> Finding:
    rows = _rows(evidence, least=LEAST_FITTED)
    fit = fit_threshold_to_size(rows["images_per_class"], rows[f"t_{side}"].abs())
    if pd.isna(fit.r_squared):
        raise NotTestableError("needs three different numbers of images per class")
    falls = "falling" if fit.slope < 0 else "not falling"
    here = f"R² = {fit.r_squared:.2f}, {falls}, over {len(rows)} datasets"
    close = fit.slope < 0 and fit.r_squared >= paper / RATIO
    return conclude(holds_if(close), here, map(str, rows.index))


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


def _kept(evidence: Evidence, *, side: str, paper: float) -> Finding:
    rows = _rows(evidence)
    share = (rows[f"kept_{side}"] / rows["features"]).mean()
    close = 1 / RATIO <= share / paper <= RATIO
    here = f"{share:.0%} ({rows[f'kept_{side}'].mean():,.0f} of {rows['features'].iloc[0]:,})"
    return conclude(holds_if(bool(close)), here, map(str, rows.index))


def _most_is_kept(evidence: Evidence) -> Finding:
    rows = _rows(evidence)
    share, noise = ((rows[name] / rows["features"]).mean() for name in ("kept", "kept_shuffled"))
    here = f"{share:.0%} (the same thresholds keep {noise:.0%} of shuffled labels)"
    return conclude(holds_if(bool(share > 0.5)), here, map(str, rows.index))


def _nobody_is_left_out(evidence: Evidence) -> Finding:
    rows = _rows(evidence)
    by_side = rows[[f"least_{side}" for side in SIDES]].min()
    here = f"at least {rows['least'].min():,.0f} features" + (
        f" ({by_side.iloc[0]:,.0f} by t+, {by_side.iloc[1]:,.0f} by t−)"
    )
    return every(rows["least"] > 0, here)


def _pruned(evidence: Evidence, *groups: str) -> tuple[pd.Series[float], pd.Series[float], str]:
    """Pruned shares of both parts on the datasets of these groups, and both in words."""
    require_fc(evidence)
    rows = evidence.thresholds.loc[of_group(evidence, *groups)]
    conv, fc = rows[f"pruned_{CONV}"], rows[f"pruned_{FC}"]
    return (
        conv,
        fc,
        f"{fc.mean():.0%} of the fully connected pairs, {conv.mean():.0%} of the others",
    )


def _evenly_pruned(evidence: Evidence) -> Finding:
    conv, fc, here = _pruned(evidence, "a")
    return every(almost_equal(fc, conv), here)


def _fc_is_pruned(evidence: Evidence) -> Finding:
    conv, fc, here = _pruned(evidence, "b", "c")
    return every(fc >= RATIO * conv, here)


CLAIMS = (
    Claim(
        "C39",
        "7, Fig. 9",
        "With shuffled labels, most classes have no feature beyond a distance that lies between "
        "0.1 and 0.3.",
        "The widest distance of the middle half of the shuffled classes, for presence and for "
        "absence: between 0.1 and 0.3 on all datasets (one shuffle).",
        "0.1 to 0.3",
        _reach,
        labelled=False,
    ),
    Claim(
        "C40",
        "7, Fig. 9",
        "At some distance all classes have more features beyond it than their shuffled versions.",
        "For presence and for absence there is an x at which each class has more features beyond "
        "it than the shuffled class of the same size, on all datasets (one shuffle).",
        "more",
        _leads,
    ),
    Claim(
        "C42",
        "7.1",
        "A logarithmic curve of the images per class fits t+.",
        f"R² at least 4/5 of the paper's, falling, over {LEAST_FITTED} datasets or more.",
        "R² = 0.82",
        partial(_fitted, side="plus", paper=0.82),
    ),
    Claim(
        "C43",
        "7.1",
        "A logarithmic curve of the images per class fits t−.",
        f"R² at least 4/5 of the paper's, falling, over {LEAST_FITTED} datasets or more.",
        "R² = 0.84",
        partial(_fitted, side="minus", paper=0.84),
    ),
    Claim(
        "C44",
        "7.1",
        "Thresholds shrink as the images per class grow, except where the task is the source task "
        "(imagenet).",
        "Spearman's correlation of images per class and the size of the threshold over "
        f"{LEAST_FITTED} datasets or more, imagenet aside: −0.5 or less for both.",
        "negative",
        _shrinks,
    ),
    Claim(
        "C45",
        "7.1",
        "Features per class that t− keeps, in the mean.",
        "As a share of the embedding, since networks differ in size: between 4/5 and 5/4 of the "
        "paper's, in the mean over datasets.",
        "27 % (3,300 of 12,416)",
        partial(_kept, side="minus", paper=3300 / 12416),
    ),
    Claim(
        "C46",
        "7.1",
        "Features per class that t+ keeps, in the mean.",
        "As a share of the embedding, since networks differ in size: between 4/5 and 5/4 of the "
        "paper's, in the mean over datasets.",
        "32 % (4,000 of 12,416)",
        partial(_kept, side="plus", paper=4000 / 12416),
    ),
    Claim(
        "C47",
        "9",
        "More than half of the embedding stays relevant.",
        "Share of features per class that t+ or t− keeps, in the mean over datasets.",
        "> 50 % (59 %)",
        _most_is_kept,
    ),
    Claim(
        "C48",
        "7.1, Fig. 9",
        "Every class keeps some features.",
        "The class that keeps fewest, by t+ or t−, keeps one or more, on all datasets.",
        "> 0",
        _nobody_is_left_out,
    ),
    Claim(
        "C49",
        "7.1, Fig. 10",
        "Where all classes overlap with the source task (group a), what is pruned is evenly "
        "spread over convolutional and fully connected layers.",
        "Ratio of the pruned shares of both parts between 4/5 and 5/4, on all these datasets.",
        "evenly",
        _evenly_pruned,
    ),
    Claim(
        "C50",
        "7.1, Fig. 10",
        "In groups b and c, significantly more is pruned from the fully connected layers.",
        "The pruned share there is at least 5/4 of that of the convolutional part, on all these "
        "datasets.",
        "more",
        _fc_is_pruned,
    ),
)
