"""Descriptors of two domains: of an early layer, of a late one, and both side by side.

They are aligned, classify the images of the target, and are chosen among without its labels.

Conventions
-----------
Source: dos Santos and Ponti, *Alignment of local and global features from multiple layers of
convolutional neural network for image classification*, SIBGRAPI 2019, section III.

global
    A layer near the end, pooled to one number per unit.
local
    An early block. Its map is reduced in one of three ways (:data:`SELECTIONS`). ``"PCA"``: the
    principal components of the source's maps, exact, to which the target's maps are projected; no
    more than the source spans. ``"flatten"``: means of consecutive segments of the flattened map,
    100 values in the paper, in the order (unit, row, column) of
    :mod:`analysis.features.pooling`, which the paper does not state (its code's network kept units
    last, where a segment holds many units of a few places); a last segment that is short is
    averaged over its own length. ``"pool 2D"``: one mean per unit.
fusion
    Both, concatenated. The paper says nothing of scaling them first, so that the part of the larger
    numbers decides the distances. On drawn images, components of unpooled maps drowned the global
    part until both were brought to one size, and means were better left as they are.
domains
    Descriptors are learnt from the source's features alone, without labels.

Alignment
---------
Source: the same, section IV-C: transfer components of all images of
both domains by an RBF kernel, in five numbers; a linear support vector machine on all of the
source, tested on all of the target, once. No label of the target is used. What the paper leaves
open:

kernel width and mu
    ``gamma`` by the median of the squared distances, anew for every descriptor, and μ = 0.001.
components
    Numbers above what the images span (one less than images of both domains) have no accuracy; if
    none fits, the largest possible stands besides.
classifier
    One class against the rest, squared hinge loss, C = 1, on samples centred by the mean of the
    source and divided by the root mean squared norm that leaves there, so that C means the same for
    all descriptors. Components keep the spread that the analysis gives them: on drawn images,
    dividing each by its own was worse, and the more so the more components there were, which is
    what the paper's table II shows.

The alignments, some of them past the paper, and descriptors that are not aligned, all under the
same classifier, each in several numbers of components:

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

Choice without labels of the target
-----------------------------------

gap
    Squared maximum mean discrepancy between the domains, of an RBF kernel with one over twice the
    median squared distance of both domains together, by the estimator without bias (Gretton et al.,
    *A kernel two-sample test*, JMLR 2012, section 2.2). The width is relative to the samples, and
    kernel values are at most 1, so that neither scale nor number of components decides: 0 (by
    chance also below) if the domains cannot be told apart, 2 if they share nothing.
source accuracy
    Share of source images that are classified correctly by a classifier that has learnt from the
    other folds of the source, in the aligned features. The alignment has seen all images of both
    domains, but no label.
both
    Ranks by gap (small first) and by source accuracy (large first), summed; equal values share
    their mean rank.

A choice is compared with the best in hindsight: its regret is how much accuracy that has more.
Ties go to fewer components, then to what comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh

from analysis.data.images import checked_labels
from analysis.statistics.named import by_name, feature_names
from analysis.statistics.threads import one_blas_thread
from analysis.transfer._samples import Floats, checked_samples, whole_number
from analysis.transfer.adaptation import (
    CorrelationAlignment,
    GeodesicFlowKernel,
    principal_components,
    two_domains,
)
from analysis.transfer.classifiers import (
    BatchedLinearSVC,
    centred_to_size,
    standardise,
    unit_rows,
)
from analysis.transfer.tca import TransferComponentAnalysis

SELECTIONS: Mapping[str, str] = {"PCA": "none", "flatten": "flatten:100", "pool 2D": "mean"}
"""Ways to reduce a map, and the pooling by which :func:`analysis.extract` gives what they need:
the descriptors themselves, or the map for ``"PCA"``."""

SCALINGS = ("none", "size")

Array = NDArray[Any]


class Domains(NamedTuple):
    """Features of the images of two domains, (images, features) each, of the same features."""

    source: Array
    target: Array


@dataclass(frozen=True, eq=False)
class Descriptor:
    """Features of two domains that are to be compared with others.

    Attributes
    ----------
    kind : {"global", "fusion", "local"}
        What they are made of.
    layer : str
        The early block; of a global descriptor its own layer.
    selection : str
        How the block's map was reduced; empty for a global descriptor.
    domains : Domains
        The features.
    """

    kind: str
    layer: str
    selection: str
    domains: Domains


def fuse(global_features: Domains, local_features: Domains, *, scaling: str = "none") -> Domains:
    """Put the global and the local features of the same images side by side.

    Parameters
    ----------
    global_features, local_features : Domains
        Of the same images in the same order.
    scaling : {"none", "size"}
        ``"none"``: as in the paper. ``"size"``: each part is centred by the mean of the source and
        divided by the root mean squared norm that leaves there, so that both count alike.

    Raises
    ------
    ValueError
        For other numbers of images, features that do not fit together, or an unknown scaling.
    """
    if scaling not in SCALINGS:
        raise ValueError(f"unknown scaling {scaling!r}; known: {', '.join(SCALINGS)}")
    parts = [Domains(*two_domains(*part)) for part in (global_features, local_features)]
    for name, ours, theirs in zip(Domains._fields, *parts, strict=True):
        if len(ours) != len(theirs):
            raise ValueError(
                f"expected both descriptors of the same images, but of the {name} there are "
                f"{len(ours)} and {len(theirs)}"
            )
    if scaling == "size":
        parts = [Domains(*map(centred_to_size(part.source), part)) for part in parts]
    return Domains(*(np.hstack(both) for both in zip(*parts, strict=True)))


def fusion_descriptors(
    global_layer: str,
    global_features: Domains,
    local_features: Mapping[tuple[str, str], Domains],
    *,
    scaling: str = "none",
    with_local: bool = True,
) -> list[Descriptor]:
    """All descriptors of the paper's tables: global, fused with each local one, and local alone.

    Parameters
    ----------
    global_layer : str
        Name of the global descriptor's layer.
    global_features : Domains
        Its features.
    local_features : mapping of (layer, selection) to Domains
        Features of the blocks, by what they were reduced with.
    scaling : {"none", "size"}
        As in :func:`fuse`.
    with_local : bool
        Whether local descriptors also come alone, as in the paper's figure 9.

    Returns
    -------
    list of Descriptor
        Global, then fused ones, then local ones, in the order of the mapping.
    """
    found = [Descriptor("global", global_layer, "", Domains(*global_features))]
    for (layer, selection), local in local_features.items():
        fused = fuse(global_features, local, scaling=scaling)
        found.append(Descriptor("fusion", layer, selection, fused))
    if with_local:
        found += [Descriptor("local", *key, Domains(*own)) for key, own in local_features.items()]
    return found


def keep_features(domains: Domains, kept: ArrayLike) -> Domains:
    """Leave out features, such as those below thresholds of noise.

    Parameters
    ----------
    domains : Domains
        Features of both domains.
    kept : array_like of bool, shape (features,)
        Which to keep. To stay blind to the target's labels, it is to be found on the source.

    Raises
    ------
    ValueError
        If it is of another shape or type, or keeps nothing.
    """
    source = domains.source
    target = by_name(domains.target, feature_names(source), "target features")
    mask, width = np.asarray(kept), source.shape[1]
    if mask.dtype != bool or mask.shape != (width,):
        raise ValueError(
            f"expected one truth value for each of {width} features, got {mask.dtype} of shape "
            f"{mask.shape}"
        )
    if not mask.any():
        raise ValueError("expected at least one feature to be kept, got none")
    return Domains(source[:, mask], target[:, mask])


_AT_MOST = 1000

Labels = NDArray[Any]
Predict = Callable[[Floats, Labels, Floats], Labels]

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
    source, target = (
        X[np.random.default_rng(seed).choice(len(X), _AT_MOST, replace=False)]
        if len(X) > _AT_MOST
        else X
        for X in two_domains(X_source, X_target)
    )
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
        :func:`analysis.transfer.fusion.fusion_table` gives them with ``label_free=True``;
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


Embedded = tuple[int, tuple[Floats, Floats] | None]
"""Number of components, and both domains after alignment; None where there are not as many."""

Align = Callable[[Floats, Floats, Alignment], list[Embedded]]


def _each_by_itself(source: Floats, target: Floats) -> tuple[Floats, Floats]:
    return standardise(source)(source), standardise(target)(target)


def _by_tca(source: Floats, target: Floats, how: Alignment) -> list[Embedded]:
    n_components = min(max(how.sizes), len(source) + len(target) - 1)
    method = TransferComponentAnalysis(
        n_components, how.kernel, how.gamma, how.mu, allow_fewer=True, seed=how.seed
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
    return [(width, (moved, target))]


def _whole(scale: Callable[[Floats, Floats], tuple[Floats, Floats]]) -> Align:
    """No alignment: all features of both domains, only scaled."""
    return lambda source, target, how: [(source.shape[1], scale(source, target))]


ALIGNMENTS: Mapping[str, Align] = {
    "none": _whole(lambda source, target: (source, target)),
    "none, unit length": _whole(lambda source, target: (unit_rows(source), unit_rows(target))),
    "none, each domain standardised": _whole(_each_by_itself),
    "TCA": _by_tca,
    "CORAL": _by_coral,
    "geodesic flow": _by_geodesic_flow,
}
"""Name of an alignment, and what it makes of both domains."""


def _cut(
    sizes: Sequence[int], most: int, take: Callable[[int], tuple[Floats, Floats]]
) -> list[Embedded]:
    """Embeddings of the sizes that there are, empty ones for the others."""
    sizes = [*dict.fromkeys(sizes)]
    if min(sizes) > most:
        sizes.append(most)
    return [(k, take(k) if k <= most else None) for k in sizes]


def _in_their_span(source: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Images of both domains in an orthonormal basis of what they span, if that is narrower."""
    X = np.vstack([source, target])
    if X.shape[1] <= len(X):
        return source, target
    squares, vectors = eigh(X @ X.T)
    kept = squares > len(X) * np.finfo(np.float64).eps * squares[-1]
    rows = vectors[:, kept] * np.sqrt(squares[kept])
    return rows[: len(source)], rows[len(source) :]


_KEYS = ["descriptor", "layer", "selection", "alignment"]
_MEASURED = ["align_seconds", "classify_seconds", "gap", "source_accuracy"]
_FACTS = ["accuracy", "class_accuracy", "chance", "majority", "train", "test"]
FUSION_COLUMNS = (*_KEYS, "n_components", *_FACTS, *_MEASURED)
"""Of :func:`fusion_table`."""


def predict_linear(X: Floats, y: Labels, X_new: Floats, *, C: float = 1.0) -> Labels:
    """Classify as the protocol does; one class in ``y`` is given to all.

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
    scaled = centred_to_size(X)
    return BatchedLinearSVC(C, max_iter=1000).fit(scaled(X), y).predict(scaled(X_new))


def classify_targets(
    descriptors: Sequence[Descriptor],
    y_source: ArrayLike,
    *,
    alignments: Sequence[str] = ("none", "none, unit length", "TCA"),
    how: Alignment | None = None,
    C: float = 1.0,
    label_free: bool = False,
    n_folds: int = 5,
) -> Iterator[dict[str, Any]]:
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
        Of the classifier.
    label_free : bool
        Whether to measure what a choice without target labels needs, for each outcome; that takes
        another ``n_folds`` classifiers.
    n_folds : int
        Folds of the source, at most as many as its largest class has images.

    Yields
    ------
    dict
        By descriptor, alignment and number of components: ``descriptor`` (kind), ``layer``,
        ``selection``, ``alignment``, ``n_components`` (numbers per image that the classifier is
        given), ``predicted`` (class of each target image; None where there are not as many
        components), ``align_seconds`` (of all numbers of components together),
        ``classify_seconds``, ``gap`` and ``source_accuracy`` (NaN if not asked for).

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
            for size, both in embedded:
                row: dict[str, Any] = {
                    "descriptor": descriptor.kind,
                    "layer": descriptor.layer,
                    "selection": descriptor.selection,
                    "alignment": name,
                    "n_components": size,
                    "predicted": None,
                    "align_seconds": seconds,
                    "classify_seconds": 0.0,
                    "gap": np.nan,
                    "source_accuracy": np.nan,
                }
                if both is not None:
                    begun = perf_counter()
                    row["predicted"] = predict_linear(both[0], y, both[1], C=C)
                    row["classify_seconds"] = perf_counter() - begun
                if both is not None and label_free:
                    predict = partial(predict_linear, C=C)
                    row["gap"] = domain_gap(*both, seed=how.seed)
                    row["source_accuracy"] = source_accuracy(
                        both[0], y, predict, n_folds=n_folds, seed=how.seed
                    )
                yield row


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
        ``n_components`` (numbers per image that the classifier is given), ``accuracy`` (share of
        the target images classified correctly, as in the paper), ``class_accuracy`` (its mean over
        the classes of the target), ``chance`` (one over the source's classes), ``majority`` (share
        of the target's largest class), ``train`` and ``test`` (images), ``align_seconds``,
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
    rows = [
        row | facts | _scored(row["predicted"], yt)
        for row in classify_targets(descriptors, ys, **options)
    ]
    return pd.DataFrame(rows, columns=FUSION_COLUMNS)


def _scored(predicted: Labels | None, yt: Labels) -> dict[str, float]:
    if predicted is None:
        return {"accuracy": np.nan, "class_accuracy": np.nan}
    checked_labels(yt, len(predicted), "{} target images")
    right = predicted == yt
    by_class = [right[yt == name].mean() for name in np.unique(yt)]
    return {"accuracy": float(right.mean()), "class_accuracy": float(np.mean(by_class))}


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
