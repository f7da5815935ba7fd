from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from analysis.networks import Preprocessing, load_backbone, receptive_field


def all_positive(module: nn.Module) -> nn.Module:
    """A copy in which every path from a pixel to a unit has a positive weight."""
    twin = copy.deepcopy(module).double()
    for part in twin.modules():
        for name, child in part.named_children():
            if isinstance(child, nn.MaxPool2d):
                mean = nn.AvgPool2d(
                    child.kernel_size, child.stride, child.padding, ceil_mode=child.ceil_mode
                )
                setattr(part, name, mean)
    for part in twin.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.constant_(part.weight, 1 / part.weight[0].numel())
    return twin


def by_gradient(module: nn.Module, layer, crop: int, position) -> tuple[int, int, int, int]:
    """Box of the pixels that have a gradient, through a network of positive weights."""
    values = {}
    (tap,) = layer.post
    hook = module.get_submodule(tap.module).register_forward_hook(
        lambda m, inputs, output: values.update(output=output)
    )
    image = torch.ones((1, 3, crop, crop), dtype=torch.float64, requires_grad=True)
    module(image)
    hook.remove()
    row, column = position
    (gradient,) = torch.autograd.grad(values["output"][0, :, row, column].sum(), image)
    rows, columns = torch.nonzero(gradient[0].abs().sum(0), as_tuple=True)
    return (
        int(columns.min()),
        int(rows.min()),
        int(columns.max()) + 1,
        int(rows.max()) + 1,
    )


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("minivgg16", ["conv1_1", "conv2_2", "pool3", "conv4_2", "conv5_3"]),
        ("squeezenet1_0", ["conv1", "pool1", "fire4", "fire6", "pool8"]),
        ("resnet50", ["conv1", "block1", "block5"]),
        ("alexnet", ["conv1", "pool1", "conv3", "pool5"]),
    ],
)
def test_receptive_fields_are_those_of_the_gradient(name, layers):
    # Smaller crops take less time; minivgg16 has one size only.
    small = None if name == "minivgg16" else Preprocessing(resize=104, crop=96)
    net = load_backbone(name, weights="random", preprocess=small)
    twin = all_positive(net.module)
    crop = net.preprocessing.crop
    for layer in net.select(layers):
        height, width = layer.spatial
        for position in [(0, 0), (height // 2, width // 3), (height - 1, 1)]:
            expected = by_gradient(twin, layer, crop, position)
            assert receptive_field(net, layer, position) == expected, (layer.name, position)


def test_vectors_see_the_whole_crop_and_positions_are_checked(random_backbone):
    net = random_backbone("minivgg16")
    assert receptive_field(net, "fc6", (0, 0)) == (0, 0, 64, 64)
    with pytest.raises(ValueError, match=r"position \(64, 0\) lies outside"):
        receptive_field(net, "conv1_1", (64, 0))
    with pytest.raises(ValueError, match="unknown layer"):
        receptive_field(net, "conv9", (0, 0))


@pytest.mark.parametrize(
    ("name", "layer", "expected"),
    [
        ("convnext_tiny", "features.1.0", 28),  # 4 × 4 patches, then 7 × 7 positions of them
        ("shufflenet_v2_x1_0", "stage2.0", 15),
        ("googlenet", "inception3a", 43),
    ],
)
def test_permutations_shuffles_and_branches_keep_positions(name, layer, expected, random_backbone):
    net = random_backbone(name)
    found = net.available[layer]
    centre = (found.spatial[0] // 2, found.spatial[1] // 2)
    left, top, right, bottom = receptive_field(net, found, centre)
    assert (right - left, bottom - top) == (expected, expected)


def test_squeeze_and_excitation_sees_everything(random_backbone):
    net = random_backbone("mobilenet_v3_small")
    assert receptive_field(net, "features.1", (5, 5)) == (0, 0, 224, 224)
