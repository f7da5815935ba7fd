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
    NumPy's own and memory maps, Zarr's, Dask's, and xarray's with these inside. Stored chunks are
    read once where one of their columns of chunks fits into a block, otherwise once per part.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Self

import dask.array
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.linalg import eigh
from sklearn.base import BaseEstimator, TransformerMixin

from analysis.statistics.blocks import DIMS, as_float, bounds_of, conform, read_here
from analysis.statistics.named import NamedFeatures
from analysis.transfer._samples import Floats, whole_number
from analysis.transfer.tca import settle_signs

Block = NDArray[Any]

_SUMMED = 4096
"""Features whose products are summed in the features' own precision."""


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
        number = whole_number("n_components", self.n_components, least=1)
        whole_number("max_bytes", self.max_bytes, least=1)
        named, X = X, _conforming(X)
        n = len(X)
        if n < 2:
            raise ValueError(f"expected at least two images, got {n}")
        self._remember(named, X.shape[1])
        self.mean_: Floats = np.empty(self.n_features_in_)
        products = np.zeros((n, n))
        for columns in self._column_blocks(X, n):
            block = _read(X, columns)
            self.mean_[columns] = _finite(block.mean(axis=0, dtype=np.float64))
            for part in _parts(self._centred(block, columns)):
                products += part @ part.T
            precision = float(np.finfo(block.dtype).eps)
            del block, part  # before the next one is read
        self._decompose(products, number, precision)
        self._images = X
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Floats:
        """Scores of the images that are fitted, shape (images, n_components_)."""
        return self.fit(X).scores_.copy()

    def transform(self, X: Any) -> Floats:
        """Scores of images (images, features), shape (images, n_components_).

        Reads the fitted images once more.
        """
        X = _conforming(self._in_order(X, "images"))
        if X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"expected images of {self.n_features_in_} features as fitted, got {X.shape[1]}"
            )
        scores = np.zeros((len(X), self.n_components_))
        rows = len(self._images) + len(X) + self.n_components_
        for columns in self._column_blocks(self._images, rows):
            own = self._centred(_read(self._images, columns), columns)
            components = (self.scores_ / self.singular_values_**2).astype(own.dtype).T @ own
            del own
            block = self._centred(_read(X, columns), columns)
            for part, axes in zip(_parts(block), _parts(components), strict=True):
                scores += part @ axes.T
        return _finite(scores)

    def _column_blocks(self, X: Block | xr.DataArray, rows: int) -> Iterator[slice]:
        """Slices of features of which so many rows have at most ``max_bytes``."""
        size = np.result_type(X.dtype, np.float32).itemsize
        widest = max(1, self.max_bytes // (rows * size))
        return (slice(*ends) for ends in pairwise(bounds_of(X, widest, widest)))

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


def _conforming(X: Any) -> Block | xr.DataArray:
    """Take an array that can be cut into blocks, not read yet if it is lazy."""
    if hasattr(X, "chunks") and not isinstance(X, xr.DataArray):
        lazy: Any = dask.array  # its functions carry no types
        X = xr.DataArray(lazy.asanyarray(X), dims=DIMS)
    images: Any = conform(X)
    if isinstance(images, np.ndarray):
        images = images.view()
        images.flags.writeable = False  # what may be written to would be one block
    made: Block | xr.DataArray = images
    return made


def _read(X: Block | xr.DataArray, columns: slice) -> Block:
    """Copy of some features (images, columns)."""
    part = X[:, columns]
    if isinstance(part, xr.DataArray) and part.chunks is not None:
        return as_float(read_here(part.variable))
    return as_float(np.array(part))


def _parts(block: Block) -> Iterator[Block]:
    """Cut a block into pieces of so few features that their products need no more digits."""
    for begin in range(0, block.shape[1], _SUMMED):
        yield block[:, begin : begin + _SUMMED]
