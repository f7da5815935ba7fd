"""The strongest pairs of each layer, against a search by hand."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from analysis.statistics import strongest_pairs


def distances(values: np.ndarray, layers: list[str], units: list[int]) -> xr.DataArray:
    return xr.DataArray(
        values,
        dims=("class", "feature"),
        coords={
            "class": np.arange(len(values)) + 5,
            "layer": ("feature", layers),
            "unit": ("feature", units),
        },
    )


def test_names_layer_unit_and_class_of_both_extremes() -> None:
    D = distances(
        np.array([[0.1, -0.3, 0.2, 0.9], [0.4, -0.1, -0.7, 0.0]]),
        ["conv1", "conv1", "fc6", "fc6"],
        [0, 1, 0, 1],
    )
    rows = strongest_pairs(D).set_index(["layer", "sign"])
    assert rows.loc[("conv1", "presence")].tolist() == [0, 6, 0.4]
    assert rows.loc[("conv1", "absence")].tolist() == [1, 5, -0.3]
    assert rows.loc[("fc6", "presence")].tolist() == [1, 5, 0.9]
    assert rows.loc[("fc6", "absence")].tolist() == [0, 6, -0.7]


def test_equals_a_search_over_all_pairs() -> None:
    rng = np.random.default_rng(0)
    layers = np.repeat(["a", "b", "c"], [4, 1, 7])
    D = distances(rng.uniform(-1, 1, (5, 12)), layers.tolist(), [*range(4), 0, *range(7)])
    for row in strongest_pairs(D).itertuples():
        everything = D.to_numpy()[:, layers == row.layer]
        wanted = everything.max() if row.sign == "presence" else everything.min()
        assert row.distance == pytest.approx(wanted, abs=0)


def test_a_side_without_any_distance_has_no_row() -> None:
    D = distances(np.array([[0.1, 0.0], [0.2, 0.0]]), ["a", "b"], [0, 0])
    assert strongest_pairs(D)[["layer", "sign"]].to_numpy().tolist() == [["a", "presence"]]
