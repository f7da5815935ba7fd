"""How the distances of a layer, a kind of layers and a whole embedding behave, as numbers.

The measures on which section 5 and 6 of Garcia-Gasulla et al. (2018) draw in words: how far from
zero, how symmetrical, with how many modes and of which shape, how long the tails.

Conventions
-----------
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
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.special import ndtr

from analysis.statistics.distributions import QUANTILES

__all__ = ["distribution_differences", "measure_behaviour"]

Floats = NDArray[np.float64]

TAILS = (0.25, 0.5, 0.75)
EXTREME = 0.5
NEAR_ZERO = 0.01
WIDEST = 0.01
LOWEST = 10
REACH = 0.001
_BINS, _SMOOTHING = 200, 2.0  # bins of [-1, 1]; standard deviation in bins
_EVERYTHING = "all"


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
        ``presence, absence, zero``
            Shares of the pairs on each side and at exactly 0. As a density has area 1, these are
            the areas of the two sides.
        ``presence_size, absence_size``
            Mean |D| of a side: the degree to which its features mark.
        ``presence_mass, absence_mass``
            Sum of |D| of a side by the number of all pairs: number times degree.
        ``above_x, below_x``
            Share of the pairs with D > x, with D < -x, for x = 0.25, 0.5, 0.75.
        ``highest, lowest``
            Quantiles 0.999 and 0.001 of D: how long the tails are.
        ``near_zero``
            Share of the pairs with |D| <= 0.01.
        ``presence_mode, absence_mode, valley_ratio, near_zero_ratio``
            Places of the modes; density in the valley and near zero by that of the lower mode.
            NaN where a side has no pair.
        ``S_spread, S_log_skew, S_lognormal, S_normal, S_exponential``
            For S = presence, absence: width of the middle 68 % of |D|; skewness of log |D| (0 for
            a log-normal law); and Kolmogorov-Smirnov distances of |D| to each law, fitted by
            maximum likelihood. NaN where fewer than two values occur.
        ``among_widest``
            Share of the pairs that are among the widest 1 % of the embedding.
        ``absent_units, absent_share, absent_most``
            Features with D < -0.5 for some class; of their shares of classes with D < -0.5 the
            quantile 0.95; and the most classes of any feature.
        ``shared_lowest``
            Most classes among whose ten lowest features of the embedding one feature is.

    Raises
    ------
    ValueError
        If D lacks its names, or a layer has no kind.
    """
    if set(D.dims) != {"class", "feature"} or "layer" not in D.coords:
        raise ValueError(
            f"expected distances (class, feature) with the coordinate 'layer', got {D.dims} with "
            f"{list(D.coords)}: signed_ks keeps the coordinates of a DataArray"
        )
    layers = D["layer"].to_numpy()
    without = [name for name in dict.fromkeys(layers.tolist()) if name not in kinds]
    if without:
        raise ValueError(f"layers without a kind: {', '.join(without)}; known: {', '.join(kinds)}")
    values = D.transpose("class", "feature").to_numpy()
    bar = np.quantile(np.abs(values), 1 - WIDEST)
    in_lowest = _classes_with_feature_lowest(values)
    rows = []
    for scope, name, kind, chosen in _parts(layers, kinds):
        part = values[:, chosen]
        row: dict[str, Any] = {"scope": scope, "name": name, "kind": kind}
        row |= {"units": part.shape[1], "classes": part.shape[0], "pairs": part.size}
        row |= _sizes_and_tails(part.ravel()) | _modes(part.ravel())
        for side, sizes in (("presence", part[part > 0]), ("absence", -part[part < 0])):
            row |= {f"{side}_{what}": value for what, value in _shape(sizes).items()}
        row["among_widest"] = float((np.abs(part) >= bar).mean())
        row |= _extremely_absent(part)
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
    yield _EVERYTHING, _EVERYTHING, _EVERYTHING, np.ones(layers.size, dtype=bool)


def _sizes_and_tails(distances: Floats) -> dict[str, float]:
    sizes, n = np.abs(distances), distances.size
    lowest, highest = np.quantile(distances, [REACH, 1 - REACH])
    row = {"mean_size": sizes.mean(), "widest": sizes.max()}
    for side, part in (("presence", sizes[distances > 0]), ("absence", sizes[distances < 0])):
        row[side] = part.size / n
        row[f"{side}_size"] = part.mean() if part.size else np.nan
        row[f"{side}_mass"] = part.sum() / n
    row |= {"zero": (sizes == 0).mean(), "near_zero": (sizes <= NEAR_ZERO).mean()}
    row |= {f"above_{x:g}": (distances > x).mean() for x in TAILS}
    row |= {f"below_{x:g}": (distances < -x).mean() for x in TAILS}
    return {name: float(value) for name, value in row.items()} | {
        "highest": float(highest),
        "lowest": float(lowest),
    }


def _modes(distances: Floats) -> dict[str, float]:
    """Both modes of the smoothed density, and the density between them by the lower one's."""
    row = dict.fromkeys(
        ("presence_mode", "absence_mode", "valley_ratio", "near_zero_ratio"), float("nan")
    )
    counts, edges = np.histogram(distances[distances != 0], _BINS, (-1, 1))
    middle, density = _BINS // 2, gaussian_filter1d(counts.astype(float), _SMOOTHING)
    if not counts[:middle].any() or not counts[middle:].any():
        return row
    low, high = int(density[:middle].argmax()), middle + int(density[middle:].argmax())
    peak = min(density[low], density[high])
    near_zero = (np.abs(distances) <= NEAR_ZERO).sum() * (edges[1] - edges[0]) / (2 * NEAR_ZERO)
    return row | {
        "absence_mode": float(edges[low] + edges[low + 1]) / 2,
        "presence_mode": float(edges[high] + edges[high + 1]) / 2,
        "valley_ratio": float(density[low : high + 1].min() / peak),
        "near_zero_ratio": float(near_zero / peak),
    }


def _shape(sizes: Floats) -> dict[str, float]:
    """Spread of one side, and how well three laws fit it."""
    names = ("spread", "log_skew", "lognormal", "normal", "exponential")
    if sizes.size == 0 or sizes.min() == sizes.max():
        return dict.fromkeys(names, float("nan"))
    sizes = np.sort(sizes)
    logs = np.log(sizes)
    scaled_logs = (logs - logs.mean()) / logs.std()
    low, high = np.quantile(sizes, QUANTILES)
    laws = (ndtr(scaled_logs), ndtr((sizes - sizes.mean()) / sizes.std()))
    exponential = -np.expm1(-sizes / sizes.mean())
    gaps = (_widest_gap(law) for law in (*laws, exponential))
    return dict(zip(names, (float(high - low), float((scaled_logs**3).mean()), *gaps), strict=True))


def _widest_gap(law: Floats) -> float:
    """Kolmogorov-Smirnov distance to a law, from its distribution function at the sorted sample."""
    steps = np.arange(law.size + 1) / law.size
    return float(max((steps[1:] - law).max(), (law - steps[:-1]).max()))


def _extremely_absent(values: Floats) -> dict[str, float]:
    classes = (values < -EXTREME).sum(axis=0)
    found = classes[classes > 0]
    return {
        "absent_units": found.size,
        "absent_share": float(np.quantile(found, 0.95) / len(values)) if found.size else np.nan,
        "absent_most": int(classes.max()),
    }


def _classes_with_feature_lowest(values: Floats) -> NDArray[np.int64]:
    """Of each feature, how many classes have it among their lowest; the first of equals."""
    lowest = np.argsort(values, axis=1, kind="stable")[:, :LOWEST]
    negative = np.take_along_axis(values, lowest, axis=1) < 0
    return np.bincount(lowest[negative], minlength=values.shape[1])
