"""Advice of the report: which images it looks at, and when it says that it did badly."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.book.report import _doubt, _worth_testing


@pytest.mark.parametrize("most", [1_000, 130, 60])
def test_of_many_images_small_classes_are_taken_whole(most: int) -> None:
    sizes = np.array([5, 200, 40, 3])
    labels = np.random.default_rng(0).permutation(np.repeat([7, 1, 4, 9], sizes))
    at = _worth_testing(labels, most, seed=0)
    assert (np.diff(at) > 0).all()
    taken = dict(zip(*np.unique(labels[at], return_counts=True), strict=True))
    expected = {
        1_000: {7: 5, 1: 200, 4: 40, 9: 3},
        130: {7: 5, 1: 82, 4: 40, 9: 3},
        60: {7: 5, 1: 26, 4: 26, 9: 3},
    }
    assert taken == expected[most]
    assert (_worth_testing(labels, most, seed=0) == at).all()


def test_no_class_is_left_with_fewer_than_a_recommendation_needs() -> None:
    labels = np.repeat(np.arange(50), 8)
    assert (np.bincount(labels[_worth_testing(labels, 10, seed=0)]) == 3).all()


@pytest.mark.parametrize(
    ("difference", "error", "said"),
    [(-0.3, 0.004, True), (-0.05, 0.03, False), (-0.015, 0.001, False), (0.2, 0.01, False)],
)
def test_a_clearly_worse_recommendation_is_said_to_be(
    difference: float, error: float, said: bool
) -> None:
    table = pd.DataFrame(
        {
            "over": ["fc6", "fc7", "best candidate"],
            "difference": [0.01, difference, -0.9],
            "standard_error": [0.01, error, 0.001],
        }
    )
    told = _doubt(table)
    assert bool(told) is said
    assert ("fc7 was more accurate by 30.0% ± 0.4%" in told) is said
