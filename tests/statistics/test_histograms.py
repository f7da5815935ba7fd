"""Histograms of shards: any cut, merged in any order, give the distances of all images at once."""

from __future__ import annotations

from functools import reduce

import dask.array
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.statistics import blocks, signed_ks
from analysis.statistics import histograms as module
from analysis.statistics.histograms import (
    ClassHistograms,
    FeatureRanges,
    feature_groups,
    shards_of,
    signed_ks_of_shards,
)

VALUES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 1e-45]), st.floats(-1e6, 1e6, width=32)
)


@st.composite
def problems(draw, dtype=np.float32):
    """Features, labels, the shard of each image, an order of merging, a number of bins."""
    n, f = draw(st.integers(2, 30)), draw(st.integers(1, 20))
    X = draw(hnp.arrays(dtype, (n, f), elements=VALUES))
    labels = draw(hnp.arrays(np.int64, n, elements=st.integers(-2, 3)))
    labels[:2] = 7, 8
    shard = draw(hnp.arrays(np.int64, n, elements=st.integers(0, 5)))
    shard = np.unique(shard, return_inverse=True)[1]
    order = draw(st.permutations(range(shard.max() + 1)))
    return X, labels, shard, order, draw(st.integers(2, 120))


def naive(X, labels, bins):
    """By ``numpy.histogram`` of every feature and class; a constant has no distance."""
    classes = np.unique(labels)
    D = np.zeros((classes.size, X.shape[1]))
    for j, x in enumerate(X.T.astype(np.float64)):
        if x.min() == x.max():
            continue
        edges = np.histogram_bin_edges(x, bins)
        for c, label in enumerate(classes):
            inner, outer = x[labels == label], x[labels != label]
            k, m = (np.histogram(part, edges)[0].cumsum() for part in (inner, outer))
            gaps = [int(b) * inner.size - int(a) * outer.size for a, b in zip(k, m, strict=True)]
            low, high = min(0, *gaps), max(0, *gaps)
            D[c, j] = (high if high > -low else low) / (inner.size * outer.size)
    return D


def added(counts, labels, n_features, bins):
    total = ClassHistograms.empty(np.unique(labels), n_features, bins)
    for part in counts:
        total.add(part)
    return total


@settings(max_examples=60, deadline=None)
@given(problems())
def test_any_cut_and_any_order_give_the_same_bits(problem):
    X, labels, shard, order, bins = problem
    cut = [shard == number for number in order]
    ranges = reduce(FeatureRanges.merged, [FeatureRanges.of(X[part]) for part in cut])
    counts = [ClassHistograms.of(X[part], labels[part], ranges, bins) for part in cut]
    forth, back = (added(some, labels, X.shape[1], bins) for some in (counts, counts[::-1]))
    expected = signed_ks(X, labels, bins=bins)
    np.testing.assert_array_equal(forth.distances(), expected)
    np.testing.assert_array_equal(expected, naive(X, labels, bins))
    np.testing.assert_array_equal(forth.counts, back.counts)

    one_by_one = [X[part] for part in cut]
    together = np.concatenate([labels[part] for part in cut])
    found = signed_ks_of_shards(one_by_one, together, bins=bins)
    np.testing.assert_array_equal(found, expected)


def lazy(X, chunks):
    layers = np.where(np.arange(X.shape[1]) < 20, "conv1", "fc2")
    coords = {"layer": ("feature", layers), "label": ("image", np.arange(len(X)) % 3)}
    data = dask.array.from_array(X, chunks)
    return xr.DataArray(data, dims=("image", "feature"), coords=coords, attrs={"network": "net"})


@pytest.mark.parametrize("n", [1, 2, 5, 100])
def test_a_lazy_array_is_cut_between_its_chunks_and_keeps_its_names(n, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_VALUES", 40 * 30)  # several blocks of images
    X = np.maximum(np.random.default_rng(1).standard_normal((120, 40)), 0).astype(np.float32)
    labels = np.arange(120) * 4 // 120
    whole = lazy(X, (13, 20))
    cut = shards_of(whole, n)
    assert len(cut) <= n
    assert sum(shard.sizes["image"] for shard in cut) == 120
    assert all(shard.sizes["image"] % 13 == 0 for shard in cut[:-1])
    expected = signed_ks(whole, labels, bins=100)
    xr.testing.assert_identical(signed_ks_of_shards(cut, labels), expected)
    xr.testing.assert_identical(signed_ks_of_shards(whole, labels), expected)


def test_groups_of_features_bound_the_counts(monkeypatch):
    X = np.random.default_rng(2).standard_normal((90, 50)).astype(np.float32)
    labels = np.arange(90) % 3
    whole = lazy(X, (30, 50))
    monkeypatch.setattr(module, "GROUP_BYTES", 16 * 4 * 100 * 3)
    groups = feature_groups(whole, 100, 3)
    assert groups[0][0] == 0
    assert groups[-1][1] == 50
    assert len(groups) == 4
    assert all(last - first <= 16 for first, last in groups)
    xr.testing.assert_identical(
        signed_ks_of_shards(whole, labels), signed_ks(whole, labels, bins=100)
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shard", [0, 2])
def test_what_has_no_bins_is_refused_in_the_same_words(bad, shard):
    X = np.random.default_rng(0).standard_normal((30, 20)).astype(np.float32)
    X[10 * shard + 3, [4, 17]] = bad
    labels = np.arange(30) % 3
    with pytest.raises(ValueError, match="feature 4") as expected:
        signed_ks(X, labels, bins=100)
    with pytest.raises(ValueError, match="feature 4") as given:
        signed_ks_of_shards(np.split(X, 3), labels)
    assert str(given.value) == str(expected.value)


@pytest.mark.parametrize("value", [7.0, -7.0, np.nan])
def test_ranges_of_other_images_are_refused(value):
    X = np.linspace(0, 1, 20).reshape(10, 2)
    ranges = FeatureRanges.of(X)
    X[4, 1] = value
    with pytest.raises(ValueError, match="got 1 outside; the first is of feature 1: merge"):
        ClassHistograms.of(X, np.zeros(10), ranges)


def test_shards_of_other_features_are_refused():
    X = np.zeros((4, 3))
    with pytest.raises(ValueError, match="number 1"):
        signed_ks_of_shards([X, X[:, :2]], [0, 1] * 4)
    other = lazy(np.zeros((4, 30)), 4)
    other = other.assign_coords(unit=("feature", range(30)))
    renamed = other.assign_coords(layer=("feature", ["x"] * 30))
    with pytest.raises(ValueError, match=r"shard number 1 .* without \['conv1_0'"):
        signed_ks_of_shards([other, renamed], [0, 1] * 4)
    with pytest.raises(ValueError, match="at least one shard"):
        signed_ks_of_shards([], [])
    with pytest.raises(ValueError, match="8 images, got labels of shape"):
        signed_ks_of_shards([X, X], [0, 1])
    with pytest.raises(ValueError, match="bins to be an integer"):
        signed_ks_of_shards([X, X], [0, 1] * 4, bins=None)
    with pytest.raises(ValueError, match="same features"):
        FeatureRanges.of(X).merged(FeatureRanges.of(X[:, :2]))
