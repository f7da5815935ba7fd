"""Splits and shuffles of labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.data import shuffle_labels, stratified_splits

SIZES = st.lists(st.integers(4, 12), min_size=1, max_size=5)


@settings(max_examples=40, deadline=None)
@given(
    sizes=SIZES,
    n_train=st.integers(1, 2),
    n_test=st.none() | st.integers(1, 2),
    seed=st.integers(0, 2**32),
)
def test_splits(sizes, n_train, n_test, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)) * 7, sizes))
    splits = stratified_splits(labels, n_train=n_train, n_test=n_test, n_splits=3, seed=seed)
    assert len(splits) == 3
    for train, test in splits:
        assert not set(train) & set(test)
        counts = np.unique(labels[train], return_counts=True)[1]
        assert (counts == n_train).all()
        assert len(counts) == len(sizes)
        expected = np.array(sizes) - n_train if n_test is None else np.full(len(sizes), n_test)
        np.testing.assert_array_equal(np.unique(labels[test], return_counts=True)[1], expected)


def test_split_k_depends_on_seed_and_k_only():
    labels = np.arange(60) % 3
    few = stratified_splits(labels, n_train=5, n_splits=2, seed=1)
    more = stratified_splits(labels, n_train=5, n_splits=4, seed=1)
    for one, other in zip(few, more, strict=False):
        np.testing.assert_array_equal(one.train, other.train)
    assert len({tuple(split.train) for split in more}) == 4
    other_seed = stratified_splits(labels, n_train=5, n_splits=2, seed=2)
    assert tuple(few[0].train) != tuple(other_seed[0].train)


def test_every_image_is_drawn_about_equally_often():
    labels = np.repeat([0, 1], 10)
    splits = stratified_splits(labels, n_train=5, n_splits=400, seed=0)
    often = np.bincount(np.concatenate([split.train for split in splits]), minlength=20)
    assert np.abs(often - 200).max() < 50  # five standard deviations


def test_splits_that_cannot_be_drawn():
    labels = ["a"] * 6 + ["b"] * 4
    for options, message in (
        ({"n_train": 4}, r"5 images per class are needed .* class b has 4"),
        ({"n_train": 3, "n_test": 2}, "class b has 4"),
        ({"n_train": 0}, "at least one"),
        ({"n_train": 1, "n_test": 0}, "at least one"),
    ):
        with pytest.raises(ValueError, match=message):
            stratified_splits(labels, seed=0, **options)


@given(sizes=SIZES, seed=st.integers(0, 2**32))
def test_shuffle_keeps_class_sizes(sizes, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    shuffled = shuffle_labels(labels, seed=seed)
    np.testing.assert_array_equal(np.bincount(shuffled), np.bincount(labels))
    np.testing.assert_array_equal(shuffled, shuffle_labels(labels, seed=seed))


def test_shuffle_separates_labels_from_images():
    labels = np.repeat(np.arange(10), 100)
    agreement = (shuffle_labels(labels, seed=0) == labels).mean()
    assert 0.06 < agreement < 0.14
    assert (shuffle_labels(labels, seed=0) != shuffle_labels(labels, seed=1)).any()
