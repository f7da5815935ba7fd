"""What the figures on distances show is what their tables hold."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from analysis.figures import distances as figures
from analysis.statistics import edf_pair

MEASURES = ("kullback_leibler", "bhattacharyya", "mutual_information")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def pairs(networks=("a@x", "b@y"), datasets=("one", "two"), n=30) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    parts = []
    for network in networks:
        for dataset in datasets:
            D, noise = rng.uniform(-1, 1, (2, n))
            part = {"network": network, "dataset": dataset, "dks": D, "dks_shuffled": noise / 9}
            for measure in MEASURES:
                part |= {measure: 3 * D**2, f"{measure}_shuffled": noise**2 / 9}
            part |= {"bound": np.abs(D) / 2, "loss": np.abs(D) / 3, "zeros": rng.random(n)}
            parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


def line(ax, label):
    (found,) = [line for line in ax.lines if line.get_label() == label]
    return found


def titles(fig):
    return [ax.get_title(loc="left") or ax.get_title() for ax in fig.axes]


def test_every_pair_is_drawn_once_by_dataset_and_once_shuffled() -> None:
    table = pairs()
    fig = figures.plot_measures(table)
    assert len(fig.axes) == 6
    for ax, measure in zip(fig.axes[3:], MEASURES, strict=True):
        for dataset in ("one", "two"):
            part = table[(table["network"] == "b@y") & (table["dataset"] == dataset)]
            np.testing.assert_array_equal(line(ax, dataset).get_xdata(), part["dks"])
            np.testing.assert_array_equal(line(ax, dataset).get_ydata(), part[measure])
        shuffled = line(ax, "shuffled labels").get_ydata()
        part = table[table["network"] == "b@y"]
        np.testing.assert_array_equal(shuffled, part[f"{measure}_shuffled"])
        assert ax.get_ylim()[0] == 0
        assert ax.get_ylim()[1] > table[measure].max()
    assert len(fig.legends[0].texts) == 3


def test_the_least_that_a_distance_allows_is_below_real_histograms() -> None:
    fig = figures.plot_measures(pairs(networks=("a@x",)))
    rng = np.random.default_rng(3)
    P, Q = rng.dirichlet(np.ones(6), (2, 200))
    D = np.abs(np.cumsum(P - Q, axis=1)).max(axis=1)
    for ax, found in (
        (fig.axes[0], (P * np.log(P / Q)).sum(axis=1)),
        (fig.axes[1], -np.log(np.sqrt(P * Q).sum(axis=1))),
    ):
        (least,) = [curve for curve in ax.lines if curve.get_linestyle() == "--"]
        assert (found >= np.interp(D, *least.get_data()) - 1e-4).all()
    assert not [curve for curve in fig.axes[2].lines if curve.get_linestyle() == "--"]


def test_examples_have_a_titled_row_each() -> None:
    inner = np.arange(40) % 4 == 0
    example = edf_pair(np.random.default_rng(1).random(40) + inner, inner)
    fig = figures.plot_disagreements([("first", example), ("second", example)])
    assert [part.get_suptitle() for part in fig.subfigs] == ["first", "second"]
    assert [len(part.axes) for part in fig.subfigs] == [2, 2]


def test_losses_lie_where_they_are_and_below_the_diagonal() -> None:
    table = pairs()
    fig = figures.plot_lost_resolution(table)
    assert titles(fig)[:2] == ["a\n@x", "b\n@y"]
    for ax, network in zip(fig.axes[:2], ("a@x", "b@y"), strict=True):
        part = table[table["network"] == network].sort_values("zeros")
        drawn = ax.collections[0]
        np.testing.assert_allclose(drawn.get_offsets(), part[["bound", "loss"]])
        np.testing.assert_allclose(drawn.get_array(), part["zeros"])
        assert ax.get_xlim() == ax.get_ylim()
        assert ax.get_xlim()[1] > table["bound"].max()


@pytest.mark.parametrize("n_networks", [1, 2, 3])
def test_rates_of_both_laws_against_zeros(n_networks: int) -> None:
    names = [f"net@{i}" for i in range(n_networks)]
    rates = pd.DataFrame(
        {"network": name, "law": law, "zeros": zeros, "rate": zeros / 20 + (law == "classical"),
         "standard_error": np.nan if zeros else 0.01}
        for name in names for law in ("conditional", "classical") for zeros in (0.0, 0.4, 0.9)
    )  # fmt: skip
    fig = figures.plot_calibration(rates, level=0.1)
    assert len(fig.axes) == n_networks
    for ax in fig.axes:
        assert set(line(ax, "nominal level").get_ydata()) == {0.1}
        drawn = [bars.lines[0] for bars in ax.containers]
        x = [np.asarray(curve.get_xdata(), float) for curve in drawn]
        np.testing.assert_allclose(x, [[0, 0.4, 0.9]] * 2)
        y = [np.asarray(curve.get_ydata(), float) for curve in drawn]
        np.testing.assert_allclose(y, [[0, 0.02, 0.045], [1, 1.02, 1.045]])
    assert len(fig.legends[0].texts) == 3


def test_layers_keep_their_order_and_chance_is_beside() -> None:
    layers = ["conv1", "conv10", "conv2", "fc"]
    table = pd.DataFrame(
        {"network": "n@w", "dataset": dataset, "layer": layer, "discovered": 0.2 * i,
         "discovered_shuffled": 0.01 * i}
        for dataset in ("one", "two") for i, layer in enumerate(layers)
    )  # fmt: skip
    fig = figures.plot_discoveries(table)
    (ax,) = fig.axes
    assert [text.get_text() for text in ax.get_xticklabels()] == layers
    np.testing.assert_allclose(line(ax, "two").get_ydata(), [0, 0.2, 0.4, 0.6])
    grey = [curve for curve in ax.lines if curve.get_color() == "0.55" and len(curve.get_xdata())]
    np.testing.assert_allclose([curve.get_ydata() for curve in grey], [[0, 0.01, 0.02, 0.03]] * 2)
    assert [text.get_text() for text in fig.legends[0].texts] == ["one", "two", "shuffled labels"]
