"""Figures of the chapter that compares distances, their resolution and their significance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import matplotlib.pyplot as plt
import numpy as np

from analysis.figures.distributions import plot_edfs, plot_inner_outer_histograms
from analysis.figures.panels import (
    dataset_looks,
    in_percent,
    legend_below,
    name_layers,
    panel_grid,
    panel_rows,
)
from analysis.figures.style import NEUTRAL, PALETTE, WIDTH, literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.statistics import FeatureClassPair

NAMES = {
    "kullback_leibler": "Kullback-Leibler",
    "bhattacharyya": "Bhattacharyya",
    "mutual_information": "mutual information",
}
TICKS = (0, 0.02, 0.1, 0.2, 0.3, 0.5, 0.7)
LAWS = {
    "conditional": (PALETTE[0], "o", "given the feature's ties"),
    "classical": (PALETTE[1], "s", "as if all values differed"),
}


def plot_measures(pairs: pd.DataFrame) -> Figure:
    """Three divergences against D_KS, a row of panels for each network.

    Parameters
    ----------
    pairs
        Feature/class pairs: columns ``network``, ``dataset``, ``dks`` and a column for each
        divergence, and all four under shuffled labels, with ``_shuffled`` added to the name.

    Returns
    -------
    Figure
        Axes of divergences go with the square root, on which the least value that a D_KS allows is
        nearly a straight line; it is dashed for the two that do not depend on the class.
    """
    networks = list(dict.fromkeys(pairs["network"]))
    fig, axes = panel_rows(
        len(networks), len(NAMES), height=2.5, margin=0.7, sharex=True, sharey="col"
    )
    for row, network in zip(axes, networks, strict=True):
        for ax, (measure, name) in zip(row, NAMES.items(), strict=True):
            _measure_panel(pairs[pairs["network"] == network], measure, ax)
            ax.set_ylim(0, 1.05 * max(pairs[measure].max(), pairs[f"{measure}_shuffled"].max()))
            ax.set_ylabel(f"{name} (nats)")
        row[0].set_title(literal(network))
    for ax in axes[-1]:
        ax.set_xlabel("$D_{KS}$")
    legend_below(axes[0, 0], markerscale=2)
    return fig


def _measure_panel(pairs: pd.DataFrame, measure: str, ax: Axes) -> None:
    small: dict[str, Any] = {"linestyle": "", "rasterized": True, "markeredgewidth": 0}
    for dataset, look in dataset_looks(pairs["dataset"]).items():
        part = pairs[pairs["dataset"] == dataset]
        style = small | look | {"markersize": 2.6, "alpha": 0.5}
        ax.plot(part["dks"], part[measure], label=literal(dataset), zorder=2, **style)
    style = small | {"color": "0.25", "marker": ".", "markersize": 2.2, "alpha": 0.5}
    chance = pairs["dks_shuffled"], pairs[f"{measure}_shuffled"]
    ax.plot(*chance, label="shuffled labels", zorder=3, **style)
    D = np.linspace(-0.999, 0.999, 401)
    least = {"kullback_leibler": 2 * D**2, "bhattacharyya": -np.log(1 - D**2) / 2}
    if measure in least:
        ax.plot(D, least[measure], color="black", linestyle="--", linewidth=0.9, zorder=4)
    _root_scale(ax, "y")
    ax.set_xlim(-1.05, 1.05)


def plot_disagreements(examples: Sequence[tuple[str, FeatureClassPair]]) -> Figure:
    """Histograms and distribution functions of some feature/class pairs, a titled row for each."""
    fig = plt.figure(figsize=(WIDTH, 3.1 * len(examples)), layout="constrained")
    parts = fig.subfigures(len(examples), 1, squeeze=False)
    for part, (title, pair) in zip(parts.flat, examples, strict=True):
        left, right = part.subplots(1, 2)
        plot_inner_outer_histograms(pair, ax=left)
        plot_edfs(pair, ax=right)
        part.suptitle(literal(title))
    return fig


def _grid(networks: Sequence[str], margin: float, height: float) -> tuple[Figure, Any]:
    """Panels in rows of two on common axes, each with a network's name."""
    fig, axes = panel_grid(len(networks), 2, height=height, margin=margin, sharex=True, sharey=True)
    for ax, network in zip(axes.flat, networks, strict=False):
        ax.tick_params(labelbottom=True)
        ax.set_title(literal(network).replace("@", "\n@"))
    return fig, axes


def plot_lost_resolution(pairs: pd.DataFrame) -> Figure:
    """Set what binned distances lack against the most that they can lack, a panel for each network.

    Parameters
    ----------
    pairs
        Feature/class pairs: columns ``network``, ``bound``, ``loss`` and ``zeros``, the share of a
        feature's values that are 0.

    Returns
    -------
    Figure
        Both axes go with the square root.
    """
    networks = list(dict.fromkeys(pairs["network"]))
    fig, axes = _grid(networks, 0.5, 3.0)
    end = 1.05 * max(pairs["bound"].max(), 0.01)
    for ax, network in zip(axes.flat, networks, strict=False):
        part = pairs[pairs["network"] == network].sort_values("zeros")
        colours: dict[str, Any] = {"c": part["zeros"], "cmap": "viridis", "vmin": 0, "vmax": 1}
        drawn = ax.scatter(
            part["bound"], part["loss"], s=7, linewidths=0, rasterized=True, **colours
        )
        ax.plot([0, end], [0, end], color="black", linestyle="--", linewidth=1)
        for axis in ("x", "y"):
            _root_scale(ax, axis)
            ax.set(**{f"{axis}lim": (0, end), f"{axis}ticks": [t for t in TICKS if t < end]})
        ax.set_xlabel("bound")
    for ax in axes[:, 0]:
        ax.set_ylabel("$|D_{KS}|$ lost on bins")
    bar = fig.colorbar(drawn, ax=[*axes.flat[: len(networks)]], label="zeros in the feature")
    in_percent(bar.ax.yaxis)
    return fig


def _root_scale(ax: Axes, axis: Literal["x", "y"]) -> None:
    """Let an axis go with the square root, so that small values are seen, and 0 as well."""
    scale = ax.set_xscale if axis == "x" else ax.set_yscale
    scale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))


def plot_calibration(rates: pd.DataFrame, *, level: float = 0.05) -> Figure:
    """Rejections under shuffled labels against the share of zeros, a panel for each network.

    Parameters
    ----------
    rates
        Columns ``network``, ``law`` ("conditional" or "classical"), ``zeros``, ``rate`` and
        ``standard_error``.
    level
        Nominal level of the tests.
    """
    networks = list(dict.fromkeys(rates["network"]))
    fig, axes = _grid(networks, 0.6, 2.8)
    for ax, network in zip(axes.flat, networks, strict=False):
        part = rates[rates["network"] == network]
        ax.axhline(level, color=NEUTRAL, linestyle="--", linewidth=1, label="nominal level")
        for law, (colour, marker, name) in LAWS.items():
            line = part[part["law"] == law]
            ax.errorbar(
                line["zeros"],
                line["rate"],
                yerr=line["standard_error"].fillna(0),
                color=colour,
                marker=marker,
                linewidth=1.2,
                capsize=2,
                label=name,
            )
        ax.set(xlabel="zeros in the feature", xlim=(-0.04, 1.04))
        in_percent(ax.xaxis, ax.yaxis)
    axes[0, 0].set_ylim(bottom=0)
    for ax in axes[:, 0]:
        ax.set_ylabel("pairs rejected")
    legend_below(axes[0, 0])
    return fig


def plot_discoveries(table: pd.DataFrame) -> Figure:
    """Share of each layer's features that are characteristic of a class, a panel for each network.

    Parameters
    ----------
    table
        Columns ``network``, ``dataset``, ``layer``, and the shares under the labels,
        ``discovered``, and under shuffled ones, ``discovered_shuffled``, a mean over classes.
    """
    networks = list(dict.fromkeys(table["network"]))
    fig, axes = panel_rows(len(networks), height=2.9)
    for ax, network in zip(axes[:, 0], networks, strict=True):
        part = table[table["network"] == network]
        layers = list(dict.fromkeys(part["layer"]))
        style: dict[str, Any] = {"color": "0.55", "markersize": 3.5, "linewidth": 0.8}
        for dataset, look in dataset_looks(part["dataset"]).items():
            line = part[part["dataset"] == dataset]
            x = [layers.index(layer) for layer in line["layer"]]
            ax.plot(x, line["discovered"], linewidth=1, label=literal(dataset), **look)
            ax.plot(x, line["discovered_shuffled"], zorder=1, **look | style)
        ax.plot([], [], label="shuffled labels", **style)
        name_layers(ax, layers)
        ax.set(title=literal(network), ylabel="characteristic features", ylim=(-0.03, 1.03))
        in_percent(ax.yaxis)
        ax.grid(axis="y")
    legend_below(axes[0, 0])
    return fig
