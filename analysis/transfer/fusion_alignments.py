"""Ways to bring the features of two domains together, in several numbers of components.

Conventions
-----------
TCA
    Transfer components of all images of both domains. They are nested: the largest number is found
    once, and cut. Neither μ nor the width of the kernel is in the alignment paper. Here μ, where
    Pan et al. have it, is 0.001 and the width that of the median distance. On digits and glyphs,
    each drawn in two ways, accuracy hardly differed between 0.0001 and 0.01; at 1 the components
    were those of kernel PCA, and what alignment gains was gone. A kernel ten times narrower
    or wider was at best as good.
CORAL, geodesic flow
    Of domains that are each standardised by itself. CORAL keeps all features. The geodesic flow
    kernel makes two numbers of each dimension of its subspaces, which are therefore half as many as
    the numbers asked for.
none
    No alignment, to compare with: features as they are, every image at length 1, or each domain
    standardised by itself.
numbers that there are not
    Numbers of components above what the images span give nothing; if none fits, the largest
    possible is given besides.

None of these sees a label.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh

from analysis.transfer._sized import standardise
from analysis.transfer.adaptation import CorrelationAlignment, GeodesicFlowKernel
from analysis.transfer.adaptation._domains import Floats, principal_components
from analysis.transfer.tca import TransferComponentAnalysis

__all__ = ["ALIGNMENTS", "SIZES", "Alignment", "Embedded"]

SIZES = (256, 192, 128, 96, 64)
"""Numbers of components in the paper."""


@dataclass(frozen=True)
class Alignment:
    """Settings of transfer components.

    Attributes
    ----------
    sizes : sequence of int
        Numbers of components.
    mu, gamma, kernel, seed
        As in :class:`analysis.transfer.TransferComponentAnalysis`.
    """

    sizes: Sequence[int] = SIZES
    mu: float = 0.001
    gamma: float | None = None
    kernel: str = "rbf"
    seed: int = 0


class Embedded(NamedTuple):
    """Both domains after alignment; without images where there are not as many components."""

    size: int
    source: Floats | None
    target: Floats | None


def _by_tca(source: Floats, target: Floats, how: Alignment) -> list[Embedded]:
    most = min(max(how.sizes), len(source) + len(target) - 1)
    method = TransferComponentAnalysis(
        most, how.kernel, how.gamma, how.mu, allow_fewer=True, seed=how.seed
    )
    found = method.fit(source, target)
    Zs, Zt = found.source_embedding_, found.target_embedding_
    return _cut(how.sizes, Zs.shape[1], lambda k: (Zs[:, :k], Zt[:, :k]))


def _by_geodesic_flow(source: Floats, target: Floats, how: Alignment) -> list[Embedded]:
    source, target = _in_their_span(*_standardised(source, target))
    ranks = [int((principal_components(X)[1] > 0).sum()) for X in (source, target)]
    most = 2 * min(*ranks, source.shape[1] // 2)

    def flow(k: int) -> tuple[Floats, Floats]:
        found = GeodesicFlowKernel(k // 2).fit(source, target)
        return found.transform(source), found.transform(target)

    return _cut([k // 2 * 2 for k in how.sizes], most, flow)


def _by_coral(source: Floats, target: Floats, how: Alignment) -> list[Embedded]:
    width = source.shape[1]
    source, target = _in_their_span(*_standardised(source, target))
    moved = CorrelationAlignment().fit(source, target).transform_source(source)
    return [Embedded(width, moved, target)]


def _as_they_are(source: Floats, target: Floats, how: Alignment) -> list[Embedded]:
    return [Embedded(source.shape[1], source, target)]


def _at_unit_length(source: Floats, target: Floats, how: Alignment) -> list[Embedded]:
    return [Embedded(source.shape[1], _unit_rows(source), _unit_rows(target))]


def _each_standardised(source: Floats, target: Floats, how: Alignment) -> list[Embedded]:
    return [Embedded(source.shape[1], *_standardised(source, target))]


ALIGNMENTS: Mapping[str, Callable[[Floats, Floats, Alignment], list[Embedded]]] = {
    "none": _as_they_are,
    "none, unit length": _at_unit_length,
    "none, each domain standardised": _each_standardised,
    "TCA": _by_tca,
    "CORAL": _by_coral,
    "geodesic flow": _by_geodesic_flow,
}
"""Name of an alignment, and what it makes of both domains."""


def _unit_rows(X: Floats) -> Floats:
    lengths = np.linalg.norm(X, axis=1, keepdims=True)
    rows: Floats = X / np.where(lengths > 0, lengths, 1.0)
    return rows


def _standardised(source: Floats, target: Floats) -> tuple[Floats, Floats]:
    return standardise(source)(source), standardise(target)(target)


def _cut(
    sizes: Sequence[int], most: int, take: Callable[[int], tuple[Floats, Floats]]
) -> list[Embedded]:
    """Embeddings of the sizes that there are, empty ones for the others."""
    sizes = [*dict.fromkeys(sizes)]
    if min(sizes) > most:
        sizes.append(most)
    return [Embedded(k, *take(k)) if k <= most else Embedded(k, None, None) for k in sizes]


def _in_their_span(source: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Images of both domains in an orthonormal basis of what they span, if that is narrower."""
    X = np.vstack([source, target])
    if X.shape[1] <= len(X):
        return source, target
    squares, vectors = eigh(X @ X.T)
    kept = squares > len(X) * np.finfo(np.float64).eps * squares[-1]
    rows = vectors[:, kept] * np.sqrt(squares[kept])
    return rows[: len(source)], rows[len(source) :]
