"""One feature inside and outside a class, and how distances distribute over the layers.

Conventions
-----------
presence, absence
    Positive and negative distances, the two modes of a layer's distribution in section 5 of
    Garcia-Gasulla et al. (2018). The paper draws "modes and error bars" without saying how they
    were found; here they are the fullest of equal bins of |D|, and two quantiles.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

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
    values = np.asarray(values, dtype=np.float64)
    inner = np.asarray(inner)
    if values.ndim != 1 or inner.shape != values.shape or inner.dtype != np.bool_:
        raise ValueError(
            "expected values (images,) and as many booleans, got shapes "
            f"{values.shape} and {inner.shape} of {inner.dtype}: give inner=labels == a_class"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"expected finite values, got {(~np.isfinite(values)).sum()} that are not")
    n_inner, n_outer = int(inner.sum()), int((~inner).sum())
    if n_inner == 0 or n_outer == 0:
        raise ValueError(f"expected inner and outer images, got {n_inner} and {n_outer}")
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
    edges = np.linspace(-1, 1, bins + 1)
    parts = [
        pd.DataFrame(
            {
                "layer": layer,
                "left": edges[:-1],
                "right": edges[1:],
                "share": np.histogram(distances, edges)[0] / distances.size,
            }
        )
        for layer, distances in _by_layer(D)
    ]
    return pd.concat(parts, ignore_index=True)


def summarise_by_layer(
    D: xr.DataArray, *, bins: int = 50, thresholds: tuple[float, ...] = (0.1, 0.25, 0.5)
) -> pd.DataFrame:
    """Modes and spread of the positive and the negative distances of each layer (figure 5).

    Parameters
    ----------
    D : DataArray (class, feature) with the coordinate ``layer``
        Signed distances.
    bins : int
        Equal bins of [0, 1] among which the fullest is the mode (the lowest of several).
    thresholds : tuple of float
        Distances beyond which pairs are counted.

    Returns
    -------
    DataFrame
        Two rows per layer: ``layer``, ``sign`` ("presence" for D > 0, "absence" for D < 0),
        ``share`` of the layer's pairs with that sign, signed ``mode``, ``median``, ``lower`` and
        ``upper`` (quantiles 0.16 and 0.84; NaN where no pair has the sign), and for each
        threshold x ``share_beyond_x``, of all the layer's pairs those beyond x on that side.
    """
    rows = []
    for layer, distances in _by_layer(D):
        for sign, name in ((1, "presence"), (-1, "absence")):
            sizes = (sign * distances)[sign * distances > 0]
            row: dict[str, Any] = {"layer": layer, "sign": name}
            row["share"] = sizes.size / distances.size
            row |= _mode_and_spread(sizes, sign, bins)
            row |= {f"share_beyond_{x:g}": (sizes > x).sum() / distances.size for x in thresholds}
            rows.append(row)
    return pd.DataFrame(rows)


def _mode_and_spread(sizes: Floats, sign: int, bins: int) -> dict[str, float]:
    if sizes.size == 0:
        return dict.fromkeys(("mode", "median", "lower", "upper"), np.nan)
    counts, edges = np.histogram(sizes, bins, (0, 1))
    fullest = int(counts.argmax())
    low, median, high = np.quantile(sizes, [QUANTILES[0], 0.5, QUANTILES[1]])
    lower, upper = sorted((sign * low, sign * high))
    mode = sign * (edges[fullest] + edges[fullest + 1]) / 2
    return {"mode": mode, "median": sign * median, "lower": lower, "upper": upper}


def _by_layer(D: xr.DataArray) -> Iterator[tuple[Hashable, Floats]]:
    """Each layer in order of appearance, with all its distances."""
    if "layer" not in D.coords or "feature" not in D.dims:
        raise ValueError(
            f"expected distances (class, feature) with the coordinate 'layer', got {D.dims} with "
            f"{list(D.coords)}: signed_ks keeps the coordinates of a DataArray"
        )
    layers = D["layer"].to_numpy()
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
    edges = np.linspace(-1, 1, bins + 1)
    named = {str(layer): values for layer, values in _by_layer(D)}
    odd = {name: kinds.get(name) for name in named if kinds.get(name) not in KINDS}
    if odd:
        raise ValueError(f"expected layers of a kind among {', '.join(KINDS)}, got {odd}")
    parts = []
    for kind in dict.fromkeys(KINDS.values()):
        of_kind = [values for name, values in named.items() if KINDS[kinds[name]] == kind]
        if not of_kind:
            continue
        counts = np.sum([np.histogram(values, edges)[0] for values in of_kind], axis=0)
        columns = {"left": edges[:-1], "right": edges[1:], "share": counts / counts.sum()}
        parts.append(pd.DataFrame({"kind": kind} | columns))
    return pd.concat(parts, ignore_index=True)
