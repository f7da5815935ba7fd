"""One feature inside and outside a class, and how distances distribute over the layers.

The features and classes that stand furthest apart, and the measures on which section 5 and 6 of
Garcia-Gasulla et al. (2018) draw in words: how far from zero, how symmetrical, with how many modes
and of which shape, how long the tails.

Conventions
-----------
presence, absence
    Positive and negative distances, the two modes of a layer's distribution in section 5 of
    Garcia-Gasulla et al. (2018). The paper draws "modes and error bars" without saying how they
    were found; here they are the fullest of equal bins of |D|, and two quantiles.
presence, absence
    Pairs of a feature and a class with D > 0 and with D < 0. Pairs at exactly 0 (constant
    features) belong to neither, but count where a share of all pairs is given.
density
    Counts in bins of 0.01 smoothed by a Gaussian of standard deviation 0.02, pairs at exactly 0
    left out. A mode is the highest bin of its side; the valley is the lowest between the modes.
extreme
    Beyond 0.5 in absolute value. The paper gives no number.
near zero
    |D| up to 0.01, a bin of width 0.02: the paper's 100 bins, if they were of D and a bin were
    centred at 0; it states neither.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.special import ndtr

Floats = NDArray[np.float64]

_BIN = ["left", "right", "share"]
_BEYOND = (0.1, 0.25, 0.5)
QUANTILES = (0.16, 0.84)
"""Ends of the spread: one standard deviation either side, were the distances normal."""


@dataclass(frozen=True, eq=False)
class FeatureClassPair:
    """One feature on the images of a class and on all others.

    Attributes
    ----------
    bin_edges : ndarray, shape (bins + 1,)
        Equal widths between the least and the greatest value of both.
    inner_histogram, outer_histogram : ndarray, shape (bins,)
        Share of the inner and of the outer images in each bin; each sums to 1.
    x : ndarray, shape (values + 1,)
        Every value that occurs, once; the least comes twice, so that curves can rise from 0.
    inner_edf, outer_edf : ndarray, shape (values + 1,)
        Share of the images at or below ``x``; 0 at the first entry.
    gap_at : float
        The least value with the widest gap in the direction of ``distance``.
    inner_at_gap, outer_at_gap : float
        Both distribution functions there.
    distance : float
        Signed Kolmogorov-Smirnov distance, ``outer_at_gap - inner_at_gap``.
    """

    bin_edges: Floats
    inner_histogram: Floats
    outer_histogram: Floats
    x: Floats
    inner_edf: Floats
    outer_edf: Floats
    gap_at: float
    inner_at_gap: float
    outer_at_gap: float
    distance: float


def edf_pair(values: ArrayLike, inner: ArrayLike, *, bins: int = 100) -> FeatureClassPair:
    """Histograms and distribution functions of one feature, as in figure 1 of the paper.

    Parameters
    ----------
    values : array_like, shape (images,)
        The feature, finite.
    inner : array_like of bool, shape (images,)
        Which images belong to the class.
    bins : int
        Bins of the histograms. The distribution functions and the distance are exact.

    Returns
    -------
    FeatureClassPair

    Raises
    ------
    ValueError
        Shapes that differ, values that are not finite, no inner or no outer image.
    """
    values, inner = np.asarray(values, dtype=np.float64), np.asarray(inner)
    if values.ndim != 1 or inner.shape != values.shape or inner.dtype != np.bool_:
        raise ValueError(
            "expected values (images,) and as many booleans, got shapes "
            f"{values.shape} and {inner.shape} of {inner.dtype}: give inner=labels == a_class"
        )
    n_inner, n_outer = int(inner.sum()), int((~inner).sum())
    if not np.isfinite(values).all() or not n_inner or not n_outer:
        raise ValueError(
            f"expected finite values of inner and outer images, got {n_inner} and {n_outer} images "
            f"and {(~np.isfinite(values)).sum()} values that are not"
        )
    edges = np.histogram_bin_edges(values, bins)
    x, place = np.unique(values, return_inverse=True)
    x = np.concatenate([x[:1], x])
    below_inner, below_outer = (
        np.concatenate([[0], np.cumsum(np.bincount(place[part], minlength=x.size - 1))])
        for part in (inner, ~inner)
    )
    gaps = below_outer * n_inner - below_inner * n_outer  # integers: equal gaps are seen as equal
    at = int(gaps.argmax() if gaps.max() > -gaps.min() else gaps.argmin())
    inner_edf, outer_edf = below_inner / n_inner, below_outer / n_outer
    return FeatureClassPair(
        bin_edges=edges,
        inner_histogram=np.histogram(values[inner], edges)[0] / n_inner,
        outer_histogram=np.histogram(values[~inner], edges)[0] / n_outer,
        x=x,
        inner_edf=inner_edf,
        outer_edf=outer_edf,
        gap_at=float(x[at]),
        inner_at_gap=float(inner_edf[at]),
        outer_at_gap=float(outer_edf[at]),
        distance=int(gaps[at]) / (n_inner * n_outer),
    )


def layer_histograms(D: xr.DataArray, *, bins: int = 100) -> pd.DataFrame:
    """Distribution of the signed distances of each layer.

    Parameters
    ----------
    D : DataArray (class, feature) with the coordinate ``layer``
        Signed distances.
    bins : int
        Equal bins of [-1, 1].

    Returns
    -------
    DataFrame
        A row per layer and bin: ``layer``, the bin's ends ``left`` and ``right``, and ``share`` of
        the layer's feature/class pairs in it (closed at the left; the last bin at both ends).
    """
    parts = [_histogram([values], bins).assign(layer=layer) for layer, values in _by_layer(D)]
    return pd.concat(parts, ignore_index=True)[["layer", *_BIN]]


def _histogram(parts: list[Floats], bins: int) -> pd.DataFrame:
    """Share of all distances of some parts in each of equal bins of [-1, 1]."""
    edges = np.linspace(-1, 1, bins + 1)
    counts = np.sum([np.histogram(values, edges)[0] for values in parts], axis=0)
    return pd.DataFrame(
        dict(zip(_BIN, (edges[:-1], edges[1:], counts / counts.sum()), strict=True))
    )


def summarise_by_layer(D: xr.DataArray) -> pd.DataFrame:
    """Modes and spread of the positive and the negative distances of each layer (figure 5).

    Parameters
    ----------
    D : DataArray (class, feature) with the coordinate ``layer``
        Signed distances.

    Returns
    -------
    DataFrame
        Two rows per layer: ``layer``, ``sign`` ("presence" for D > 0, "absence" for D < 0),
        ``share`` of the layer's pairs with that sign, signed ``mode`` (the middle of the fullest of
        50 equal bins of [0, 1], the lowest of several), ``median``, ``lower`` and ``upper``
        (quantiles 0.16 and 0.84; NaN where no pair has the sign), and for x = 0.1, 0.25 and 0.5
        ``share_beyond_x``, of all the layer's pairs those beyond x on that side.
    """
    rows = []
    for layer, distances in _by_layer(D):
        for sign, name in ((1, "presence"), (-1, "absence")):
            sizes = (sign * distances)[sign * distances > 0]
            row: dict[str, Any] = {"layer": layer, "sign": name}
            row["share"] = sizes.size / distances.size
            row |= _mode_and_spread(sizes, sign)
            row |= {f"share_beyond_{x}": (sizes > x).sum() / distances.size for x in _BEYOND}
            rows.append(row)
    return pd.DataFrame(rows)


def _mode_and_spread(sizes: Floats, sign: int) -> dict[str, float]:
    if sizes.size == 0:
        return dict.fromkeys(("mode", "median", "lower", "upper"), np.nan)
    counts, edges = np.histogram(sizes, 50, (0, 1))
    fullest = int(counts.argmax())
    low, median, high = np.quantile(sizes, [QUANTILES[0], 0.5, QUANTILES[1]])
    lower, upper = sorted((sign * low, sign * high))
    mode = sign * (edges[fullest] + edges[fullest + 1]) / 2
    return {"mode": mode, "median": sign * median, "lower": lower, "upper": upper}


def _by_layer(D: xr.DataArray) -> Iterator[tuple[str, Floats]]:
    """Each layer in order of appearance, with all its distances."""
    layers = _checked(D, "layer")["layer"].to_numpy()
    values = D.transpose("feature", ...).to_numpy()
    for layer in dict.fromkeys(layers.tolist()):
        yield layer, values[layers == layer].ravel()


KINDS = {
    "conv": "convolutional",
    "block": "convolutional",
    "fc": "fully connected",
    "attention": "attention",
    "tokens": "tokens",
}
"""The two kinds of layers that the paper distinguishes, blocks of convolutions being of the first,
and those of transformers, which are neither."""


def kind_histograms(D: xr.DataArray, kinds: Mapping[str, str], *, bins: int = 100) -> pd.DataFrame:
    """Distribution of the signed distances of each kind of layers (figures 6 and 8).

    Parameters
    ----------
    D : DataArray (class, feature) with the coordinate ``layer``
        Signed distances.
    kinds : mapping
        Name of each layer → a key of :data:`KINDS`; other layers may be named too.
    bins : int
        Equal bins of [-1, 1].

    Returns
    -------
    DataFrame
        A row per kind and bin: ``kind`` (in the order of :data:`KINDS`; a kind without a layer has
        no rows), ``left``, ``right`` and ``share`` of the kind's feature/class pairs, all its
        layers together, so that wide layers weigh more. Bins as of :func:`layer_histograms`.

    Raises
    ------
    ValueError
        If a layer has no kind or another one.
    """
    named = {str(layer): values for layer, values in _by_layer(D)}
    odd = {name: kinds.get(name) for name in named if kinds.get(name) not in KINDS}
    if odd:
        raise ValueError(f"expected layers of a kind among {', '.join(KINDS)}, got {odd}")
    parts = {
        kind: [values for name, values in named.items() if KINDS[kinds[name]] == kind]
        for kind in dict.fromkeys(KINDS.values())
    }
    tables = [
        _histogram(of_kind, bins).assign(kind=kind) for kind, of_kind in parts.items() if of_kind
    ]
    return pd.concat(tables, ignore_index=True)[["kind", *_BIN]]


TAILS = (0.25, 0.5)
EXTREME = 0.5
NEAR_ZERO = 0.01
WIDEST = 0.01
LOWEST = 10
REACH = 0.001
_BINS, _SMOOTHING = 200, 2.0  # bins of [-1, 1]; standard deviation in bins


def measure_behaviour(D: xr.DataArray, kinds: Mapping[str, str]) -> pd.DataFrame:
    """Measures of every layer, of every kind of layer and of the whole embedding.

    Parameters
    ----------
    D : DataArray (class, feature) with the coordinate ``layer``
        Signed distances in [-1, 1].
    kinds : mapping of str to str
        Kind of each layer, such as ``"conv"`` and ``"fc"``.

    Returns
    -------
    DataFrame
        A row per layer, in order of appearance, then per kind, then one for all:

        ``scope, name, kind``
            ``"layer"``, ``"kind"`` or ``"all"``, and of what.
        ``units, classes, pairs``
            Features, classes, and their product.
        ``mean_size, widest``
            Mean and greatest |D|.
        ``presence, absence``
            Shares of the pairs on each side. As a density has area 1, these are the areas of the
            two sides.
        ``presence_size, absence_size``
            Mean |D| of a side: the degree to which its features mark.
        ``above_x, below_x``
            Share of the pairs with D > x, with D < -x, for x = 0.25, 0.5.
        ``highest``
            Quantile 0.999 of D: how long the tail of presence is.
        ``near_zero``
            Share of the pairs with |D| <= 0.01.
        ``valley_ratio, near_zero_ratio``
            Density in the valley and near zero by that of the lower mode. NaN where a side has no
            pair.
        ``S_spread, S_lognormal, S_normal, S_exponential``
            For S = presence, absence: width of the middle 68 % of |D|, and Kolmogorov-Smirnov
            distances of |D| to each law, fitted by maximum likelihood. NaN where fewer than two
            values occur.
        ``among_widest``
            Share of the pairs that are among the widest 1 % of the embedding.
        ``absent_share``
            Of the features with D < -0.5 for some class, the quantile 0.95 of their shares of
            classes with D < -0.5.
        ``shared_lowest``
            Most classes among whose ten lowest features of the embedding one feature is.

    Raises
    ------
    ValueError
        If D lacks its names, or a layer has no kind.
    """
    D = _checked(D, "layer")
    layers = D["layer"].to_numpy()
    without = [name for name in dict.fromkeys(layers.tolist()) if name not in kinds]
    if without:
        raise ValueError(f"layers without a kind: {', '.join(without)}; known: {', '.join(kinds)}")
    values = D.to_numpy()
    bar = np.quantile(np.abs(values), 1 - WIDEST)
    in_lowest = _classes_with_feature_lowest(values)
    rows = []
    for scope, name, kind, chosen in _parts(layers, kinds):
        part = values[:, chosen]
        row: dict[str, Any] = {"scope": scope, "name": name, "kind": kind}
        row |= {"units": part.shape[1], "classes": part.shape[0], "pairs": part.size}
        row |= _sizes_and_tails(part.ravel()) | _valley(part.ravel())
        for side, sizes in (("presence", part[part > 0]), ("absence", -part[part < 0])):
            row |= {f"{side}_{what}": value for what, value in _shape(sizes).items()}
        row["among_widest"] = float((np.abs(part) >= bar).mean())
        absent = (part < -EXTREME).mean(axis=0)
        row["absent_share"] = np.quantile(absent[absent > 0], 0.95) if absent.any() else np.nan
        row["shared_lowest"] = int(in_lowest[chosen].max())
        rows.append(row)
    return pd.DataFrame(rows)


def distribution_differences(histograms: pd.DataFrame) -> pd.DataFrame:
    """How far apart the distributions of each two datasets are, layer by layer.

    Parameters
    ----------
    histograms
        Columns ``dataset``, ``layer``, ``left``, ``right`` and ``share``, as of
        :func:`layer_histograms`; the same equal bins everywhere.

    Returns
    -------
    DataFrame
        ``layer``, ``dataset``, ``other`` (each two once) and ``difference``: area between the two
        distribution functions, in units of D. So far would the distances of one dataset have to
        be moved in the mean to be distributed as those of the other; 0 where they already are.
    """
    rows = []
    for layer, part in histograms.groupby("layer", sort=False):
        width = float((part["right"] - part["left"]).iloc[0])
        shares = {name: table["share"].to_numpy() for name, table in part.groupby("dataset")}
        for one, other in combinations(dict.fromkeys(part["dataset"]), 2):
            area = width * np.abs(np.cumsum(shares[one] - shares[other])).sum()
            rows.append((layer, one, other, float(area)))
    return pd.DataFrame(rows, columns=["layer", "dataset", "other", "difference"])


def _parts(
    layers: NDArray[Any], kinds: Mapping[str, str]
) -> Iterator[tuple[str, Hashable, str, NDArray[np.bool_]]]:
    """Scope, name, kind and columns of every part that is measured."""
    names = dict.fromkeys(layers.tolist())
    for name in names:
        yield "layer", name, kinds[name], layers == name
    kind_of = np.array([kinds[name] for name in layers])
    for kind in dict.fromkeys(kinds[name] for name in names):
        yield "kind", kind, kind, kind_of == kind
    yield "all", "all", "all", np.ones(layers.size, dtype=bool)


def _sizes_and_tails(distances: Floats) -> dict[str, Any]:
    sizes = np.abs(distances)
    row = {"mean_size": sizes.mean(), "widest": sizes.max()}
    for side, part in (("presence", sizes[distances > 0]), ("absence", sizes[distances < 0])):
        row[side] = part.size / distances.size
        row[f"{side}_size"] = part.mean() if part.size else np.nan
    row |= {f"above_{x:g}": (distances > x).mean() for x in TAILS}
    row |= {f"below_{x:g}": (distances < -x).mean() for x in TAILS}
    row["highest"] = np.quantile(distances, 1 - REACH)
    return row | {"near_zero": (sizes <= NEAR_ZERO).mean()}


def _valley(distances: Floats) -> dict[str, float]:
    """Smoothed density between its two modes and near zero, by that of the lower mode."""
    counts, edges = np.histogram(distances[distances != 0], _BINS, (-1, 1))
    middle, density = _BINS // 2, gaussian_filter1d(counts.astype(float), _SMOOTHING)
    if not counts[:middle].any() or not counts[middle:].any():
        return {"valley_ratio": np.nan, "near_zero_ratio": np.nan}
    low, high = int(density[:middle].argmax()), middle + int(density[middle:].argmax())
    peak = min(density[low], density[high])
    near_zero = (np.abs(distances) <= NEAR_ZERO).sum() * (edges[1] - edges[0]) / (2 * NEAR_ZERO)
    valley = density[low : high + 1].min()
    return {"valley_ratio": valley / peak, "near_zero_ratio": near_zero / peak}


def _shape(sizes: Floats) -> dict[str, float]:
    """Spread of one side, and how well three laws fit it."""
    if sizes.size == 0 or sizes.min() == sizes.max():
        return dict.fromkeys(("spread", "lognormal", "normal", "exponential"), np.nan)
    sizes = np.sort(sizes)
    logs = np.log(sizes)
    low, high = np.quantile(sizes, QUANTILES)
    return {
        "spread": high - low,
        "lognormal": _widest_gap(ndtr((logs - logs.mean()) / logs.std())),
        "normal": _widest_gap(ndtr((sizes - sizes.mean()) / sizes.std())),
        "exponential": _widest_gap(-np.expm1(-sizes / sizes.mean())),
    }


def _widest_gap(law: Floats) -> float:
    """Kolmogorov-Smirnov distance to a law, from its distribution function at the sorted sample."""
    steps = np.arange(law.size + 1) / law.size
    return float(max((steps[1:] - law).max(), (law - steps[:-1]).max()))


def _classes_with_feature_lowest(values: Floats) -> NDArray[np.int64]:
    """Of each feature, how many classes have it among their lowest; the first of equals."""
    lowest = np.argsort(values, axis=1, kind="stable")[:, :LOWEST]
    negative = np.take_along_axis(values, lowest, axis=1) < 0
    return np.bincount(lowest[negative], minlength=values.shape[1])


_PAIR = ["layer", "sign", "unit", "class", "distance"]
_DEPTHS = 3
_SHARED = ["layer", "unit", "n_classes", "classes", "distances", "mean_distance"]


def strongest_pairs(D: xr.DataArray) -> pd.DataFrame:
    """Highest and lowest distance of each layer, with the feature and class that have it.

    Parameters
    ----------
    D : DataArray (class, feature) with the coordinates ``class``, ``layer`` and ``unit``
        Signed distances.

    Returns
    -------
    DataFrame
        Two rows per layer: ``layer``, ``sign`` ("presence" for the highest, "absence" for the
        lowest), ``unit``, ``class`` and ``distance``. Of equals, the first class and unit. A layer
        all of whose distances have one sign has no row for the other.
    """
    D = _checked(D, "class", "layer", "unit")
    layers = D["layer"].to_numpy()
    runs = (np.flatnonzero(layers == layer) for layer in dict.fromkeys(layers.tolist()))
    return pd.DataFrame([row for run in runs for row in _widest(D, run)], columns=_PAIR)


def strongest_by_depth(D: xr.DataArray) -> pd.DataFrame:
    """Highest and lowest distance among the first, the middle and the last layers.

    Section 5 of Garcia-Gasulla et al. (2018) shows such pairs for a few layers chosen by hand
    (figures 2 and 4); here the depth is cut into three runs of layers as equal as can be, of which
    the first have a layer more where they cannot be equal. A network with fewer layers is cut into
    single ones.

    Parameters
    ----------
    D : DataArray (class, feature) with the coordinates ``class``, ``layer`` and ``unit``
        Signed distances, layers in the order of the network.

    Returns
    -------
    DataFrame
        Two rows per part: ``part`` (from 1), and ``layer``, ``sign``, ``unit``, ``class`` and
        ``distance`` as of :func:`strongest_pairs`, with as much left out.

    Raises
    ------
    ValueError
        If dimensions or coordinates are missing.
    """
    D = _checked(D, "class", "layer", "unit")
    layers = D["layer"].to_numpy()
    names = list(dict.fromkeys(layers.tolist()))
    rows = [
        {"part": part} | row
        for part, run in enumerate(np.array_split(names, min(_DEPTHS, len(names))), start=1)
        for row in _widest(D, np.flatnonzero(np.isin(layers, run)))
    ]
    return pd.DataFrame(rows, columns=["part", *_PAIR])


def shared_absences(D: xr.DataArray) -> pd.DataFrame:
    """Units that mark several classes by their absence (figure 3 of the paper).

    A unit counts for a class if fewer than ten units have a lower distance to it, and its own is
    negative. All of several equal units count: to take the first of them would favour the same few
    layers in every class.

    Parameters
    ----------
    D : DataArray (class, feature) with the coordinates ``class``, ``layer`` and ``unit``
        Signed distances.

    Returns
    -------
    DataFrame
        A row per unit that counts for two classes or more: ``layer``, ``unit``, ``n_classes``,
        ``classes`` and ``distances`` (tuples, the lowest distance first) and ``mean_distance``.
        Most classes first, of these the lowest mean; no row where nothing is shared.

    Raises
    ------
    ValueError
        If dimensions or coordinates are missing.

    References
    ----------
    Garcia-Gasulla et al. (2018), section 5: one unit of ``fc7`` is among the ten lowest of four
    classes of birds.
    """
    D = _checked(D, "class", "layer", "unit")
    values, classes = D.to_numpy(), D["class"].to_numpy()
    layers, units = D["layer"].to_numpy(), D["unit"].to_numpy()
    last = min(LOWEST, values.shape[1]) - 1
    bound = np.partition(values, last, axis=1)[:, last : last + 1]
    counts = (values <= bound) & (values < 0)
    rows = []
    for column in np.flatnonzero(counts.sum(axis=0) > 1):
        marked = np.flatnonzero(counts[:, column])
        marked = marked[values[marked, column].argsort(kind="stable")]
        distances = values[marked, column]
        of_classes = (tuple(classes[marked].tolist()), tuple(distances.tolist()))
        # The mean in the order of the classes, on which its last digit depends.
        mean = float(values[np.sort(marked), column].mean())
        rows.append((layers[column], int(units[column]), marked.size, *of_classes, mean))
    numbers = {"unit": int, "n_classes": int, "mean_distance": float}  # also of an empty table
    table = pd.DataFrame(rows, columns=_SHARED).astype(numbers)
    by = ["n_classes", "mean_distance"]
    return table.sort_values(by, ascending=[False, True], kind="stable", ignore_index=True)


def extreme_units(D: xr.DataArray, layer: str, label: Hashable, *, n: int = 3) -> pd.DataFrame:
    """Units of one layer that mark one class most, by presence and by absence.

    Parameters
    ----------
    D : DataArray (class, feature) with the coordinates ``class``, ``layer`` and ``unit``
        Signed distances.
    layer, label
        The layer, and the class as it stands in the coordinate ``class``.
    n : int
        Units of each sign; fewer where fewer have it.

    Returns
    -------
    DataFrame
        Columns ``layer``, ``sign``, ``unit``, ``class`` and ``distance``, as of
        :func:`strongest_pairs`; the widest of each sign first, of equals the first unit.

    Raises
    ------
    ValueError
        If there is no such layer or class, or dimensions or coordinates are missing.
    """
    D = _checked(D, "class", "layer", "unit")
    columns = np.flatnonzero(D["layer"].to_numpy() == layer)
    (row,) = np.nonzero(D["class"].to_numpy() == label)
    if not columns.size or not row.size:
        known = {name: [*dict.fromkeys(D[name].to_numpy().tolist())] for name in ("layer", "class")}
        raise ValueError(f"no distances of layer {layer!r} to class {label!r}; known: {known}")
    return pd.DataFrame(_widest(D.isel({"class": row}), columns, n), columns=_PAIR)


def _widest(D: xr.DataArray, columns: NDArray[np.intp], n: int = 1) -> list[dict[str, Any]]:
    """Highest and lowest distances of some features, those with the sign that they stand for."""
    part, rows = D.to_numpy()[:, columns], []
    for sign, name in ((1, "presence"), (-1, "absence")):
        sizes = (sign * part).ravel()
        for place in [sizes.argmax()] if n == 1 else np.argsort(-sizes, kind="stable")[:n]:
            row, column = np.unravel_index(place, part.shape)
            if sizes[place] > 0:
                feature = D.isel({"class": row, "feature": columns[column]})
                pair = {key: feature[key].item() for key in ("layer", "unit", "class")}
                rows.append(pair | {"sign": name, "distance": feature.item()})
    return rows


def _checked(D: xr.DataArray, *coordinates: str) -> xr.DataArray:
    """Distances in the order (class, feature)."""
    if set(D.dims) != {"class", "feature"} or not set(coordinates) <= set(D.coords):
        raise ValueError(
            "expected distances (class, feature) with the coordinate "
            f"{', '.join(map(repr, coordinates))}, got {D.dims} with {list(D.coords)}: signed_ks "
            "keeps the coordinates of a DataArray"
        )
    return D.transpose("class", "feature")
