"""What stops an extraction half-way, and what the next one makes of it."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from PIL import Image

from analysis.data import ImageDataset, load_dataset
from analysis.data.images import ChangedImageError
from analysis.features import extract
from analysis.features import store as feature_store
from analysis.features.store import read_metadata
from analysis.networks import load_backbone

ROOT = Path(__file__).parents[2]


@cache
def network():
    return load_backbone("minivgg16", weights="random", seed=0)


def run(data, store):
    options = {"crops": "center", "batch_size": 4, "layers": ["conv1_1", "conv3_1"]}
    return extract(data, network(), store=store, progress=False, **options)


def test_a_full_disk_loses_no_whole_block_and_keeps_no_half(
    tmp_path, monkeypatch, caplog, withstood
):
    data = load_dataset("digits").subset(range(80))
    whole = run(data, tmp_path / "whole").values
    monkeypatch.setattr(feature_store, "BLOCK_IMAGES", 16)
    usual, writes = zarr.open_array, iter(range(100))

    class Full:
        def __setitem__(self, key, values):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def opened(path, mode):  # full in the middle of the third block of two layers
        return Full() if mode == "r+" and next(writes) == 5 else usual(path, mode=mode)

    with monkeypatch.context() as patch:
        patch.setattr(zarr, "open_array", opened)
        with pytest.raises(OSError, match=r"No space left .* make some room and run this again"):
            run(data, tmp_path / "store")
    assert not list((tmp_path / "store").glob("*.zarr"))
    begun = next((tmp_path / "store").glob("*.partial"))
    assert list((begun / "group" / "conv1_1" / "c" / "2").iterdir())  # a half was written
    assert len(list((begun / "done").iterdir())) == 2
    with caplog.at_level(logging.INFO):
        found = run(data, tmp_path / "store")
    assert "continuing after 32 images" in caplog.text
    np.testing.assert_array_equal(found.values, whole)
    withstood("fault", "The disk is full in the middle of an extraction", tried=1)


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder of 24 images in two classes."""
    for number in range(24):
        draw(tmp_path / "images" / "ab"[number % 2] / f"{number:02d}.png", number)
    return tmp_path / "images"


def draw(picture: Path, number: int) -> None:
    """Put an image there, in one step."""
    picture.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 255, (40, 40, 3), np.uint8)
    Image.fromarray(pixels).save(picture.with_name("new"), format="png")
    picture.with_name("new").replace(picture)


def test_a_dataset_that_changes_between_two_runs_gets_features_of_its_own(
    pictures, tmp_path, withstood
):
    before = run(load_dataset(f"folder:{pictures}"), tmp_path / "store")
    old = before.values
    draw(pictures / "b" / "13.png", 99)
    (pictures / "a" / "00.png").rename(pictures / "a" / "98.png")
    after = run(load_dataset(f"folder:{pictures}"), tmp_path / "store")
    assert after.attrs["key"] != before.attrs["key"]
    row = dict(zip(before.path.values, old, strict=True))
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
    victim = pictures / "b" / "13.png"
    usual = ImageDataset.__getitem__

    def reading(self, index):
        image = usual(self, index)
        if data.paths[index] != "b/13.png":
            return image
        if moment == "broken":
            victim.write_bytes(b"no image")
        else:
            draw(victim, 99)
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes that it forks")
@pytest.mark.parametrize("n_kills", [1, pytest.param(10, marks=pytest.mark.long)])
def test_neither_kills_at_random_moments_nor_a_race_change_a_bit(tmp_path, n_kills, withstood):
    script = Path(__file__).with_name("killed_runs.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(n_kills)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["same"] == [True, True]
    assert len(found["n_done"]) == n_kills
    assert n_kills == 1 or max(found["n_done"]) > 0  # some died in the middle of their work
    for folder in ("killed", "raced"):
        assert sorted(path.suffix for path in (tmp_path / folder).iterdir()) == [".lock", ".zarr"]
    withstood("fault", "A process is killed while it extracts features", tried=n_kills)
    withstood("fault", "Two processes extract the same features into one store", tried=1)


@pytest.mark.long
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
    running = subprocess.Popen(
        [*command, "--crops", "center", "--layers", "conv1_1,conv2_1"],
        env={**os.environ, "LAYERBOOK_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
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
    torch.set_num_threads(read_metadata(begun / "group")["threads"])
    options = {"crops": "center", "layers": ["conv1_1", "conv2_1"], "progress": False}
    net, digits = load_backbone("minivgg16", weights="random"), load_dataset("digits")
    with caplog.at_level(logging.INFO):
        found = extract(digits, net, store=store, **options)
    assert "continuing after" in caplog.text
    whole = extract(digits, net, store=tmp_path / "whole", **options)
    np.testing.assert_array_equal(found.values, whole.values)
    withstood("fault", "Ctrl-C stops an extraction", tried=1)
