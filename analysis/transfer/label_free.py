"""Choosing among aligned descriptors without a label of the target.

Conventions
-----------
What can be known without target labels of a descriptor after alignment:

gap
    Squared maximum mean discrepancy between the domains, of an RBF kernel with one over twice the
    median squared distance of both domains together, by the estimator without bias (Gretton et al.,
    *A kernel two-sample test*, JMLR 2012, section 2.2). The width is relative to the samples, and
    kernel values are at most 1, so that neither scale nor number of components decides: 0 (by
    chance also below) if the domains cannot be told apart, 2 if they share nothing.
source accuracy
    Share of source images that a machine classifies rightly which has learnt from the other folds
    of the source, in the aligned features. The alignment has seen all images of both domains, but
    no label.
both
    Ranks by gap (small first) and by source accuracy (large first), summed; equal values share
    their mean rank.

A choice is compared with the best in hindsight: its regret is how much accuracy that has more.
Ties go to fewer components, then to what comes first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.data.labels import checked_labels
from analysis.statistics.threads import one_blas_thread
from analysis.transfer._samples import Floats, checked_samples
from analysis.transfer.adaptation._domains import two_domains

__all__ = ["RULES", "choose_without_labels", "domain_gap", "source_accuracy"]

_AT_MOST = 1000

Predict = Callable[[Floats, NDArray[Any], Floats], NDArray[Any]]

RULES: dict[str, Callable[[pd.DataFrame], pd.Series[float]]] = {
    "smallest gap": lambda table: table["gap"],
    "best on the source": lambda table: -table["source_accuracy"],
    "both, by ranks": lambda table: (
        table["gap"].rank() + table["source_accuracy"].rank(ascending=False)
    ),
}
"""Name of a rule, and what it makes small, from the columns ``gap`` and ``source_accuracy``."""


def domain_gap(X_source: ArrayLike, X_target: ArrayLike, *, seed: int = 0) -> float:
    """Squared maximum mean discrepancy between two domains, without bias.

    Parameters
    ----------
    X_source, X_target : array_like, shape (images, features)
        Features of both domains; of more than 1,000 images of a domain, 1,000 are drawn.
    seed : int
        Of the draw.

    Returns
    -------
    float
        At most 2; 0 where all images are the same.
    """
    source, target = (_drawn(X, seed) for X in two_domains(X_source, X_target))
    n, X = len(source), np.vstack([source, target])
    X = X - X.mean(axis=0)
    lengths = np.einsum("ij,ij->i", X, X)
    distances = np.maximum(lengths[:, None] + lengths - 2 * (X @ X.T), 0)
    median = float(np.median(distances[np.triu_indices(len(X), 1)]))
    if median <= len(X) * np.finfo(np.float64).eps * lengths.max():
        median = float(distances.mean()) or 1.0  # most images coincide
    K = np.exp(distances / (-2 * median))
    np.fill_diagonal(K, 0)
    own = [part.sum() / (len(part) * (len(part) - 1)) for part in (K[:n, :n], K[n:, n:])]
    return float(sum(own) - 2 * K[:n, n:].mean())


def _drawn(X: Floats, seed: int) -> Floats:
    if len(X) <= _AT_MOST:
        return X
    return X[np.random.default_rng(seed).choice(len(X), _AT_MOST, replace=False)]


@one_blas_thread
def source_accuracy(
    X: ArrayLike, y: ArrayLike, predict: Predict, *, n_folds: int = 5, seed: int = 0
) -> float:
    """Accuracy on the source by cross-validation, images of each class spread evenly over folds.

    Parameters
    ----------
    X : array_like, shape (images, features)
        Features of the source.
    y : array_like, shape (images,)
        Classes.
    predict : callable
        Takes features and classes to learn from and features to classify; gives classes.
    n_folds : int
        How many; no more than images of the largest class.
    seed : int
        Of the order in which the images of a class go round the folds. An image whose class has no
        other is always in error.

    Raises
    ------
    ValueError
        For fewer than two folds or classes, or other numbers of labels than of images.
    """
    rows = checked_samples(X, "source images")
    labels = checked_labels(y, len(rows), "{} source images")
    folds = _folds(labels, n_folds, seed)
    right = 0
    for fold in range(n_folds):
        tested = folds == fold
        predicted = predict(rows[~tested], labels[~tested], rows[tested])
        right += int((predicted == labels[tested]).sum())
    return right / labels.size


def _folds(labels: NDArray[Any], n_folds: int, seed: int) -> NDArray[np.int64]:
    """Fold of each image; classes go on where the one before has stopped."""
    classes, members, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if classes.size < 2:
        raise ValueError(f"expected at least two classes in the source, got {classes.tolist()}")
    if not 2 <= n_folds <= counts.max():
        raise ValueError(
            f"expected n_folds from 2 to {counts.max()}, the images of the largest class, got "
            f"{n_folds}"
        )
    drawn = np.random.default_rng(seed).random(labels.size)
    order = np.lexsort([drawn, members])
    folds = np.empty(labels.size, np.int64)
    folds[order] = np.arange(labels.size) % n_folds
    return folds


def choose_without_labels(table: pd.DataFrame) -> pd.DataFrame:
    """Choose a row of a table by each of the rules, and tell what that costs.

    Parameters
    ----------
    table : DataFrame
        Candidates in rows, with ``n_components``, ``gap`` and ``source_accuracy``, as
        :func:`analysis.transfer.fusion_protocol.fusion_table` gives them with ``label_free=True``;
        rows without these numbers are no candidates. ``accuracy``, if it is there, only serves to
        judge the choices.

    Returns
    -------
    DataFrame
        A row for each of :data:`RULES`: ``rule``, all columns of the chosen row, and if there is an
        accuracy, ``best`` (in hindsight), ``regret`` (best minus chosen) and ``mean_regret`` (of a
        choice at random).

    Raises
    ------
    ValueError
        If a column is missing or no row has the numbers.
    """
    needed = ["n_components", "gap", "source_accuracy"]
    missing = [name for name in needed if name not in table]
    if missing:
        raise ValueError(
            f"expected a table with {', '.join(needed)}, but {', '.join(missing)} is missing: call "
            "fusion_table(..., label_free=True)"
        )
    candidates = table.dropna(subset=needed).reset_index(drop=True)
    if candidates.empty:
        raise ValueError("expected candidates with gap and source_accuracy, got none")
    rows = []
    for rule, small in RULES.items():
        score = pd.DataFrame({"score": small(candidates), "size": candidates["n_components"]})
        chosen = candidates.loc[score.sort_values(["score", "size"], kind="stable").index[0]]
        rows.append({"rule": rule, **chosen.to_dict()})
    found = pd.DataFrame(rows)
    if "accuracy" in table:
        accuracy = candidates["accuracy"]
        found["best"] = accuracy.max()
        found["regret"] = accuracy.max() - found["accuracy"]
        found["mean_regret"] = accuracy.max() - accuracy.mean()
    return found
