"""The full-network embedding: what it computes, what it keeps, what it refuses, what it saves."""

import hashlib
import json
import pickle

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from safetensors.numpy import load_file, save_file
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_get_feature_names_out_error,
    check_global_output_transform_pandas,
    check_set_output_transform,
    check_set_output_transform_pandas,
    check_transformer_get_feature_names_out,
    check_transformer_get_feature_names_out_pandas,
    parametrize_with_checks,
)

from analysis.statistics import FullNetworkEmbedding
from analysis.statistics import embedding as module


def images(n=60, n_features=9, seed=0):
    """Rectified features of different scales; the last one never varies."""
    rng = np.random.default_rng(seed)
    X = np.maximum(rng.normal(0.3, 1.0, (n, n_features)), 0) * np.geomspace(0.01, 100, n_features)
    X[:, -1] = 0.1
    return X.astype(np.float32)


def labelled(X, *, attrs=None, lazy=False):
    """Features of three layers, of 2, 4 and all the others."""
    n = X.shape[1]
    layers = np.repeat(["conv1", "conv2", "fc"], [2, 4, n - 6])
    units = np.concatenate([np.arange(2), np.arange(4), np.arange(n - 6)])
    values = da.from_array(X, chunks=(20, (2, 4, n - 6))) if lazy else X
    coords = {
        "path": ("image", [f"{k}.png" for k in range(len(X))]),
        "layer": ("feature", layers),
        "unit": ("feature", units),
    }
    return xr.DataArray(
        values, dims=("image", "feature"), coords=coords, name="x", attrs=attrs or {}
    )


def naive(train, X, lower=-0.25, upper=0.15):
    """One value at a time, in Python's own numbers."""
    out = np.zeros(X.shape, int)
    for f in range(X.shape[1]):
        column = [float(x) for x in train[:, f]]
        mean = sum(column) / len(column)
        deviation = (sum((x - mean) ** 2 for x in column) / len(column)) ** 0.5
        for i in range(len(X)):
            if min(column) < max(column):
                z = (float(X[i, f]) - mean) / deviation
                out[i, f] = -1 if z < lower else int(z > upper)
    return out


@parametrize_with_checks([FullNetworkEmbedding()])
def test_it_keeps_scikit_learns_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "check",
    [
        check_dataframe_column_names_consistency,
        check_get_feature_names_out_error,
        check_global_output_transform_pandas,
        check_set_output_transform,
        check_set_output_transform_pandas,
        check_transformer_get_feature_names_out,
        check_transformer_get_feature_names_out_pandas,
    ],
    ids=lambda check: check.__name__,
)
def test_names_and_containers_are_scikit_learns(check):
    check("FullNetworkEmbedding", FullNetworkEmbedding())


@pytest.mark.parametrize("bounds", [(-0.25, 0.15), (-1.0, 1.0), (0.0, 0.0)])
def test_equals_a_loop_over_values(bounds):
    train, test = images(), images(seed=1)
    found = FullNetworkEmbedding(*bounds).fit(train).transform(test)
    assert found.dtype == np.int8
    np.testing.assert_array_equal(found, naive(train, test, *bounds))


def test_moments_are_the_populations_in_double_precision():
    X = (images() + 1e4).astype(np.float32)
    fitted = FullNetworkEmbedding().fit(X)
    np.testing.assert_allclose(fitted.mean_, X.mean(axis=0, dtype=np.float64), rtol=1e-14)
    np.testing.assert_allclose(fitted.scale_, X.std(axis=0, dtype=np.float64), rtol=1e-12)


def test_the_bounds_themselves_are_neither_high_nor_low():
    X = np.array([[-1.0], [1.0]])  # mean 0, deviation 1
    fitted = FullNetworkEmbedding().fit(X)
    values = [-0.25, np.nextafter(-0.25, -1), 0.15, np.nextafter(0.15, 1)]
    assert fitted.transform(np.array([values]).T).ravel().tolist() == [0, -1, 0, 1]


@pytest.mark.parametrize("bounds", [(-0.25, 0.15), (0.1, 0.2), (-0.2, -0.1)])
def test_a_feature_that_does_not_vary_says_nothing_even_of_other_values(bounds):
    X = np.full((7, 1), 0.1)  # whose mean is not 0.1 when rounded
    fitted = FullNetworkEmbedding(*bounds).fit(X)
    assert fitted.scale_.tolist() == [0]
    assert fitted.transform([[0.1], [5.0], [-5.0]]).ravel().tolist() == [0, 0, 0]


def test_no_number_is_held_twice_for_long(monkeypatch):
    X = images(200, 40)
    expected = FullNetworkEmbedding().fit(X)
    monkeypatch.setattr(module, "FIT_VALUES", 600)
    monkeypatch.setattr(module, "TRANSFORM_VALUES", 90)
    sizes = [block.size for _, block in module.columns(X, np.arange(40))]
    assert max(sizes) <= 600
    for held in (X, labelled(X), labelled(X, lazy=True)):
        found = FullNetworkEmbedding().fit(held)
        np.testing.assert_allclose(found.mean_, expected.mean_, rtol=1e-13)
        np.testing.assert_allclose(found.scale_, expected.scale_, rtol=1e-13)
        np.testing.assert_array_equal(found.transform(held), expected.transform(X))


def test_labelled_features_keep_their_coordinates_and_stay_lazy():
    X = images()
    plain = FullNetworkEmbedding().fit_transform(X)
    found = FullNetworkEmbedding().fit_transform(labelled(X))
    assert found.dtype == np.int8
    assert found["path"].values.tolist()[:2] == ["0.png", "1.png"]
    np.testing.assert_array_equal(found, plain)
    lazy = FullNetworkEmbedding().fit_transform(labelled(X, lazy=True))
    assert lazy.chunks == labelled(X, lazy=True).chunks
    assert lazy.dtype == np.int8
    xr.testing.assert_identical(lazy.compute(), found)


def test_fitting_reads_a_dask_array_once_and_only_the_kept_layers():
    X, read = images(), []

    def noted(block, block_info=None):
        read.append(tuple(block_info[0]["chunk-location"]))
        return block

    lazy = labelled(X, lazy=True)
    lazy = lazy.copy(data=lazy.data.map_blocks(noted, dtype=X.dtype, meta=X[:0, :0]))
    read.clear()
    FullNetworkEmbedding(layers=["conv2"]).fit(lazy)
    assert sorted(read) == [(0, 1), (1, 1), (2, 1)]


def test_layers_are_kept_by_name():
    X = images()
    every = FullNetworkEmbedding().fit(labelled(X))
    some = FullNetworkEmbedding(layers=["fc", "conv1"]).fit(labelled(X))
    assert some.kept_.tolist() == [0, 1, 6, 7, 8]
    assert some.layers_ == ["conv1", "fc"]
    assert some.get_feature_names_out().tolist() == ["conv1_0", "conv1_1", "fc_0", "fc_1", "fc_2"]
    expected = every.transform(labelled(X))[:, some.kept_]
    found = some.transform(labelled(X))
    np.testing.assert_array_equal(found, expected)
    assert found["layer"].values.tolist() == ["conv1", "conv1", "fc", "fc", "fc"]
    one = FullNetworkEmbedding(layers="conv2").fit(labelled(X))
    np.testing.assert_array_equal(one.transform(labelled(X)), every.transform(labelled(X))[:, 2:6])


def test_transform_finds_the_kept_features_wherever_they_are():
    X = labelled(images())
    fitted = FullNetworkEmbedding(layers=["conv2"]).fit(X)
    expected = fitted.transform(X)
    alone = X.isel(feature=[5, 4, 2, 3])
    xr.testing.assert_identical(fitted.transform(alone), expected)
    with pytest.raises(ValueError, match=r"lacks 1 of the 4 features.*'conv2_3'.*conv2"):
        fitted.transform(X.isel(feature=slice(0, 5)))


def test_works_as_a_step_and_survives_cloning_and_pickling():
    X = images(40, 30)
    y = np.arange(40) % 2
    X[y == 1, 3] += 100
    model = make_pipeline(FullNetworkEmbedding(layers="fc"), LinearSVC())
    X = labelled(X)
    X[:, 8] += 1000 * y
    assert (clone(model).fit(X, y).predict(X) == y).all()
    fitted = FullNetworkEmbedding(-0.5, 0.5, layers=["fc"]).fit(X)
    again = pickle.loads(pickle.dumps(fitted))
    xr.testing.assert_identical(again.transform(X), fitted.transform(X))
    assert clone(fitted).get_params() == fitted.get_params()
    frame = clone(fitted).set_output(transform="pandas").fit_transform(X)
    assert isinstance(frame, pd.DataFrame)
    assert frame.columns[0] == "fc_0"
    assert (frame.dtypes == np.int8).all()


@pytest.mark.parametrize(
    ("settings_", "X", "message"),
    [
        ({"lower": 0.3}, images(), "lower ≤ upper, got 0.3 and 0.15"),
        ({"lower": float("nan")}, images(), "finite bounds"),
        ({"layers": ["fc"]}, images(), "does not say which layer"),
        ({"layers": ["fc", "fc9"]}, labelled(images()), r"among \['conv1'.*got \['fc9'\]"),
        ({"layers": []}, labelled(images()), "expected layers among"),
        ({}, labelled(images()[:1]), "1 sample"),
        ({}, labelled(np.where(np.eye(60, 9) > 0, np.nan, images())), "in 9, first in feature 0"),
        ({}, labelled(images()).rename(feature="unit_"), "expected the dimensions"),
    ],
)
def test_errors_say_what_came(settings_, X, message):
    with pytest.raises(ValueError, match=message):
        FullNetworkEmbedding(**settings_).fit(X)


def test_lazy_values_that_are_not_finite_are_refused_when_they_are_read():
    fitted, X = FullNetworkEmbedding().fit(labelled(images())), images()
    X[3, 3] = np.inf
    with pytest.raises(ValueError, match="1 that are not"):
        fitted.transform(labelled(X, lazy=True)).compute()
    with pytest.raises(ValueError, match="X has 8 features"):
        fitted.transform(labelled(X).drop_vars("unit")[:, :8])


def test_features_of_another_network_are_refused():
    fitted = FullNetworkEmbedding().fit(labelled(images(), attrs={"weights_hash": "aa"}))
    fitted.transform(labelled(images()))
    with pytest.raises(ValueError, match="weights_hash 'aa', got 'bb'"):
        fitted.transform(labelled(images(), attrs={"weights_hash": "bb"}))


ATTRIBUTES = {"network": "tiny", "weights_hash": "aa", "preprocessing_crop": np.int64(64)}


@pytest.mark.parametrize(
    ("layers", "X"),
    [
        (None, images()),
        (None, labelled(images(), attrs=ATTRIBUTES)),
        (["conv2"], labelled(images(), attrs=ATTRIBUTES)),
    ],
)
def test_what_is_saved_comes_back(tmp_path, layers, X):
    fitted = FullNetworkEmbedding(-0.3, 0.2, layers=layers).fit(X)
    fitted.save(tmp_path / "new" / "folder", classes=["cat", "dog"])
    read = FullNetworkEmbedding.load(tmp_path / "new" / "folder")
    assert read.get_params() == fitted.get_params()
    assert read.provenance_ == fitted.provenance_
    assert read.layers_ == fitted.layers_
    assert read.get_feature_names_out().tolist() == fitted.get_feature_names_out().tolist()
    np.testing.assert_array_equal(read.transform(X), fitted.transform(X))
    facts = json.loads((tmp_path / "new" / "folder" / "embedding.json").read_text("utf-8"))
    assert facts["classes"] == ["cat", "dog"]
    assert set(facts["versions"]) >= {"numpy", "scikit-learn"}
    assert len(list((tmp_path / "new" / "folder").iterdir())) == 2


def changed(folder, **entries):
    path = folder / "embedding.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | entries), "utf-8")


def other_numbers(folder, **tensors):
    """Other numbers, with their own checksum."""
    path = folder / "embedding.safetensors"
    save_file(load_file(path) | tensors, path)
    changed(folder, numbers_sha256=hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda at: changed(at, format="pickle"), "is not a layerbook full-network embedding"),
        (lambda at: changed(at, format_version=2), "expected format version 1, got 2"),
        (lambda at: changed(at, hook="os.system"), r"unknown entries \['hook'\]"),
        (lambda at: changed(at, lower="-1"), "expected lower to be float, got '-1'"),
        (lambda at: changed(at, lower=0.5), "lower ≤ upper"),
        (lambda at: changed(at, classes=[1]), "classes to be a list of names"),
        (lambda at: changed(at, feature_names_in=["a"]), "expected 9 feature_names_in, got 1"),
        (lambda at: changed(at, n_features_in=5, feature_names_in=None), "from 0 to 4"),
        (lambda at: (at / "embedding.json").write_text("{", "utf-8"), "is not JSON"),
        (lambda at: (at / "embedding.safetensors").write_bytes(b"x" * 90), "expected SHA-256"),
        (lambda at: other_numbers(at, more=np.zeros(2)), "expected the tensors"),
        (lambda at: other_numbers(at, mean=np.zeros(2)), r"expected mean as float64 of shape \(9"),
        (lambda at: other_numbers(at, scale=np.zeros(9, "f4")), "expected scale as float64"),
        (lambda at: other_numbers(at, scale=np.full(9, -1.0)), "scales from 0"),
        (lambda at: other_numbers(at, kept=np.arange(9)[::-1].copy()), "kept features in order"),
    ],
)
def test_a_folder_that_holds_anything_else_is_refused(tmp_path, harm, message):
    FullNetworkEmbedding().fit(labelled(images())).save(tmp_path)
    harm(tmp_path)
    with pytest.raises(ValueError, match=message):
        FullNetworkEmbedding.load(tmp_path)


def test_a_folder_without_the_files_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"lacks embedding\.json"):
        FullNetworkEmbedding.load(tmp_path)
