"""Figures of the chapter on which layers to keep: what accuracy costs in features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from analysis.figures.style import NEUTRAL, PALETTE, WIDTH

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_accuracy_against_size", "plot_kept_layers"]

SINGLE: dict[str, Any] = {"color": "0.6", "marker": "o", "markersize": 3.6}
LOOKS: dict[str, dict[str, Any]] = {
    "all layers": {"color": PALETTE[0], "marker": "s", "markersize": 5.5},
    "all layers, discretised": {"color": PALETTE[3], "marker": "D", "markersize": 5},
    "chosen layers, discretised": {"color": PALETTE[4], "marker": "^", "markersize": 6},
    "kept by distance": {"color": PALETTE[2], "marker": "v", "markersize": 6},
    "recommended": {"color": PALETTE[1], "marker": "P", "markersize": 9},
}


def plot_accuracy_against_size(summary: pd.DataFrame) -> Figure:
    """Accuracy of every set of features against how many they are, a panel for each dataset.

    Parameters
    ----------
    summary
        Columns ``dataset``, ``features``, ``kind``, ``mean``, ``standard_error``, ``n_features``
        and ``chance``, as :attr:`analysis.transfer.Recommendation.summary` has them; one network.
        Rows of kind "diagnostic" are not drawn.

    Returns
    -------
    Figure
        Bars are one standard error over the splits. The best single layer bears its name.
    """
    shown = summary[(summary["kind"] != "diagnostic") & (summary["n_features"] > 0)]
    datasets = list(dict.fromkeys(shown["dataset"]))
    rows = -(-len(datasets) // 2)
    fig, axes = plt.subplots(
        rows,
        2,
        figsize=(WIDTH, 0.9 + 2.6 * rows),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for ax in axes.flat[len(datasets) :]:
        ax.remove()
    for ax, dataset in zip(axes.flat, datasets, strict=False):
        _panel(shown[shown["dataset"] == dataset], ax)
        ax.set_title(dataset)
        ax.tick_params(labelbottom=True)
    for ax in axes.flat[max(0, len(datasets) - 2) : len(datasets)]:
        ax.set_xlabel("features")
    for ax in axes[:, 0]:
        ax.set_ylabel("accuracy")
    _count_axis(axes[0, 0], shown["n_features"])
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower left", ncols=3)
    return fig


def plot_kept_layers(table: pd.DataFrame) -> Figure:
    """Which layers the recommended procedure kept, a row for each dataset.

    Parameters
    ----------
    table
        Columns ``dataset``, ``layer`` and ``share`` (of the splits that kept it), one network, as
        :func:`analysis.transfer.layers_kept` counts them.
    """
    datasets, layers = (list(dict.fromkeys(table[name])) for name in ("dataset", "layer"))
    wide = table.pivot(index="dataset", columns="layer", values="share").loc[datasets, layers]
    fig, ax = plt.subplots(figsize=(WIDTH, 1.5 + 0.32 * len(datasets)), layout="constrained")
    drawn = ax.pcolormesh(
        wide.to_numpy(), cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=1
    )
    ax.set_xticks(np.arange(len(layers)) + 0.5, layers, rotation=45, ha="right")
    ax.set_yticks(np.arange(len(datasets)) + 0.5, datasets)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.invert_yaxis()
    bar = fig.colorbar(drawn, ax=ax, label="splits that kept it")
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return fig


def _panel(part: pd.DataFrame, ax: Axes) -> None:
    errors: dict[str, Any] = {"linestyle": "none", "elinewidth": 1.1}
    single = part[part["kind"] == "single layer"]
    ax.errorbar(
        single["n_features"],
        single["mean"],
        yerr=single["standard_error"],
        label="single layers",
        zorder=2,
        **SINGLE,
        **errors,
    )
    for order, (name, look) in enumerate(LOOKS.items()):
        row = part[part["features"] == name]
        ax.errorbar(
            row["n_features"],
            row["mean"],
            yerr=row["standard_error"],
            label=name,
            zorder=3 + order,
            markeredgecolor="white",
            markeredgewidth=0.6,
            **look,
            **errors,
        )
    best = single.iloc[int(single["mean"].to_numpy().argmax())]
    ax.annotate(
        best["features"],
        (best["n_features"], best["mean"]),
        xytext=(-5, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=8.5,
        color="0.35",
    )
    chance = part["chance"].iloc[0]
    low, high = ax.get_ylim()
    if chance > low - 0.3 * (high - low):
        ax.axhline(chance, color=NEUTRAL, linestyle="--", linewidth=1, label="_chance")
        ax.annotate(
            "chance",
            (1, chance),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 2),
            textcoords="offset points",
            ha="right",
            fontsize=8.5,
            color=NEUTRAL,
        )
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.grid(axis="y")


def _count_axis(ax: Axes, counts: pd.Series[float]) -> None:
    """Logarithmic axis with plain numbers."""
    ax.set_xscale("log")
    ax.set_xlim(0.55 * counts.min(), 1.5 * counts.max())
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
