from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from analysis.data import ImageDataset
from analysis.data.images import ImageArrays
from analysis.features import strongest_crops
from analysis.networks import Preprocessing, load_backbone

SIDE = 40
PLAIN = Preprocessing(SIDE, SIDE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


class Finder(nn.Module):
    """Unit 0 answers to red, unit 1 to blue, over 3 x 3 pixels; every second position."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, stride=2)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(2, 2)
        with torch.no_grad():
            self.conv.weight.fill_(-1)
            self.conv.bias.zero_()
            self.conv.weight[0, 0] = 1
            self.conv.weight[1, 2] = 1
            self.fc.weight.copy_(torch.eye(2))
            self.fc.bias.zero_()

    def forward(self, x):
        return self.fc(self.relu(self.conv(x)).mean((2, 3)))


@pytest.fixture
def net():
    return load_backbone(Finder(), layers=["conv"], preprocess=PLAIN)


def planted(spots, n=20):
    """Black images with 3 x 3 squares: (image, top, left, channel, value)."""
    pixels = np.zeros((n, SIDE, SIDE, 3), np.uint8)
    for image, top, left, channel, value in spots:
        pixels[image, top : top + 3, left : left + 3, channel] = value
    return ImageDataset(
        "planted", ("x",), np.zeros(n, int), tuple(map(str, range(n))), ImageArrays(pixels)
    )


def test_planted_patterns_are_found_where_they_are(net):
    data = planted([(3, 10, 20, 0, 200), (17, 36, 0, 0, 250), (5, 0, 36, 2, 90), (8, 4, 4, 2, 80)])
    found = strongest_crops(data, net, "conv", [1, 0], n=2, progress=False)
    assert list(found) == [1, 0]
    assert [s.image for s in found[0]] == [17, 3]
    assert [s.image for s in found[1]] == [5, 8]
    best = found[0][0]
    assert best.path == "17"
    assert best.position == (18, 0)
    assert best.box == (0, 36, 3, 39)
    assert best.activation == pytest.approx(9 * 250 / 255, rel=1e-5)
    np.testing.assert_array_equal(best.patch, np.full((3, 3, 3), (250, 0, 0), np.uint8))
    assert best.pixels.shape == (SIDE, SIDE, 3)
    assert found[1][0].box == (36, 0, 39, 3)


def test_of_ten_crops_the_strongest_counts_once(net):
    small = load_backbone(
        Finder(),
        layers=["conv"],
        preprocess=Preprocessing(SIDE, 20, PLAIN.mean, PLAIN.std),
    )
    data = planted([(4, 36, 36, 0, 255)])  # lower right corner: crops 3 and, mirrored, 7
    first, second = strongest_crops(data, small, "conv", [0], n=2, crops="ten", progress=False)[0]
    assert (first.image, first.crop) == (4, 3)
    assert first.box == (16, 16, 19, 19)
    assert first.patch.min(axis=(0, 1))[0] == 255
    assert second.image != 4


def test_vectors_see_the_whole_crop(net):
    data = planted([(2, 0, 0, 0, 255), (6, 0, 0, 2, 255)])
    found = strongest_crops(data, net, "fc", [0, 1], n=1, progress=False)
    assert [found[unit][0].image for unit in (0, 1)] == [2, 6]
    assert found[0][0].box == (0, 0, SIDE, SIDE)
    assert found[0][0].position == (0, 0)


def test_several_taps_and_pre_activation_agree_with_a_plain_pass():
    net = load_backbone(
        "squeezenet1_1", weights="random", seed=0, preprocess=Preprocessing(SIDE, SIDE)
    )
    rng = np.random.default_rng(0)
    arrays = rng.integers(0, 256, (7, SIDE, SIDE, 3), dtype=np.uint8)
    data = ImageDataset("noise", ("x",), np.zeros(7, int), tuple("abcdefg"), ImageArrays(arrays))
    layer = net.select(["fire3"])[0]
    units = [0, layer.units - 1]
    found = strongest_crops(
        data, net, "fire3", units, n=7, activation="pre", batch_size=2, progress=False
    )
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in (net.preprocessing.mean, net.preprocessing.std)
    )
    images = (torch.from_numpy(arrays).permute(0, 3, 1, 2) / 255 - mean) / std
    seen = {}
    for tap in layer.pre:
        net.module.get_submodule(tap.module).register_forward_hook(
            lambda m, i, o, tap=tap: seen.update({tap: o.clone()})
        )
    with torch.no_grad():
        net.module(images)
    maps = torch.cat([seen[tap] for tap in layer.pre], 1).numpy()
    for unit in units:
        assert sorted(s.image for s in found[unit]) == list(range(7))
        for strong in found[unit]:
            plain = maps[strong.image, unit]
            assert strong.activation == pytest.approx(plain.max(), abs=1e-5)
            assert plain[strong.position] == pytest.approx(plain.max(), abs=1e-5)


def test_units_outside_of_the_layer_are_refused(net):
    with pytest.raises(ValueError, match=r"expected a unit of 'conv' in 0\.\.1, got 2"):
        strongest_crops(planted([]), net, "conv", [2], progress=False)
    with pytest.raises(ValueError, match="n=0"):
        strongest_crops(planted([]), net, "conv", [0], n=0, progress=False)
