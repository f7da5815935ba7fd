"""Figures of the chapter on which layers to keep: what accuracy costs in features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from analysis.figures.panels import heading, in_percent, legend_below, panel_grid
from analysis.figures.style import NEUTRAL, PALETTE, WIDTH, literal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SINGLE: dict[str, Any] = {"color": "0.6", "marker": "o", "markersize": 3.6}
LOOKS: dict[str, dict[str, Any]] = {
    "all layers": {"color": PALETTE[0], "marker": "s", "markersize": 5.5},
    "all layers, discretised": {"color": PALETTE[3], "marker": "D", "markersize": 5},
    "chosen layers, discretised": {"color": PALETTE[4], "marker": "^", "markersize": 6},
    "kept by distance": {"color": PALETTE[2], "marker": "v", "markersize": 6},
    "kept by false discovery": {"color": PALETTE[5], "marker": "X", "markersize": 6},
    "recommended": {"color": PALETTE[1], "marker": "P", "markersize": 9},
}
MAY_BE_FAR = ("kept by false discovery",)
"""With few images, hardly a feature may be left."""


def plot_accuracy_against_size(summary: pd.DataFrame) -> Figure:
    """Accuracy of every set of features against how many they are, a panel for each dataset.

    Parameters
    ----------
    summary
        Columns ``dataset``, ``features``, ``kind``, ``mean``, ``standard_error``, ``n_features``
        and ``chance``, as :attr:`analysis.transfer.Recommendation.summary` has them; of one
        network, whose name, in the column ``network``, is the title. Rows of kind "diagnostic" are
        not drawn.

    Returns
    -------
    Figure
        Bars are one standard error over the splits. The best single layer bears its name. What lies
        far below the others, layers or features kept by false discovery, are carets on the lower
        edge, in their own colours.
    """
    shown = summary[(summary["kind"] != "diagnostic") & (summary["n_features"] > 0)]
    datasets = list(dict.fromkeys(shown["dataset"]))
    fig, axes = panel_grid(len(datasets), 2, height=2.6, margin=1.2, sharex=True)
    _name_network(shown, fig)
    for ax, dataset in zip(axes.flat, datasets, strict=False):
        _panel(shown[shown["dataset"] == dataset], ax)
        ax.set_title(literal(dataset))
        ax.tick_params(labelbottom=True)
    for ax in axes.flat[max(0, len(datasets) - 2) : len(datasets)]:
        ax.set_xlabel("features")
    for ax in axes[:, 0]:
        ax.set_ylabel("accuracy")
    _count_axis(axes[0, 0], shown["n_features"])
    legend_below(*axes.flat[: len(datasets)])
    return fig


def plot_kept_layers(table: pd.DataFrame) -> Figure:
    """Which layers the recommended procedure kept, a row for each dataset.

    Parameters
    ----------
    table
        Columns ``dataset``, ``layer`` and ``share`` (of the splits that kept it), as
        :func:`analysis.transfer.layers_kept` counts them; of one network, whose name, in the column
        ``network``, is the title.
    """
    datasets, layers = (list(dict.fromkeys(table[name])) for name in ("dataset", "layer"))
    wide = table.pivot(index="dataset", columns="layer", values="share").loc[datasets, layers]
    fig, ax = plt.subplots(figsize=(WIDTH, 1.8 + 0.32 * len(datasets)), layout="constrained")
    _name_network(table, fig)
    sns.heatmap(
        wide.to_numpy(),
        ax=ax,
        cmap="Blues",
        vmin=0,
        vmax=1,
        linewidths=1,
        cbar_kws={"label": "splits that kept it"},
    )
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(np.arange(len(layers)) + 0.5, layers, **turned)
    names = [literal(name) for name in datasets]
    ax.set_yticks(np.arange(len(datasets)) + 0.5, names, rotation=0)
    ax.tick_params(length=0)
    bar = ax.collections[0].colorbar
    assert bar is not None  # asked for
    in_percent(bar.ax.yaxis)
    return fig


def _name_network(table: pd.DataFrame, fig: Figure) -> None:
    """Write the network of a table above the figure, at its left."""
    for network in table.get("network", [])[:1]:
        heading(fig, network)


def _panel(part: pd.DataFrame, ax: Axes) -> None:
    single = part[part["kind"] == "single layer"]
    low, high = _limits(part)
    _points(single[single["mean"] >= low], "single layer", SINGLE, ax)
    edge = low + 0.03 * (high - low)
    _carets(single[single["mean"] < low], edge, "single layer, further below", SINGLE, ax)
    for name, look in LOOKS.items():
        rows = part[part["features"] == name]
        _points(rows[rows["mean"] >= low], name, look, ax)
        _carets(rows[rows["mean"] < low], edge, f"{name}, further below", look, ax)
    best = single.iloc[int(single["mean"].to_numpy().argmax())]
    small: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8.5}
    if best["mean"] >= low:
        at = (best["n_features"], best["mean"])
        others = part.loc[part["kind"] != "single layer", "n_features"] / best["n_features"]
        side = ("left", 3) if others.between(0.3, 0.95).any() else ("right", -3)
        small["ha"] = side[0]
        ax.annotate(best["features"], at, xytext=(side[1], 4), color="0.35", **small)
    chance = part["chance"].iloc[0]
    if chance > low:
        ax.axhline(chance, color=NEUTRAL, linestyle="--", linewidth=1)
        small |= {"xycoords": ("axes fraction", "data"), "xytext": (-2, 2), "ha": "right"}
        ax.annotate("chance", (1, chance), color=NEUTRAL, **small)
    ax.set_ylim(low, high)
    in_percent(ax.yaxis, decimals=1)
    ax.grid(axis="y")


def _limits(part: pd.DataFrame) -> tuple[float, float]:
    """Accuracies to show: the sets to compare in the upper third, single layers as far as fits."""
    several = part[~part["kind"].eq("single layer") & ~part["features"].isin(MAY_BE_FAR)]["mean"]
    best = float(part["mean"].max())
    height = max(0.04, 3 * (best - float(several.min())))
    highest = float((part["mean"] + part["standard_error"].fillna(0)).max())
    return best - height, max(best + 0.2 * height, highest + 0.05 * height)


def _carets(rows: pd.DataFrame, edge: float, name: str, look: dict[str, Any], ax: Axes) -> None:
    """Mark sets that lie below the panel."""
    if len(rows):
        caret: dict[str, Any] = {"marker": 11, "markersize": 5, "linestyle": "none"}
        ax.plot(rows["n_features"], np.full(len(rows), edge), label=name, **(look | caret))


def _points(rows: pd.DataFrame, name: str, look: dict[str, Any], ax: Axes) -> None:
    if rows.empty:
        return
    ax.errorbar(
        rows["n_features"],
        rows["mean"],
        yerr=rows["standard_error"],
        label=name,
        linestyle="none",
        elinewidth=1.1,
        markeredgecolor="white",
        markeredgewidth=0.5,
        zorder=3,
        **look,
    )


def _count_axis(ax: Axes, counts: pd.Series[float]) -> None:
    """Logarithmic axis with plain numbers."""
    ax.set_xscale("log")
    ax.set_xlim(0.55 * counts.min(), 1.5 * counts.max())
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
