"""Densities of D_KS by kind of layer and by overlap with the source task, datasets together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.figures.panels import (
    Looks,
    dataset_legend,
    dataset_looks,
    panel_rows,
    title,
    wrapped,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["KINDS", "plot_kinds", "plot_overlap_groups"]

KINDS = ("convolutional", "fully connected", "attention", "tokens")
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
