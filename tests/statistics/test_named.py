"""Features by name: whatever two arrays meet, one takes the order of the other."""

from __future__ import annotations

import warnings

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from analysis.statistics import (
    ClassHistograms,
    FeatureRanges,
    FullNetworkEmbedding,
    change_by_layer,
    compare_with_discoveries,
    noise_thresholds,
    rank_features,
    relative_change,
    signed_ks,
    signed_ks_of_shards,
    summarise_binning,
)
from analysis.statistics.named import by_name, feature_names

N = 40
LABELS = np.arange(N) % 3
LAYERS = np.repeat(["conv1", "conv2", "fc"], [2, 4, 3])
UNITS = np.array([0, 1, 0, 1, 2, 3, 0, 1, 2])
ORDERS = {
    "layers": np.array([6, 7, 8, 0, 1, 2, 3, 4, 5]),
    "units": np.array([1, 0, 5, 4, 3, 2, 8, 6, 7]),
    "everything": np.array([4, 0, 8, 2, 6, 1, 7, 3, 5]),
}
each_order = pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)


def features(seed=0, lazy=False):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, 9)) + np.arange(9) * (1 + LABELS[:, None])
    coords = {"layer": ("feature", LAYERS), "unit": ("feature", UNITS)}
    data = dask.array.from_array(X, (16, (2, 4, 3))) if lazy else X
    return xr.DataArray(data, dims=("image", "feature"), coords=coords)


def frame(X):
    return pd.DataFrame(X.to_numpy(), columns=feature_names(X))


@each_order
@pytest.mark.parametrize("form", [lambda X: X, frame, lambda X: X.T, lambda X: X.chunk(feature=4)])
def test_one_array_takes_the_order_of_the_other(order, form):
    X = features()
    found = by_name(form(X[:, order]), feature_names(X))
    assert type(found) is type(form(X))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(form(X)))
    np.testing.assert_array_equal(feature_names(found), feature_names(X))


@each_order
def test_what_is_lazy_stays_lazy_and_as_finely_chunked(order):
    X = features(lazy=True)
    found = by_name(X[:, order], feature_names(X))
    assert found.chunks is not None
    assert found.chunks[0] == X.chunks[0]
    assert max(found.chunks[1]) <= max(X.chunks[1])


def test_other_features_are_refused():
    X = features()
    names = feature_names(X)
    twice = X[:, [0, 0, *range(2, 9)]]
    for other in (
        X.assign_coords(layer=("feature", np.where(LAYERS == "fc", "fc6", LAYERS))),
        X.assign_coords(unit=("feature", UNITS + 1)),
        X[:, :8],
        xr.concat([X, X[:, :1].assign_coords(unit=("feature", [99]))], "feature"),
        twice,
        frame(X).rename(columns={"fc_2": "fc_3"}),
    ):
        with pytest.raises(ValueError, match="samples with the same 9 features, in any order"):
            by_name(other, names, "samples")
    with pytest.raises(ValueError, match="in any order"):
        by_name(X, feature_names(twice))
    with pytest.raises(ValueError, match="in any order"):  # which of the two is meant?
        by_name(twice[:, ::-1], feature_names(twice))
    assert by_name(twice, feature_names(twice)) is twice


def test_without_names_position_counts_and_a_warning_says_so():
    X = features()
    plain = X.to_numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert by_name(plain, None) is plain
        without_units = X.drop_vars("unit")
        assert by_name(without_units, feature_names(without_units)) is without_units
        assert feature_names(pd.DataFrame(plain)) is None  # numbers are no names
        assert feature_names(X[:, 0]) is None
    with pytest.warns(UserWarning, match="do not have valid feature names"):
        assert by_name(plain, feature_names(X)) is plain
    with pytest.warns(UserWarning, match="have feature names"):
        assert by_name(X, None) is X


@each_order
def test_shards_take_the_order_of_the_first(order):
    X = features()
    expected = signed_ks(X, LABELS, bins=10)
    for first, second in ((X[:15], X[15:, order]), (X[:15].chunk(), X[15:, order].chunk())):
        xr.testing.assert_identical(signed_ks_of_shards([first, second], LABELS, bins=10), expected)


@each_order
def test_ranges_and_histograms_go_by_name(order):
    one, other = features()[:15], features()[15:]
    renamed = other.assign_coords(unit=("feature", UNITS + 1))
    moved = other[:, order]
    ranges = FeatureRanges.of(one).merged(FeatureRanges.of(moved))
    expected = FeatureRanges.of(one).merged(FeatureRanges.of(other))
    for name in ("low", "high", "nan", "names"):
        np.testing.assert_array_equal(getattr(ranges, name), getattr(expected, name))
    counts = ClassHistograms.of(one, LABELS[:15], ranges)
    total = ClassHistograms.empty(np.arange(3), 9, 100)
    total.add(counts)
    total.add(ClassHistograms.of(moved, LABELS[15:], ranges))
    np.testing.assert_array_equal(total.distances(), signed_ks(features(), LABELS, bins=100))
    with pytest.raises(ValueError, match="the other images with the same 9 features"):
        FeatureRanges.of(one).merged(FeatureRanges.of(renamed))


@each_order
def test_features_before_and_after_a_change_go_by_name(order):
    before, after = features(), features(1)
    moved, expected = after[:, order], relative_change(before, after)
    np.testing.assert_allclose(relative_change(before, moved), expected)
    np.testing.assert_allclose(relative_change(frame(before), frame(moved)), expected)
    pd.testing.assert_frame_equal(
        change_by_layer(before, {"noise": moved}), change_by_layer(before, {"noise": after})
    )


@each_order
def test_distances_go_by_name(order):
    X = features()
    exact, binned = signed_ks(X, LABELS), signed_ks(X, LABELS, bins=5)
    pd.testing.assert_frame_equal(
        summarise_binning(exact, binned[:, order]), summarise_binning(exact, binned)
    )
    thresholds = noise_thresholds(X, LABELS)
    expected = compare_with_discoveries(exact, thresholds, X, LABELS)
    for other in (X[:, order], rank_features(X[:, order])):
        pd.testing.assert_frame_equal(
            compare_with_discoveries(exact, thresholds, other, LABELS), expected
        )


@each_order
def test_an_embedding_takes_names_that_come_twice_for_no_names(order):
    X = features()
    fitted = FullNetworkEmbedding(layers=["conv2", "fc"]).fit(X)
    np.testing.assert_array_equal(fitted.transform(X[:, order]), fitted.transform(X))
    doubled = xr.concat([X[:, order], X[:, 3:4] + 1], "feature")
    with pytest.raises(ValueError, match="lacks 1 of the 7 features"):
        fitted.transform(doubled)
