"""Accuracy on random splits: what is counted, what a classifier gets to see, what is compared."""

from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.neighbors import KNeighborsClassifier

from analysis.data import ImageDataset, stratified_splits
from analysis.data.images import ImageArrays
from analysis.transfer import (
    affordable_n_train,
    compare_features,
    paired_differences,
    raw_pixels,
    split_accuracies,
    summarise_accuracies,
)


def problem(separation, sizes=(12, 9, 30), n_features=20, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([2, 5, 7], sizes))
    centres = separation * rng.standard_normal((8, n_features))
    return centres[labels] + rng.standard_normal((labels.size, n_features)), labels


class Recorder(ClassifierMixin, BaseEstimator):
    """Predicts one class, and remembers what it was fitted to."""

    seen: ClassVar[list] = []

    def __init__(self, always=7):
        self.always = always

    def fit(self, X, y):
        self.seen.append((X, y))
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.always)


def test_every_class_counts_alike_however_many_images_it_has():
    table = split_accuracies(*problem(1.0), n_train=4, seed=0, classifier=Recorder())
    assert table["accuracy"].tolist() == [pytest.approx(1 / 3)] * 5
    assert table["chance"].tolist() == [pytest.approx(1 / 3)] * 5
    assert (table["train"] == 12).all()
    assert (table["test"] == 51 - 12).all()
    assert table["split"].tolist() == [0, 1, 2, 3, 4]


def test_equals_a_loop_over_the_splits_of_the_seed():
    X, labels = problem(0.5)
    nearest = KNeighborsClassifier(1)
    table = split_accuracies(X, labels, n_train=4, n_splits=3, seed=8, classifier=nearest)
    for number, (train, test) in enumerate(
        stratified_splits(labels, n_train=4, n_splits=3, seed=8)
    ):
        distances = np.linalg.norm(X[test][:, None] - X[train][None], axis=2)
        right = labels[train][distances.argmin(axis=1)] == labels[test]
        share = np.mean([right[labels[test] == each].mean() for each in np.unique(labels)])
        assert table["accuracy"][number] == pytest.approx(share)


def test_a_classifier_is_fitted_anew_to_training_images_alone():
    X, labels = problem(1.0)
    Recorder.seen = []
    given = Recorder()
    split_accuracies(X, labels, n_train=3, n_splits=2, seed=1, classifier=given)
    assert not hasattr(given, "classes_")
    splits = stratified_splits(labels, n_train=3, n_splits=2, seed=1)
    for (rows, known), (train, _) in zip(Recorder.seen, splits, strict=True):
        np.testing.assert_array_equal(rows, X[train])
        np.testing.assert_array_equal(known, labels[train])


def test_the_default_classifier_ignores_scales_and_width():
    X, labels = problem(0.6)
    expected = split_accuracies(X, labels, n_train=4, seed=0)
    scaled = X * np.geomspace(1e-3, 1e3, X.shape[1]) + 5
    pd.testing.assert_frame_equal(split_accuracies(scaled, labels, n_train=4, seed=0), expected)
    twice = np.hstack([X, X])  # the same classifier, as C means the same for any width
    pd.testing.assert_frame_equal(split_accuracies(twice, labels, n_train=4, seed=0), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (X[:, 0], y), "images, features"),
        (lambda X, y: (X, y[:-1]), "one label per image"),
        (lambda X, y: (X, np.zeros_like(y)), "two classes"),
        (lambda X, y: (np.where(X[0, 0] == X, np.inf, X), y), "1 that are not"),
        (lambda X, y: (X, np.where(np.arange(y.size) == 0, 99, y)), "class 99 has 1"),
    ],
)
def test_errors_say_what_came(change, message):
    with pytest.raises(ValueError, match=message):
        split_accuracies(*change(*problem(1.0)), n_train=4, seed=0)


def test_affordable_training_images():
    labels = np.repeat([4, 9], [9, 40])
    assert affordable_n_train(labels, 30) == 4
    assert affordable_n_train(labels, 3) == 3


def test_sets_of_features_see_the_same_splits():
    X, labels = problem(0.5)
    sets = {"a": X, "b": X[:, :3], "again": X.astype(np.float32)}
    table = compare_features(sets, labels, n_train=4, seed=2)
    assert table["features"].tolist() == [name for name in sets for _ in range(5)]
    for name, features in sets.items():
        alone = split_accuracies(features, labels, n_train=4, seed=2)
        part = table[table["features"] == name].drop(columns="features").reset_index(drop=True)
        pd.testing.assert_frame_equal(part, alone)
    with pytest.raises(ValueError, match="at least one set of features"):
        compare_features({}, labels, n_train=4, seed=2)


def table_of(accuracies, *, train=20, test=60):
    """Table of one row per dataset, set of features and split."""
    rows = [
        (dataset, features, split, train, test, value, 0.1)
        for (dataset, features), values in accuracies.items()
        for split, value in enumerate(values)
    ]
    columns = ["dataset", "features", "split", "train", "test", "accuracy", "chance"]
    return pd.DataFrame(rows, columns=columns)


def test_summary_keeps_the_order_and_the_spread():
    table = table_of({("z", "net"): [0.5, 0.7], ("z", "a"): [0.1, 0.1], ("b", "net"): [1.0, 1.0]})
    summary = summarise_accuracies(table)
    assert summary["dataset"].tolist() == ["z", "z", "b"]
    assert summary["features"].tolist() == ["net", "a", "net"]
    assert summary["mean"].tolist() == pytest.approx([0.6, 0.1, 1.0])
    assert summary["std"].tolist() == pytest.approx([0.1 * np.sqrt(2), 0, 0])
    assert summary["splits"].tolist() == [2, 2, 2]
    assert (summary["chance"] == 0.1).all()


def test_errors_are_those_of_the_differences():
    differences = np.array([0.1, 0.3, 0.2, 0.4])
    table = table_of({("d", "net"): 0.5 + differences, ("d", "pixels"): [0.5] * 4})
    (gain,) = paired_differences(table, "net", ["pixels"]).itertuples()
    s = differences.std(ddof=1)
    assert gain.standard_error == pytest.approx(s / 2)
    assert gain.corrected_error == pytest.approx(s * np.sqrt(1 / 4 + 3))
    assert gain.exceeds
    assert not gain.exceeds_corrected


@pytest.mark.parametrize(
    ("settings", "exceeds", "exceeds_corrected"),
    [
        ({"errors": 1.0}, True, True),
        ({"errors": 3.8}, True, False),  # 0.25 is 3.87 standard errors, 1.07 corrected ones
        ({"errors": 3.9}, False, False),
        ({"errors": 1.0, "margin": 0.24}, True, True),
        ({"errors": 1.0, "margin": 0.26}, False, False),
    ],
)
def test_a_difference_must_exceed_the_margin_and_the_errors(settings, exceeds, exceeds_corrected):
    table = table_of({("d", "net"): [0.6, 0.8, 0.7, 0.9], ("d", "pixels"): [0.5] * 4})
    (gain,) = paired_differences(table, "net", ["pixels"], **settings).itertuples()
    assert (gain.exceeds, gain.exceeds_corrected) == (exceeds, exceeds_corrected)


def test_what_is_missing_is_named():
    table = table_of({("d", "net"): [0.5, 0.6], ("d", "pixels"): [0.5, 0.5], ("e", "net"): [1, 1]})
    with pytest.raises(ValueError, match="e: expected at least two splits of net, pixels; got 2"):
        paired_differences(table, "net", ["pixels"])
    with pytest.raises(ValueError, match="got 1 of net, pixels"):
        paired_differences(table.iloc[[0, 2]], "net", ["pixels"])


def test_raw_pixels_are_the_resized_image_from_black_to_white():
    image = np.zeros((12, 8, 3), np.uint8)
    image[2:10] = [255, 51, 0]  # the centre that a square crop keeps
    image[2, 0] = [0, 0, 255]
    data = ImageDataset("two", ("a", "b"), np.array([0, 1]), ("x", "y"), ImageArrays([image] * 2))
    pixels = raw_pixels(data, side=8)
    assert pixels.shape == (2, 3 * 8 * 8)
    assert pixels.dtype == np.float32
    red, green, blue = pixels[0].reshape(3, 8, 8)
    assert red[1:].min() == 1
    assert green[1:] == pytest.approx(0.2)
    assert blue[0, 0] == 1
    assert blue.sum() == 1
    assert raw_pixels(data).shape == (2, 3 * 32 * 32)
