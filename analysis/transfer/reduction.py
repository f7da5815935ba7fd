"""Training and test images of a split in few numbers, with the inner products of their features.

A linear machine with squared penalty needs no more than inner products. The training images span
at most as many directions as there are images, however wide the features are; in the basis of
their principal components one factorisation serves every value of C and every classifier.

Where there are fewer features than training images, the basis comes from the matrix of features ×
features, else from that of images × images, which is summed up over blocks of features, so that
flattened layers are never scaled as a whole. That matrix is computed split by split, because the
standard deviations of the training images, which divide the features, differ from split to split:
no correction of low rank leads from one split's matrix to another's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone

from analysis.transfer.solvers import principal_basis

__all__ = ["Reduced", "reduced_images"]

Array = NDArray[Any]
Rows = NDArray[np.float64]
Positions = NDArray[np.int64]

_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class Reduced:
    """Images of a split in the basis of what the machine is fitted to.

    Attributes
    ----------
    train : ndarray of float64, shape (copies x training images, components)
        What to fit: copy by copy, with values dropped if there is dropout.
    clean : ndarray of float64, shape (training images, components)
        The training images as if they were test images.
    test : ndarray of float64, shape (test images, components)
        The test images.
    copies : int
        Copies of every training image.
    """

    train: Rows
    clean: Rows
    test: Rows
    copies: int


def reduced_images(
    values: Array,
    train: Positions,
    test: Positions,
    *,
    draws: int = 0,
    seed: int = 0,
    transformer: BaseEstimator | None = None,
) -> Reduced:
    """Scale images by the training images, drop values, and find the basis.

    Parameters
    ----------
    values : ndarray, shape (images, features)
        Features of all images.
    train, test : ndarray of int
        Positions of the training and of the test images.
    draws : int
        How many copies with half of the values dropped are drawn of each training image; test
        images are halved then. With 0 there is no dropout.
    seed : int
        Seed of what is dropped. It is drawn for blocks of features one after another.
    transformer : scikit-learn transformer, optional
        Fitted anew to the training images, block by block, in place of standardising; treats every
        feature by itself, such as :class:`analysis.statistics.FullNetworkEmbedding`.

    Returns
    -------
    Reduced
        Features are divided by the square root of their number.
    """
    copies = max(draws, 1)
    n_rows, n_features = copies * train.size, values.shape[1]
    blocks = _blocks(values, train, test, draws, seed, transformer)
    if n_features < n_rows:
        parts = list(blocks)
        fitted, clean, tested = (np.hstack(each) for each in zip(*parts, strict=True))
        basis = principal_basis(fitted)
        tested = tested @ basis.vectors
        clean = clean @ basis.vectors if draws else basis.rows
        return Reduced(basis.rows, clean, tested, copies)
    products = np.zeros((n_rows, n_rows))
    seen = np.zeros((train.size + test.size if draws else test.size, n_rows))
    for fitted, clean, tested in blocks:
        products += fitted @ fitted.T
        seen += (np.vstack([clean, tested]) if draws else tested) @ fitted.T
    basis = principal_basis(products=products)
    others = seen @ basis.vectors
    if not draws:
        return Reduced(basis.rows, basis.rows, others, copies)
    return Reduced(basis.rows, others[: train.size], others[train.size :], copies)


def _blocks(
    values: Array,
    train: Positions,
    test: Positions,
    draws: int,
    seed: int,
    transformer: BaseEstimator | None,
) -> Iterator[tuple[Rows, Rows, Rows]]:
    """Yield what to fit, training images as tested, and test images, for blocks of features."""
    root = np.sqrt(values.shape[1])
    for number, start in enumerate(range(0, values.shape[1], _BLOCK)):
        block = values[:, start : start + _BLOCK]
        clean, tested = (each / root for each in _scaled(block, train, test, transformer))
        if not draws:
            yield clean, clean, tested
            continue
        rng = np.random.default_rng((seed, number))
        left = rng.integers(0, 2, size=(draws, *clean.shape), dtype=np.int8)
        yield (left * clean).reshape(-1, clean.shape[1]), clean / 2, tested / 2


def _scaled(
    block: Array, train: Positions, test: Positions, transformer: BaseEstimator | None
) -> tuple[Rows, Rows]:
    """Training and test images, scaled by the training images."""
    if transformer is not None:
        fitted = clone(transformer).fit(block[train])
        return fitted.transform(block[train]), fitted.transform(block[test])
    mean, deviation = _statistics(block, train)
    return (block[train] - mean) / deviation, (block[test] - mean) / deviation


def _statistics(block: Array, train: Positions) -> tuple[Rows, Rows]:
    """Mean and standard deviation of the training images; 1 where a feature does not vary."""
    rows = block[train].astype(np.float64)
    constant = (rows == rows[0]).all(axis=0)
    return rows.mean(axis=0), np.where(constant, 1.0, rows.std(axis=0))
