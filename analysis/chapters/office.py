"""The Office protocol over all pairs of domains of a study: accuracies, tables, what they say.

Conventions
-----------
layers
    Donahue et al. (DeCAF, ICML 2014, table 1) compare the sixth and the seventh layer of their
    network, the last two before the class scores. Here the last two of each network's embedding
    stand for them where the paper has numbers, and the last one for every other pair.
SURF
    The published histograms of Office-Caltech-10, as shares of each image's words, where they are
    on disk; listed as a network of that name with one layer of that name.
labels
    20 source images per class, 8 of dslr and webcam, all of the smallest class where it has fewer;
    3 labelled target images per class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.chapters.domains import DomainPair, named_labels
from analysis.chapters.study import Pair, one_layer
from analysis.data import CARDS, join_datasets, surf_features
from analysis.figures.domains import DomainMap
from analysis.statistics.neighbours import NeighbourShares, neighbour_map, neighbour_shares
from analysis.transfer import office_n_source, office_protocol
from analysis.transfer.office_protocol import BASELINE, OFFICE_METHODS, UNLABELLED
from analysis.transfer.published import PUBLISHED_CLASSES, published_office

if TYPE_CHECKING:
    from analysis.chapters.study import Study
    from analysis.data import ImageDataset

SURF = "SURF"
N_TARGET = 3
_IMAGES = 300  # of a domain, at most, in a map

_CELL = ["network", "features", "source", "target", "pair"]
_METHOD = ["training", "method", "unlabelled"]
_MEASURED = ["split", *_METHOD, "train", "test", "accuracy", "class_accuracy", "chance"]


def measure_office(
    study: Study,
    pairs: Sequence[DomainPair],
    networks: Sequence[str] | None = None,
    *,
    n_target: int = N_TARGET,
    n_splits: int = 5,
) -> pd.DataFrame:
    """Classify the images of every target by every method, features and pair of domains.

    Parameters
    ----------
    study : Study
        Where features come from; its seed is that of the draws.
    pairs : sequence of DomainPair
        As :func:`analysis.chapters.domains.domain_pairs` gives them, with the same ``n_target``.
    networks : sequence of str, optional
        Networks of the study; by default those that have learnt something.
    n_target : int
        Labelled images of each class of the target.
    n_splits : int
        How many splits.

    Returns
    -------
    DataFrame
        Tables of :func:`analysis.transfer.office_protocol`, stacked, with ``network``, ``features``
        (a layer), ``source``, ``target`` and ``pair`` (both names) in front.
    """
    specs = study.trained if networks is None else networks
    parts = []
    for pair in pairs:
        for network, name, both in _features(study, pair, specs):
            (X_source, y_source), (X_target, y_target) = both
            smallest = int(np.unique(y_source, return_counts=True)[1].min())
            table = office_protocol(
                X_source,
                y_source,
                X_target,
                y_target,
                seed=study.seed,
                n_source=min(office_n_source(pair.source), smallest),
                n_target=n_target,
                n_splits=n_splits,
            )
            cell = dict(zip(_CELL, (network, name, *pair, pair.short), strict=True))
            parts.append(table.assign(**cell)[[*_CELL, *_MEASURED]])
    order = [SURF, *study.networks]
    stacked = pd.concat(parts, ignore_index=True)
    return stacked.sort_values("network", key=lambda names: names.map(order.index), kind="stable")


def summarise_office(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation (n - 1) of the accuracy over the splits.

    Parameters
    ----------
    table : DataFrame
        As :func:`measure_office` gives it.

    Returns
    -------
    DataFrame
        A row per network, features, pair and method: ``mean``, ``deviation`` (NaN for one split),
        ``class_mean`` (of accuracies by class), ``train``, ``test``, ``chance``, and ``last``,
        whether the features are those of the network's last layer.
    """
    summary = table.groupby([*_CELL, *_METHOD], sort=False, as_index=False).agg(
        mean=("accuracy", "mean"),
        deviation=("accuracy", "std"),
        class_mean=("class_accuracy", "mean"),
        train=("train", "first"),
        test=("test", "first"),
        chance=("chance", "first"),
    )
    last = summary.groupby(["network", "pair"], sort=False)["features"].transform("last")
    return summary.assign(last=summary["features"] == last)


def published_pairs(pairs: Sequence[DomainPair]) -> list[DomainPair]:
    """Those pairs for which the paper has numbers."""
    known = {*published_office()[["source", "target"]].itertuples(index=False, name=None)}
    return [pair for pair in pairs if tuple(pair) in known]


def pair_to_show(pairs: Sequence[DomainPair]) -> DomainPair:
    """Choose the pair whose images are mapped: dslr and webcam as in the paper, else the first."""
    return [*published_pairs(pairs)[-1:], *pairs][0]


def measure_neighbours(study: Study, pairs: Sequence[DomainPair]) -> pd.DataFrame:
    """Whether images of two domains mix, in the first and in the last layer of every network.

    Parameters
    ----------
    study : Study
        Where features come from.
    pairs : sequence of DomainPair
        Of the two directions of a pair the first counts.

    Returns
    -------
    DataFrame
        ``network``, ``layer``, ``domains`` (both names) and the numbers of
        :func:`analysis.statistics.neighbours.neighbour_shares`.
    """
    columns = ["network", "layer", "domains"]
    rows: list[dict[str, Any]] = []
    for spec in study.networks:
        layers = [layer.name for layer in study.backbone(spec).layers]
        for pair in _undirected(pairs):
            for layer in dict.fromkeys((layers[0], layers[-1])):
                both = [_layer(study, Pair(name, spec), layer) for name in pair]
                shares = neighbour_shares(
                    np.vstack(both),
                    np.concatenate([named_labels(study.data(name)) for name in pair]),
                    np.repeat([*pair], [len(part) for part in both]),
                )
                names = dict(zip(columns, (spec, layer, _joined(pair)), strict=True))
                rows.append(names | shares._asdict())
    return pd.DataFrame(rows, columns=[*columns, *NeighbourShares._fields])


def domain_maps(
    study: Study, spec: str, pair: DomainPair, *, n_images: int = _IMAGES
) -> list[DomainMap]:
    """Map the images of two domains, by a network's first and by its last layer.

    Parameters
    ----------
    study : Study
        Where features and images come from; its seed is that of the draw and of the maps.
    spec : str
        Network.
    pair : DomainPair
        What is mapped.
    n_images : int
        Images of each domain at most, drawn at random.

    Returns
    -------
    list of DomainMap
        Two. Shares of nearest neighbours are those of the images shown.
    """
    rng = np.random.default_rng(study.seed)
    data = [study.data(name) for name in pair]
    drawn = [np.sort(rng.permutation(len(part))[:n_images]) for part in data]
    chosen = [part.subset(own) for part, own in zip(data, drawn, strict=True)]
    domains = np.repeat([*pair], [len(part) for part in chosen])
    pictures = join_datasets(chosen)
    layers = [layer.name for layer in study.backbone(spec).layers]
    maps = []
    for layer in dict.fromkeys((layers[0], layers[-1])):
        both = zip(pair, drawn, strict=True)
        X = np.vstack([_layer(study, Pair(name, spec), layer)[own] for name, own in both])
        shares = neighbour_shares(X, np.concatenate([*map(named_labels, chosen)]), domains)
        maps.append(
            DomainMap(
                name=layer,
                points=neighbour_map(X, seed=study.seed),
                domains=domains,
                picture=pictures.__getitem__,
                same_domain=shares.same_domain,
                same_class=shares.same_class,
            )
        )
    return maps


def _features(
    study: Study, pair: DomainPair, specs: Sequence[str]
) -> Iterator[tuple[str, str, list[tuple[NDArray[Any], NDArray[Any]]]]]:
    """Name of the network, of the layer, and features with labels of source and target."""
    surf = [_surf(study.data(name)) for name in pair]
    if all(each is not None for each in surf):
        yield SURF, SURF, [each for each in surf if each is not None]
    n_layers = 2 if published_pairs([pair]) else 1
    labels = [named_labels(study.data(name)) for name in pair]
    for spec in specs:
        for layer in study.backbone(spec).layers[-n_layers:]:
            rows = [_layer(study, Pair(name, spec), layer.name) for name in pair]
            yield spec, layer.name, list(zip(rows, labels, strict=True))


def _layer(study: Study, pair: Pair, layer: str) -> NDArray[Any]:
    return np.asarray(one_layer(study.features(pair), layer).values, np.float64)


def _surf(data: ImageDataset) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Read published SURF features of a dataset as shares of words, and names of the classes."""
    if data.name not in CARDS or CARDS[data.name].folder != "office_caltech10":
        return None
    try:
        counts, labels = surf_features(CARDS[data.name].domain)
    except FileNotFoundError:
        return None  # said by the table, which then has no such rows
    return counts / counts.sum(axis=1, keepdims=True), np.asarray(data.classes)[labels]


def _undirected(pairs: Sequence[DomainPair]) -> list[DomainPair]:
    found: dict[frozenset[str], DomainPair] = {}
    for pair in pairs:
        found.setdefault(frozenset(pair), pair)
    return [*found.values()]


def _joined(pair: DomainPair) -> str:
    return pair.short.replace(" → ", ", ")


_PAPER = ("SURF", "DeCAF6", "DeCAF7")
_OUR_COLUMNS = ("SURF", "last but one", "last layer")
_COLUMNS = {
    "S": ("S", "SVM"),
    "T": ("T", "SVM"),
    "ST": ("ST", "SVM"),
    "ST, each": ("ST", BASELINE),
    "Daumé": ("adapt", "Daume III (2007)"),
    "MMDT": ("adapt", "Hoffman et al. (2013)"),
    "GFK": ("adapt", "Gong et al. (2012)"),
    "CORAL": ("adapt", "Sun et al. (2016)"),
    "SA": ("adapt", "Fernando et al. (2013)"),
    "S, each": (UNLABELLED, BASELINE),
    "GFK from S": (UNLABELLED, "Gong et al. (2012)"),
    "CORAL from S": (UNLABELLED, "Sun et al. (2016)"),
    "SA from S": (UNLABELLED, "Fernando et al. (2013)"),
}
_ADAPTED = ("Daumé", "MMDT", "GFK", "CORAL", "SA")
_FROM_SOURCE = ("GFK from S", "CORAL from S", "SA from S")
MEANS = {"pair": "{pair}"} | {name: f"{{{name}:.1f}}" for name in _COLUMNS}
"""Headings of :func:`office_by_pair`, for :func:`analysis.chapters.sectioned`."""

NEIGHBOURS = {
    "domains": "{domains}",
    "layer": "{layer}",
    "same domain": "{same_domain:.0%} ({same_domain_chance:.0%})",
    "same class": "{same_class:.0%} ({same_class_chance:.0%})",
    "same class across domains": "{across:.0%} ({across_chance:.0%})",
}
"""Headings of :func:`measure_neighbours`."""


def beside_paper(summary: pd.DataFrame) -> pd.DataFrame:
    """Lay accuracies out as table 1 of the paper does, its numbers beside ours.

    Parameters
    ----------
    summary : DataFrame
        As :func:`summarise_office` gives it.

    Returns
    -------
    DataFrame
        A section per network and pair (column ``section``), a row per method, text: mean ± standard
        deviation over the splits, in per cent. Only pairs of the paper's table, or all pairs where
        the study has none of those. What nobody measured is "–"; columns without numbers are left
        out.
    """
    paper = published_office()
    known = {*zip(paper["source"], paper["target"], strict=True)}
    directions = list(dict.fromkeys(zip(summary["source"], summary["target"], strict=True)))
    shown = [each for each in directions if each in known] or directions
    networks = [name for name in dict.fromkeys(summary["network"]) if name != SURF]
    columns = ["section", "training", "method"]
    columns += [f"paper: {name}" for name in _PAPER] + [f"here: {name}" for name in _OUR_COLUMNS]
    rows = []
    for network in networks:
        for source, target in shown:
            of_pair = summary[(summary["source"] == source) & (summary["target"] == target)]
            own = of_pair[of_pair["network"] == network]
            layers = list(dict.fromkeys(own["features"]))
            printed = paper[(paper["source"] == source) & (paper["target"] == target)]
            here = [
                of_pair[of_pair["network"] == SURF],
                own[own["features"].isin(layers[-2:-1])],
                own[own["features"].isin(layers[-1:])],
            ]
            parts = [
                *(printed[printed["features"] == name].assign(scale=1.0) for name in _PAPER),
                *(part.assign(scale=100.0) for part in here),
            ]
            title = f"{own['pair'].iloc[0]}: {network} ({', '.join(layers)})"
            rows += [
                dict(
                    zip(columns, (title, *key, *(_cell(part, key) for part in parts)), strict=True)
                )
                for key in OFFICE_METHODS
            ]
    table = pd.DataFrame(rows, columns=columns)
    empty = [name for name in columns[3:] if (table[name] == "–").all()]
    return table.drop(columns=empty)


def office_by_pair(summary: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy of each method on each pair, by the last layer of every network.

    Parameters
    ----------
    summary : DataFrame
        As :func:`summarise_office` gives it.

    Returns
    -------
    DataFrame
        A row per network and pair, and one for the mean over the pairs; ``section`` (network and
        layer), ``network``, ``pair``, and a column in per cent for each support vector machine and
        adaptive method.
    """
    rows: list[dict[str, Any]] = []
    last = summary[summary["last"].astype(bool)]
    for (network, layer), part in last.groupby(["network", "features"], sort=False):
        section = SURF if network == SURF else f"{network}, {layer}"
        for pair, own in part.groupby("pair", sort=False):
            means = own.set_index(["training", "method"])["mean"]
            accuracies = {name: 100 * float(means[key]) for name, key in _COLUMNS.items()}
            rows.append({"section": section, "network": network, "pair": pair} | accuracies)
    for section in dict.fromkeys(row["section"] for row in rows):
        alike = [row for row in rows if row["section"] == section]
        mean = {name: float(np.mean([row[name] for row in alike])) for name in _COLUMNS}
        pair = f"mean of {len(alike)}"
        rows.append({"section": section, "network": alike[0]["network"], "pair": pair} | mean)
    return pd.DataFrame(rows, columns=["section", "network", "pair", *_COLUMNS])


def state_office(by_pair: pd.DataFrame, networks: Sequence[str]) -> str:
    """Say in Markdown what a table of :func:`office_by_pair` shows, a paragraph per network.

    Parameters
    ----------
    by_pair : DataFrame
        As :func:`office_by_pair` gives it.
    networks : sequence of str
        Whose findings are stated; SURF's come first where it was measured.

    Returns
    -------
    str
        A paragraph for each network.
    """
    said = []
    for network in (SURF, *networks):
        own = by_pair[by_pair["network"] == network]
        if own.empty:
            continue
        pairs, mean = own.iloc[:-1], own.iloc[-1]
        labelled = _best(pairs, _ADAPTED, "ST", "of the adaptive methods")
        without = _best(pairs, _FROM_SOURCE, "S, each", "without labels of the target")
        said.append(
            f"- **{mean['section']}**, in the mean over {len(pairs)} pairs: {mean['S']:.1f} % by "
            f"the source alone, {mean['T']:.1f} % by the few labelled images of the target alone, "
            f"{mean['ST']:.1f} % by both. {labelled} {without} To scale each domain by itself "
            f"changes the classifier on both by {mean['ST, each'] - mean['ST']:+.1f} points, and "
            f"that on the source by {mean['S, each'] - mean['S']:+.1f}."
        )
    return "\n".join(said)


def state_neighbours(table: pd.DataFrame) -> str:
    """Say in Markdown how first and last layers place two domains.

    Parameters
    ----------
    table : DataFrame
        As :func:`measure_neighbours` gives it.

    Returns
    -------
    str
        A paragraph per network, means over its pairs of domains.
    """
    said = []
    for network, own in table.groupby("network", sort=False):
        layers = list(dict.fromkeys(own["layer"]))
        means = (
            own.groupby("layer", sort=False).mean(numeric_only=True).loc[[layers[0], layers[-1]]]
        )
        first, last = means.iloc[0], means.iloc[-1]
        said.append(
            f"- **{network}**: from `{layers[0]}` to `{layers[-1]}` the share of images whose "
            f"nearest image is of the same domain goes from {first['same_domain']:.0%} to "
            f"{last['same_domain']:.0%} ({last['same_domain_chance']:.0%} if domains did not "
            f"matter), of the same class from {first['same_class']:.0%} to "
            f"{last['same_class']:.0%}. Of the nearest images of the other domain, "
            f"{first['across']:.0%} and {last['across']:.0%} are of the same class "
            f"({last['across_chance']:.0%} by chance)."
        )
    return "\n".join(said)


def state_tasks(n_classes: Sequence[int]) -> str:
    """Say how many classes the paper's task has, and how many the study's."""
    sizes = " or ".join(map(str, sorted({*n_classes})))
    return (
        f"The paper's task has {PUBLISHED_CLASSES} classes"
        + (f", these have {sizes}" if sizes else "")
        + ": its numbers stand beside ours to compare methods and features, and are those of "
        "another task."
    )


def _best(pairs: pd.DataFrame, names: Sequence[str], against: str, which: str) -> str:
    """Most accurate method in the mean, and how it compares with the classifier ``against``."""
    means = pairs[[*names]].mean()
    name = str(means.idxmax())
    better = int((pairs[name] > pairs[against]).sum())
    ahead = float(means[name] - pairs[against].mean())
    error = (pairs[name] - pairs[against]).std() / np.sqrt(len(pairs))
    spread = "" if np.isnan(error) else f" ± {error:.1f}"
    return (
        f"Most accurate {which} is {name.removesuffix(' from S')} with {means[name]:.1f} %, "
        f"{ahead:+.1f}{spread} points against *{against}*, more accurate on {better} of "
        f"{len(pairs)} pairs."
    )


def _cell(part: pd.DataFrame, key: tuple[str, str]) -> str:
    own = part[(part["training"] == key[0]) & (part["method"] == key[1])]
    if own.empty:
        return "–"
    mean, deviation = (
        float(own["scale"].iloc[0] * own[name].iloc[0]) for name in ("mean", "deviation")
    )
    return f"{mean:.2f}" + ("" if np.isnan(deviation) else f" ± {deviation:.1f}")
