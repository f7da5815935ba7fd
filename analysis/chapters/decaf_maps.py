"""Images in the plane by what is said of them, and the time that a network takes to say it.

Conventions
-----------
map
    Features beyond 512 are projected to 512 at random, as Donahue et al. (DeCAF, ICML 2014,
    footnote 5) do; then t-SNE. Shares of neighbours are counted before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from sklearn.random_projection import GaussianRandomProjection

from analysis.chapters.decaf import CROPS, words_of
from analysis.data.wordnet_groups import COARSE_GROUPS, coarse_groups
from analysis.figures.decaf import SemanticMap
from analysis.statistics.neighbours import neighbour_map
from analysis.transfer.descriptors import describe_dataset

if TYPE_CHECKING:
    from analysis.chapters.study import Study
    from analysis.data import ImageDataset
    from analysis.networks import Backbone

__all__ = ["semantic_maps", "time_networks"]

Array = NDArray[Any]

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
