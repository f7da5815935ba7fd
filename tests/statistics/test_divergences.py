"""Divergences of histograms against literal versions, and what must hold of them."""

from __future__ import annotations

from math import inf, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.statistics import (
    bhattacharyya,
    binning_bound,
    blocks,
    kullback_leibler,
    mutual_information,
)

MEASURES = (kullback_leibler, bhattacharyya, mutual_information)


@st.composite
def problems(draw, classes=3):
    n, f = draw(st.integers(2, 20)), draw(st.integers(1, 6))
    values = st.one_of(st.sampled_from([0.0, 1.0, -1.0]), st.floats(-1e6, 1e6, width=32))
    X = draw(hnp.arrays(np.float32, (n, f), elements=values))
    labels = draw(hnp.arrays(np.int64, n, elements=st.integers(0, classes - 1)))
    labels[:2] = 0, 1
    return X, labels


def example(n=200, f=24, seed=0):
    """Gaussian, rectified, spiky and constant features, five classes of unequal size."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, f)).astype(np.float32)
    X[:, ::3] = np.maximum(X[:, ::3], 0)
    X[:, 1::6] **= 5
    X[:, 4] = 3
    labels = rng.choice(5, n, p=[0.4, 0.3, 0.2, 0.07, 0.03])
    labels[:5] = range(5)
    X[labels == 2] += 0.5
    return X, labels


def naive_histograms(x, inner, bins):
    edges = np.histogram_bin_edges(x.astype(np.float64), bins)
    if x.min() == x.max():
        edges = np.array([x[0] - 1.0, x[0] + 1.0])
    return (np.histogram(x[part].astype(np.float64), edges)[0] for part in (inner, ~inner))


def naive_pair(x, inner, bins, smoothing):
    """Shares of the inner and the outer images in every bin, smoothed, one bin after the other."""
    P, Q = [], []
    for a, b in zip(*naive_histograms(x, inner, bins), strict=True):
        extra = smoothing * (a + b) / x.size
        P.append((a + extra) / (inner.sum() + smoothing))
        Q.append((b + extra) / ((~inner).sum() + smoothing))
    return P, Q


def naive_kl(x, inner, bins, smoothing):
    total = 0.0
    for p, q in zip(*naive_pair(x, inner, bins, smoothing), strict=True):
        if p > 0:
            total += p * log(p / q) if q > 0 else inf
    return total


def naive_bhattacharyya(x, inner, bins, smoothing):
    total = sum(sqrt(p * q) for p, q in zip(*naive_pair(x, inner, bins, smoothing), strict=True))
    return -log(total) if total > 0 else inf


def naive_information(x, inner, bins):
    """From the joint law of bin and membership, as the textbook has it."""
    total = 0.0
    for pair in zip(*naive_histograms(x, inner, bins), strict=True):
        for count, members in zip(pair, (inner.sum(), (~inner).sum()), strict=True):
            if count:
                joint, independent = count / x.size, sum(pair) / x.size * members / x.size
                total += joint * log(joint / independent)
    return total


def naive(measure, X, labels, *args):
    return np.array(
        [[measure(x, labels == label, *args) for x in X.T] for label in np.unique(labels)]
    )


@settings(max_examples=60, deadline=None)
@given(problems(), st.integers(2, 30), st.sampled_from([0.0, 0.5, 1.0, 10.0]))
def test_equal_the_literal_definitions(problem, bins, smoothing):
    X, labels = problem
    for fast, slow in ((kullback_leibler, naive_kl), (bhattacharyya, naive_bhattacharyya)):
        np.testing.assert_allclose(
            fast(X, labels, bins=bins, smoothing=smoothing),
            naive(slow, X, labels, bins, smoothing),
            atol=1e-12,
        )
    np.testing.assert_allclose(
        mutual_information(X, labels, bins=bins),
        naive(naive_information, X, labels, bins),
        atol=1e-12,
    )


@settings(max_examples=60, deadline=None)
@given(problems(), st.sampled_from([0.0, 1.0]))
def test_bounds(problem, smoothing):
    X, labels = problem
    assert (kullback_leibler(X, labels, bins=10, smoothing=smoothing) >= 0).all()
    assert (bhattacharyya(X, labels, bins=10, smoothing=smoothing) >= 0).all()
    information = mutual_information(X, labels, bins=10)
    share = np.bincount(labels)[np.unique(labels)] / labels.size
    entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
    assert (information >= 0).all()
    assert (information <= entropy[:, None] + 1e-12).all()
    assert (information <= log(2) + 1e-12).all()


@pytest.mark.parametrize("measure", MEASURES)
def test_neither_a_direction_nor_a_unit_matters(measure):
    X, labels = example()
    X = X.astype(np.float64)
    expected = measure(X, labels)
    for same in (8 * X, X + 16, -X):
        np.testing.assert_allclose(measure(same, labels), expected, atol=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_constant_feature_and_equal_histograms_tell_nothing(measure):
    X = np.array([[5.0, 1.0]] * 3 + [[5.0, 2.0]] * 3)
    labels = [0, 1, 1, 0, 1, 1]
    found = measure(X, labels)
    np.testing.assert_allclose(found, 0, atol=1e-15)
    assert not np.signbit(found).any()


def test_histograms_that_share_no_bin():
    X, labels = np.array([[0.0], [0.0], [1.0], [1.0]]), [0, 0, 1, 1]
    assert (kullback_leibler(X, labels, smoothing=0) == inf).all()
    assert (bhattacharyya(X, labels, smoothing=0) == inf).all()
    assert np.isfinite(kullback_leibler(X, labels)).all()
    assert np.isfinite(bhattacharyya(X, labels)).all()
    np.testing.assert_allclose(mutual_information(X, labels), log(2))


def test_threads_and_memory_do_not_change_the_result(monkeypatch):
    X, labels = example(n=2000, f=150)
    with blocks.at_most(1):
        found = [measure(X, labels) for measure in MEASURES]
    monkeypatch.setattr("analysis.statistics.divergences._TABLE", 1)  # one feature at a time
    for measure, expected in zip(MEASURES, found, strict=True):
        with blocks.at_most(3):
            np.testing.assert_array_equal(measure(X, labels), expected)


@pytest.mark.parametrize("measure", [*MEASURES, binning_bound])
def test_errors_say_what_came(measure):
    X, labels = example()
    X[[3, 9], 17] = np.nan
    with pytest.raises(ValueError, match=r"2 NaN in 1 features; .* feature 17, NaN for 2 of 200"):
        measure(X, labels)
    with pytest.raises(ValueError, match="finite range, which feature 1 lacks"):
        measure(np.array([[0.0, 1], [0, inf]]), [0, 1])
    with pytest.raises(ValueError, match="two classes, got only"):
        measure(X[:, :2], np.zeros(200))
    with pytest.raises(ValueError, match="bins to be an integer from 2, got 1"):
        measure(X[:, :2], labels, bins=1)


def test_errors_of_smoothing():
    X, labels = example()
    with pytest.raises(ValueError, match="from 0, got -1"):
        bhattacharyya(X, labels, smoothing=-1)
    with pytest.raises(ValueError, match="from 0, got nan"):
        kullback_leibler(X, labels, smoothing=float("nan"))
