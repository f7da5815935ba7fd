"""Linear machines on given splits, one row per split, as every protocol of DeCAF wants them.

The conventions are those of :mod:`analysis.transfer.caltech`; the splits are anybody's, such as the
official one of the birds (:func:`analysis.data.read_bird_annotations`) and the published ones of
SUN-397 (:func:`analysis.data.read_partitions`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from analysis.statistics.blocks import dense
from analysis.statistics.threads import in_threads
from analysis.transfer._samples import images_and_labels
from analysis.transfer.split_fits import (
    CLASSIFIERS,
    GRID,
    fit_split,
    inner_products,
    mean_by_class,
    reduced_images,
)

__all__ = ["protocol_on_splits", "summarise_protocol"]

Array = NDArray[Any]
Positions = NDArray[np.int64]
COLUMNS = ("split", "train", "test", "C", "validation", "accuracy", "chance", "seconds")


def protocol_on_splits(
    features: Mapping[str, ArrayLike],
    labels: ArrayLike,
    splits: Sequence[tuple[ArrayLike, ArrayLike]],
    *,
    seed: int,
    n_validate: int = 5,
    classifiers: Sequence[str] = tuple(CLASSIFIERS),
    dropout: Sequence[bool] = (False, True),
    copies: int = 1,
    Cs: Sequence[float] = GRID,
    transformers: Mapping[str, BaseEstimator] | None = None,
    tol: float = 1e-4,
) -> pd.DataFrame:
    """Classify images by several sets of features, on splits that are given.

    Parameters
    ----------
    features, labels, classifiers, dropout, copies, Cs, transformers, tol
        As in :func:`analysis.transfer.caltech_protocol`.
    splits : sequence of (train, test), array_like of int
        Positions of training and of test images; no image in both.
    seed : int
        Seed of what validates, and of dropout.
    n_validate : int
        Training images of each class that choose ``C``. As many others of each class are fitted to
        meanwhile as the smallest class has left.

    Returns
    -------
    DataFrame
        Columns of :func:`analysis.transfer.caltech_protocol`. Accuracies are means over the classes
        that are tested.

    Raises
    ------
    ValueError
        As there; or no split, an image in both parts of a split, a class without training images,
        or too few of a class to choose ``C`` by.
    """
    y = checked(features, labels, classifiers, Cs, copies)
    instead = dict(transformers or {})
    if unknown := sorted(set(instead) - set(features)):
        raise ValueError(f"expected transformers of {list(features)}, got some of {unknown}")
    parts = [_checked_split(y, *split, n_validate if len(set(Cs)) > 1 else 0) for split in splits]
    if not parts:
        raise ValueError("expected at least one split, got none")
    found = []
    for (name, X), dropped in product(features.items(), dropout):
        values = np.asarray(dense(X))
        fewest = min(train.size for train, _ in parts)
        shared = _shared_products(values, fewest, dropped, instead.get(name))
        measure = partial(
            measured_split,
            values,
            y,
            grids={classifier: Cs for classifier in classifiers},
            seed=seed,
            draws=copies if dropped else 0,
            n_validate=n_validate,
            tol=tol,
            transformer=instead.get(name),
            products=shared,
        )
        tables = in_threads(measure, [(number, *part) for number, part in enumerate(parts)])
        found.append(pd.concat(tables).assign(features=name, dropout=dropped))
    given = {"features": [*features], "classifier": [*classifiers]}
    table = pd.concat(found, ignore_index=True)[["features", "classifier", "dropout", *COLUMNS]]
    return table.sort_values(
        ["features", "classifier", "dropout", "split"],
        key=lambda column: column.map(given[column.name].index) if column.name in given else column,
        ignore_index=True,
    )


def summarise_protocol(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over the splits, as in the paper's Figure 4.

    Parameters
    ----------
    table
        From :func:`protocol_on_splits`, :func:`analysis.transfer.caltech_protocol` or
        :func:`analysis.transfer.training_size_curve`.

    Returns
    -------
    DataFrame
        One row per configuration: its columns, ``mean`` and ``std`` (n - 1 in the denominator) of
        the accuracy, ``validation`` (mean, by which the paper picks its best), ``splits``, ``C``
        (the median), ``chance`` and ``seconds`` (sum over the splits).
    """
    keys = ["features", "classifier", "dropout", "n_train"]
    return (
        table.groupby([key for key in keys if key in table], sort=False)
        .agg(
            mean=("accuracy", "mean"),
            std=("accuracy", "std"),
            validation=("validation", "mean"),
            splits=("accuracy", "size"),
            C=("C", "median"),
            chance=("chance", "first"),
            seconds=("seconds", "sum"),
        )
        .reset_index()
    )


def measured_split(
    values: Array,
    y: Array,
    split: tuple[int, Positions, Positions],
    *,
    grids: Mapping[str, Sequence[float]],
    seed: int,
    draws: int,
    tol: float,
    n_validate: int = 5,
    transformer: BaseEstimator | None = None,
    products: Array | None = None,
) -> pd.DataFrame:
    """Rows of one split: a classifier each, with its values of C; columns of the protocol."""
    number, train, test = split
    drawn = derived_seed(seed, number)
    classes, members = np.unique(y, return_inverse=True)
    begun = perf_counter()
    images = reduced_images(
        values, train, test, draws=draws, seed=drawn, transformer=transformer, products=products
    )
    shared = perf_counter() - begun
    rows = []
    for classifier, Cs in grids.items():
        begun = perf_counter()
        fit = fit_split(
            images,
            y[train],
            classifier=classifier,
            Cs=Cs,
            n_validate=n_validate,
            seed=drawn,
            tol=tol,
        )
        row = {
            "split": number,
            "train": train.size,
            "test": test.size,
            "C": fit.C,
            "validation": fit.validation.get(fit.C, np.nan),
            "accuracy": mean_by_class(members[test], fit.predicted()),
            "chance": 1 / classes.size,
            "seconds": shared + perf_counter() - begun,
        }
        rows.append({"classifier": classifier, **row})
    return pd.DataFrame(rows)


def derived_seed(seed: int, number: int) -> int:
    """Seed of what is drawn within a split."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def checked(
    features: Mapping[str, ArrayLike],
    labels: ArrayLike,
    classifiers: Sequence[str],
    Cs: Sequence[float],
    copies: int,
) -> Array:
    """Labels, if all that is given fits together."""
    if not features:
        raise ValueError("expected at least one set of features to classify by, got none")
    unknown = [name for name in classifiers if name not in CLASSIFIERS]
    if unknown or not classifiers:
        raise ValueError(f"expected classifiers among {list(CLASSIFIERS)}, got {list(classifiers)}")
    if not len(Cs) or not all(np.isfinite(C) and C > 0 for C in Cs):
        raise ValueError(f"expected values of C above 0, got {list(Cs)}")
    if copies < 1:
        raise ValueError(f"expected at least one copy of each image, got copies={copies}")
    for name, X in features.items():
        _, y = images_and_labels(X, labels, f"{name}: ")
    return y


def _checked_split(
    y: Array, train: ArrayLike, test: ArrayLike, n_validate: int
) -> tuple[Positions, Positions]:
    """Positions of a split, if it can be trained, validated and tested on."""
    first, second = (np.asarray(part, dtype=np.int64) for part in (train, test))
    if not second.size or np.intersect1d(first, second).size:
        raise ValueError(
            f"expected test images, and none that train; got {second.size} test images of which "
            f"{np.intersect1d(first, second).size} train"
        )
    classes = np.unique(y)
    sizes = np.array([np.count_nonzero(y[first] == name) for name in classes])
    if sizes.min() <= n_validate:
        name, size = classes[int(sizes.argmin())], int(sizes.min())
        raise ValueError(
            f"expected more than {n_validate} training images of every class, got {size} of class "
            f"{name}; take fewer to validate, or give a single C"
        )
    return first, second


def _shared_products(
    values: Array, n_rows: int, dropped: bool, transformer: BaseEstimator | None
) -> Array | None:
    """Inner products that every split can use, where that is less work than features."""
    if dropped or transformer is not None or values.shape[1] < n_rows:
        return None
    return inner_products(values)
