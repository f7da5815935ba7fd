"""Descriptors of two domains: of an early layer, of a late one, and both side by side.

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
    Whatever is learnt here is learnt from the source's features alone, and no labels are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.named import by_name, feature_names
from analysis.transfer.adaptation._domains import two_domains
from analysis.transfer.chunked_pca import ChunkedPCA, read_block, two_dimensional

__all__ = [
    "SELECTIONS",
    "Descriptor",
    "Domains",
    "fuse",
    "fusion_descriptors",
    "keep_features",
    "local_descriptors",
    "segment_means",
]

SELECTIONS: Mapping[str, str] = {"PCA": "none", "flatten": "flatten:100", "pool 2D": "mean"}
"""Ways to reduce a map, and the pooling by which :func:`analysis.extract` gives what they need:
the descriptors themselves, or the map for ``"PCA"``."""

SCALINGS = ("none", "size")
_BYTES = 2**28

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


def local_descriptors(
    source_maps: Any,
    target_maps: Any,
    selection: str,
    *,
    n_components: int = 256,
    segment: int = 100,
    units: int | None = None,
) -> Domains:
    """Reduce the maps of a block.

    Parameters
    ----------
    source_maps, target_maps : array, shape (images, values)
        Flattened maps (unit, row, column), as ``extract(pooling="none")`` gives them for one layer;
        any array that :mod:`analysis.transfer.chunked_pca` can read by blocks.
    selection : {"PCA", "flatten", "pool 2D"}
        See above. The last two are what ``extract`` gives by the pooling that :data:`SELECTIONS`
        names, from maps that it need not store.
    n_components : int
        Of ``"PCA"``.
    segment : int
        Values that ``"flatten"`` averages.
    units : int, optional
        Units of the layer; only ``"pool 2D"`` needs them.

    Returns
    -------
    Domains
        float64 components, or means as precise as the maps.

    Raises
    ------
    ValueError
        For a selection that is not known, maps that do not fit together, or units that do not
        divide them.
    """
    target_maps = by_name(target_maps, feature_names(source_maps), "maps of the target")
    maps = Domains(two_dimensional(source_maps), two_dimensional(target_maps))
    widths = [each.shape[1] for each in maps]
    if widths[0] != widths[1]:
        raise ValueError(
            f"expected maps of the same layer of the same network, got {widths[0]} values per "
            f"image of the source and {widths[1]} of the target"
        )
    if selection == "PCA":
        found = ChunkedPCA(n_components).fit(maps.source)
        return Domains(found.scores_, found.transform(maps.target))
    if selection == "pool 2D":
        segment = _values_per_unit(widths[0], units)
    elif selection != "flatten":
        raise ValueError(f"unknown selection {selection!r}; known: {', '.join(SELECTIONS)}")
    return Domains(*(segment_means(each, segment) for each in maps))


def _values_per_unit(width: int, units: int | None) -> int:
    if units is None or units < 1 or width % units:
        raise ValueError(
            f"expected the number of units of the layer, which divides the {width} values of its "
            f"map, got {units}"
        )
    return width // units


def segment_means(maps: Any, segment: int) -> Array:
    """Means of consecutive values of every image, read by blocks.

    Parameters
    ----------
    maps : array, shape (images, values)
        Flattened maps.
    segment : int
        Values per mean; the last one is of what is left.

    Returns
    -------
    ndarray, shape (images, ceil(values / segment))
        Summed in float64; float32, or float64 if the maps are.
    """
    maps = two_dimensional(maps)
    if segment < 1:
        raise ValueError(f"expected segments of at least one value, got {segment}")
    n, width = maps.shape
    step = segment * max(1, _BYTES // (8 * n * segment))
    parts = []
    for begin in range(0, width, step):
        block = read_block(maps, slice(begin, min(begin + step, width)))
        whole = block.shape[1] // segment * segment
        pieces = [block[:, :whole].reshape(n, -1, segment), block[:, None, whole:]]
        parts += [p.mean(axis=2, dtype=np.float64).astype(p.dtype) for p in pieces if p.size]
    return np.concatenate(parts, axis=1)


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
    parts = [Domains(*two_domains(*each)) for each in (global_features, local_features)]
    for name, ours, theirs in zip(Domains._fields, *parts, strict=True):
        if len(ours) != len(theirs):
            raise ValueError(
                f"expected both descriptors of the same images, but of the {name} there are "
                f"{len(ours)} and {len(theirs)}"
            )
    if scaling == "size":
        parts = [_of_size_one(each) for each in parts]
    return Domains(*(np.hstack(both) for both in zip(*parts, strict=True)))


def _of_size_one(domains: Domains) -> Domains:
    mean = domains.source.mean(axis=0)
    size = float(np.sqrt(((domains.source - mean) ** 2).sum(axis=1).mean())) or 1.0
    return Domains(*((each - mean) / size for each in domains))


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
