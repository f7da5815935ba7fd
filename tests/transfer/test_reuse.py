"""A recommended embedding, saved and used again."""

from __future__ import annotations

import json
from pathlib import Path

import dask.array
import numpy as np
import pytest
import xarray as xr
from plain_embedding import embedded

from analysis.transfer import RecommendedEmbedding
from analysis.transfer.recommendation import Candidate

LAYERS = np.repeat(["conv1", "conv2", "fc6"], [3, 5, 10])
UNITS = np.concatenate([np.arange(3), np.arange(5), np.arange(10)])


def features(n: int = 12, seed: int = 0, *, lazy: bool = False) -> xr.DataArray:
    X = np.random.default_rng(seed).gamma(1.0, size=(n, LAYERS.size)).astype(np.float32)
    X[:, 4] = 0.0
    return xr.DataArray(
        dask.array.from_array(X, chunks=(5, 9)) if lazy else X,
        dims=("image", "feature"),
        coords={"layer": ("feature", LAYERS), "unit": ("feature", UNITS)},
        attrs={"weights_hash": "abc"},
    )


@pytest.mark.parametrize("values", ["standardised", "discretised"])
@pytest.mark.parametrize("weights", ["features", "layers"])
@pytest.mark.parametrize("layers", [("conv2", "fc6"), ("conv1",)])
def test_the_numbers_are_those_that_were_tested(
    values: str, weights: str, layers: tuple[str, ...]
) -> None:
    X, others = features(), features(7, seed=1)
    candidate = Candidate(layers, values, weights, (1,) * len(layers))
    tested = embedded(X, others, LAYERS, layers, values=values, weights=weights)
    found = RecommendedEmbedding.of(candidate).fit(X).transform(others)
    np.testing.assert_allclose(found.values, tested, rtol=1e-5, atol=1e-5)
    assert found.dtype == np.float32
    assert list(dict.fromkeys(found["layer"].values)) == list(layers)


@pytest.mark.parametrize("values", ["standardised", "discretised"])
def test_some_features_of_the_layers_are_kept(values: str, tmp_path: Path) -> None:
    X, others = features(), features(7, seed=1)
    some = np.arange(LAYERS.size) % 3 == 0
    how = {"features": some, "values": values, "weights": "layers"}
    tested = embedded(X, others, LAYERS, ("conv2", "fc6"), **how)
    fitted = RecommendedEmbedding(("conv2", "fc6"), **how).fit(X)
    read = RecommendedEmbedding.load(fitted.save(tmp_path))
    for embedding in (fitted, read):
        found = embedding.transform(others)
        np.testing.assert_allclose(found.values, tested, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="at least one of them, got 0 of 18"):
        RecommendedEmbedding(features=np.zeros(18, bool)).fit(X)
    with pytest.raises(ValueError, match=r"got \['fc9'\]"):
        RecommendedEmbedding(["fc9"]).fit(X)


@pytest.mark.parametrize("values", ["standardised", "discretised"])
def test_what_was_saved_does_the_same(values: str, tmp_path: Path) -> None:
    fitted = RecommendedEmbedding(("conv2", "fc6"), values=values, weights="layers").fit(features())
    folder = fitted.save(tmp_path / "embedding", classes=["<a>", "b"])
    assert {file.suffix for file in folder.iterdir()} == {".json", ".safetensors"}
    read = RecommendedEmbedding.load(folder)
    others = features(7, seed=1)
    xr.testing.assert_identical(read.transform(others), fitted.transform(others))
    assert read.layers_ == ["conv2", "fc6"]
    assert (read.values, read.weights) == (values, "layers")


@pytest.mark.parametrize("values", ["standardised", "discretised"])
def test_lazy_features_stay_lazy(values: str) -> None:
    fitted = RecommendedEmbedding(values=values).fit(features(lazy=True))
    embedded = fitted.transform(features(7, seed=1, lazy=True))
    assert embedded.chunks is not None
    np.testing.assert_allclose(
        embedded.values,
        RecommendedEmbedding(values=values).fit(features()).transform(features(7, seed=1)).values,
        rtol=1e-5,
        atol=1e-6,
    )


def test_another_network_is_refused() -> None:
    fitted = RecommendedEmbedding().fit(features())
    with pytest.raises(ValueError, match="weights_hash"):
        fitted.transform(features().assign_attrs(weights_hash="other"))


def test_arrays_without_names_are_refused() -> None:
    with pytest.raises(ValueError, match="coordinates 'layer' and 'unit'"):
        RecommendedEmbedding().fit(features().values)
    with pytest.raises(ValueError, match="expected one of standardised, discretised"):
        RecommendedEmbedding(values="binary").fit(features())


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no saved recommendation"):
        RecommendedEmbedding.load(tmp_path)
    folder = RecommendedEmbedding().fit(features()).save(tmp_path / "embedding")
    (folder / "recommended.json").write_text(json.dumps({"values": "pickle", "weights": "layers"}))
    with pytest.raises(ValueError, match="expected values and weights"):
        RecommendedEmbedding.load(folder)
