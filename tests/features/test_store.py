"""What is written is read again; what is no longer as it was written is noticed."""

from __future__ import annotations

import json
import random
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from analysis.data import ImageDataset, load_dataset
from analysis.data.images import ImageArrays
from analysis.features import DamagedStoreError, extract
from analysis.features import store as feature_store
from analysis.features.store import Builder, block_rows, key_of, open_features
from analysis.networks import load_backbone

LENGTHS = {"conv1": 5, "fc": 3}
VALUES = np.random.default_rng(0).standard_normal((10, 8)).astype(np.float32)
VALUES[:, 5:] = 0  # a silent layer
FLIPS = 80


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


@pytest.fixture
def group(tmp_path) -> Path:
    """A finished group of three blocks."""
    return built(tmp_path)


def test_what_was_written_is_read_lazily_with_its_labels(tmp_path):
    found = open_features(built(tmp_path))
    assert found.chunks == ((4, 4, 2), (5, 3))
    np.testing.assert_array_equal(found.values, VALUES)
    np.testing.assert_array_equal(found.label, np.arange(10) % 2)
    assert list(found.path.values) == [f"a/é{i}" for i in range(10)]
    assert list(found.layer.values) == ["conv1"] * 5 + ["fc"] * 3
    assert list(found.unit.values) == [0, 1, 2, 3, 4, 0, 1, 2]
    assert found.attrs["network"] == "n"


def test_other_tools_read_it(group):
    with xr.open_zarr(group, consolidated=False) as table:
        assert set(table) == {"conv1", "fc", "label", "path"}
        assert table.conv1.dims == ("image", "conv1 unit")
        np.testing.assert_array_equal(table.fc, VALUES[:, 5:])
        assert table.attrs["network"] == "n"


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


def test_a_group_with_another_provenance_is_begun_anew_and_its_writer_stopped(tmp_path):
    old = builder(tmp_path, threads=1)
    write(old, [0])
    assert len(builder(tmp_path, threads=1).missing) == 2
    assert len(builder(tmp_path, threads=2).missing) == 3
    with pytest.raises(RuntimeError, match=r"begun .* anew"):
        write(old, [4])
    assert len(builder(tmp_path, threads=2).missing) == 3


def test_a_full_disk_is_noticed_before_the_work(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(100, 90, 10))
    with pytest.raises(OSError, match="the features need up to"):
        builder(tmp_path)
    assert not list(tmp_path.glob("*"))


def test_blocks_are_whole_batches_and_chunks_of_long_layers_are_cut(tmp_path, monkeypatch):
    sizes = {(1000, 8): 256, (1000, 10): 250, (1000, 1000): 1000}
    sizes[3_211_264, 8] = 8  # conv1_1 of VGG16, flattened
    assert {size: block_rows(*size) for size in sizes} == sizes
    monkeypatch.setattr(feature_store, "CHUNK_BYTES", 32)
    found = open_features(built(tmp_path))
    assert found.chunks == ((4, 4, 2), (2, 2, 1, 2, 1))
    np.testing.assert_array_equal(found.values, VALUES)


def test_keys_depend_on_content_and_not_on_order():
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2})
    assert key_of({"a": 1}) == "979c53d0625f7ed84508f5572e9572433e7028c4d24ee92acbf8b4aea656c916"


def everything(group: Path) -> tuple[object, ...]:
    """All that can be read of a group."""
    found = open_features(group)
    labelled = {name: values.values.tolist() for name, values in found.coords.items()}
    return found.values.tolist(), labelled, found.attrs


def files(group: Path) -> list[Path]:
    return sorted(path for path in group.rglob("*") if path.is_file())


def test_no_flipped_bit_goes_unnoticed(group, withstood):
    whole = everything(group)
    rng = random.Random(0)
    noticed = 0
    for number in range(FLIPS):
        file = files(group)[number % len(files(group))]
        before = file.read_bytes()
        bit = rng.randrange(8 * len(before))
        after = bytearray(before)
        after[bit // 8] ^= 1 << bit % 8
        file.write_bytes(after)
        try:
            found = everything(group)
        except (DamagedStoreError, ValueError) as error:
            assert str(group) in str(error)
            assert "delete this folder" in str(error) or "Update Layerbook" in str(error)
            noticed += 1
        else:
            assert found == whole  # a blank between two words of JSON
            assert file.name == "zarr.json"
        file.write_bytes(before)
    assert noticed > 0.9 * FLIPS
    assert everything(group) == whole
    withstood("fault", "A bit flips in a file of the feature store", tried=FLIPS)


def test_no_short_or_missing_file_goes_unnoticed(group, withstood):
    for file in files(group):
        before = file.read_bytes()
        for length in (0, len(before) // 2, len(before) - 1, None):
            if length is None:
                file.unlink()
            else:
                file.write_bytes(before[:length])
            with pytest.raises(DamagedStoreError, match="delete this folder") as caught:
                everything(group)
            layer = file.relative_to(group).parts[0]
            assert str(group) in str(caught.value)
            assert ("metadata" if layer == "zarr.json" else layer) in str(caught.value)
            file.write_bytes(before)
    withstood("fault", "A file of the feature store is lost", tried=len(files(group)))
    withstood("fault", "A file of the feature store is cut short", tried=3 * len(files(group)))


def test_damage_is_noticed_where_it_is_read_and_nowhere_else(group):
    lost = group / "conv1" / "c" / "1" / "0"
    lost.write_bytes(lost.read_bytes()[:-3] + b"xyz")
    found = open_features(group)
    np.testing.assert_array_equal(found[:4].values[:, :5], VALUES[:4, :5])
    assert not found[:, 5:].values.any()
    with pytest.raises(DamagedStoreError, match=r"'conv1' cannot be read .*checksum"):
        found[4:8].compute()
    lost.unlink()
    with pytest.raises(DamagedStoreError, match="'conv1' lacks its part c/1/0"):
        found.mean().compute()
    # Other tools get no zeros either.
    assert np.isnan(zarr.open_array(group / "conv1")[4:8]).all()


def test_trouble_that_is_no_damage_is_told_as_it_is(group, monkeypatch):
    found = open_features(group)
    for trouble in (PermissionError(13, "Permission denied"), MemoryError("too much")):

        def refuse(*arguments, trouble=trouble):
            raise trouble

        with monkeypatch.context() as patch, pytest.raises(type(trouble)):
            patch.setattr(zarr.Array, "__getitem__", refuse)
            found.compute()


def run(store):
    data = load_dataset("digits").subset([0, 1, 2, 10, 11])
    net = load_backbone("minivgg16", weights="random", seed=0)
    layers = ["conv1_1", "fc6"]
    return extract(data, net, crops="center", layers=layers, store=store, progress=False)


def test_a_damaged_group_is_computed_anew_once_it_is_deleted(tmp_path):
    first = run(tmp_path).values
    group = next(tmp_path.glob("*.zarr"))
    (group / "label" / "c" / "0").unlink()
    with pytest.raises(DamagedStoreError, match="'label' lacks its part"):
        run(tmp_path)
    shutil.rmtree(group)
    np.testing.assert_array_equal(run(tmp_path).values, first)


def rewrite(file: Path, **attributes) -> None:
    """Change attributes of a group behind its back."""
    described = json.loads(file.read_text("utf-8"))
    described["attributes"].update(attributes)
    file.write_text(json.dumps(described), "utf-8")


def test_a_newer_store_is_left_alone(tmp_path, monkeypatch, withstood):
    newer = r"of format 2; this Layerbook knows .* up to 1\. Update"
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(Builder, "finish", lambda self: 1 / 0)
        run(tmp_path)
    partial = next(tmp_path.glob("*.partial"))
    rewrite(partial / "group" / "zarr.json", format=2)
    before = files(partial)
    with pytest.raises(ValueError, match=newer):
        run(tmp_path)
    assert files(partial) == before
    rewrite(partial / "group" / "zarr.json", format=1)
    run(tmp_path)
    rewrite(next(tmp_path.glob("*.zarr")) / "zarr.json", format=2)
    with pytest.raises(ValueError, match=newer):
        run(tmp_path)
    withstood("fault", "The feature store is of a newer version", tried=2)
