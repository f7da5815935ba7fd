"""Features sorted once, for as many labellings as wanted.

The order of a feature's values does not depend on the labels, so the real labels and every shuffle
of them can share one sort.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from analysis.statistics._kernels import TILE, rank_columns
from analysis.statistics.blocks import (
    BLOCK_VALUES,
    blocks_of,
    conform,
    features_of,
    run_in_threads,
)

_SHORT_CODES = 2**15
"""Up to so many images, a code (an image and one bit) fits 16 bits."""


@dataclass(frozen=True, eq=False)
class RankedBlock:
    """Consecutive features in sorted order.

    Attributes
    ----------
    codes : ndarray of uint16 or uint32, shape (total,)
        Per feature the images in order, without those at exactly zero: negative values upwards
        from the lowest, then positive ones downwards from the highest. A code is twice the image's
        position, plus 1 where a group of equal values ends.
    stops : ndarray of int64, shape (features,)
        Where each feature's codes end.
    below : ndarray of int64, shape (features,)
        How many of its codes are of negative values.
    """

    codes: NDArray[Any]
    stops: NDArray[np.int64]
    below: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RankedFeatures:
    """The order of every feature's values, as :func:`rank_features` finds it.

    Attributes
    ----------
    n_images, n_features : int
        Shape of the array that was ranked.
    blocks : tuple of RankedBlock
        All features, in order.
    features : Dataset or None
        Coordinates of the features and attributes of the DataArray that was ranked, if it was one.
    """

    n_images: int
    n_features: int
    blocks: tuple[RankedBlock, ...]
    features: xr.Dataset | None = None

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes: 2 (4 beyond 32,768 images) for each value that is not zero."""
        return sum(b.codes.nbytes + b.stops.nbytes + b.below.nbytes for b in self.blocks)


def rank_features(X: ArrayLike | xr.DataArray, *, threads: int | None = None) -> RankedFeatures:
    """Sort every feature once.

    Parameters
    ----------
    X : array_like or DataArray, shape (images, features)
        Real numbers; infinities sort last and first, -0.0 equals 0.0. A DataArray has the
        dimensions ``image`` and ``feature``; one on Dask is read a block of features at a time.
    threads : int, optional
        At most so many threads; by default every processor that this process may use.

    Returns
    -------
    RankedFeatures
        Takes half the memory of float32 or less, and no memory for zeros.

    Raises
    ------
    ValueError
        NaN, naming how many and the first feature; empty or unsuitable arrays, as in
        :func:`~analysis.statistics.signed_ks`.
    """
    features = features_of(X)
    X = conform(X)
    n_images, n_features = X.shape
    return RankedFeatures(n_images, n_features, tuple(ranked_blocks(X, threads)), features)


def ranked_blocks(
    X: NDArray[Any] | xr.DataArray, threads: int | None = None
) -> Iterator[RankedBlock]:
    """Sort the features of a conforming X a block at a time; errors as in :func:`rank_features`."""
    for first, block in blocks_of(X):
        yield from ranked_parts(block, first, threads)


def ranked_parts(block: NDArray[Any], offset: int, threads: int | None) -> Iterator[RankedBlock]:
    """Sort a block as of :func:`blocks_of`, in parts; ``offset`` is its first feature's number."""
    n_images, width = block.shape
    bits, step = as_bits(block), max(TILE, BLOCK_VALUES // n_images)
    for start in range(0, width, step):
        yield _rank_block(bits, offset, start, min(start + step, width), threads)


def _rank_block(
    bits: NDArray[Any], offset: int, start: int, end: int, threads: int | None
) -> RankedBlock:
    """Rank the columns ``start`` to ``end``; ``offset`` is the number of the first column."""
    n_images, width = bits.shape[0], end - start
    codes = np.empty((width, n_images), code_type(n_images))
    counts, below, nan = np.zeros((3, width), np.int64)

    def task(first: int, last: int) -> None:
        part = slice(first, last)
        rank_columns(
            bits, start + first, start + last, codes[part], counts[part], below[part], nan[part]
        )

    run_in_threads(task, n_images, width, threads)
    refuse_nan(nan, n_images, offset + start)
    kept = np.concatenate([row[:count] for row, count in zip(codes, counts, strict=True)])
    return RankedBlock(kept, np.cumsum(counts), below)


def as_bits(block: NDArray[Any]) -> NDArray[Any]:
    """View float32 or float64 as the unsigned integers that hold them."""
    return block.view(np.uint32 if block.dtype.itemsize == 4 else np.uint64)


def code_type(n_images: int) -> type[np.uint16] | type[np.uint32]:
    """Narrowest unsigned type for the codes of so many images."""
    if n_images >= 2**31:
        raise ValueError(f"expected fewer than 2**31 images, got {n_images}")
    return np.uint16 if n_images <= _SHORT_CODES else np.uint32


def refuse_nan(counts: NDArray[np.int64], n_images: int, offset: int) -> None:
    """Raise ValueError if any feature's count of NaN is not zero."""
    if counts.any():
        first = int(np.flatnonzero(counts)[0])
        raise ValueError(
            f"expected numbers, got {counts.sum()} NaN in {np.count_nonzero(counts)} features; the "
            f"first is feature {offset + first}, NaN for {counts[first]} of {n_images} images: "
            "leave out these images or features, or repair the extraction"
        )


def refuse_infinite(
    counts: NDArray[np.int64], offset: int, *, remedy: str = "leave it out"
) -> None:
    """Raise ValueError if any feature's count of infinities is not zero: bins need a range."""
    if counts.any():
        first = int(np.flatnonzero(counts)[0])
        raise ValueError(
            f"bins need a finite range, which feature {offset + first} lacks: {remedy}"
        )
