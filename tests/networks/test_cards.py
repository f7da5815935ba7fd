"""The contract that every network card keeps, against forward passes written out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from analysis.networks import NETWORKS, load_backbone

SEQUENTIAL = ("vgg16", "vgg19", "alexnet", "minivgg16")
VGG16_CONVS = [
    f"conv{stage}_{i + 1}" for stage, n in enumerate((2, 2, 3, 3, 3), 1) for i in range(n)
]


def images(seed: int, side: int, n: int = 2) -> torch.Tensor:
    return torch.randn((n, 3, side, side), generator=torch.Generator().manual_seed(seed))


def one_by_one(parts: nn.Sequential, path: str, x: torch.Tensor, found: dict) -> torch.Tensor:
    """Run a Sequential module by module, nothing in place; ``found``: (before, after) by path."""
    weighted = None
    for i, part in enumerate(parts):
        name = f"{path}.{i}"
        if isinstance(part, nn.Conv2d):
            x = functional.conv2d(x, part.weight, part.bias, part.stride, part.padding)
            found[name], weighted = (x, x), name
        elif isinstance(part, nn.Linear):
            x = x @ part.weight.T + part.bias
            found[name], weighted = (x, x), name
        elif isinstance(part, nn.ReLU):
            x = x.clamp(min=0)
            if weighted is not None:
                found[weighted] = (found[weighted][0], x)
        elif not isinstance(part, nn.Dropout):
            x = part(x.clone())
            found[name] = (x, x)
    return x


def naive_sequential(module, x):
    found = {}
    x = one_by_one(module.features, "features", x, found)
    x = getattr(module, "avgpool", nn.Identity())(x)
    one_by_one(module.classifier, "classifier", x.flatten(1), found)
    return found


def naive_squeezenet(module, x):
    found = {}
    for i, part in enumerate(module.features):
        if type(part).__name__ == "Fire":
            squeezed = part.squeeze(x).clamp(min=0)
            before = torch.cat([part.expand1x1(squeezed), part.expand3x3(squeezed)], 1)
            x = before.clamp(min=0)
            found[f"features.{i}"] = (before, x)
        else:
            x = one_by_one(nn.Sequential(part), f"part{i}", x, inner := {})
            for pair in inner.values():
                found[f"features.{i}"] = pair
            if isinstance(part, nn.ReLU):
                found[f"features.{i - 1}"] = (found[f"features.{i - 1}"][0], x)
    scores = module.classifier[1](x)
    found["classifier.1"] = (scores, scores.clamp(min=0))
    pooled = scores.clamp(min=0).mean((2, 3), keepdim=True)
    found["classifier.3"] = (pooled, pooled)
    return found


def naive_resnet(module, x):
    found = {}
    before = module.bn1(module.conv1(x))
    found["conv1"] = (before, before.clamp(min=0))
    x = functional.max_pool2d(before.clamp(min=0), 3, 2, module.maxpool.padding)
    found["maxpool"] = (x, x)
    for stage in (1, 2, 3, 4):
        for i, block in enumerate(getattr(module, f"layer{stage}")):
            y = block.bn1(block.conv1(x)).clamp(min=0)
            y = block.bn2(block.conv2(y)).clamp(min=0)
            y = block.bn3(block.conv3(y))
            shortcut = x if block.downsample is None else block.downsample(x)
            before = y + shortcut
            x = before.clamp(min=0)
            found[f"layer{stage}.{i}"] = (before, x)
    pooled = x.mean((2, 3), keepdim=True)
    found["avgpool"] = (pooled, pooled)
    scores = pooled.flatten(1) @ module.fc.weight.T + module.fc.bias
    found["fc"] = (scores, scores)
    return found


def naive(name: str):
    if name in SEQUENTIAL:
        return naive_sequential
    return naive_resnet if name.startswith("resnet") else naive_squeezenet


LONG = {"vgg16", "vgg19"}  # minivgg16 is read alike
CARDS = [pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in NETWORKS]


@pytest.mark.parametrize("name", NETWORKS)
def test_names_units_and_order(name, random_backbone):
    card, net = NETWORKS[name], random_backbone(name)
    names = [layer.name for layer in net.layers]
    assert names == list(card.embedding)
    assert len({*card.embedding, *card.others, *card.aliases}) == sum(
        map(len, (card.embedding, card.others, card.aliases))
    )
    assert net.n_features == card.features == sum(layer.units for layer in net.layers)
    assert net.preprocessing.crop == card.crop
    assert all(net.available[key].name == key for key in card.modules)
    assert {layer.kind for layer in net.layers} <= {"conv", "fc", "block"}
    assert not net.refused


@pytest.mark.parametrize("name", CARDS)
def test_hooks_read_what_a_naive_forward_pass_computes(name, random_backbone, read_layers):
    card, net = NETWORKS[name], random_backbone(name)
    x = images(1, {"alexnet": 96}.get(name, 64), n=1 if name.startswith("vgg") else 2)
    layers = list(net.select(card.modules))
    with torch.no_grad():
        expected = naive(name)(net.module, x.clone())
    for activation in ("pre", "post"):
        read = read_layers(net, layers, activation, x.clone())
        for layer in layers:
            wanted, values = (
                expected[card.modules[layer.name]][activation == "post"],
                read[layer.name],
            )
            scale = wanted.abs().max()
            assert scale > 0, layer.name
            torch.testing.assert_close(values / scale, wanted / scale, rtol=0, atol=2e-5)
            if activation == "pre" and layer.kind in ("conv", "block"):
                assert (values < 0).any(), f"{layer.name} was overwritten by a ReLU"


def test_vgg16_has_the_papers_12416_features(random_backbone):
    net = random_backbone("vgg16")
    assert [layer.name for layer in net.layers] == [*VGG16_CONVS, "fc6", "fc7"]
    assert net.n_features == 12_416 == 4_224 + 8_192
    assert sum(layer.units for layer in net.layers if layer.kind == "conv") == 4_224
    assert net.available["pool5"].spatial == (7, 7)
    assert net.available["fc8"].units == 1000


def test_minivgg16_is_a_quarter_of_vgg16(random_backbone):
    small, large = random_backbone("minivgg16"), random_backbone("vgg16")
    assert [layer.name for layer in small.layers] == [layer.name for layer in large.layers]
    for a, b in zip(small.layers, large.layers, strict=True):
        assert a.units == (512 if b.kind == "fc" else b.units // 4)
    assert small.n_features == 1_056 + 1_024
    assert small.available["fc8"].units == 226
    assert (small.preprocessing.resize, small.preprocessing.crop) == (72, 64)


def test_alexnet_answers_to_decaf_names(random_backbone):
    net = random_backbone("alexnet")
    found = net.select(["decaf1", "decaf5", "decaf6", "decaf7"])
    assert [layer.name for layer in found] == ["pool1", "pool5", "fc6", "fc7"]
    assert (found[1].units, found[1].spatial) == (9_216 // 36, (6, 6))


def test_resnet50_first_blocks_are_55_by_55_with_the_unpadded_stem(random_backbone):
    as_published = random_backbone("resnet50")
    as_in_the_paper = load_backbone("resnet50", weights="random", stem="unpadded")
    assert as_published.available["block1"].spatial == (56, 56)
    block1 = as_in_the_paper.available["block1"]
    assert (block1.units, block1.spatial) == (256, (55, 55))
    assert block1.units * 55 * 55 == 774_400
    assert as_in_the_paper.provenance["stem"] == "unpadded"
    assert as_in_the_paper.weights_hash == as_published.weights_hash
    assert as_published.available["avgpool"].units == 2048
    with pytest.raises(ValueError, match="unknown stem 'keras'"):
        load_backbone("resnet50", weights="random", stem="keras")
    with pytest.raises(ValueError, match="ResNets"):
        load_backbone("minivgg16", weights="random", stem="unpadded")
