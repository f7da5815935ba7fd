"""The Office protocol: many labelled images of one domain, few of another, tested on the rest.

Conventions
-----------
Source: Donahue et al. (DeCAF, ICML 2014), section 4.2 and table 1, after Saenko et al. (ECCV 2010):
20 images per class of the source, 8 where the source is dslr or webcam, and 3 per class of the
target have labels; the rest of the target is tested; five splits. The methods, and what the paper
leaves open about them, are in :mod:`analysis.transfer.office_methods`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import balanced_accuracy_score

from analysis.data import stratified_splits
from analysis.transfer._samples import Floats, whole_number
from analysis.transfer.adaptation._domains import labelled_domains
from analysis.transfer.office_methods import OFFICE_METHODS, UNLABELLED, Task
from analysis.transfer.parallel import in_threads

__all__ = ["office_n_source", "office_protocol", "table_of_office"]

Labels = NDArray[Any]


class Draw(NamedTuple):
    """Positions of the labelled source, the labelled target and the test images of a split."""

    source: NDArray[np.int64]
    few: NDArray[np.int64]
    test: NDArray[np.int64]


def office_protocol(
    X_source: ArrayLike,
    y_source: ArrayLike,
    X_target: ArrayLike,
    y_target: ArrayLike,
    *,
    seed: int,
    n_source: int = 20,
    n_target: int = 3,
    n_splits: int = 5,
    n_components: int = 20,
) -> pd.DataFrame:
    """Classify images of a target domain by every method, on random splits.

    Parameters
    ----------
    X_source, X_target : array_like, shape (images, features)
        Features of both domains.
    y_source, y_target : array_like, shape (images,)
        Classes of the images, the same in both domains.
    seed : int
        Seed of the draws. Which target images are labelled depends on the seed, the number of the
        split and ``y_target`` only, so that it is the same for every source.
    n_source, n_target : int
        Labelled images per class; see :func:`office_n_source`.
    n_splits : int
        How many splits.
    n_components : int
        Dimensions of the subspaces of geodesic flow, subspace alignment and the max-margin domain
        transform, at most.

    Returns
    -------
    DataFrame
        A row per split and method: ``split``, ``training`` ("S", "T", "ST", "adapt" or "S,
        unlabelled T"), ``method``, ``unlabelled`` (whether it uses target images without labels),
        ``train`` and ``test`` (images), ``accuracy`` (share of the test images classified rightly,
        as in the paper), ``class_accuracy`` (its mean over the classes) and ``chance`` (one over
        the number of classes).

    Raises
    ------
    ValueError
        Samples and labels that do not fit together, domains of different classes, fewer than two
        classes, or a class with too few images.
    """
    source, ys, target, yt = labelled_domains(X_source, y_source, X_target, y_target, "images")
    n_components = whole_number("n_components", n_components)
    chance = 1 / _shared_classes(ys, yt).size
    draws = enumerate(_draws(ys, yt, n_source, n_target, n_splits, seed))

    def measured(numbered: tuple[int, Draw]) -> list[dict[str, Any]]:
        split, draw = numbered
        task = _task(source, ys, target, yt, draw, n_components)
        return [{"split": split, **row, "chance": chance} for row in _measured(task, yt[draw.test])]

    return pd.DataFrame([row for rows in in_threads(measured, draws) for row in rows])


def _measured(task: Task, truth: Labels) -> Iterator[dict[str, Any]]:
    """Rows of one split, a method each."""
    few = {"S": 0, UNLABELLED: 0}
    for (training, name), method in OFFICE_METHODS.items():
        predicted = method.predict(task)
        own = 0 if training == "T" else len(task.source)
        yield {
            "training": training,
            "method": name,
            "unlabelled": method.unlabelled,
            "train": own + few.get(training, len(task.few)),
            "test": truth.size,
            "accuracy": float(np.mean(predicted == truth)),
            "class_accuracy": float(balanced_accuracy_score(truth, predicted)),
        }


def office_n_source(domain: str) -> int:
    """Labelled source images per class: 8 for dslr and webcam, whose classes are small, else 20.

    Parameters
    ----------
    domain : str
        Name of the source domain, with or without that of the dataset, such as
        ``"office_caltech10/dslr"``.
    """
    return 8 if domain.rpartition("/")[2] in {"dslr", "webcam"} else 20


def table_of_office(table: pd.DataFrame) -> pd.DataFrame:
    """Lay accuracies out as table 1 of the paper does.

    Parameters
    ----------
    table : DataFrame
        Tables of :func:`office_protocol`, stacked, with columns ``source``, ``target`` and
        ``features`` added. The splits of one cell are those of one call.

    Returns
    -------
    DataFrame
        A row per ``training`` and ``method``, a column per direction and features, both in the
        order in which they come; text, mean ± standard deviation over the splits (n - 1) in
        percent. A single split has no deviation, and an empty cell was not measured.

    Raises
    ------
    ValueError
        If a column is missing, or a split comes twice in a cell.
    """
    keys = ["training", "method", "source", "target", "features"]
    missing = [name for name in (*keys, "split", "accuracy") if name not in table]
    if missing:
        raise ValueError(
            f"expected the table of office_protocol with columns source, target and features "
            f"added, but {', '.join(missing)} is missing"
        )
    if table.duplicated([*keys, "split"]).any():
        twice = table[table.duplicated([*keys, "split"])].iloc[0]
        raise ValueError(
            f"expected every split once, but split {twice['split']} of {twice['source']} → "
            f"{twice['target']} by {twice['features']} comes twice: name the features apart"
        )
    named = table.assign(direction=table["source"] + " → " + table["target"])
    rows, columns = (
        pd.MultiIndex.from_frame(named[names].drop_duplicates())
        for names in (["training", "method"], ["direction", "features"])
    )
    laid_out = pd.DataFrame("", index=rows, columns=columns)
    for (training, method, *column), part in named.groupby([*rows.names, *columns.names]):
        accuracy = part["accuracy"]
        laid_out.loc[(training, method), tuple(column)] = _percent(accuracy.mean(), accuracy.std())
    return laid_out


def _percent(mean: float, std: float) -> str:
    return f"{100 * mean:.2f}" + ("" if np.isnan(std) else f" ± {100 * std:.1f}")


def _shared_classes(ys: Labels, yt: Labels) -> Labels:
    classes, others = np.unique(ys), np.unique(yt)
    if classes.size < 2 or not np.array_equal(classes, others):
        raise ValueError(
            f"expected the same classes in both domains, at least two; only the source has "
            f"{np.setdiff1d(classes, others).tolist()[:10]}, only the target "
            f"{np.setdiff1d(others, classes).tolist()[:10]}, both have "
            f"{np.intersect1d(classes, others).tolist()[:10]}: leave out what is not shared"
        )
    return classes


def _draws(
    ys: Labels, yt: Labels, n_source: int, n_target: int, n_splits: int, seed: int
) -> Iterator[Draw]:
    """Labelled images of both domains at random; all source images of a class may be taken."""
    classes, counts = np.unique(ys, return_counts=True)
    if not 1 <= n_source <= counts.min():
        raise ValueError(
            f"expected n_source from 1 to {counts.min()}, the images of source class "
            f"{classes[counts.argmin()]}, got {n_source}"
        )
    splits = stratified_splits(yt, n_train=n_target, n_splits=n_splits, seed=seed)
    for number, (few, test) in enumerate(splits):
        rng = np.random.default_rng((seed, number, 1))
        drawn = [rng.permutation(np.flatnonzero(ys == name))[:n_source] for name in classes]
        yield Draw(np.sort(np.concatenate(drawn)), few, test)


def _task(
    source: Floats, ys: Labels, target: Floats, yt: Labels, draw: Draw, n_components: int
) -> Task:
    own, few = draw.source, draw.few
    return Task(source[own], ys[own], target[few], yt[few], target, draw.test, n_components)
