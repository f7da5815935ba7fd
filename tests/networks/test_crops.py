from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from analysis.networks import Preprocessing
from analysis.networks.preprocessing import cut_crops

# (width, height): landscape, portrait, odd margins, exact, tiny, a panorama
SIZES = [(301, 200), (200, 333), (257, 256), (256, 257), (256, 256), (7, 9), (2000, 61)]


def picture(size, seed=0):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def resize(preprocessing, size):
    return transforms.Resize(size, InterpolationMode(preprocessing.interpolation))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("sides", [(256, 224), (40, 33), (32, 32)])
def test_crops_are_torchvisions_bit_for_bit(size, interpolation, sides):
    p = Preprocessing(*sides, interpolation=interpolation)
    image = picture(size)
    resized = resize(p, p.resize)(image)
    warped = resize(p, (p.resize, p.resize))(image)
    expected = {
        "center": [transforms.CenterCrop(p.crop)(resized)],
        "ten": transforms.TenCrop(p.crop)(resized),
        "warp": [transforms.CenterCrop(p.crop)(warped)],
        "whole": [resize(p, (p.crop, p.crop))(image)],
    }
    for crops, theirs in expected.items():
        ours = cut_crops(image, crops, p)
        assert ours.dtype == np.uint8
        np.testing.assert_array_equal(ours, np.stack([np.asarray(crop) for crop in theirs]))


def test_unknown_crops_and_modes_are_refused():
    with pytest.raises(ValueError, match="unknown crops 'five'; known: center, ten, warp, whole"):
        cut_crops(picture((9, 9)), "five", Preprocessing())
    with pytest.raises(ValueError, match="RGB"):
        cut_crops(picture((9, 9)).convert("L"), "center", Preprocessing())
