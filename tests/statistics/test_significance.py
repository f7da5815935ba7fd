"""p-values against all relabellings, SciPy and simulation, and what must hold of them."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from math import comb

import dask.array
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import ks_2samp

from analysis.statistics import blocks, ks_p_values, rank_features, signed_ks, significance
from analysis.statistics.significance import (
    bridge_tail,
    exact_tail,
    hidden_of,
    log_factorials,
    scaled_gaps,
)


def tail_probability(distances, n_inner, n_outer, groups=None, law="exact"):
    """Probability of a distance at least as wide, for one pattern of equal values."""
    n_images = n_inner + n_outer
    counts = np.ones(n_images, int) if groups is None else np.asarray(groups)
    gaps = scaled_gaps(np.abs(distances), n_inner, n_images)
    half = np.full(gaps.shape, min(n_inner, n_outer))
    if law == "bridge":
        hidden = hidden_of(np.array([counts.size, counts[0], counts[-1]]))
        return bridge_tail(half, gaps, hidden, n_images)
    ends, images = np.append(0, np.cumsum(counts)), np.arange(n_images + 1)
    last_end = ends[np.searchsorted(ends, images, side="right") - 1]
    ties = (ends[np.searchsorted(ends, images)], last_end, log_factorials(n_images))
    return exact_tail(half, gaps, n_images, ties)


@st.composite
def patterns(draw, most=11):
    """Sizes of the groups of equal values, and images inside the class."""
    groups = draw(st.lists(st.integers(1, 5), min_size=1, max_size=most))
    while sum(groups) > most:
        groups.pop()
    groups = groups if sum(groups) > 1 else [1, 1]
    return groups, draw(st.integers(1, sum(groups) - 1))


@st.composite
def problems(draw):
    n, f = draw(st.integers(2, 20)), draw(st.integers(1, 8))
    values = st.one_of(st.sampled_from([0.0, -0.0, 1.0, -1.0]), st.floats(-9, 9, width=32))
    X = draw(hnp.arrays(np.float32, (n, f), elements=values))
    labels = draw(hnp.arrays(np.int64, n, elements=st.integers(0, 3)))
    labels[:2] = 4, 5
    return X, labels


def widest_gap(groups, inner):
    """n_in n_out |D| of the inner positions, group by group."""
    n, end, widest = sum(groups), 0, 0
    for group in groups:
        end += group
        below = sum(place < end for place in inner)
        widest = max(widest, abs(below * n - len(inner) * end))
    return widest


def naive_law(groups, size):
    """Every attainable distance with the share of all labellings at least as wide."""
    gaps = [widest_gap(groups, inner) for inner in combinations(range(sum(groups)), size)]
    scale = size * (sum(groups) - size)
    found = sorted(set(gaps))
    tails = [Fraction(sum(gap >= wide for gap in gaps), len(gaps)) for wide in found]
    return [wide / scale for wide in found], [float(tail) for tail in tails]


def stepwise_law(groups, size, gap):
    """One image after the other: counts of walks that never leave, as whole numbers."""
    n, ways, e = sum(groups), {0: 1}, 0
    for group in groups:
        for _ in range(group):
            moved = {}
            for k, count in ways.items():
                moved[k] = moved.get(k, 0) + count
                moved[k + 1] = moved.get(k + 1, 0) + count
            ways = moved
        e += group
        ways = {k: c for k, c in ways.items() if k <= size and abs(k * n - size * e) < gap}
    return float(1 - Fraction(ways.get(size, 0), comb(n, size)))


def rectified(share, n, f, seed):
    """Features at zero for exactly that share of the images, each in an order of its own."""
    rng = np.random.default_rng(seed)
    X = np.linspace(1, 2, n)[:, None] * np.ones(f)
    X[: round(share * n)] = 0
    return rng.permuted(X, axis=0)


def groups_of(x):
    return np.unique(x, return_counts=True)[1]


@settings(max_examples=120, deadline=None)
@given(patterns())
def test_the_exact_law_counts_every_labelling(pattern):
    groups, size = pattern
    distances, tails = naive_law(groups, size)
    found = tail_probability(distances, size, sum(groups) - size, groups=groups)
    np.testing.assert_allclose(found, tails, rtol=1e-12)
    between = np.array(distances) * 0.999999  # no distance is attained between
    np.testing.assert_allclose(
        tail_probability(between, size, sum(groups) - size, groups=groups), tails, rtol=1e-12
    )


@pytest.mark.parametrize(
    "groups",
    [
        [1] * 120,
        [84] + [1] * 36,
        [1] * 36 + [84],
        [1] * 20 + [80] + [1] * 20,
        [60, 1, 1, 1, 30] + [1] * 27,
        [2] * 60,
        [13, 29, 3, 41, 11, 23],
    ],
)
@pytest.mark.parametrize("size", [1, 7, 40, 60, 95])
def test_the_exact_law_on_whole_numbers(groups, size):
    scale = size * (120 - size)
    for distance in (0.03, 0.1, 0.2, 0.4, 0.8, 1.0):
        gap = int(np.ceil(distance * scale))
        expected = stepwise_law(groups, size, gap)
        found = tail_probability(gap / scale, size, 120 - size, groups=groups)
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-300)


def test_small_probabilities_keep_their_digits():
    np.testing.assert_allclose(tail_probability(1.0, 50, 4950), 2 / comb(5000, 50), rtol=1e-9)
    np.testing.assert_allclose(tail_probability(1.0, 100, 100), 2 / comb(200, 100), rtol=1e-9)


@pytest.mark.parametrize("sizes", [(7, 9), (1, 30), (50, 50), (60, 240), (3, 997), (90, 1100)])
@pytest.mark.parametrize("method", ["exact", "asymp"])
def test_the_classical_law_is_scipys(sizes, method, monkeypatch):
    if method == "asymp":
        monkeypatch.setattr(significance, "_SCIPY_EXACT_UP_TO", 0)
    rng = np.random.default_rng(sum(sizes))
    X = rng.standard_normal((sum(sizes), 12)) + np.linspace(0, 1, 12) * 0.5
    X[: sizes[0]] += 0.3
    labels = np.repeat([1, 0], sizes)
    expected = [ks_2samp(x[labels == 1], x[labels == 0], method=method).pvalue for x in X.T]
    for law in ("classical", "conditional") if method == "exact" else ("classical",):
        P = ks_p_values(X, labels, law=law)
        np.testing.assert_allclose(P, [expected, expected], rtol=1e-9, atol=1e-14)


def test_the_classical_law_ignores_ties_as_scipy_does():
    X = rectified(0.7, 200, 10, seed=0)
    labels = np.arange(200) % 4
    P = ks_p_values(X, labels, law="classical")
    for c in range(4):
        expected = [ks_2samp(x[labels == c], x[labels != c], method="exact").pvalue for x in X.T]
        np.testing.assert_allclose(P[c], expected, rtol=1e-9, atol=1e-14)


@settings(max_examples=80, deadline=None)
@given(problems())
def test_pairs_get_the_law_of_their_own_ties(problem):
    X, labels = problem
    D, P = signed_ks(X, labels), ks_p_values(X, labels)
    for c, label in enumerate(np.unique(labels)):
        size = int((labels == label).sum())
        for j, x in enumerate(X.T):
            expected = tail_probability(D[c, j], size, labels.size - size, groups=groups_of(x))
            np.testing.assert_allclose(P[c, j], expected, rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(problems())
def test_what_must_hold(problem):
    X, labels = problem
    P = ks_p_values(X, labels)
    assert ((P > 0) & (P <= 1)).all()
    assert (P[signed_ks(X, labels) == 0] == 1).all()
    classical = ks_p_values(X, labels, law="classical")
    assert (classical - P > -1e-10 * P).all()

    order = np.random.default_rng(0).permutation(labels.size)
    np.testing.assert_array_equal(ks_p_values(X[order], labels[order]), P)
    np.testing.assert_allclose(ks_p_values(-X, labels), P, rtol=1e-10)
    rising = np.searchsorted(np.unique(X), X) ** 3.0
    np.testing.assert_allclose(ks_p_values(rising, labels), P, rtol=1e-10)


@pytest.mark.parametrize("share", [0.0, 0.7, 0.9])
def test_calibrated_under_the_null(share):
    n, size, repeats, level = 1000, 50, 4000, 0.05
    X = rectified(share, n, repeats, seed=int(100 * share))
    labels = np.arange(n) >= size  # orders are drawn, so that labels need not be
    found = ks_p_values(X, labels)[0]
    attainable = found[found <= level].max()  # the nearest level that so few values of D allow
    spread = 4 * np.sqrt(level * (1 - level) / repeats)
    assert attainable > 0.035
    assert abs((found <= level).mean() - attainable) < spread
    for quantile in (0.01, 0.2, 0.5, 0.8):
        assert (found <= quantile).mean() < quantile + spread
    classical = (ks_p_values(X, labels, law="classical")[0] <= level).mean()
    assert classical < (0.001 if share == 0.9 else 0.015 if share == 0.7 else level + spread)


@pytest.mark.parametrize("sizes", [(3000, 27_000), (1500, 1500), (2000, 3001)])
@pytest.mark.parametrize("zeros", [0.0, 0.4, 0.7])
def test_the_bridge_comes_near_the_exact_law(sizes, zeros):
    n, hidden = sum(sizes), round(zeros * sum(sizes))
    groups = [hidden, *[1] * (n - hidden)] if hidden else None
    root = np.sqrt(n / sizes[0] / sizes[1] * (4 * zeros * (1 - zeros) if zeros > 0.5 else 1))
    distances = np.array([0.6, 0.9, 1.2, 1.5, 2.0]) * root
    exact = tail_probability(distances, *sizes, groups=groups)
    bridge = tail_probability(distances, *sizes, groups=groups, law="bridge")
    assert exact[0] > 0.3
    assert exact[-1] < 0.05
    np.testing.assert_allclose(bridge, exact, rtol=0.01, atol=1e-3)
    if groups:
        mirrored = tail_probability(distances, *sizes, groups=groups[::-1], law="bridge")
        np.testing.assert_array_equal(mirrored, bridge)


def p_values(X, labels, up_to, monkeypatch, law="conditional"):
    """By the exact law up to a number of images, by an approximation beyond."""
    monkeypatch.setattr(significance, "EXACT_UP_TO", up_to)
    monkeypatch.setattr(significance, "_SCIPY_EXACT_UP_TO", up_to)
    return ks_p_values(X, labels, law=law)


def test_it_is_exact_until_classes_are_large(monkeypatch):
    X = np.concatenate([rectified(share, 300, 6, seed=1) for share in (0, 0.5, 0.95)], axis=1)
    labels = np.arange(300) % 3 == 0
    found = ks_p_values(X, labels)
    exact, bridge, mixed = (p_values(X, labels, limit, monkeypatch) for limit in (10**6, 0, 20))
    assert (exact != bridge).all()
    np.testing.assert_array_equal(found, exact)
    np.testing.assert_array_equal(mixed[:, :12], bridge[:, :12])
    np.testing.assert_array_equal(mixed[:, 12:], exact[:, 12:])  # 15 images beside the zeros


def test_labelled_lazy_and_ranked_arrays_a_block_at_a_time(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_VALUES", 16 * 120)
    X = np.random.default_rng(0).standard_normal((120, 50)).astype(np.float32)
    X[:, ::2] = np.maximum(X[:, ::2], 0)
    labels = np.arange(120) % 4
    expected = ks_p_values(X, labels)
    coords = {"layer": ("feature", ["conv1"] * 30 + ["fc2"] * 20)}
    lazy = xr.DataArray(
        dask.array.from_array(X, (50, 13)),
        dims=("image", "feature"),
        coords=coords,
        attrs={"network": "net"},
    )
    for array in (lazy, rank_features(lazy)):
        P = ks_p_values(array, labels)
        np.testing.assert_array_equal(P, expected)
        assert (P.dims, P["layer"].values[-1]) == (("class", "feature"), "fc2")
        assert P.attrs == {"network": "net", "law": "conditional"}
    monkeypatch.undo()
    np.testing.assert_array_equal(ks_p_values(X, labels), expected)


def test_degenerate_features_and_classes():
    X = np.array([[1.0, 0, 0], [1, 0, 2], [1, 3, 3]])
    P = ks_p_values(X, [0, 1, 2])
    assert (P[:, 0] == 1).all()  # constant
    np.testing.assert_allclose(P[:, 1], [1, 1, 1 / 3])  # one value apart, one image per class
    np.testing.assert_allclose(P[:, 2], [2 / 3, 1, 2 / 3])
    np.testing.assert_allclose(ks_p_values([[0.0], [1.0]], [0, 1]), 1)


def test_errors_say_what_came():
    X, labels = np.ones((4, 2)), [0, 0, 1, 1]
    with pytest.raises(ValueError, match=r"law to be one of .*'classical'.*, got 'scipy'"):
        ks_p_values(X, labels, law="scipy")
    with pytest.raises(ValueError, match="each of the 4 images"):
        ks_p_values(X, labels[:3])
    with pytest.raises(ValueError, match="1 NaN"):
        ks_p_values([[1.0], [np.nan]], [0, 1])
