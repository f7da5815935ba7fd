"""What stops an extraction half-way, and what the next one makes of it."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from analysis.data import ImageDataset, load_dataset
from analysis.data.images import ChangedImageError
from analysis.features import extract
from analysis.features import store as feature_store
from analysis.features.store import BlockWriter, read_metadata
from analysis.networks import load_backbone


@cache
def network():
    return load_backbone("minivgg16", weights="random", seed=0)


def run(data, store, **more):
    how = {"crops": "center", "batch_size": 4, **more}
    return extract(data, network(), store=store, progress=False, **how)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 4 MB; None where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "layerbook-test", str(folder)]
    if sys.platform != "linux" or os.geteuid() or subprocess.run(mount, check=False).returncode:
        yield None
        return
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave no room on a disk but a few kB: too little for a block, enough to begin one."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
        file.write(bytes(free - 24 * 1024))
    return ballast


def full_after(blocks: int, fills):
    """A ``BlockWriter.write`` before whose block number ``blocks`` something fills the disk."""
    write, calls = BlockWriter.write, []

    def filling(self, block, values):
        if len(calls) == blocks:
            fills(self)
        calls.append(block)
        write(self, block, values)

    return filling


def test_a_full_disk_loses_no_whole_block_and_keeps_no_half(
    small_disk, tmp_path, monkeypatch, caplog, withstood
):
    data = load_dataset("digits").subset(range(80))
    whole = run(data, tmp_path / "whole").values
    store = (small_disk or tmp_path) / "store"
    monkeypatch.setattr(feature_store, "BLOCK_IMAGES", 16)

    def fills(writer):
        if small_disk:
            fill(small_disk)
            return

        class Full:
            """An array of which a half is written before the disk is full."""

            def __setitem__(self, key, values):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        usual, writes = zarr.open_array, iter(range(100))

        def opened(path, mode):
            return Full() if mode == "r+" and next(writes) > 5 else usual(path, mode=mode)

        monkeypatch.setattr(zarr, "open_array", opened)

    with monkeypatch.context() as patch:
        patch.setattr(BlockWriter, "write", full_after(2, fills))
        with pytest.raises(OSError, match=r"No space left .* make some room and run this again"):
            run(data, store)
    assert not list(store.glob("*.zarr"))
    begun = next(store.glob("*.partial"))
    assert list((begun / "group" / "conv1_1" / "c" / "2").iterdir())  # a half was written
    assert len(list((begun / "done").iterdir())) == 2
    if small_disk:
        (small_disk / "ballast").unlink()
    monkeypatch.undo()
    monkeypatch.setattr(feature_store, "BLOCK_IMAGES", 16)
    with caplog.at_level(logging.INFO):
        found = run(data, store)
    assert "continuing after 32 images" in caplog.text
    np.testing.assert_array_equal(found.values, whole)
    withstood("fault", "The disk is full in the middle of an extraction", tried=1)


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder of 24 images in two classes."""
    for number, image in enumerate(load_dataset("digits").subset(range(24))):
        folder = tmp_path / "images" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{number:02d}.png")
    return tmp_path / "images"


def replace(picture: Path) -> None:
    """Put another image there, in one step."""
    new = picture.with_name("new")
    load_dataset("digits")[777].transpose(0).save(new, format="png")
    new.replace(picture)


def test_a_dataset_that_changes_between_two_runs_gets_features_of_its_own(
    pictures, tmp_path, withstood
):
    before = run(load_dataset(f"folder:{pictures}"), tmp_path / "store")
    old = before.values
    replace(pictures / "b" / "13.png")
    (pictures / "a" / "00.png").rename(pictures / "a" / "98.png")
    after = run(load_dataset(f"folder:{pictures}"), tmp_path / "store")
    assert after.attrs["key"] != before.attrs["key"]
    assert len(list((tmp_path / "store").glob("*.zarr"))) == 2
    row = {path: values for path, values in zip(before.path.values, old, strict=True)}
    for path, values in zip(after.path.values, after.values, strict=True):
        same = np.array_equal(values, row[path.replace("98", "00")])
        assert same == (path != "b/13.png")
    np.testing.assert_array_equal(before.values, old)
    withstood("fault", "A dataset changes between two runs", tried=2)


@pytest.mark.parametrize("moment", ["before it is read", "while it is read", "broken"])
def test_an_image_that_changes_during_a_run_is_not_filed_under_the_old_fingerprint(
    pictures, tmp_path, moment, monkeypatch, withstood
):
    data = load_dataset(f"folder:{pictures}")
    monkeypatch.setattr(feature_store, "BLOCK_IMAGES", 8)
    victim = next(i for i, path in enumerate(data.paths) if path == "b/13.png")
    usual = ImageDataset.__getitem__

    def reading(self, index):
        if index != victim:
            return usual(self, index)
        image = usual(self, index)
        if moment == "broken":
            (pictures / "b" / "13.png").write_bytes(b"no image")
        else:
            replace(pictures / "b" / "13.png")
        return image if moment == "while it is read" else usual(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(ImageDataset, "__getitem__", reading)
        with pytest.raises(ChangedImageError, match=r"'b/13\.png' .* has changed since"):
            run(data, tmp_path / "store")
    assert not list((tmp_path / "store").glob("*.zarr"))
    with pytest.raises(ChangedImageError, match="open it again"):
        run(data, tmp_path / "store")
    if moment != "broken":
        again = run(load_dataset(f"folder:{pictures}"), tmp_path / "store")
        fresh = run(load_dataset(f"folder:{pictures}"), tmp_path / "fresh")
        np.testing.assert_array_equal(again.values, fresh.values)
        assert again.attrs["fingerprint"] != data.fingerprint
    withstood("fault", "An image file is replaced while its features are extracted", tried=1)


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_leaves_nothing_half_written_and_says_how_to_go_on(
    tmp_path, monkeypatch, caplog, withstood
):
    program = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in what "&" began
        "from analysis.features import store; store.BLOCK_IMAGES = 16\n"
        "from analysis.__main__ import app; app(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", program, "extract", "digits", "minivgg16@random"]
    environment = {
        **os.environ,
        "LAYERBOOK_HOME": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    running = subprocess.Popen(
        [*command, "--crops", "center", "--layers", "conv1_1,conv2_1"],
        env=environment,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    store = tmp_path / "store"
    while running.poll() is None and len(list(store.glob("*.partial/done/*"))) < 3:
        time.sleep(0.005)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=300)
    assert running.returncode == 130, said
    assert "the same command goes on" in said
    assert "Traceback" not in said
    assert not list(store.glob("*.zarr"))

    monkeypatch.setattr(feature_store, "BLOCK_IMAGES", 16)
    begun = next(store.glob("*.partial"))
    threads = read_metadata(begun / "group")["threads"]
    net, digits = load_backbone("minivgg16", weights="random"), load_dataset("digits")
    torch.set_num_threads(threads)
    how = {"crops": "center", "layers": ["conv1_1", "conv2_1"], "progress": False}
    with caplog.at_level(logging.INFO):
        found = extract(digits, net, store=store, **how)
    assert "continuing after" in caplog.text
    whole = extract(digits, net, store=tmp_path / "whole", **how)
    np.testing.assert_array_equal(found.values, whole.values)
    withstood("fault", "Ctrl-C stops an extraction", tried=1)
