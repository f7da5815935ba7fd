"""Figures of the chapter on domains show what their tables hold."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.figures.domains import DomainMap, plot_domain_accuracies, plot_domain_maps

KEYS = [
    ("S", "SVM"),
    ("T", "SVM"),
    ("ST", "Logistic Reg."),
    ("ST", "SVM"),
    ("adapt", "Gong et al. (2012)"),
    ("S, unlabelled T", "Gong et al. (2012)"),
]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def summary(n_pairs):
    rows = [
        {
            "network": "net@random",
            "features": layer,
            "pair": f"domain{k} → domain{k + 1}",
            "training": training,
            "method": method,
            "mean": (number + k) / 20,
            "deviation": 0.02 if k else np.nan,
            "chance": 0.1,
            "last": layer == "fc7",
        }
        for k in range(n_pairs)
        for layer in ("fc6", "fc7")
        for number, (training, method) in enumerate(KEYS)
    ]
    columns = ["network", "features", "pair", "training", "method", "mean", "deviation", "last"]
    return pd.DataFrame(rows, columns=columns)


@pytest.mark.parametrize("n_pairs", [1, 2, 4, 12])
def test_a_panel_for_each_pair_a_row_for_each_machine(n_pairs):
    fig = plot_domain_accuracies(summary(n_pairs))
    assert len(fig.axes) == n_pairs
    assert fig.axes[0].get_title() == "domain0 → domain1"
    names = [label.get_text() for label in fig.axes[0].get_yticklabels()]
    assert names == [
        "SVM (S)",
        "Gong et al. (2012)",
        "SVM (T)",
        "SVM (ST)",
        "Gong et al. (2012)",
    ]
    dots = {
        (float(x), float(y))
        for line in fig.axes[-1].lines
        if line.get_linestyle() == "None"
        for x, y in zip(*line.get_data(), strict=True)
    }
    last = n_pairs - 1
    places = {0: 0, 1: 2, 3: 3, 4: 4, 5: 1}  # of each key, by what it has learnt from
    expected = {(round(5.0 * (number + last), 6), row) for number, row in places.items()}
    assert {(round(x, 6), y) for x, y in dots} == expected
    dashed = [line for line in fig.axes[-1].lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in dashed] == pytest.approx([5 * (3 + last)])


def domain_map(n=40):
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 255, (n, 3), dtype=np.uint8)

    def picture(number):
        return Image.fromarray(np.full((10, 12, 3), colours[number], np.uint8))

    domains = np.repeat(["dslr", "webcam"], n // 2)
    return DomainMap("fc7", rng.normal(size=(n, 2)), domains, picture, 0.525, 0.8), colours


def test_a_row_of_two_panels_for_each_layer():
    fig = plot_domain_maps([domain_map()[0], domain_map()[0]])
    assert len(fig.axes) == 4
    left = fig.axes[0]
    assert left.get_title().split("\n") == [
        "fc7: nearest image of the same domain",
        "52%, of the same class 80%",
    ]
    assert [len(group.get_offsets()) for group in left.collections] == [20, 20]


def test_thumbnails_do_not_overlap_and_are_images_of_their_cells():
    each, colours = domain_map(200)
    right = plot_domain_maps([each]).axes[1]
    boxes = [image.get_extent() for image in right.images]
    assert len(boxes) > 20
    for i, one in enumerate(boxes):
        for other in boxes[:i]:
            wide, high = (min(one[k + 1], other[k + 1]) - max(one[k], other[k]) for k in (0, 2))
            assert wide <= 0 or high <= 0
    shown = {tuple(np.asarray(image.get_array())[0, 0, :3].tolist()) for image in right.images}
    assert shown <= {tuple(colour) for colour in colours.tolist()}
    assert len(shown) == len(boxes)
    assert len(right.patches) == len(boxes)
