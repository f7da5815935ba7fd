"""Figures of the report: what they draw, and that any name can stand on them."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from analysis.figures.dataset_report import (
    ImagePair,
    plot_alternatives,
    plot_image_pairs,
    plot_kept_by_class,
)

NAMES = ["<script>", "5 $ a_{b", "two\nlines", "quo\"te's", "\N{GREEK SMALL LETTER ALPHA}" * 60]


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def drawn(figure: plt.Figure) -> None:
    figure.savefig(BytesIO(), format="png")


def test_bars_of_a_class_are_its_features_by_presence_and_absence() -> None:
    table = pd.DataFrame(
        {
            "class_name": NAMES,
            "presence": [5, 4, 3, 2, 1],
            "absence": [1, 2, 3, 4, 5],
            "by_chance": [0.5] * 5,
        }
    )
    figure = plot_kept_by_class(table)
    drawn(figure)
    (ax,) = figure.axes
    presence, absence = ax.containers
    assert [bar.get_width() for bar in presence] == [5, 4, 3, 2, 1]
    assert [(bar.get_x(), bar.get_width()) for bar in absence] == list(
        zip([5, 4, 3, 2, 1], [1, 2, 3, 4, 5], strict=True)
    )
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels[1] == "5 $ a_{b"
    assert labels[2] == "two lines"
    assert max(map(len, labels)) <= 28


@pytest.mark.parametrize("n", [1, 2, 5])
def test_every_pair_has_two_pictures(n: int) -> None:
    picture = np.zeros((10, 20, 3), np.uint8)
    pairs = [ImagePair(picture, picture, (NAMES[k], NAMES[-1]), 0.1) for k in range(n)]
    figure = plot_image_pairs(pairs)
    drawn(figure)
    assert len(figure.axes) == 2 * n
    for text in figure.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width


def test_alternatives_stand_from_top_to_bottom_with_their_accuracy() -> None:
    table = pd.DataFrame(
        {
            "features": ["recommended", "fc7", "all layers"],
            "what": ["chosen", "last fully connected layer", "everything"],
            "mean": [0.8, 0.7, 0.6],
            "standard_error": [0.01, 0.02, 0.03],
            "n_features": [100.0, 512.0, 2080.0],
        }
    )
    figure = plot_alternatives(table, chance=0.5)
    drawn(figure)
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "recommended (100)",
        "fc7, last fully connected layer (512)",
        "all layers, everything (2,080)",
    ]
    points = [bar.lines[0].get_xydata()[0].tolist() for bar in ax.containers]
    assert points == [[0.8, 0], [0.7, 1], [0.6, 2]]


def test_nothing_to_show_is_said_in_words() -> None:
    for figure in (plot_image_pairs([]), plot_alternatives(pd.DataFrame(), chance=float("nan"))):
        (ax,) = figure.axes
        assert len(ax.texts[0].get_text()) > 10
