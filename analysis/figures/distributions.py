"""Figures of the chapter on D_KS distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import PercentFormatter

from analysis.figures.style import INNER, MARKERS, NEUTRAL, OUTER, PALETTE

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
    ax.legend(loc="best")
    return ax


def plot_edfs(pair: FeatureClassPair, *, ax: Axes) -> Axes:
    """Distribution functions of one feature, and the signed distance between them (Fig. 1)."""
    ax.step(pair.x, pair.outer_edf, where="post", color=OUTER, label="outside the class")
    ax.step(pair.x, pair.inner_edf, where="post", color=INNER, label="inside the class")
    low, high = sorted((pair.inner_at_gap, pair.outer_at_gap))
    ax.plot([pair.gap_at] * 2, [low, high], color="black", linewidth=1.4, marker="_", markersize=9)
    ax.annotate(
        f"$D_{{KS}}$ = {pair.distance:+.2f}",
        (pair.gap_at, (low + high) / 2),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        bbox={"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "none"},
    )
    ax.set(xlabel="feature value", ylabel="share of images at or below it", ylim=(-0.02, 1.02))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.legend(loc="lower right")
    return ax


def plot_layer_ridges(table: pd.DataFrame, *, ax: Axes, height: float = 1.6) -> Axes:
    """Distribution of D_KS in every layer of one network on one dataset.

    Parameters
    ----------
    table
        Columns ``layer``, ``kind``, ``left``, ``right``, ``share`` and ``share_shuffled``: the
        share of a layer's feature/class pairs in each bin, under real and shuffled labels.
    ax
        Axes to draw on.
    height
        Height of the highest ridge, in distances between two layers.

    Returns
    -------
    Axes
        ``ax``, with the first layer at the bottom.
    """
    layers = list(dict.fromkeys(table["layer"]))
    scale = height / table["share"].max()
    for row, layer in enumerate(layers):
        part = table[table["layer"] == layer]
        edges = np.append(part["left"].to_numpy(), part["right"].iloc[-1])
        order = 2 * (len(layers) - row)
        colour = KIND_COLOURS.get(part["kind"].iloc[0], NEUTRAL)
        ridge = row + scale * part["share"].to_numpy()
        noise = row + np.minimum(scale * part["share_shuffled"].to_numpy(), height)
        ax.stairs(ridge, edges, baseline=row, fill=True, color=colour, alpha=0.75, zorder=order)
        ax.stairs(ridge, edges, baseline=None, color="white", linewidth=0.5, zorder=order + 1)
        ax.stairs(noise, edges, baseline=None, color="0.25", linewidth=0.7, zorder=order + 1)
    ax.axvline(0, color="0.6", linewidth=0.8, zorder=0)
    ax.set_yticks(range(len(layers)), layers)
    ax.tick_params(axis="y", length=0)
    ax.set(xlim=(-1, 1), ylim=(-0.3, len(layers) - 1 + height + 0.1))
    ax.set_xlabel("$D_{KS}$ (right: higher inside the class)")
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
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), title="dataset")
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
        figsize=(1.2 + 3.1 * columns, rows * (1.2 + 0.3 * n_layers)),
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
        len(networks), 1, figsize=(10, 4 * len(networks)), squeeze=False, layout="constrained"
    )
    for ax, network in zip(axes.flat, networks, strict=True):
        plot_modes_by_layer(table[table["network"] == network], ax=ax)
        ax.set_title(network)
    return fig
