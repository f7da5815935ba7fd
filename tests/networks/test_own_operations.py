"""Before and after a layer's own element-wise operations, however they are written."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn
from torch.nn import functional

from analysis.networks import Preprocessing, load_backbone
from analysis.networks.discovery import Discovery

SMALL = Preprocessing(resize=16, crop=16)

# What mixes the units of a place, or is no activation function of one array.
NOT_ELEMENTWISE = {"GLU", "LogSoftmax", "MultiheadAttention", "Softmax", "Softmax2d", "Softmin"}
ARGUMENTS = {"Threshold": (0.1, -0.2), "Hardtanh": (-0.3, 0.4), "LeakyReLU": (0.2,)}
ACTIVATIONS = sorted(set(nn.modules.activation.__all__) - NOT_ELEMENTWISE)
# Names in torch.nn.functional, and as methods of tensors, where the lower-cased name is not it.
FUNCTIONS = {
    "LeakyReLU": "leaky_relu",
    "LogSigmoid": "logsigmoid",
    "Softplus": "softplus",
}


def activation(name, **options):
    return getattr(nn, name)(*ARGUMENTS.get(name, ()), **options)


class Net(nn.Module):
    """Two convolutions with something between them, and a class layer."""

    def __init__(self, act, follows="conv", statement=False):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.fc = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 4)
        self.act = act if isinstance(act, nn.Module) else None
        self.function = act
        self.follows, self.statement = follows, statement

    def forward(self, x):
        y = self.a(x)
        result = self.function(y)
        if not self.statement:  # else it works in place, and the result is not assigned
            y = result
        if self.follows == "conv":
            y = self.b(y)
        return self.fc(y.mean((2, 3)) if self.follows != "reshape" else y.flatten(2).mean(2))


def check(module, expected, read_layers, name="a", before=None):
    """Compare what is read with what a reference gives, for two batch sizes."""
    net = load_backbone(module, preprocess=SMALL)
    assert not net.refused
    layer = net.available[name]
    for n in (1, 3):
        x = torch.randn((n, 3, 16, 16), generator=torch.Generator().manual_seed(n))
        with torch.no_grad():
            start = module.eval().a(x.clone())
            pre = start if before is None else before(start)
            post = expected(pre.clone())
        found = {side: read_layers(net, [layer], side, x.clone())[name] for side in ("pre", "post")}
        torch.testing.assert_close(found["pre"], pre)
        torch.testing.assert_close(found["post"], post)
    return net


def forms_of(name):
    """Ways to write one activation function: what to call, and whether it works in place."""
    yield activation(name), False
    plain = FUNCTIONS.get(name, name.lower())
    arguments = ARGUMENTS.get(name, ())
    if name == "PReLU":
        weight = torch.full((1,), 0.25)
        yield lambda y: functional.prelu(y, weight), False
        yield lambda y: y.prelu(weight), False
        return
    yield lambda y: getattr(functional, plain)(y, *arguments), False
    if hasattr(torch.Tensor, plain) and name != "Threshold":
        yield lambda y: getattr(y, plain)(*arguments), False
    if hasattr(torch.Tensor, f"{plain}_"):
        yield lambda y: getattr(y, f"{plain}_")(*arguments), True
    if hasattr(functional, f"{plain}_"):
        yield lambda y: getattr(functional, f"{plain}_")(y, *arguments), True
    try:
        yield activation(name, inplace=True), True
    except TypeError:
        return
    yield lambda y: getattr(functional, plain)(y, *arguments, inplace=True), True


FOLLOWING = ("conv", "mean", "reshape")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_of_pytorch(name, read_layers):
    reference = activation(name).eval()
    forms = list(forms_of(name))
    assert len(forms) >= 2
    for number, (act, in_place) in enumerate(forms):
        for statement in {False, in_place}:
            check(Net(act, FOLLOWING[number % 3], statement), reference, read_layers)


@torch.jit.script
def compiled_swish(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(x)


class MemorySaving(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(context, gradient):
        return gradient


def masked(y):
    y[y < 0] = 0
    return y


FORMULAS = {
    "swish": (lambda x: x * torch.sigmoid(x), functional.silu),
    "h-swish": (lambda x: x * functional.relu6(x + 3) / 6, functional.hardswish),
    "where": (lambda x: torch.where(x > 0, x, 0.1 * x), lambda x: functional.leaky_relu(x, 0.1)),
    "times a mask": (lambda x: x * (x > 0).float(), functional.relu),
    "compiled": (compiled_swish, functional.silu),
    "autograd function": (MemorySaving.apply, functional.silu),
    "partial": (functools.partial(functional.elu, alpha=0.3), lambda x: functional.elu(x, 0.3)),
    "kept for itself": (lambda x: x.clone().sigmoid_().mul_(x), functional.silu),
    "halves": (lambda x: functional.relu(x.double()).float(), functional.relu),
}
IN_PLACE = {
    "assignment by a mask": (masked, functional.relu),
    "masked_fill_": (lambda y: y.masked_fill_(y < 0, 0), functional.relu),
    "through a view": (lambda y: y.view(-1).relu_(), functional.relu),
    "through a part": (
        lambda y: y[:, 2:].tanh_(),
        lambda x: torch.cat([x[:, :2], x[:, 2:].tanh()], 1),
    ),
    "through detach": (lambda y: y.detach().sigmoid_(), torch.sigmoid),
    "out=": (lambda y: torch.sigmoid(y, out=y), torch.sigmoid),
    "several in a row": (lambda y: functional.relu_(y).neg_().exp_(), lambda x: (-x.relu()).exp()),
}


@pytest.mark.parametrize("name", [*FORMULAS, *IN_PLACE])
def test_activations_that_are_formulas_or_statements(name, read_layers):
    act, expected = (FORMULAS | IN_PLACE)[name]
    for follows in FOLLOWING:
        check(Net(act, follows, name in IN_PLACE), expected, read_layers)


def test_what_follows_counts_as_far_as_it_is_element_wise(read_layers):
    def random_norm():
        norm = nn.BatchNorm2d(8).eval()
        generator = torch.Generator().manual_seed(1)
        for tensor in (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data):
            tensor.copy_(torch.rand(8, generator=generator) + 0.5)
        return norm

    norm, later = random_norm(), random_norm()
    scale = nn.Parameter(torch.linspace(0.5, 2, 8).reshape(8, 1, 1))

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = scale

        def forward(self, x):
            return self.scale * x

    sequences = {
        "normalised": ([norm, nn.SiLU()], norm, functional.silu),
        "normalised afterwards": ([nn.ReLU(), later], None, lambda x: later(x.relu())),
        "dropout": ([nn.ReLU(), nn.Dropout(0.5)], None, functional.relu),
        "layer scale": ([nn.Tanh(), Scaled()], None, lambda x: scale * x.tanh()),
        "all": (
            [norm, nn.Dropout(), nn.ReLU(True), later, Scaled(), nn.Identity()],
            norm,
            lambda x: scale * later(x.relu()),
        ),
        "not beyond a group norm": ([nn.ReLU(), nn.GroupNorm(2, 8)], None, functional.relu),
        "not beyond a softmax": ([nn.ELU(), nn.Softmax(1)], None, functional.elu),
        "not beyond a pool": ([nn.ReLU(), nn.MaxPool2d(2), nn.Tanh()], None, functional.relu),
        "nothing": ([nn.Identity()], None, lambda x: x),
        "not beyond gates": ([nn.GLU(1), nn.Conv2d(4, 8, 1)], None, lambda x: x),
    }
    for parts, before, expected in sequences.values():
        check(Net(nn.Sequential(*parts)), expected, read_layers, before=before)


class Branches(nn.Module):
    """A layer whose values go more than one way."""

    def __init__(self, way):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.gate, self.fc = nn.Linear(8, 8), nn.Linear(8, 4)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.way = way

    def forward(self, x):
        y = self.a(x)
        return self.fc(self.way(self, x, y).mean((2, 3)))


WAYS = {
    # The sum with another branch comes after the activation function.
    "residual": (
        lambda s, x, y: functional.relu(y) + s.c(s.b(functional.relu(y))),
        functional.relu,
    ),
    # It comes before: what follows the sum is not the layer's own.
    "residual before": (lambda s, x, y: functional.relu(y + s.b(y.sigmoid())), lambda x: x),
    "squeeze and excitation": (
        lambda s, x, y: (
            (z := functional.silu(y)) * torch.sigmoid(s.gate(z.mean((2, 3))))[..., None, None]
        ),
        functional.silu,
    ),
    # Two modules, one function.
    "twice the same": (lambda s, x, y: s.b(s.relu1(y)) + s.c(s.relu2(y)), functional.relu),
    # The value that meets another layer first.
    "activated again on the way to both": (
        lambda s, x, y: s.b(z := functional.relu(y).sqrt()) + s.c(1 - z),
        lambda y: y.relu().sqrt(),
    ),
    # What is computed and thrown away is no branch.
    "watched": (lambda s, x, y: (y.abs().mean(), s.b(functional.relu(y)))[1], functional.relu),
}


@pytest.mark.parametrize("name", WAYS)
def test_branches(name, read_layers):
    way, expected = WAYS[name]
    check(Branches(way), expected, read_layers)


@pytest.mark.parametrize(
    ("way", "names"),
    [
        (lambda s, x, y: s.b(functional.relu(y)) + s.c(functional.relu(-y)), "relu"),
        (lambda s, x, y: s.b(y.tanh()) * s.c(y.sigmoid()), "sigmoid, tanh"),
    ],
)
def test_two_activations_of_one_layer_are_refused_by_its_name(way, names):
    with pytest.raises(ValueError, match=rf"'a' is followed by several .* \({names}\)"):
        load_backbone(Branches(way), preprocess=SMALL)
    net = load_backbone(Branches(way), preprocess=SMALL, layers=["b", "c"])
    assert [layer.name for layer in net.layers] == ["b", "c"]
    assert "'a'" in net.refused["a"]


def test_the_recorded_network_is_the_one_that_runs():
    """Neither its switches nor its tensors are touched, and nothing in it is replaced."""
    module = Net(nn.ReLU(inplace=True), statement=True).eval()
    before = {name: (id(t), t.clone()) for name, t in module.state_dict(keep_vars=True).items()}
    Discovery(module, 16).layer("a")
    assert module.act.inplace
    for name, tensor in module.state_dict(keep_vars=True).items():
        assert id(tensor) == before[name][0]
        assert torch.equal(tensor, before[name][1])
