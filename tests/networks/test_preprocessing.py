"""Sizes, means and standard deviations as people write them, and what is refused."""

from __future__ import annotations

from math import inf, nan

import numpy as np
import pytest
import torch
import torchvision
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

from analysis.networks import Preprocessing, load_backbone


@pytest.mark.parametrize("crop", [96, 96.0, np.uint8(96), np.float32(96), (96, 96), [96, 96.0]])
def test_squares(crop):
    made = Preprocessing(resize=np.int32(100), crop=crop)
    assert made == Preprocessing(100, 96)
    assert type(made.crop) is type(made.resize) is int
    assert hash(made) == hash(Preprocessing(100, 96))


@pytest.mark.parametrize(
    "crop",
    [(256, 128), [96, 95], (96, 96.5), (96, "96"), (), (96, True), 96.5, 0, -96, True, "96", None,
     nan, inf, -inf, 1j, np.bool_(True), {"height": 96}, np.array([96, 80]), b"96"],
)  # fmt: skip
def test_what_is_no_square(crop):
    with pytest.raises(
        ValueError, match=r"^expected whole numbers of pixels, .* the side of a square .*got crop="
    ):
        Preprocessing(resize=256, crop=crop)


@pytest.mark.parametrize("resize", [(256, 256), [256, 256.0], 256.5, "256", None, True, nan, -1, 0])
def test_what_is_no_shorter_side(resize):
    with pytest.raises(
        ValueError, match=r"^expected whole numbers of pixels, .* shorter side .*resize="
    ):
        Preprocessing(resize=resize, crop=1)


@pytest.mark.parametrize(
    "values",
    [
        [0.5, 0.25, 1],
        np.array([0.5, 0.25, 1], np.float32),
        torch.tensor([0.5, 0.25, 1.0]),
        (np.float64(0.5), 0.25, 1),
    ],
)
@pytest.mark.parametrize("name", ["mean", "std"])
def test_three_channels(name, values):
    made = getattr(Preprocessing(**{name: values}), name)
    assert made == (0.5, 0.25, 1.0)
    assert {type(value) for value in made} == {float}


@pytest.mark.parametrize(
    "values",
    [True, "abc", None, 0.5, (), (0.5, 0.5), (0.5,) * 4, (0.5, 0.5, nan), (inf, 0.5, 0.5),
     (True, 0.5, 0.5), ("0.5", 0.5, 0.5), np.ones(3, bool), np.ones((3, 1)),
     {"red": 0.5, "green": 0.5, "blue": 0.5}, (-0.2, 0.5, 0.5)],
)  # fmt: skip
def test_what_are_no_three_channels(values):
    for name in ("mean", "std"):
        with pytest.raises(ValueError, match=r"(?s)^expected 3 values \(red, .* 0 to 255 by 255"):
            Preprocessing(**{name: values})
    for given in ({"mean": (123.675, 116.28, 103.53)}, {"std": (0, 1, 1)}):
        with pytest.raises(ValueError, match=r"(?s)^expected 3 values \(red, .* 0 to 255 by 255"):
            Preprocessing(**given)


def test_the_presets_of_torchvision():
    for name in torchvision.models.list_models(module=torchvision.models):
        for entry in torchvision.models.get_model_weights(name):
            preset = entry.transforms()
            made = Preprocessing.from_torchvision(preset)
            assert [made.resize] == preset.resize_size
            assert [made.crop] == preset.crop_size
            assert (list(made.mean), list(made.std)) == (list(preset.mean), list(preset.std))
            assert made.interpolation == preset.interpolation.value
    rectangle = ImageClassification(crop_size=(256, 128))
    with pytest.raises(ValueError, match=r"side of a square .*crop=\(256, 128\)"):
        load_backbone("minivgg16", weights="random", preprocess=rectangle)
    nearest = ImageClassification(crop_size=64, interpolation=InterpolationMode.NEAREST)
    with pytest.raises(ValueError, match="unknown interpolation 'nearest'"):
        Preprocessing.from_torchvision(nearest)
