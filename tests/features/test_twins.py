"""Networks that look alike and compute other things never share features, and none are random."""

from __future__ import annotations

import functools
import random
import types

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from analysis.data import load_dataset
from analysis.features import extract
from analysis.features import extraction as extracting
from analysis.networks import Preprocessing, load_backbone
from analysis.networks.trace import Trace

SMALL = Preprocessing(resize=40, crop=32)


@pytest.fixture(scope="module")
def data():
    return load_dataset("photographs").subset([0, 1, 2])


class Base(nn.Module):
    """Printed and stored alike, whatever it holds."""

    def __init__(self, held=None):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, 4)
        self.held = held

    def scores(self, y):
        return self.fc(functional.relu(self.b(y)).mean((2, 3)))


class Buffer(Base):
    def __init__(self, held):
        super().__init__()
        self.register_buffer("mean", torch.full((1, 3, 1, 1), held), persistent=False)

    def forward(self, x):
        return self.scores(functional.relu(self.a(x - self.mean)))


class Computing(Base):
    """What it does before and after the first layer is held, not stored."""

    def forward(self, x):
        before, after = self.held
        return self.scores(after(self.a(before(x))))


def held(before=lambda x: x, after=functional.relu):
    return Computing((before, after))


class Number(Base):
    def forward(self, x):
        return self.scores(self.held * functional.relu(self.a(x)))


class Listed(Base):
    def forward(self, x):
        return self.scores(self.held["scales"][1] * functional.relu(self.a(x)))


class Array(Base):
    def forward(self, x):
        return self.scores(functional.relu(self.a(x)) + torch.as_tensor(self.held))


def decision(limit, factor):
    """What it does depends on values: no description of its operations on zeros tells."""
    return held(lambda x: factor * x if float(x.abs().mean()) > limit else x)


def hidden(power):
    """Computes outside of PyTorch."""
    return held(after=lambda y: torch.from_numpy(functional.relu(y).detach().numpy() ** power))


def patched(power):
    net = Number(1.0)
    net.forward = types.MethodType(lambda self, x: self.scores(self.a(x).abs() ** power), net)
    return net


def closed(tensor):
    return held(lambda x: x + tensor)


TWINS = {
    "buffer that is not stored": (Buffer(0.0), Buffer(0.5)),
    "number": (Number(1.0), Number(0.9)),
    "NumPy scalar": (Number(np.float32(1)), Number(np.float32(0.9))),
    "list": (Listed({"scales": [1, 2]}), Listed({"scales": [1, 3]})),
    "tensor": (Number(torch.ones(8, 1, 1)), Number(torch.full((8, 1, 1), 0.9))),
    "array": (Array(np.zeros((8, 1, 1), "f4")), Array(np.ones((8, 1, 1), "f4"))),
    "partial": tuple(
        held(after=functools.partial(functional.leaky_relu, negative_slope=s)) for s in (0.1, 0.3)
    ),
    "lambda": (held(after=torch.relu), held(after=lambda y: functional.leaky_relu(y, 0.2))),
    "tensor of a closure": (closed(torch.zeros(3, 1, 1)), closed(torch.ones(3, 1, 1))),
    "patched forward": (patched(1), patched(2)),
    "decision": (decision(0.1, 1.0), decision(0.1, 3.0)),
    "outside of PyTorch": (hidden(1), hidden(2)),
}


def features(module, data, store, **options):
    net = load_backbone(module, preprocess=SMALL)
    return extract(data, net, crops="center", progress=False, store=store, **options)


@pytest.mark.parametrize("name", TWINS)
def test_twins_do_not_share_features(name, data, tmp_path):
    first, second = TWINS[name]
    together = [features(one, data, tmp_path / "both").values for one in (first, second)]
    alone = [features(one, data, tmp_path / str(i)).values for i, one in enumerate((first, second))]
    for ours, theirs in zip(together, alone, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert np.abs(alone[0] - alone[1]).max() > 0.005 * np.abs(alone[0]).max()
    # Each is found again, and nothing is computed a third time.
    groups = sorted(tmp_path.glob("both/*.zarr"))
    assert len(groups) == 2
    for one, values in zip((second, first), reversed(alone), strict=True):
        np.testing.assert_array_equal(features(one, data, tmp_path / "both").values, values)
    assert sorted(tmp_path.glob("both/*.zarr")) == groups


def test_weights_that_were_changed_after_loading_are_noticed(data, tmp_path):
    net = load_backbone(Number(1.0), preprocess=SMALL)
    options = {"crops": "center", "progress": False, "store": tmp_path}
    first = extract(data, net, **options).values
    net.module.a.weight.mul_(2)
    assert np.abs(extract(data, net, **options).values - first).max() > 0.01


def test_the_probe_tells_twins_apart_where_the_description_does_not(data, tmp_path, monkeypatch):
    """And the description alone where the probe does not see a difference."""
    with monkeypatch.context() as patch:
        patch.setattr(Trace, "digest", lambda self: "always the same")
        first, second = (features(Number(k), data, tmp_path / "probe") for k in (1.0, 0.5))
    assert np.abs(first.values - second.values).max() > 0.01
    assert first.attrs["key"] != second.attrs["key"]
    monkeypatch.setattr(extracting.Probe, "agrees", lambda self, group: True)
    first, second = (features(Number(k), data, tmp_path / "description") for k in (1.0, 0.5))
    assert np.abs(first.values - second.values).max() > 0.01


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_another_number_of_threads_finds_the_same_features(dtype, data, tmp_path):
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found = features(Number(1.0), data, tmp_path, dtype=dtype)
    assert len(list(tmp_path.glob("*.zarr"))) == 1
    assert not [name for name in found.attrs if "probe" in name]
    assert max(len(str(value)) for value in found.attrs.values()) < 200


class Dropping(Base):
    """Random whatever the mode, between ``a`` and ``b``."""

    def forward(self, x):
        return self.scores(self.held(functional.relu(self.a(x))))


class Noise(nn.Module):
    def forward(self, x):
        return x + 0.01 * torch.randn_like(x)


RANDOM = {
    "dropout": (functional.dropout, r"\(dropout\)"),
    "dropout2d": (lambda y: functional.dropout2d(y, 0.5), r"\(dropout2d\)"),
    "noise of a module": (Noise(), r"\(randn_like in module 'held'\)"),
    "rand": (lambda y: y * torch.rand(1, device=y.device), r"\(rand\)"),
    "bernoulli": (lambda y: y * torch.bernoulli(torch.full_like(y, 0.5)), r"\(bernoulli\)"),
    "rrelu": (lambda y: functional.rrelu(y, training=True), r"\(rrelu\)"),
    "Python's": (lambda y: y * random.random(), "outside PyTorch"),
}


@pytest.mark.parametrize("name", RANDOM)
def test_a_network_that_is_always_random_is_refused(name, data, tmp_path):
    act, named = RANDOM[name]
    if name == "rrelu":
        act = lambda y: functional.rrelu(y - 1, training=True)  # noqa: E731 (below zero)
    with pytest.raises(
        ValueError, match=rf"layer 'b'.*random numbers in evaluation mode .*{named}"
    ):
        features(Dropping(act), data, tmp_path, layers="b")
    assert not list(tmp_path.glob("*.zarr"))
    before = features(Dropping(act), data, tmp_path, layers="a", activation="pre")
    assert before.shape == (3, 8)


def test_randomness_that_evaluation_switches_off_does_no_harm(data, tmp_path):
    state = torch.get_rng_state()
    for number, act in enumerate((nn.Dropout(), nn.Dropout2d(), nn.RReLU(), nn.AlphaDropout())):
        module = Dropping(act).train()
        stores = tmp_path / f"{number}a", tmp_path / f"{number}b"
        first, second = (features(module, data, store).values for store in stores)
        np.testing.assert_array_equal(first, second)
    module = Dropping(nn.Dropout())
    torch.set_rng_state(state)
    features(module, data, tmp_path)
    assert torch.equal(torch.get_rng_state(), state)  # the caller's random numbers


@pytest.mark.parametrize(
    ("norm", "named"),
    [
        (nn.BatchNorm2d(8, track_running_stats=False), r" \(batch_norm in module 'held'\)"),
        (lambda y: functional.batch_norm(y, None, None, training=True), r" \(batch_norm\)"),
        (lambda y: y - y.mean(0, keepdim=True), ""),
    ],
)
def test_a_network_that_mixes_the_images_of_a_batch_is_refused(norm, named, data, tmp_path):
    with pytest.raises(ValueError, match=rf"layer 'b'.*the others of its batch{named}\. Let"):
        features(Dropping(norm), data, tmp_path, layers="b")
    alone = nn.InstanceNorm2d(8), nn.GroupNorm(2, 8), nn.BatchNorm2d(8)
    for held in alone:
        assert features(Dropping(held), data, tmp_path, layers="b").shape == (3, 8)
