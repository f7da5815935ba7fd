"""Local and global layers of a study, fused, aligned and carried from one domain to another.

Conventions
-----------
images
    ``crops="whole"``: resized to the network's input whatever their shape, as in the paper.
global, blocks
    Global is the last layer of the embedding, in the mean over its map. Local blocks are the first
    three of kind ``block``; of a network without such, the last layers of its first three map
    sizes. The paper's network is ResNet-50, with its average pool and the first three blocks.
PCA
    Fitted to the maps of a source once, for all of its targets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import dask.array
import numpy as np
import pandas as pd

from analysis.chapters.domains import DomainPair, named_labels
from analysis.statistics.threads import in_threads
from analysis.transfer.chunked_pca import ChunkedPCA
from analysis.transfer.fusion import SELECTIONS, Descriptor, Domains, fusion_descriptors
from analysis.transfer.fusion_protocol import FUSION_COLUMNS, Alignment, fusion_table

if TYPE_CHECKING:
    import xarray as xr

    from analysis.chapters.study import Study
    from analysis.networks import Backbone

__all__ = [
    "blocks_of",
    "describe_pairs",
    "measure_fusion",
    "pooled",
    "read_pairs",
]

CROPS = "whole"
N_BLOCKS = 3
N_COMPONENTS = 256
_KEYS = ["network", "source", "target", "pair"]
_COLUMNS = [*_KEYS, *FUSION_COLUMNS]

Described = Mapping[DomainPair, Sequence[Descriptor]]


def blocks_of(net: Backbone) -> tuple[str, ...]:
    """Names of a network's local blocks, without its last layer; see above."""
    layers = net.layers[:-1]
    blocks = [layer.name for layer in layers if layer.kind == "block"]
    by_size = {layer.spatial: layer.name for layer in layers if layer.spatial is not None}
    return tuple((blocks or [*by_size.values()])[:N_BLOCKS])


def describe_pairs(study: Study, pairs: Sequence[DomainPair], net: Backbone) -> Described:
    """Global, local and fused features of all pairs of domains, by one network.

    Parameters
    ----------
    study : Study
        Where images come from.
    pairs : sequence of DomainPair
        Sources and targets.
    net : Backbone
        The network; one of the study, or one that was tuned.

    Returns
    -------
    mapping of DomainPair to list of Descriptor
        As :func:`analysis.transfer.fusion.fusion_descriptors` gives them.
    """
    names, blocks = [*dict.fromkeys(name for pair in pairs for name in pair)], blocks_of(net)
    last = net.layers[-1].name
    means = {name: pooled(study, name, net, [*blocks, last], "mean") for name in names}
    local: dict[DomainPair, dict[tuple[str, str], Domains]] = {pair: {} for pair in pairs}
    for selection, pooling in SELECTIONS.items():
        X = means if pooling == "mean" else {
            name: pooled(study, name, net, blocks, pooling) for name in names
        }  # fmt: skip
        for block in blocks:
            of = {name: _layer(X[name], block) for name in names}
            found = _principal(of, pairs) if selection == "PCA" else read_pairs(of, pairs)
            for pair, domains in found:
                local[pair][block, selection] = domains
    whole = dict(read_pairs({name: _layer(means[name], last) for name in names}, pairs))
    return {
        pair: fusion_descriptors(last, whole[pair], _by_block(local[pair], blocks))
        for pair in pairs
    }


def measure_fusion(
    study: Study,
    described: Described,
    network: str,
    *,
    how: Alignment,
    alignments: Sequence[str] = ("none, unit length", "TCA"),
    label_free: bool = False,
) -> pd.DataFrame:
    """Classify the images of all targets by all descriptors.

    Parameters
    ----------
    study : Study
        Where labels come from.
    described : mapping of DomainPair to sequence of Descriptor
        From :func:`describe_pairs`.
    network : str
        What the table calls the network.
    how : Alignment
        Settings.
    alignments : sequence of str
        Some of :data:`analysis.transfer.fusion_protocol.ALIGNMENTS`. Local descriptors are
        aligned by transfer components only.
    label_free : bool
        Whether to measure what a choice without target labels needs, of global and fused
        descriptors that transfer components align.

    Returns
    -------
    DataFrame
        Tables of :func:`analysis.transfer.fusion_protocol.fusion_table`, stacked, with ``network``,
        ``source``, ``target`` and ``pair`` (both names) in front. No rows for no pairs.
    """
    others = [name for name in alignments if name != "TCA"]

    def of_pair(pair: DomainPair) -> pd.DataFrame:
        labels = [named_labels(study.data(name)) for name in pair]
        local = [each for each in described[pair] if each.kind == "local"]
        rest = [each for each in described[pair] if each.kind != "local"]
        runs: list[tuple[list[Descriptor], list[str], bool]] = [(rest, others, False)]
        if "TCA" in alignments:
            runs += [(rest, ["TCA"], label_free), (local, ["TCA"], False)]
        parts = [
            fusion_table(own, *labels, how=how, alignments=names, label_free=known)
            for own, names, known in runs
            if own and names
        ]
        cell = dict(zip(_KEYS, (network, *pair, pair.short), strict=True))
        return pd.concat(parts).assign(**cell)[_COLUMNS]

    found = in_threads(of_pair, described)
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=_COLUMNS)


def pooled(
    study: Study, name: str, net: Backbone, layers: Sequence[str], pooling: str
) -> xr.DataArray:
    """Features of some layers of a dataset's images, from the store or extracted into it."""
    from analysis.features import extract  # loads PyTorch

    return extract(
        study.data(name), net, crops=CROPS, layers=[*layers], pooling=pooling,
        progress=study.progress,
    )  # fmt: skip


def _layer(X: xr.DataArray, layer: str) -> xr.DataArray:
    """One layer's features; they are neighbours, and a slice keeps the stored chunks."""
    columns = np.flatnonzero(X["layer"].to_numpy() == layer)
    return X[:, columns[0] : columns[-1] + 1]


def read_pairs(
    X: Mapping[str, xr.DataArray], pairs: Sequence[DomainPair]
) -> Iterator[tuple[DomainPair, Domains]]:
    """Features of both domains of each pair, in memory, by the features of each dataset."""
    values = {name: np.asarray(each.values) for name, each in X.items()}
    return ((pair, Domains(values[pair.source], values[pair.target])) for pair in pairs)


def _principal(
    X: Mapping[str, xr.DataArray], pairs: Sequence[DomainPair]
) -> Iterator[tuple[DomainPair, Domains]]:
    """Components of each source, with all of its targets projected at once."""
    for source in dict.fromkeys(pair.source for pair in pairs):
        fitted = ChunkedPCA(N_COMPONENTS).fit(X[source])
        own = [pair for pair in pairs if pair.source == source]
        stacked = dask.array.concatenate(  # type: ignore[no-untyped-call]
            [X[pair.target].data for pair in own]
        )
        ends = np.cumsum([len(X[pair.target]) for pair in own])[:-1]
        for pair, scores in zip(own, np.split(fitted.transform(stacked), ends), strict=True):
            yield pair, Domains(fitted.scores_, scores)


def _by_block(
    local: Mapping[tuple[str, str], Domains], blocks: Sequence[str]
) -> dict[tuple[str, str], Domains]:
    """Block by block, in the paper's order of selections."""
    return {(block, name): local[block, name] for block in blocks for name in SELECTIONS}
