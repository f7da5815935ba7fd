"""Figures of the chapter on fused and aligned layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.colors import TwoSlopeNorm

from analysis.figures.nothing import plot_nothing
from analysis.figures.style import MARKERS, NEUTRAL, PALETTE, WIDTH, literal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = [
    "DomainPlanes",
    "plot_against_global",
    "plot_alignment",
    "plot_choices",
    "plot_runs",
    "plot_sensitivity",
]

_NO_PAIRS = "No two datasets of this study are domains of each other."
_DIVERGING = "PuOr"
_DOMAINS = ((PALETTE[0], MARKERS[0]), (PALETTE[1], MARKERS[3]))


class DomainPlanes(NamedTuple):
    """Images of two domains in the plane, source first, before and after alignment.

    Attributes
    ----------
    before, after : tuple of ndarray of float64, shape (images, 2)
        Where the images of source and target are.
    gaps : tuple of float
        Distance between the domains in all dimensions, before and after, as
        :func:`analysis.transfer.fusion.domain_gap` measures it.
    names : tuple of str
        Of source and target.
    """

    before: tuple[NDArray[np.float64], NDArray[np.float64]]
    after: tuple[NDArray[np.float64], NDArray[np.float64]]
    gaps: tuple[float, float]
    names: tuple[str, str]


def plot_against_global(gains: pd.DataFrame, title: str) -> Figure:
    """Accuracy of local or fused descriptors minus that of the global one.

    Parameters
    ----------
    gains
        Columns ``pair``, ``layer``, ``selection`` and ``points``, the difference in percentage
        points, as :func:`analysis.chapters.fusion.points_over_global` gives them.
    title
        What is compared, before the finding.

    Returns
    -------
    Figure
        A row for each pair and a column for each block and selection, with the number written in.
        The colours end at the 95th percentile of the sizes. Without rows, words say why.
    """
    if gains.empty:
        return plot_nothing(_NO_PAIRS)
    wide = gains.pivot(index="pair", columns=["layer", "selection"], values="points")
    wide = wide.loc[[*dict.fromkeys(gains["pair"])]]
    wide = wide[[*dict.fromkeys(zip(gains["layer"], gains["selection"], strict=True))]]
    values = wide.to_numpy(np.float64)
    most = max(1.0, float(np.nanpercentile(np.abs(values), 95)))
    fig, ax = plt.subplots(figsize=(WIDTH, 1.9 + 0.32 * len(wide)), layout="constrained")
    drawn = ax.pcolormesh(
        values, cmap=_DIVERGING, norm=TwoSlopeNorm(0, -most, most), edgecolors="white", linewidth=1
    )
    for (row, column), value in np.ndenumerate(values):
        dark = abs(value) > 0.7 * most
        text = "–" if np.isnan(value) else f"{value:+.1f}"
        ax.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=8.5,
                color="white" if dark else "black")  # fmt: skip
    ax.set_xticks(
        np.arange(values.shape[1]) + 0.5,
        ["\n".join(column) for column in wide.columns],
        fontsize=8.5,
    )
    ax.set_yticks(np.arange(len(wide)) + 0.5, [literal(pair) for pair in wide.index], fontsize=8.5)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.invert_yaxis()
    better = int((values > 0).sum())
    known = int(np.isfinite(values).sum())
    ax.set_title(f"{literal(title)}: better than the global layer in {better} of {known} cases")
    bar = fig.colorbar(drawn, ax=ax, extend="both", shrink=0.9, pad=0.01)
    bar.set_label("points")
    bar.outline.set_visible(False)
    return fig


def plot_alignment(planes: DomainPlanes | None) -> Figure:
    """Two domains in the plane, before and after alignment.

    Parameters
    ----------
    planes
        Where the images are; None where there are none.

    Returns
    -------
    Figure
        Two panels, or words that say why there is nothing.
    """
    if planes is None:
        return plot_nothing(_NO_PAIRS)
    fig, axes = _two_panels(sharey=False)
    kinds = ("principal components", "transfer components")
    for ax, both, gap, kind in zip(
        axes, (planes.before, planes.after), planes.gaps, kinds, strict=True
    ):
        for points, name, (colour, marker) in zip(both, planes.names, _DOMAINS, strict=True):
            ax.scatter(
                *points.T[:2], s=9, c=colour, marker=marker, alpha=0.55, lw=0, label=literal(name)
            )
        ax.set_title(f"First two {kind}:\ngap between the domains {gap:.3f}")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_xlabel("first")
        ax.set_ylabel("second")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower left", ncols=2, markerscale=2.5)
    return fig


def plot_sensitivity(table: pd.DataFrame) -> Figure:
    """Accuracy by μ and by the width of the kernel.

    Parameters
    ----------
    table
        As :func:`analysis.chapters.fusion.measure_sensitivity` gives it.

    Returns
    -------
    Figure
        A panel for each, a line for each descriptor. Without rows, words say why.
    """
    if table.empty:
        return plot_nothing(_NO_PAIRS)
    fig, axes = _two_panels(sharey=True)
    labels = {"μ": "μ", "γ": "γ, multiples of the median's"}
    of = table.assign(name=[_named(row) for row in table.to_dict("records")])
    names = [*dict.fromkeys(of["name"])]
    for ax, (varied, label) in zip(axes, labels.items(), strict=True):
        for name, colour, marker in zip(names, PALETTE, MARKERS, strict=False):
            part = of[(of["varied"] == varied) & (of["name"] == name)].sort_values("value")
            ax.plot(
                part["value"],
                100 * part["accuracy"],
                marker=marker,
                color=colour,
                label=literal(name),
            )
        ax.set_xscale("log")
        ax.set_xlabel(label)
        ax.grid(axis="y")
        spread = of[of["varied"] == varied].groupby("name")["accuracy"].agg(np.ptp).max()
        ax.set_title(f"{varied}: up to {100 * spread:.1f} points apart")
    axes[0].set_ylabel("accuracy on the target [%]")
    handles, labelled = axes[0].get_legend_handles_labels()
    fig.legend(handles, labelled, loc="outside lower left", ncols=2)
    return fig


def plot_runs(histories: pd.DataFrame) -> Figure:
    """Loss and accuracy on the images that are learnt from, a line for each run.

    Parameters
    ----------
    histories
        Columns ``run``, ``epoch``, ``loss`` (nats) and ``accuracy`` (shares).

    Returns
    -------
    Figure
        Two panels. Without rows, words say why.
    """
    if histories.empty:
        return plot_nothing(_NO_PAIRS)
    fig, axes = _two_panels(sharey=False)
    runs = histories.groupby("run", sort=False)
    for (run, part), colour, marker in zip(runs, PALETTE, MARKERS, strict=False):
        look = {"color": colour, "marker": marker, "markevery": max(1, len(part) // 5)}
        axes[0].plot(part["epoch"], part["loss"], label=literal(run), **look)
        axes[1].plot(part["epoch"], 100 * part["accuracy"], **look)
    last = 100 * runs["accuracy"].last()
    axes[0].set_title("Learning the source")
    reached = list(dict.fromkeys(f"{end:.0f}" for end in (last.min(), last.max())))
    axes[1].set_title(f"At the end {' to '.join(reached)} %")
    axes[0].set_ylabel("loss [nats]")
    axes[1].set_ylabel("accuracy [%]")
    axes[1].set_ylim(0, 102)
    for ax in axes:
        ax.set_xlabel("epoch")
        ax.grid(axis="y")
    fig.legend(loc="outside lower left", ncols=2)
    return fig


def plot_choices(choices: pd.DataFrame) -> Figure:
    """How far choices without target labels are from the best in hindsight.

    Parameters
    ----------
    choices
        Columns ``pair``, ``rule``, ``regret`` and ``mean_regret``, shares, as
        :func:`analysis.transfer.fusion.choose_without_labels` gives them, pairs stacked.

    Returns
    -------
    Figure
        A row for each pair, a marker for each rule, and one for a choice at random.
    """
    if choices.empty:
        return plot_nothing(_NO_PAIRS)
    pairs, rules = [*dict.fromkeys(choices["pair"])], [*dict.fromkeys(choices["rule"])]
    fig, ax = plt.subplots(figsize=(WIDTH, 1.6 + 0.3 * len(pairs)), layout="constrained")
    rows = {pair: number for number, pair in enumerate(pairs)}
    random = choices.drop_duplicates("pair")
    ax.plot(100 * random["mean_regret"], random["pair"].map(rows), ls="", marker="|", ms=13,
            color=NEUTRAL, label="at random, on average")  # fmt: skip
    offsets = np.linspace(-0.22, 0.22, len(rules))
    for rule, colour, marker, offset in zip(rules, PALETTE, MARKERS, offsets, strict=False):
        part = choices[choices["rule"] == rule]
        ax.plot(100 * part["regret"], part["pair"].map(rows) + offset, ls="", marker=marker,
                color=colour, label=rule)  # fmt: skip
    ax.set_yticks(range(len(pairs)), [literal(pair) for pair in pairs], fontsize=8.5)
    ax.set_ylim(len(pairs) - 0.5, -0.5)
    ax.set_xlim(left=-1)
    ax.set_xlabel("points below the best in hindsight")
    ax.grid(axis="x")
    means = choices.groupby("rule", sort=False)["regret"].mean()
    ax.set_title(f"Smallest loss on average: {means.idxmin()}, {100 * means.min():.1f} points")
    fig.legend(loc="outside lower left", ncols=2)
    return fig


def _named(row: Mapping[Any, Any]) -> str:
    parts: Sequence[str] = [row["descriptor"], row["layer"], row["selection"]]
    return " ".join(part for part in parts if part)


def _two_panels(*, sharey: bool) -> tuple[Figure, Any]:
    return plt.subplots(1, 2, figsize=(WIDTH, 3.2), sharey=sharey, layout="constrained")
