"""What the figures on noise show is what their tables hold."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from analysis.figures import noise as figures
from analysis.statistics import beyond_by_class, fits_by_network

RNG = np.random.default_rng(0)
DATASETS = ("one", "two", "three")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def titles(axes):
    return [ax.get_title(loc="left") or ax.get_title() for ax in axes]


def test_every_class_has_a_line_on_each_side() -> None:
    parts = [
        beyond_by_class(*RNG.uniform(-1, 1, (2, 4, 30)), step=0.1).assign(dataset=name)
        for name in DATASETS
    ]
    curves = pd.concat(parts)
    thresholds = pd.DataFrame({"dataset": DATASETS, "t_plus": 0.2, "t_minus": [-0.1, -0.2, -0.3]})
    fig = figures.plot_features_beyond(curves, thresholds)
    assert titles(fig.axes) == list(DATASETS)
    for ax, dataset, t_minus in zip(fig.axes, DATASETS, thresholds["t_minus"], strict=True):
        drawn = [line for line in ax.lines if len(line.get_xdata()) == 11]
        assert len(drawn) == 2 * 4 * 2
        part = curves[(curves["dataset"] == dataset) & (curves["labels"] == "real")]
        first = part[part["class"] == 0]["features"].to_numpy()
        np.testing.assert_array_equal(drawn[0].get_ydata(), first[:11])
        np.testing.assert_array_equal(drawn[1].get_ydata(), first[11:])
        dashed = [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == "--"]
        assert sorted(dashed) == [t_minus, 0.2]


def by_size() -> pd.DataFrame:
    rows = [
        {
            "network": network,
            "dataset": dataset,
            "cut": size < 50,
            "images_per_class": float(size + k),
            "t_plus": 1 / np.sqrt(size + k),
            "t_minus": -0.9 / np.sqrt(size + k),
            "spread_plus": 0.01,
            "spread_minus": np.nan,
        }
        for network in ("a@x", "b@y")
        for k, dataset in enumerate(DATASETS)
        for size in (10, 20, 50)
    ]
    return pd.DataFrame(rows)


def test_thresholds_are_drawn_by_their_size_with_the_fit() -> None:
    table = by_size()
    fits = fits_by_network(table)
    fig = figures.plot_size_fit(table, fits)
    assert len(fig.axes) == 4
    for ax, (network, side) in zip(
        fig.axes, [(n, s) for n in ("a@x", "b@y") for s in ("t+", "t-")], strict=True
    ):
        own = table[table["network"] == network]
        heights = np.concatenate([bars.lines[0].get_ydata() for bars in ax.containers]).astype(
            float
        )
        name = "t_plus" if side == "t+" else "t_minus"
        np.testing.assert_allclose(np.sort(heights.astype(float)), np.sort(own[name].abs()))
        (curve,) = [line for line in ax.lines if len(line.get_xdata()) == 100]
        fit = fits[(fits["network"] == network) & (fits["side"] == side)].iloc[1]
        at = curve.get_xdata()[50]
        wanted = abs(fit["intercept"] + fit["slope"] * np.log(at))
        assert curve.get_ydata()[50] == pytest.approx(wanted)
        (words,) = ax.texts
        assert f"{fit['r_squared']:.2f}" in words.get_text()
        assert ax.get_ylim()[0] == 0


def test_one_size_has_points_and_no_curve() -> None:
    table = by_size().query("network == 'a@x' and dataset == 'one' and not cut")
    fig = figures.plot_size_fit(table, fits_by_network(table))
    for ax in fig.axes:
        assert len(ax.containers) == 1
        assert not ax.texts
        assert [tick for tick in ax.get_xticks() if tick == 50]


def test_layers_are_drawn_with_what_chance_keeps() -> None:
    table = pd.DataFrame(
        [
            {
                "network": network,
                "dataset": dataset,
                "part": layer,
                "kept": 0.1 * (k + 1),
                "kept_shuffled": 0.01 * (k + 1),
            }
            for network in ("a@x", "b@y")
            for dataset in DATASETS
            for k, layer in enumerate(("conv1", "conv2", "fc"))
        ]
    )
    fig = figures.plot_kept_by_layer(table)
    assert len(fig.axes) == 2
    names = [label.get_text() for label in fig.axes[-1].get_xticklabels()]
    assert names == ["conv1", "conv2", "fc"]
    for ax in fig.axes:
        assert len(ax.lines) == 2 * len(DATASETS)
        np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.1, 0.2, 0.3])
        np.testing.assert_allclose(ax.lines[1].get_ydata(), [0.01, 0.02, 0.03])


def test_expected_thresholds_stand_against_measured_ones() -> None:
    rows = [
        {
            "dataset": dataset,
            "part": part,
            "side": side,
            "measured": sign * 0.2,
            "spread": 0.01 if dataset == "one" else np.nan,
            "conditional": sign * 0.21,
            "classical": sign * 0.3,
            "weak": False,
        }
        for dataset in DATASETS
        for part in ("all", "conv1", "fc")
        for side, sign in (("t+", 1), ("t-", -1))
    ]
    weak = rows[0] | {"weak": True, "measured": 0.25, "conditional": 0.9}
    fig = figures.plot_expected(pd.DataFrame([*rows, weak]))
    assert titles(fig.axes[:2]) == list(figures.LAWS.values())
    for ax, height in zip(fig.axes, (0.21, 0.3, 0.21, 0.3), strict=True):
        whole = [bars.lines[0] for bars in ax.containers][: 2 * len(DATASETS)]
        drawn = whole or [line for line in ax.lines if line.get_linestyle() == "None"]
        assert len(drawn) == 2 * len(DATASETS)
        heights = np.concatenate([line.get_ydata() for line in drawn]).astype(float)
        np.testing.assert_allclose(heights, height)
        assert ax.get_xlim() == ax.get_ylim()
        assert ax.get_xlim()[0] < 0.2
        assert 0.3 < ax.get_xlim()[1] < 0.5
    assert [[words.get_text() for words in ax.texts] for ax in fig.axes] == [
        ["1 without signal, not shown"], [], [], []
    ]  # fmt: skip
    bars = fig.axes[0].containers[0].lines[2][0].get_segments()[0]
    np.testing.assert_allclose(bars[:, 0], [0.18, 0.22])
