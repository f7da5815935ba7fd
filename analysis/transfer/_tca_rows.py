"""Transfer component analysis by landmarks, a block of samples at a time, on a cluster.

Conventions
-----------
With features Φ (samples, r) of the landmarks, K = Φ Φᵀ, and what its eigenproblem needs of all
samples are sums over them: G = Φᵀ Φ, and the sums of Φ over each domain. With G = V g Vᵀ, the
columns of Q = Φ V g^(-1/2) are orthonormal and span every w with λ > 0. With w = Q b,

    K = diag(g),   H = I - t tᵀ/n with t = Qᵀ 1,   K e = g · (Qᵀ e),

so that the problem is one of r × r, solved as in :mod:`analysis.transfer._tca_solver`. A second
pass over the samples gives W = Φ (V g^(-1/2) b) and K W = Φ (V g^(1/2) b).

Blocks are cut by the arrays' chunks, computed with one thread, and summed in their order. So the
bits do not depend on the number of workers, nor on which of them were lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from scipy.linalg import eigh

from analysis.cluster import map_in_order
from analysis.statistics._on_cluster import lean, require_lazy
from analysis.statistics.blocks import conform, image_blocks_of, image_bounds_of
from analysis.statistics.named import by_name, feature_names
from analysis.statistics.threads import one_blas_thread
from analysis.transfer._samples import Floats, checked_samples
from analysis.transfer._tca_kernels import MEDIAN_OF
from analysis.transfer._tca_nystrom import ROWS, Landmarks
from analysis.transfer._tca_solver import Whitening, leading_squares

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Coordinates", "StoredDomains", "Sums", "components_of", "mapped", "summed"]

_ROWS_PER_TASK = 4 * ROWS


@dataclass(frozen=True)
class StoredDomains:
    """Samples of both domains, source first, that workers read for themselves.

    Attributes
    ----------
    source, target : DataArray, dims (image, feature)
        Lazy.
    """

    source: xr.DataArray
    target: xr.DataArray

    @classmethod
    def of(cls, X_source: Any, X_target: Any) -> StoredDomains:
        """Check arrays of the store.

        Raises
        ------
        ValueError
            Values in memory, other dimensions, other features, fewer than two samples.
        """
        source, target = (require_lazy(conform(require_lazy(X))) for X in (X_source, X_target))
        target = by_name(target, feature_names(source), "target samples")
        if source.shape[1] != target.shape[1]:
            raise ValueError(
                f"expected {source.shape[1]} features as in the source samples, but target samples "
                f"have {target.shape[1]}: take both from the same layers of the same network"
            )
        if min(len(source), len(target)) < 2:
            raise ValueError(
                f"expected at least two samples of each domain, got {len(source)} and {len(target)}"
            )
        return cls(source, target)

    def __len__(self) -> int:
        return len(self.source) + len(self.target)

    def rows(self, chosen: Any) -> Floats:
        """Read some samples, in the order given."""
        chosen = np.asarray(chosen)
        ordered, back = np.unique(chosen, return_inverse=True)
        of_source = ordered[ordered < len(self.source)]
        of_target = ordered[ordered >= len(self.source)] - len(self.source)
        parts = [self.source[of_source].values, self.target[of_target].values]
        return checked_samples(np.concatenate(parts)[back], "samples of both domains")

    def drawn(self, number: int, seed: int, *, ordered: bool) -> Floats:
        """Draw so many samples; all where there are no more."""
        if number >= len(self):
            return self.rows(np.arange(len(self)))
        chosen = np.random.default_rng(seed).choice(len(self), number, replace=False)
        return self.rows(np.sort(chosen) if ordered else chosen)

    def for_gamma(self, seed: int) -> Floats:
        """Draw the samples whose distances give gamma: those of one process."""
        return self.drawn(MEDIAN_OF, seed, ordered=False)

    def blocks(self) -> Iterator[tuple[int, xr.DataArray]]:
        """Blocks of samples; the number of the first is its place among those of both domains."""
        for X, start in ((self.source, 0), (self.target, len(self.source))):
            for first, last in pairwise(image_bounds_of(X, _ROWS_PER_TASK)):
                yield start + first, lean(X[first:last])


class Sums(NamedTuple):
    """G (r, r), and the sums of features over the source and over the target (r,)."""

    products: Floats
    source: Floats
    target: Floats


class Coordinates(NamedTuple):
    """Components in terms of Φ.

    Attributes
    ----------
    values : ndarray of float64, shape (k,)
        λ, descending; zero where rounding errors reach.
    vectors, embedding : ndarray of float64, shape (r, k)
        W and K W are Φ times these.
    """

    values: Floats
    vectors: Floats
    embedding: Floats


def summed(client: Client, domains: StoredDomains, landmarks: Landmarks) -> Sums:
    """Sum over all samples, in their order."""
    r, n_source = landmarks.root.shape[1], len(domains.source)
    total = Sums(np.zeros((r, r)), np.zeros(r), np.zeros(r))
    task = partial(_sums, landmarks=landmarks)
    for first, (products, features) in map_in_order(client, task, domains.blocks()):
        total.products[:] += products
        (total.source if first < n_source else total.target)[:] += features
    return total


def _sums(
    block: tuple[int, xr.DataArray], *, landmarks: Landmarks
) -> tuple[int, tuple[Floats, Floats]]:
    first, lazy = block
    r = landmarks.root.shape[1]
    products, features = np.zeros((r, r)), np.zeros(r)
    with one_blas_thread:
        for made in _features(lazy, landmarks):
            products += made.T @ made
            features += made.sum(axis=0)
    return first, (products, features)


def mapped(
    client: Client, domains: StoredDomains, landmarks: Landmarks, found: Coordinates
) -> tuple[Floats, Floats]:
    """W and K W, shape (k, samples), by a pass over all samples."""
    k = found.values.size
    W, Z = np.empty((k, len(domains))), np.empty((k, len(domains)))
    both = np.hstack([found.vectors, found.embedding])
    task = partial(_map, landmarks=landmarks, both=both)
    for first, part in map_in_order(client, task, domains.blocks()):
        rows = slice(first, first + len(part))
        W[:, rows], Z[:, rows] = part[:, :k].T, part[:, k:].T
    return W, Z


def _map(
    block: tuple[int, xr.DataArray], *, landmarks: Landmarks, both: Floats
) -> tuple[int, Floats]:
    first, lazy = block
    with one_blas_thread:
        parts = [made @ both for made in _features(lazy, landmarks)]
    return first, np.concatenate(parts)


def _features(lazy: xr.DataArray, landmarks: Landmarks) -> Iterator[Floats]:
    """Φ of some samples at a time; what is held beside them is as large."""
    for _, block in image_blocks_of(lazy):
        samples = checked_samples(block, "samples of both domains")
        yield landmarks.features(samples)


def components_of(sums: Sums, n_source: int, n_target: int, mu: float, k: int) -> Coordinates:
    """Leading components, at most as many as Φ has independent columns, from the sums."""
    n = n_source + n_target
    g, V = eigh(sums.products, driver="evd")
    kept = g > len(g) * np.finfo(np.float64).eps * np.abs(g).max()
    g, V = g[kept], V[:, kept]
    roots = np.sqrt(g)
    whitening = Whitening(roots * ((sums.source / n_source - sums.target / n_target) @ V), mu)
    t = (sums.source + sums.target) @ V / roots
    share = min(float(t @ t) / n, 1.0)  # of 1 that lies in the span
    centred = np.diag(g) - np.outer(g * t, t) * ((1 - np.sqrt(1 - share)) / float(t @ t))
    R = whitening(centred.T).T
    values, y, _ = leading_squares(R, min(k, len(g)))
    b = whitening(y).T
    return Coordinates(values, V @ (b / roots[:, None]), V @ (b * roots[:, None]))
