"""Transformers: what kind their layers are, and what is taken of their tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import transforms
from torchvision.models.vision_transformer import VisionTransformer

from analysis.data import load_dataset
from analysis.features import extract
from analysis.figures.distributions import KINDS as PANELS
from analysis.networks import Preprocessing, load_backbone
from analysis.statistics.distributions import KINDS

SMALL = Preprocessing(resize=40, crop=32)


@pytest.fixture(scope="module")
def data():
    return load_dataset("photographs").subset([0, 1, 2, 3])


def vit():
    torch.manual_seed(0)
    module = VisionTransformer(32, 8, 3, 2, 24, 48, num_classes=5)
    nn.init.normal_(module.conv_proj.weight, std=0.1)
    nn.init.normal_(module.class_token)
    return module.eval()


class Tokens(nn.Module):
    """Patches with tokens added before or after them, two encoder layers, a head."""

    def __init__(self, added, at_end=False):
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 12, 8, stride=8)
        self.added = nn.ParameterList(nn.Parameter(torch.randn(1, n, 12)) for n in added)
        self.position = nn.Parameter(torch.randn(1, 16 + sum(added), 12))
        self.layers = nn.Sequential(
            *(nn.TransformerEncoderLayer(12, 2, 24, batch_first=True) for _ in range(2))
        )
        self.head = nn.Linear(12, 5)
        self.at_end = at_end

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        added = [one.expand(len(x), -1, -1) for one in self.added]
        parts = [tokens, *added] if self.at_end else [*added, tokens]
        tokens = self.layers(torch.cat(parts, 1) + self.position)
        return self.head(tokens[:, 0])


class PerToken(nn.Module):
    """Linear layers on every token, no attention."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(12, 24), nn.Linear(24, 12)

        def forward(self, x):
            return x + self.down(nn.functional.gelu(self.up(x)))

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 12, 8, stride=8)
        self.layers = nn.Sequential(self.Block(), self.Block())
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        tokens = self.layers(self.patches(x).flatten(2).transpose(1, 2))
        return self.head(tokens.mean(1))


def raw(net, path, data):
    """Raw tensor of a module by a plain hook, one image after the other."""
    found = []
    hook = net.module.get_submodule(path).register_forward_hook(
        lambda module, inputs, output: found.append(output.clone())
    )
    p = net.preprocessing
    cut = [transforms.Resize(p.resize), transforms.CenterCrop(p.crop), transforms.ToTensor()]
    crop = transforms.Compose([*cut, transforms.Normalize(p.mean, p.std)])
    with torch.no_grad():
        for image in data:
            net.module(crop(image)[None])
    hook.remove()
    return torch.cat(found).numpy()


def features(net, data, tmp_path, **options):
    return extract(data, net, crops="center", store=tmp_path, progress=False, **options)


@pytest.mark.parametrize(
    ("make", "path", "added"),
    [
        (vit, "encoder.layers.encoder_layer_1", [0]),
        (lambda: Tokens([1]), "layers.1", [0]),
        (lambda: Tokens([1, 4]), "layers.0", [0, 1, 2, 3, 4]),  # a class token and registers
        (lambda: Tokens([1, 1]), "layers.1", [0, 1]),  # ... and one of distillation
        (lambda: Tokens([1], at_end=True), "layers.1", [16]),
        (lambda: Tokens([]), "layers.1", []),
        (PerToken, "layers.1", []),
    ],
)
def test_tokens_that_the_network_adds_are_no_positions(make, path, added, data, tmp_path):
    net = load_backbone(make(), preprocess=SMALL)
    layer = net.available[path]
    assert layer.layout == "tokens"
    assert list(layer.added_tokens) == added
    tokens = raw(net, path, data)
    own = np.delete(tokens, added, axis=1)
    found = features(net, data, tmp_path, layers=path)
    np.testing.assert_allclose(found, own.mean(1), rtol=1e-4, atol=1e-5)
    every = features(net, data, tmp_path, layers=path, tokens="all")
    np.testing.assert_allclose(every, tokens.transpose(0, 2, 1).reshape(len(data), -1), 1e-4, 1e-5)
    if added:
        alone = features(net, data, tmp_path, layers=path, tokens="class")
        np.testing.assert_allclose(alone, tokens[:, added[0]], rtol=1e-4, atol=1e-5)
        assert alone.attrs["tokens"] == "class"
        assert len({one.attrs["key"] for one in (found, every, alone)}) == 3
    else:
        with pytest.raises(ValueError, match=rf"'{path}' has no class token.*'mean' or 'all'"):
            features(net, data, tmp_path, layers=path, tokens="class")


def test_tokens_choose_nothing_of_maps_and_vectors(data, tmp_path):
    net = load_backbone("minivgg16", weights="bundled")
    for pooling in ("mean", "grid:2"):
        first, *others = (
            features(net, data, tmp_path, layers=["conv5_3", "fc6"], pooling=pooling, tokens=tokens)
            for tokens in ("mean", "class", "all")
        )
        for other in others:
            np.testing.assert_array_equal(first, other)
    with pytest.raises(ValueError, match="unknown tokens 'cls'; known: mean, class, all"):
        features(net, data, tmp_path, tokens="cls")


def test_kinds_say_what_a_layer_is():
    def kinds(module, **options):
        net = load_backbone(module, **options)
        return {layer.name: layer.kind for layer in net.layers}

    blocks = {"patches": "conv", "layers.0": "attention", "layers.1": "attention"}
    assert set(kinds(vit(), preprocess=SMALL).values()) == {"conv", "attention"}
    assert kinds(Tokens([1]), preprocess=SMALL) == blocks
    tokens = kinds(PerToken(), preprocess=SMALL)
    assert tokens == {"patches": "conv", "layers.0": "tokens", "layers.1": "tokens"}
    assert set(kinds("resnet18", weights="random").values()) == {"conv", "block"}


@pytest.mark.long
def test_kinds_of_large_networks():
    swin = load_backbone("swin_t", weights="random").layers
    for layer in swin:
        if "layer" not in layer.name:
            merges = layer.name.endswith("reduction")
            kind = "conv" if layer.name == "features.0.0" else "attention"
            assert layer.kind == ("tokens" if merges else kind)
    assert sum(layer.kind == "attention" for layer in swin) == 12
    convnext = load_backbone("convnext_tiny", weights="random")
    assert {layer.kind for layer in convnext.layers} == {"conv", "block"}


def test_figures_and_claims_about_convolutions_take_those_alone():
    assert {kind for kind, part in KINDS.items() if part == "convolutional"} == {"conv", "block"}
    assert {kind for kind, part in KINDS.items() if part == "fully connected"} == {"fc"}
    assert tuple(dict.fromkeys(KINDS.values())) == PANELS
