"""Which parts of a network are free to learn, and where to cut it in front of them.

Conventions
-----------
layer
    One function that a recorded forward pass applies: a convolution, a normalisation, an activation
    function, a pooling, a sum, a concatenation, a flattening, a linear layer. Keras counts so, in
    which dos Santos and Ponti (2019, section IV) leave "the last seven layers" free; dropout, which
    does nothing while features are taken, is not counted.
the last seven
    Of ResNet-50 the last convolution with its normalisation, and the class layer (``conv3``,
    ``bn3``, sum, ReLU, average pool, flatten, ``fc``); of VGG16 and ``minivgg16`` fc6, fc7 and fc8;
    of SqueezeNet the 3 × 3 filters of fire9, and conv10.
frozen
    Everything before: neither weights nor running statistics change, and dropout there is off. A
    module that is called more than once counts where it is called last; weights whose use a forward
    pass does not show (none in torchvision's networks but a transformer's class token) are frozen.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import torch
import torchvision
from torch import fx, nn

from analysis.networks.trace import Trace, record

__all__ = ["Cut", "class_layer", "cut_before", "free_parts", "n_scores", "replace_class_layer"]

_DROPPING = (nn.modules.dropout._DropoutNd, torchvision.ops.StochasticDepth)
_FIRST_SCORES_STD = 0.01  # as torchvision draws the class layers of VGG and SqueezeNet


def class_layer(module: nn.Module) -> str:
    """Path of the layer that gives the class scores: the last that convolves or connects.

    Raises
    ------
    ValueError
        If there is none.
    """
    return _last_weighted(module)[0]


def n_scores(module: nn.Module) -> int:
    """Count the class scores of a network."""
    return int(_last_weighted(module)[1].weight.shape[0])


def replace_class_layer(module: nn.Module, n_classes: int, *, crop: int, seed: int) -> None:
    """Put a new class layer into a network.

    Parameters
    ----------
    module
        Changed in place.
    n_classes
        Class scores of the new layer.
    crop
        Side of the network's input, in pixels.
    seed
        Of its weights: normal, standard deviation 0.01. Biases are zero.

    Raises
    ------
    ValueError
        If the network's last layer does not give its result.
    """
    path, old = _last_weighted(module)
    trace = record(module, (2, 3, crop, crop))
    result = None if trace.result is None else trace.shapes[trace.result]
    if result != (2, old.weight.shape[0]):
        raise ValueError(
            f"expected {path!r}, the last layer of {type(module).__name__}, to give its class "
            f"scores ({old.weight.shape[0]} per image); it returns an array of shape {result} for "
            "2 images"
        )
    new = copy.deepcopy(old)
    generator = torch.Generator().manual_seed(seed)
    first = torch.empty(n_classes, *old.weight.shape[1:])
    first.normal_(0, _FIRST_SCORES_STD, generator=generator)
    new.weight, new.bias = nn.Parameter(first), nn.Parameter(torch.zeros(n_classes))
    setattr(new, "out_channels" if isinstance(new, nn.Conv2d) else "out_features", n_classes)
    module.set_submodule(path, new)


def free_parts(module: nn.Module, free: int | str, *, crop: int) -> tuple[str, ...]:
    """Paths of the modules that learn or drop when the last layers are free.

    Parameters
    ----------
    module
        The network.
    free
        How many of the last layers, counted as at the top of this module; or the path of a module,
        from which on everything is free.
    crop
        Side of the network's input, in pixels.

    Returns
    -------
    tuple of str
        Modules with weights of their own, and dropouts, in the order of the definition.

    Raises
    ------
    ValueError
        If the class layer would not be free.
    """
    uses = _Uses(module, record(module, (2, 3, crop, crop)))
    first = uses.first_of(free) if isinstance(free, str) else uses.first_of_last(free)
    scores = class_layer(module)
    if uses.position(scores) < first:
        least = len(uses.trace.operations) - uses.position(scores)
        raise ValueError(
            f"free={free!r} leaves the class scores ({scores}), which are new, frozen; expected at "
            f"least {least}, or a layer up to {scores}"
        )
    return tuple(
        path
        for path, part in module.named_modules()
        if _learns_or_drops(part) and uses.position(path) >= first
    )


@dataclass(frozen=True)
class Cut:
    """A network in two pieces that share its modules.

    Attributes
    ----------
    front
        From images (n, 3, side, side) to a tuple of tensors, each of n rows.
    tail
        From these tensors to class scores (n, classes).
    """

    front: nn.Module
    tail: nn.Module


def cut_before(module: nn.Module, parts: Collection[str], images: torch.Tensor) -> Cut | None:
    """Cut a network in front of the first of some parts, if that gives the same bits.

    Parameters
    ----------
    module
        In evaluation mode.
    parts
        Paths of modules.
    images
        (n, 3, side, side), at least two: what the pieces give is compared with what the network
        gives.

    Returns
    -------
    Cut or None
        None where nothing is in front, the forward pass depends on values, or what passes the cut
        is not a row per image.
    """
    try:
        nodes = list(_Tracer().trace(module).nodes)
    except Exception:  # whatever a forward pass does that cannot be followed without values
        return None
    first = next((i for i, node in enumerate(nodes) if _calls(node, parts)), 0)
    if not any(node.op == "call_module" for node in nodes[:first]):
        return None
    cut = _cut(module, nodes[:first], nodes[first:])
    with torch.no_grad():
        passed = cut.front(images)
        rows = [len(one) if isinstance(one, torch.Tensor) and one.ndim else -1 for one in passed]
        if set(rows) != {len(images)} or not torch.equal(cut.tail(*passed), module(images)):
            return None
    return cut


class _Tracer(fx.Tracer):
    """Follows a forward pass, but not into what behaves otherwise in training."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _DROPPING) or super().is_leaf_module(m, module_qualified_name)


class _Uses:
    """Where in a recorded forward pass each module does its work."""

    def __init__(self, module: nn.Module, trace: Trace) -> None:
        self.module, self.trace = module, trace

    def position(self, path: str) -> int:
        """Position of a module's function among the operations; -1 where it is not known."""
        if path in self._known:
            return self._known[path]
        return self.position(path.rpartition(".")[0]) if path else -1

    def first_of(self, path: str) -> int:
        """Position of the first function of a module and of what is inside it."""
        inside = [at for name, at in self._known.items() if f"{name}.".startswith(f"{path}.")]
        if not inside:
            raise ValueError(f"the forward pass does not call module {path!r}; free another layer")
        return min(inside)

    def first_of_last(self, free: int) -> int:
        """Position of the first of so many last functions; -1 if there are no more than that."""
        total = len(self.trace.operations)
        if free < 1:
            raise ValueError(f"expected at least 1 free layer, got {free}")
        return total - free if free < total else -1

    @cached_property
    def _known(self) -> dict[str, int]:
        made = {
            value: at for at, op in enumerate(self.trace.operations) for value in op.outputs
        } | {self.trace.image: -1}
        taken: dict[int, int] = {}
        for at, op in enumerate(self.trace.operations):
            for value in op.inputs:
                taken.setdefault(value, at)
        known = {}
        for path, part in self.module.named_modules():
            output, taken_in = self.trace.outputs.get(path), self.trace.inputs.get(path)
            if output in made and not list(part.children()):
                known[path] = made[output]
            elif taken_in in taken:  # what has modules inside begins where its input is taken
                known[path] = taken[taken_in]
        return known


def _last_weighted(module: nn.Module) -> tuple[str, nn.Conv2d | nn.Linear]:
    weighted = [
        (path, part)
        for path, part in module.named_modules()
        if isinstance(part, nn.Conv2d | nn.Linear)
    ]
    if not weighted:
        raise ValueError(f"{type(module).__name__} has neither convolutions nor linear layers")
    return weighted[-1]


def _learns_or_drops(part: nn.Module) -> bool:
    own = [*part.parameters(recurse=False), *part.buffers(recurse=False)]
    return bool(own) or isinstance(part, _DROPPING)


def _calls(node: fx.Node, parts: Collection[str]) -> bool:
    """Whether a step of the forward pass uses one of the parts or something inside it."""
    if node.op == "get_attr":
        return str(node.target).rpartition(".")[0] in parts
    called = f"{node.target}."
    return node.op == "call_module" and any(f"{part}.".startswith(called) for part in parts)


def _cut(module: nn.Module, before: list[fx.Node], after: list[fx.Node]) -> Cut:
    later = set(after)
    wanted = [node for node in before if later & node.users.keys()]
    passed = [node for node in wanted if node.op != "get_attr"]
    front, tail = fx.Graph(), fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in before:
        copies[node] = front.node_copy(node, copies.__getitem__)
    front.output(tuple(copies[node] for node in passed))
    copies = {node: tail.placeholder(f"passed_{i}") for i, node in enumerate(passed)}
    for node in [*(node for node in wanted if node.op == "get_attr"), *after]:
        copies[node] = tail.node_copy(node, copies.__getitem__)
    return Cut(fx.GraphModule(module, front), fx.GraphModule(module, tail))
