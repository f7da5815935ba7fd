"""The atlas against a search with all maps in memory, on numbers that floats hold exactly."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from analysis.data import ImageDataset
from analysis.data.images import ImageArrays
from analysis.features import strongest_crops, unit_atlas
from analysis.features.units import peaks_of
from analysis.networks import Layer, Preprocessing, load_backbone, receptive_field
from analysis.networks.preprocessing import cut_crops

SIDE, CROP, IMAGES = 12, 8, 11
WHOLE = Preprocessing(SIDE, CROP, mean=(0.0,) * 3, std=(1 / 255,) * 3)  # pixels as they are
LAYERS = ("conv", "last", "token", "fc")
UNITS = {"conv": 5, "last": 4, "token": 3, "fc": 6}


class EveryLayout(nn.Module):
    """Maps with the units first, maps with the units last, tokens and a vector; small integers."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.last = nn.Linear(5, 4)
        self.token = nn.Linear(4, 3)
        self.fc = nn.Linear(48, 6)
        numbers = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data = torch.randint(-2, 3, parameter.shape, generator=numbers).float()
        self.conv.weight.data[3] = -1
        self.conv.bias.data[3] = 0  # silent, whatever it sees

    def forward(self, x):
        x = self.last(self.relu(self.conv(x)).permute(0, 2, 3, 1))
        return self.fc(self.token(x.flatten(1, 2)).flatten(1))


@pytest.fixture(scope="module")
def net():
    return load_backbone(EveryLayout(), layers=LAYERS, preprocess=WHOLE)


@pytest.fixture(scope="module")
def data():
    """Images of few grey levels, some of them twice: many activations are equal."""
    pixels = np.random.default_rng(0).integers(0, 3, (IMAGES, SIDE, SIDE, 3), dtype=np.uint8)
    pixels[7], pixels[9] = pixels[2], pixels[2, :, ::-1]
    return dataset(pixels)


def dataset(pixels):
    names = tuple(f"x/{number}.png" for number in range(len(pixels)))
    return ImageDataset("grey", ("x",), np.zeros(len(pixels), int), names, ImageArrays(pixels))


def all_maps(data, net, crops, activation):
    """Layer → (images, crops, units, rows, columns), one crop after the other, nothing in place."""
    module = copy.deepcopy(net.module)
    module.relu = nn.ReLU()
    module.conv.register_forward_hook(lambda m, i, o: seen.update(conv=o))
    if activation == "post":
        module.relu.register_forward_hook(lambda m, i, o: seen.update(conv=o))
    module.last.register_forward_hook(lambda m, i, o: seen.update(last=o.permute(0, 3, 1, 2)))
    module.token.register_forward_hook(lambda m, i, o: seen.update(token=o.mT[..., None]))
    module.fc.register_forward_hook(lambda m, i, o: seen.update(fc=o[..., None, None]))
    maps = {layer: [] for layer in LAYERS}
    for image in data:
        for layer in LAYERS:
            maps[layer].append([])
        for crop in cut_crops(image, crops, net.preprocessing):
            seen = {}
            with torch.no_grad():
                module(torch.tensor(crop).permute(2, 0, 1)[None].float())
            for layer in LAYERS:
                maps[layer][-1].append(seen[layer][0].numpy())
    return {layer: np.array(values) for layer, values in maps.items()}


def naive(maps, unit, n):
    """(activation, image, crop, position) of the strongest, from the maps of one layer."""
    of_unit = maps[:, :, unit]
    order = np.argsort(-of_unit.max(axis=(1, 2, 3)), kind="stable")[:n]
    found = []
    for image in order:
        crop, row, column = np.unravel_index(of_unit[image].argmax(), of_unit[image].shape)
        found.append((of_unit[image].max(), image, crop, (row, column)))
    return found


def described(crops):
    return [(crop.activation, crop.image, crop.crop, crop.position) for crop in crops]


@pytest.mark.parametrize(
    ("activation", "crops", "batch_size"),
    [("post", "center", 1), ("post", "ten", None), ("pre", "center", 5), ("pre", "ten", 1)],
)
def test_the_atlas_is_that_of_all_maps_in_memory(net, data, crops, activation, batch_size):
    maps = all_maps(data, net, crops, activation)
    options = {"crops": crops, "activation": activation, "batch_size": batch_size}
    atlas = unit_atlas(data, net, n=4, progress=False, **options)
    assert [layer.layout for layer in net.layers] == ["nchw", "nhwc", "tokens", "vector"]
    for layer, units in UNITS.items():
        for unit in range(units):
            found = atlas.strongest(layer, unit)
            assert described(found) == naive(maps[layer], unit, 4), (layer, unit)


def test_ties_are_there_and_keep_the_order_of_the_dataset(net, data):
    atlas = unit_atlas(data, net, layers="conv", n=IMAGES, crops="ten", progress=False)
    assert described(atlas.strongest("conv", 3)) == [(0, i, 0, (0, 0)) for i in range(IMAGES)]
    alike = [crop.image for crop in atlas.strongest("conv", 0) if crop.image in (2, 7, 9)]
    assert alike == [2, 7, 9]


def test_layers_come_in_the_order_asked_for_and_a_small_dataset_is_held_whole(net, data):
    atlas = unit_atlas(data.subset(range(3)), net, layers=["fc", "conv"], n=9, progress=False)
    whole = unit_atlas(data.subset(range(3)), net, n=3, progress=False)
    n_units = UNITS["fc"] + UNITS["conv"]
    assert [layer.name for layer in atlas.layers] == ["fc", "conv"]
    assert atlas.peaks.shape == (n_units, 3)
    np.testing.assert_array_equal(np.sort(atlas.peaks["image"], axis=1), [[0, 1, 2]] * n_units)
    for layer in ("fc", "conv"):
        for unit in range(UNITS[layer]):
            ours, theirs = atlas.strongest(layer, unit), whole.strongest(layer, unit)
            assert described(ours) == described(theirs)


def test_strongest_crops_are_those_of_the_atlas(net, data):
    atlas = unit_atlas(data, net, n=5, crops="ten", progress=False)
    twin = pickle.loads(pickle.dumps(atlas))
    np.testing.assert_array_equal(twin.peaks, atlas.peaks)
    for layer in LAYERS:
        units = [UNITS[layer] - 1, 0]
        found = strongest_crops(data, net, layer, units, n=3, crops="ten", progress=False)
        assert list(found) == units
        for unit in units:
            for ours, theirs in zip(twin.strongest(layer, unit, 3), found[unit], strict=True):
                assert described([ours]) == described([theirs])
                assert (ours.path, ours.box) == (theirs.path, theirs.box)
                np.testing.assert_array_equal(ours.pixels, theirs.pixels)
    for strong in atlas.strongest("conv", 1):
        assert strong.path == data.paths[strong.image]
        crops = cut_crops(data[strong.image], "ten", net.preprocessing)
        np.testing.assert_array_equal(strong.pixels, crops[strong.crop])
        assert strong.box == receptive_field(net, "conv", strong.position)


def test_what_an_atlas_does_not_hold_is_refused(net, data):
    atlas = unit_atlas(data, net, layers=["conv", "fc"], n=2, progress=False)
    with pytest.raises(ValueError, match=r"no layer 'token' .* it holds: conv, fc"):
        atlas.strongest("token", 0)
    for unit in (-1, 5):
        with pytest.raises(ValueError, match=rf"expected a unit of 'conv' in 0\.\.4, got {unit}"):
            atlas.strongest("conv", unit)
        with pytest.raises(ValueError, match=rf"expected a unit of 'conv' in 0\.\.4, got {unit}"):
            strongest_crops(data, net, "conv", [unit], progress=False)
    for n in (0, 3):
        with pytest.raises(ValueError, match=rf"expected n in 1\.\.2, .* got {n}"):
            atlas.strongest("conv", 0, n)
    for few, n, told in ((data, 0, "n=0"), (data.subset([]), 9, "0 images")):
        with pytest.raises(ValueError, match=told):
            unit_atlas(few, net, n=n, progress=False)


class Spoilt(nn.Module):
    """The second unit of the second layer is spoilt where a pixel is 99."""

    def __init__(self, value):
        super().__init__()
        self.value = value
        self.first = nn.Conv2d(3, 2, 1)
        self.second = nn.Identity()

    def forward(self, x):
        y = self.first(x)
        bad = torch.stack([torch.zeros_like(x[:, 0]), x[:, 0] == 99], dim=1).bool()
        return self.second(torch.where(bad, self.value, y))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("crops", ["center", "ten"])
def test_activations_that_are_not_finite_are_an_error(data, value, crops):
    pixels = data.source.arrays.copy()
    pixels[6, 5, 4, 0] = 99  # seen by several crops, at another place in each
    net = load_backbone(Spoilt(value), layers=["first", "second"], preprocess=WHOLE)
    expected = r"layer 'second' gives values that are not finite for image 'x/6\.png'"
    with pytest.raises(ValueError, match=expected):
        unit_atlas(dataset(pixels), net, crops=crops, n=1, batch_size=4, progress=False)


def values_in(layout, dtype, *, units_last):
    """Values of many ties, with the memory of a channels-last or of a plain tensor."""
    shape = {"nchw": (4, 6, 5, 7), "nhwc": (4, 5, 7, 6), "tokens": (4, 35, 6), "vector": (4, 6)}
    numbers = torch.Generator().manual_seed(1)
    values = torch.randint(-9, 9, shape[layout], generator=numbers).to(dtype)
    axis = {"nchw": 1, "nhwc": 3, "tokens": 2, "vector": 1}[layout]
    stored = values.movedim(axis, -1 if units_last else 1).contiguous()
    return stored.movedim(-1 if units_last else 1, axis), axis


@pytest.mark.parametrize("layout", ["nchw", "nhwc", "tokens", "vector"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("units_last", [True, False])
def test_peaks_of_every_layout_are_those_of_numpy(layout, dtype, units_last):
    values, axis = values_in(layout, dtype, units_last=units_last)
    plain = values.float().movedim(axis, 1).reshape(4, 6, -1).clone().numpy()
    here = Layer("here", "conv", 6, None, layout, (), ())
    found = peaks_of(values, here)
    values.zero_()  # as a network may: what was found has memory of its own
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found[:, 0::2], plain.max(2))
    np.testing.assert_array_equal(found[:, 1::2], plain.argmax(2))
    for place in (0, plain.shape[2] // 2, plain.shape[2] - 1):  # NaN is never outdone
        values, _ = values_in(layout, dtype, units_last=units_last)
        values.movedim(axis, -1)[2].view(-1, 6)[place, 3] = float("nan")
        assert torch.isnan(peaks_of(values, here)).nonzero().tolist() == [[2, 6]]
