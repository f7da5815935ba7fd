"""Figures of the report on a user's own images."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D

from analysis.figures.noise import legend_beyond, plot_features_beyond_by_class
from analysis.figures.panels import in_percent, middle_square, plot_nothing, show
from analysis.figures.style import INNER, OUTER, PALETTE, WIDTH

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from PIL import Image

    Picture = Image.Image | NDArray[Any]

_BAR = 0.27  # inches
_NAME = 28  # characters
_SIDE = 256  # pixels of a picture
_PAIRS = 2  # in a row


@dataclass(frozen=True, eq=False)
class ImagePair:
    """Two images that are nearly the same.

    Attributes
    ----------
    first, second
        The images; their middle squares are shown.
    names
        What they are called; any text, no markup.
    distance
        How far apart their features are.
    """

    first: Picture
    second: Picture
    names: tuple[str, str]
    distance: float


def plot_beyond(curves: pd.DataFrame, t_plus: float, t_minus: float) -> Figure:
    """Features of every class beyond each distance, and the thresholds.

    Parameters
    ----------
    curves
        Of one dataset: columns ``labels`` ("real" or "shuffled"), ``class``, ``x``, ``features``.
    t_plus, t_minus
        Thresholds on the same scale.
    """
    fig, ax = plt.subplots(figsize=(WIDTH, 3.0), layout="constrained")
    plot_features_beyond_by_class(curves, ax=ax)
    for t in (t_minus, t_plus):
        ax.axvline(t, color="black", linestyle="--", linewidth=1.1)
    ax.set(xlim=(-1, 1), ylim=(0, None))
    ax.set(xlabel="$x$ on the scale of $D_{KS}$", ylabel="features beyond $x$")
    legend_beyond(fig)
    return fig


def plot_kept_by_class(table: pd.DataFrame) -> Figure:
    """Bars of the features that each class keeps, beside what it keeps by chance.

    Parameters
    ----------
    table
        Columns ``class_name``, ``presence``, ``absence`` and ``by_chance``; a row per bar, the
        first on top.

    Returns
    -------
    Figure
        Bars of features kept by presence and by absence, one after the other, and a line where
        shuffled labels end in the mean.
    """
    y = np.arange(len(table))
    fig, ax = plt.subplots(figsize=(WIDTH, 1.2 + _BAR * len(table)), layout="constrained")
    ax.barh(y, table["presence"], 0.72, color=INNER, label="by presence")
    ax.barh(y, table["absence"], 0.72, left=table["presence"], color=OUTER, label="by absence")
    chance = table["by_chance"].to_numpy()
    ax.vlines(chance, y - 0.45, y + 0.45, color="black", linewidth=1.6)
    names = [_short(name) for name in table["class_name"]]
    ax.set_yticks(y, names, fontsize=9, parse_math=False)
    ax.tick_params(axis="y", length=0)
    ax.set(ylim=(len(table) - 0.4, -0.6), xlim=(0, None), xlabel="features kept")
    ax.grid(axis="x")
    handles, _ = ax.get_legend_handles_labels()
    line = Line2D([], [], color="black", marker="|", markersize=10, linestyle="", label="by chance")
    fig.legend(handles=[*handles, line], loc="outside upper left", ncols=3)
    return fig


def plot_image_pairs(pairs: Sequence[ImagePair]) -> Figure:
    """Pairs of images side by side, two pairs in a row.

    Parameters
    ----------
    pairs
        From left to right and top to bottom.

    Returns
    -------
    Figure
        Names and distance above each pair. Without pairs, words say that there are none.
    """
    if not pairs:
        return plot_nothing("No two images are nearly the same.")
    n_rows = -(-len(pairs) // _PAIRS)
    gap, label, width = 0.25, 0.66, WIDTH / _PAIRS
    side = (width - gap) / 2 - 0.03
    height = n_rows * (side + label + 0.12)
    fig = plt.figure(figsize=(WIDTH, height))
    for number, pair in enumerate(pairs):
        row, column = divmod(number, _PAIRS)
        left, top = column * width, row * (side + label + 0.12)
        words = "\n".join(_short(name, 46) for name in pair.names)
        fig.text(
            left / WIDTH,
            1 - (top + label - 0.05) / height,
            f"{words}\ndistance {pair.distance:.3f}",
            va="bottom",
            fontsize=8.5,
            linespacing=1.15,
            parse_math=False,
        )
        for place, picture in enumerate((pair.first, pair.second)):
            x, y = left + place * (side + 0.03), top + label
            box = (x / WIDTH, 1 - (y + side) / height, side / WIDTH, side / height)
            show(fig.add_axes(box), middle_square(picture, _SIDE))
    return fig


def plot_alternatives(table: pd.DataFrame, *, chance: float) -> Figure:
    """Accuracy of several sets of features, the most accurate on top.

    Parameters
    ----------
    table
        Columns ``features``, ``what``, ``mean``, ``standard_error`` and ``n_features``; a row per
        set, the first on top. The set called ``"recommended"`` has a colour of its own, single
        layers are grey.
    chance
        Accuracy of guessing; words say it.

    Returns
    -------
    Figure
        Without rows, words say that nothing was tested.
    """
    if table.empty:
        return plot_nothing("There are too few images in a class to test any features.")
    y = np.arange(len(table))
    fig, ax = plt.subplots(figsize=(WIDTH, 0.9 + 0.24 * len(table)), layout="constrained")
    for place, row in zip(y, table.to_dict("records"), strict=True):
        colour, marker = _looks(row)
        ax.errorbar(
            row["mean"], place, xerr=row["standard_error"], color=colour, marker=marker, lw=1.4
        )
    ax.set_yticks(y, [_label(row) for row in table.to_dict("records")], fontsize=9)
    ax.tick_params(axis="y", length=0)
    ax.set(ylim=(len(table) - 0.4, -0.6))
    ax.set_xlabel(f"accuracy, mean over classes (guessing: {chance:.1%})")
    in_percent(ax.xaxis, decimals=None)
    ax.grid(axis="x")
    return fig


def _looks(row: Mapping[Hashable, Any]) -> tuple[str, str]:
    if row["features"] == "recommended":
        return PALETTE[1], "D"
    return ("0.55", "o") if "layer" in row["what"] or "last" in row["what"] else (PALETTE[0], "s")


def _label(row: Mapping[Hashable, Any]) -> str:
    what = "" if row["what"] in ("single layer", "chosen") else f", {row['what']}"
    return f"{row['features']}{what} ({row['n_features']:,.0f})"


def _short(name: str, most: int = _NAME) -> str:
    """Name on one line, its middle left out if it is long: ends of paths tell them apart."""
    line = " ".join(name.split())
    if len(line) <= most:
        return line
    tail = most * 2 // 3
    return f"{line[: most - tail - 1]}…{line[-tail:]}"
