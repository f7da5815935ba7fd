"""How far features move, against a loop over pairs."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.statistics.neighbours import change_by_layer, relative_change


def naive(before, after):
    n = len(before)
    pairs = [np.sqrt(((before[i] - before[j]) ** 2).sum()) for i in range(n) for j in range(i)]
    return [
        np.sqrt(((a - b) ** 2).sum()) / np.mean(pairs) for a, b in zip(before, after, strict=True)
    ]


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_it_is_the_loop_over_pairs(n, f, seed):
    rng = np.random.default_rng(seed)
    before, after = rng.normal(size=(2, n, f))
    assert np.allclose(relative_change(before, after), naive(before, after))


def test_nothing_moved_is_zero_and_a_swap_of_two_images_is_one():
    before = np.array([[0.0, 1.0], [3.0, 5.0]])
    assert np.array_equal(relative_change(before, before), [0, 0])
    assert np.allclose(relative_change(before, before[::-1]), [1, 1])


def test_layers_keep_their_order_and_are_measured_one_by_one():
    rng = np.random.default_rng(2)
    layers = np.array(["conv2", "conv2", "conv1", "conv1", "conv1"])
    before, dark, turned = (
        xr.DataArray(
            rng.normal(size=(6, 5)),
            dims=("image", "feature"),
            coords={"layer": ("feature", layers)},
        )
        for _ in range(3)
    )
    table = change_by_layer(before, {"dark": dark, "turned": turned})
    assert table["layer"].tolist() == ["conv2", "conv1"] * 2
    assert table["change"].tolist() == ["dark"] * 2 + ["turned"] * 2
    moved = relative_change(before.values[:, 2:], turned.values[:, 2:])
    assert np.isclose(table["median"].iloc[3], np.median(moved))
    assert (table["lower"] <= table["median"]).all()
    assert (table["median"] <= table["upper"]).all()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (np.zeros((3, 2)), np.zeros((3, 4)), "one shape"),
        (np.zeros(3), np.zeros(3), "one shape"),
        (np.ones((1, 2)), np.ones((1, 2)), "at least two"),
        (np.ones((3, 2)), np.zeros((3, 2)), "same features"),
    ],
)
def test_errors_say_what_was_expected(before, after, message):
    with pytest.raises(ValueError, match=message):
        relative_change(before, after)
