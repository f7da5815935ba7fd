"""What the figures of the distributions show is what their tables hold."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from analysis.figures import distributions as figures
from analysis.statistics import edf_pair


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def ridges(layers: list[str], datasets: list[str]) -> pd.DataFrame:
    edges = np.linspace(-1, 1, 11)
    rng = np.random.default_rng(0)
    parts = []
    for dataset in datasets:
        for layer in layers:
            share = rng.dirichlet(np.ones(10))
            parts.append(
                pd.DataFrame(
                    {
                        "network": "net@random",
                        "dataset": dataset,
                        "layer": layer,
                        "kind": "fc" if layer.startswith("fc") else "conv",
                        "left": edges[:-1],
                        "right": edges[1:],
                        "share": share,
                        "share_shuffled": share[::-1],
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def test_gap_is_drawn_where_it_is() -> None:
    rng = np.random.default_rng(1)
    inner = np.arange(60) < 20
    pair = edf_pair(rng.normal(size=60) + inner, inner)
    ax = figures.plot_edfs(pair, ax=plt.figure().subplots())
    x, y = ax.lines[-1].get_data()
    assert set(x) == {pair.gap_at}
    assert abs(y[1] - y[0]) == pytest.approx(abs(pair.distance))
    assert f"{pair.distance:+.2f}" in ax.get_title()


def test_histograms_hold_every_image_and_a_legend() -> None:
    inner = np.arange(30) % 3 == 0
    pair = edf_pair(np.arange(30.0), inner)
    ax = figures.plot_inner_outer_histograms(pair, ax=plt.figure().subplots())
    heights = [patch.get_data().values.sum() for patch in ax.patches]
    assert heights == pytest.approx([1.0] * 4)
    assert [text.get_text() for text in ax.get_legend().texts] == [
        "outside the class",
        "inside the class",
    ]


def test_one_line_per_layer_from_the_first_upwards() -> None:
    table = ridges(["conv1", "conv2", "fc6"], ["a"])
    ax = figures.plot_layer_ridges(table, ax=plt.figure().subplots())
    assert [text.get_text() for text in ax.get_yticklabels()] == ["conv1", "conv2", "fc6"]
    assert len(ax.patches) == 6
    tops = [patch.get_data().values.max() - i // 2 for i, patch in enumerate(ax.patches)]
    assert max(tops) <= 0.9 + 1e-12


def test_one_panel_per_pair_and_no_empty_axes() -> None:
    fig = figures.plot_ridges_of_pairs(ridges(["conv1", "fc6"], ["a", "b", "c", "d"]))
    assert [ax.get_title(loc="left") or ax.get_title() for ax in fig.axes] == ["a", "b", "c", "d"]
    assert len(fig.legends) == 1


def test_every_dataset_has_colour_and_marker_of_its_own() -> None:
    names = [f"d{i}" for i in range(11)]
    table = pd.DataFrame(
        {"network": "n", "dataset": d, "layer": "conv1", "sign": s, "mode": m, "lower": m - 0.1,
         "upper": m + 0.1}
        for d in names for s, m in (("presence", 0.2), ("absence", -0.2))
    )  # fmt: skip
    fig = figures.plot_modes_of_networks(table)
    labelled = [line for line in fig.axes[0].lines if not line.get_label().startswith("_")]
    assert [line.get_label() for line in labelled] == names
    assert len({(line.get_color(), line.get_marker()) for line in labelled}) == 11
