"""Tables and sentences of the chapter on layers as fixed features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures.decaf import SemanticMap
from analysis.transfer.published import published_caltech

__all__ = ["CONTROLS", "LAYERS", "best_of", "decaf_facts", "layers_beside_paper", "other_features"]

_COLUMNS = {
    ("logistic regression", False): "logistic",
    ("logistic regression", True): "logistic_dropout",
    ("linear SVM", False): "svm",
    ("linear SVM", True): "svm_dropout",
}
LAYERS = {
    "features": "{features}",
    "logistic regression": "{logistic}",
    "with dropout": "{logistic_dropout}",
    "linear SVM": "{svm}",
    "SVM with dropout": "{svm_dropout}",
}
"""Columns of :func:`layers_beside_paper`."""
_RANDOM = "random weights, "
CONTROLS = {
    "features": "{features}",
    "linear SVM": "{mean:.1%} ± {std:.1%}",
    "by validation": "{validation:.1%}",
    "C": "{C:g}",
}
"""Columns of a summary of features that are no layer."""


def layers_beside_paper(summary: pd.DataFrame, here: str) -> pd.DataFrame:
    """Accuracies in the layout of the paper's figure 4 left, the paper's below.

    Parameters
    ----------
    summary
        :func:`analysis.transfer.summarise_protocol` of layers.
    here
        What the section with this study's accuracies is called.

    Returns
    -------
    DataFrame
        ``of`` (the section), ``features`` and a column for each classifier with and without
        dropout, "mean ± std" in per cent, a dash where there is none.
    """
    measured = summary.assign(mean=100 * summary["mean"], std=100 * summary["std"])
    paper = published_caltech().replace({"features": {"DeCAF5": "DeCAF5, flattened"}})
    parts = {here: measured, "Donahue et al. (2014), Caltech-101": paper}
    rows = []
    for section, part in parts.items():
        for name, own in part.groupby("features", sort=False):
            row = dict.fromkeys(_COLUMNS.values(), "–")
            for each in own.to_dict("records"):
                if np.isfinite(each["mean"]):
                    column = _COLUMNS[each["classifier"], bool(each["dropout"])]
                    row[column] = f"{each['mean']:.1f} ± {each['std']:.1f}"
            rows.append({"of": section, "features": name, **row})
    return pd.DataFrame(rows)


def best_of(summary: pd.DataFrame) -> pd.Series:
    """Row of the best validation accuracy, of equals the first; none of it is of test images."""
    return summary.iloc[int(summary["validation"].to_numpy().argmax())]


def other_features(
    summary: pd.DataFrame, random: pd.DataFrame, embedding: pd.DataFrame
) -> pd.DataFrame:
    """Descriptors, the best layer of random weights, and the full-network embedding.

    Parameters
    ----------
    summary, random, embedding
        Summaries of the three; of the second the row of the best validation accuracy is taken.

    Returns
    -------
    DataFrame
        Rows of a summary, from the plainest features on.
    """
    best = best_of(random).to_frame().T.infer_objects()
    return pd.concat([summary, best, embedding], ignore_index=True)


def decaf_facts(
    layers: pd.DataFrame,
    others: pd.DataFrame,
    curve: pd.DataFrame,
    maps: Sequence[SemanticMap],
    times: pd.DataFrame,
) -> dict[str, Any]:
    """Numbers and names for the chapter's prose.

    Parameters
    ----------
    layers, others, curve
        Summaries: of all layers, of other features, of the curve over training sizes.
    maps
        As drawn.
    times
        :func:`analysis.chapters.decaf.time_networks`.

    Returns
    -------
    dict
        Accuracies in per cent.
    """
    plain = layers[~layers["features"].str.endswith(", flattened")]
    svm = plain[(plain["classifier"] == "linear SVM") & ~plain["dropout"]]
    chosen, best, top = (
        best_of(layers),
        best_of(svm),
        svm.iloc[int(svm["mean"].to_numpy().argmax())],
    )
    trained = plain.set_index(["features", "classifier", "dropout"])["mean"].unstack("dropout")
    gained = 100 * (trained[True] - trained[False])
    named = others.set_index("features")["mean"]
    random = next(name for name in named.index if name.startswith(_RANDOM))
    described = named[: list(named.index).index(random)]
    one = curve[
        (curve["n_train"] == curve["n_train"].min()) & (curve["classifier"] == "linear SVM")
    ]
    first, last = maps[-2], maps[-1]
    whole = times.groupby("network", sort=False)["rate"].first()
    facts = {
        "chosen": _configuration(chosen),
        "chosen_mean": 100 * chosen["mean"],
        "chosen_std": 100 * chosen["std"],
        "svm_layer": best["features"],
        "svm_mean": 100 * best["mean"],
        "svm_std": 100 * best["std"],
        "top_layer": top["features"],
        "top_mean": 100 * top["mean"],
        "first_layer": svm["features"].iloc[0],
        "first_mean": 100 * svm["mean"].iloc[0],
        "dropout_least": float(gained.min()),
        "dropout_most": float(gained.max()),
        "dropout_better": int((gained > 0).sum()),
        "dropout_of": len(gained),
        "random_layer": random.removeprefix(_RANDOM),
        "random_mean": 100 * named[random],
        "descriptor": described.idxmax(),
        "descriptor_mean": 100 * described.max(),
        "descriptor_worst": described.idxmin(),
        "descriptor_worst_mean": 100 * described.min(),
        "embedding_mean": 100 * named["full-network embedding"],
        "smallest": int(curve["n_train"].min()),
        "smallest_mean": 100 * one["mean"].max(),
        "alike": _listed({each.name: f"{each.alike:.0%}" for each in maps}),
        "alike_chance": 100 * maps[0].chance,
        "alike_verdict": "agree more often"
        if last.alike > first.alike
        else "do not agree more often",
        "last_map": last.name,
        "first_map": first.name,
        "rates": _listed({name: f"{rate:,.0f}" for name, rate in whole.items()}),
    }
    return {
        name: float(value) if isinstance(value, np.floating) else value
        for name, value in facts.items()
    }


def _configuration(row: pd.Series) -> str:
    dropout = " with dropout" if row["dropout"] else ""
    return f"{row['classifier']}{dropout} on {row['features']}"


def _listed(values: Mapping[Any, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
