"""What is no longer as it was written is noticed when it is read."""

from __future__ import annotations

import json
import random
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import zarr

from analysis.data import ImageDataset, load_dataset
from analysis.features import DamagedStoreError, extract, open_features
from analysis.features.store import Builder, key_of
from analysis.networks import load_backbone

LENGTHS = {"conv1": 5, "fc": 3}
VALUES = np.random.default_rng(0).standard_normal((10, 8)).astype(np.float32)
FLIPS = 80


@pytest.fixture
def data() -> ImageDataset:
    return load_dataset("digits").subset([0, 1, 2, 10, 11, 12, 20, 21, 22, 30])


@pytest.fixture
def group(tmp_path, data) -> Path:
    """A finished group of three blocks, one of whose layers is silent."""
    builder = Builder(tmp_path / "x.zarr", data, LENGTHS, {"network": "n"}, 4)
    values = VALUES.copy()
    values[:, 5:] = 0
    for block in builder.missing:
        builder.writer.write(block, values[block.start : block.stop])
    builder.finish()
    return tmp_path / "x.zarr"


def everything(group: Path) -> tuple[object, ...]:
    """All that can be read of a group."""
    found = open_features(group)
    labelled = {name: values.values.tolist() for name, values in found.coords.items()}
    return found.values.tolist(), labelled, found.attrs


def files(group: Path) -> list[Path]:
    return sorted(path for path in group.rglob("*") if path.is_file())


def layer_of(file: Path, group: Path) -> str:
    name = file.relative_to(group).parts[0]
    return "metadata" if name == "zarr.json" else name


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


@pytest.mark.parametrize("keep", [0, 0.5, "all but one byte", None])
def test_no_short_or_missing_file_goes_unnoticed(group, keep, withstood):
    for file in files(group):
        before = file.read_bytes()
        if keep is None:
            file.unlink()
        else:
            length = len(before) - 1 if isinstance(keep, str) else int(keep * len(before))
            file.write_bytes(before[:length])
        with pytest.raises(DamagedStoreError, match="delete this folder") as caught:
            everything(group)
        assert str(group) in str(caught.value)
        assert layer_of(file, group) in str(caught.value)
        file.write_bytes(before)
    what = "is lost" if keep is None else "is cut short"
    withstood("fault", f"A file of the feature store {what}", tried=len(files(group)))


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


@cache
def network():
    return load_backbone("minivgg16", weights="random", seed=0)


def run(data, store, **more):
    how = {"crops": "center", "batch_size": 2, "layers": ["conv1_1", "fc6"], **more}
    return extract(data, network(), store=store, progress=False, **how)


def test_a_damaged_group_is_computed_anew_once_it_is_deleted(data, tmp_path):
    first = run(data, tmp_path).values
    group = next(tmp_path.glob("*.zarr"))
    (group / "label" / "c" / "0").unlink()
    with pytest.raises(DamagedStoreError, match="'label' lacks its part"):
        run(data, tmp_path)
    shutil.rmtree(group)
    np.testing.assert_array_equal(run(data, tmp_path).values, first)


def test_keys_are_those_of_the_first_version():
    assert key_of({"a": 1}) == "979c53d0625f7ed84508f5572e9572433e7028c4d24ee92acbf8b4aea656c916"


def rewrite(file: Path, **attributes) -> None:
    """Change attributes of a group behind its back."""
    described = json.loads(file.read_text("utf-8"))
    described["attributes"].update(attributes)
    file.write_text(json.dumps(described), "utf-8")


def test_a_newer_store_is_left_alone(data, tmp_path, monkeypatch, withstood):
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(Builder, "finish", lambda self: 1 / 0)
        run(data, tmp_path)
    partial = next(tmp_path.glob("*.partial"))
    rewrite(partial / "group" / "zarr.json", format=2)
    before = files(partial)
    with pytest.raises(ValueError, match=r"of format 2; this Layerbook knows .* up to 1\. Update"):
        run(data, tmp_path)
    assert files(partial) == before
    rewrite(partial / "group" / "zarr.json", format=1)
    run(data, tmp_path)
    group = next(tmp_path.glob("*.zarr"))
    rewrite(group / "zarr.json", format=2)
    with pytest.raises(ValueError, match=r"of format 2; this Layerbook knows .* up to 1\. Update"):
        run(data, tmp_path)
    withstood("fault", "The feature store is of a newer version", tried=2)
