from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from analysis.statistics import (
    edf_pair,
    kind_histograms,
    layer_histograms,
    signed_ks,
    summarise_by_layer,
)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rounding", [0, 6])
def test_the_pair_shows_the_distance(seed, rounding):
    rng = np.random.default_rng(seed)
    values = np.maximum(rng.standard_normal(200), 0).round(rounding)
    inner = rng.random(200) < 0.2
    pair = edf_pair(values, inner, bins=12)
    assert pair.distance == signed_ks(values[:, None], inner)[1, 0]
    assert pair.distance == pytest.approx(pair.outer_at_gap - pair.inner_at_gap, abs=1e-15)
    assert pair.inner_at_gap == np.mean(values[inner] <= pair.gap_at)
    assert pair.outer_at_gap == np.mean(values[~inner] <= pair.gap_at)
    assert np.abs(pair.outer_edf - pair.inner_edf).max() == pytest.approx(abs(pair.distance))
    assert (pair.inner_edf[0], pair.outer_edf[0]) == (0, 0)
    assert (pair.inner_edf[-1], pair.outer_edf[-1]) == (1, 1)
    assert pair.bin_edges.shape == (13,)
    for histogram in (pair.inner_histogram, pair.outer_histogram):
        assert histogram.shape == (12,)
        assert histogram.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("values", "inner", "message"),
    [
        ([1.0, 2.0], [0, 1], "labels == a_class"),
        ([1.0, 2.0], [True], "as many booleans"),
        ([1.0, np.inf], [True, False], "1 values that are not"),
        ([1.0, 2.0], [True, True], "got 2 and 0"),
    ],
)
def test_errors_of_the_pair(values, inner, message):
    with pytest.raises(ValueError, match=message):
        edf_pair(values, np.array(inner))


def distances():
    D = np.zeros((2, 5))
    D[:, :3] = [[0.11, 0.11, -0.3], [0.12, 0.8, -0.31]]
    return xr.DataArray(
        D,
        dims=("class", "feature"),
        coords={"class": [0, 1], "layer": ("feature", ["b", "b", "b", "a", "a"])},
    )


def test_layers_are_summarised_in_order():
    table = summarise_by_layer(distances()).set_index(["layer", "sign"])
    assert table.index.tolist() == [
        ("b", "presence"), ("b", "absence"), ("a", "presence"), ("a", "absence")
    ]  # fmt: skip
    up, down = table.loc[("b", "presence")], table.loc[("b", "absence")]
    assert up["mode"] == pytest.approx(0.11)  # the middle of [0.10, 0.12)
    assert up["median"] == pytest.approx(0.115)
    assert 0.1 < up["lower"] < up["upper"] < 0.8
    assert up["share"] == pytest.approx(4 / 6)
    assert up["share_beyond_0.25"] == pytest.approx(1 / 6)
    assert down["share_beyond_0.25"] == pytest.approx(2 / 6)
    assert down["lower"] < down["median"] < down["upper"] < 0
    assert table.loc[("a", "presence"), "share"] == 0
    assert np.isnan(table.loc[("a", "absence"), "mode"])


def test_histograms_hold_every_pair_once():
    table = layer_histograms(distances(), bins=20)
    assert table.groupby("layer", sort=False)["share"].sum().tolist() == pytest.approx([1, 1])
    zero = table[(table["layer"] == "a") & (table["left"] <= 0) & (table["right"] > 0)]
    assert zero["share"].item() == 1


@pytest.mark.parametrize("bins", [7, 100])
def test_kinds_pool_their_layers_as_counting_pair_by_pair_does(bins):
    rng = np.random.default_rng(bins)
    layers = ["conv1"] * 3 + ["block1"] * 2 + ["fc6"] * 4
    kinds = {"conv1": "conv", "block1": "block", "fc6": "fc", "pool5": "pool"}
    D = xr.DataArray(
        rng.uniform(-1, 1, (5, 9)), dims=("class", "feature"), coords={"layer": ("feature", layers)}
    )
    D[0, 0], D[1, 0] = -1, 1
    table = kind_histograms(D, kinds, bins=bins)
    assert table["kind"].tolist() == ["convolutional"] * bins + ["fully connected"] * bins
    for kind, names in (("convolutional", {"conv1", "block1"}), ("fully connected", {"fc6"})):
        pairs = [float(d) for i in range(9) if layers[i] in names for d in D[:, i]]
        for row in table[table["kind"] == kind].itertuples():
            inside = [row.left <= d < row.right or d == row.right == 1 for d in pairs]
            assert row.share == pytest.approx(sum(inside) / len(pairs))


@pytest.mark.parametrize("kind", ["pool", None])
def test_layers_of_no_kind_are_named(kind):
    kinds = {"a": "conv"} | ({"b": kind} if kind else {})
    with pytest.raises(
        ValueError, match=rf"conv, block, fc, attention, tokens, got \{{'b': {kind!r}\}}"
    ):
        kind_histograms(distances(), kinds)
