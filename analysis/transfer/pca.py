"""Principal components of images with more features than memory holds, by blocks of features.

Conventions
-----------
Of n images with many more features than n, the components are found from the n × n matrix G of
inner products of the centred images: with G u = σ² u, a component is Xᵀu / σ and the images' scores
are σ u. G is a sum over blocks of features; products within some thousand features have the
precision of the features, float32 for those of networks, and their sum is float64. The squares cost
digits: what G cannot tell from rounding errors is left out (see :class:`ChunkedPCA`).

Components, as long as the images are wide, are never held all at once. Scores of other images are
taken from the components of one block of features after another, each made anew from the images
that were fitted. An estimator therefore holds on to these.

arrays
    Whatever has a shape and gives a NumPy array for slices of rows and columns: NumPy's own and
    memory maps, Zarr's, Dask's, and xarray's with these inside. Stored chunks are read once where
    one of their columns of chunks fits into a block, otherwise once per part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import ceil
from typing import Any, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.linalg import eigh
from sklearn.base import BaseEstimator, TransformerMixin

from analysis.statistics.blocks import dense
from analysis.statistics.named import NamedFeatures
from analysis.transfer._samples import whole_number
from analysis.transfer.tca import settle_signs

__all__ = ["ChunkedPCA", "column_blocks", "read_block", "two_dimensional"]

Floats = NDArray[np.float64]
Block = NDArray[Any]

_SUMMED = 4096
"""Features whose products are summed in the features' own precision."""
_PIECE = 2**26
"""Bytes of an array that is not in memory, read at once into a block."""


class ChunkedPCA(NamedFeatures, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Exact principal components of wide images, read by blocks of features.

    The scores are those of scikit-learn's ``PCA(svd_solver="full")`` up to the sign of a component
    and, of float32 features, their rounding errors.

    Parameters
    ----------
    n_components : int
        How many; as many as there are where the images have fewer.
    max_bytes : int
        Largest block of features that is held at once, in bytes. Next to it stand two matrices of
        images × images, and what the array needs itself to be read.

    Attributes
    ----------
    n_components_ : int
        At most ``n_components`` and one less than images. Directions whose share of the variance is
        below the relative precision of the features (1.2e-7 of float32, 2.2e-16 of float64, and
        what an eigensolver adds to it) are left out; scikit-learn gives some direction for them.
    scores_ : ndarray of float64, shape (images, n_components_)
        Of the fitted images. In each column the one of largest size is positive.
    mean_ : ndarray of float64, shape (features,)
        Mean of every feature.
    singular_values_, explained_variance_, explained_variance_ratio_ : ndarray of float64
        As in scikit-learn, shape (n_components_,).

    Notes
    -----
    The fitted array is kept, not copied: it must not change, nor the file go away, as long as
    :meth:`transform` is to be called. Pickling an array in memory pickles it along.
    """

    def __init__(self, n_components: int = 256, *, max_bytes: int = 2**30) -> None:
        self.n_components = n_components
        self.max_bytes = max_bytes

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the components of images (images, features); no labels.

        Raises
        ------
        ValueError
            For fewer than two images, values that are not finite or no real numbers, images that
            do not differ, or options that make no sense.
        """
        number = whole_number("n_components", self.n_components)
        if number < 1 or self.max_bytes < 1:
            raise ValueError(
                "expected n_components and max_bytes of at least 1, got "
                f"{number} and {self.max_bytes}"
            )
        named, X = X, two_dimensional(X)
        n = X.shape[0]
        if n < 2:
            raise ValueError(f"expected at least two images, got {n}")
        self._remember(named, X.shape[1])
        self.mean_: Floats = np.empty(self.n_features_in_)
        products = np.zeros((n, n))
        for columns in column_blocks(self.max_bytes, X):
            self._add_products(X, columns, products)
        self._decompose(products, number, float(np.finfo(_dtype_of(X)).eps))
        self._images = X
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Floats:
        """Scores of the images that are fitted, shape (images, n_components_)."""
        return self.fit(X).scores_.copy()

    def transform(self, X: Any) -> Floats:
        """Scores of images (images, features), shape (images, n_components_).

        Reads the fitted images once more.
        """
        X = two_dimensional(self._in_order(X, "images"))
        if X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"expected images of {self.n_features_in_} features as fitted, got {X.shape[1]}"
            )
        scores = np.zeros((X.shape[0], self.n_components_))
        for columns in column_blocks(self.max_bytes, self._images, X, extra=self.n_components_):
            self._add_scores(X, columns, scores)
        return _finite(scores)

    def _add_products(self, X: Any, columns: slice, products: Floats) -> None:
        """Add what some features contribute; their block is gone before the next one is read."""
        block = read_block(X, columns)
        self.mean_[columns] = _finite(block.mean(axis=0, dtype=np.float64))
        for part in _parts(self._centred(block, columns)):
            products += part @ part.T

    def _add_scores(self, X: Any, columns: slice, scores: Floats) -> None:
        components = self._components_of(columns)
        block = self._centred(read_block(X, columns), columns)
        for part, own in zip(_parts(block), _parts(components), strict=True):
            scores += part @ own.T

    def _components_of(self, columns: slice) -> Block:
        """Part of the components (n_components_, columns), in the precision of the features."""
        block = self._centred(read_block(self._images, columns), columns)
        weights = (self.scores_ / self.singular_values_**2).astype(block.dtype)
        made: Block = weights.T @ block
        return made

    def _centred(self, block: Block, columns: slice) -> Block:
        """Subtract the fitted means, in place."""
        block -= self.mean_[columns].astype(block.dtype)
        return block

    def _decompose(self, products: Floats, number: int, precision: float) -> None:
        """Keep what is known of the components from inner products, which are centred once more.

        Means that were rounded to the features' precision leave a trace that this takes away.
        """
        n = len(products)
        products -= products.mean(axis=0)
        products -= products.mean(axis=1, keepdims=True)
        total = float(np.trace(products))
        k = min(number, n - 1, self.n_features_in_)
        ascending, columns = eigh(products, subset_by_index=[n - k, n - 1], overwrite_a=True)
        squares, rows = ascending[::-1], columns[:, ::-1].T
        noise = precision * total + n * float(np.finfo(np.float64).eps) * squares[0]
        kept = squares > noise
        if not kept.any():
            raise ValueError(
                "expected images that differ, but nothing is left when their mean is subtracted"
            )
        self.singular_values_: Floats = np.sqrt(squares[kept])
        self.scores_: Floats = settle_signs(rows[kept]).T * self.singular_values_
        self.explained_variance_: Floats = squares[kept] / (n - 1)
        self.explained_variance_ratio_: Floats = squares[kept] / total
        self.n_components_ = int(kept.sum())


def _finite(values: Floats) -> Floats:
    if not np.isfinite(values).all():
        raise ValueError("expected finite features, but means or scores of them are not")
    return values


def two_dimensional(X: Any) -> Any:
    """Take an array that can be cut into blocks, not read yet if it is lazy.

    Raises
    ------
    ValueError
        If it is not (images, features), without any, or of something else than real numbers.
    """
    if isinstance(X, xr.DataArray):
        X = X.transpose("image", ...).data if "image" in X.dims else X.data
    elif not (hasattr(X := dense(X), "shape") and hasattr(X, "dtype")):
        X = np.asarray(X)
    if len(X.shape) != 2 or 0 in X.shape:
        raise ValueError(f"expected an array of shape (images, features), got {tuple(X.shape)}")
    if np.dtype(X.dtype).kind not in "fiub":
        raise ValueError(f"expected real numbers, got {X.dtype}")
    return X


def column_blocks(max_bytes: int, X: Any, *others: Any, extra: int = 0) -> Iterator[slice]:
    """Slices of features such that a block of all the arrays together is not too large.

    Parameters
    ----------
    max_bytes : int
        Largest size of the block; a single feature is never cut.
    X : array, shape (images, features)
        Chunks of it are joined up to a block, and cut only where one is larger.
    *others : array, shape (any, features)
        Held at the same time.
    extra : int
        Further rows of that kind, of the same precision as ``X``.
    """
    row_bytes = sum(array.shape[0] * _dtype_of(array).itemsize for array in (X, *others))
    widest = max(1, max_bytes // (row_bytes + extra * _dtype_of(X).itemsize))
    begin = end = 0
    for width in _chunks(X)[1]:
        if begin < end and end + width - begin > widest:
            yield slice(begin, end)
            begin = end
        end += width
        if end - begin > widest:
            edges = np.linspace(begin, end, ceil(width / widest) + 1).astype(int).tolist()
            yield from (slice(*edge) for edge in pairwise(edges))
            begin = end
    if begin < end:
        yield slice(begin, end)


def read_block(X: Any, columns: slice) -> Block:
    """Copy of some features (images, columns) as float32, or float64 where that is too short."""
    block = np.empty((X.shape[0], columns.stop - columns.start), _dtype_of(X))
    at_once = X.shape[0]
    if not isinstance(X, np.ndarray):
        own = max(_chunks(X)[0])
        at_once = max(1, _PIECE // (block.shape[1] * block.itemsize) // own) * own
    for begin in range(0, X.shape[0], at_once):
        rows = slice(begin, min(begin + at_once, X.shape[0]))
        block[rows] = np.asarray(X[rows, columns])
    return block


def _chunks(X: Any) -> tuple[Sequence[int], Sequence[int]]:
    """Heights and widths of the chunks an array is stored in; one of each where there are none."""
    chunks = getattr(X, "chunks", None) or X.shape
    if isinstance(chunks[0], tuple):  # Dask names every chunk, Zarr the size of all but the last
        return chunks[0], chunks[1]
    heights, widths = (
        [min(chunk, length - begin) for begin in range(0, length, chunk)]
        for chunk, length in zip(chunks, X.shape, strict=True)
    )
    return heights, widths


def _dtype_of(X: Any) -> np.dtype[Any]:
    wide = np.result_type(X.dtype, np.float32)
    return np.dtype(np.float32 if wide == np.float32 else np.float64)


def _parts(block: Block) -> Iterator[Block]:
    """Cut a block into pieces of so few features that their products need no more digits."""
    for begin in range(0, block.shape[1], _SUMMED):
        yield block[:, begin : begin + _SUMMED]
