"""Layers as fixed features: what a study gives the chapter on them to classify and to map.

Conventions
-----------
image
    ``crops="whole"``: resized to the network's input, nothing cut off. Donahue et al. (DeCAF, ICML
    2014) take the centre of a somewhat larger square, which loses the border.
flattened
    Every value of a layer's map, as the paper takes its fifth layer, for layers whose values fit
    into :data:`MOST_VALUES`.
map
    A layer beyond 512 values is projected to 512 at random, as the paper does (footnote 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from sklearn.random_projection import GaussianRandomProjection

from analysis.data.wordnet_groups import COARSE_GROUPS, coarse_groups
from analysis.statistics.neighbours import neighbour_map
from analysis.studies.parameters import split_network
from analysis.transfer.descriptors import describe_dataset

if TYPE_CHECKING:
    from analysis.data import ImageDataset
    from analysis.networks import Backbone
    from analysis.studies.study import Study

__all__ = [
    "SemanticMap",
    "control_features",
    "flattened_features",
    "layer_features",
    "semantic_maps",
    "subject_of",
    "time_networks",
]

Array = NDArray[Any]

CROPS = "whole"
MOST_VALUES = 450_000_000
"""Images × values of a flattened layer, at most: 1.8 GB."""
WORDS_FROM = 1000
"""Reference images that 1,024 visual words are learnt from; from fewer images, 256 are."""
_PROJECTED = 512
_NEIGHBOURS = 10
_PAPERS_RATE = 40.0


class SemanticMap(NamedTuple):
    """Images in the plane, and how well neighbours agree.

    Attributes
    ----------
    name : str
        Of the features.
    points : ndarray of float64, shape (images, 2)
        Places, see :func:`analysis.statistics.neighbours.neighbour_map`.
    groups : ndarray of str, shape (images,)
        Group of each image.
    order : tuple of str
        Names of the groups, in the order of a legend.
    alike : float
        Share of an image's ten nearest neighbours, in the space that is mapped, that are of its
        group.
    chance : float
        The same if every other image were as likely to be a neighbour.
    """

    name: str
    points: NDArray[np.float64]
    groups: NDArray[np.str_]
    order: tuple[str, ...]
    alike: float
    chance: float


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


def flattened_features(study: Study, dataset: str, spec: str) -> dict[str, Array]:
    """Features of layers without pooling, as far as they fit into :data:`MOST_VALUES`.

    Returns
    -------
    dict of str to ndarray of float32, shape (images, units × height × width)
        ``"LAYER, flattened"`` → features. Layers without a map, such as fully connected ones, are
        what they are and not among them.
    """
    from analysis.features import extract  # loads PyTorch

    data, net = study.data(dataset), study.backbone(spec)
    found = {}
    for layer in net.layers:
        if layer.spatial is None:
            continue
        if len(data) * layer.units * int(np.prod(layer.spatial)) > MOST_VALUES:
            continue
        X = extract(data, net, crops=CROPS, layers=[layer.name], pooling="none", progress=False)
        found[f"{layer.name}, flattened"] = np.asarray(X.values)
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
    words_from = study.reference(WORDS_FROM)
    n_words = 1024 if len(words_from) >= WORDS_FROM else 256
    described = describe_dataset(data, words_from, n_words=n_words, seed=study.seed)
    net = load_backbone(split_network(spec)[0], weights="random", seed=study.seed)
    return {**described}, _layers(study, data, net, beside)


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
    words_from = study.reference(WORDS_FROM)
    n_words = 1024 if len(words_from) >= WORDS_FROM else 256
    features: dict[str, Array] = {
        **describe_dataset(
            data, words_from, names=("GIST", "LLC"), n_words=n_words, seed=study.seed
        )
    }
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


def _layers(
    study: Study, data: ImageDataset, net: Backbone, beside: Sequence[str]
) -> dict[str, Array]:
    from analysis.features import extract  # loads PyTorch

    own = [layer.name for layer in net.layers]
    names = [*own, *(name for name in beside if name in net.available and name not in own)]
    X = extract(data, net, crops=CROPS, layers=names, progress=study.progress).compute()
    layers = X["layer"].to_numpy()
    return {name: X.values[:, layers == name] for name in names}


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
