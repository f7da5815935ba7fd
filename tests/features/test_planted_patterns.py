"""Patterns planted at known places are found there, in networks that people use.

A pattern is made for one unit at one position of its map: a few steps of gradient ascent, confined
to the unit's receptive field, raise the unit's value there above its values everywhere else. Where
that field lies follows from the kernels, strides and paddings of the architecture, which are
written down here once more, and added up from the image towards the layer; the package goes the
other way. The networks have random weights.

Each pattern is planted in an image of faint noise at full contrast, and in another one at half of
it. So of all images these must come first, the full contrast before the half, each at the position
that the pattern was made for, in a box that is exactly the planted one.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch

from analysis.data import ImageDataset
from analysis.data.images import ImageArrays
from analysis.features import unit_atlas
from analysis.networks import Preprocessing, load_backbone

GREY, CONTRAST, NOISE = 120, 60, 2
IMAGES = 10
PLANTED = ((8, 2), (5, 9))  # of each pattern: the image of full contrast, and that of half
STEPS = 8

CONV, POOL = (3, 1, 1), (2, 2, 0)  # kernel, stride, padding; kernels of 1 with stride 1 left out
VGG16 = [*[CONV, CONV, POOL] * 2, *[CONV, CONV, CONV, POOL] * 3]
FIRES = [(7, 2, 0), (3, 2, 0), *[CONV] * 3, (3, 2, 0), *[CONV] * 4, (3, 2, 0), CONV]
HALF = (3, 2, 1)
RESNET = [(7, 2, 3), HALF, *[CONV] * 3, HALF, *[CONV] * 3, HALF, *[CONV] * 5, HALF, CONV, CONV]


class Case(NamedTuple):
    """A layer, with the windows between the image and it; the field of some is the whole crop."""

    layer: str
    windows: list[tuple[int, int, int]]
    sees_all: bool = False


CASES = {
    ("vgg16", 64): [
        Case("conv1_2", VGG16[:2]),
        Case("conv3_3", VGG16[:9]),
        Case("conv4_3", VGG16[:13]),
        Case("conv5_3", VGG16[:17], sees_all=True),
    ],
    ("squeezenet1_0", 127): [
        Case("conv1", FIRES[:1]),
        Case("fire4", FIRES[:5]),
        Case("fire9", FIRES),
    ],
    ("resnet50", 96): [
        Case("conv1", RESNET[:1]),
        Case("block3", RESNET[:5]),
        Case("block9", RESNET[:11]),
        Case("block16", RESNET, sees_all=True),
    ],
}


@cache
def backbone(name, crop):
    return load_backbone(name, weights="random", seed=0, preprocess=Preprocessing(crop, crop))


def field(windows, position, crop):
    """Pixels (left, top, right, bottom) that a position sees, from the image upwards."""
    step, size, before = 1, 1, 0
    for kernel, stride, padding in windows:
        size += (kernel - 1) * step
        before += padding * step
        step *= stride
    top, left = (place * step - before for place in position)
    return max(left, 0), max(top, 0), min(left + size, crop), min(top + size, crop)


def single(value):
    return value[0] if isinstance(value, tuple) else value


class _AllSeenError(Exception):
    """Ends a forward pass that has come by a layer."""


def maps_of(net, layer, unit, pixels):
    """Maps of one unit before its activation function, flattened; gradients reach the pixels."""
    seen = {}

    def keep(tap, values):
        seen[tap] = values.clone()
        # A module that is called several times has the layer's number of units in its last call.
        if sum(part.shape[1] for part in seen.values()) == layer.units:
            raise _AllSeenError

    handles = []
    for tap in layer.pre:
        part, is_output = net.module.get_submodule(tap.module), tap.side == "output"
        register = part.register_forward_hook if is_output else part.register_forward_pre_hook
        handles.append(register(lambda *values, tap=tap: keep(tap, single(values[-1]))))
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in (net.preprocessing.mean, net.preprocessing.std)
    )
    with pytest.raises(_AllSeenError):
        net.module((pixels / 255 - mean) / std)
    for handle in handles:
        handle.remove()
    return torch.cat([seen[tap] for tap in layer.pre], 1)[:, unit].flatten(1)


def patterns(net, layer, unit, positions, boxes):
    """Differences from grey, at most CONTRAST, that a unit answers to at one position each."""
    crop = net.preprocessing.crop
    inside = torch.zeros(len(boxes), 3, crop, crop)
    for mask, (left, top, right, bottom) in zip(inside, boxes, strict=True):
        mask[:, top:bottom, left:right] = 1
    here = torch.tensor([[row * layer.spatial[1] + column] for row, column in positions])
    found = torch.randn(inside.shape, generator=torch.Generator().manual_seed(0)) * inside
    for _ in range(STEPS):
        found.requires_grad_()
        values = maps_of(net, layer, unit, GREY + found)
        scale = values.detach().std(1, keepdim=True) / 4
        elsewhere = values.scatter(1, here, -torch.inf)
        lead = values.gather(1, here) - scale * (elsewhere / scale).logsumexp(1, keepdim=True)
        (upwards,) = torch.autograd.grad(lead.sum(), found)
        upwards = upwards * inside
        length = inside.flatten(1).norm(dim=1) / upwards.flatten(1).norm(dim=1)
        found = found.detach() + CONTRAST / 3 * length.view(-1, 1, 1, 1) * upwards
        found = found.clamp(-CONTRAST, CONTRAST)
    return found.permute(0, 2, 3, 1).numpy()


def dataset(pixels):
    names = tuple(f"{number}.png" for number in range(len(pixels)))
    return ImageDataset("planted", ("x",), np.zeros(len(pixels), int), names, ImageArrays(pixels))


@pytest.mark.parametrize(
    ("name", "crop", "case"),
    [
        pytest.param(
            name,
            crop,
            case,
            id=f"{name}-{case.layer}",
            marks=() if case.layer in ("fire4", "block3") else pytest.mark.long,
        )
        for (name, crop), cases in CASES.items()
        for case in cases
    ],
)
def test_planted_patterns_are_found_at_their_places(name, crop, case):
    net = backbone(name, crop)
    (layer,) = net.select([case.layer])
    unit = layer.units - 3  # of a fire module: one of those that see 3 x 3
    rows, columns = layer.spatial
    positions = (rows // 4, columns - 1 - columns // 4), (rows - 2, columns // 3)
    boxes = [field(case.windows, position, crop) for position in positions]
    assert (set(boxes) == {(0, 0, crop, crop)}) is case.sees_all

    noise = np.random.default_rng(0).integers(-NOISE, NOISE + 1, (IMAGES, crop, crop, 3))
    images = GREY + noise.astype(float)
    made = patterns(net, layer, unit, positions, boxes)
    for planted, (full, half) in zip(made, PLANTED, strict=True):
        images[full] += planted
        images[half] += planted / 2
    pixels = images.round().astype(np.uint8)

    atlas = unit_atlas(dataset(pixels), net, layers=case.layer, n=5, batch_size=4, progress=False)
    found = atlas.strongest(case.layer, unit)
    order = [strong.image for strong in found]
    assert set(order[:4]) == {image for pair in PLANTED for image in pair}
    assert found[3].activation > 2 * found[4].activation  # that was noise
    for position, box, (full, half) in zip(positions, boxes, PLANTED, strict=True):
        assert order.index(full) < order.index(half)
        for image in (full, half):
            strong = found[order.index(image)]
            left, top, right, bottom = box
            assert strong.path == f"{image}.png"
            assert strong.position == position
            assert strong.box == box
            np.testing.assert_array_equal(strong.patch, pixels[image, top:bottom, left:right])
