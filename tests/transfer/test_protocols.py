from __future__ import annotations

import numpy as np
import pytest

from analysis.transfer import one_shot_accuracy


def problem(separation, *, n_classes=5, per_class=12, n_features=30, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(n_classes), per_class)
    centres = separation * rng.standard_normal((n_classes, n_features))
    return centres[labels] + rng.standard_normal((labels.size, n_features)), labels


def naive_accuracy(X, labels, train):
    """One draw, by distances, image by image."""
    mean, deviation = X[train].mean(0), X[train].std(0)
    deviation = np.where(np.ptp(X[train], axis=0) == 0, 1.0, deviation)
    Z = (X - mean) / deviation
    Z = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    test = [i for i in range(len(X)) if i not in set(train)]
    return np.mean(
        [
            labels[train[np.argmin([np.linalg.norm(Z[i] - Z[t]) for t in train])]] == labels[i]
            for i in test
        ]
    )


def test_equals_a_search_by_distance():
    X, labels = problem(0.6)
    X[:, 3] = 7.0
    draws = one_shot_accuracy(X, labels, n_draws=3, seed=4)
    for draw, accuracy in enumerate(draws):
        rng = np.random.default_rng([4, draw])
        train = np.array([rng.choice(np.flatnonzero(labels == c)) for c in range(5)])
        assert accuracy == naive_accuracy(X, labels, train)
    assert 0.2 < draws.mean() < 1


def test_scale_and_offset_of_a_feature_do_not_matter():
    X, labels = problem(0.5)
    rescaled = X * np.geomspace(1e-3, 1e3, X.shape[1]) + 5
    np.testing.assert_array_equal(one_shot_accuracy(X, labels), one_shot_accuracy(rescaled, labels))


def test_one_test_image_does_not_change_how_another_is_classified():
    X, labels = problem(0.5)
    rng = np.random.default_rng([0, 0])
    train = [rng.choice(np.flatnonzero(labels == c)) for c in range(5)]
    outlier = next(i for i in range(len(X)) if i not in train)
    changed = X.copy()
    changed[outlier] *= 1e6
    n_test = len(X) - 5
    before, after = (one_shot_accuracy(A, labels, n_draws=1)[0] * n_test for A in (X, changed))
    assert abs(before - after) < 1 + 1e-9  # only the changed image may change sides


def test_draws_depend_on_seed_and_number_only():
    X, labels = problem(0.5)
    few, many = (one_shot_accuracy(X, labels, n_draws=n, seed=3) for n in (4, 9))
    np.testing.assert_array_equal(few, many[:4])
    assert (one_shot_accuracy(X, labels, seed=5) != one_shot_accuracy(X, labels, seed=6)).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (X[:, 0], y), "images, features"),
        (lambda X, y: (X, y[:-1]), "one label per image"),
        (lambda X, y: (X, np.zeros_like(y)), "two classes"),
        (lambda X, y: (X, np.where(np.arange(y.size) == 0, 99, y)), r"single image.*\[99\]"),
        (lambda X, y: (np.where(X[0, 0] == X, np.nan, X), y), "1 that are not"),
    ],
)
def test_errors_say_what_came(change, message):
    with pytest.raises(ValueError, match=message):
        one_shot_accuracy(*change(*problem(1.0)))
    with pytest.raises(ValueError, match="n_draws=0"):
        one_shot_accuracy(*problem(1.0), n_draws=0)
