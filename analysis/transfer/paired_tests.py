"""Several sets of features of the same images, compared on the same splits.

Conventions
-----------
standard error
    Differences between two sets of features are taken split by split, on the same training and
    test images. The splits draw from the same images, so that their differences are not
    independent and s/√k, the usual standard error of k differences of standard deviation s, is too
    small. The corrected one is s·√(1/k + test/train), where test and train are the numbers of
    images in a split (Nadeau and Bengio, Inference for the generalization error, Machine Learning
    52, 2003).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from analysis.transfer.protocols import split_accuracies

ROUNDING = 1e-9
"""Mean accuracies that differ by less are equal."""


def compare_features(
    features: Mapping[str, ArrayLike],
    labels: ArrayLike,
    *,
    n_train: int,
    n_splits: int = 5,
    seed: int,
    classifier: BaseEstimator | None = None,
) -> pd.DataFrame:
    """Classify the same images by several sets of features, on the same splits.

    Parameters
    ----------
    features : mapping of str to array_like, each of shape (images, any)
        Name → features.
    labels : array_like, shape (images,)
        Class of each image.
    n_train, n_splits, seed, classifier
        As in :func:`split_accuracies`.

    Returns
    -------
    DataFrame
        Tables of :func:`split_accuracies`, stacked, with the name as column ``features`` in front.

    Raises
    ------
    ValueError
        As :func:`split_accuracies`; or if there are no features.
    """
    if not features:
        raise ValueError("expected at least one set of features to classify by, got none")
    tables = []
    for name, X in features.items():
        table = split_accuracies(
            X, labels, n_train=n_train, n_splits=n_splits, seed=seed, classifier=classifier
        )
        table.insert(0, "features", name)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def summarise_accuracies(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over the splits.

    Parameters
    ----------
    table
        Columns ``dataset``, ``features``, ``accuracy`` and ``chance``, a row per split.

    Returns
    -------
    DataFrame
        One row per dataset and set of features, in the order of the table: ``dataset``,
        ``features``, ``mean``, ``std`` (n - 1 in the denominator), ``splits`` (n) and ``chance``.
    """
    return (
        table.groupby(["dataset", "features"], sort=False)
        .agg(
            mean=("accuracy", "mean"),
            std=("accuracy", "std"),
            splits=("accuracy", "size"),
            chance=("chance", "first"),
        )
        .reset_index()
    )


def paired_differences(
    table: pd.DataFrame,
    features: str,
    over: Sequence[str],
    *,
    margin: float = 0.10,
    errors: float = 3.0,
) -> pd.DataFrame:
    """By how much one set of features is more accurate than others, split by split.

    Parameters
    ----------
    table
        Columns ``dataset``, ``features``, ``split``, ``train``, ``test`` and ``accuracy``, as
        :func:`compare_features` gives them for each dataset. At least two splits.
    features
        The set of features that should be better.
    over
        Those it should be better than.
    margin
        Least difference of the means that counts, as a share of 1.
    errors
        Least difference that counts, in (corrected) standard errors.

    Returns
    -------
    DataFrame
        One row per dataset and control: ``dataset``, ``features``, ``over``, ``difference``,
        ``standard_error`` (s/√k), ``corrected_error`` (see the conventions), and whether the
        difference is at least ``margin`` and at least ``errors`` times as large as the one
        (``exceeds``) and as the other (``exceeds_corrected``).

    Raises
    ------
    ValueError
        If a set of features is not in the table for every dataset, or there is a single split.
    """
    rows = []
    for dataset, part in table.groupby("dataset", sort=False):
        wide = part.pivot(index="split", columns="features", values="accuracy")
        missing = [name for name in (features, *over) if name not in wide]
        if missing or len(wide) < 2:
            raise ValueError(
                f"{dataset}: expected at least two splits of {', '.join((features, *over))}; got "
                f"{len(wide)} of {', '.join(wide.columns)}"
            )
        k, ratio = len(wide), part["test"].iloc[0] / part["train"].iloc[0]
        for control in over:
            gained = wide[features] - wide[control]
            mean, s = float(gained.mean()), float(gained.std())
            plain, corrected = s * np.sqrt(1 / k), s * np.sqrt(1 / k + ratio)
            verdicts = [mean >= max(margin, errors * error) for error in (plain, corrected)]
            rows.append((dataset, features, control, mean, plain, corrected, *verdicts))
    columns = ["dataset", "features", "over", "difference", "standard_error", "corrected_error"]
    return pd.DataFrame(rows, columns=[*columns, "exceeds", "exceeds_corrected"])
