"""Seeded splits and shuffles of labels.

Conventions
-----------
Every class gives the same number of training images. Split number k depends on the seed and on k
only, not on how many splits are asked for.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.data.images import checked_labels


class Split(NamedTuple):
    """Positions of the training and the test images, each sorted; unpacks as a pair."""

    train: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]


def stratified_splits(
    labels: npt.ArrayLike, *, n_train: int, n_test: int | None = None, n_splits: int = 5, seed: int
) -> tuple[Split, ...]:
    """Random splits with a fixed number of training images per class.

    Parameters
    ----------
    labels : array_like of shape (n,)
        Class of each image.
    n_train : int
        Training images per class, at least one.
    n_test : int, optional
        Test images per class; by default all the rest, however unbalanced.
    n_splits : int
        How many splits.
    seed : int
        Seed of the draws.

    Returns
    -------
    tuple of Split
        Train and test are disjoint; usable as ``cv=`` in scikit-learn.

    Raises
    ------
    ValueError
        If a class is too small (the message names it), or labels are missing or mixed.
    """
    y = checked_labels(labels)
    if n_train < 1 or n_splits < 1 or (n_test is not None and n_test < 1):
        raise ValueError(
            f"expected at least one of each, got n_train={n_train}, n_test={n_test}, "
            f"n_splits={n_splits}"
        )
    classes, counts = np.unique(y, return_counts=True)
    needed = n_train + (1 if n_test is None else n_test)
    if (counts < needed).any():
        smallest = counts.argmin()
        raise ValueError(
            f"{needed} images per class are needed ({n_train} to train on), but class "
            f"{classes[smallest]} has {counts[smallest]}"
        )
    splits = []
    for k in range(n_splits):
        rng = np.random.default_rng((seed, k))
        drawn = [rng.permutation(np.flatnonzero(y == name)) for name in classes]
        train = np.sort(np.concatenate([positions[:n_train] for positions in drawn]))
        end = None if n_test is None else n_train + n_test
        test = np.sort(np.concatenate([positions[n_train:end] for positions in drawn]))
        splits.append(Split(train, test))
    return tuple(splits)


def shuffle_labels(labels: npt.ArrayLike, *, seed: int) -> npt.NDArray[np.generic]:
    """Labels in random order: every class keeps its size and loses its meaning.

    Parameters
    ----------
    labels : array_like of shape (n,)
        Class of each image.
    seed : int
        Seed of the draw.

    Returns
    -------
    ndarray of shape (n,)
        Same dtype as ``labels``.
    """
    shuffled: npt.NDArray[np.generic]
    shuffled = np.random.default_rng(seed).permutation(checked_labels(labels))
    return shuffled
