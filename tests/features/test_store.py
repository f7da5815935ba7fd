from __future__ import annotations

import shutil
from collections import namedtuple

import numpy as np
import pytest
import xarray as xr
import zarr

from analysis.data import ImageDataset
from analysis.data.images import ImageArrays
from analysis.features import store as feature_store
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


def write(building, blocks=(0, 4, 8)):
    for start in blocks:
        block = range(start, min(start + building.rows, 10))
        building.writer.write(block, VALUES[start : block.stop])


def built(folder, **how):
    """A finished group of ten images."""
    whole = builder(folder, **how)
    write(whole, range(0, 10, whole.rows))
    whole.finish()
    return folder / "x.zarr"


def test_what_was_written_is_read_lazily_with_its_labels(tmp_path):
    found = open_features(built(tmp_path))
    assert found.chunks == ((4, 4, 2), (5, 3))
    np.testing.assert_array_equal(found.values, VALUES)
    np.testing.assert_array_equal(found.label, np.arange(10) % 2)
    assert list(found.path.values) == [f"a/é{i}" for i in range(10)]
    assert list(found.layer.values) == ["conv1"] * 5 + ["fc"] * 3
    assert list(found.unit.values) == [0, 1, 2, 3, 4, 0, 1, 2]
    assert found.attrs["network"] == "n"


def test_other_tools_read_it(tmp_path):
    built(tmp_path, rows=10)
    with xr.open_zarr(tmp_path / "x.zarr", consolidated=False) as table:
        assert table.conv1.dims == ("image", "conv1 unit")
        np.testing.assert_array_equal(table.fc, VALUES[:, 5:])
        assert table.attrs["network"] == "n"
    assert sorted(zarr.open_group(tmp_path / "x.zarr").array_keys()) == [
        "conv1", "fc", "label", "path",
    ]  # fmt: skip


def test_blocks_come_in_any_order_and_again(tmp_path):
    writing = builder(tmp_path)
    assert writing.missing == [range(0, 4), range(4, 8), range(8, 10)]
    write(writing, [8, 0, 8])
    with pytest.raises(RuntimeError, match="1 blocks of x"):
        writing.finish()
    write(writing, [4, 0])
    writing.finish()
    np.testing.assert_array_equal(open_features(tmp_path / "x.zarr").values, VALUES)
    assert [path.name for path in tmp_path.iterdir()] == ["x.zarr"]


def test_an_unfinished_group_is_continued_with_the_blocks_it_lacks(tmp_path):
    write(builder(tmp_path), [4])
    begun = tmp_path / "x.zarr.partial" / "group" / "conv1" / "c" / "0.abc.partial"
    begun.write_bytes(b"half")
    again = builder(tmp_path)
    assert again.missing == [range(0, 4), range(8, 10)]
    assert again.bytes_left == 6 * 8 * 4
    assert not begun.exists()


@pytest.mark.parametrize("damage", ["zarr.json", "conv1/zarr.json", "label/zarr.json"])
def test_a_damaged_unfinished_group_is_begun_anew(tmp_path, damage):
    write(builder(tmp_path), [0])
    (tmp_path / "x.zarr.partial" / "group" / damage).write_text("{", "utf-8")
    again = builder(tmp_path)
    assert len(again.missing) == 3
    write(again)
    again.finish()
    np.testing.assert_array_equal(open_features(tmp_path / "x.zarr").values, VALUES)


def test_who_still_writes_for_a_run_that_was_begun_anew_is_stopped(tmp_path):
    old = builder(tmp_path, threads=1)
    builder(tmp_path, threads=2)
    with pytest.raises(RuntimeError, match=r"begun .* anew"):
        write(old, [0])
    assert len(builder(tmp_path, threads=2).missing) == 3


def test_an_unfinished_group_with_another_provenance_is_begun_anew(tmp_path):
    write(builder(tmp_path, threads=1), [0])
    assert len(builder(tmp_path, threads=1).missing) == 2
    assert len(builder(tmp_path, threads=2).missing) == 3


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
    monkeypatch.setattr(feature_store, "CHUNK_BYTES", 32)
    found = open_features(built(tmp_path))
    assert found.chunks == ((4, 4, 2), (2, 2, 1, 2, 1))
    np.testing.assert_array_equal(found.values, VALUES)


def test_keys_depend_on_content_and_not_on_order():
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2})
