"""One-shot accuracy of every layer beside that of other features."""

import numpy as np
import pytest
import xarray as xr

from analysis.transfer import one_shot_accuracy, one_shot_by_layer


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
