"""Noise thresholds and what they keep, against loops that follow the definition word by word."""

from __future__ import annotations

from dataclasses import replace

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.data import shuffle_labels
from analysis.statistics import (
    beyond_by_class,
    compare_with_discoveries,
    false_discovery,
    fit_threshold_to_size,
    fits_by_network,
    kept,
    kept_by_part,
    ks_p_values,
    noise_thresholds,
    rank_features,
    shuffled_distances,
    signed_ks,
    stand_out,
    subsample_classes,
    summarise_thresholds,
    thresholds_between,
    thresholds_by_size,
)

RNG = np.random.default_rng(0)
LABELS = np.repeat(np.arange(5), 30)
X = np.maximum(RNG.normal(size=(150, 60)) + (RNG.random((5, 60)) < 0.3)[LABELS], 0)


def naive_d_avg(D, shuffled, x, sign):
    """Count features class by class, without sorting anything."""
    real = np.mean([(sign * row > x).sum() for row in D])
    noise = np.mean([(sign * row > x).sum() for part in shuffled for row in part])
    return real - noise


def naive_threshold(D, shuffled, sign):
    """The least of all distances, or 0, at which the difference is largest."""
    sizes = sign * np.concatenate([D.ravel(), np.ravel(shuffled)])
    best, most = 0.0, naive_d_avg(D, shuffled, 0.0, sign)
    for x in np.unique(sizes[sizes > 0]):
        if (gain := naive_d_avg(D, shuffled, x, sign)) > most + 1e-9:
            best, most = x, gain
    return sign * best


lattice = st.integers(-20, 20).map(lambda k: k / 20)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float64, (4, 3, 6), elements=lattice))
def test_thresholds_are_where_d_avg_is_largest(distances):
    D, *shuffled = distances
    found = thresholds_between(D, shuffled)
    assert found.t_plus == naive_threshold(D, shuffled, 1)
    assert found.t_minus == naive_threshold(D, shuffled, -1)
    assert not np.signbit(found.t_plus)
    assert found.t_minus <= 0
    for k, part in enumerate(shuffled):
        singles = [naive_threshold(D, [part], sign) for sign in (1, -1)]
        assert found.single[k].tolist() == singles


def test_curves_are_the_definition_and_have_their_maxima_at_the_thresholds():
    found = noise_thresholds(X, LABELS, n_shuffles=3, seed=4)
    D, shuffled = signed_ks(X, LABELS), shuffled_distances(X, LABELS, 3, 4)
    for sign, curve in ((1, found.d_avg_plus), (-1, found.d_avg_minus)):
        naive = [naive_d_avg(D, shuffled, x, sign) for x in found.x]
        np.testing.assert_allclose(curve, naive, atol=1e-12)
    assert found.x[found.d_avg_plus.argmax()] == found.t_plus
    assert -found.x[found.d_avg_minus.argmax()] == found.t_minus
    assert (found.x[0], found.x[-1]) == (0, 1)
    assert (np.diff(found.x) > 0).all()
    np.testing.assert_array_equal(found.spread, found.single.std(axis=0, ddof=1))


def test_the_first_shuffle_is_that_of_a_study_and_the_others_are_others():
    shuffled = shuffled_distances(X, LABELS, 3, seed=7)
    np.testing.assert_array_equal(shuffled[0], signed_ks(X, shuffle_labels(LABELS, seed=7)))
    assert not (shuffled[0] == shuffled[1]).all()
    np.testing.assert_array_equal(shuffled_distances(X, LABELS, 2, seed=7), shuffled[:2])
    again, other = (noise_thresholds(X, LABELS, seed=seed) for seed in (0, 1))
    assert again.single.tolist() == noise_thresholds(X, LABELS, seed=0).single.tolist()
    assert again.single.tolist() != other.single.tolist()


def test_all_kinds_of_arrays_give_the_same():
    labelled = xr.DataArray(X, dims=("image", "feature"))
    lazy = labelled.copy(data=dask.array.from_array(X, chunks=(50, 25)))
    wanted = noise_thresholds(X, LABELS)
    for given_as in (labelled, lazy, lazy.T, rank_features(X), rank_features(lazy)):
        found = noise_thresholds(given_as, LABELS)
        assert (found.t_plus, found.t_minus) == (wanted.t_plus, wanted.t_minus)
        np.testing.assert_array_equal(found.d_avg_plus, wanted.d_avg_plus)


def test_one_shuffle_has_no_spread():
    found = noise_thresholds(X, LABELS, n_shuffles=1)
    assert np.isnan(found.spread).all()
    assert found.single.tolist() == [[found.t_plus, found.t_minus]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: noise_thresholds(X, LABELS, n_shuffles=0), "at least one shuffle, got n_shuff"),
        (lambda: noise_thresholds(X, LABELS[:-1]), "one label for each of the 150 images"),
        (lambda: thresholds_between(np.zeros((2, 3)), []), "got none"),
        (lambda: thresholds_between(np.zeros((2, 3)), [np.zeros((3, 2))]), r"\(2, 3\).*\(3, 2\)"),
        (lambda: thresholds_between(np.zeros(3), [np.zeros(3)]), r"\(classes, features\)"),
        (lambda: thresholds_between([[2.0]], [[0.0]]), "1 others such as 2.0"),
        (lambda: thresholds_between([[np.nan]], [[0.0]]), "such as nan"),
        (lambda: fit_threshold_to_size([1, 2], [1]), "one threshold for each size"),
        (lambda: fit_threshold_to_size([0, 2], [1, 2]), "sizes above 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()


DISTANCES = xr.DataArray(
    [[0.5, 0.2, -0.2, 0.0], [0.3, -0.3, -0.25, 1.0]],
    dims=("class", "feature"),
    coords={"layer": ("feature", ["a", "a", "b", "c"])},
    name="signed_ks",
)
SHUFFLED = np.array([[[0.1, 0.3, -0.3, 0.0], [0.0, 0.0, 0.0, 0.0]]])


@pytest.fixture
def thresholds():
    return replace(thresholds_between(DISTANCES, SHUFFLED), t_plus=0.2, t_minus=-0.2)


def test_pairs_on_a_threshold_are_not_kept(thresholds):
    found = kept(DISTANCES, thresholds)
    assert found.to_numpy().tolist() == [[True, False, False, False], [True, True, True, True]]
    assert found["layer"].to_numpy().tolist() == ["a", "a", "b", "c"]
    np.testing.assert_array_equal(kept(DISTANCES.to_numpy(), thresholds), found)


def test_as_many_are_kept_as_d_avg_counts():
    D, shuffled = signed_ks(X, LABELS), shuffled_distances(X, LABELS, 5, 0)
    t = thresholds_between(D, shuffled)
    gain = kept(D, t).sum(axis=1).mean() - kept(shuffled, t).sum(axis=2).mean()
    assert gain == pytest.approx(t.d_avg_plus.max() + t.d_avg_minus.max())


def test_the_summary_counts_by_class(thresholds):
    (row,) = summarise_thresholds(DISTANCES, SHUFFLED, thresholds, [0, 0, 0, 1]).to_dict("records")
    assert (row["classes"], row["features"], row["images_per_class"]) == (2, 4, 2.0)
    assert (row["kept_plus"], row["kept_minus"], row["kept"]) == (1.5, 1.0, 2.5)
    assert (row["least_plus"], row["least_minus"], row["least"]) == (1, 0, 1)
    assert row["kept_shuffled"] == 1.0


def test_classes_stand_out_where_each_has_more_than_its_shuffled_version():
    (row,) = stand_out(DISTANCES, SHUFFLED[0], step=0.1).to_dict("records")
    reach = [row[f"reach_{end}_{side}"] for side in ("plus", "minus") for end in ("low", "high")]
    np.testing.assert_allclose(reach, [0.075, 0.225, 0.075, 0.225])
    assert (row["lead_plus"], row["lead_minus"]) == (1, 0)
    D, noise = signed_ks(X, LABELS), shuffled_distances(X, LABELS, 1)[0]
    (row,) = stand_out(D, noise, step=0.05).to_dict("records")
    for side, sign in (("plus", 1), ("minus", -1)):
        naive = [
            min(
                (sign * real > x).sum() - (sign * other > x).sum()
                for real, other in zip(D, noise, strict=True)
            )
            for x in np.linspace(0, 1, 21)
        ]
        assert row[f"lead_{side}"] == max(naive)


def test_shares_by_layer_and_by_kind(thresholds):
    by_layer = kept_by_part(DISTANCES, SHUFFLED, thresholds)
    assert by_layer["part"].tolist() == ["a", "b", "c"]
    assert by_layer["units"].tolist() == [2, 1, 1]
    assert by_layer["kept"].tolist() == [0.75, 0.5, 0.5]
    assert by_layer["kept_plus"].tolist() == [0.5, 0.0, 0.5]
    assert by_layer["kept_minus"].tolist() == [0.25, 0.5, 0.0]
    assert by_layer["kept_shuffled"].tolist() == [0.25, 0.5, 0.0]
    kinds = kept_by_part(DISTANCES, SHUFFLED, thresholds, {"a": "x", "b": "y", "c": "x"})
    assert kinds["part"].tolist() == ["x", "y"]
    assert kinds["kept"].tolist() == [pytest.approx(4 / 6), 0.5]


def test_thresholds_beside_discoveries():
    D, t = signed_ks(X, LABELS), noise_thresholds(X, LABELS)
    (row,) = compare_with_discoveries(D, t, X, LABELS, q=0.2).to_dict("records")
    found = false_discovery(ks_p_values(X, LABELS)) <= 0.2
    beyond = kept(D, t)
    assert row["discoveries"] == found.sum(axis=1).mean()
    assert row["thresholds"] == beyond.sum(axis=1).mean()
    assert 0 < row["both"] == (found & beyond).sum(axis=1).mean() <= row["discoveries"]


def test_features_beyond_each_distance():
    D, noise = signed_ks(X, LABELS), shuffled_distances(X, LABELS, 1)[0]
    table = beyond_by_class(D, noise, step=0.1)
    assert len(table) == 2 * 5 * 22
    for (labels, name), part in table.groupby(["labels", "class"]):
        row = (D if labels == "real" else noise)[name]
        low, high = part.iloc[:11], part.iloc[11:]
        assert high["features"].tolist() == [int((row > x).sum()) for x in high["x"]]
        assert low["features"].tolist() == [int((row < x).sum()) for x in low["x"]]
        np.testing.assert_allclose(part["x"], [*np.linspace(-1, 0, 11), *np.linspace(0, 1, 11)])


def test_the_logarithmic_fit_is_least_squares():
    sizes = np.array([10, 20, 40, 300.0])
    exact = fit_threshold_to_size(sizes, 0.5 - 0.07 * np.log(sizes))
    np.testing.assert_allclose(exact[:3], [0.5, -0.07, 1.0])
    assert exact.r_squared_root < 1
    assert fit_threshold_to_size(sizes, 3 / np.sqrt(sizes) - 1).r_squared_root == pytest.approx(1)
    t = np.array([0.3, 0.35, 0.2, 0.1])
    found = fit_threshold_to_size(sizes, t)
    design = np.column_stack([np.ones(4), np.log(sizes)])
    best, residual = np.linalg.lstsq(design, t, rcond=None)[:2]
    np.testing.assert_allclose(found[:2], best)
    assert found.r_squared == pytest.approx(1 - residual[0] / ((t - t.mean()) ** 2).sum())
    assert found.r_squared == pytest.approx(np.corrcoef(np.log(sizes), t)[0, 1] ** 2)


def test_two_sizes_or_equal_thresholds_have_no_r_squared():
    assert np.isnan(fit_threshold_to_size([10, 20, 20], [0.1, 0.2, 0.3])).all()
    flat = fit_threshold_to_size([10, 20, 30], [0.1, 0.1, 0.1])
    assert flat.slope == pytest.approx(0)
    assert np.isnan(flat.r_squared)


def test_classes_are_cut_to_one_size():
    labels = np.repeat([3, 1, 2], [12, 30, 50])
    chosen = subsample_classes(labels, 11, seed=0)
    assert (np.diff(chosen) > 0).all()
    assert np.unique(labels[chosen], return_counts=True)[1].tolist() == [11, 11, 11]
    assert subsample_classes(labels, 11, seed=0).tolist() == chosen.tolist()
    assert subsample_classes(labels, 11, seed=1).tolist() != chosen.tolist()


def test_thresholds_by_size_shrink_and_pass_over_what_is_too_large():
    rng = np.random.default_rng(5)
    labels = np.repeat(np.arange(4), [90, 85, 100, 160])
    features = rng.normal(size=(435, 80)) + (rng.random((4, 80)) < 0.5)[labels]
    table = thresholds_by_size(features, labels, (10, 20, 40, 80, 160), n_shuffles=2)
    assert table["images_per_class"].tolist() == [10, 20, 40, 80, 435 / 4]
    assert table["cut"].tolist() == [True] * 4 + [False]
    cut = table[table["cut"]]
    assert cut["t_plus"].is_monotonic_decreasing
    assert cut["t_minus"].is_monotonic_increasing
    chosen = subsample_classes(labels, 40, seed=0)
    for row, part in ((2, chosen), (4, slice(None))):
        t = noise_thresholds(features[part], labels[part], 2, 0)
        assert table.loc[row, ["t_plus", "t_minus"]].tolist() == [t.t_plus, t.t_minus]
        assert table.loc[row, ["spread_plus", "spread_minus"]].tolist() == list(t.spread)


def test_thresholds_of_all_images_need_not_be_found_again():
    known = noise_thresholds(X, LABELS, 2, 3)
    found = thresholds_by_size(X, LABELS, (10,), n_shuffles=2, seed=3, whole=known)
    pd.testing.assert_frame_equal(found, thresholds_by_size(X, LABELS, (10,), n_shuffles=2, seed=3))
    other = replace(known, t_plus=0.5)
    changed = thresholds_by_size(X, LABELS, (10,), n_shuffles=2, seed=3, whole=other)
    assert changed["t_plus"].tolist() == [found["t_plus"][0], 0.5]


def test_fits_are_of_the_datasets_alone_and_with_cut_classes():
    table = pd.DataFrame(
        {
            "network": ["a"] * 4 + ["b"],
            "cut": [False, False, False, True, False],
            "images_per_class": [10, 20, 40, 160, 10],
            "t_plus": [0.4, 0.3, 0.2, 0.4, 0.1],
            "t_minus": [-0.4, -0.3, -0.2, -0.1, -0.1],
        }
    )
    fits = fits_by_network(table).set_index(["network", "side", "points"])
    assert fits.loc[("a", "t+", "datasets"), "number"] == 3
    assert fits.loc[("a", "t+", "datasets"), "r_squared"] == pytest.approx(1)
    assert fits.loc[("a", "t-", "datasets"), "slope"] == pytest.approx(0.1 / np.log(2))
    both = fits.loc[("a", "t+", "with cut classes")]
    assert both["number"] == 4
    assert both["r_squared"] == pytest.approx(
        fit_threshold_to_size(table["images_per_class"][:4], table["t_plus"][:4]).r_squared
    )
    assert fits.loc["b"][["intercept", "slope", "r_squared"]].isna().all(axis=None)
