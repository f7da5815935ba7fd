"""Principal components by blocks of features: against scikit-learn's, from every kind of array."""

from __future__ import annotations

import pickle
import tracemalloc

import dask.array
import numpy as np
import pytest
import xarray as xr
import zarr
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.decomposition import PCA

from analysis.transfer import pca
from analysis.transfer.pca import ChunkedPCA

SHAPES = {"wide": (30, 400), "tall": (90, 20), "square": (40, 40)}


def images(shape, seed=0, dtype=np.float64, rank=None):
    """Rows of falling variances around a mean; of some rank if it is given."""
    rng = np.random.default_rng(seed)
    n, width = shape
    k = min(shape) if rank is None else rank
    factors = rng.normal(size=(k, width)) * np.arange(1, k + 1)[:, None] ** -0.7
    return (rng.normal(size=(n, k)) @ factors + 3 * rng.normal(size=width)).astype(dtype)


def alike(ours, theirs, **tolerance):
    """Equal columns up to their signs."""
    signs = np.sign((ours * theirs).sum(axis=0))
    assert_allclose(ours, theirs * signs, **tolerance)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    """Blocks of these small arrays are cut like those of large ones."""
    monkeypatch.setattr(pca, "_SUMMED", 7)


def small(n_components=10, **options):
    return ChunkedPCA(n_components, **({"max_bytes": 5000} | options))


class TestAgainstScikitLearn:
    @pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
    def test_scores_components_and_variances(self, shape):
        X, new = images(shape), images(shape, seed=1)[:7]
        found, theirs = small().fit(X), PCA(10, svd_solver="full").fit(X)
        alike(found.scores_, theirs.transform(X), atol=1e-9)
        alike(found.transform(X), theirs.transform(X), atol=1e-9)
        alike(found.transform(new), theirs.transform(new), atol=1e-9)
        assert_allclose(found.mean_, theirs.mean_)
        assert_allclose(found.singular_values_, theirs.singular_values_)
        assert_allclose(found.explained_variance_, theirs.explained_variance_)
        assert_allclose(found.explained_variance_ratio_, theirs.explained_variance_ratio_)

    def test_float32_keeps_its_digits_beside_a_large_mean(self):
        X = images((60, 900), dtype=np.float32) + np.float32(100)
        new = X[:9] + images((9, 900), 1, np.float32)
        found = small(20).fit(X)
        theirs = PCA(20, svd_solver="full").fit(X.astype(np.float64))
        size = theirs.singular_values_[0]
        alike(found.scores_, theirs.transform(X.astype(np.float64)), atol=3e-6 * size)
        alike(found.transform(new), theirs.transform(new.astype(np.float64)), atol=1e-5 * size)

    @pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float16, bool])
    def test_other_numbers_count_as_what_they_are(self, dtype):
        X = np.random.default_rng(0).integers(0, 2 if dtype is bool else 99, (20, 50)).astype(dtype)
        wide = X.astype(np.float64)
        expected = PCA(5, svd_solver="full").fit_transform(wide)
        alike(small(5).fit_transform(X), expected, atol=1e-5 * np.abs(expected).max())


class TestDirectionsOfNoVariance:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
    def test_only_as_many_components_as_the_images_span(self, shape, dtype):
        found = small(15).fit(images(shape, rank=6, dtype=dtype))
        assert found.n_components_ == found.scores_.shape[1] == 6

    def test_one_less_than_images(self):
        found = small(256).fit(images((12, 300)))
        assert found.n_components_ == 11
        assert found.transform(images((5, 300), seed=1)).shape == (5, 11)

    def test_constant_columns_change_nothing(self):
        X = images((30, 60))
        wide = np.insert(X, [0, 10, 10, 60], [5.0, 0.0, 1e6, -3.3], axis=1)
        alike(small().fit_transform(wide), small().fit_transform(X), atol=1e-9)

    def test_images_that_all_are_the_same_have_none(self):
        with pytest.raises(ValueError, match="expected images that differ"):
            small().fit(np.full((5, 40), 0.1, np.float32))


def kinds_of_array(X, folder):
    """The same numbers in memory, on disk, and lazily; chunks that divide nothing."""
    memory_map = np.memmap(folder / "map", X.dtype, "w+", shape=X.shape)
    memory_map[:] = X
    stored = zarr.create_array(folder / "x.zarr", data=X, chunks=(7, 45))
    lazy = dask.array.from_zarr(stored)
    labelled = xr.DataArray(lazy, dims=("image", "feature"))
    return {
        "list": X.tolist(),
        "Fortran": np.asfortranarray(X),
        "memmap": memory_map,
        "zarr": stored,
        "dask": lazy,
        "dask, chunks of other widths": lazy.rechunk((11, (3, 190, 7))),
        "xarray": labelled,
        "xarray, the other way round": labelled.transpose(),
        "xarray in memory": labelled.compute(),
    }


class TestKindsOfArrays:
    def test_a_block_may_be_a_single_feature(self):
        X = images((25, 200))
        found = small(max_bytes=1).fit(X)
        assert_allclose(found.scores_, small(max_bytes=10**9).fit_transform(X), atol=1e-10)
        assert_allclose(found.transform(X), found.scores_, atol=1e-10)

    @pytest.mark.parametrize("max_bytes", [16_000, 10**9])
    def test_all_give_the_same(self, tmp_path, max_bytes):
        X, new = images((25, 200)), images((4, 200), seed=1)
        expected = small(max_bytes=10**9).fit(X)
        for name, array in kinds_of_array(X, tmp_path).items():
            found = small(max_bytes=max_bytes).fit(array)
            assert_allclose(found.scores_, expected.scores_, atol=1e-10, err_msg=name)
            assert_allclose(found.transform(new), expected.transform(new), atol=1e-10, err_msg=name)

    def test_new_images_may_be_of_another_kind(self, tmp_path):
        X, new = images((25, 200)), images((4, 200), seed=1)
        expected = small().fit(X).transform(new)
        fitted = small(max_bytes=16_000).fit(kinds_of_array(X, tmp_path)["zarr"])
        (tmp_path / "new").mkdir()
        for name, array in kinds_of_array(new, tmp_path / "new").items():
            assert_allclose(fitted.transform(array), expected, atol=1e-10, err_msg=name)

    def test_the_given_array_is_not_changed(self):
        X = images((25, 200))
        before = X.copy()
        small().fit(X).transform(X)
        assert_array_equal(X, before)

    def test_one_block_is_held_at_a_time(self, tmp_path, monkeypatch):
        """Of 32 MB on disk, little more than the block of 4 MB, and matrices of images × images."""
        monkeypatch.setattr(pca, "_SUMMED", 500)
        X = np.memmap(tmp_path / "map", np.float32, "w+", shape=(200, 40_000))
        X[:] = np.random.default_rng(0).normal(size=X.shape)
        tracemalloc.start()
        ChunkedPCA(10, max_bytes=4_000_000).fit(X).transform(X[:50])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 7_000_000


class TestEstimator:
    def test_signs_are_settled_by_the_largest_score(self):
        scores = small().fit_transform(images((30, 400)))
        assert (scores[np.abs(scores).argmax(axis=0), np.arange(10)] > 0).all()

    def test_it_can_be_cloned_and_pickled(self):
        X = images((30, 400))
        fitted = pickle.loads(pickle.dumps(small().fit(X)))
        assert_allclose(fitted.transform(X), fitted.scores_, atol=1e-9)
        assert clone(fitted).get_params() == {"n_components": 10, "max_bytes": 5000}

    @pytest.mark.parametrize(
        ("X", "message"),
        [
            (np.zeros(5), r"shape \(images, features\), got \(5,\)"),
            (np.zeros((1, 5)), "at least two images, got 1"),
            (np.zeros((5, 0)), r"shape \(5, 0\)"),
            (np.full((5, 5), np.nan), "finite"),
            (np.array([["a", "b"]] * 3), "real numbers"),
            (np.zeros((5, 5), complex), "real numbers"),
        ],
    )
    def test_what_cannot_be_fitted_is_refused(self, X, message):
        with pytest.raises(ValueError, match=message):
            small().fit(X)

    def test_options_that_make_no_sense_are_refused(self):
        for options in ({"n_components": 0}, {"max_bytes": 0}):
            with pytest.raises(ValueError, match="at least 1"):
                small(**options).fit(images((5, 5)))

    def test_new_images_of_another_width_or_not_finite_are_refused(self):
        fitted = small(2).fit(images((5, 20)))
        with pytest.raises(ValueError, match="20 features as fitted, got 21"):
            fitted.transform(np.zeros((2, 21)))
        with pytest.raises(ValueError, match="finite"):
            fitted.transform(np.full((2, 20), np.nan))
