"""The small VGG16: its likeness to the large one, and the folding of batch normalisation."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from analysis.networks.minivgg import MiniVGG, fold_batch_norm, minivgg16


def with_lived_norms(seed: int) -> MiniVGG:
    """A network whose normalisations have statistics, scales (also negative) and shifts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = MiniVGG(7, batch_norm=True)
        for part in net.modules():
            if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
                part.running_mean.normal_(0, 0.3)
                part.running_var.uniform_(0.2, 3)
                nn.init.uniform_(part.weight, -0.5, 2)
                nn.init.normal_(part.bias, 0.2, 0.3)
    return net


def images(seed: int) -> torch.Tensor:
    return torch.randn((3, 3, 64, 64), generator=torch.Generator().manual_seed(seed))


def test_names_are_those_of_vgg16_and_shapes_a_quarter_of_its():
    with torch.device("meta"):
        large = torchvision.models.vgg16().state_dict()
    small = minivgg16(1000).state_dict()
    assert list(small) == list(large)
    for name, value in large.items():
        if name.startswith("features") and name.endswith("weight"):
            inputs = 3 if name == "features.0.weight" else value.shape[1] // 4
            assert small[name].shape == (value.shape[0] // 4, inputs, 3, 3)
    assert [small[f"classifier.{i}.weight"].shape for i in (0, 3, 6)] == [
        (512, 128 * 2 * 2),
        (512, 512),
        (1000, 512),
    ]


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_folding_changes_no_score(seed: int):
    trained = with_lived_norms(seed).eval()
    folded = fold_batch_norm(trained)
    assert not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in folded.modules())
    assert not folded.training
    with torch.inference_mode():
        expected, found = trained.double()(images(seed).double()), folded(images(seed))
    assert expected.std() > 1e-3
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-5 * expected.abs().max())


def test_folding_leaves_the_trained_network_and_the_random_state_alone():
    trained = with_lived_norms(1).train()
    before, state = copy.deepcopy(trained.state_dict()), torch.get_rng_state()
    fold_batch_norm(trained)
    assert trained.training
    assert all(torch.equal(before[name], value) for name, value in trained.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


def test_a_network_without_normalisation_is_refused():
    with pytest.raises(ValueError, match="after each of 15 layers, found 0"):
        fold_batch_norm(minivgg16(5))
