"""What the figures share: panels, looks, names on axes, legends, pictures, words for nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter
from PIL import Image, ImageOps

from analysis.figures.style import MARKERS, PALETTE, WIDTH, literal

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Picture = Image.Image | NDArray[Any]

Looks = dict[str, Any]
"""Keywords of a line: its colour and marker."""

_LINE = 84  # characters of a legend across the page
_MOST_LABELS = 24  # that fit below a panel


def panel_rows(
    n_rows: int, n_columns: int = 1, *, height: float, margin: float = 0.5, **options: Any
) -> tuple[Figure, NDArray[Any]]:
    """Panels in rows across the page.

    Parameters
    ----------
    n_rows, n_columns
        How many.
    height, margin
        Inches of a row, and of what stands around all of them.
    **options
        Of ``matplotlib.pyplot.subplots``.

    Returns
    -------
    Figure, ndarray of Axes, shape (n_rows, n_columns)
    """
    options = {"figsize": (WIDTH, margin + height * n_rows), "layout": "constrained"} | options
    return plt.subplots(n_rows, n_columns, squeeze=False, **options)


def panel_grid(
    n_panels: int, columns: int, *, height: float, margin: float = 0.5, **options: Any
) -> tuple[Figure, NDArray[Any]]:
    """As :func:`panel_rows`, for so many panels; places that stay empty are taken out."""
    rows = -(-n_panels // columns)
    fig, axes = panel_rows(rows, columns, height=height, margin=margin, **options)
    for ax in axes.flat[n_panels:]:
        ax.remove()
    return fig, axes


def title(ax: Axes, words: object, width: int = 80) -> None:
    """Title of a panel among others, in lines of so many characters; shown as it is."""
    ax.set_title(wrapped(str(words), width), fontsize=10.5, parse_math=False)


def in_percent(*axes: Axis, decimals: int | None = 0) -> None:
    """Write shares in per cent."""
    for axis in axes:
        axis.set_major_formatter(PercentFormatter(1.0, decimals=decimals))


def name_rows(ax: Axes, names: Sequence[object], **text: Any) -> None:
    """Name rows at whole numbers, the first on top."""
    ax.set_yticks(range(len(names)), [literal(name) for name in names], **text)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(names) - 0.5, -0.5)


def name_layers(ax: Axes, layers: Sequence[str]) -> None:
    """Name layers from left to right below a panel, as many as fit, up to the last."""
    every = -(-len(layers) // _MOST_LABELS)
    ticks = range((len(layers) - 1) % every, len(layers), every)
    names = [literal(layers[tick]) for tick in ticks]
    ax.set_xticks(ticks, names, rotation=45, ha="right", rotation_mode="anchor")


def hide_repeated_layers(axes: NDArray[Any]) -> None:
    """Leave out the names below a panel if those below the next one are the same."""
    for ax, below in pairwise(axes.flat):
        named = [[label.get_text() for label in each.get_xticklabels()] for each in (ax, below)]
        ax.tick_params(axis="x", labelbottom=named[0] != named[1])


def legend_below(*axes: Axes, ncols: int = 3, loc: Any = "outside lower left", **more: Any) -> None:
    """One legend below all panels, of what has a label in some of them."""
    shown: dict[str, Any] = {}
    for ax in axes:
        handles, labels = ax.get_legend_handles_labels()
        shown |= dict(zip(labels, handles, strict=True))
    fig = axes[0].get_figure()
    assert fig is not None
    fig.legend([*shown.values()], [*shown], loc=loc, ncols=ncols, **more)


def heading(fig: Figure, words: object) -> None:
    """Write what all panels are about above the figure, at its left."""
    fig.suptitle(literal(words), x=0.01, ha="left", fontsize="medium", fontweight="bold")


def look_of(number: int) -> Looks:
    """Colour and marker of the first, second, ... line; no two alike in 49."""
    return {
        "color": PALETTE[number % len(PALETTE)],
        "marker": MARKERS[(number + number // len(PALETTE)) % len(MARKERS)],
    }


def dataset_looks(datasets: Iterable[str]) -> dict[str, Looks]:
    """Colour and marker of each dataset, in order of appearance."""
    return {name: look_of(number) for number, name in enumerate(dict.fromkeys(datasets))}


def dataset_legend(fig: Figure, looks: Mapping[str, Looks], extra: Sequence[Artist] = ()) -> None:
    """One legend above all panels; the figure grows by its height.

    Parameters
    ----------
    fig
        Figure with a constrained layout.
    looks
        Name of each dataset → its colour and marker.
    extra
        What else the legend explains; artists with labels.
    """
    lines = [
        Line2D([], [], label=wrapped(dataset, _LINE), linewidth=1.2, **look)
        for dataset, look in looks.items()
    ]
    handles = [*lines, *extra]
    if not handles:
        return
    columns = _columns([str(handle.get_label()) for handle in handles])
    legend = fig.legend(handles=handles, loc="outside upper left", ncols=columns)
    for text in legend.get_texts():
        text.set_parse_math(False)
    fig.set_figheight(fig.get_figheight() + 0.1 + 0.2 * -(-len(handles) // columns))


def wrapped(text: str, width: int) -> str:
    """Break a text into lines of at most ``width`` characters; words that are longer are cut."""
    return fill(text, width)


def _columns(names: Sequence[str]) -> int:
    """Most columns, four at most, into which a legend can put its names down and then across."""
    for columns in range(min(4, len(names)), 1, -1):
        widths = [max(map(len, part)) for part in np.array_split(names, columns)]
        if sum(widths) + 7 * columns <= _LINE:
            return columns
    return 1


def picture_grid(
    n_rows: int, widths: Sequence[float], size: tuple[float, float]
) -> tuple[Figure, NDArray[Any]]:
    """Give a figure and its (n_rows, len(widths)) empty axes, close together and without frames."""
    fig, grid = plt.subplots(
        n_rows,
        len(widths),
        figsize=size,
        width_ratios=widths,
        squeeze=False,
        layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0),
    )
    for ax in grid.flat:
        ax.axis("off")
    return fig, grid


def show(ax: Axes, picture: Picture, **kwargs: Any) -> None:
    """Show a picture pixel by pixel, in a thin line that tells white pictures from the page."""
    ax.imshow(np.asarray(picture), interpolation="nearest", **kwargs)
    ax.axis("on")
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.spines[:].set(visible=True, color="0.85", linewidth=0.6)


def square(patch: NDArray[Any]) -> NDArray[Any]:
    """Put a patch into the middle of a white square: at a border patches are narrower."""
    height, width = patch.shape[:2]
    side = max(height, width)
    square = np.full((side, side, *patch.shape[2:]), 255, dtype=patch.dtype)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = patch
    return square


def middle_square(picture: Picture, side: int) -> NDArray[Any]:
    """Cut the middle square out of a picture, resized to so many pixels, (side, side, 3)."""
    whole = Image.fromarray(np.asarray(picture))
    return np.asarray(ImageOps.fit(whole, (side, side), Image.Resampling.BILINEAR))


def plot_nothing(words: str) -> Figure:
    """Say in words that there is nothing to show, in the place of a figure.

    Parameters
    ----------
    words
        A sentence.
    """
    fig = plt.figure(figsize=(WIDTH, 0.5))
    ax = fig.add_axes((0, 0, 1, 1))  # Jupyter shows no figure without axes
    ax.axis("off")
    ax.text(0.0, 0.5, literal(words), va="center")
    return fig
