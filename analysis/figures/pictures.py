"""Pictures in rows and grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image, ImageOps

from analysis.figures.datasets import wrapped
from analysis.figures.style import WIDTH, literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Picture = Image.Image | NDArray[Any]

__all__ = ["picture_grid", "plot_pictures", "plot_samples", "show", "square"]

_LABEL = 1.5  # inches of a dataset's name
_SIDE = 128  # pixels of a picture in a row of many


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
    n_rows = -(-len(pictures) // columns)
    size = (WIDTH, n_rows * (WIDTH / columns + 0.1))
    fig, axes = plt.subplots(n_rows, columns, figsize=size, squeeze=False, layout="constrained")
    for ax in axes.flat[len(pictures) :]:
        ax.remove()
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
            whole = Image.fromarray(np.asarray(picture))
            show(ax, np.asarray(ImageOps.fit(whole, (_SIDE, _SIDE), Image.Resampling.BILINEAR)))
        middle = {"ha": "right", "va": "center", "transform": row[0].transAxes}
        row[0].text(-0.08, 0.5, _label(name), fontsize=9, parse_math=False, **middle)
    return fig


def _label(dataset: str) -> str:
    """Name of a dataset in few short lines; of a folder only the end of its path."""
    kind, colon, path = dataset.partition(":")
    if colon:
        dataset = f"{kind}:/{path.rstrip('/').rpartition('/')[2]}"
    return "\n".join(wrapped(part, 20) for part in dataset.replace("/", "/\n").splitlines())


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
