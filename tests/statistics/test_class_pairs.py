"""Classes that no feature tells apart."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.stats import ks_2samp

from analysis.statistics import similarity
from analysis.statistics.similarity import (
    compare_nearest_classes,
    nearest_classes,
    standard_projection,
)


def drawn(shifts: list[float], n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Classes of ``n`` images whose first two features are moved."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(shifts)), n)
    X = rng.normal(size=(labels.size, 12))
    X[:, :2] += np.array(shifts)[labels, None]
    return X, labels


def test_the_nearest_class_is_that_of_the_nearest_mean() -> None:
    X, labels = drawn([0, 9, 1, 20, 12], 15)
    P = standard_projection(X)
    means = np.stack([P[labels == label].mean(axis=0) for label in range(5)])
    expected = []
    for here in range(5):
        gaps = {k: np.linalg.norm(means[here] - means[k]) for k in range(5) if k != here}
        expected.append(min(gaps, key=gaps.__getitem__))
    assert nearest_classes(X, labels + 7).tolist() == expected


def test_classes_drawn_alike_are_not_told_apart_and_others_are() -> None:
    X, labels = drawn([0, 0, 10, 10, 30, 40], 25)
    table = compare_nearest_classes(X, labels, seed=1)
    told = {(row.first, row.second): row.told_apart for row in table.itertuples()}
    assert not told[0, 1]
    assert not told[2, 3]
    assert told[4, 5]
    assert len(told) == len(table)
    margins = (table["widest"] - table["widest_shuffled"]).to_numpy()
    assert (np.diff(margins) >= 0).all()


def test_by_chance_one_pair_in_twenty_is_told_apart() -> None:
    told = [
        compare_nearest_classes(*drawn([0, 0], 12, seed), seed=seed)["told_apart"].iloc[0]
        for seed in range(60)
    ]
    assert sum(told) <= 9  # 3 are expected; more than 9 in one of a thousand such tests


def test_large_classes_are_compared_by_some_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "MOST", 10)
    X, labels = drawn([0, 30], 25)
    (row,) = compare_nearest_classes(X, labels).itertuples()
    assert row.images == 20
    assert row.told_apart


def test_no_shuffle_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one shuffle"):
        compare_nearest_classes(*drawn([0, 1], 5), n_shuffles=0)


@pytest.mark.parametrize("lazily", [False, True])
def test_blocks_of_features_change_nothing(lazily: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    values, labels = drawn([0, 0.3, 2, 9], 14)
    order = np.random.default_rng(3).permutation(labels.size)
    values, labels = values[order], labels[order]
    expected = one_pair_after_the_other(values, labels)
    X = xr.DataArray(values, dims=("image", "feature"))
    monkeypatch.setattr(similarity, "_VALUES_AT_ONCE", 3 * labels.size)  # three features at a time
    found = compare_nearest_classes(X.chunk(image=5, feature=4) if lazily else values, labels)
    columns = ["first", "second", "widest", "widest_shuffled"]
    np.testing.assert_allclose(sorted(found[columns].to_numpy().tolist()), sorted(expected))


def one_pair_after_the_other(X: np.ndarray, labels: np.ndarray) -> list[list[float]]:
    """First, second, widest distance and widest of 19 shuffles, by SciPy."""
    rows = []
    for first, second in {tuple(sorted(pair)) for pair in enumerate(nearest_classes(X, labels))}:
        at = np.flatnonzero((labels == first) | (labels == second))
        y, rng = labels[at] == second, np.random.default_rng((0, first, second))
        widest = [
            max(ks_2samp(x[~each], x[each]).statistic for x in X[at].T)
            for each in [y, *(rng.permutation(y) for _ in range(19))]
        ]
        rows.append([first, second, widest[0], max(widest[1:])])
    return rows
