"""Which images lie next to each other: of the same class, or of the same domain.

And how far features move when an image is changed.

Conventions
-----------
features
    Standardised over all images given, of both domains together; those that do not vary have no
    part.
distance
    Euclidean, in the full space of features; never in a map.
equal distances
    The first image counts.
map
    t-SNE (van der Maaten and Hinton, *Visualizing data using t-SNE*, JMLR 9, 2008) of the first
    50 principal components, as there, started from the first two, perplexity 30 or a third of the
    other images where there are fewer. It shows who is near, not how far groups are apart.
relative change
    Euclidean distance between the features of an image before and after, divided by the mean
    distance between the features of two different images. 0: the features ignore the change;
    1: they take the changed image for another one. Free of the scale of the features, so layers
    compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import pdist

from analysis.data.images import checked_labels
from analysis.statistics.blocks import dense
from analysis.statistics.named import by_name, feature_names
from analysis.statistics.threads import one_blas_thread

Floats = NDArray[np.float64]

_COMPONENTS, _PERPLEXITY = 50, 30.0
_BLOCK = 2**22  # distances at a time: 32 MB


class NeighbourShares(NamedTuple):
    """Shares of images, from 0 to 1, each beside what it is in the mean over shuffled images.

    Attributes
    ----------
    same_domain, same_class
        Whose nearest other image is of the same domain, of the same class.
    across
        Whose nearest image of another domain is of the same class.
    same_domain_chance, same_class_chance, across_chance
        The same if every other image (of the other domains, for ``across``) were as likely to be
        the nearest.
    """

    same_domain: float
    same_class: float
    across: float
    same_domain_chance: float
    same_class_chance: float
    across_chance: float


def neighbour_shares(X: ArrayLike, classes: ArrayLike, domains: ArrayLike) -> NeighbourShares:
    """Whether nearest neighbours share the domain or the class.

    Parameters
    ----------
    X : array_like, shape (images, features)
        Finite features of the images of all domains.
    classes, domains : array_like, shape (images,)
        Class and domain of each image, at least two domains.

    Returns
    -------
    NeighbourShares

    Raises
    ------
    ValueError
        Features that are not finite or not of as many images as there are classes and domains,
        fewer than two domains.
    """
    rows = _standardised(X)
    shapes = np.shape(classes), np.shape(domains)
    if {*shapes} != {rows.shape[:1]}:
        raise ValueError(
            f"expected a class and a domain for each of {len(rows)} images, got {shapes[0]} and "
            f"{shapes[1]}"
        )
    names, origins = checked_labels(classes), checked_labels(domains)
    if np.unique(origins).size < 2:
        raise ValueError(f"expected images of two domains, got {np.unique(origins).tolist()}")
    nearest, abroad = _nearest(rows, origins)
    alike, home = names[:, None] == names, origins[:, None] == origins
    others = len(rows) - 1
    away = (~home).sum(axis=1)
    return NeighbourShares(
        same_domain=float(np.mean(origins[nearest] == origins)),
        same_class=float(np.mean(names[nearest] == names)),
        across=float(np.mean(names[abroad] == names)),
        same_domain_chance=float(np.mean((home.sum(axis=1) - 1) / others)),
        same_class_chance=float(np.mean((alike.sum(axis=1) - 1) / others)),
        across_chance=float(np.mean((alike & ~home).sum(axis=1) / away)),
    )


@one_blas_thread
def neighbour_map(X: ArrayLike, *, seed: int) -> Floats:
    """Place images in the plane, neighbours near each other (t-SNE).

    Parameters
    ----------
    X : array_like, shape (images, features)
        Finite features of at least four images.
    seed : int
        Seed; the same features and seed give the same places on one machine.

    Returns
    -------
    ndarray of float64, shape (images, 2)

    Raises
    ------
    ValueError
        Features that are not finite, fewer than four images.
    """
    from sklearn.manifold import TSNE  # slow to import, and seldom needed

    rows = _standardised(X)
    if len(rows) < 4:
        raise ValueError(f"expected at least four images, got {len(rows)}")
    left, lengths, _ = np.linalg.svd(rows, full_matrices=False)
    components = (left * lengths)[:, :_COMPONENTS]
    if components.shape[1] < 2:
        components = np.pad(components, ((0, 0), (0, 1)))
    start = components[:, :2] * (1e-4 / (components[:, 0].std() or 1.0))
    perplexity = min(_PERPLEXITY, (len(rows) - 1) / 3)
    machine = TSNE(perplexity=perplexity, init=start, learning_rate="auto", random_state=seed)
    return np.asarray(machine.fit_transform(components), np.float64)


def _standardised(X: ArrayLike) -> Floats:
    values = np.asarray(dense(X), np.float64)
    if values.ndim != 2 or 0 in values.shape or not np.isfinite(values).all():
        raise ValueError(f"expected finite features (images, features), got {values.shape}")
    varying = values[:, (values != values[0]).any(axis=0)]
    if not varying.shape[1]:
        return np.zeros((len(values), 1))
    scaled: Floats = (varying - varying.mean(axis=0)) / varying.std(axis=0)
    return scaled


def _nearest(rows: Floats, domains: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Of every image the nearest other one, and the nearest one of another domain."""
    squares = (rows**2).sum(axis=1)
    step = max(1, _BLOCK // len(rows))
    found = []
    for first in range(0, len(rows), step):
        block = np.arange(first, min(first + step, len(rows)))
        apart = squares - 2 * rows[block] @ rows.T  # plus the image's own square, the same for all
        apart[block - first, block] = np.inf
        nearest = apart.argmin(axis=1)
        apart[domains[block, None] == domains] = np.inf
        found.append((nearest, apart.argmin(axis=1)))
    nearest, abroad = (np.concatenate(part) for part in zip(*found, strict=True))
    return nearest, abroad


def relative_change(before: npt.ArrayLike, after: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Distance that each image's features moved, in units of the distance between two images.

    Parameters
    ----------
    before, after : array_like, shape (n, f)
        Features of ``n`` images and of their changed copies, in the same order.

    Returns
    -------
    ndarray of float64, shape (n,)
        Relative change of every image, zero or more.

    Raises
    ------
    ValueError
        If the shapes differ, there are fewer than two images, or all images have the same
        features.
    """
    X = np.asarray(before, dtype=np.float64)
    Y = np.asarray(by_name(after, feature_names(before), "the features after"), dtype=np.float64)
    if X.ndim != 2 or X.shape != Y.shape or len(X) < 2:
        raise ValueError(
            f"expected two arrays of one shape (n, f), n at least two, got {X.shape} and {Y.shape}"
        )
    between = pdist(X).mean()
    if between == 0:
        raise ValueError("all images have the same features: there is no distance to compare with")
    moved: npt.NDArray[np.float64] = np.linalg.norm(Y - X, axis=1) / between
    return moved


def change_by_layer(before: xr.DataArray, after: Mapping[str, xr.DataArray]) -> pd.DataFrame:
    """Relative change of the features of each layer under several changes of the images.

    Parameters
    ----------
    before : DataArray (image, feature) with coordinate ``layer``
        Features of the images.
    after : mapping of str to DataArray
        Name of the change → features of the changed images, in the same order.

    Returns
    -------
    DataFrame
        One row per change and layer: ``layer``, ``change``, and over the images ``median``,
        ``lower`` and ``upper`` (the quartiles) of :func:`relative_change`.
    """
    layers = before["layer"].to_numpy()
    X = before.to_numpy()
    rows = []
    for change, copies in after.items():
        Y = by_name(copies, feature_names(before), "the features after").to_numpy()
        for layer in dict.fromkeys(layers.tolist()):
            moved = relative_change(X[:, layers == layer], Y[:, layers == layer])
            lower, median, upper = np.quantile(moved, [0.25, 0.5, 0.75])
            rows.append((layer, change, median, lower, upper))
    return pd.DataFrame(rows, columns=["layer", "change", "median", "lower", "upper"])
