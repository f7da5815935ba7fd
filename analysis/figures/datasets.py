"""How datasets look: each keeps its colour and its marker in all figures of a chapter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D

from analysis.figures.style import MARKERS, PALETTE

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

__all__ = ["Looks", "dataset_legend", "dataset_looks", "wrapped"]

Looks = dict[str, Any]
"""Keywords of a line: its colour and marker."""

_LINE = 84  # characters of a legend across the page


def dataset_looks(datasets: Iterable[str]) -> dict[str, Looks]:
    """Colour and marker of each dataset, in order of appearance and no two alike in 49."""
    return {
        dataset: {
            "color": PALETTE[number % len(PALETTE)],
            "marker": MARKERS[(number + number // len(PALETTE)) % len(MARKERS)],
        }
        for number, dataset in enumerate(dict.fromkeys(datasets))
    }


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
