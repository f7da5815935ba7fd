"""Whether the bundled network's features classify better than pixels and than random weights.

A linear support vector machine on ten-crop embeddings, five splits: the comparison of the chapter
on the bundled network. The photographs are looked for in the data folders; of those that are not
there, nothing is measured. Corrected standard errors allow for splits that share images, see
:mod:`analysis.transfer.paired_tests`. ``python -m benchmarks.transfer`` runs this file alone.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.chapters import Pair, Study
from analysis.data import load_dataset
from analysis.transfer import (
    affordable_n_train,
    compare_features,
    paired_differences,
    raw_pixels,
    summarise_accuracies,
)

Row = dict[str, Any]
DATASETS = (
    "glyphs_cluttered",
    "caltech101",
    "office_caltech10/amazon",
    "office_caltech10/caltech10",
    "office_caltech10/dslr",
    "office_caltech10/webcam",
)
TRAINED, UNTRAINED, PIXELS = "minivgg16@bundled", "minivgg16@random", "raw pixels"
N_TRAIN, N_SPLITS, SEED = 30, 5, 0
LEAST_POINTS, LEAST_ERRORS = 10.0, 3.0


def run() -> list[Row]:
    """All rows; about ten minutes on two cores where features are not in the store yet."""
    rows = []
    for name in DATASETS:
        try:
            load_dataset(name)
        except FileNotFoundError:
            print(f"{name}: not on this machine, so not measured")
        else:
            rows += compared(name)
    return rows


def compared(name: str) -> list[Row]:
    """Accuracies of one dataset, and what the trained network gains over its controls."""
    study = Study(name, [name], [TRAINED, UNTRAINED], crops="ten", seed=SEED)
    data = study.data(name)
    n_train = affordable_n_train(data.labels, N_TRAIN)
    sets = {PIXELS: raw_pixels(data)}
    sets |= {spec: study.features(Pair(name, spec)) for spec in study.networks}
    table = compare_features(sets, data.labels, n_train=n_train, n_splits=N_SPLITS, seed=SEED)
    return rows_of(table.assign(dataset=name), n_train)


def rows_of(table: pd.DataFrame, n_train: int) -> list[Row]:
    """Rows of the benchmarks' page from a table of accuracies by split."""
    rows = []
    for line in summarise_accuracies(table).itertuples():
        what = f"{line.dataset}, {n_train} images per class, linear SVM on {line.features}"
        unit = f"% accuracy, ± {100 * line.std:.1f} over {line.splits} splits"
        rows.append(row(what, 100 * line.mean, unit))
    for gain in paired_differences(table, TRAINED, [PIXELS, UNTRAINED]).itertuples():
        what = f"{gain.dataset}: {TRAINED} over {gain.over}"
        rows.append(row(what, 100 * gain.difference, "points", LEAST_POINTS))
        errors = gain.difference / gain.standard_error
        rows.append(row(what, errors, "standard errors", LEAST_ERRORS))
        corrected = gain.difference / gain.corrected_error
        rows.append(row(what, corrected, "corrected standard errors"))
    return rows


def row(name: str, value: float, unit: str, target: float | None = None) -> Row:
    """One measurement in the form that all benchmarks share; ``target`` is the least."""
    passed = None if target is None else bool(value >= target)
    return {"name": name, "value": float(value), "unit": unit, "target": target, "passed": passed}


if __name__ == "__main__":
    for measured in run():
        print(measured)
