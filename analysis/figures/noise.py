"""Figures of the chapter on noise: curves, thresholds, and what they keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullFormatter, StrMethodFormatter

from analysis.figures.panels import (
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
from analysis.figures.style import INNER, NEUTRAL

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PER_ROW = 2
SIDES = {"t+": "presence: $t^+$", "t-": "absence: $t^-$"}
LAWS = {"conditional": "given the feature's ties", "classical": "as if all values differed"}
SHUFFLED = "0.6"


def plot_features_beyond(curves: pd.DataFrame, thresholds: pd.DataFrame) -> Figure:
    """Features of every class beyond each distance, a panel for each dataset (Fig. 9).

    Parameters
    ----------
    curves
        Columns ``dataset``, ``labels`` ("real" or "shuffled"), ``class``, ``x`` and ``features``.
    thresholds
        Columns ``dataset``, ``t_plus`` and ``t_minus``, a row for each dataset.

    Returns
    -------
    Figure
        To the right the features with D > x, to the left those with D < x.
    """
    datasets = list(dict.fromkeys(curves["dataset"]))
    fig, axes = panel_grid(len(datasets), PER_ROW, height=2.1, margin=0.6, sharex=True, sharey=True)
    known = thresholds.set_index("dataset")
    for ax, dataset in zip(axes.flat, datasets, strict=False):
        plot_features_beyond_by_class(curves[curves["dataset"] == dataset], ax=ax)
        for t in known.loc[dataset, ["t_plus", "t_minus"]]:
            ax.axvline(t, color="black", linestyle="--", linewidth=1.1)
        title(ax, dataset, 40)
        ax.tick_params(labelbottom=True)
    axes[0, 0].set(xlim=(-0.8, 0.8), ylim=(0, None))
    for ax in axes[:, 0]:
        ax.set_ylabel("features beyond $x$")
    for ax in axes.flat[max(0, len(datasets) - PER_ROW) : len(datasets)]:
        ax.set_xlabel("$x$ on the scale of $D_{KS}$")
    legend_beyond(fig)
    return fig


def legend_beyond(fig: Figure) -> None:
    """Legend of :func:`plot_features_beyond_by_class` with thresholds."""
    handles = [
        Line2D([], [], color="black", linewidth=1, label="a class"),
        Line2D([], [], color=INNER, linewidth=1, label="labels shuffled once"),
        Line2D([], [], color="black", linestyle="--", linewidth=1.1, label="$t^-$ and $t^+$"),
    ]
    fig.legend(handles=handles, loc="outside upper left", ncols=3)


def plot_features_beyond_by_class(curves: pd.DataFrame, *, ax: Axes) -> Axes:
    """Lines of :func:`plot_features_beyond` for one dataset, shuffled ones on top."""
    classes = curves["class"].nunique()
    faint: dict[str, Any] = {"linewidth": 0.7, "alpha": min(0.8, 0.15 + 5 / classes)}
    for labels, colour in (("real", "black"), ("shuffled", INNER)):
        for _, part in curves[curves["labels"] == labels].groupby("class"):
            middle = len(part) // 2  # both ends at 0 are kept apart
            for side in (part.iloc[:middle], part.iloc[middle:]):
                ax.plot(side["x"], side["features"], color=colour, **faint)
    ax.axvline(0, color="0.8", linewidth=0.8, zorder=0)
    return ax


def plot_size_fit(table: pd.DataFrame, fits: pd.DataFrame) -> Figure:
    """Thresholds against images per class with the logarithmic fit, a row for each network.

    Parameters
    ----------
    table
        Columns ``network``, ``dataset``, ``images_per_class``, ``t_plus``, ``t_minus``,
        ``spread_plus``, ``spread_minus`` and ``cut``: whether the classes were cut to this size.
    fits
        Columns ``network``, ``side`` ("t+" or "t-"), ``points`` ("datasets", or "with cut classes",
        which is drawn), ``intercept``, ``slope`` and ``r_squared``.

    Returns
    -------
    Figure
        Filled markers are datasets as they are. t- is drawn by its size.
    """
    networks = list(dict.fromkeys(table["network"]))
    fig, axes = panel_rows(len(networks), 2, height=2.5, margin=0.4, sharex=True, sharey="row")
    looks = dataset_looks(table["dataset"])
    sizes = np.geomspace(table["images_per_class"].min(), table["images_per_class"].max(), 100)
    for row, network in zip(axes, networks, strict=True):
        points = table[table["network"] == network]
        for ax, side, sign in zip(row, SIDES, (1, -1), strict=True):
            _size_points(points, side, looks, ax)
            chosen = (fits["network"] == network) & (fits["side"] == side)
            _fitted(fits[chosen], sizes, sign, ax)
            ax.set_title(SIDES[side], fontsize=10.5)
        row[0].set_ylabel(f"{wrapped(network, 28)}\n\nsize of the threshold", parse_math=False)
    axes[0, 0].set_xscale("log")
    _plain_ticks(axes[0, 0], sizes[[0, -1]])
    for ax in axes[-1]:
        ax.set_xlabel("images per class")
    for ax in axes[:, 0]:
        ax.set_ylim(0, None)
    dataset_legend(fig, looks, [_marker("white", "classes cut to equal size")])
    return fig


def _size_points(
    points: pd.DataFrame, side: str, looks: dict[str, dict[str, Any]], ax: Axes
) -> None:
    name = "plus" if side == "t+" else "minus"
    for (dataset, cut), part in points.groupby(["dataset", "cut"], sort=False):
        ax.errorbar(
            part["images_per_class"],
            part[f"t_{name}"].abs(),
            yerr=part[f"spread_{name}"].fillna(0),
            linestyle="",
            elinewidth=0.8,
            markerfacecolor="white" if cut else looks[str(dataset)]["color"],
            **looks[str(dataset)],
        )


def _fitted(fits: pd.DataFrame, sizes: Any, sign: int, ax: Axes) -> None:
    """Curve of the fit to all points, and R² of this one and of that to the datasets alone."""
    said = []
    for fit in fits.to_dict("records"):
        if np.isfinite(fit["r_squared"]):
            said.append(f"{fit['points']}: $R^2$ = {fit['r_squared']:.2f}")
        if fit["points"] != "datasets":
            curve = sign * (fit["intercept"] + fit["slope"] * np.log(sizes))
            ax.plot(sizes, curve, color=NEUTRAL, linewidth=1.2, zorder=0)
    if said:
        ax.text(0.98, 0.97, "\n".join(said), transform=ax.transAxes, ha="right", va="top", size=9)


def _plain_ticks(ax: Axes, ends: Any) -> None:
    """Ticks at 10, 20, 50 and so on, as whole numbers."""
    ticks = [digit * 10**power for power in range(6) for digit in (1, 2, 5)]
    low, high = ends[0] / 1.15, ends[-1] * 1.15
    ax.set_xlim(low, high)
    ax.xaxis.set_major_locator(
        FixedLocator([tick for tick in ticks if low <= tick <= high] or [float(ends[0])])
    )
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def plot_kept_by_layer(table: pd.DataFrame) -> Figure:
    """Share of each layer's pairs beyond the thresholds, a panel for each network (Fig. 10).

    Parameters
    ----------
    table
        Columns ``network``, ``dataset``, ``part`` (the layer), and the shares under the labels,
        ``kept``, and under shuffled ones, ``kept_shuffled``.
    """
    networks = list(dict.fromkeys(table["network"]))
    fig, axes = panel_rows(len(networks), height=2.7)
    looks = dataset_looks(table["dataset"])
    for ax, network in zip(axes.flat, networks, strict=True):
        own = table[table["network"] == network]
        layers = list(dict.fromkeys(own["part"]))
        for dataset, part in own.groupby("dataset", sort=False):
            x, look = [layers.index(layer) for layer in part["part"]], looks[str(dataset)]
            ax.plot(x, part["kept"], linewidth=1.1, **look)
            grey = look | {"color": SHUFFLED}
            ax.plot(x, part["kept_shuffled"], linewidth=0.8, markersize=3.5, zorder=1, **grey)
        name_layers(ax, layers)
        title(ax, network)
        ax.set(ylabel="pairs kept", ylim=(-0.02, 1.02))
        in_percent(ax.yaxis)
        ax.grid(axis="y")
    hide_repeated_layers(axes)
    dataset_legend(fig, looks, [Line2D([], [], color=SHUFFLED, label="shuffled labels")])
    return fig


def plot_expected(table: pd.DataFrame) -> Figure:
    """Set expected thresholds against measured ones, a column for each law.

    Parameters
    ----------
    table
        Columns ``dataset``, ``part`` ("all" or a layer), ``side`` ("t+" or "t-"), ``measured``,
        ``spread``, ``conditional``, ``classical`` and ``weak``: whether there is hardly a signal.

    Returns
    -------
    Figure
        Above whole embeddings, with two spreads to either side, below single layers. t- is drawn
        by its size, with a hollow marker. Weak ones are grey; the axes are chosen for the others,
        and words count the weak ones that lie outside.
    """
    fig, axes = panel_rows(2, 2, height=3.8, margin=0, sharex="row", sharey="row")
    looks = dataset_looks(table["dataset"])
    whole = table["part"] == "all"
    parts = (("of the embedding", table[whole]), ("of each layer", table[~whole]))
    groups = ["weak", "dataset", "side"]
    for row, (name, part) in zip(axes, parts, strict=True):
        ends = _ends(part)
        for ax, law in zip(row, LAWS, strict=True):
            ax.plot(ends, ends, color="black", linestyle="--", linewidth=0.9, zorder=0)
            for (weak, dataset, side), points in part.groupby(groups, sort=False):
                look = looks[str(dataset)] | ({"color": "0.8", "zorder": 1} if weak else {})
                _expected_points(points, law, look, side == "t-", ax)
            _count_outside(part, law, ends, ax)
            ax.set(xlim=ends, ylim=ends, aspect="equal", xlabel=f"measured, {name}")
        row[0].set_ylabel(f"expected, {name}")
    for ax, words in zip(axes[0], LAWS.values(), strict=True):
        ax.set_title(words, fontsize=10.5)
    grey = Line2D([], [], color="0.8", marker="o", linestyle="", label="hardly a signal")
    sides = [_marker("0.4", "t⁺"), _marker("white", "t⁻, by its size")]
    dataset_legend(fig, looks, [*sides, grey] if table["weak"].any() else sides)
    return fig


def _ends(part: pd.DataFrame) -> tuple[float, float]:
    """Of both axes, so that all thresholds with a signal lie within (all, if none has)."""
    chosen = part if part["weak"].all() else part[~part["weak"]]
    sizes = chosen[["measured", *LAWS]].abs().to_numpy()
    margin = 0.07 * max(np.ptp(sizes), 0.1)
    return sizes.min() - margin, sizes.max() + margin


def _count_outside(part: pd.DataFrame, law: str, ends: tuple[float, float], ax: Axes) -> None:
    places = part[["measured", law]].abs()
    outside = int(((places < ends[0]) | (places > ends[1])).any(axis=1).sum())
    if outside:
        words = f"{outside} without signal, not shown"
        ax.text(0.98, 0.02, words, transform=ax.transAxes, ha="right", va="bottom", size=9)


def _marker(face: str, label: str) -> Line2D:
    edge: dict[str, Any] = {"color": "0.4", "marker": "o", "linestyle": ""}
    return Line2D([], [], markerfacecolor=face, label=label, **edge)


def _expected_points(
    points: pd.DataFrame, law: str, look: dict[str, Any], hollow: bool, ax: Axes
) -> None:
    face = "white" if hollow else look["color"]
    style: dict[str, Any] = look | {"linestyle": "", "markerfacecolor": face}
    if (points["part"] == "all").all():
        bars = 2 * points["spread"].fillna(0)
        ax.errorbar(points["measured"].abs(), points[law].abs(), xerr=bars, elinewidth=0.9, **style)
    else:
        small = {"markersize": 3, "markeredgewidth": 0.6, "alpha": 0.7}
        ax.plot(points["measured"].abs(), points[law].abs(), **style | small)
