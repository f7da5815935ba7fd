"""Figures of the chapter on layers as fixed features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np

from analysis.figures.panels import in_percent, legend_below, panel_grid, panel_rows
from analysis.figures.style import MARKERS, NEUTRAL, PALETTE, WIDTH, literal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_LOOKS: dict[tuple[str, bool], dict[str, Any]] = {
    (classifier, dropout): look | ({"linestyle": ":", "mfc": "white"} if dropout else {})
    for classifier, look in (
        ("linear SVM", {"color": PALETTE[0], "marker": "o"}),
        ("logistic regression", {"color": PALETTE[1], "marker": "s"}),
    )
    for dropout in (False, True)
}
_FLAT: dict[str, Any] = {"color": PALETTE[2], "marker": "D", "linestyle": "none", "markersize": 6}
_CHANCE: dict[str, Any] = {"color": NEUTRAL, "linestyle": "--", "linewidth": 1}
_LEGIBLE = 12
"""Layers whose names fit upright below a panel."""


class SemanticMap(NamedTuple):
    """Images in the plane, and how well neighbours agree.

    Attributes
    ----------
    name : str
        Of the features.
    points : ndarray of float64, shape (images, 2)
        Places, see :func:`analysis.statistics.neighbours.neighbour_map`.
    groups : ndarray of str, shape (images,)
        Group of each image.
    order : tuple of str
        Names of the groups, in the order of a legend.
    alike : float
        Share of an image's ten nearest neighbours, in the space that is mapped, that are of its
        group.
    chance : float
        The same if every other image were as likely to be a neighbour.
    """

    name: str
    points: NDArray[np.float64]
    groups: NDArray[np.str_]
    order: tuple[str, ...]
    alike: float
    chance: float


def plot_layer_accuracies(summary: pd.DataFrame, others: Mapping[str, float]) -> Figure:
    """Accuracy of every layer by classifier and dropout, beside other features.

    Parameters
    ----------
    summary
        :func:`analysis.transfer.summarise_protocol` of layers, ``"LAYER"`` or
        ``"LAYER, flattened"``.
    others
        Name → accuracy (0 to 1) of features that are no layer, drawn in a panel to the right.

    Returns
    -------
    Figure
        Bars are one standard deviation over the splits.
    """
    flat = summary["features"].str.endswith(", flattened")
    layers = list(dict.fromkeys(summary.loc[~flat, "features"]))
    fig, (ax, side) = plt.subplots(
        1,
        2,
        sharey=True,
        figsize=(WIDTH, 4.4),
        width_ratios=(max(3, len(layers)), max(2, len(others))),
        layout="constrained",
    )
    for name, look, of in _by_classifier(summary):
        part = summary[of & ~flat].set_index("features").reindex(layers)
        _line(part, range(len(layers)), name, look, ax)
    part = summary[flat & (summary["classifier"] == "linear SVM") & ~summary["dropout"]]
    places = [layers.index(name.removesuffix(", flattened")) for name in part["features"]]
    _line(part, places, "linear SVM, layer flattened", _FLAT, ax)
    ax.set_xticks(range(len(layers)), layers, rotation=90 if len(layers) > _LEGIBLE else 45)
    ax.set_ylabel("mean accuracy per class")
    best = summary.sort_values("mean").iloc[-1]
    ax.set_title(f"Layers: up to {best['mean']:.0%}, {best['features']}")
    chance = float(summary["chance"].iloc[0])
    for panel in (ax, side):
        panel.axhline(chance, label="chance", **_CHANCE)
        panel.grid(axis="y")
    side.plot(
        range(len(others)),
        list(others.values()),
        linestyle="none",
        marker="P",
        markersize=7,
        color=PALETTE[3],
    )
    names = [fill(name, 15) for name in others]
    side.set_xticks(range(len(others)), names, rotation=90, fontsize=8.5)
    side.set_xlim(-0.6, max(len(others), 1) - 0.4)
    side.set_title("Other features")
    in_percent(ax.yaxis)
    ax.set_ylim(0, min(1.02, 1.15 * max(summary["mean"].max(), *others.values())))
    legend_below(ax, ncols=2)
    return fig


def plot_size_curve(summary: pd.DataFrame, layer: str, paper: float | None = None) -> Figure:
    """Accuracy by the number of training images per class.

    Parameters
    ----------
    summary
        :func:`analysis.transfer.summarise_protocol` of a curve over ``n_train``.
    layer
        What the features are, for the title.
    paper
        The paper's accuracy with a single image per class, if the dataset is the paper's.
    """
    fig, ax = plt.subplots(figsize=(WIDTH, 3.9), layout="constrained")
    for name, look, of in _by_classifier(summary):
        _line(summary[of], summary.loc[of, "n_train"], name, look, ax)
    if paper is not None:
        ax.plot(
            1,
            paper,
            marker="*",
            markersize=12,
            color=PALETTE[6],
            linestyle="none",
            label="DeCAF6, linear SVM, dropout (paper)",
        )
    ax.axhline(float(summary["chance"].iloc[0]), label="chance", **_CHANCE)
    ax.set_xticks(sorted(set(summary["n_train"])))
    ax.set_xlabel("training images per class")
    ax.set_ylabel("mean accuracy per class")
    one = summary[(summary["n_train"] == 1) & ~summary["dropout"]]["mean"]
    ends = f": {one.max():.0%} from one image per class" if len(one) else ""
    ax.set_title(f"{layer}{ends}")
    in_percent(ax.yaxis)
    ax.set_ylim(0, min(1.02, 1.15 * summary["mean"].max()))
    ax.grid(axis="y")
    legend_below(ax, ncols=2)
    return fig


def plot_semantic_maps(maps: Sequence[SemanticMap]) -> Figure:
    """Images in the plane by several features, coloured by their group."""
    fig, axes = panel_grid(len(maps), 2, height=WIDTH / 2 + 0.2, margin=0.9)
    for ax, each in zip(axes.flat, maps, strict=False):
        for number, group in enumerate(each.order):
            own = each.points[each.groups == group]
            marker = MARKERS[(number // len(PALETTE)) % len(MARKERS)]
            look = {"s": 11, "linewidth": 0, "alpha": 0.8, "color": PALETTE[number % len(PALETTE)]}
            ax.scatter(*own.T, label=literal(group), marker=marker, **look)
        ax.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
        ax.spines[:].set_visible(False)
        ax.set_title(
            f"{literal(each.name)}: {each.alike:.0%} of neighbours alike\n"
            f"(by chance {each.chance:.0%})",
            fontsize=10.5,
        )
    legend_below(axes[0, 0], ncols=4, markerscale=1.8, fontsize=8.5)
    return fig


def plot_module_times(times: pd.DataFrame) -> Figure:
    """Where the time of a forward pass goes, by layer and by type, a row for each network.

    Parameters
    ----------
    times
        :func:`analysis.chapters.decaf.time_networks`. What is in no module, such as calls and
        measuring itself, is grey: the rest.
    """
    networks = list(dict.fromkeys(times["network"]))
    fig, axes = panel_rows(len(networks), 2, height=3.1, margin=0.4, width_ratios=(3, 1.5))
    for (left, right), network in zip(axes, networks, strict=True):
        part = times[times["network"] == network]
        milliseconds = 1000 * part["seconds"].to_numpy()
        kinds = part["kind"].where(part["module"] != "(rest)", "rest")
        order = kinds.to_frame("kind").assign(ms=milliseconds).groupby("kind")["ms"].sum()
        order = order.sort_values(ascending=False)
        own = [kind for kind in order.index if kind != "rest"]
        colours = dict(zip(own, PALETTE, strict=False)) | {"rest": NEUTRAL}
        left.bar(range(len(part)), milliseconds, color=[colours.get(k, NEUTRAL) for k in kinds])
        for number in _slowest(milliseconds[:-1]):
            name = part["layer"].iloc[number] or part["module"].iloc[number]
            place = (number, milliseconds[number])
            left.annotate(name, place, ha="center", va="bottom", fontsize=8)
        left.set_xlabel("modules, in order")
        left.set_ylabel("time [ms]")
        most = f"{order[own[0]] / order.sum():.0%} in {own[0]}"
        left.set_title(f"{literal(network)}\n{order.sum():.1f} ms, {most}", fontsize=9.5)
        left.margins(y=0.15)
        right.barh(
            range(len(order)),
            order / order.sum(),
            color=[colours.get(k, NEUTRAL) for k in order.index],
        )
        right.set_yticks(range(len(order)), order.index, fontsize=8.5)
        right.invert_yaxis()
        right.set_xlabel("share of the time")
        in_percent(right.xaxis)
    return fig


def _slowest(milliseconds: NDArray[np.floating[Any]]) -> list[int]:
    """Three modules that take longest, none so close to another that names would meet."""
    chosen: list[int] = []
    for number in np.argsort(-milliseconds):
        if all(abs(number - other) > len(milliseconds) / 6 for other in chosen):
            chosen.append(int(number))
    return chosen[:3]


def _by_classifier(
    summary: pd.DataFrame,
) -> Iterator[tuple[str, dict[str, Any], pd.Series[bool]]]:
    """Name and look of each classifier, with and without dropout, and which rows are its own."""
    for (classifier, dropout), look in _LOOKS.items():
        of = (summary["classifier"] == classifier) & (summary["dropout"] == dropout)
        yield f"{classifier}, dropout" if dropout else classifier, look, of


def _line(part: pd.DataFrame, places: Any, name: str, look: dict[str, Any], ax: Axes) -> None:
    if part["mean"].notna().any():
        ax.errorbar(places, part["mean"], yerr=part["std"], label=name, elinewidth=1, **look)
