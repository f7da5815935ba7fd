from __future__ import annotations

import shutil
from collections import namedtuple

import numpy as np
import pytest
import xarray as xr
import zarr

from analysis.data import ImageDataset
from analysis.data.images import ImageArrays
from analysis.features import store
from analysis.features.store import Builder, block_rows, key_of, open_features

LENGTHS = {"conv1": 5, "fc": 3}
VALUES = np.random.default_rng(0).standard_normal((10, 8)).astype(np.float32)


def dataset(n=10):
    return ImageDataset(
        name="tiny",
        classes=("a", "b"),
        labels=np.arange(n) % 2,
        paths=tuple(f"a/é{i}" for i in range(n)),
        source=ImageArrays(np.zeros((n, 2, 2, 3), np.uint8)),
    )


def builder(folder, rows=4, **attributes):
    return Builder(folder / "x.zarr", dataset(), LENGTHS, {"network": "n", **attributes}, rows)


def test_what_was_written_is_read_lazily_with_its_labels(tmp_path):
    writing = builder(tmp_path)
    for start in range(0, 10, 4):
        writing.write(VALUES[start : start + 4])
    writing.finish()
    found = open_features(tmp_path / "x.zarr")
    assert found.chunks == ((4, 4, 2), (5, 3))
    np.testing.assert_array_equal(found.values, VALUES)
    np.testing.assert_array_equal(found.label, np.arange(10) % 2)
    assert list(found.path.values) == [f"a/é{i}" for i in range(10)]
    assert list(found.layer.values) == ["conv1"] * 5 + ["fc"] * 3
    assert list(found.unit.values) == [0, 1, 2, 3, 4, 0, 1, 2]
    assert found.attrs["network"] == "n"


def test_other_tools_read_it(tmp_path):
    writing = builder(tmp_path, rows=10)
    writing.write(VALUES)
    writing.finish()
    with xr.open_zarr(tmp_path / "x.zarr", consolidated=False) as table:
        assert table.conv1.dims == ("image", "conv1 unit")
        np.testing.assert_array_equal(table.fc, VALUES[:, 5:])
        assert table.attrs["network"] == "n"
    assert sorted(zarr.open_group(tmp_path / "x.zarr").array_keys()) == [
        "conv1", "fc", "label", "path",
    ]  # fmt: skip


def test_an_unfinished_group_is_continued_after_its_last_whole_block(tmp_path):
    builder(tmp_path).write(VALUES[:4])
    (tmp_path / "x.zarr.partial" / "conv1" / "c").mkdir(exist_ok=True)
    (tmp_path / "x.zarr.partial" / "conv1" / "c" / "0.abc.partial").write_bytes(b"half")
    again = builder(tmp_path)
    assert again.images_done == 4
    assert again.bytes_left == 6 * 8 * 4
    assert not list((tmp_path / "x.zarr.partial").rglob("*.partial"))


@pytest.mark.parametrize("damage", ["progress.json", "zarr.json"])
def test_a_damaged_unfinished_group_is_begun_anew(tmp_path, damage):
    builder(tmp_path).write(VALUES[:4])
    (tmp_path / "x.zarr.partial" / damage).write_text("{", "utf-8")
    again = builder(tmp_path)
    assert again.images_done == 0
    for start in range(0, 10, 4):
        again.write(VALUES[start : start + 4])
    again.finish()
    np.testing.assert_array_equal(open_features(tmp_path / "x.zarr").values, VALUES)


def test_an_unfinished_group_with_another_provenance_is_begun_anew(tmp_path):
    builder(tmp_path, threads=1).write(VALUES[:4])
    assert builder(tmp_path, threads=2).images_done == 0


def test_a_full_disk_is_noticed_before_the_work(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(100, 90, 10))
    with pytest.raises(OSError, match="the features need up to"):
        builder(tmp_path)
    assert not list(tmp_path.glob("*"))


def test_blocks_are_whole_batches_and_fit_in_memory():
    assert block_rows(1000, 8) == 256
    assert block_rows(1000, 10) == 250
    assert block_rows(1000, 1000) == 1000
    large = block_rows(3_211_264, 8)  # conv1_1 of VGG16, flattened
    assert large == 8


def test_chunks_of_long_layers_are_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "CHUNK_BYTES", 32)
    writing = builder(tmp_path)
    for start in range(0, 10, 4):
        writing.write(VALUES[start : start + 4])
    writing.finish()
    found = open_features(tmp_path / "x.zarr")
    assert found.chunks == ((4, 4, 2), (2, 2, 1, 2, 1))
    np.testing.assert_array_equal(found.values, VALUES)


def test_keys_depend_on_content_and_not_on_order():
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2})
