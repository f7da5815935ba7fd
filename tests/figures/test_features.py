"""Chapter 00's figures: what they show is where it should be, and nothing covers data."""

import subprocess
import sys
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("agg")

from matplotlib import pyplot as plt

from analysis.figures import features, style

LAYERS = ["conv1_1", "conv2_1", "fc6"]


@pytest.fixture(autouse=True)
def closed_figures():
    with mpl.rc_context():
        style.use_style()
        yield
    plt.close("all")


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (40, 40, 3), dtype=np.uint8) for _ in range(4)]


def shown(fig):
    """Axes of a figure that hold a picture."""
    return [ax for ax in fig.axes if ax.images]


def test_a_column_of_maps_shares_one_scale_from_zero(pictures):
    maps = {"conv1_1": np.zeros((4, 2, 8, 8)), "conv2_1": np.ones((4, 1, 4, 4))}
    maps["conv1_1"][2, 1, 3, 3] = 7.0
    fig = features.plot_activation_maps(pictures, maps, {"conv1_1": [5, 9], "conv2_1": [0]})
    axes = [ax for ax in shown(fig) if ax.images[0].get_array().ndim == 2 and not ax.get_xlabel()]
    assert len(axes) == 4 * 3
    limits = {tuple(ax.images[0].get_clim()) for ax in axes}
    assert limits == {(0.0, 1.0), (0.0, 7.0)}  # the silent unit has a scale too
    titles = " ".join(ax.get_title() for ax in fig.axes)
    assert "conv1_1, 8 × 8" in titles
    assert "conv2_1, 4 × 4" in titles


@dataclass
class Found:
    """What the figure reads of a ``StrongCrop``."""

    pixels: np.ndarray
    box: tuple[int, int, int, int]

    @property
    def patch(self):
        left, top, right, bottom = self.box
        return self.pixels[top:bottom, left:right]


def test_patches_are_squares_and_framed_where_they_are(pictures):
    found = {"conv1_1": {3: [Found(pictures[0], (4, 6, 14, 26))]}}
    fig = features.plot_strongest_patches(found, n_whole=1)
    patch_axes, whole_axes = shown(fig)
    patch = patch_axes.images[0].get_array()
    assert patch.shape == (20, 20, 3)
    assert np.array_equal(patch[:, 5:15], pictures[0][6:26, 4:14])
    assert (patch[:, :5] == 255).all()
    assert (patch[:, 15:] == 255).all()
    assert np.array_equal(whole_axes.images[0].get_array(), pictures[0])
    assert {frame.get_bbox().bounds for frame in whole_axes.patches} == {(3.5, 5.5, 10, 20)}
    assert "conv1_1, unit 3" in {text.get_text() for text in patch_axes.texts}


def test_units_with_few_pictures_leave_their_places_empty(pictures):
    box = (0, 0, 8, 8)
    found = {"fc6": {0: [Found(p, box) for p in pictures], 7: [Found(pictures[0], box)]}}
    fig = features.plot_strongest_patches(found, n_whole=2)
    assert len(shown(fig)) == 4 + 2 + 1 + 1


def change_table():
    rows = [
        (kept, layer, change)
        for kept in ("means", "places")
        for change in ("mirrored", "turned")
        for layer in LAYERS
    ]
    table = pd.DataFrame(rows, columns=["kept", "layer", "change"])
    return table.assign(median=np.linspace(0.1, 1.6, len(rows)))


def test_changes_are_lines_over_the_layers_in_order():
    table = change_table()
    fig = features.plot_change_by_layer(table)
    above, below = fig.axes
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["means", "places"]
    assert [label.get_text() for label in below.get_xticklabels()] == LAYERS
    mirrored, turned, same = above.lines
    assert np.allclose(mirrored.get_ydata(), table["median"][:3])
    assert np.allclose(turned.get_ydata(), table["median"][3:6])
    assert set(same.get_ydata()) == {1.0}
    assert above.get_ylim() == below.get_ylim()
    assert below.get_ylim()[0] == 0
    assert below.get_ylim()[1] > 1.6
    assert mirrored.get_marker() != turned.get_marker()  # not by colour alone


def one_shot_table(networks=("net",), datasets=("digits", "webcam")):
    rows = [
        (network, dataset, name)
        for network in networks
        for dataset in datasets
        for name in ("pixels", *LAYERS)
    ]
    table = pd.DataFrame(rows, columns=["network", "dataset", "features"])
    return table.assign(mean=0.5, lower=0.4, upper=0.6, chance=0.1)


def legend_of(fig):
    return [text.get_text() for text in fig.legends[0].get_texts()]


@pytest.mark.parametrize("networks", [("net",), ("net", "other")])
def test_one_shot_has_a_panel_per_dataset_with_all_networks(networks):
    fig = features.plot_one_shot_by_layer(one_shot_table(networks))
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["digits", "webcam"]
    assert fig.axes[0].get_ylim()[0] == 0
    assert sorted(legend_of(fig)) == sorted(["chance", "pixels", *networks])


def test_networks_of_other_layers_have_panels_of_their_own():
    shorter = one_shot_table(("other@random",))
    table = pd.concat([one_shot_table(), shorter[shorter["features"] != "conv2_1"]])
    fig = features.plot_one_shot_by_layer(table)
    titles = ["digits, net", "digits, other", "webcam, net", "webcam, other"]
    assert sorted(ax.get_title(loc="left") for ax in fig.axes) == titles
    assert sorted(legend_of(fig)) == ["chance", "net", "other@random", "pixels"]


def test_of_many_layers_every_few_are_named_and_the_last_is():
    table = pd.DataFrame({"layer": [f"block{i}" for i in range(50)], "kept": "means"})
    fig = features.plot_change_by_layer(table.assign(change="turned", median=0.5))
    (ax,) = fig.axes
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert len(labels) <= 24
    assert labels[-1] == "block49"
    assert all(f"block{int(x)}" == name for x, name in zip(ax.get_xticks(), labels, strict=True))


@pytest.mark.parametrize(
    ("plot", "table"),
    [
        (features.plot_change_by_layer, change_table()),
        (features.plot_one_shot_by_layer, one_shot_table()),
    ],
)
def test_the_legend_covers_no_data(plot, table):
    fig = plot(table)
    fig.canvas.draw()
    (legend,) = fig.legends
    for ax in fig.axes:
        assert not legend.get_window_extent().overlaps(ax.get_window_extent())


def test_every_colour_of_the_palette_has_a_marker_of_its_own():
    assert len(set(style.PALETTE)) == len(style.PALETTE) == len(style.MARKERS)
    assert len(set(style.MARKERS)) == len(style.MARKERS)


def test_importing_the_figures_changes_no_setting():
    code = (
        "import matplotlib as mpl; before = dict(mpl.rcParams);"
        "import analysis.figures.features, analysis.figures.style, sys;"
        "assert dict(mpl.rcParams) == before; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
