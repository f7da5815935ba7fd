"""Layers as fixed features: what the chapter on them measures, maps, tabulates and states.

Conventions
-----------
image
    ``crops="whole"``: resized to the network's input, nothing cut off. Donahue et al. (DeCAF, ICML
    2014) take the centre of a somewhat larger square, which loses the border.
flattened
    Every value of a layer's map, as the paper takes its fifth layer, for layers whose values fit
    into :data:`MOST_VALUES`.
map
    Features beyond 512 are projected to 512 at random, as Donahue et al. (DeCAF, ICML 2014,
    footnote 5) do; then t-SNE. Shares of neighbours are counted before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from sklearn.random_projection import GaussianRandomProjection

from analysis.chapters.study import one_layer, split_network
from analysis.data.source_tasks import COARSE_GROUPS, coarse_groups
from analysis.figures.decaf import SemanticMap
from analysis.statistics import FullNetworkEmbedding
from analysis.statistics.neighbours import neighbour_map
from analysis.transfer import caltech_protocol, summarise_protocol
from analysis.transfer.descriptors import describe_dataset
from analysis.transfer.published import published_caltech

if TYPE_CHECKING:
    import xarray as xr

    from analysis.chapters.study import Study
    from analysis.data import ImageDataset
    from analysis.networks import Backbone

Array = NDArray[Any]

CROPS = "whole"
MOST_VALUES = 450_000_000
"""Images × values of a flattened layer, at most: 1.8 GB."""
_AT_ONCE = 2**19  # values per image of layers that one pass gives: 2 MB
WORDS_FROM = 1000
"""Reference images that 1,024 visual words are learnt from."""
FEW_WORDS = 256
"""Visual words that are learnt from fewer images."""
_PLAIN: dict[str, Any] = {"classifiers": ("linear SVM",), "dropout": (False,)}
_EMBEDDING = "full-network embedding"


class Sizes(TypedDict, total=False):
    """Images of each class that train, those of them that validate, and how many splits."""

    n_train: int
    n_validate: int
    n_splits: int


def subject_of(study: Study, name: str = "") -> str:
    """Dataset that is classified: the one named, else that of the most classes, then images.

    Raises
    ------
    ValueError
        If the dataset named is not in the study.
    """
    if name and name not in study.datasets:
        raise ValueError(
            f"expected a dataset of the study ({', '.join(study.datasets)}) or an "
            f"empty name, got {name!r}"
        )
    sizes = {each: study.data(each) for each in study.datasets}
    return name or max(sizes, key=lambda each: (len(sizes[each].classes), len(sizes[each])))


def layer_features(
    study: Study, dataset: str, spec: str, beside: Sequence[str] = ()
) -> dict[str, Array]:
    """Features of every layer, spatial means.

    Parameters
    ----------
    study : Study
        Where images and networks come from.
    dataset, spec : str
        Dataset, network with weights.
    beside : sequence of str
        Layers to take beside those of the embedding; those that the network lacks are left out.

    Returns
    -------
    dict of str to ndarray of float32, shape (images, units)
    """
    return _layers(study, study.data(dataset), study.backbone(spec), beside)


def flattened_features(study: Study, dataset: str, spec: str) -> dict[str, xr.DataArray]:
    """Features of layers without pooling, as far as they fit into :data:`MOST_VALUES`.

    Returns
    -------
    dict of str to DataArray of float32, shape (images, units × height × width)
        ``"LAYER, flattened"`` → features. Layers without a map, such as fully connected ones, are
        what they are and not among them.
    """
    from analysis.features import extract  # loads PyTorch

    data, net = study.data(dataset), study.backbone(spec)
    groups: list[list[str]] = []
    held = _AT_ONCE  # values per image of the last group
    for layer in net.layers:
        values = layer.units * int(np.prod(layer.spatial or 0))
        if not 0 < len(data) * values <= MOST_VALUES:
            continue
        if held + values > _AT_ONCE:
            groups.append([])
            held = 0
        groups[-1].append(layer.name)
        held += values
    found: dict[str, xr.DataArray] = {}
    for names in groups:
        X = extract(data, net, crops=CROPS, layers=names, pooling="none", progress=False)
        found |= {f"{name}, flattened": one_layer(X, name) for name in names}
    return found


def control_features(
    study: Study, dataset: str, spec: str, beside: Sequence[str] = ()
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Features that nobody has learnt: classical descriptors, and layers of random weights.

    Parameters
    ----------
    study, dataset, spec, beside
        As in :func:`layer_features`; weights are drawn with the study's seed.

    Returns
    -------
    descriptors, layers : dict of str to ndarray of float32, shape (images, any)
        Visual words are learnt from the study's reference images.
    """
    from analysis.networks import load_backbone  # loads PyTorch

    data = study.data(dataset)
    described = describe_dataset(data, seed=study.seed, **words_of(study))
    net = load_backbone(split_network(spec)[0], weights="random", seed=study.seed)
    return {**described}, _layers(study, data, net, beside)


def words_of(study: Study) -> dict[str, Any]:
    """Name what visual words are learnt from: the study's reference images, and how many words."""
    images = study.reference(WORDS_FROM)
    return {"words_from": images, "n_words": 1024 if len(images) >= WORDS_FROM else FEW_WORDS}


def measure_layers(
    study: Study, subject: str, spec: str, layers: Mapping[str, Array], **protocol: Unpack[Sizes]
) -> pd.DataFrame:
    """Classify by every layer, with both classifiers, with and without dropout.

    Parameters
    ----------
    study, subject, spec
        As in :func:`layer_features`, which gives ``layers``.
    layers : mapping of str to ndarray
        Features. Flattened layers are added, with a linear SVM alone and without dropout.
    **protocol
        ``n_train``, ``n_validate``, ``n_splits`` of :func:`analysis.transfer.caltech_protocol`.

    Returns
    -------
    DataFrame
        :func:`analysis.transfer.summarise_protocol` of all.
    """
    labels = study.data(subject).labels
    tables = [caltech_protocol(layers, labels, seed=study.seed, **protocol)]
    if flat := flattened_features(study, subject, spec):
        tables.append(caltech_protocol(flat, labels, seed=study.seed, **_PLAIN, **protocol))
    return summarise_protocol(pd.concat(tables))


def measure_others(
    study: Study, subject: str, spec: str, layers: Mapping[str, Array], **protocol: Unpack[Sizes]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Classify by what is no layer, with a linear SVM.

    Parameters
    ----------
    study, subject, spec, layers, **protocol
        As in :func:`measure_layers`.

    Returns
    -------
    descriptors, random, embedding : DataFrame
        Summaries: of classical descriptors, of all layers with random weights, and of the
        full-network embedding of the layers of the embedding.
    """
    described, random = control_features(study, subject, spec, [*layers])
    whole = np.hstack([layers[layer.name] for layer in study.backbone(spec).layers])
    random = {f"random weights, {name}": values for name, values in random.items()}
    found = []
    for features in (described, random, {_EMBEDDING: whole}):
        table = caltech_protocol(
            features,
            study.data(subject).labels,
            seed=study.seed,
            transformers={name: FullNetworkEmbedding() for name in features if name == _EMBEDDING},
            **_PLAIN,
            **protocol,
        )
        found.append(summarise_protocol(table))
    return found[0], found[1], found[2]


def _layers(
    study: Study, data: ImageDataset, net: Backbone, beside: Sequence[str]
) -> dict[str, Array]:
    from analysis.features import extract  # loads PyTorch

    own = [layer.name for layer in net.layers]
    names = [*own, *(name for name in beside if name in net.available and name not in own)]
    X = extract(data, net, crops=CROPS, layers=names, progress=study.progress).compute()
    layers = X["layer"].to_numpy()
    return {name: X.values[:, layers == name] for name in names}


_PROJECTED = 512
_NEIGHBOURS = 10


def semantic_maps(study: Study, subject: str, spec: str) -> list[SemanticMap]:
    """Map images by GIST, LLC, a network's first pooling layer and its last layer.

    Parameters
    ----------
    study : Study
        Where images and networks come from; its seed is that of projection and map.
    subject : str
        Dataset that is mapped, coloured by its classes, where no reference images bear the names
        of ImageNet's classes.
    spec : str
        Network with weights.

    Returns
    -------
    list of SemanticMap
        Four; three for a network without a pooling layer.
    """
    data, groups, order = _coloured(study, subject)
    described = describe_dataset(data, names=("GIST", "LLC"), seed=study.seed, **words_of(study))
    features: dict[str, Array] = {**described}
    features |= _pooled_and_last(data, study.backbone(spec))
    return [_mapped(name, X, groups, order, study.seed) for name, X in features.items()]


def time_networks(study: Study, specs: Sequence[str]) -> pd.DataFrame:
    """Measure the time of a forward pass by module, and the rate that follows.

    Returns
    -------
    DataFrame
        :func:`analysis.networks.time_by_layer` for each network, one crop at a time, with the
        columns ``network``, and ``rate``: images per second in batches of sixteen.
    """
    from analysis.networks import time_by_layer  # loads PyTorch

    parts = []
    for spec in specs:
        net = study.backbone(spec)
        several = time_by_layer(net, batch_size=16, repeats=3, seed=study.seed)
        table = time_by_layer(net, seed=study.seed)
        parts.append(table.assign(network=spec, rate=16 / several["seconds"].sum()))
    return pd.concat(parts, ignore_index=True)


def _coloured(study: Study, subject: str) -> tuple[ImageDataset, NDArray[np.str_], tuple[str, ...]]:
    """Images to map, the group of each, and the groups in order."""
    for name in study.reference_images:
        data = study.data(name)
        of_class = coarse_groups(data.classes)
        if of_class is not None:
            return data, of_class[data.labels], COARSE_GROUPS
    data = study.data(subject)
    return data, np.asarray(data.classes)[data.labels], tuple(data.classes)


def _pooled_and_last(data: ImageDataset, net: Backbone) -> dict[str, Array]:
    from analysis.features import extract  # loads PyTorch

    found: dict[str, Array] = {}
    if "pool1" in net.available:
        X = extract(data, net, crops=CROPS, layers=["pool1"], pooling="flatten:100", progress=False)
        found["pool1"] = np.asarray(X.values)
    last = net.layers[-1].name
    X = extract(data, net, crops=CROPS, layers=[last], progress=False)
    return found | {last: np.asarray(X.values)}


def _mapped(
    name: str, X: Array, groups: NDArray[np.str_], order: tuple[str, ...], seed: int
) -> SemanticMap:
    rows = np.asarray(X, np.float64)
    if rows.shape[1] > _PROJECTED:
        rows = GaussianRandomProjection(_PROJECTED, random_state=seed).fit_transform(rows)
    k = min(_NEIGHBOURS, len(rows) - 1)
    scaled = (rows - rows.mean(axis=0)) / np.where(rows.std(axis=0) > 0, rows.std(axis=0), 1)
    nearest = NearestNeighbors(n_neighbors=k).fit(scaled).kneighbors(return_distance=False)
    alike = float(np.mean(groups[nearest] == groups[:, None]))
    sizes = np.unique(groups, return_counts=True)[1]
    chance = float((sizes * (sizes - 1)).sum() / (len(groups) * (len(groups) - 1)))
    shown = tuple(each for each in order if (groups == each).any())
    return SemanticMap(name, neighbour_map(rows, seed=seed), groups, shown, alike, chance)


_COLUMNS = {
    ("logistic regression", False): "logistic",
    ("logistic regression", True): "logistic_dropout",
    ("linear SVM", False): "svm",
    ("linear SVM", True): "svm_dropout",
}
LAYERS = {
    "features": "{features}",
    "logistic regression": "{logistic}",
    "with dropout": "{logistic_dropout}",
    "linear SVM": "{svm}",
    "SVM with dropout": "{svm_dropout}",
}
"""Columns of :func:`layers_beside_paper`."""
_RANDOM = "random weights, "
CONTROLS = {
    "features": "{features}",
    "linear SVM": "{mean:.1%} ± {std:.1%}",
    "by validation": "{validation:.1%}",
    "C": "{C:g}",
}
"""Columns of a summary of features that are no layer."""


def layers_beside_paper(summary: pd.DataFrame, here: str) -> pd.DataFrame:
    """Accuracies in the layout of the paper's figure 4 left, the paper's below.

    Parameters
    ----------
    summary
        :func:`analysis.transfer.summarise_protocol` of layers.
    here
        What the section with this study's accuracies is called.

    Returns
    -------
    DataFrame
        ``of`` (the section), ``features`` and a column for each classifier with and without
        dropout, "mean ± std" in per cent, a dash where there is none.
    """
    measured = summary.assign(mean=100 * summary["mean"], std=100 * summary["std"])
    paper = published_caltech().replace({"features": {"DeCAF5": "DeCAF5, flattened"}})
    parts = {here: measured, "Donahue et al. (2014), Caltech-101": paper}
    rows = []
    for section, part in parts.items():
        for name, own in part.groupby("features", sort=False):
            row = dict.fromkeys(_COLUMNS.values(), "–")
            for each in own.to_dict("records"):
                if np.isfinite(each["mean"]):
                    column = _COLUMNS[each["classifier"], bool(each["dropout"])]
                    row[column] = f"{each['mean']:.1f} ± {each['std']:.1f}"
            rows.append({"of": section, "features": name, **row})
    return pd.DataFrame(rows)


def best_of(summary: pd.DataFrame) -> pd.Series:
    """Row of the best validation accuracy, of equals the first; none of it is of test images."""
    return summary.iloc[int(summary["validation"].to_numpy().argmax())]


def other_features(
    summary: pd.DataFrame, random: pd.DataFrame, embedding: pd.DataFrame
) -> pd.DataFrame:
    """Descriptors, the best layer of random weights, and the full-network embedding.

    Parameters
    ----------
    summary, random, embedding
        Summaries of the three; of the second the row of the best validation accuracy is taken.

    Returns
    -------
    DataFrame
        Rows of a summary, from the plainest features on.
    """
    best = best_of(random).to_frame().T.infer_objects()
    return pd.concat([summary, best, embedding], ignore_index=True)


def decaf_facts(
    layers: pd.DataFrame,
    others: pd.DataFrame,
    curve: pd.DataFrame,
    maps: Sequence[SemanticMap],
    times: pd.DataFrame,
) -> dict[str, Any]:
    """Numbers and names for the chapter's prose.

    Parameters
    ----------
    layers, others, curve
        Summaries: of all layers, of other features, of the curve over training sizes.
    maps
        As drawn.
    times
        :func:`analysis.chapters.decaf.time_networks`.

    Returns
    -------
    dict
        Accuracies in per cent.
    """
    plain = layers[~layers["features"].str.endswith(", flattened")]
    svm = plain[(plain["classifier"] == "linear SVM") & ~plain["dropout"]]
    chosen, best, top = (
        best_of(layers),
        best_of(svm),
        svm.iloc[int(svm["mean"].to_numpy().argmax())],
    )
    trained = plain.set_index(["features", "classifier", "dropout"])["mean"].unstack("dropout")
    gained = 100 * (trained[True] - trained[False])
    named = others.set_index("features")["mean"]
    random = next(name for name in named.index if name.startswith(_RANDOM))
    described = named[: list(named.index).index(random)]
    one = curve[
        (curve["n_train"] == curve["n_train"].min()) & (curve["classifier"] == "linear SVM")
    ]
    first, last = maps[-2], maps[-1]
    whole = times.groupby("network", sort=False)["rate"].first()
    facts = {
        "chosen": _configuration(chosen),
        "chosen_mean": 100 * chosen["mean"],
        "chosen_std": 100 * chosen["std"],
        "svm_layer": best["features"],
        "svm_mean": 100 * best["mean"],
        "svm_std": 100 * best["std"],
        "top_layer": top["features"],
        "top_mean": 100 * top["mean"],
        "first_layer": svm["features"].iloc[0],
        "first_mean": 100 * svm["mean"].iloc[0],
        "dropout_least": float(gained.min()),
        "dropout_most": float(gained.max()),
        "dropout_better": int((gained > 0).sum()),
        "dropout_of": len(gained),
        "random_layer": random.removeprefix(_RANDOM),
        "random_mean": 100 * named[random],
        "descriptor": described.idxmax(),
        "descriptor_mean": 100 * described.max(),
        "descriptor_worst": described.idxmin(),
        "descriptor_worst_mean": 100 * described.min(),
        "embedding_mean": 100 * named["full-network embedding"],
        "smallest": int(curve["n_train"].min()),
        "smallest_mean": 100 * one["mean"].max(),
        "alike": _listed({each.name: f"{each.alike:.0%}" for each in maps}),
        "alike_chance": 100 * maps[0].chance,
        "alike_verdict": "agree more often"
        if last.alike > first.alike
        else "do not agree more often",
        "last_map": last.name,
        "first_map": first.name,
        "rates": _listed({name: f"{rate:,.0f}" for name, rate in whole.items()}),
    }
    return {
        name: float(value) if isinstance(value, np.floating) else value
        for name, value in facts.items()
    }


def _configuration(row: pd.Series) -> str:
    dropout = " with dropout" if row["dropout"] else ""
    return f"{row['classifier']}{dropout} on {row['features']}"


def _listed(values: Mapping[Any, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
