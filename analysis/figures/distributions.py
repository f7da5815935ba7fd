"""Figures of the chapter on D_KS distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch

from analysis.figures.panels import (
    Looks,
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
    from numpy.typing import NDArray

    from analysis.statistics import FeatureClassPair

KINDS = ("convolutional", "fully connected", "attention", "tokens")
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


GROUPS = {
    "a": "a: classes within\nthe source task",
    "b": "b: some of them",
    "c": "c: none",
}


def plot_kinds(table: pd.DataFrame) -> Figure:
    """Densities of D_KS in each kind of layers (Fig. 6).

    Parameters
    ----------
    table
        Columns ``network``, ``dataset``, ``kind`` (one of :data:`KINDS`), ``left``, ``right`` and
        ``share``: the share of the kind's feature/class pairs in each bin.

    Returns
    -------
    Figure
        A row per network, a panel per kind with a line per dataset, all with the same scales.
        Where a network has no layer of a kind, words say so; only the convolutional and the fully
        connected layers have panels if no network has others.

    Notes
    -----
    The shares have a square-root scale, on which tails can be read beside peaks; the paper's is
    linear.
    """
    networks = list(dict.fromkeys(table["network"]))
    present = set(table["kind"])
    kinds = [*KINDS[:2], *(kind for kind in KINDS[2:] if kind in present)]
    fig, axes = _grid(len(networks), len(kinds), table)
    looks = dataset_looks(table["dataset"])
    for row, network in zip(axes, networks, strict=True):
        for ax, kind in zip(row, kinds, strict=True):
            part = table[(table["network"] == network) & (table["kind"] == kind)]
            words = f"{network}: {kind}"
            if part.empty:
                words = network
                _say(ax, f"{network} has no {kind} layer", 72 // len(kinds))
            else:
                _lines(ax, part, looks)
            title(ax, words, 86 // len(kinds))
    dataset_legend(fig, looks)
    return fig


def plot_overlap_groups(table: pd.DataFrame) -> Figure:
    """Densities of D_KS in the fully-connected layers, by overlap with the source task (Fig. 8).

    Parameters
    ----------
    table
        As for :func:`plot_kinds`, with the column ``group`` as well: ``"a"``, ``"b"`` or ``"c"``,
        or missing where a dataset has no group with respect to the network. Of the kinds, only
        the fully connected is drawn.

    Returns
    -------
    Figure
        A row per network with any group, a panel per group. A group without a dataset says so in
        words, and a note names what has no group.

    Raises
    ------
    ValueError
        If there are groups of other names.
    """
    odd = sorted(set(table["group"].dropna()) - set(GROUPS))
    if odd:
        raise ValueError(f"expected the groups {', '.join(GROUPS)} or none, got {odd}")
    grouped = table[table["group"].notna()]
    networks = list(dict.fromkeys(grouped["network"])) or [""]
    shown = grouped[grouped["kind"] == KINDS[1]]
    note = _without_group(table)
    fig, axes = _grid(len(networks), len(GROUPS), shown, note)
    looks = dataset_looks(table["dataset"])
    for row, network in zip(axes, networks, strict=True):
        of_network = shown[shown["network"] == network]
        for ax, (group, words) in zip(row, GROUPS.items(), strict=True):
            part = of_network[of_network["group"] == group]
            if not part.empty:
                _lines(ax, part, looks)
            elif network and of_network.empty:
                _say(ax, f"{network} has no {KINDS[1]} layer", 22)
            else:
                _say(ax, "no dataset of this study in this group", 22)
            above = f"{wrapped(network, 90)}\n" if network and ax is row[0] else ""
            ax.set_title(above + words, fontsize=10.5, parse_math=False)
    used = set(shown["dataset"])
    dataset_legend(fig, {dataset: look for dataset, look in looks.items() if dataset in used})
    return fig


def _without_group(table: pd.DataFrame) -> str:
    """Name the datasets that have no group, and the networks for which no dataset has one."""
    parts = []
    for network, of_network in table.groupby("network", sort=False):
        missing = of_network["group"].isna()
        names = ", ".join(dict.fromkeys(of_network.loc[missing, "dataset"]))
        if missing.all():
            names = "all datasets"
        if names:
            parts.append(f"{names} of {network}")
    return f"Not drawn, for want of a group: {'; '.join(parts)}." if parts else ""


def _grid(
    n_rows: int, columns: int, table: pd.DataFrame, note: str = ""
) -> tuple[Figure, NDArray[Any]]:
    """Panels with the same scales, from no share to the highest, and a note below them."""
    fig, axes = panel_rows(n_rows, columns, height=2.3, sharex=True, sharey=True)
    top = float(table["share"].max()) if len(table) else 1.0
    step = min((0.05, 0.1, 0.2), key=lambda step: abs(np.sqrt(top) / step - 4))
    ticks = np.arange(0, 1.01, step) ** 2
    first = axes[0, 0]
    first.set_yscale("function", functions=(_signed_root, np.square))
    first.set_yticks(ticks, [f"{100 * tick:g} %" for tick in ticks.round(6)])
    first.set(xlim=(-1, 1), ylim=(0, 1.08 * top), xticks=np.linspace(-1, 1, 5))
    for ax in axes[-1]:
        ax.set_xlabel("$D_{KS}$")
    width = table["right"].iloc[0] - table["left"].iloc[0] if len(table) else 0.02
    for ax in axes[:, 0]:
        ax.set_ylabel(f"share in a bin of {width:.2g}\n(square-root scale)")
    if note:
        lines = wrapped(note, 108)
        fig.supxlabel(lines, fontsize=9, x=0.01, ha="left", color="0.25", parse_math=False)
    return fig, axes


def _signed_root(values: NDArray[Any]) -> NDArray[Any]:
    root: NDArray[Any] = np.sign(values) * np.sqrt(np.abs(values))
    return root


def _lines(ax: Axes, part: pd.DataFrame, looks: Mapping[str, Looks]) -> None:
    """Draw a line per dataset through the middles of its bins; some of them carry its marker."""
    ax.axvline(0, color="0.6", linewidth=0.8, zorder=0)
    for number, (dataset, look) in enumerate(looks.items()):
        bins = part[part["dataset"] == dataset]
        middles = (bins["left"] + bins["right"]) / 2
        step = max(1, len(bins) // 6)
        every = ((3 + 2 * number) % step, step)
        ax.plot(middles, bins["share"], lw=1.2, markersize=4, markevery=every, **look)


def _say(ax: Axes, words: str, width: int) -> None:
    """Put words into a panel that has no data."""
    place: dict[str, Any] = {"ha": "center", "va": "center", "transform": ax.transAxes}
    ax.text(0.5, 0.5, wrapped(words, width), fontsize=9.5, parse_math=False, **place)
