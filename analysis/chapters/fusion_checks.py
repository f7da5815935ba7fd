"""What alignment does to a study's fused layers: settings, other alignments, choices.

Conventions
-----------
shown
    Where one pair stands for all, it is Amazon → Webcam, the paper's own, or the study's first.
above the noise
    Of the source's features those whose D_KS is beyond t+ or t- for some class; labels of the
    target have no part in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.chapters.domains import DomainPair, named_labels
from analysis.chapters.fusion import Described, measure_fusion
from analysis.figures.fusion import DomainPlanes
from analysis.statistics import noise_thresholds, signed_ks
from analysis.statistics.threads import in_threads
from analysis.transfer import TransferComponentAnalysis
from analysis.transfer.adaptation._domains import principal_components
from analysis.transfer.fusion import Descriptor, fusion_descriptors, keep_features
from analysis.transfer.fusion_protocol import Alignment, fusion_table
from analysis.transfer.label_free import choose_without_labels, domain_gap
from analysis.transfer.tca import median_gamma

if TYPE_CHECKING:
    from analysis.chapters.study import Study

__all__ = [
    "above_noise",
    "before_and_after",
    "choose",
    "measure_at_one_size",
    "measure_others",
    "measure_sensitivity",
    "pair_to_show",
]

_PAPER = ("office_caltech10/amazon", "office_caltech10/webcam")
_OTHERS = ("none, each domain standardised", "CORAL", "geodesic flow", "TCA")
_MEANS = "pool 2D"
MUS = (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)
WIDTHS = (0.1, 0.3, 1.0, 3.0, 10.0)


def pair_to_show(pairs: Sequence[DomainPair]) -> list[DomainPair]:
    """Choose the pair that stands for all: one, or none where there are none."""
    return [*(pair for pair in pairs if tuple(pair) == _PAPER), *pairs][:1]


def before_and_after(
    described: Described, pairs: Sequence[DomainPair], how: Alignment
) -> DomainPlanes | None:
    """Place the images of one pair in the plane, by its global descriptor, before and after TCA.

    Parameters
    ----------
    described : mapping of DomainPair to sequence of Descriptor
        From :func:`analysis.chapters.fusion.describe_pairs`.
    pairs : sequence of DomainPair
        The one of :func:`pair_to_show` is taken.
    how : Alignment
        Settings; the largest number of components.

    Returns
    -------
    DomainPlanes or None
        Principal components before, transfer components after; None without pairs.
    """
    if not pairs:
        return None
    pair = pair_to_show(pairs)[0]
    source, target = (np.asarray(X, np.float64) for X in described[pair][0].domains)
    both = np.vstack([source, target])
    mean, axes = both.mean(axis=0), principal_components(both)[0][:, :2]
    n = min(max(how.sizes), len(both) - 1, source.shape[1])
    found = TransferComponentAnalysis(n, how.kernel, how.gamma, how.mu, seed=how.seed)
    found.fit(source, target)
    after = found.source_embedding_, found.target_embedding_
    gaps = domain_gap(source, target), domain_gap(*after)
    before = (source - mean) @ axes, (target - mean) @ axes
    return DomainPlanes(
        before, (after[0][:, :2], after[1][:, :2]), gaps, (pair.source, pair.target)
    )


def measure_sensitivity(
    study: Study, described: Described, pairs: Sequence[DomainPair], *, size: int
) -> pd.DataFrame:
    """Accuracy on the target by μ and by the width of the kernel, the other as it is.

    Parameters
    ----------
    study : Study
        Where labels come from.
    described, pairs
        As in :func:`before_and_after`; global, and fused with the means of every block.
    size : int
        Number of components.

    Returns
    -------
    DataFrame
        ``varied`` ("μ" or "γ"), ``value`` (μ, or the multiple of the gamma that the median distance
        gives), ``descriptor``, ``layer``, ``selection``, ``n_components`` and ``accuracy``.
    """
    kept = ("descriptor", "layer", "selection", "n_components", "accuracy")
    if not pairs:
        return pd.DataFrame(columns=["varied", "value", *kept])
    pair = pair_to_show(pairs)[0]
    labels = [named_labels(study.data(name)) for name in pair]
    runs: list[tuple[str, float, Descriptor, Alignment]] = []
    for each in _global_and_means(described[pair]):
        gamma = median_gamma(np.vstack(each.domains).astype(np.float64), study.seed)
        runs += [("μ", mu, each, Alignment((size,), mu, gamma)) for mu in MUS]
        runs += [("γ", k, each, Alignment((size,), gamma=k * gamma)) for k in WIDTHS]

    def accuracy(run: tuple[str, float, Descriptor, Alignment]) -> dict[str, Any]:
        varied, value, each, how = run
        row = fusion_table([each], *labels, alignments=("TCA",), how=how).iloc[-1]
        return {"varied": varied, "value": value, **{name: row[name] for name in kept}}

    return pd.DataFrame(in_threads(accuracy, runs))


def measure_at_one_size(
    study: Study, described: Described, network: str, how: Alignment
) -> pd.DataFrame:
    """Fused descriptors whose two parts are of the same size, so that both count alike.

    Parameters
    ----------
    study, described, network, how
        As in :func:`analysis.chapters.fusion.measure_fusion`; in the smallest number of components.

    Returns
    -------
    DataFrame
        As there, with the global descriptor, aligned by transfer components.
    """
    even: dict[DomainPair, list[Descriptor]] = {}
    for pair, descriptors in described.items():
        whole = descriptors[0]
        local = {
            (each.layer, each.selection): each.domains
            for each in descriptors
            if each.kind == "local"
        }
        even[pair] = fusion_descriptors(
            whole.layer, whole.domains, local, scaling="size", with_local=False
        )
    few = replace(how, sizes=(min(how.sizes),))
    return measure_fusion(study, even, network, how=few, alignments=["TCA"])


def measure_others(
    study: Study, described: Described, network: str, how: Alignment
) -> pd.DataFrame:
    """Other alignments in the place of TCA, and features above the noise alone.

    Parameters
    ----------
    study, described, network, how
        As in :func:`analysis.chapters.fusion.measure_fusion`; the global descriptor and those
        fused with the means of a block, are measured, in the smallest number of components.

    Returns
    -------
    DataFrame
        As there; ``selection`` says which features are above the noise.
    """
    chosen: dict[DomainPair, list[Descriptor]] = {}
    for pair, descriptors in described.items():
        labels = named_labels(study.data(pair.source))
        own = _global_and_means(descriptors)
        chosen[pair] = [*own, *(_above_noise(each, labels, study.seed) for each in own)]
    few = replace(how, sizes=(min(how.sizes),))
    return measure_fusion(study, chosen, network, how=few, alignments=_OTHERS)


def above_noise(X: NDArray[Any], labels: NDArray[Any], *, seed: int) -> NDArray[np.bool_]:
    """Features that mark at least one class more strongly than shuffled labels would explain.

    Parameters
    ----------
    X : ndarray, shape (images, features)
        Features of the source.
    labels : ndarray, shape (images,)
        Its classes.
    seed : int
        Of the shuffles.

    Returns
    -------
    ndarray of bool, shape (features,)
        D_KS beyond t+ or t- for some class; all features where no one is.
    """
    distances = np.asarray(signed_ks(X, labels))
    found = noise_thresholds(X, labels, seed=seed)
    beyond = (distances > found.t_plus) | (distances < found.t_minus)
    kept: NDArray[np.bool_] = np.any(beyond, axis=0)
    return kept if kept.any() else ~kept


def choose(table: pd.DataFrame) -> pd.DataFrame:
    """Choose a descriptor and a number of components for each pair, without labels of the target.

    Parameters
    ----------
    table : DataFrame
        From :func:`analysis.chapters.fusion.measure_fusion`, with ``label_free``.

    Returns
    -------
    DataFrame
        ``pair`` and the columns of :func:`analysis.transfer.label_free.choose_without_labels`, of
        what TCA aligned.
    """
    aligned = table[table["alignment"] == "TCA"]
    parts = [choose_without_labels(part) for _, part in aligned.groupby("pair", sort=False)]
    if not parts:
        return pd.DataFrame(columns=["pair", "rule", "regret", "mean_regret"])
    return pd.concat(parts, ignore_index=True)


def _global_and_means(descriptors: Sequence[Descriptor]) -> list[Descriptor]:
    return [
        each
        for each in descriptors
        if each.kind == "global" or (each.kind == "fusion" and each.selection == _MEANS)
    ]


def _above_noise(each: Descriptor, labels: NDArray[Any], seed: int) -> Descriptor:
    kept = above_noise(each.domains.source, labels, seed=seed)
    name = f"{each.selection}, above the noise".removeprefix(", ")
    return Descriptor(each.kind, each.layer, name, keep_features(each.domains, kept))
