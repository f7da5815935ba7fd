"""Local and global layers of a study, fused, aligned and carried from one domain to another.

What the chapter on them measures (also with the last layers trained, with other alignments and
other settings), its tables beside those of dos Santos and Ponti (SIBGRAPI 2019), and its findings.

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
training
    Section IV trains the last seven layers for 100 epochs at a learning rate of 0.1.
rate
    That rate is too much for some networks (SqueezeNet among them). So two epochs are tried, at
    0.1, at a tenth of it, and at a hundredth; the greatest whose loss is then below that of saying
    all classes with the same probability is taken, the smallest if none is. Only images of the
    source have a part in this.
local descriptors
    The blocks lie in front of what is free to learn, so that they are the same, and only the global
    descriptor is taken anew.
shown
    Where one pair stands for all, it is Amazon → Webcam, the paper's own, or the study's first.
above the noise
    Of the source's features those whose D_KS is beyond t+ or t- for some class; labels of the
    target have no part in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import dask.array
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.chapters.domains import DomainPair, named_labels
from analysis.chapters.study import one_layer
from analysis.figures.fusion import DomainPlanes
from analysis.statistics import noise_thresholds, signed_ks
from analysis.statistics.threads import in_threads
from analysis.transfer import TransferComponentAnalysis
from analysis.transfer.adaptation import principal_components
from analysis.transfer.fusion import (
    FUSION_COLUMNS,
    SELECTIONS,
    Alignment,
    Descriptor,
    Domains,
    choose_without_labels,
    domain_gap,
    fusion_descriptors,
    fusion_table,
    keep_features,
    table_of_fusion,
)
from analysis.transfer.pca import ChunkedPCA
from analysis.transfer.published import published_fusion
from analysis.transfer.tca import median_gamma

if TYPE_CHECKING:
    import xarray as xr

    from analysis.chapters.study import Study
    from analysis.networks import Backbone, FineTuned

CROPS = "whole"
N_BLOCKS = 3
N_COMPONENTS = 256
_KEYS = ["network", "source", "target", "pair"]
_COLUMNS = [*_KEYS, *FUSION_COLUMNS]


class Parts(NamedTuple):
    """What the descriptors of one pair are made of.

    Attributes
    ----------
    layer : str
        Name of the global layer.
    whole : Domains
        Its features.
    local : dict of (layer, selection) to Domains
        Features of the blocks.
    """

    layer: str
    whole: Domains
    local: dict[tuple[str, str], Domains]

    def descriptors(self, *, scaling: str = "none", with_local: bool = False) -> list[Descriptor]:
        """As :func:`analysis.transfer.fusion.fusion_descriptors` makes them."""
        return fusion_descriptors(
            self.layer, self.whole, self.local, scaling=scaling, with_local=with_local
        )

    def global_and_means(self) -> list[Descriptor]:
        """Return the global descriptor, and those fused with the means of a block."""
        means = {key: own for key, own in self.local.items() if key[1] == _MEANS}
        return self._replace(local=means).descriptors()


Described = Mapping[DomainPair, Parts]


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
    mapping of DomainPair to Parts
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
            of = {name: one_layer(X[name], block) for name in names}
            found = _principal(of, pairs) if selection == "PCA" else read_pairs(of, pairs)
            for pair, domains in found:
                local[pair][block, selection] = domains
    whole = dict(read_pairs({name: one_layer(means[name], last) for name in names}, pairs))
    order = [(block, selection) for block in blocks for selection in SELECTIONS]
    return {pair: Parts(last, whole[pair], {k: local[pair][k] for k in order}) for pair in pairs}


def measure_fusion(
    study: Study,
    described: Described,
    network: str,
    *,
    how: Alignment,
    alignments: Sequence[str] = ("none, unit length", "TCA"),
    with_local: bool = False,
    label_free: bool = False,
) -> pd.DataFrame:
    """Classify the images of all targets by all descriptors.

    Parameters
    ----------
    study : Study
        Where labels come from.
    described : mapping of DomainPair to Parts
        From :func:`describe_pairs`.
    network : str
        What the table calls the network.
    how : Alignment
        Settings.
    alignments : sequence of str
        Some of :data:`analysis.transfer.fusion.ALIGNMENTS`.
    with_local : bool
        Whether local descriptors come alone as well, aligned by transfer components.
    label_free : bool
        Whether to measure what a choice without target labels needs, of global and fused
        descriptors that transfer components align.

    Returns
    -------
    DataFrame
        Tables of :func:`analysis.transfer.fusion.fusion_table`, stacked, with ``network``,
        ``source``, ``target`` and ``pair`` (both names) in front.
    """
    others = [name for name in alignments if name != "TCA"]

    def of_pair(pair: DomainPair, table_of: Callable[..., pd.DataFrame]) -> list[pd.DataFrame]:
        both = described[pair].descriptors(with_local=with_local)
        local = [each for each in both if each.kind == "local"]
        rest = [each for each in both if each.kind != "local"]
        return [
            table_of(rest, alignments=others),
            table_of(rest, alignments=["TCA"], label_free=label_free, n_folds=3),
            table_of(local, alignments=["TCA"]),
        ]

    return _by_pair(study, described, network, how, of_pair)


def _by_pair(
    study: Study,
    described: Described,
    network: str,
    how: Alignment,
    of_pair: Callable[[DomainPair, Callable[..., pd.DataFrame]], list[pd.DataFrame]],
) -> pd.DataFrame:
    """Stack tables of every pair; ``of_pair`` is given a pair and what makes its tables."""

    def of_all(pair: DomainPair) -> pd.DataFrame:
        labels = [named_labels(study.data(name)) for name in pair]

        def table_of(descriptors: list[Descriptor], **options: Any) -> pd.DataFrame:
            return fusion_table(descriptors, *labels, how=how, **options)

        cell = dict(zip(_KEYS, (network, *pair, pair.short), strict=True))
        parts = [table for table in of_pair(pair, table_of) if len(table)]
        return pd.concat(parts).assign(**cell)[_COLUMNS]

    return pd.concat(in_threads(of_all, described), ignore_index=True)


def pooled(
    study: Study, name: str, net: Backbone, layers: Sequence[str], pooling: str
) -> xr.DataArray:
    """Features of some layers of a dataset's images, from the store or extracted into it."""
    from analysis.features import extract  # loads PyTorch

    return extract(
        study.data(name), net, crops=CROPS, layers=[*layers], pooling=pooling,
        progress=study.progress,
    )  # fmt: skip


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


RATES = (0.1, 0.01, 0.001)


def describe_tuned(
    study: Study, described: Described, net: Backbone, *, epochs: int
) -> tuple[Described, pd.DataFrame]:
    """Take the same features, with the network's last layers trained on the source of each pair.

    Parameters
    ----------
    study : Study
        Where images come from; its seed is that of the training.
    described : mapping of DomainPair to Parts
        From :func:`describe_pairs`, by ``net``.
    net : Backbone
        The network before.
    epochs : int
        Passes over the images of a source.

    Returns
    -------
    described : mapping of DomainPair to Parts
        With other global features.
    histories : DataFrame
        Columns of :attr:`analysis.networks.FineTuned.history`, and ``run`` (source and rate).

    Raises
    ------
    ValueError
        If a block is among the layers that are free to learn.
    """
    from analysis.networks import FineTuning, fine_tune  # loads PyTorch

    found: dict[DomainPair, Parts] = {}
    histories = []
    for source in dict.fromkeys(pair.source for pair in described):
        tuned = fine_tune(
            net, study.data(source), seed=study.seed, recipe=FineTuning(epochs=epochs), rates=RATES,
            progress=study.progress,
        )  # fmt: skip
        rate = json.loads(str(tuned.provenance["tuned_recipe"]))["learning_rate"]
        histories.append(tuned.history.assign(run=f"{source}, learning rate {rate:g}"))
        own = [pair for pair in described if pair.source == source]
        _refuse_tuned_blocks(tuned, blocks_of(net))
        last = tuned.layers[-1].name
        names = dict.fromkeys(name for pair in own for name in pair)
        whole = {name: pooled(study, name, tuned, [last], "mean") for name in names}
        for pair, domains in read_pairs(whole, own):
            found[pair] = described[pair]._replace(layer=last, whole=domains)
    columns = ["run", "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds"]
    stacked = pd.concat(histories, ignore_index=True)[columns]
    return {pair: found[pair] for pair in described}, stacked


def _refuse_tuned_blocks(tuned: FineTuned, blocks: Sequence[str]) -> None:
    free = [
        block
        for block in blocks
        for tap in (*tuned.available[block].pre, *tuned.available[block].post)
        if any(tap.module == path or path.startswith(f"{tap.module}.") for path in tuned.free)
    ]
    if free:
        raise ValueError(
            f"expected local blocks in front of the layers that are trained, but {free[0]} is one "
            f"of {', '.join(tuned.free)}: train fewer layers"
        )


_PAPERS_PAIR = ("office_caltech10/amazon", "office_caltech10/webcam")
_OTHERS = ("none, each domain standardised", "CORAL", "geodesic flow", "TCA")
_MEANS = "pool 2D"
MUS = (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)
WIDTHS = (0.1, 0.3, 1.0, 3.0, 10.0)


def pair_to_show(pairs: Iterable[DomainPair]) -> DomainPair:
    """Choose the pair that stands for all."""
    return next(iter(sorted(pairs, key=lambda pair: tuple(pair) != _PAPERS_PAIR)))


def before_and_after(described: Described, how: Alignment) -> DomainPlanes:
    """Place the images of one pair in the plane, by its global descriptor, before and after TCA.

    Parameters
    ----------
    described : mapping of DomainPair to Parts
        From :func:`describe_pairs`; the pair of :func:`pair_to_show` is taken.
    how : Alignment
        Settings; the largest number of components.

    Returns
    -------
    DomainPlanes
        Principal components before, transfer components after.
    """
    pair = pair_to_show(described)
    source, target = (np.asarray(X, np.float64) for X in described[pair].whole)
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


def measure_sensitivity(study: Study, described: Described, *, size: int) -> pd.DataFrame:
    """Accuracy on the target by μ and by the width of the kernel, the other as it is.

    Parameters
    ----------
    study : Study
        Where labels come from.
    described : mapping of DomainPair to Parts
        As in :func:`before_and_after`; global, and fused with the means of every block.
    size : int
        Number of components.

    Returns
    -------
    DataFrame
        ``varied`` ("μ" or "γ"), ``value`` (μ, or the multiple of the gamma that the median distance
        gives), ``descriptor``, ``layer``, ``selection``, ``n_components`` and ``accuracy``.
    """
    pair = pair_to_show(described)
    labels = [named_labels(study.data(name)) for name in pair]
    runs: list[tuple[str, float, Descriptor, Alignment]] = []
    for each in described[pair].global_and_means():
        gamma = median_gamma(np.vstack(each.domains).astype(np.float64), study.seed)
        runs += [("μ", mu, each, Alignment((size,), mu, gamma)) for mu in MUS]
        runs += [("γ", k, each, Alignment((size,), gamma=k * gamma)) for k in WIDTHS]

    def accuracy(run: tuple[str, float, Descriptor, Alignment]) -> pd.DataFrame:
        varied, value, each, how = run
        table = fusion_table([each], *labels, alignments=("TCA",), how=how).iloc[-1:]
        return table.assign(varied=varied, value=value)

    columns = ["varied", "value", "descriptor", "layer", "selection", "n_components", "accuracy"]
    return pd.concat(in_threads(accuracy, runs), ignore_index=True)[columns]


def measure_at_one_size(
    study: Study, described: Described, network: str, how: Alignment
) -> pd.DataFrame:
    """Fused descriptors whose two parts are of the same size, so that both count alike.

    Parameters
    ----------
    study, described, network, how
        As in :func:`measure_fusion`; in the smallest number of components.

    Returns
    -------
    DataFrame
        As there, with the global descriptor, aligned by transfer components.
    """
    few = replace(how, sizes=(min(how.sizes),))

    def of_pair(pair: DomainPair, table_of: Callable[..., pd.DataFrame]) -> list[pd.DataFrame]:
        return [table_of(described[pair].descriptors(scaling="size"), alignments=["TCA"])]

    return _by_pair(study, described, network, few, of_pair)


def measure_others(
    study: Study, described: Described, network: str, how: Alignment
) -> pd.DataFrame:
    """Other alignments in the place of TCA, and features above the noise alone.

    Parameters
    ----------
    study, described, network, how
        As in :func:`measure_fusion`; the global descriptor and those
        fused with the means of a block, are measured, in the smallest number of components.

    Returns
    -------
    DataFrame
        As there; ``selection`` says which features are above the noise.
    """
    few = replace(how, sizes=(min(how.sizes),))

    def of_pair(pair: DomainPair, table_of: Callable[..., pd.DataFrame]) -> list[pd.DataFrame]:
        labels, own = named_labels(study.data(pair.source)), described[pair].global_and_means()
        above = [_above_noise(each, labels, study.seed) for each in own]
        return [table_of([*own, *above], alignments=_OTHERS)]

    return _by_pair(study, described, network, few, of_pair)


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
        From :func:`measure_fusion`, with ``label_free``.

    Returns
    -------
    DataFrame
        ``pair`` and the columns of :func:`analysis.transfer.fusion.choose_without_labels`, of
        what TCA aligned.
    """
    aligned = table[table["alignment"] == "TCA"]
    parts = [choose_without_labels(part) for _, part in aligned.groupby("pair", sort=False)]
    return pd.concat(parts, ignore_index=True)


def _above_noise(each: Descriptor, labels: NDArray[Any], seed: int) -> Descriptor:
    kept = above_noise(each.domains.source, labels, seed=seed)
    name = f"{each.selection}, above the noise".removeprefix(", ")
    return Descriptor(each.kind, each.layer, name, keep_features(each.domains, kept))


_PAPER = "dos Santos and Ponti (2019)"
_BY_LAYER = ["layer", "selection"]
_WEIGHTS = {"imagenet": "as learnt on ImageNet", "finetuned": "fine-tuned on the source"}


def points_over_global(table: pd.DataFrame, descriptor: str) -> pd.DataFrame:
    """Accuracy minus that of the global descriptor, both in the mean over numbers of components.

    Parameters
    ----------
    table : DataFrame
        As :func:`measure_fusion` gives it, of one network.
    descriptor : {"fusion", "local"}
        What is compared.

    Returns
    -------
    DataFrame
        ``pair``, ``layer``, ``selection`` and ``points``, aligned by transfer components. A number
        of components that one of the two lacks counts for neither.
    """
    aligned = table[table["alignment"] == "TCA"]
    keys = ["pair", "n_components"]
    whole = aligned[aligned["descriptor"] == "global"].set_index(keys)["accuracy"].rename("whole")
    rows = aligned[aligned["descriptor"] == descriptor].join(whole, on=keys)
    points = (100 * (rows["accuracy"] - rows["whole"])).rename("points")
    by = ["pair", *_BY_LAYER]
    return rows[by].assign(points=points).groupby(by, sort=False)["points"].mean().reset_index()


def paper_over_global() -> pd.DataFrame:
    """Lay out the paper's averages: fused minus global, in percentage points, by table and weights.

    Returns
    -------
    DataFrame
        ``of`` (the weights), ``pair``, ``global`` (accuracy), and a column for each block and
        selection.
    """
    averages = published_fusion().query("n_components == 'Avg.'")
    rows = []
    for (weights, source, target), part in averages.groupby(
        ["weights", "source", "target"], sort=False
    ):
        whole = float(part.loc[part["descriptor"] == "global", "accuracy"].iloc[0])
        row = {
            "of": _WEIGHTS[str(weights)],
            "pair": f"{source} → {target}",
            "global": f"{whole:.1f}",
        }
        for each in part[part["descriptor"] == "fusion"].to_dict("records"):
            row[f"block {each['block']} {each['selection']}"] = f"{each['accuracy'] - whole:+.1f}"
        rows.append(row)
    return pd.DataFrame(rows).sort_values("of", kind="stable", key=lambda of: of.map(_order))


def _order(of: str) -> int:
    return [*_WEIGHTS.values()].index(of)


def beside_paper(tables: Mapping[str, pd.DataFrame], pairs: Sequence[str]) -> pd.DataFrame:
    """Accuracies of pairs of domains in the layout of the paper's tables, beside its table II.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        What the network is called → :func:`measure_fusion`. From the
        second on, an accuracy above the one in the first gets a star, as in the paper.
    pairs : sequence of str
        As in the column ``pair``.

    Returns
    -------
    DataFrame
        Text, per cent: ``of`` (network and pair, then the paper), ``components`` (numbers, then
        their average), ``global``, and a column for each block, by its place, and selection.
    """
    parts = []
    for pair in pairs:
        before = None
        for name, table in tables.items():
            own = table[(table["pair"] == pair) & (table["descriptor"] != "local")]
            wide = table_of_fusion(own)
            blocks = [*dict.fromkeys(own.loc[own["descriptor"] == "fusion", "layer"])]
            levels = map(wide.columns.get_level_values, ["descriptor", *_BY_LAYER])
            wide.columns = [
                "global" if kind == "global" else _heading(blocks.index(layer) + 1, selection)
                for kind, layer, selection in zip(*levels, strict=True)
            ]
            stars = wide > (wide if before is None else before)
            before = wide if before is None else before
            parts.append(_written(wide, stars, f"{name}, {pair}"))
    return pd.concat([*parts, *_published("II")], ignore_index=True)


def _heading(block: int, selection: str) -> str:
    return f"{block} {selection}"


def _published(number: str) -> Iterator[pd.DataFrame]:
    """One of the paper's tables, a part for each kind of weights."""
    table = published_fusion().query("table == @number")
    names = [
        "global" if not block else _heading(block, selection)
        for block, selection in table[["block", "selection"]].itertuples(index=False)
    ]
    for weights in _WEIGHTS:
        part = table.assign(column=names).query("weights == @weights")
        order = [*dict.fromkeys(part["column"])], [*dict.fromkeys(part["n_components"])]
        wide, stars = (
            part.pivot(index="n_components", columns="column", values=value).loc[order[1], order[0]]
            for value in ("accuracy", "starred")
        )
        source, target = part[["source", "target"]].iloc[0]
        yield _written(
            wide, stars, f"{_PAPER}, {_WEIGHTS[weights]}, {source} → {target}, 31 classes"
        )


def _written(wide: pd.DataFrame, stars: pd.DataFrame, of: str) -> pd.DataFrame:
    """Numbers with one decimal, stars, and dashes."""
    text = pd.DataFrame(
        {
            column: [
                "–" if np.isnan(value) else f"{value:.1f}" + ("*" if star else "")
                for value, star in zip(wide[column], stars[column], strict=True)
            ]
            for column in wide
        }
    )
    text.insert(0, "of", of)
    text.insert(1, "components", [*wide.index])
    return text


def compare_alignments(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy by alignment, in the mean over the pairs.

    Parameters
    ----------
    table : DataFrame
        As :func:`measure_fusion` gives it.

    Returns
    -------
    DataFrame
        ``features`` (kind, layer and selection) and, per cent as text, a column per alignment.
    """
    parts = table["descriptor"], table["layer"], table["selection"]
    names = pd.Series([" ".join(each).strip() for each in zip(*parts, strict=True)], table.index)
    means = (
        table.assign(features=names)
        .groupby(["features", "alignment", "pair"], sort=False)["accuracy"]
        .mean()
        .groupby(["features", "alignment"], sort=False)
        .mean()
    )
    wide = (100 * means).unstack("alignment")
    wide = wide.loc[[*dict.fromkeys(names)], [*dict.fromkeys(table["alignment"])]]
    return wide.map("{:.1f}".format).rename_axis(columns=None).reset_index()


def state_fusion(
    table: pd.DataFrame, even: pd.DataFrame, tuned: pd.DataFrame, choices: pd.DataFrame
) -> str:
    """Say what was found, as a list in Markdown.

    Parameters
    ----------
    table, even, tuned : DataFrame
        Of the network as it is, with both parts at one size, and with its last layers trained.
    choices : DataFrame
        Choices without labels, pairs stacked.
    """
    fused, local = (points_over_global(table, kind) for kind in ("fusion", "local"))
    by_column = fused.groupby(_BY_LAYER, sort=False)["points"].mean()
    by_block = local.groupby("layer", sort=False)["points"].mean()
    best = by_column.index[int(by_column.to_numpy().argmax())]
    regrets = choices.groupby("rule")["regret"].mean()
    random = choices.drop_duplicates("pair")["mean_regret"].mean()
    trained = 100 * float(_of_global(tuned).mean() - _of_global(table).mean())
    lines = [
        f"**Fusion** exceeds the global layer in {int((fused['points'] > 0).sum())} of "
        f"{len(fused)} cases; the mean over all of them is {fused['points'].mean():+.1f} points, "
        f"that of the best column, {', '.join(best)}, {by_column.max():+.1f}. The mean of the "
        f"paper's four tables is {_paper_mean():+.1f}.",
        f"**With both parts at one size**, {_at_one_size(even)}.",
        "**Local alone**, points from the global layer, by block: "
        + ", ".join(f"{name} {value:+.1f}" for name, value in by_block.items())
        + ". The paper's first block is nearest to its global layer, and its third furthest.",
        f"**Alignment** moves accuracy by {_gain(table, 'none, unit length'):+.1f} points against "
        "the same features without alignment, each image at unit length.",
        f"**Training** the last layers on the source moves the global descriptor by "
        f"{trained:+.1f} points on the target.",
        f"**Without labels of the target**, the rule with the smallest loss is *{regrets.idxmin()}*"
        f", {100 * regrets.min():.1f} points below the best in hindsight; a choice at random is "
        f"{100 * random:.1f} below. The rule is named after testing.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _at_one_size(even: pd.DataFrame) -> str:
    fused = points_over_global(even, "fusion")
    by_column = fused.groupby(_BY_LAYER, sort=False)["points"].mean()
    best = by_column.index[int(by_column.to_numpy().argmax())]
    return (
        f"it does in {int((fused['points'] > 0).sum())} of {len(fused)}; the mean is "
        f"{fused['points'].mean():+.1f} points, that of the best column, {', '.join(best)}, "
        f"{by_column.max():+.1f}"
    )


def _paper_mean() -> float:
    averages = published_fusion().query("n_components == 'Avg.' and weights == 'imagenet'")
    whole = averages.query("descriptor == 'global'").set_index("table")["accuracy"]
    fused = averages.query("descriptor == 'fusion'")
    return float((fused["accuracy"] - fused["table"].map(whole)).mean())


def _of_global(table: pd.DataFrame) -> pd.Series[float]:
    of = (table["descriptor"] == "global") & (table["alignment"] == "TCA")
    return table[of].groupby("pair")["accuracy"].mean()


def _gain(table: pd.DataFrame, alignment: str) -> float:
    """Transfer components minus another alignment, global and fused, in the mean over pairs."""
    kept = table[table["descriptor"] != "local"]
    means = kept.groupby(["alignment", "pair"])["accuracy"].mean()
    return 100 * float((means["TCA"] - means[alignment]).mean())


def state_pairs(fused: pd.DataFrame, pairs: Sequence[str]) -> str:
    """Say of each pair how fusion did against the global layer, as a list in Markdown.

    Parameters
    ----------
    fused : DataFrame
        From :func:`points_over_global`.
    pairs : sequence of str
        Those to speak of.
    """
    lines = []
    for pair in pairs:
        part = fused[fused["pair"] == pair]
        best = part.iloc[int(part["points"].to_numpy().argmax())]
        lines.append(
            f"- {pair}: fused minus global {part['points'].mean():+.1f} points on average, better "
            f"in {int((part['points'] > 0).sum())} of {len(part)} cases; at best "
            f"{best['points']:+.1f} ({best['layer']}, {best['selection']})."
        )
    return "\n".join(lines)
