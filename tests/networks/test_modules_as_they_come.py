"""Networks as people have them: wrapped, reparametrised, and with heads of every form."""

from __future__ import annotations

import dataclasses
import threading
import types
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

from analysis.networks import Preprocessing, load_backbone
from analysis.networks.trace import copy_structure

SMALL = Preprocessing(resize=32, crop=32)
X = torch.randn((2, 3, 32, 32), generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self, wrap=lambda layer: layer, keep=False):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = wrap(nn.Conv2d(3, 8, 3)), wrap(nn.Conv2d(8, 8, 3))
        self.fc = nn.Linear(8, 5)
        self.keep = keep

    def forward(self, x):
        y = functional.relu(self.a(x))
        if self.keep:
            self.last, self.all = y, {"maps": [y]}
        return self.fc(functional.relu(self.b(y)).mean((2, 3)))


class Holder(nn.Module):
    """As LightningModule is used: the network, a loss, and what training needs."""

    def __init__(self, model):
        super().__init__()
        self.criterion = nn.CrossEntropyLoss()
        self.model = model

    def forward(self, images):
        return self.model(images)


def ran(module):
    module(X)
    return module


def pruned():
    module = Net()
    prune.l1_unstructured(module.a, "weight", amount=0.5)
    prune.random_structured(module.b, "weight", amount=0.3, dim=0)
    return module


def locked():
    module = Net()
    module.lock, module.loader = threading.Lock(), (image for image in X)
    return ran(module)


WRAPPERS = {
    "DataParallel": lambda: nn.DataParallel(Net()),
    "torch.compile": lambda: torch.compile(Net()),
    "a holder of a compiled network": lambda: Holder(torch.compile(Net())),
    "a sequence of one": lambda: nn.Sequential(Net()),
    "averaged": lambda: torch.optim.swa_utils.AveragedModel(Net()),
    "weight norm, old, run": lambda: ran(Net(nn.utils.weight_norm)),
    "weight norm": lambda: Net(parametrizations.weight_norm),
    "spectral norm, old": lambda: ran(Net(nn.utils.spectral_norm)),
    "pruned": pruned,
    "keeps its activations": lambda: ran(Net(keep=True)),
    "traced by fx": lambda: torch.fx.symbolic_trace(Net()),
    "holds what cannot be copied": locked,
    "half precision": lambda: Net().half(),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", WRAPPERS)
def test_wrapped_networks_are_read_as_what_they_wrap(name, read_layers):
    module = WRAPPERS[name]()
    net = load_backbone(module, preprocess=SMALL)
    assert [(layer.name, layer.units, layer.kind) for layer in net.layers] == [
        ("a", 8, "conv"),
        ("b", 8, "conv"),
    ]
    values = {side: read_layers(net, list(net.layers), side, X.clone()) for side in ("pre", "post")}
    with torch.no_grad():
        plain = plainest(name, module)
        before = plain.a(X)
        after = plain.b(before.relu())
    for side, layer, expected in (
        ("pre", "a", before),
        ("post", "a", before.relu()),
        ("pre", "b", after),
        ("post", "b", after.relu()),
    ):
        torch.testing.assert_close(values[side][layer], expected)


def plainest(name, module):
    """The network itself, by the wrapper's own attributes."""
    while not hasattr(module, "fc"):
        inner = ("module", "_orig_mod", "model", "0")
        module = next(module._modules[key] for key in inner if key in module._modules)
    return module.float().eval() if name == "half precision" else module.eval()


def test_the_module_that_was_passed_is_left_as_it_was():
    module = ran(Net(keep=True)).train()
    last, mode = module.last, module.training
    load_backbone(module, preprocess=SMALL)
    assert module.last is last and last.grad_fn is not None and mode
    assert module.training and all(p.requires_grad for p in module.parameters())
    weighted = ran(Net(nn.utils.parametrizations.weight_norm))
    state = {key: value.clone() for key, value in weighted.state_dict().items()}
    load_backbone(weighted, preprocess=SMALL)
    assert all(torch.equal(value, state[key]) for key, value in weighted.state_dict().items())


def test_tensors_that_are_shared_stay_shared():
    module = Net()
    module.again = module.a.weight
    module.tied = nn.Conv2d(3, 8, 3)
    module.tied.weight = module.a.weight
    copied = copy_structure(module, lambda tensor: tensor.detach().clone())
    assert copied.tied.weight is copied.a.weight is copied.again
    assert copied.a.weight is not module.a.weight


class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.fc = nn.LazyConv2d(8, 3), nn.LazyLinear(5)

    def forward(self, x):
        return self.fc(functional.relu(self.a(x)).mean((2, 3)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.jit.script(nn.Sequential(nn.Conv2d(3, 8, 3))), "TorchScript.*made from"),
        (lambda: Holder(torch.jit.trace(Net().eval(), X)), "Holder is TorchScript"),
        (
            lambda: torch.ao.quantization.quantize_dynamic(Net(), {nn.Linear}),
            "quantised.*floating-point",
        ),
        (Lazy, "lazy.*run it once"),
    ],
)
def test_what_hides_its_weights_is_refused_in_one_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        load_backbone(make(), preprocess=SMALL)


def test_a_lazy_network_that_has_run_is_a_network():
    assert load_backbone(ran(Lazy()), preprocess=SMALL).n_features == 8


@dataclasses.dataclass
class Output:
    logits: torch.Tensor
    features: Any = None
    note: str = "scores"


class Slots:
    __slots__ = ("logits",)

    def __init__(self, logits):
        self.logits = logits


class Headed(nn.Module):
    """A convolution, a hidden layer and a class layer, returned in some form."""

    def __init__(self, form):
        super().__init__()
        torch.manual_seed(0)
        self.c, self.h, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 6), nn.Linear(6, 4)
        self.other = nn.Linear(6, 3)
        self.form = form

    def forward(self, x):
        f = functional.relu(self.h(functional.relu(self.c(x)).mean((2, 3))))
        return self.form(self, f)


HEADS = {
    "bare": lambda m, f: m.fc(f),
    "tuple": lambda m, f: (m.fc(f), f),
    "dict": lambda m, f: {"logits": m.fc(f), "features": f},
    "nested": lambda m, f: {"out": [{"logits": (m.fc(f),)}], "loss": None},
    "dataclass": lambda m, f: Output(m.fc(f), [f]),
    "namespace": lambda m, f: types.SimpleNamespace(logits=m.fc(f), extra={"f": f}),
    "slots": lambda m, f: Slots(m.fc(f)),
    "temperature": lambda m, f: m.fc(f) / 0.07,
    "softmax": lambda m, f: m.fc(f).softmax(1),
    "sigmoid by hand": lambda m, f: 1 / (1 + torch.exp(-m.fc(f))),
    "clamped in place": lambda m, f: m.fc(f).clamp_(-5, 5),
    "two heads": lambda m, f: (m.fc(f), m.other(f)),
    "two heads, joined": lambda m, f: torch.cat([m.fc(f), m.other(f)], 1),
    "unbound": lambda m, f: m.fc(f).unbind(1),
    "cosine": lambda m, f: 16 * m.fc(functional.normalize(f)),
}


@pytest.mark.parametrize("name", HEADS)
def test_class_scores_are_found_in_whatever_is_returned(name):
    net = load_backbone(Headed(HEADS[name]), preprocess=SMALL)
    assert [layer.name for layer in net.layers] == ["c", "h"]
    assert {"c", "h", "fc"} <= set(net.available) | set(net.refused)


def test_convolutions_can_be_class_layers():
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 5, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Softmax(1),
    )
    assert [layer.name for layer in load_backbone(module, preprocess=SMALL).layers] == ["0"]


def test_a_lone_block_that_is_nearly_the_whole_network_is_not_one_layer():
    class Backboned(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = Net()
            self.backbone.fc = nn.Identity()
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            return self.head(self.backbone((x - 0.5) / 2))

    net = load_backbone(Backboned(), preprocess=SMALL)
    assert [layer.name for layer in net.layers] == ["backbone.a", "backbone.b"]
