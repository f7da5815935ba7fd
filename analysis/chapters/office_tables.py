"""Tables and sentences of the chapter on domains, from the accuracies that a study measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.chapters.office import SURF
from analysis.transfer.office_protocol import BASELINE, OFFICE_METHODS, UNLABELLED
from analysis.transfer.published import PUBLISHED_CLASSES, published_office

__all__ = [
    "MEANS",
    "NEIGHBOURS",
    "beside_paper",
    "office_by_pair",
    "state_neighbours",
    "state_office",
    "state_tasks",
]

_PAPER = ("SURF", "DeCAF6", "DeCAF7")
_HERE = ("SURF", "last but one", "last layer")
_COLUMNS = {
    "S": ("S", "SVM"),
    "T": ("T", "SVM"),
    "ST": ("ST", "SVM"),
    "ST, each": ("ST", BASELINE),
    "Daumé": ("adapt", "Daume III (2007)"),
    "MMDT": ("adapt", "Hoffman et al. (2013)"),
    "GFK": ("adapt", "Gong et al. (2012)"),
    "CORAL": ("adapt", "Sun et al. (2016)"),
    "SA": ("adapt", "Fernando et al. (2013)"),
    "S, each": (UNLABELLED, BASELINE),
    "GFK from S": (UNLABELLED, "Gong et al. (2012)"),
    "CORAL from S": (UNLABELLED, "Sun et al. (2016)"),
    "SA from S": (UNLABELLED, "Fernando et al. (2013)"),
}
_ADAPTED = ("Daumé", "MMDT", "GFK", "CORAL", "SA")
_FROM_SOURCE = ("GFK from S", "CORAL from S", "SA from S")
MEANS = {"pair": "{pair}"} | {name: f"{{{name}:.1f}}" for name in _COLUMNS}
"""Headings of :func:`office_by_pair`, for :func:`analysis.chapters.sectioned`."""

NEIGHBOURS = {
    "domains": "{domains}",
    "layer": "{layer}",
    "same domain": "{same_domain:.0%} ({same_domain_chance:.0%})",
    "same class": "{same_class:.0%} ({same_class_chance:.0%})",
    "same class across domains": "{across:.0%} ({across_chance:.0%})",
}
"""Headings of :func:`analysis.chapters.office.measure_neighbours`."""


def beside_paper(summary: pd.DataFrame) -> pd.DataFrame:
    """Lay accuracies out as table 1 of the paper does, its numbers beside ours.

    Parameters
    ----------
    summary : DataFrame
        As :func:`analysis.chapters.office.summarise_office` gives it.

    Returns
    -------
    DataFrame
        A section per network and pair (column ``section``), a row per method, text: mean ± standard
        deviation over the splits, in per cent. Only pairs of the paper's table, or all pairs where
        the study has none of those. What nobody measured is "–"; columns without numbers are left
        out.
    """
    paper = published_office()
    known = {*zip(paper["source"], paper["target"], strict=True)}
    directions = list(dict.fromkeys(zip(summary["source"], summary["target"], strict=True)))
    shown = [each for each in directions if each in known] or directions
    networks = [name for name in dict.fromkeys(summary["network"]) if name != SURF]
    columns = ["section", "training", "method"]
    columns += [f"paper: {name}" for name in _PAPER] + [f"here: {name}" for name in _HERE]
    rows = []
    for network in networks:
        for source, target in shown:
            of_pair = summary[(summary["source"] == source) & (summary["target"] == target)]
            own = of_pair[of_pair["network"] == network]
            layers = list(dict.fromkeys(own["features"]))
            printed = paper[(paper["source"] == source) & (paper["target"] == target)]
            here = [
                of_pair[of_pair["network"] == SURF],
                own[own["features"].isin(layers[-2:-1])],
                own[own["features"].isin(layers[-1:])],
            ]
            parts = [
                *(printed[printed["features"] == name].assign(scale=1.0) for name in _PAPER),
                *(part.assign(scale=100.0) for part in here),
            ]
            title = f"{own['pair'].iloc[0]}: {network} ({', '.join(layers)})"
            rows += [
                dict(
                    zip(columns, (title, *key, *(_cell(part, key) for part in parts)), strict=True)
                )
                for key in OFFICE_METHODS
            ]
    table = pd.DataFrame(rows, columns=columns)
    empty = [name for name in columns[3:] if (table[name] == "–").all()]
    return table.drop(columns=empty)


def office_by_pair(summary: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy of each method on each pair, by the last layer of every network.

    Parameters
    ----------
    summary : DataFrame
        As :func:`analysis.chapters.office.summarise_office` gives it.

    Returns
    -------
    DataFrame
        A row per network and pair, and one for the mean over the pairs; ``section`` (network and
        layer), ``network``, ``pair``, and a column in per cent for each support vector machine and
        adaptive method.
    """
    rows: list[dict[str, Any]] = []
    last = summary[summary["last"].astype(bool)]
    for (network, layer), part in last.groupby(["network", "features"], sort=False):
        section = SURF if network == SURF else f"{network}, {layer}"
        for pair, own in part.groupby("pair", sort=False):
            means = own.set_index(["training", "method"])["mean"]
            accuracies = {name: 100 * float(means[key]) for name, key in _COLUMNS.items()}
            rows.append({"section": section, "network": network, "pair": pair} | accuracies)
    for section in dict.fromkeys(row["section"] for row in rows):
        alike = [row for row in rows if row["section"] == section]
        mean = {name: float(np.mean([row[name] for row in alike])) for name in _COLUMNS}
        pair = f"mean of {len(alike)}"
        rows.append({"section": section, "network": alike[0]["network"], "pair": pair} | mean)
    return pd.DataFrame(rows, columns=["section", "network", "pair", *_COLUMNS])


def state_office(by_pair: pd.DataFrame, networks: Sequence[str]) -> str:
    """Say in Markdown what a table of :func:`office_by_pair` shows, a paragraph per network.

    Parameters
    ----------
    by_pair : DataFrame
        As :func:`office_by_pair` gives it.
    networks : sequence of str
        Whose findings are stated; SURF's come first where it was measured.

    Returns
    -------
    str
        One sentence where there are no pairs.
    """
    said = []
    for network in (SURF, *networks):
        own = by_pair[by_pair["network"] == network]
        if own.empty:
            continue
        pairs, mean = own.iloc[:-1], own.iloc[-1]
        labelled = _best(pairs, _ADAPTED, "ST", "of the adaptive methods")
        without = _best(pairs, _FROM_SOURCE, "S, each", "without labels of the target")
        said.append(
            f"- **{mean['section']}**, in the mean over {len(pairs)} pairs: {mean['S']:.1f} % by "
            f"the source alone, {mean['T']:.1f} % by the few labelled images of the target alone, "
            f"{mean['ST']:.1f} % by both. {labelled} {without} To scale each domain by itself "
            f"changes the machine on both by {mean['ST, each'] - mean['ST']:+.1f} points, and the "
            f"machine on the source by {mean['S, each'] - mean['S']:+.1f}."
        )
    return "\n".join(said) or "No two datasets of this study are domains of each other."


def state_neighbours(table: pd.DataFrame) -> str:
    """Say in Markdown how first and last layers place two domains.

    Parameters
    ----------
    table : DataFrame
        As :func:`analysis.chapters.office.measure_neighbours` gives it.

    Returns
    -------
    str
        A paragraph per network, means over its pairs of domains; empty where there are none.
    """
    said = []
    for network, own in table.groupby("network", sort=False):
        layers = list(dict.fromkeys(own["layer"]))
        means = (
            own.groupby("layer", sort=False).mean(numeric_only=True).loc[[layers[0], layers[-1]]]
        )
        first, last = means.iloc[0], means.iloc[-1]
        said.append(
            f"- **{network}**: from `{layers[0]}` to `{layers[-1]}` the share of images whose "
            f"nearest image is of the same domain goes from {first['same_domain']:.0%} to "
            f"{last['same_domain']:.0%} ({last['same_domain_chance']:.0%} if domains did not "
            f"matter), of the same class from {first['same_class']:.0%} to "
            f"{last['same_class']:.0%}. Of the nearest images of the other domain, "
            f"{first['across']:.0%} and {last['across']:.0%} are of the same class "
            f"({last['across_chance']:.0%} by chance)."
        )
    return "\n".join(said)


def state_tasks(n_classes: Sequence[int]) -> str:
    """Say how many classes the paper's task has, and how many the study's."""
    sizes = " or ".join(map(str, sorted({*n_classes})))
    return (
        f"The paper's task has {PUBLISHED_CLASSES} classes"
        + (f", these have {sizes}" if sizes else "")
        + ": its numbers stand beside ours to compare methods and features, and are those of "
        "another task."
    )


def _best(pairs: pd.DataFrame, names: Sequence[str], against: str, which: str) -> str:
    """Most accurate method in the mean, and how it compares with the machine ``against``."""
    means = pairs[[*names]].mean()
    name = str(means.idxmax())
    better = int((pairs[name] > pairs[against]).sum())
    ahead = float(means[name] - pairs[against].mean())
    error = (pairs[name] - pairs[against]).std() / np.sqrt(len(pairs))
    spread = "" if np.isnan(error) else f" ± {error:.1f}"
    return (
        f"Most accurate {which} is {name.removesuffix(' from S')} with {means[name]:.1f} %, "
        f"{ahead:+.1f}{spread} points against *{against}*, more accurate on {better} of "
        f"{len(pairs)} pairs."
    )


def _cell(part: pd.DataFrame, key: tuple[str, str]) -> str:
    own = part[(part["training"] == key[0]) & (part["method"] == key[1])]
    if own.empty:
        return "–"
    mean, deviation = (
        float(own["scale"].iloc[0] * own[name].iloc[0]) for name in ("mean", "deviation")
    )
    return f"{mean:.2f}" + ("" if np.isnan(deviation) else f" ± {deviation:.1f}")
