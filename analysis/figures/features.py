"""Figures of the chapter on what the features of a network are, and pictures side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from analysis.figures.panels import (
    in_percent,
    legend_below,
    look_of,
    middle_square,
    name_layers,
    panel_grid,
    panel_rows,
    picture_grid,
    show,
    square,
    wrapped,
)
from analysis.figures.style import MAPS, MARKERS, NEUTRAL, PALETTE, WIDTH, literal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from PIL.Image import Image

    from analysis.features import StrongCrop

    Picture = Image | NDArray[Any]

BOX_COLOUR = PALETTE[4]
LABEL = 1.1  # inches of a row's name
_LABEL = 1.5  # inches of a dataset's name
_SIDE = 128  # pixels of a picture in a row of many
_NETWORKS = [PALETTE[0], *PALETTE[2:]]  # the colour between is that of pixels


def plot_pictures(pictures: Mapping[str, Picture], *, columns: int = 4) -> Figure:
    """Pictures side by side, each under its name.

    Parameters
    ----------
    pictures
        Name → PIL image or array (height, width, 3).
    columns
        Pictures in a row.

    Returns
    -------
    Figure
        One axes per picture.
    """
    fig, axes = panel_grid(len(pictures), columns, height=WIDTH / columns + 0.1, margin=0)
    for ax, (name, picture) in zip(axes.flat, pictures.items(), strict=False):
        show(ax, picture)
        ax.set_title(literal(name), fontsize=9.5, loc="center")
    return fig


def plot_samples(samples: Mapping[str, Sequence[Picture]]) -> Figure:
    """Pictures of several datasets, a row for each.

    Parameters
    ----------
    samples
        Name of a dataset → as many of its pictures as there are of the others. Their middle square
        is shown.

    Returns
    -------
    Figure
        A row of axes per dataset.
    """
    columns = max(map(len, samples.values()))
    side = (WIDTH - _LABEL) / columns
    fig, grid = picture_grid(len(samples), [1.0] * columns, (WIDTH, 0.3 + len(samples) * side))
    for row, (name, pictures) in zip(grid, samples.items(), strict=True):
        for ax, picture in zip(row, pictures, strict=False):
            show(ax, middle_square(picture, _SIDE))
        middle = {"ha": "right", "va": "center", "transform": row[0].transAxes}
        row[0].text(-0.08, 0.5, _label(name), fontsize=9, parse_math=False, **middle)
    return fig


def _label(dataset: str) -> str:
    """Name of a dataset in few short lines; of a folder only the end of its path."""
    kind, colon, path = dataset.partition(":")
    if colon:
        dataset = f"{kind}:/{path.rstrip('/').rpartition('/')[2]}"
    return "\n".join(wrapped(part, 20) for part in dataset.replace("/", "/\n").splitlines())


def plot_activation_maps(
    pictures: Sequence[Picture],
    maps: Mapping[str, NDArray[np.floating[Any]]],
    units: Mapping[str, Sequence[int]],
) -> Figure:
    """Activation maps of a few units of a few layers, the same ones for every picture.

    Each column has one scale, from zero to the unit's highest activation over these pictures, so
    that pictures compare down a column.

    Parameters
    ----------
    pictures
        What the network saw, one per row.
    maps
        Layer → array (pictures, chosen units, height, width), zero or more.
    units
        Layer → numbers of the chosen units within the layer, for the titles.

    Returns
    -------
    Figure
        A row per picture: the picture, then one map per layer and unit.
    """
    n_rows = len(pictures)
    gap = 0.22  # of a column, between two layers
    widths = [1.0]
    for chosen in units.values():
        widths += [gap, *[1.0] * len(chosen)]
    size = (WIDTH, n_rows * WIDTH / sum(widths) + 1.2)
    fig, grid = picture_grid(n_rows, widths, size)
    for row, picture in enumerate(pictures):
        show(grid[row, 0], picture)
    column = 1
    for layer, chosen in units.items():
        column += 1
        for place, unit in enumerate(chosen):
            values = maps[layer][:, place]
            top = float(values.max()) or 1.0
            for row in range(n_rows):
                show(grid[row, column], values[row], cmap=MAPS, vmin=0.0, vmax=top)
            title = f"{unit}"
            if place == len(chosen) // 2:
                height, width = values.shape[1:]
                title = f"{layer}, {height} × {width}\n{unit}"
            grid[0, column].set_title(title, fontsize=9.5, loc="center")
            column += 1
    grid[0, 0].set_title("unit", fontsize=9.5, loc="right")
    bar = fig.colorbar(
        ScalarMappable(Normalize(0, 1), MAPS),
        ax=grid,
        location="bottom",
        shrink=0.4,
        aspect=35,
        pad=0.02,
        label="activation, share of the unit's highest over these pictures",
    )
    in_percent(bar.ax.xaxis)
    return fig


def plot_strongest_patches(
    found: Mapping[str, Mapping[int, Sequence[StrongCrop]]], *, n_whole: int = 3
) -> Figure:
    """Where in which pictures units answer most strongly, a row per unit.

    Parameters
    ----------
    found
        Layer → what :func:`analysis.features.strongest_crops` found for its units.
    n_whole
        How many pictures to repeat whole, with the receptive field framed.

    Returns
    -------
    Figure
        On the left the receptive fields, cut out; on the right the first pictures whole.
    """
    rows = {
        f"{layer}, unit {unit}": crops
        for layer, of_layer in found.items()
        for unit, crops in of_layer.items()
    }
    n_patches = max(len(crops) for crops in rows.values())
    widths = [1.0] * n_patches + [0.3] + [1.0] * n_whole
    size = (WIDTH, len(rows) * (WIDTH - LABEL) / sum(widths) + 0.6)
    fig, grid = picture_grid(len(rows), widths, size)
    for axes, (name, crops) in zip(grid, rows.items(), strict=True):
        for ax, crop in zip(axes, crops, strict=False):
            show(ax, square(crop.patch))
        for ax, crop in zip(axes[n_patches + 1 :], crops, strict=False):
            show(ax, crop.pixels)
            _draw_box(ax, crop.box)
        axes[0].annotate(
            literal(name),
            (0, 0.5),
            (-6, 0),
            "axes fraction",
            "offset points",
            ha="right",
            va="center",
        )
    grid[0, 0].set_title(" ")  # room for the two headings, which are wider than their columns
    headings = {0: "receptive fields, strongest first", n_patches + 1: "framed in the image"}
    for column, heading in headings.items():
        text = grid[0, column].annotate(
            heading, (0, 1), (0, 5), "axes fraction", "offset points", color="0.25"
        )
        text.set_in_layout(False)
    return fig


def plot_change_by_layer(table: pd.DataFrame) -> Figure:
    """How far each change of a picture moves the features of each layer.

    Parameters
    ----------
    table
        Columns ``kept`` (what the features keep of a map), ``layer``, ``change`` and ``median``:
        distance between the features before and after, as a share of the distance between two
        different pictures.

    Returns
    -------
    Figure
        A panel per value of ``kept``, one below the other; a line per change.
    """
    layers = list(dict.fromkeys(table["layer"]))
    panels = list(table.groupby("kept", sort=False))
    fig, axes = panel_rows(len(panels), height=2.4, margin=1.5, sharex=True, sharey=True)
    for ax, (kept, part) in zip(axes.flat, panels, strict=True):
        for number, change in enumerate(dict.fromkeys(part["change"])):
            heights = part[part["change"] == change].set_index("layer")["median"].loc[layers]
            ax.plot(range(len(layers)), heights, label=change, **look_of(number))
        ax.axhline(1.0, color=NEUTRAL, linewidth=1.2, linestyle="--", label="another picture")
        ax.set_title(literal(kept), fontsize=10.5)
        ax.grid(axis="y")
    axes[0, 0].set_ylim(0, max(1.08, 1.05 * table["median"].max()))
    fig.supylabel("change of the features (1 = another picture)", fontsize=10.5)
    _layers_on_x(axes[-1, 0], layers)
    legend_below(axes[0, 0], loc="outside lower center")
    return fig


def plot_one_shot_by_layer(table: pd.DataFrame) -> Figure:
    """Accuracy of a classifier that saw one image per class, by the features it used.

    Parameters
    ----------
    table
        Columns ``network``, ``dataset``, ``features`` (a layer, or ``"pixels"``), ``mean``,
        ``lower``, ``upper`` (of the draws) and ``chance``.

    Returns
    -------
    Figure
        A panel per dataset: a point per layer and network, beside pixels and chance. Networks
        whose layers differ have panels of their own.
    """
    layers = table.groupby("network", sort=False)["features"].agg(tuple)
    panels = list(table.groupby([table["network"].map(layers), "dataset"], sort=False))
    columns = min(2, len(panels))
    fig, axes = panel_grid(len(panels), columns, height=2.9, margin=0.4, sharey=True)
    if columns == 1:
        fig.set_figwidth(0.7 * WIDTH)
    colours = {name: _NETWORKS[n % len(_NETWORKS)] for n, name in enumerate(layers.index)}
    for ax, ((_, dataset), part) in zip(axes.flat, panels, strict=False):
        _one_shot(ax, part, colours)
        architecture = part["network"].iloc[0].partition("@")[0]
        ax.set_title(literal(f"{dataset}, {architecture}" if layers.nunique() > 1 else dataset))
    for ax in axes[:, 0]:
        ax.set_ylabel("accuracy on all other images")
    axes[0, 0].set_ylim(0, min(1.0, 1.08 * table["upper"].max()))
    legend_below(*fig.axes, ncols=4, loc="outside lower center")
    return fig


def _one_shot(ax: Axes, part: pd.DataFrame, colours: Mapping[Any, str]) -> None:
    """One panel of :func:`plot_one_shot_by_layer`."""
    pixels = part[part["features"] == "pixels"].iloc[0]
    ax.axhspan(pixels["lower"], pixels["upper"], color=PALETTE[1], alpha=0.13, linewidth=0)
    ax.axhline(pixels["mean"], color=PALETTE[1], linewidth=1.4, label="pixels")
    ax.axhline(pixels["chance"], color=NEUTRAL, linewidth=1.2, linestyle="--", label="chance")
    networks = list(part[part["features"] != "pixels"].groupby("network", sort=False))
    for number, (network, layers) in enumerate(networks):
        colour, marker = colours[network], MARKERS[list(colours).index(network) % len(MARKERS)]
        x = np.arange(len(layers)) + 0.2 * (number - (len(networks) - 1) / 2)
        ax.vlines(x, layers["lower"], layers["upper"], color=colour, linewidth=1.4, alpha=0.6)
        ax.plot(x, layers["mean"], marker, color=colour, markersize=4.5, label=literal(network))
    _layers_on_x(ax, list(networks[0][1]["features"]))
    in_percent(ax.yaxis)
    ax.grid(axis="y")


def _layers_on_x(ax: Axes, layers: Sequence[str]) -> None:
    name_layers(ax, layers)
    ax.set(xlim=(-0.5, len(layers) - 0.5), xlabel="layer, from input to output")


def _draw_box(ax: Axes, box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    corner = (left - 0.5, top - 0.5)  # pixel centres have whole coordinates
    for colour, line in (("black", 2.6), (BOX_COLOUR, 1.4)):
        frame = Rectangle(corner, right - left, bottom - top, fill=False, ec=colour, lw=line)
        ax.add_patch(frame)
