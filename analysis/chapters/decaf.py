"""Layers as fixed features: what a study gives the chapter on them to classify and to map.

Conventions
-----------
image
    ``crops="whole"``: resized to the network's input, nothing cut off. Donahue et al. (DeCAF, ICML
    2014) take the centre of a somewhat larger square, which loses the border.
flattened
    Every value of a layer's map, as the paper takes its fifth layer, for layers whose values fit
    into :data:`MOST_VALUES`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.chapters.parameters import split_network
from analysis.statistics import FullNetworkEmbedding
from analysis.transfer import caltech_protocol, summarise_protocol
from analysis.transfer.descriptors import describe_dataset

if TYPE_CHECKING:
    from analysis.chapters.study import Study
    from analysis.data import ImageDataset
    from analysis.networks import Backbone

__all__ = [
    "control_features",
    "flattened_features",
    "layer_features",
    "measure_layers",
    "measure_others",
    "subject_of",
    "words_of",
]

Array = NDArray[Any]

CROPS = "whole"
MOST_VALUES = 450_000_000
"""Images × values of a flattened layer, at most: 1.8 GB."""
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
