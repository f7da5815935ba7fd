"""Figures of the chapter on the networks that come along: how they were trained, what they see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from analysis.figures.panels import in_percent, legend_below, look_of, name_rows, panel_rows
from analysis.figures.style import NEUTRAL, PALETTE, WIDTH, literal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

ORIGIN_COLOURS = {"photographs": PALETTE[0], "drawn": PALETTE[1]}
FILTERS_PER_ROW = 16
LONGEST_NAME = 26  # letters of a class


def plot_training(history: pd.DataFrame) -> Figure:
    """Loss and accuracy after every epoch, a row of panels per set of weights.

    Parameters
    ----------
    history
        Columns ``weights``, ``epoch``, ``train_loss``, ``val_loss``, ``train_accuracy`` and
        ``val_top1``.

    Returns
    -------
    Figure
        On the left the losses, on the right the accuracies; training dashed.
    """
    parts = list(history.groupby("weights", sort=False))
    fig, axes = panel_rows(len(parts), 2, height=2.5, sharex="row")
    panels = (
        ("loss (nats)", "train_loss", "val_loss"),
        ("accuracy (top 1)", "train_accuracy", "val_top1"),
    )
    for row, (weights, part) in zip(axes, parts, strict=True):
        for ax, (what, training, validation) in zip(row, panels, strict=True):
            marker = "o" if len(part) == 1 else None
            for column, look in (
                (training, {"color": PALETTE[1], "ls": "--", "label": "training images, changed"}),
                (validation, {"color": PALETTE[0], "label": "validation images"}),
            ):
                ax.plot(part["epoch"], part[column], marker=marker, **look)
            ax.set(xlabel="epoch", ylabel=what)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.grid(axis="y")
        row[0].set_title(literal(weights))
        row[1].set_ylim(bottom=0)
        in_percent(row[1].yaxis)
    legend_below(axes[0, 0], ncols=2, loc="outside lower center")
    return fig


def plot_class_accuracy(table: pd.DataFrame, *, n_named: int = 6) -> Figure:
    """Accuracy of every class, sorted; the best and the worst classes of photographs by name.

    Parameters
    ----------
    table
        Columns ``weights``, ``title``, ``origin`` (``"photographs"`` or ``"drawn"``) and
        ``accuracy``, a row per class.
    n_named
        How many of the best and of the worst classes of photographs to name.

    Returns
    -------
    Figure
        A row of two panels per set of weights: all classes, and those at the ends.
    """
    parts = list(table.groupby("weights", sort=False))
    height = 0.9 + 0.4 * n_named
    fig, axes = panel_rows(len(parts), 2, height=height, width_ratios=(3, 2))
    for (every, ends), (weights, part) in zip(axes, parts, strict=True):
        ranked = part.sort_values("accuracy", ascending=False, kind="stable")
        _all_classes(every, ranked)
        every.set_title(literal(weights))
        _classes_at_the_ends(ends, ranked[ranked["origin"] == "photographs"], n_named)
    shown = [origin for origin in ORIGIN_COLOURS if (table["origin"] == origin).any()]
    swatches = [Patch(color=ORIGIN_COLOURS[origin], label=origin) for origin in shown]
    fig.legend(handles=swatches, loc="outside lower center", ncols=len(swatches))
    return fig


def plot_filters(filters: Mapping[str, NDArray[np.floating[Any]]]) -> Figure:
    """First-layer filters as small colour pictures, a block per set of weights.

    Every filter is scaled by its own greatest weight: grey is zero, bright colours answer with
    more, dark ones with less.

    Parameters
    ----------
    filters
        Name → weights (filters, 3, height, width), in the order red, green, blue.

    Returns
    -------
    Figure
        One axes per filter, the number above it.
    """
    blocks = {name: _as_pictures(weights) for name, weights in filters.items()}
    n_columns = min(FILTERS_PER_ROW, max(map(len, blocks.values())))
    n_rows = {name: -(-len(pictures) // n_columns) for name, pictures in blocks.items()}
    side = WIDTH / n_columns
    heights = [0.45 + (side + 0.1) * rows for rows in n_rows.values()]
    fig = plt.figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    figures = fig.subfigures(len(blocks), 1, squeeze=False, height_ratios=heights)[:, 0]
    for block, (name, pictures) in zip(figures, blocks.items(), strict=True):
        block.suptitle(literal(name), x=0.01, ha="left", fontsize=10.5)
        grid = block.subplots(n_rows[name], n_columns, squeeze=False)
        for ax in grid.flat:
            ax.axis("off")
        for number, (ax, picture) in enumerate(zip(grid.flat, pictures, strict=False)):
            ax.imshow(picture, interpolation="nearest")
            ax.set_title(f"{number}", fontsize=8, loc="center", pad=2)
    return fig


def plot_accuracies(table: pd.DataFrame) -> Figure:
    """Accuracy by several sets of features, one below the other within each dataset.

    Parameters
    ----------
    table
        Columns ``dataset``, ``features``, ``mean``, ``std`` and ``chance``.

    Returns
    -------
    Figure
        A point with its standard deviation per dataset and set of features; chance as a grey line.
    """
    datasets = list(dict.fromkeys(table["dataset"]))
    sets = list(dict.fromkeys(table["features"]))
    height = 1.2 + len(datasets) * (0.15 * len(sets) + 0.2) + 0.22 * (len(sets) // 2)
    fig, ax = plt.subplots(figsize=(WIDTH, height), layout="constrained")
    step = 0.75 / len(sets)
    for number, name in enumerate(sets):
        part = table[table["features"] == name]
        y = np.array([datasets.index(dataset) for dataset in part["dataset"]])
        ax.errorbar(
            part["mean"],
            y + (number - (len(sets) - 1) / 2) * step,
            xerr=part["std"],
            linestyle="none",
            elinewidth=1.4,
            label=literal(name),
            **look_of(number),
        )
    chances = table.drop_duplicates("dataset")["chance"]
    for row, chance in enumerate(chances):
        ends = (row - 0.42, row + 0.42)
        label = "chance" if row == 0 else None
        ax.plot((chance, chance), ends, color=NEUTRAL, linestyle="--", linewidth=1.2, label=label)
    for boundary in range(1, len(datasets)):
        ax.axhline(boundary - 0.5, color="0.88", linewidth=0.8)
    name_rows(ax, datasets)
    ax.set_xlim(0, 1.01)
    ax.set_xlabel("accuracy, mean over classes (bars: standard deviation of the splits)")
    in_percent(ax.xaxis)
    ax.grid(axis="x")
    handles, labels = ax.get_legend_handles_labels()
    handles, labels = [*handles[1:], handles[0]], [*labels[1:], labels[0]]  # chance is no set
    fig.legend(handles, labels, loc="outside lower center", ncols=2)
    return fig


def _all_classes(ax: Axes, ranked: pd.DataFrame) -> None:
    """Bars of all classes, the best first."""
    colours = [ORIGIN_COLOURS[origin] for origin in ranked["origin"]]
    ax.bar(range(len(ranked)), ranked["accuracy"], width=1.0, color=colours)
    ax.axhline(ranked["accuracy"].mean(), color="black", linewidth=1, linestyle=":")
    ax.set(xlim=(-0.5, len(ranked) - 0.5), ylim=(0, 1))
    ax.set_xlabel(f"{len(ranked)} classes, best first; dots: their mean")
    ax.set_ylabel("accuracy")
    ax.set_xticks([])
    in_percent(ax.yaxis)


def _classes_at_the_ends(ax: Axes, ranked: pd.DataFrame, n_named: int) -> None:
    """Bars of the best and of the worst classes, named."""
    n_named = min(n_named, len(ranked) // 2)
    for rows, shift in ((ranked.head(n_named), 0.0), (ranked.tail(n_named), n_named + 0.8)):
        y = np.arange(len(rows)) + shift
        bars = ax.barh(y, rows["accuracy"], color=ORIGIN_COLOURS["photographs"], height=0.75)
        ax.bar_label(bars, fmt=lambda share: f"{share:.0%}", padding=2, fontsize=8.5)
    y = np.append(np.arange(n_named), np.arange(n_named) + n_named + 0.8)
    names = [*ranked["title"].head(n_named), *ranked["title"].tail(n_named)]
    ax.set_yticks(y, [literal(_shortened(name)) for name in names], fontsize=8.5)
    ax.tick_params(axis="y", length=0)
    ax.set(xlim=(0, 1.15), ylim=(y[-1] + 0.6, -0.6), xlabel="photographs, best and worst")
    ax.set_xticks([])


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1].rstrip()}…"


def _as_pictures(weights: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Turn filters (n, 3, height, width) into colours (n, height, width, 3): 0 to 1, zero grey."""
    values = np.asarray(weights, dtype=np.float64)
    if values.ndim != 4 or values.shape[1] != 3:
        raise ValueError(
            f"expected filters on colours, (filters, 3, height, width), got {values.shape}"
        )
    largest = np.abs(values).max(axis=(1, 2, 3), keepdims=True)
    scaled = 0.5 + 0.5 * values / np.where(largest > 0, largest, 1.0)
    return scaled.transpose(0, 2, 3, 1)
