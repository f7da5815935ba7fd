"""How well classes are described, against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from analysis.statistics import thresholds_between
from analysis.statistics.noise import describe_classes, first_and_last


def test_counts_and_ends_are_those_of_every_pair() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([2, 5, 9], [10, 20, 30])
    values = rng.uniform(-1, 1, (3, 40))
    values[1] = rng.uniform(-0.05, 0.05, 40)  # a class that nothing describes
    shuffled = rng.uniform(-0.3, 0.3, (4, 3, 40))
    D = xr.DataArray(
        values,
        dims=("class", "feature"),
        coords={
            "class": [2, 5, 9],
            "layer": ("feature", np.repeat(["conv1", "fc6"], 20)),
            "unit": ("feature", np.tile(np.arange(20), 2)),
        },
    )
    T = thresholds_between(D, shuffled)
    table = describe_classes(D, shuffled, T, labels).set_index("class")
    for row, (label, size) in enumerate(((2, 10), (5, 20), (9, 30))):
        presence = sum(value > T.t_plus for value in values[row])
        absence = sum(value < T.t_minus for value in values[row])
        by_chance = [
            sum(value > T.t_plus or value < T.t_minus for value in part[row]) for part in shuffled
        ]
        told = table.loc[label]
        assert (told["images"], told["presence"], told["absence"]) == (size, presence, absence)
        assert told["kept"] == presence + absence
        assert told["by_chance"] == pytest.approx(np.mean(by_chance))
        assert told["under_described"] == (presence + absence <= max(by_chance))
        assert told["presence_distance"] == values[row].max()
        assert told["absence_distance"] == values[row].min()
        lowest = values[row].argmin()
        assert (told["absence_layer"], told["absence_unit"]) == (
            "conv1" if lowest < 20 else "fc6",
            lowest % 20,
        )
    assert table["under_described"].tolist() == [False, False, True]
    assert table["beyond_chance"].is_monotonic_decreasing


def test_the_first_and_the_last_rows() -> None:
    found = [first_and_last(*given).tolist() for given in ((3, 5), (5, 5), (10, 4), (10, 3))]
    assert found == [[0, 1, 2], [0, 1, 2, 3, 4], [0, 1, 8, 9], [0, 1, 9]]
