"""Scenes: splits of SUN-397 as in section 4.4 of DeCAF, drawn anew or the published ones."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.data.cards import card_of
from analysis.data.images import ImageDataset
from analysis.data.layouts import find_dataset
from analysis.data.listing import composed
from analysis.data.splits import Split, stratified_splits

__all__ = ["SceneSplit", "read_partitions", "scene_splits"]

_DATASET = "sun397"


class SceneSplit(NamedTuple):
    """Positions of images, each sorted: ``validation`` is a part of ``train``."""

    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]


def scene_splits(
    labels: npt.ArrayLike,
    *,
    n_train: int = 50,
    n_validation: int = 8,
    n_test: int = 50,
    n_splits: int = 5,
    seed: int,
) -> tuple[SceneSplit, ...]:
    """Draw random splits of equal classes, with training images to choose a method by.

    Parameters
    ----------
    labels : array_like of shape (n,)
        Class of each image.
    n_train, n_test : int
        Training and test images per class.
    n_validation : int
        Training images per class that are left out while a method is chosen, fewer than
        ``n_train``; the method chosen is trained on all.
    n_splits : int
        How many splits.
    seed : int
        Seed of the draws.

    Returns
    -------
    tuple of SceneSplit
        Train and test are those of :func:`analysis.data.stratified_splits` with the same seed.

    Raises
    ------
    ValueError
        If a class is too small, or nothing is left to train on.
    """
    if not 1 <= n_validation < n_train:
        raise ValueError(
            f"expected 1 to {n_train - 1} of {n_train} training images per class to validate by, "
            f"got {n_validation}"
        )
    y = np.asarray(labels)
    splits = stratified_splits(y, n_train=n_train, n_test=n_test, n_splits=n_splits, seed=seed)
    return tuple(
        SceneSplit(train, _left_out(y, train, n_train - n_validation, (seed, k)), test)
        for k, (train, test) in enumerate(splits)
    )


def _left_out(
    y: npt.NDArray[np.generic],
    train: npt.NDArray[np.int64],
    n_kept: int,
    seed: tuple[int, int],
) -> npt.NDArray[np.int64]:
    """Training images that are not among the ``n_kept`` of each class drawn to train on."""
    rng = np.random.default_rng((*seed, 1))  # the split itself is drawn from ``seed``
    drawn = [rng.permutation(train[y[train] == name])[n_kept:] for name in np.unique(y)]
    return np.sort(np.concatenate(drawn))


def read_partitions(data: ImageDataset, *, n_splits: int = 10) -> tuple[Split, ...]:
    """Read the published splits of SUN-397, 50 training and 50 test images per class.

    Parameters
    ----------
    data : ImageDataset
        ``load_dataset("sun397")``.
    n_splits : int
        How many, from the first; ten are published.

    Returns
    -------
    tuple of Split
        Positions in ``data``.

    Raises
    ------
    FileNotFoundError
        If the lists are not there: ``Training_01.txt``, ``Testing_01.txt`` and so on in
        ``Partitions``, in the dataset's folder or beside it.
    ValueError
        If a list names an image that ``data`` has not.
    """
    folder = _partitions()
    position = {f"/{path}": index for index, path in enumerate(data.paths)}
    return tuple(
        Split(*(_positions(folder / f"{part}_{k:02d}.txt", position) for part in _PARTS))
        for k in range(1, n_splits + 1)
    )


_PARTS = ("Training", "Testing")


def _partitions() -> Path:
    root = find_dataset(card_of(_DATASET))
    if root is None:
        raise FileNotFoundError(f"dataset {_DATASET!r} is not on disk")
    choices = (root / "Partitions", root.parent / "Partitions")
    found = next((folder for folder in choices if folder.is_dir()), None)
    if found is None:
        raise FileNotFoundError(
            f"expected the published lists in {choices[0]}; unpack Partitions.zip of the dataset's "
            "home page there, or draw splits with scene_splits"
        )
    return found


def _positions(file: Path, position: dict[str, int]) -> npt.NDArray[np.int64]:
    """Positions of the images that a list names, sorted."""
    names = [composed(name) for name in file.read_text("utf-8", "replace").split()]
    unknown = [name for name in names if name not in position]
    if unknown:
        raise ValueError(
            f"{file}: expected images of the dataset, got {len(unknown)} that it has not, the "
            f"first being {unknown[0]}"
        )
    return np.sort(np.array([position[name] for name in names], np.int64))
