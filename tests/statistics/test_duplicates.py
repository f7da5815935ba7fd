"""Nearly equal images, against loops over all pairs."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest
import xarray as xr

from analysis.statistics import similarity
from analysis.statistics.similarity import (
    DIMENSIONS,
    NEAR,
    near_duplicates,
    nearest_images,
    standard_projection,
)


def drawn(n_images: int, n_features: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.gamma(0.5, size=(n_images, n_features)).astype(np.float32) * np.arange(
        1, n_features + 1
    ).astype(np.float32)


def naive_distances(X: np.ndarray) -> np.ndarray:
    """All pairs, as the conventions say."""
    X = X.astype(np.float64)
    varying = X[:, X.min(axis=0) < X.max(axis=0)]
    Z = (varying - varying.mean(axis=0)) / varying.std(axis=0)
    D = np.linalg.norm(Z[:, None] - Z, axis=2)
    return D / np.sqrt((D[np.triu_indices(len(D), 1)] ** 2).mean())


def naive_nearest(D: np.ndarray, labels: np.ndarray, image: int, *, own: bool) -> tuple[int, float]:
    others = [
        (D[image, other], other)
        for other in range(len(D))
        if other != image and (labels[other] == labels[image]) == own
    ]
    distance, other = min(others, default=(np.nan, -1))
    return other, distance


@pytest.mark.parametrize("block", [2**24, 7 * 30])
def test_agrees_with_a_search_through_all_pairs(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similarity, "_BLOCK", block)
    X, labels = drawn(30, 40), np.arange(30) % 4 + 3
    X[:, 7] = 2.5
    D = naive_distances(X)
    found = nearest_images(X, labels)
    for image, row in enumerate(found.itertuples()):
        for side, own in (("own", True), ("other", False)):
            other, distance = naive_nearest(D, labels, image, own=own)
            assert getattr(row, side) == other
            assert getattr(row, f"{side}_distance") == pytest.approx(distance, rel=1e-4)


def test_many_features_are_projected_with_little_error() -> None:
    X = drawn(40, 3 * DIMENSIONS)
    X[1] = X[0]
    X[3] = X[2] * 1.02
    P, D = standard_projection(X), naive_distances(X)
    projected = np.linalg.norm(P[:, None] - P, axis=2)
    assert P.shape == (40, DIMENSIONS)
    assert projected[0, 1] == 0
    pairs = np.triu_indices(40, 1)
    nonzero = D[pairs] > 0
    assert np.abs(projected[pairs][nonzero] / D[pairs][nonzero] - 1).max() < 0.2
    assert np.abs(projected[pairs][nonzero] / D[pairs][nonzero] - 1).mean() < 0.04


def test_a_lazy_array_gives_the_same_whatever_its_chunks() -> None:
    X = drawn(20, 700)
    lazy = xr.DataArray(dask.array.from_array(X, chunks=(20, 90)), dims=("image", "feature"))
    np.testing.assert_allclose(standard_projection(lazy), standard_projection(X), atol=2e-6)
    assert not np.allclose(standard_projection(X, seed=1), standard_projection(X))


def test_copies_are_found_within_and_across_classes() -> None:
    X, labels = drawn(60, 100), np.repeat([0, 1, 2], 20)
    X[25] = X[3]  # across
    X[45] = X[50] * 1.001  # within
    pairs = near_duplicates(nearest_images(X, labels))
    assert pairs[["first", "second", "same_class"]].to_numpy().tolist() == [
        [3, 25, False],
        [45, 50, True],
    ]
    assert pairs["distance"].iloc[0] == 0
    assert 0 < pairs["distance"].iloc[1] <= NEAR


def test_equal_images_do_not_give_every_pair_of_them() -> None:
    X = np.vstack([np.tile(drawn(1, 50), (40, 1)), drawn(40, 50, seed=1)])
    pairs = near_duplicates(nearest_images(X, np.arange(80) // 20))
    assert set(pairs[["first", "second"]].to_numpy().ravel()) == set(range(40))
    assert len(pairs) <= 2 * 40


def test_a_class_of_one_image_has_no_other_of_its_own() -> None:
    found = nearest_images(drawn(5, 10), [0, 0, 0, 0, 1])
    assert found["own"].iloc[4] == -1
    assert np.isnan(found["own_distance"].iloc[4])
    assert found["other"].iloc[4] in range(4)


def test_features_that_never_vary_leave_all_images_alike() -> None:
    found = nearest_images(np.ones((4, 3)), [0, 0, 1, 1])
    assert (found["own_distance"] == 0).all()


def test_values_that_are_not_finite_are_refused() -> None:
    X = drawn(6, 4)
    X[2, 3] = np.nan
    with pytest.raises(ValueError, match="feature 3 has others"):
        nearest_images(X, [0, 0, 0, 1, 1, 1])
