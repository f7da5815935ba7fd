"""How far features move, against a loop over pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.statistics.invariance import relative_change


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


@given(st.floats(1e-3, 1e3))
def test_it_does_not_depend_on_the_scale_of_the_features(scale):
    before, after = np.random.default_rng(1).normal(size=(2, 5, 3))
    assert np.allclose(
        relative_change(scale * before, scale * after), relative_change(before, after)
    )


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
