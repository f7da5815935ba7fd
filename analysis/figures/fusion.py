"""Figures of the chapter on fused and aligned layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.ticker import LogLocator

from analysis.figures.panels import legend_below, name_rows, panel_rows
from analysis.figures.style import MARKERS, NEUTRAL, PALETTE, WIDTH, literal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

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
        The colours end at the 95th percentile of the sizes.
    """
    wide = gains.pivot(index="pair", columns=["layer", "selection"], values="points")
    wide = wide.loc[[*dict.fromkeys(gains["pair"])]]
    wide = wide[[*dict.fromkeys(zip(gains["layer"], gains["selection"], strict=True))]]
    values = wide.to_numpy(np.float64)
    most = max(1.0, float(np.nanpercentile(np.abs(values), 95)))
    fig, ax = plt.subplots(figsize=(WIDTH, 1.9 + 0.32 * len(wide)), layout="constrained")
    sns.heatmap(
        values,
        ax=ax,
        annot=True,
        annot_kws={"fontsize": 8.5},
        fmt="+.1f",
        cmap=_DIVERGING,
        center=0,
        vmin=-most,
        vmax=most,
        linewidths=1,
        cbar_kws={"extend": "both", "shrink": 0.9, "pad": 0.01, "label": "points"},
    )
    middles = np.arange(values.shape[1]) + 0.5
    ax.set_xticks(middles, ["\n".join(each) for each in wide.columns], rotation=0, fontsize=8.5)
    names = [literal(pair) for pair in wide.index]
    ax.set_yticks(np.arange(len(wide)) + 0.5, names, rotation=0, fontsize=8.5)
    ax.tick_params(length=0)
    better = int((values > 0).sum())
    known = int(np.isfinite(values).sum())
    ax.set_title(f"{literal(title)}: better than the global layer in {better} of {known} cases")
    return fig


def plot_alignment(planes: DomainPlanes) -> Figure:
    """Two domains in the plane, before and after alignment.

    Parameters
    ----------
    planes
        Where the images are.
    """
    fig, (axes,) = panel_rows(1, 2, height=3.2, margin=0)
    kinds = ("principal components", "transfer components")
    for ax, both, gap, kind in zip(
        axes, (planes.before, planes.after), planes.gaps, kinds, strict=True
    ):
        for points, name, (colour, marker) in zip(both, planes.names, _DOMAINS, strict=True):
            ax.scatter(
                *points.T[:2], s=9, c=colour, marker=marker, alpha=0.55, lw=0, label=literal(name)
            )
        ax.set_title(f"First two {kind}:\ngap between the domains {gap:.3f}")
        ax.set(xticks=[], yticks=[], xlabel="first", ylabel="second")
    legend_below(axes[0], ncols=2, markerscale=2.5)
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
        A panel for each, a line for each descriptor.
    """
    fig, (axes,) = panel_rows(1, 2, height=3.2, margin=0, sharey=True)
    labels = {"μ": "μ", "γ": "γ, multiples of the median's"}
    names = [literal(_named(row)) for row in table.to_dict("records")]
    of = table.assign(name=names, percent=100 * table["accuracy"])
    for ax, (varied, label) in zip(axes, labels.items(), strict=True):
        part = of[of["varied"] == varied]
        _lines(part, "value", "percent", "name", ax)
        ax.set(xscale="log", xlabel=label, ylabel="accuracy on the target [%]")
        ax.xaxis.set_minor_locator(LogLocator(subs="auto"))
        spread = part.groupby("name")["accuracy"].agg(np.ptp).max()
        ax.set_title(f"{varied}: up to {100 * spread:.1f} points apart")
    legend_below(axes[0], ncols=2)
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
        Two panels.
    """
    fig, (axes,) = panel_rows(1, 2, height=3.2, margin=0)
    of = histories.assign(run=histories["run"].map(literal), percent=100 * histories["accuracy"])
    for ax, column, label in zip(
        axes, ("loss", "percent"), ("loss [nats]", "accuracy [%]"), strict=True
    ):
        _lines(of, "epoch", column, "run", ax)
        ax.set(xlabel="epoch", ylabel=label)
    last = of.groupby("run", sort=False)["percent"].last()
    reached = list(dict.fromkeys(f"{end:.0f}" for end in (last.min(), last.max())))
    axes[0].set_title("Learning the source")
    axes[1].set_title(f"At the end {' to '.join(reached)} %")
    axes[1].set_ylim(0, 102)
    legend_below(axes[0], ncols=2)
    return fig


def _lines(table: pd.DataFrame, x: str, y: str, name: str, ax: Axes) -> None:
    """Draw a line with markers for each name."""
    n_names = table[name].nunique()
    sns.lineplot(
        table,
        x=x,
        y=y,
        hue=name,
        style=name,
        markers=[*MARKERS[:n_names]],
        dashes=False,
        palette=[*PALETTE[:n_names]],
        errorbar=None,
        ax=ax,
    )
    if (legend := ax.get_legend()) is not None:
        legend.remove()
    ax.grid(axis="y")


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
    name_rows(ax, pairs, fontsize=8.5)
    ax.set_xlim(left=-1)
    ax.set_xlabel("points below the best in hindsight")
    ax.grid(axis="x")
    means = choices.groupby("rule", sort=False)["regret"].mean()
    ax.set_title(f"Smallest loss on average: {means.idxmin()}, {100 * means.min():.1f} points")
    legend_below(ax, ncols=2)
    return fig


def _named(row: Mapping[Any, Any]) -> str:
    parts: Sequence[str] = [row["descriptor"], row["layer"], row["selection"]]
    return " ".join(part for part in parts if part)
