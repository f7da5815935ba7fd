"""Figures of the chapter on D_KS distributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch

from analysis.figures.densities import KINDS, plot_kinds, plot_overlap_groups
from analysis.figures.panels import (
    dataset_legend,
    dataset_looks,
    hide_repeated_layers,
    in_percent,
    name_layers,
    panel_grid,
    panel_rows,
    title,
    wrapped,
)
from analysis.figures.style import INNER, NEUTRAL, OUTER, PALETTE, WIDTH

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.statistics import FeatureClassPair

__all__ = [
    "plot_edfs",
    "plot_inner_outer",
    "plot_inner_outer_histograms",
    "plot_kinds",
    "plot_layer_ridges",
    "plot_modes_by_layer",
    "plot_modes_of_networks",
    "plot_overlap_groups",
    "plot_ridges_of_networks",
]

KIND_COLOURS = {
    "conv": PALETTE[0],
    "block": PALETTE[0],
    "fc": PALETTE[1],
    "attention": PALETTE[2],
    "tokens": PALETTE[3],
}
PANELS_PER_ROW = 3
SHADE = "0.93"
HIGHEST = 12.0  # inches of ridges, however many layers


def plot_inner_outer(pair: FeatureClassPair) -> Figure:
    """One feature inside and outside a class: histograms, and distribution functions (Fig. 1)."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.0), layout="constrained")
    plot_inner_outer_histograms(pair, ax=left)
    plot_edfs(pair, ax=right)
    return fig


def plot_inner_outer_histograms(pair: FeatureClassPair, *, ax: Axes) -> Axes:
    """Histograms of one feature inside and outside a class (left of Fig. 1 of the paper)."""
    for heights, colour, name in (
        (pair.outer_histogram, OUTER, "outside the class"),
        (pair.inner_histogram, INNER, "inside the class"),
    ):
        ax.stairs(heights, pair.bin_edges, fill=True, color=colour, alpha=0.45)
        ax.stairs(heights, pair.bin_edges, color=colour, linewidth=1.4, label=name)
    ax.set(xlabel="feature value", ylabel="share of images")
    in_percent(ax.yaxis)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
    return ax


def plot_edfs(pair: FeatureClassPair, *, ax: Axes) -> Axes:
    """Distribution functions of one feature, and the signed distance between them (Fig. 1).

    The colours are those of :func:`plot_inner_outer_histograms`.
    """
    ax.step(pair.x, pair.outer_edf, where="post", color=OUTER)
    ax.step(pair.x, pair.inner_edf, where="post", color=INNER)
    gap = sorted((pair.inner_at_gap, pair.outer_at_gap))
    ax.plot([pair.gap_at] * 2, gap, color="black", linewidth=1.4, marker="_", markersize=9)
    ax.set_title(f"widest gap (black): $D_{{KS}}$ = {pair.distance:+.2f}")
    ax.set(xlabel="feature value", ylabel="images at or below it", ylim=(-0.02, 1.02))
    in_percent(ax.yaxis)
    return ax


def plot_layer_ridges(
    table: pd.DataFrame, *, ax: Axes, height: float = 0.9, typical: float | None = None
) -> Axes:
    """Distribution of D_KS in every layer of one network on one dataset.

    Parameters
    ----------
    table
        Columns ``layer``, ``kind``, ``left``, ``right``, ``share`` and ``share_shuffled``: the
        share of a layer's feature/class pairs in each bin, under real and shuffled labels.
    ax
        Axes to draw on.
    height
        Height of a typical ridge, in distances between two layers; higher ones are cut off there.
    typical
        Highest share of a typical ridge, for panels that are to compare; by default the median of
        this table's.

    Returns
    -------
    Axes
        ``ax``, with the first layer at the bottom.
    """
    layers = list(dict.fromkeys(table["layer"]))
    # One scale for all layers, so that areas compare; a lone spike must not flatten the rest.
    if typical is None:
        typical = table.groupby("layer", sort=False)["share"].max().median()
    scale = height / typical
    for row, layer in enumerate(layers):
        part = table[table["layer"] == layer]
        edges = np.append(part["left"].to_numpy(), part["right"].iloc[-1])
        colour = KIND_COLOURS.get(part["kind"].iloc[0], NEUTRAL)
        for column, shade, alpha in (("share_shuffled", "0.8", 1.0), ("share", colour, 0.8)):
            ridge = row + np.minimum(scale * part[column].to_numpy(), height)
            ax.stairs(ridge, edges, baseline=row, fill=True, color=shade, alpha=alpha)
        ax.axhline(row, color="0.5", linewidth=0.6)
    ax.axvline(0, color="0.6", linewidth=0.8, zorder=0)
    ax.set_yticks(range(len(layers)), layers)
    ax.tick_params(axis="y", length=0)
    ax.set(xlim=(-1, 1), ylim=(-0.3, len(layers) - 1 + height + 0.1))
    ax.set_xlabel("$D_{KS}$")
    return ax


def plot_ridges_of_networks(table: pd.DataFrame) -> Figure:
    """:func:`plot_layer_ridges` for every network of a study, its datasets pooled.

    Parameters
    ----------
    table
        As for :func:`plot_layer_ridges`, with the columns ``network`` and ``dataset`` as well. A
        panel shows the mean of the shares over the datasets, each with the same weight.
    """
    networks = list(dict.fromkeys(table["network"]))
    shares = ["share", "share_shuffled"]
    bins = ["network", "layer", "kind", "left", "right"]
    pooled = table.groupby(bins, sort=False, as_index=False)[shares].mean()
    typical = pooled.groupby(["network", "layer"], sort=False)["share"].max().median()
    n_layers = table.groupby("network", sort=False)["layer"].nunique().max()
    columns = min(PANELS_PER_ROW, len(networks))
    fig, axes = panel_grid(
        len(networks), columns, height=1.0 + min(0.32 * n_layers, HIGHEST), margin=0.4
    )
    if columns == 1:
        fig.set_figwidth(0.7 * WIDTH)
    for ax, network in zip(axes.flat, networks, strict=False):
        plot_layer_ridges(pooled[pooled["network"] == network], ax=ax, typical=typical)
        title(ax, network, 75 // columns)
    names = dict(zip(PALETTE, KINDS, strict=False))
    shown = dict.fromkeys(KIND_COLOURS[kind] for kind in table["kind"].unique())
    swatches = [Patch(color=colour, alpha=0.8, label=names[colour]) for colour in shown]
    swatches.append(Patch(color="0.8", label="the same under shuffled labels"))
    fig.legend(handles=swatches, loc="outside upper left", ncols=min(len(swatches), columns + 1))
    return fig


def plot_modes_by_layer(
    table: pd.DataFrame, *, ax: Axes, datasets: Sequence[str] | None = None
) -> Axes:
    """Modes of the positive and the negative D_KS of every layer, datasets side by side (Fig. 5).

    Parameters
    ----------
    table
        Columns ``dataset``, ``layer``, ``sign`` (``"presence"`` or ``"absence"``), ``mode``,
        ``lower`` and ``upper`` (ends of the spread). With a column ``kind`` as well, layers of the
        kind ``"fc"`` stand on grey.
    ax
        Axes to draw on.
    datasets
        All datasets of the figure, if the table lacks some: they keep their colours and places.

    Returns
    -------
    Axes
        ``ax``, with the layers from left to right and no legend.
    """
    layers = list(dict.fromkeys(table["layer"]))
    looks = dataset_looks(table["dataset"] if datasets is None else datasets)
    step = 0.84 / len(looks)
    for number, (dataset, look) in enumerate(looks.items()):
        shift = (number - (len(looks) - 1) / 2) * step
        for sign in ("presence", "absence"):
            part = table[(table["dataset"] == dataset) & (table["sign"] == sign)]
            x = np.array([layers.index(layer) for layer in part["layer"]]) + shift
            ax.vlines(x, part["lower"], part["upper"], color=look["color"], lw=1.2, alpha=0.7)
            ax.plot(x, part["mode"], linestyle="", markersize=3.6, **look)
    ax.axhline(0, color="0.6", linewidth=0.8)
    kinds = table.groupby("layer", sort=False)["kind"].first() if "kind" in table else None
    for place, layer in enumerate(layers):
        ax.axvline(place + 0.5, color="0.88", linewidth=0.8, zorder=0)
        if kinds is not None and kinds[layer] == "fc":
            ax.axvspan(place - 0.5, place + 0.5, color=SHADE, linewidth=0, zorder=-1)
    name_layers(ax, layers)
    ax.set(xlim=(-0.5, len(layers) - 0.5), ylabel="$D_{KS}$")
    return ax


def plot_modes_of_networks(table: pd.DataFrame) -> Figure:
    """:func:`plot_modes_by_layer` for every network of a study, one below the other (Fig. 5, 11).

    Parameters
    ----------
    table
        As for :func:`plot_modes_by_layer`, with the column ``network`` as well.

    Returns
    -------
    Figure
        Panels with one scale and one legend.
    """
    networks = list(dict.fromkeys(table["network"]))
    fig, axes = panel_rows(len(networks), height=2.7, margin=0.6, sharey=True)
    looks = dataset_looks(table["dataset"])
    for ax, network in zip(axes.flat, networks, strict=True):
        plot_modes_by_layer(table[table["network"] == network], ax=ax, datasets=list(looks))
        ax.set_title(wrapped(network, 80), parse_math=False)
        ax.set_ylabel("mode and middle 68 %\nof $D_{KS}$")
    hide_repeated_layers(axes)
    shaded = "kind" in table and (table["kind"] == "fc").any()
    extra = [Patch(color=SHADE, label="fully connected")] if shaded else []
    dataset_legend(fig, looks, extra)
    return fig
