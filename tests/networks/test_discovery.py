"""Discovery of layers in torchvision's classifiers and in modules of one's own."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

from analysis.networks import Layer, Preprocessing, Tap, load_backbone

SMALL = Preprocessing(resize=40, crop=32)


def noise(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# Blocks and units counted by hand from the papers' tables and torchvision's definitions.
CLASSIFIERS = {
    "densenet121": (1 + 58 + 3, 64 + 58 * 32 + 128 + 256 + 512, {"nchw"}, "classifier"),
    "mobilenet_v3_small": (1 + 11 + 2, None, {"nchw", "vector"}, "classifier.3"),
    "efficientnet_b0": (1 + 16 + 1, 32 + 16 + 48 + 80 + 240 + 336 + 768 + 320 + 1280, {"nchw"},
                        "classifier.1"),
    "googlenet": (3 + 9, 320 + 256 + 480 + 512 * 3 + 528 + 832 * 2 + 1024, {"nchw"}, "fc"),
    "convnext_tiny": (4 + 18, 96 * 4 + 192 * 4 + 384 * 10 + 768 * 4, {"nchw"}, "classifier.2"),
    "swin_t": (1 + 3 + 12, 96 * 3 + 192 * 3 + 384 * 7 + 768 * 3, {"nchw", "nhwc"}, "head"),
    "vit_b_16": (1 + 12, 13 * 768, {"nchw", "tokens"}, "heads.head"),
    "mnasnet1_0": (None, None, {"nchw"}, "classifier.1"),
    "inception_v3": (5 + 11, None, {"nchw"}, "fc"),
}  # fmt: skip


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_torchvision_classifiers(name, random_backbone):
    n_layers, n_features, layouts, scores = CLASSIFIERS[name]
    net = random_backbone(name)
    assert n_layers is None or len(net.layers) == n_layers
    assert n_features is None or net.n_features == n_features
    assert {layer.layout for layer in net.layers} == layouts
    assert scores not in [layer.name for layer in net.layers]
    assert net.available[scores].units == 1000
    assert not net.refused
    check_units_against_weights(net)


def check_units_against_weights(net):
    for layer in net.available.values():
        part = net.module.get_submodule(layer.name)
        if layer.kind == "tokens":
            assert (layer.units, layer.layout) in [
                (part.out_features, layout) for layout in ("tokens", "nhwc")
            ]
        elif isinstance(part, nn.Conv2d):
            assert (layer.kind, layer.units, layer.layout) == ("conv", part.out_channels, "nchw")
        elif isinstance(part, nn.Linear):
            assert (layer.kind, layer.units) == ("fc", part.out_features)


@pytest.mark.parametrize("name", ["densenet121", "mnasnet1_0"])
def test_post_is_the_relu_of_pre_wherever_they_differ(name, random_backbone, read_layers):
    net = random_backbone(name)
    differing = [layer for layer in net.available.values() if layer.pre and layer.pre != layer.post]
    assert len(differing) > 20
    x = noise((2, 3, 64, 64))
    before = read_layers(net, differing, "pre", x.clone())
    after = read_layers(net, differing, "post", x.clone())
    for layer in differing:
        torch.testing.assert_close(
            after[layer.name], before[layer.name].clamp(min=0), msg=layer.name
        )


class Functional(nn.Module):
    """Activation functions and pools as plain calls, as in PyTorch's tutorials."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 10)

    def forward(self, x):
        x = functional.max_pool2d(functional.relu(self.conv1(x), inplace=True), 2)
        x = functional.max_pool2d(torch.tanh(self.conv2(x)), 2)
        x = functional.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc2(x)


def test_activation_functions_called_as_plain_functions():
    net = load_backbone(Functional(), preprocess=SMALL)
    assert [layer.name for layer in net.layers] == ["conv1", "conv2", "fc1"]
    # The first function that is called after the module has returned.
    assert net.available["conv1"].post == (Tap("conv1", call=0, function="relu"),)
    assert net.available["conv2"].post == (Tap("conv2", call=0, function="tanh"),)
    assert net.available["fc1"].post == (Tap("fc2", "input"),)


class Shared(nn.Module):
    """One in-place ReLU for everything: only its last call can be read at the ReLU itself."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.a = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.b = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.relu(self.norm(self.a(x)))
        y = self.b(x)
        y += x
        return self.head(self.relu(y).mean((2, 3)))


def test_a_shared_relu_in_place_and_an_addition_in_place(read_layers):
    net = load_backbone(Shared(), preprocess=SMALL)
    a, b = net.select(["a", "b"])
    assert (a.pre, a.post) == ((Tap("norm", "output"),), (Tap("b", "input"),))
    assert b.pre == b.post == (Tap("b", "output"),)  # an addition follows, not an activation
    x = noise((2, 3, 32, 32))
    values = read_layers(net, [a, b], "pre", x.clone())
    with torch.no_grad():
        before = net.module.norm(net.module.a(x))
        torch.testing.assert_close(values["a"], before)
        torch.testing.assert_close(values["b"], net.module.b(before.clamp(min=0)))


class Scrambled(nn.Module):
    """A block whose output has the batch in its second axis."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 8, stride=8)
        self.turn = Turn()
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.turn(self.conv(x)).mean(0))


class Turn(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        tokens = x.flatten(2).permute(2, 0, 1)  # (token, image, unit)
        return self.b(self.a(tokens))


def test_axes_that_are_not_understood_are_refused_with_layer_and_shape():
    with pytest.raises(ValueError, match=r"'turn'.*\(16, 2, 8\).*cannot be told"):
        load_backbone(Scrambled(), preprocess=SMALL)
    net = load_backbone(Scrambled(), layers=["conv"], preprocess=SMALL)
    assert [layer.name for layer in net.layers] == ["conv"]
    with pytest.raises(ValueError, match=r"'turn\.a'.*\(16, 2, 8\)"):
        net.select(["turn.a"])


class HandMade(nn.Sequential):
    def __init__(self):
        super().__init__()
        self.conv, self.flatten = nn.Conv2d(3, 6, 4, stride=4), nn.Flatten()


def test_layers_may_be_described_by_hand_and_are_checked():
    tap = (Tap("conv"),)
    layer = Layer("first", "conv", 6, (8, 8), "nchw", tap, tap)
    net = load_backbone(HandMade(), layers=[layer], preprocess=SMALL)
    assert net.layers == (layer,)
    assert net.select(["first"]) == (layer,)
    wrong = Layer("first", "conv", 8, (8, 8), "nchw", tap, tap)
    with pytest.raises(ValueError, match=r"claims 8 units.*\(2, 6, 8, 8\)"):
        load_backbone(HandMade(), layers=[wrong], preprocess=SMALL)
    missing = Layer("first", "conv", 6, (8, 8), "nchw", (Tap("stem"),), (Tap("stem"),))
    with pytest.raises(ValueError, match="None"):
        load_backbone(HandMade(), layers=[missing], preprocess=SMALL)


def test_module_paths_pick_layers_and_stages():
    net = load_backbone("resnet50", weights="random", layers=["conv1", "layer1", "avgpool"])
    assert [(layer.name, layer.kind, layer.units) for layer in net.layers] == [
        ("conv1", "conv", 64),
        ("layer1", "block", 256),
        ("avgpool", "pool", 2048),
    ]
    with pytest.raises(ValueError, match="more than once"):
        load_backbone("resnet50", weights="random", layers=["conv1", "conv1"])
    with pytest.raises(ValueError, match=r"unknown layer 'blok3'.*did you mean block3"):
        load_backbone("resnet50", weights="random", layers=["blok3"])


def test_a_join_of_plain_functions_is_read_branch_by_branch(random_backbone, read_layers):
    net = random_backbone("inception_v3")
    layer = net.available["Mixed_6a"]
    assert [tap.function for tap in layer.pre] == ["", "", "max_pool2d"]
    x = noise((1, 3, 75, 75))
    before, after = (read_layers(net, [layer], side, x)["Mixed_6a"] for side in ("pre", "post"))
    pooled = layer.units - 288  # of which no activation function follows
    torch.testing.assert_close(before[:, pooled:], after[:, pooled:])
    torch.testing.assert_close(before[:, :pooled].clamp(min=0), after[:, :pooled])
    assert (before[:, :pooled] < 0).any()
    with pytest.raises(ValueError, match="known: post, pre"):
        layer.taps("both")
    hidden = dataclasses.replace(layer, pre=())
    with pytest.raises(ValueError, match="'Mixed_6a' before its"):
        hidden.taps("pre")


def test_a_module_of_ones_own_is_copied_and_asks_for_its_preprocessing():
    module = Functional().double().train()
    net = load_backbone(module, preprocess=SMALL)
    assert module.training and module.conv1.weight.dtype == torch.float64
    assert not net.module.training
    assert not any(p.requires_grad for p in net.module.parameters())
    assert net.module.conv1.weight.dtype == torch.float32
    with pytest.raises(ValueError, match="preprocess=Preprocessing"):
        load_backbone(module)
    with pytest.raises(ValueError, match="load the weights of a module of your own before"):
        load_backbone(module, weights="random", preprocess=SMALL)
    with pytest.raises(ValueError, match=r"cannot take an input of shape \(2, 3, 64, 64\)"):
        load_backbone(module, preprocess=Preprocessing(resize=64, crop=64))


def test_select_names_what_is_known(random_backbone):
    net = random_backbone("minivgg16")
    assert net.select(None) == net.layers
    assert net.select("pool5")[0].kind == "pool"
    assert [layer.name for layer in net.select(["fc8", "conv1_1"])] == ["fc8", "conv1_1"]
    with pytest.raises(ValueError, match=r"unknown layer 'conv5_4'.*did you mean.*known: conv1_1"):
        net.select(["conv5_4"])
    with pytest.raises(ValueError, match="more than once: fc6"):
        net.select(["fc6", "fc7", "fc6"])
    with pytest.raises(ValueError, match="no layer named"):
        net.select([])
