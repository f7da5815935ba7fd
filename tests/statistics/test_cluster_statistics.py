"""On two worker processes: the same bits as in one, whatever is lost on the way."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import dask.array
import numpy as np
import pytest
import xarray as xr
from distributed.protocol.pickle import dumps

from analysis.data import ImageDataset
from analysis.data.images import ImageArrays
from analysis.features.store import Builder, open_features
from analysis.statistics import blocks, noise_thresholds, rank_features, signed_ks
from analysis.statistics.blocks import lean
from analysis.statistics.histograms import shards_of, signed_ks_of_shards

N, LAYERS = 200, {"conv1": 70, "conv2": 130, "fc3": 300}
LABELS = np.arange(N) * 7 // N

MEASURES = {
    "exact": signed_ks,
    "bins": partial(signed_ks, bins=100),
    "shards": signed_ks_of_shards,
    "thresholds": lambda X, labels, **kwargs: noise_thresholds(X, labels, 3, seed=5, **kwargs),
}
each_measure = pytest.mark.parametrize("name", MEASURES)


def values():
    rng = np.random.default_rng(0)
    X = np.maximum(rng.standard_normal((N, sum(LAYERS.values()))), 0).astype(np.float32)
    X[LABELS == 3] *= rng.random(X.shape[1], np.float32)
    return X


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Features in a store."""
    data = ImageDataset(
        name="drawn",
        classes=tuple("abcdefg"),
        labels=LABELS,
        paths=tuple(map(str, range(N))),
        source=ImageArrays(np.zeros((N, 1, 1, 3), np.uint8)),
    )
    group = tmp_path_factory.mktemp("store") / "drawn.zarr"
    builder = Builder(group, data, LAYERS, {"network": "net"}, 32)
    for block in builder.missing:
        builder.writer.write(block, values()[block.start : block.stop])
    builder.finish()
    return group


def assert_same(found, expected):
    if isinstance(expected, xr.DataArray):
        xr.testing.assert_identical(found, expected)
        return
    for name, value in vars(expected).items():
        np.testing.assert_array_equal(getattr(found, name), value, err_msg=name)


@each_measure
def test_two_workers_give_the_bits_of_one_process(name, client, stored):
    X = open_features(stored)
    expected = MEASURES[name](X, LABELS)
    found = MEASURES[name](X, LABELS, client=client)
    assert_same(found, expected)
    if isinstance(expected, xr.DataArray):
        np.testing.assert_array_equal(
            found, MEASURES[name]([values()] if name == "shards" else values(), LABELS)
        )


@each_measure
def test_some_features_of_some_images(name, client, stored):
    X = open_features(stored)
    some = np.flatnonzero(np.arange(N) % 3)
    X = X[some, X["layer"].values != "conv2"].transpose("feature", "image")
    assert_same(MEASURES[name](X, LABELS[some], client=client), MEASURES[name](X, LABELS[some]))


def test_wide_chunks_are_cut(client, stored, monkeypatch):
    X = open_features(stored)
    expected = signed_ks(X, LABELS)
    for wanted in (16, 100):
        assert max(np.diff(blocks.bounds_of(X, wanted, wanted))) <= wanted
    monkeypatch.setattr(blocks, "MOST_VALUES", 48 * N)
    assert max(np.diff(blocks.bounds_of(X))) == 48
    assert_same(signed_ks(X, LABELS), expected)


def fatal(folder: Path, kills: int):
    """Features that kill the process that computes them, the first few times."""

    def load(block_info):
        for number in range(kills):
            try:
                (folder / str(number)).touch(exist_ok=False)
            except FileExistsError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)
        (rows, columns) = block_info[None]["array-location"]
        return values()[slice(*rows), slice(*columns)]

    chunks = ((50, 50, 50, 50), (100,) * 5)
    meta = np.empty((0, 0), np.float32)
    data = dask.array.map_blocks(load, chunks=chunks, meta=meta)
    return xr.DataArray(data, dims=("image", "feature"))


@pytest.mark.parametrize(
    "name", [pytest.param(m, marks=[] if m == "thresholds" else pytest.mark.long) for m in MEASURES]
)
def test_a_killed_worker_changes_nothing(name, client, tmp_path, withstood):
    expected = MEASURES[name](xr.DataArray(values(), dims=("image", "feature")), LABELS)
    found = MEASURES[name](fatal(tmp_path, 1), LABELS, client=client)
    assert len(list(tmp_path.iterdir())) == 1
    np.testing.assert_array_equal(
        *(x.d_avg_plus if name == "thresholds" else x.values for x in (found, expected))
    )
    withstood("fault", "A worker of a cluster is killed in the middle of a statistic", tried=1)


@each_measure
def test_a_worker_without_the_store_says_so(name, client, stored, tmp_path, withstood):
    elsewhere = tmp_path / "elsewhere.zarr"
    elsewhere.symlink_to(stored)
    X = open_features(elsewhere)
    elsewhere.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"elsewhere.zarr on this machine; .* share that folder"
    ):
        MEASURES[name](X, LABELS, client=client)
    withstood("fault", "A worker of a cluster does not see the store", tried=1)


@each_measure
def test_values_in_memory_stay_here(name, client):
    message = r"lazy DataArray of the store with a client.* leave client out"
    chunked = xr.DataArray(
        dask.array.from_array(np.zeros((20_000, 64), np.float32), chunks=(5000, 64)),
        dims=("image", "feature"),
    )
    labels = np.arange(20_000) % 3
    plain = np.zeros((20_000, 64), np.float32)
    shards = [[plain], chunked] if name == "shards" else [plain, chunked, xr.DataArray(plain)]
    for X in shards:
        with pytest.raises(ValueError, match=message):
            MEASURES[name](X, labels, client=client)
    if name in ("exact", "thresholds"):
        with pytest.raises(ValueError, match=message):
            MEASURES[name](rank_features(plain[:50]), labels[:50], client=client)


@each_measure
def test_errors_are_those_of_one_process(name, client):
    def load(block_info):
        (rows, columns) = block_info[None]["array-location"]
        X = values()
        X[60, 130] = np.nan
        return X[slice(*rows), slice(*columns)]

    meta = np.empty((0, 0), np.float32)
    data = dask.array.map_blocks(load, chunks=((100, 100), (100,) * 5), meta=meta)
    X = xr.DataArray(data, dims=("image", "feature"))
    with pytest.raises(
        ValueError, match=r"1 NaN in 1 features; the first is feature 130, .* of 200"
    ):
        MEASURES[name](X, LABELS, client=client)
    with pytest.raises(ValueError, match="at least two classes"):
        MEASURES[name](X, np.zeros(N), client=client)


def test_stores_of_several_machines(client, stored):
    X = open_features(stored)
    parts = shards_of(X, 3)
    assert len(parts) == 3
    expected = signed_ks(X, LABELS, bins=100)
    assert_same(signed_ks_of_shards(parts, LABELS, client=client), expected)


def test_what_travels_is_small(stored):
    X = open_features(stored)[:, :64]
    recipe = lean(X)
    assert not recipe.coords
    assert len(dumps(recipe)) < 20_000 < X.nbytes
    np.testing.assert_array_equal(recipe.values, values()[:, :64])
