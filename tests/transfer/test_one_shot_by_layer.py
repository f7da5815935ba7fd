"""One-shot accuracy of every layer beside that of other features."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from analysis.transfer import best_layer_over_pixels, one_shot_accuracy, one_shot_by_layer


@pytest.fixture
def labels():
    return np.repeat([3, 5, 9], 8)


@pytest.fixture
def embedding(labels):
    """Layer ``late`` tells the classes apart, layer ``early`` is noise."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(labels.size, 6))
    values[:, 4:] = 50 * np.eye(10)[labels][:, [3, 5]] + rng.normal(size=(labels.size, 2))
    layer = ["early"] * 4 + ["late"] * 2
    return xr.DataArray(values, dims=("image", "feature"), coords={"layer": ("feature", layer)})


def test_rows_are_beside_then_layers_then_all(embedding, labels):
    pixels = np.random.default_rng(1).normal(size=(labels.size, 7))
    table = one_shot_by_layer(embedding, labels, beside={"pixels": pixels}, n_draws=5, seed=2)
    assert table["features"].tolist() == ["pixels", "early", "late", "all layers"]
    assert table["chance"].tolist() == [pytest.approx(1 / 3)] * 4
    assert table["mean"][2] > 0.95 > table["mean"][1]
    assert (table["lower"] <= table["mean"]).all()
    assert (table["mean"] <= table["upper"]).all()


def test_each_row_is_the_accuracy_of_its_columns(embedding, labels):
    table = one_shot_by_layer(embedding, labels, n_draws=7, seed=4).set_index("features")
    draws = one_shot_accuracy(embedding.values[:, :4], labels, n_draws=7, seed=4)
    assert table.loc["early", "mean"] == draws.mean()
    assert table.loc["early", "upper"] == np.quantile(draws, 0.95)
    whole = one_shot_accuracy(embedding.values, labels, n_draws=7, seed=4)
    assert table.loc["all layers", "mean"] == whole.mean()


def test_the_best_layer_stands_beside_the_pixels():
    rows = [("pixels", 0.4, 0.3, 0.5), ("conv1", 0.6, 0.55, 0.7), ("fc6", 0.7, 0.45, 0.8)]
    shots = pd.DataFrame(rows, columns=["features", "mean", "lower", "upper"]).assign(chance=0.1)
    both = pd.concat([shots.assign(network="a"), shots.iloc[:2].assign(network="b")])
    best = best_layer_over_pixels(both.assign(dataset="digits"))
    assert best["best features"].tolist() == ["fc6", "conv1"]
    assert best["accuracy"].tolist() == [0.7, 0.6]
    assert best["better"].tolist() == [False, True]  # 0.45 and 0.55 against 0.5
