"""Windows of resized images: as if the whole had been resized, in a bounded part of the memory."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from analysis.data import ImageDataset, decoding
from analysis.data.decoding import grows_too_large, resized_window
from analysis.data.images import CHANGES, UNCHANGED, change_images
from analysis.data.source_tasks import thumbnails
from analysis.networks import Preprocessing
from analysis.networks.preprocessing import CROPS, cut_crops

SIZES = [(1, 3000), (3000, 1), (2, 999), (1777, 3), (7, 2000), (50, 70), (5, 5), (257, 900)]


def noise(size: tuple[int, int]) -> Image.Image:
    rng = np.random.default_rng(size[0])
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resample", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
@pytest.mark.parametrize("whole", [False, True])
def test_a_window_is_that_of_the_whole(size, resample, whole):
    image, short = noise(size), 61
    scale = short / min(size)
    resized = (short, short) if whole else (int(size[0] * scale), int(size[1] * scale))
    reference = np.asarray(image.resize(resized, resample)).astype(int)
    shape = (33, 40)
    for share in (0.0, 0.31, 0.5, 1.0):
        left, top = (int(share * (resized[a] - shape[a])) for a in (0, 1))
        found = np.asarray(resized_window(image, resized, (left, top), shape, resample))
        difference = np.abs(found - reference[top : top + shape[1], left : left + shape[0]])
        assert difference.max() <= 2
        assert (difference > 0).mean() < 0.2  # where Pillow takes the axes in another order


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("crops", CROPS)
def test_crops_of_thin_images_are_those_of_others(size, interpolation, crops, monkeypatch):
    image, way = noise(size), Preprocessing(64, 49, interpolation=interpolation)
    reference = cut_crops(image, crops, way).astype(int)
    monkeypatch.setattr(decoding, "_MOST", 3000)  # as if all of these grew to gigabytes
    assert grows_too_large(size, (64, 64))
    difference = np.abs(cut_crops(image, crops, way) - reference)
    assert difference.max() <= 2
    assert (difference > 0).mean() < 0.2


def test_ordinary_images_are_resized_as_ever(monkeypatch):
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("analysis.networks.preprocessing.resized_window", never)
    for size in ((6000, 4000), (100, 4000), (12_000, 900), (1, 1)):
        for crops in CROPS:
            cut_crops(Image.new("RGB", size), crops, Preprocessing(256, 224))


THIN = """
import json, resource, sys
from PIL import Image
from analysis.networks import Preprocessing
from analysis.networks.preprocessing import CROPS, cut_crops
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
for size in json.loads(sys.argv[1]):
    image = Image.new("RGB", size, (200, 30, 30))
    for crops in CROPS:
        found = cut_crops(image, crops, Preprocessing(256, 224))
        assert abs(found.astype(int) - [200, 30, 30]).max() <= 1
    del image
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="units of ru_maxrss differ")
@pytest.mark.parametrize(
    "sizes",
    [
        [(1, 100_000), (100_000, 1)],
        pytest.param([(3, 900_000)], marks=pytest.mark.long),
        pytest.param([(2_000_000, 2)], marks=pytest.mark.long),
    ],
)
def test_thin_images_take_little_memory(sizes):
    run = [sys.executable, "-c", THIN, json.dumps(sizes)]
    told = subprocess.run(run, capture_output=True, text=True, check=True, timeout=300)
    assert int(told.stdout) < 700  # MB; the first alone would take 26,000


def test_thin_images_everywhere_else():
    """Thumbnails of a source task, and changed copies."""
    images = [np.full((100_000, 1, 3), 90, np.uint8), np.full((2, 90_000, 3), 90, np.uint8)]
    data = ImageDataset.from_arrays(images, ["a", "b"])
    assert (thumbnails(data, 256) == 90).all()
    for change in (UNCHANGED, *CHANGES):
        copies = [image.size for image in change_images(data, change, side=64)]
        assert copies == [(64, 64 * 64), (64 * 64, 64)]
    shades = np.tile(np.arange(4000, dtype=np.uint16)[:, None, None] >> 4, (1, 4, 3)).astype("u1")
    (copy,) = change_images(ImageDataset.from_arrays([shades], ["a"]), UNCHANGED, side=16)
    middle = np.asarray(copy)[512, 0].astype(int)  # of 4000 rows the middle 256
    assert copy.size == (16, 1024) and np.abs(middle - (2000 >> 4)).max() <= 1
