"""What bins lose of a distance: never more than the bound, and sometimes just that."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.statistics import binning_bound, signed_ks, summarise_binning

FLOATS = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 0.01, -1.0]),  # ties, and a first bin full of zeros
    st.floats(0, 0.125, width=32),
    st.floats(-9, 9, width=32),
)


@st.composite
def problems(draw, elements=FLOATS):
    n, f = draw(st.integers(2, 24)), draw(st.integers(1, 20))
    X = draw(hnp.arrays(np.float32, (n, f), elements=elements))
    labels = draw(hnp.arrays(np.int64, n, elements=st.integers(-2, 3)))
    labels[:2] = 7, 8
    return X, labels, draw(st.integers(2, 12))


def naive_bounds(x, inner, bins):
    """Bounds from every place of the widest gap, by numpy.histogram's own bins."""
    x = x.astype(np.float64)
    edges = np.histogram_bin_edges(x, bins) if x.min() < x.max() else np.array([x[0], np.inf])
    place = np.clip(np.searchsorted(edges, x, "right") - 1, 0, edges.size - 2)
    n_in, n_out = inner.sum(), (~inner).sum()
    gaps = {
        v: int((x[~inner] <= v).sum()) * n_in - int((x[inner] <= v).sum()) * n_out
        for v in np.unique(x)
    }
    high, low = max(gaps.values()), min(gaps.values())
    widest = high if high > -low else low
    if widest == 0:
        return {0.0}
    first, second = (~inner, inner) if widest > 0 else (inner, ~inner)
    found = set()
    for v in (v for v, gap in gaps.items() if gap == widest):
        same = place == place[x == v][0]
        below = (same & first & (x <= v)).sum() / first.sum()
        above = (same & second & (x > v)).sum() / second.sum()
        found.add(min(below, above))
    return found


@settings(max_examples=200, deadline=None)
@given(problems())
def test_no_binned_distance_falls_short_by_more_than_the_bound(problem):
    X, labels, bins = problem
    loss = np.abs(signed_ks(X, labels)) - np.abs(signed_ks(X, labels, bins=bins))
    assert (loss >= 0).all()
    assert (loss <= binning_bound(X, labels, bins=bins) + 1e-12).all()


@settings(max_examples=100, deadline=None)
@given(problems())
def test_equals_the_literal_definition(problem):
    X, labels, bins = problem
    bound = binning_bound(X, labels, bins=bins)
    for c, label in enumerate(np.unique(labels)):
        for j, x in enumerate(X.T):
            literal = naive_bounds(x, labels == label, bins)
            assert min(abs(bound[c, j] - value) for value in literal) < 1e-12


def test_it_is_reached_where_a_bin_parts_the_classes():
    X = np.array([[0.0], [0.0], [0.1], [0.1], [9.0], [9.0]])  # zeros and 0.1 share the first bin
    labels = np.array([1, 1, 0, 0, 0, 1])
    exact, binned = signed_ks(X, labels), signed_ks(X, labels, bins=10)
    np.testing.assert_allclose(np.abs(exact) - np.abs(binned), 2 / 3)
    np.testing.assert_allclose(binning_bound(X, labels, bins=10), 2 / 3)


def test_nothing_is_lost_where_the_widest_gap_ends_a_bin():
    X = np.array([[0.0], [0.0], [0.0], [5.0], [9.0], [9.0]])
    assert (binning_bound(X, [0, 0, 1, 1, 1, 1], bins=10) == 0).all()
    assert (binning_bound(np.ones((4, 2)), [0, 1, 1, 0]) == 0).all()


def test_summary_counts_losses_and_flips():
    exact = np.array([[0.5, -0.4], [0.2, 0.0]])
    binned = np.array([[0.5, -0.3], [-0.2, 0.0]])
    (row,) = summarise_binning(exact, binned).to_dict("records")
    assert row["pairs"] == 4
    assert row["mean"] == pytest.approx(0.025)
    assert row["largest"] == pytest.approx(0.1)
    assert row["q99"] == pytest.approx(np.quantile([0, 0.1, 0, 0], 0.99))
    assert row["flipped"] == 1
    with pytest.raises(ValueError, match="same pairs"):
        summarise_binning(exact, binned[:1])
