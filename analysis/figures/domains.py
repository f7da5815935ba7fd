"""Figures of the chapter on domains: accuracies by method, and maps of two domains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.patches import Rectangle

from analysis.figures.panels import (
    heading,
    legend_below,
    middle_square,
    panel_grid,
    panel_rows,
    wrapped,
)
from analysis.figures.style import MARKERS, NEUTRAL, PALETTE, WIDTH, literal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from PIL import Image

_TRAININGS = {
    "S": ("the source", PALETTE[0], MARKERS[0]),
    "S, unlabelled T": ("the source, target without labels", PALETTE[5], MARKERS[3]),
    "T": ("few images of the target", PALETTE[4], MARKERS[1]),
    "ST": ("both", PALETTE[2], MARKERS[2]),
    "adapt": ("both, adapted", PALETTE[1], MARKERS[4]),
}
_GRID = 11  # thumbnails across a map
_SIDE = 64  # pixels of one
_DOMAINS = ((PALETTE[0], MARKERS[0]), (PALETTE[1], MARKERS[3]))


@dataclass(frozen=True, eq=False)
class DomainMap:
    """Images of two domains, placed in the plane by one layer.

    Attributes
    ----------
    name
        The layer.
    points : ndarray of float64, shape (images, 2)
        Where each image is.
    domains : ndarray of str, shape (images,)
        The domain of each.
    picture : callable
        Number of an image → PIL image.
    same_domain, same_class
        Shares of images whose nearest other image, by the layer's features, is of the same domain
        and of the same class.
    """

    name: str
    points: NDArray[np.float64]
    domains: NDArray[np.str_]
    picture: Callable[[int], Image.Image]
    same_domain: float
    same_class: float


def plot_domain_accuracies(summary: pd.DataFrame) -> Figure:
    """Accuracy of every method, a panel for each pair of domains.

    Parameters
    ----------
    summary
        Columns ``network``, ``features``, ``pair``, ``training``, ``method``, ``mean``,
        ``deviation``, ``chance`` and ``last``, as :func:`analysis.chapters.office.summarise_office`
        has them, of one network. Rows that are not of the last layer, and logistic regression,
        are not drawn.

    Returns
    -------
    Figure
        Bars are one standard deviation over the splits. The dashed line is the classifier on both
        domains without adaptation.
    """
    shown = summary[summary["last"].astype(bool) & (summary["method"] != "Logistic Reg.")]
    rows = shown.assign(order=shown["training"].map([*_TRAININGS].index))
    rows = rows.sort_values("order", kind="stable")
    keys = list(dict.fromkeys(zip(rows["training"], rows["method"], strict=True)))
    pairs = list(dict.fromkeys(shown["pair"]))
    columns = min(3, len(pairs))
    fig, axes = panel_grid(
        len(pairs), columns, height=0.45 + 0.165 * len(keys), margin=1.0, sharex=True, sharey=True
    )
    heading(fig, f"{shown['network'].iloc[0]}, {shown['features'].iloc[0]}")
    for ax, pair in zip(axes.flat, pairs, strict=False):
        _accuracy_panel(rows[rows["pair"] == pair], keys, ax)
        ax.set_title(literal("\n".join(wrapped(pair, 26).splitlines())), fontsize=9.5)
    for ax in axes[:, 0]:
        ax.set_yticks(range(len(keys)), [_method(*key) for key in keys], fontsize=8)
    axes[0, 0].set_ylim(len(keys) - 0.4, -0.6)
    for ax in axes.flat[max(0, len(pairs) - columns) : len(pairs)]:
        ax.set_xlabel("accuracy [%]")
        ax.tick_params(labelbottom=True)
    legend_below(*axes.flat[: len(pairs)], title="Learnt from labelled images of")
    return fig


def plot_domain_maps(maps: Sequence[DomainMap]) -> Figure:
    """Two domains in one plane, a row for each layer: where the images are, and some of them.

    Parameters
    ----------
    maps
        From top to bottom.

    Returns
    -------
    Figure
        Left a marker for each image; right, at the same places, one image for each cell of a grid
        in which there are any, framed in its domain's colour.
    """
    fig, axes = panel_rows(len(maps), 2, height=WIDTH / 2 + 0.25)
    for (left, right), each in zip(axes, maps, strict=True):
        names = list(dict.fromkeys(each.domains.tolist()))
        colours = dict(zip(names, _DOMAINS, strict=False))
        for ax in (left, right):
            _square_around(each.points, ax)
        for name, (colour, marker) in colours.items():
            own = each.points[each.domains == name]
            look = {"s": 14, "color": colour, "marker": marker, "linewidth": 0, "alpha": 0.75}
            left.scatter(*own.T, label=literal(name), **look)
        left.set_title(
            f"{literal(each.name)}: nearest image of the same domain\n"
            f"{each.same_domain:.0%}, of the same class {each.same_class:.0%}",
            fontsize=10,
        )
        right.set_title("some of them, at the same places", fontsize=10)
        _thumbnails(each, {name: look[0] for name, look in colours.items()}, right)
    legend_below(axes[0, 0], ncols=2, markerscale=1.6)
    return fig


def _accuracy_panel(part: pd.DataFrame, keys: list[tuple[str, str]], ax: Axes) -> None:
    for training, (label, colour, marker) in _TRAININGS.items():
        own = part[part["training"] == training]
        if own.empty:
            continue
        heights = [keys.index(key) for key in zip(own["training"], own["method"], strict=True)]
        ax.errorbar(
            100 * own["mean"],
            heights,
            xerr=100 * own["deviation"].fillna(0),
            label=label,
            color=colour,
            marker=marker,
            markersize=4.5,
            linestyle="none",
            elinewidth=1.1,
            markeredgecolor="white",
            markeredgewidth=0.4,
        )
    plain = part[(part["training"] == "ST") & (part["method"] == "SVM")]["mean"]
    for value in plain[:1]:
        ax.axvline(100 * value, color=NEUTRAL, linestyle="--", linewidth=0.9, zorder=0)
    ax.grid(axis="both")
    ax.tick_params(length=2)


def _method(training: str, method: str) -> str:
    return f"{method} ({training})" if training in {"S", "T", "ST"} else method


def _square_around(points: NDArray[np.float64], ax: Axes) -> None:
    """Equal axes that hold all points, without ticks: places of t-SNE have no unit."""
    low, high = points.min(axis=0), points.max(axis=0)
    half = 0.53 * float((high - low).max() or 1.0)
    middle = (low + high) / 2
    ax.set(
        xlim=(middle[0] - half, middle[0] + half),
        ylim=(middle[1] - half, middle[1] + half),
        xticks=[],
        yticks=[],
        aspect="equal",
    )
    ax.spines[:].set(visible=True, color="0.85", linewidth=0.6)


def _thumbnails(each: DomainMap, colours: dict[str, str], ax: Axes) -> None:
    """One image in each cell of a grid, the one nearest to its middle."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    step = (right - left) / _GRID
    cells = ((each.points - [left, low]) // step).astype(int)
    for cell in product(range(_GRID), repeat=2):
        inside = np.flatnonzero((cells == cell).all(axis=1))
        if not inside.size:
            continue
        corner = np.array([left, low]) + np.array(cell) * step
        apart = ((each.points[inside] - corner - step / 2) ** 2).sum(axis=1)
        number = int(inside[apart.argmin()])
        fitted = middle_square(each.picture(number).convert("RGB"), _SIDE)
        x, y = corner + 0.06 * step
        side = 0.88 * step
        ax.imshow(fitted, extent=(x, x + side, y, y + side), interpolation="nearest", zorder=2)
        frame: dict[str, Any] = {
            "edgecolor": colours[str(each.domains[number])],
            "linewidth": 1.4,
            "zorder": 3,
        }
        ax.add_patch(Rectangle((x, y), side, side, facecolor="none", **frame))
    ax.set(xlim=(left, right), ylim=(low, high), aspect="equal")
