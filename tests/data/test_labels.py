"""Labels: what is missing is found in every container, and kinds are never mixed."""

from __future__ import annotations

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from analysis.data import shuffle_labels, stratified_splits
from analysis.data.images import checked_labels

DAYS = [datetime.date(2020, 1, day) for day in (1, 2, 3)]
STRING = np.dtypes.StringDType(na_object=np.nan)

# The third of four labels is missing.
MISSING = (
    np.array([0, 1, np.nan, 1]),
    [0, 1, None, 1],
    ["a", "b", float("nan"), "a"],
    ("a", "b", pd.NA, "a"),
    np.array(["a", "b", None, "a"], object),
    np.array(["a", "b", np.nan, "a"], STRING),
    [Decimal(0), Decimal(1), Decimal("NaN"), Decimal(1)],
    np.array(["2020-01-01", "2020-01-02", "NaT", "2020-01-01"], "M8[D]"),
    [*DAYS[:2], None, DAYS[0]],
    pd.to_datetime(["2020-01-01", "2020-01-02", None, "2020-01-01"], utc=True),
    pd.PeriodIndex(["2020-01", "2020-02", None, "2020-01"], freq="M"),
    pd.Series([0, 1, None, 1], dtype="Int64"),
    pd.Series([True, False, None, True], dtype="boolean"),
    pd.Series(["a", "b", None, "a"], dtype="string"),
    pd.Categorical(["a", "b", None, "a"]),
    pd.CategoricalIndex([0, 1, None, 1]),
    np.ma.array([0, 1, 2, 1], mask=[0, 0, 1, 0]),
    np.ma.array(["a", "b", "c", "a"], mask=[0, 0, 1, 0]),
    ["a", "b", np.ma.masked, "a"],
    xr.DataArray([0, 1, np.nan, 1], dims="image"),
)


def test_a_missing_label_is_refused_with_its_position():
    for labels in MISSING:
        with pytest.raises(ValueError, match=r"got 1 NaN, None .* first at position 2: leave"):
            checked_labels(labels, 4)


@pytest.mark.parametrize(
    "labels",
    [
        [3, 1, 2],
        range(3),
        [True, False, True],
        ["nan", "None", ""],
        np.array([b"a", b"bc"]),
        np.array([1.5, np.inf]),
        np.ma.array([1, 2, 3]),
        pd.Series(["a", "b"], dtype="string"),
        pd.Series([1, 2], dtype="Int64"),
        pd.Categorical(["b", "a"]),
        xr.DataArray(["a", "b"], dims="image"),
        DAYS,
    ],
    ids=str,
)
def test_whole_labels_are_as_numpy_gives_them(labels):
    found = checked_labels(labels)
    assert found.dtype == np.asarray(labels).dtype
    np.testing.assert_array_equal(found, np.asarray(labels))
    np.testing.assert_array_equal(checked_labels(labels, like=found), found)


@pytest.mark.parametrize(
    "labels",
    [[1, "1"], ["a", 2.5], np.array(["a", True], object), pd.Series([1, "b"]), ["a", b"a"],
     [DAYS[0], "2020-01-01"]],
    ids=str,
)  # fmt: skip
def test_kinds_are_not_mixed(labels):
    with pytest.raises(ValueError, match=r"labels of one kind, got .* such as .* and .* such as"):
        checked_labels(labels)


@pytest.mark.parametrize(
    ("source", "target"),
    [([0, 1], ["0", "1"]), (["a", "b"], [True, False]), (np.array(DAYS, "M8[D]"), ["2020-01-01"]),
     (pd.Series(["0", "1"], dtype="string"), pd.Series([0, 1], dtype="Int64"))],
    ids=str,
)  # fmt: skip
def test_nor_between_two_sets_of_labels(source, target):
    for one, other in ((source, target), (target, source)):
        with pytest.raises(ValueError, match="labels of one kind"):
            checked_labels(one, like=checked_labels(other))


def test_numbers_of_any_type_are_one_kind():
    integers = checked_labels([0, 1])
    for others in ([0.0, 1.0], [False, True], np.array([1], np.uint8), np.array([1], object)):
        checked_labels(others, like=integers)


@pytest.mark.parametrize("labels", [[0, 1], [[0], [1], [2]], 7, None, pd.DataFrame({"y": [1, 2]})])
def test_another_shape_says_what_came(labels):
    shape = r"got labels of shape \(.*\)"
    with pytest.raises(ValueError, match=f"one label for each of 3 birds, {shape}"):
        checked_labels(labels, 3, "{} birds")
    with pytest.raises(ValueError, match="vector of labels, got labels of shape"):
        checked_labels([] if np.ndim(labels) == 1 else labels)


def test_splits_and_shuffles_refuse_them_too():
    for labels in (["a", "b", None] * 5, np.repeat([0.0, 1.0, np.nan], 5)):
        with pytest.raises(ValueError, match="position"):
            stratified_splits(labels, n_train=2, seed=0)
        with pytest.raises(ValueError, match="position"):
            shuffle_labels(labels, seed=0)
