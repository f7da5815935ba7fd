"""Pictures behind the distances: what a unit answers to, beside classes that it marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

from analysis.figures.panels import middle_square, plot_nothing, show, square, wrapped
from analysis.figures.style import WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from PIL import Image

    from analysis.features import StrongCrop

    Picture = Image.Image | NDArray[Any]

# Inches, but for the last of each pair: characters of a line, points of its font.
_LABEL, _CHARACTERS = 1.62, 24
_LINE, _POINTS = 0.145, 8
_BETWEEN = 0.03  # two pictures
_GAP = 0.14  # crops and samples
_HEADING = 0.25
_MOST = 0.62  # a picture, where there are few in a row
_SIDE = 128  # pixels of a sample


@dataclass(frozen=True, eq=False)
class MarkedClass:
    """A unit and a class that it marks, with pictures of both.

    Attributes
    ----------
    layer, unit
        Name of the layer, and number of the unit in it.
    class_name
        The class; any text, no markup.
    distance
        Signed distance between the class and the rest of its dataset.
    crops
        What the unit answers to most strongly, see :func:`analysis.features.strongest_crops`. A
        crop that it does not answer to at all (activation 0) is drawn as the word "none".
    samples
        Images of the class; their middle squares are shown.
    dataset
        The class's dataset. Rows of one dataset that follow each other share a heading.
    """

    layer: str
    unit: int
    class_name: str
    distance: float
    crops: Sequence[StrongCrop]
    samples: Sequence[Picture]
    dataset: str = ""


def plot_marked_classes(rows: Sequence[MarkedClass]) -> Figure:
    """Units beside classes that they mark (Figs. 2, 4 and 7 of the paper).

    Parameters
    ----------
    rows
        From top to bottom. Headings say whether units are higher or lower in the classes, if all
        distances have one sign.

    Returns
    -------
    Figure
        A row each: class, unit and distance; the unit's strongest crops, cut to the receptive
        field; images of the class. Without rows, words say that there is nothing to show.
    """
    if not rows:
        return plot_nothing("No pair of a feature and a class has such a distance here.")
    n_crops, n_samples = (
        max(1, *(len(part) for part in parts))
        for parts in ([row.crops for row in rows], [row.samples for row in rows])
    )
    side = _side(n_crops + n_samples, _GAP)
    sheet = _Sheet(side)
    sheet.skip(2 * _LINE + 0.1)
    sheet.heading(0.0, "class, unit and $D_{KS}$")
    sheet.heading(_LABEL, "the unit's strongest crops")
    start = _LABEL + n_crops * (side + _BETWEEN) + _GAP
    where = f"\n(the unit is {direction} there)" if (direction := _direction(rows)) else ""
    sheet.heading(min(start, WIDTH - 1.8), f"images of the class{where}")
    datasets = ["", *(row.dataset for row in rows)]
    for row, (before, dataset) in zip(rows, pairwise(datasets), strict=True):
        if dataset != before:
            sheet.title(dataset)
        sheet.row(_lines(row.class_name, f"{row.layer}, unit {row.unit}", f"{row.distance:+.2f}"))
        sheet.crops(row.crops)
        sheet.samples(row.samples, start)
    return sheet.figure()


def plot_shared_absence(rows: Sequence[MarkedClass]) -> Figure:
    """Draw one unit and the classes that it is absent from (Fig. 3 of the paper).

    Parameters
    ----------
    rows
        The classes, all with the same dataset, layer and unit; the crops of the first are shown.

    Returns
    -------
    Figure
        The unit's strongest crops in the first row, below it images of each class. Without rows,
        words say that there is nothing to show.

    Raises
    ------
    ValueError
        If the rows are not of one unit.
    """
    if not rows:
        return plot_nothing("No unit is among the lowest distances of several classes here.")
    units = {(row.dataset, row.layer, row.unit) for row in rows}
    if len(units) > 1:
        raise ValueError(f"expected classes that share one unit of one dataset, got {units}")
    first = rows[0]
    sheet = _Sheet(_side(max(1, len(first.crops), *(len(row.samples) for row in rows)), 0.0))
    if first.dataset:
        sheet.title(first.dataset)
    sheet.skip(_LINE + 0.05)
    sheet.heading(_LABEL, "the unit's strongest crops")
    sheet.row(_lines(f"{first.layer}, unit {first.unit}"))
    sheet.crops(first.crops)
    sheet.skip(_HEADING + 0.05)
    sheet.heading(0.0, "class and $D_{KS}$")
    where = f" in which it is {direction}" if (direction := _direction(rows)) else ""
    sheet.heading(_LABEL, f"images of classes{where}")
    for row in rows:
        sheet.row(_lines(row.class_name, f"{row.distance:+.2f}"))
        sheet.samples(row.samples, _LABEL)
    return sheet.figure()


class _Sheet:
    """A page filled from the top, in inches; drawn at the end, when its height is known."""

    def __init__(self, side: float) -> None:
        self.side = side
        self.top = self.bottom = 0.0  # of the row that is being filled
        self.texts: list[tuple[float, float, str, dict[str, Any]]] = []
        self.pictures: list[tuple[float, float, NDArray[Any] | None]] = []
        self.rules: list[float] = []

    def skip(self, height: float) -> None:
        self.bottom += height

    def heading(self, x: float, words: str) -> None:
        """Words that stand on the top of the next row."""
        looks = {"va": "bottom", "color": "0.25", "fontsize": 9}
        self.texts.append((x, self.bottom - 0.03, words, looks))

    def title(self, dataset: str) -> None:
        """Name of a dataset, under a line across the page."""
        self.rules.append(self.bottom + 0.05)
        self.bottom += _HEADING + 0.05
        looks = {"va": "bottom", "weight": "bold", "fontsize": 9, "parse_math": False}
        self.texts.append((0.0, self.bottom - 0.04, dataset, looks))

    def row(self, label: str) -> None:
        """Start a row, as high as its label or its pictures."""
        self.top = self.bottom
        self.bottom += max(self.side, _LINE * len(label.splitlines())) + _BETWEEN
        looks = {"va": "center", "fontsize": _POINTS, "linespacing": 1.1, "parse_math": False}
        self.texts.append((0.0, (self.top + self.bottom) / 2, label, looks))

    def crops(self, crops: Sequence[StrongCrop]) -> None:
        for place, crop in enumerate(crops):
            x = _LABEL + place * (self.side + _BETWEEN)
            answers = crop.activation != 0
            self._picture(x, square(crop.patch) if answers else None)
            if not answers:
                looks = {"ha": "center", "va": "center", "color": "0.5", "fontsize": 7}
                middle = (self.top + self.bottom) / 2
                self.texts.append((x + self.side / 2, middle, "none", looks))

    def samples(self, samples: Sequence[Picture], start: float) -> None:
        for place, sample in enumerate(samples):
            x = start + place * (self.side + _BETWEEN)
            self._picture(x, middle_square(sample, _SIDE))

    def figure(self) -> Figure:
        height = self.bottom + 0.02
        fig = plt.figure(figsize=(WIDTH, height))
        for x, y, words, looks in self.texts:
            fig.text(x / WIDTH, 1 - y / height, words, **looks)
        for y in self.rules:
            line = Line2D([0, 1], [1 - y / height] * 2, color="0.8", linewidth=0.8)
            fig.add_artist(line)
        for x, y, picture in self.pictures:
            box = (x / WIDTH, 1 - (y + self.side) / height, self.side / WIDTH, self.side / height)
            _place(fig.add_axes(box), picture)
        return fig

    def _picture(self, x: float, picture: NDArray[Any] | None) -> None:
        self.pictures.append((x, (self.top + self.bottom - self.side) / 2, picture))


def _place(ax: Axes, picture: NDArray[Any] | None) -> None:
    """Show a picture, or the frame of one."""
    show(ax, np.full((1, 1, 3), 255, np.uint8) if picture is None else picture)


def _side(n: int, gap: float) -> float:
    """Side of a picture, where ``n`` of them share a row with a label."""
    return min(_MOST, (WIDTH - _LABEL - gap) / n - _BETWEEN)


def _lines(*parts: str) -> str:
    return "\n".join(map(_fitted, parts))


def _fitted(text: str) -> str:
    """Wrap a text to the width of a label, whatever letters it has."""
    font = FontProperties(size=_POINTS)
    for characters in range(_CHARACTERS, 1, -1):
        lines = wrapped(text, characters)
        widths = [
            text_to_path.get_text_width_height_descent(line, font, False)[0]
            for line in lines.splitlines()
        ]
        if max(widths, default=0.0) <= 72 * (_LABEL - 0.1):
            break
    return lines


def _direction(rows: Sequence[MarkedClass]) -> str:
    """Whether the units are higher or lower in the classes; empty where both occur."""
    if all(row.distance > 0 for row in rows):
        return "higher"
    return "lower" if all(row.distance < 0 for row in rows) else ""
