"""Figures of the chapter on D_KS distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from analysis.figures.style import INNER, MARKERS, NEUTRAL, OUTER, PALETTE, WIDTH

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.statistics import FeatureClassPair

__all__ = [
    "plot_edfs",
    "plot_inner_outer_histograms",
    "plot_layer_ridges",
    "plot_modes_by_layer",
    "plot_modes_of_networks",
    "plot_ridges_of_pairs",
]

KIND_COLOURS = {"conv": PALETTE[0], "block": PALETTE[0], "fc": PALETTE[1]}
PANELS_PER_ROW = 3


def plot_inner_outer_histograms(pair: FeatureClassPair, *, ax: Axes) -> Axes:
    """Histograms of one feature inside and outside a class (left of Fig. 1 of the paper)."""
    for heights, colour, name in (
        (pair.outer_histogram, OUTER, "outside the class"),
        (pair.inner_histogram, INNER, "inside the class"),
    ):
        ax.stairs(heights, pair.bin_edges, fill=True, color=colour, alpha=0.45)
        ax.stairs(heights, pair.bin_edges, color=colour, linewidth=1.4, label=name)
    ax.set(xlabel="feature value", ylabel="share of images")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
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
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return ax


def plot_layer_ridges(table: pd.DataFrame, *, ax: Axes, height: float = 0.9) -> Axes:
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

    Returns
    -------
    Axes
        ``ax``, with the first layer at the bottom.
    """
    layers = list(dict.fromkeys(table["layer"]))
    # One scale for all layers, so that areas compare; a lone spike must not flatten the rest.
    scale = height / table.groupby("layer", sort=False)["share"].max().median()
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


def plot_modes_by_layer(table: pd.DataFrame, *, ax: Axes) -> Axes:
    """Modes of the positive and the negative D_KS of every layer, datasets side by side (Fig. 5).

    Parameters
    ----------
    table
        Columns ``dataset``, ``layer``, ``sign`` (``"presence"`` or ``"absence"``), ``mode``,
        ``lower`` and ``upper`` (ends of the spread).
    ax
        Axes to draw on.

    Returns
    -------
    Axes
        ``ax``, with the layers from left to right.
    """
    layers = list(dict.fromkeys(table["layer"]))
    datasets = list(dict.fromkeys(table["dataset"]))
    step = 0.8 / len(datasets)
    for number, dataset in enumerate(datasets):
        colour = PALETTE[number % len(PALETTE)]
        marker = MARKERS[(number + number // len(PALETTE)) % len(MARKERS)]  # no pair twice in 49
        shift = (number - (len(datasets) - 1) / 2) * step
        for sign in ("presence", "absence"):
            part = table[(table["dataset"] == dataset) & (table["sign"] == sign)]
            x = np.array([layers.index(layer) for layer in part["layer"]]) + shift
            label = dataset if sign == "presence" else None
            ax.vlines(x, part["lower"], part["upper"], color=colour, linewidth=1.2, alpha=0.7)
            ax.plot(x, part["mode"], marker, color=colour, markersize=4, label=label)
    ax.axhline(0, color="0.6", linewidth=0.8)
    for boundary in range(1, len(layers)):
        ax.axvline(boundary - 0.5, color="0.92", linewidth=0.8, zorder=0)
    ax.set_xticks(range(len(layers)), layers, rotation=45, ha="right", rotation_mode="anchor")
    ax.set(xlim=(-0.5, len(layers) - 0.5), ylabel="$D_{KS}$")
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.22), ncols=3, columnspacing=1.2)
    return ax


def plot_ridges_of_pairs(table: pd.DataFrame) -> Figure:
    """:func:`plot_layer_ridges` for every dataset and network of a study, in a grid of panels.

    Parameters
    ----------
    table
        As for :func:`plot_layer_ridges`, with the columns ``dataset`` and ``network`` as well.
    """
    pairs = table[["network", "dataset"]].drop_duplicates()
    n_layers = table.groupby("network", sort=False)["layer"].nunique().max()
    columns = min(PANELS_PER_ROW, len(pairs))
    rows = -(-len(pairs) // columns)
    fig, axes = plt.subplots(
        rows,
        columns,
        figsize=(WIDTH if columns > 1 else 0.7 * WIDTH, 0.4 + rows * (1.0 + 0.32 * n_layers)),
        squeeze=False,
        layout="constrained",
    )
    for ax, (_, pair) in zip(axes.flat, pairs.iterrows(), strict=False):
        part = table[(table["network"] == pair["network"]) & (table["dataset"] == pair["dataset"])]
        plot_layer_ridges(part, ax=ax)
        title = pair["dataset"]
        if pairs["network"].nunique() > 1:
            title += f"\n{pair['network']}"
        ax.set_title(title)
    for ax in axes.flat[len(pairs) :]:
        ax.remove()
    names = {PALETTE[0]: "convolutional", PALETTE[1]: "fully connected"}
    shown = dict.fromkeys(KIND_COLOURS[kind] for kind in table["kind"].unique())
    swatches = [Patch(color=colour, alpha=0.8, label=names[colour]) for colour in shown]
    swatches.append(Patch(color="0.8", label="the same under shuffled labels"))
    fig.legend(handles=swatches, loc="outside upper left", ncols=len(swatches))
    return fig


def plot_modes_of_networks(table: pd.DataFrame) -> Figure:
    """:func:`plot_modes_by_layer` for every network of a study, one below the other.

    Parameters
    ----------
    table
        As for :func:`plot_modes_by_layer`, with the column ``network`` as well.
    """
    networks = list(dict.fromkeys(table["network"]))
    fig, axes = plt.subplots(
        len(networks), 1, figsize=(WIDTH, 4.4 * len(networks)), squeeze=False, layout="constrained"
    )
    for ax, network in zip(axes.flat, networks, strict=True):
        plot_modes_by_layer(table[table["network"] == network], ax=ax)
        ax.set_title(f"Mode and middle 68 % of $D_{{KS}}$, by presence and by absence\n{network}")
    return fig
