"""Expected thresholds and the law behind them, against enumeration, single pairs and shuffles."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import ks_2samp

from analysis import extract, load_backbone, load_dataset
from analysis.statistics import (
    compare_thresholds,
    costs_by_law,
    expected_threshold,
    measure_noise,
    noise_facts,
    noise_thresholds,
    rank_features,
    shuffled_distances,
    signed_ks,
    thresholds_between,
    tie_counts,
)
from analysis.statistics import significance as law
from analysis.statistics.noise import EXPECTED_AT, STEP
from analysis.statistics.significance import exact_tail


def with_ties(n, hidden, at_top):
    """Groups of equal values, from the lowest."""
    if hidden < 2:
        return [1] * n
    free = [1] * (n - hidden)
    return [*free, hidden] if at_top else [hidden, *free]


def enumerated(n_inner, n_images, hidden, at_top):
    """Scaled signed distances of all labellings."""
    x = np.repeat(*(lambda g: (np.arange(len(g)), g))(with_ties(n_images, hidden, at_top)))
    found = []
    for inner in combinations(range(n_images), n_inner):
        labels = np.isin(np.arange(n_images), inner).astype(int)
        found.append(signed_ks(x[:, None], labels)[1, 0] * n_inner * (n_images - n_inner))
    return np.array(found)


@pytest.mark.parametrize("at_top", [False, True])
@pytest.mark.parametrize(
    ("n_inner", "n_images", "hidden"), [(3, 9, 0), (3, 9, 5), (6, 9, 4), (4, 8, 3), (5, 7, 6)]
)
def test_the_signed_law_counts_every_labelling(n_inner, n_images, hidden, at_top):
    gaps, found = law.gaps_of(n_inner, n_images), enumerated(n_inner, n_images, hidden, at_top)
    plus, minus = law.signed_tails(n_inner, n_images, hidden, at_top)
    np.testing.assert_allclose(plus, [(found >= g - 0.5).mean() for g in gaps], atol=1e-12)
    np.testing.assert_allclose(minus, [(-found >= g - 0.5).mean() for g in gaps], atol=1e-12)


@pytest.mark.parametrize(("n_inner", "n_images", "hidden"), [(40, 900, 0), (7, 500, 450)])
def test_both_sides_together_are_the_two_sided_law(n_inner, n_images, hidden):
    plus, minus = law.signed_tails(n_inner, n_images, hidden)
    gaps, half = law.gaps_of(n_inner, n_images), min(n_inner, n_images - n_inner)
    both = exact_tail(np.full(gaps.shape, half), gaps, n_images, law.end_ties(n_images, hidden))
    np.testing.assert_allclose(plus + minus, both, atol=1e-12)


def test_large_classes_go_over_to_the_bridge_without_a_jump(monkeypatch):
    sizes, near = (600, 4000, 2400), {}
    for limit in (0, 10**6):
        monkeypatch.setattr(law, "SIGNED_EXACT_UP_TO", limit)
        law.signed_tails.cache_clear()
        near[limit] = np.array(law.signed_tails(*sizes))
    law.signed_tails.cache_clear()
    np.testing.assert_allclose(near[0], near[10**6], atol=0.004)


def rectified(zeros, seed, *, classes=6, per_class=50, features=300, signal=0.8):
    """Features of which so many values are zero, some higher or lower in some classes."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    shift = signal * rng.choice([-1, 0, 0, 1], (classes, features))
    X = rng.normal(size=(labels.size, features)) + shift[labels]
    return (np.maximum(X - np.quantile(X, zeros, axis=0), 0) if zeros else X), labels


@pytest.mark.parametrize("zeros", [0, 0.7, 0.95])
@pytest.mark.parametrize("per_class", [12, 50])
def test_expected_thresholds_agree_with_shuffles_where_the_classical_law_does_not(zeros, per_class):
    X, labels = rectified(zeros, seed=1, per_class=per_class)
    ranked, D = rank_features(X), signed_ks(X, labels)
    measured = noise_thresholds(ranked, labels, n_shuffles=20)
    found, classical = (
        expected_threshold(D, np.bincount(labels), tie_counts(ranked), law=law)
        for law in ("conditional", "classical")
    )
    for side in ("plus", "minus"):
        t, wanted, wrong = (getattr(T, f"t_{side}") for T in (found, measured, classical))
        near = max(2 * getattr(measured.spread, f"t_{side}"), STEP)
        assert near < abs(wanted) / 2, "the bar would let anything pass"
        assert getattr(measured, f"d_avg_{side}").max() > 0.04 * X.shape[1], "no signal"
        assert abs(t - wanted) <= near
        if zeros:
            assert abs(wrong - wanted) > near
        curve, there = getattr(found, f"d_avg_{side}")[::10], np.isin(measured.x, found.x[::10])
        assert there.sum() == 101
        np.testing.assert_allclose(curve, getattr(measured, f"d_avg_{side}")[there], atol=3)


def of_network(name, n_images=400):
    """Noise of a dataset as the bundled network sees it, with 20 shuffles."""
    data = load_dataset(name)
    some = np.unique(np.linspace(0, len(data) - 1, n_images).astype(int))
    data = data.subset(some)
    X = extract(data, load_backbone("minivgg16", weights="bundled"), crops="center", progress=False)
    return measure_noise(X, data.labels, n_shuffles=20)


def near_measured(noise, law):
    """Whether each side's expected threshold is within two spreads of the measured one."""
    found = expected_threshold(noise.D, noise.class_sizes, noise.ties, law=law)
    T = noise.thresholds
    bars = [2 * spread for spread in T.spread]
    assert max(bars) < 0.1 * min(T.t_plus, -T.t_minus), "the bars would let anything pass"
    return [
        abs(t - wanted) <= bar
        for t, wanted, bar in zip(
            (found.t_plus, found.t_minus), (T.t_plus, T.t_minus), bars, strict=True
        )
    ]


def test_expected_thresholds_agree_with_shuffles_for_features_of_a_network():
    assert near_measured(of_network("digits"), "conditional") == [True, True]


def test_expected_thresholds_agree_with_shuffles_for_real_photographs(lent_data):
    if not (lent_data / "office_caltech10").is_dir():
        pytest.skip("LAYERBOOK_DATA has no office_caltech10")
    noise = of_network("office_caltech10/webcam", 300)
    assert near_measured(noise, "conditional") == [True, True]
    assert near_measured(noise, "classical") == [False, False]


def test_measured_noise_is_what_its_parts_are():
    X, labels = rectified(0.7, seed=5, features=30)
    X = xr.DataArray(X, dims=("image", "feature"), coords={"layer": ("feature", ["a"] * 30)})
    found = measure_noise(X, labels, 3, 1)
    xr.testing.assert_identical(found.D, signed_ks(X, labels))
    np.testing.assert_array_equal(found.shuffled, shuffled_distances(X, labels, 3, 1))
    wanted = noise_thresholds(X, labels, 3, 1)
    assert (found.thresholds.t_plus, found.thresholds.t_minus) == (wanted.t_plus, wanted.t_minus)
    assert found.class_sizes.tolist() == [50] * 6
    np.testing.assert_array_equal(found.ties, tie_counts(X))


def test_expected_counts_are_sums_over_every_class_and_feature():
    sizes = np.array([5, 11, 23, 30, 31, 40, 47, 60, 80, 120])
    n_images, rng = int(sizes.sum()), np.random.default_rng(3)
    zeros = np.append(rng.integers(2, n_images, 10), [1, n_images])
    ties = np.column_stack([zeros, np.where(zeros == n_images, n_images, 1)])
    ties[:4] = ties[:4, ::-1]
    found = expected_threshold(np.zeros((10, 12)), sizes, ties)
    for place in (20, 60, 100, 200, 350):
        naive = np.zeros(2)
        for n_inner in sizes.tolist():
            for low, high in ties.tolist():
                if max(low, high) < n_images:
                    naive += exceeding(
                        EXPECTED_AT[place], n_inner, n_images, max(low, high), high > low
                    )
        wanted = naive / len(sizes)
        chance = np.array([found.chance_plus[place], found.chance_minus[place]])
        np.testing.assert_allclose(chance, wanted, rtol=0.03, atol=0.02)


def exceeding(x, n_inner, n_images, hidden, at_top):
    """P(D > x) and P(D < -x) of one class and feature, from the law at the gaps around."""
    gaps = law.gaps_of(n_inner, n_images) / (n_inner * (n_images - n_inner))
    hidden = hidden if hidden > 1 else 0
    return np.array(
        [np.interp(x, gaps, tail) for tail in law.signed_tails(n_inner, n_images, hidden, at_top)]
    )


def test_tie_counts_are_of_the_lowest_and_the_highest_value():
    X = np.array([[0, 1, 5, -1], [0, 2, 5, 0], [1, 3, 5, 0], [2, 3, 5, 0]], dtype=np.float32)
    assert tie_counts(X).tolist() == [[2, 1], [1, 2], [4, 4], [1, 3]]
    assert tie_counts(rank_features(X)).tolist() == tie_counts(X).tolist()


def test_constant_features_are_never_expected_beyond():
    found = expected_threshold(np.zeros((2, 3)), [4, 6], np.full((3, 2), 10))
    assert (found.chance_plus == 0).all()
    assert (found.t_plus, found.t_minus) == (0, 0)


def test_the_laws_are_one_without_ties_and_that_of_scipy_in_the_tail():
    found = expected_threshold(np.zeros((2, 1)), [30, 70], [[1, 1]])
    rng = np.random.default_rng(0)
    p = ks_2samp(rng.random(30), rng.random(70) + 0.25)
    place = int(np.ceil(p.statistic * 1000)) - 1  # the last x below the distance
    assert found.chance_plus[place] == pytest.approx(p.pvalue / 2, rel=0.05)


def test_the_comparison_covers_all_layers_and_both_sides():
    X, labels = rectified(0.7, seed=4, features=40)
    D = signed_ks(
        xr.DataArray(X, dims=("image", "feature"), coords={"layer": ("feature", ["a", "b"] * 20)}),
        labels,
    )
    shuffled, sizes = shuffled_distances(X, labels), np.bincount(labels)
    table = compare_thresholds(D, shuffled, sizes, tie_counts(X))
    assert table["part"].tolist() == ["all", "all", "a", "a", "b", "b"]
    assert table["units"].tolist() == [40, 40, 20, 20, 20, 20]
    odd = np.arange(40) % 2 == 1
    t = thresholds_between(D[:, odd], shuffled[..., odd])
    e = expected_threshold(D[:, odd], sizes, tie_counts(X)[odd], law="classical")
    last = table.iloc[-1]
    assert (last["side"], last["measured"], last["spread"]) == ("t-", t.t_minus, t.spread.t_minus)
    assert last["classical"] == e.t_minus
    assert last["d_avg"] == pytest.approx(t.d_avg_minus.max())
    assert last["classical_d_avg"] <= last["d_avg"]
    assert table["weak"].tolist() == (table["d_avg"] < 0.02 * table["units"]).tolist()
    assert last["classical_within"] == (abs(e.t_minus - t.t_minus) <= 2 * t.spread.t_minus)


def test_costs_are_means_over_parts_with_and_without_signal():
    table = pd.DataFrame(
        {
            "part": ["all", "conv1", "conv2", "fc"],
            "weak": [False, False, False, True],
            "units": [100, 10, 10, 10],
            "measured": [0.2, -0.2, 0.3, 0.1],
            "d_avg": [50.0, 5.0, 4.0, 0.1],
            "conditional": [0.2, -0.3, 0.3, 0.9],
            "conditional_d_avg": [50.0, 4.0, 4.0, 0.0],
            "conditional_within": [True, False, True, False],
            "classical": [0.1, -0.2, 0.3, 0.1],
            "classical_d_avg": [40.0, 5.0, 4.0, 0.1],
            "classical_within": [False, True, True, True],
        }
    )
    costs = costs_by_law(table).set_index(["whole", "weak", "law"])
    assert len(costs) == 6
    assert costs["number"].sum() == 8
    layers = costs.loc[(False, False, "conditional")]
    assert layers.tolist() == [2, pytest.approx(0.05), pytest.approx(0.05), 0.5]
    assert costs.loc[(True, False, "classical")].tolist() == [1, pytest.approx(0.1), 0.1, 0]


def test_facts_name_what_lacks_a_signal_and_what_is_beyond():
    expected = pd.DataFrame(
        {
            "network": ["n", "n", "n", "other"],
            "dataset": ["x", "x", "y", "x"],
            "part": ["all", "all", "all", "all"],
            "side": ["t+", "t-", "t+", "t-"],
            "weak": [False, False, True, False],
            "units": 100,
            "measured": [0.2, -0.2, 0.3, -0.4],
            "spread": [0.01, 0.03, 0.1, 0.06],
            "d_avg": [50.0, 5.0, 0.0, 5.0],
            "conditional": [0.2, -0.3, 0.9, -0.4],
            "conditional_d_avg": [50.0, 4.0, 0.0, 5.0],
            "conditional_within": [True, False, False, True],
            "classical": [0.2, -0.2, 0.9, -0.4],
            "classical_d_avg": [50.0, 5.0, 0.0, 5.0],
            "classical_within": [True, True, False, True],
        }
    )
    summary = pd.DataFrame({"network": ["n", "n", "other"], "features": 100})
    summary = summary.assign(t_plus=0.2, t_minus=-0.2, kept_plus=30.0, kept_minus=20.0)
    summary = summary.assign(kept=[40.0, 60.0, 1.0], least=[5, 3, 0], kept_shuffled=[1.0, 4.0, 1.0])
    fits = pd.DataFrame({"network": ["n", "n", "other"], "side": ["t+", "t-", "t+"]})
    fits = fits.assign(points=["datasets", "with cut classes", "datasets"], number=[2, 9, 1])
    fits = fits.assign(r_squared=[0.8, 0.9, 0.1], r_squared_root=[0.85, 0.95, 0.1])
    facts = noise_facts(summary, fits, expected, costs_by_law(expected), "n")
    assert (facts["n_datasets"], facts["n_features"], facts["least_min"]) == (2, 100, 3)
    assert (facts["share"], facts["noise_share"]) == (0.5, 0.05)
    assert (facts["r2_plus"], facts["n_plus"], facts["root_minus_all"]) == (0.8, 2, 0.95)
    assert (facts["n_whole"], facts["n_weak"], facts["weak"]) == (4, 1, "t+ of y, n")
    assert (facts["n_flat"], facts["flat"]) == (2, "t- of x, n; t- of x, other")
    assert facts["conditional_number"] == 3
    assert facts["conditional_beyond"] == "t- of x, n"
    assert facts["classical_beyond"] == "none"


@pytest.mark.parametrize(
    ("D", "sizes", "ties", "options", "message"),
    [
        (np.zeros((2, 3)), [5, 5], np.ones((2, 2)), {}, r"got \(2,\) and \(2, 2\)"),
        (np.zeros((2, 3)), [5], np.ones((3, 2)), {}, "expected 2 class sizes"),
        (np.zeros((2, 3)), [5, 0], np.ones((3, 2)), {}, "each with an image"),
        (np.zeros((2, 3)), [5, 5], np.full((3, 2), 11), {}, "ties of 1 image up to all"),
        (np.full((2, 3), 2.0), [5, 5], np.ones((3, 2)), {}, "distances in"),
        (np.zeros((2, 3)), [5, 5], np.ones((3, 2)), {"law": "normal"}, "got 'normal'"),
    ],
)
def test_what_does_not_belong_together_is_refused(D, sizes, ties, options, message):
    with pytest.raises(ValueError, match=message):
        expected_threshold(D, sizes, ties, **options)
