"""Maps cut out of flattened features, and what is said of them."""

import numpy as np
import pytest
import torch
from torch import nn

from analysis.data import load_dataset
from analysis.features import extract, strongest_crops
from analysis.features.units import (
    describe_outputs,
    describe_strongest,
    layer_maps,
    most_varied_units,
)
from analysis.networks import Preprocessing, load_backbone
from analysis.networks.preprocessing import cut_crops


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5)
    )
    return load_backbone(module, layers=["0", "3"], preprocess=Preprocessing(18, 16))


@pytest.fixture(scope="module")
def data():
    return load_dataset("digits").subset(range(6))


@pytest.fixture(scope="module")
def features(net, data):
    return extract(data, net, crops="center", pooling="none", progress=False)


def test_maps_are_what_the_module_computes(net, data, features):
    maps = layer_maps(features, net.layers[0])
    crop = cut_crops(data[4], "center", net.preprocessing) / 255
    pixels = (crop - net.preprocessing.mean) / net.preprocessing.std
    with torch.no_grad():
        expected = net.module[:2](torch.tensor(pixels).float().permute(0, 3, 1, 2))[0].numpy()
    assert maps.shape == (6, 4, 8, 8)
    assert np.allclose(maps[4], expected, atol=1e-5)


def test_vectors_and_pooled_features_have_no_maps(net, data, features):
    with pytest.raises(ValueError, match="one number per unit"):
        layer_maps(features, net.layers[1])
    pooled = extract(data, net, crops="center", progress=False)
    with pytest.raises(ValueError, match='pooling="none"'):
        layer_maps(pooled, net.layers[0])


def test_the_most_varied_units_come_first():
    maps = np.zeros((3, 4, 2, 2))
    maps[:, 2] = np.array([0, 1, 2])[:, None, None]
    maps[:, 1] = np.array([0, 5, 9])[:, None, None]
    maps[:, 3, 0] = 100  # high, but the same in every image
    assert most_varied_units(maps, 2) == [1, 2]


def test_the_description_counts_every_number(net, data, features):
    table = describe_outputs(features[:1], net).set_index("layer")
    maps = layer_maps(features, net.layers[0])[0]
    assert table["numbers"].tolist() == [256, 5]
    assert table["map of a unit"].tolist() == ["8 × 8", ""]
    assert np.isclose(table.loc["0", "zeros"], (maps == 0).mean())
    assert np.isclose(table.loc["0", "largest"], maps.max())


def test_every_strong_crop_has_its_row(net, data):
    found = {"0": strongest_crops(data, net, "0", [3, 1], n=2, progress=False)}
    table = describe_strongest(found)
    assert table[["layer", "unit", "rank"]].values.tolist() == [
        ["0", 3, 1],
        ["0", 3, 2],
        ["0", 1, 1],
        ["0", 1, 2],
    ]
    crop = found["0"][1][1]
    row = table.iloc[3]
    assert (row["photograph"], row["activation"]) == (crop.path, crop.activation)
    assert tuple(row[["left", "top", "right", "bottom"]]) == crop.box
