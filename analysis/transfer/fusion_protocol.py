"""Classify the images of a target domain by descriptors that were aligned with the source.

Conventions
-----------
Source: dos Santos and Ponti (SIBGRAPI 2019), section IV-C: transfer components of all images of
both domains by an RBF kernel, in five numbers; a linear support vector machine on all of the
source, tested on all of the target, once. No label of the target is used. What the paper leaves
open:

kernel width and mu
    ``gamma`` by the median of the squared distances, anew for every descriptor, and μ = 0.001.
components
    Numbers above what the images span (one less than images of both domains) have no accuracy; if
    none fits, the largest possible stands besides.
machine
    One class against the rest, squared hinge loss, C = 1, on samples centred by the mean of the
    source and divided by the root mean squared norm that leaves there, so that C means the same for
    all descriptors. Components keep the spread that the analysis gives them: on drawn images,
    dividing each by its own was worse, and the more so the more components there were, which is
    what the paper's table II shows.

The alignments, some of them past the paper, and descriptors that are not aligned, all under the
same machine, each in several numbers of components:

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

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh

from analysis.data.labels import checked_labels
from analysis.statistics.threads import one_blas_thread
from analysis.transfer._samples import Floats, whole_number
from analysis.transfer.adaptation import CorrelationAlignment, GeodesicFlowKernel
from analysis.transfer.adaptation._domains import principal_components, two_domains
from analysis.transfer.batched import BatchedLinearSVC, mean_norm, standardise
from analysis.transfer.fusion import Descriptor
from analysis.transfer.label_free import domain_gap, source_accuracy
from analysis.transfer.tca import TransferComponentAnalysis

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
    source, target = _in_their_span(*_each_by_itself(source, target))
    ranks = [int((principal_components(X)[1] > 0).sum()) for X in (source, target)]
    most = 2 * min(*ranks, source.shape[1] // 2)

    def flow(k: int) -> tuple[Floats, Floats]:
        found = GeodesicFlowKernel(k // 2).fit(source, target)
        return found.transform(source), found.transform(target)

    return _cut([k // 2 * 2 for k in how.sizes], most, flow)


def _by_coral(source: Floats, target: Floats, how: Alignment) -> list[Embedded]:
    width = source.shape[1]
    source, target = _in_their_span(*_each_by_itself(source, target))
    moved = CorrelationAlignment().fit(source, target).transform_source(source)
    return [Embedded(width, moved, target)]


def _as_they_are(source: Floats, target: Floats, how: Alignment) -> list[Embedded]:
    return [Embedded(source.shape[1], source, target)]


def _at_unit_length(source: Floats, target: Floats, how: Alignment) -> list[Embedded]:
    return [Embedded(source.shape[1], _unit_rows(source), _unit_rows(target))]


def _each_standardised(source: Floats, target: Floats, how: Alignment) -> list[Embedded]:
    return [Embedded(source.shape[1], *_each_by_itself(source, target))]


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


def _each_by_itself(source: Floats, target: Floats) -> tuple[Floats, Floats]:
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


Labels = NDArray[Any]

_KEYS = ["descriptor", "layer", "selection", "alignment"]
_MEASURED = ["align_seconds", "classify_seconds", "gap", "source_accuracy"]
_FACTS = ["accuracy", "class_accuracy", "chance", "majority", "train", "test"]
FUSION_COLUMNS = (*_KEYS, "n_components", *_FACTS, *_MEASURED)
"""Of :func:`fusion_table`."""


class Outcome(NamedTuple):
    """What is predicted of the target, and what is known before its labels are.

    Attributes
    ----------
    descriptor : Descriptor
        What was aligned.
    alignment : str
        By which of :data:`ALIGNMENTS`.
    n_components : int
        Numbers per image that the machine is given.
    predicted : ndarray or None
        Class of each target image; None where there are not as many components.
    align_seconds, classify_seconds : float
        Of the alignment, of all numbers of components together, and of machine and predictions.
    gap, source_accuracy : float
        See :mod:`analysis.transfer.label_free`; NaN if not asked for.
    """

    descriptor: Descriptor
    alignment: str
    n_components: int
    predicted: Labels | None
    align_seconds: float
    classify_seconds: float
    gap: float
    source_accuracy: float


def predict_linear(X: Floats, y: Labels, X_new: Floats, *, C: float = 1.0) -> Labels:
    """Classify by the protocol's machine; one class in ``y`` is given to all.

    Parameters
    ----------
    X, y : ndarray, shape (images, features) and (images,)
        What to learn from.
    X_new : ndarray, shape (others, features)
        What to classify.
    C : float
        Weight of the loss.
    """
    if (y == y[0]).all():
        return np.repeat(y[:1], len(X_new))
    mean = X.mean(axis=0)
    size = mean_norm(X - mean)
    machine = BatchedLinearSVC(C, max_iter=1000).fit((X - mean) / size, y)
    return machine.predict((X_new - mean) / size)


def classify_targets(
    descriptors: Sequence[Descriptor],
    y_source: ArrayLike,
    *,
    alignments: Sequence[str] = ("none", "none, unit length", "TCA"),
    how: Alignment | None = None,
    C: float = 1.0,
    label_free: bool = False,
    n_folds: int = 5,
) -> Iterator[Outcome]:
    """Predict the classes of target images, of which no label is asked for.

    Parameters
    ----------
    descriptors : sequence of Descriptor
        Of the same images, as :func:`analysis.transfer.fusion.fusion_descriptors` gives them.
    y_source : array_like, shape (source images,)
        Classes of the source.
    alignments : sequence of str
        Some of :data:`ALIGNMENTS`.
    how : Alignment, optional
        Settings; the paper's, as far as it states them.
    C : float
        Of the machine.
    label_free : bool
        Whether to measure what a choice without target labels needs, for each outcome; that takes
        another ``n_folds`` machines.
    n_folds : int
        Folds of the source, at most as many as its largest class has images.

    Yields
    ------
    Outcome
        By descriptor, alignment and number of components.

    Raises
    ------
    ValueError
        For an unknown alignment, sizes below 2, or features and labels that do not fit together.
    """
    how = how or Alignment()
    unknown = sorted({*alignments} - {*ALIGNMENTS})
    if unknown:
        raise ValueError(f"unknown alignments {unknown}; known: {', '.join(ALIGNMENTS)}")
    how = replace(how, sizes=[whole_number("sizes", size) for size in how.sizes])
    if not how.sizes or min(how.sizes) < 2:
        raise ValueError(f"expected numbers of components from 2, got {[*how.sizes]}")
    for descriptor in descriptors:
        source, target = two_domains(*descriptor.domains)
        y = checked_labels(y_source, len(source), "{} source images")
        n_folds = min(n_folds, int(np.unique(y, return_counts=True)[1].max()))
        for name in alignments:
            begun = perf_counter()
            with one_blas_thread:
                embedded = ALIGNMENTS[name](source, target, how)
            seconds = perf_counter() - begun
            for size, Zs, Zt in embedded:
                begun, predicted, known = perf_counter(), None, (np.nan, np.nan)
                if Zs is not None and Zt is not None:
                    predicted = predict_linear(Zs, y, Zt, C=C)
                taken = perf_counter() - begun
                if label_free and Zs is not None and Zt is not None:
                    known = _known(Zs, y, Zt, C, n_folds, how.seed)
                yield Outcome(descriptor, name, size, predicted, seconds, taken, *known)


def _known(
    Zs: Floats, y: Labels, Zt: Floats, C: float, n_folds: int, seed: int
) -> tuple[float, float]:
    """Gap between the domains and accuracy on the source."""

    def predict(X: Floats, y: Labels, X_new: Floats) -> Labels:
        return predict_linear(X, y, X_new, C=C)

    right = source_accuracy(Zs, y, predict, n_folds=n_folds, seed=seed)
    return domain_gap(Zs, Zt, seed=seed), right


def fusion_table(
    descriptors: Sequence[Descriptor], y_source: ArrayLike, y_target: ArrayLike, **options: Any
) -> pd.DataFrame:
    """Accuracies on the target of all descriptors and alignments.

    Parameters
    ----------
    descriptors, y_source, **options
        As :func:`classify_targets` takes them.
    y_target : array_like, shape (target images,)
        Classes of the target, by the names of the source's. They are compared with what was
        predicted, and nothing else.

    Returns
    -------
    DataFrame
        A row per outcome: ``descriptor`` (kind), ``layer``, ``selection``, ``alignment``,
        ``n_components`` (numbers per image that the machine is given), ``accuracy`` (share of the
        target images classified rightly, as in the paper), ``class_accuracy`` (its mean over the
        classes of the target), ``chance`` (one over the source's classes), ``majority`` (share of
        the target's largest class), ``train`` and ``test`` (images), ``align_seconds``,
        ``classify_seconds``, ``gap`` and ``source_accuracy``. Accuracies are NaN where there are
        not as many components.

    Raises
    ------
    ValueError
        As :func:`classify_targets`; classes of the target that the source lacks.
    """
    ys = checked_labels(y_source)
    yt = checked_labels(y_target, like=ys)
    strangers = np.setdiff1d(yt, ys)
    if strangers.size or not yt.size:
        raise ValueError(
            f"expected target images of the source's classes, but {strangers.tolist()[:10]} of "
            f"{len(yt)} target labels are none of them: compare classes by name"
        )
    counts = np.unique(yt, return_counts=True)[1]
    facts = {
        "chance": 1 / np.unique(ys).size,
        "majority": float(counts.max() / yt.size),
        "train": ys.size,
        "test": yt.size,
    }
    rows = [_scored(each, yt) | facts for each in classify_targets(descriptors, ys, **options)]
    return pd.DataFrame(rows, columns=FUSION_COLUMNS)


def _scored(outcome: Outcome, yt: Labels) -> dict[str, Any]:
    accuracies = (np.nan, np.nan)
    if outcome.predicted is not None:
        checked_labels(yt, len(outcome.predicted), "{} target images")
        right = outcome.predicted == yt
        by_class = [right[yt == name].mean() for name in np.unique(yt)]
        accuracies = float(right.mean()), float(np.mean(by_class))
    own = outcome.descriptor
    names = dict(zip(_KEYS, (own.kind, own.layer, own.selection, outcome.alignment), strict=True))
    measured = {name: getattr(outcome, name) for name in ("n_components", *_MEASURED)}
    return names | measured | dict(zip(("accuracy", "class_accuracy"), accuracies, strict=True))


def table_of_fusion(table: pd.DataFrame, *, alignment: str = "TCA") -> pd.DataFrame:
    """Lay accuracies out as the paper's tables I to IV do.

    Parameters
    ----------
    table : DataFrame
        Of one pair of domains, as :func:`fusion_table` gives it.
    alignment : str
        Which rows to take.

    Returns
    -------
    DataFrame
        Accuracy in percent. A row per number of components and ``"Avg."``, the mean of the column's
        numbers; a column per descriptor, layer and selection, in the order of the table. NaN where
        there are not as many components.

    Raises
    ------
    ValueError
        If there is no such row, or a cell has two.
    """
    chosen = table[table["alignment"] == alignment]
    if chosen.empty:
        raise ValueError(
            f"expected rows aligned by {alignment!r}, got only {table['alignment'].unique()}"
        )
    if chosen.duplicated([*_KEYS, "n_components"]).any():
        raise ValueError("expected the table of one pair of domains, but a cell comes twice")
    columns = [name for name in _KEYS if name != "alignment"]
    order = pd.MultiIndex.from_frame(chosen[columns].drop_duplicates())
    wide = 100 * chosen.pivot(index="n_components", columns=columns, values="accuracy")
    wide = wide.sort_index(ascending=False)[order]
    average = wide.mean().to_frame("Avg.").T
    laid_out = pd.concat([wide.set_axis(wide.index.astype(str)), average])
    return laid_out.rename_axis(index="n_components", columns=columns)
