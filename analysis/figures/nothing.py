"""The figure of a study that has nothing to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt

from analysis.figures.style import WIDTH, literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_nothing"]


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
