"""What a layer is, and where in a module its values are read.

A :class:`Layer` is a name from the papers (``conv3_2``, ``fire9``, ``block16``) with the places at
which its values appear during a forward pass, each a :class:`Tap`.

Conventions
-----------
post
    After the activation function that follows the layer. A convolution or linear layer is followed
    through its normalisation to its activation; a block is what it hands on.
pre
    Before that activation function (and after the normalisation).
Where the network applies no activation function (pools, linear bottlenecks, transformer blocks,
class scores), ``pre == post``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.nn import functional

__all__ = ["ACTIVATIONS", "Kind", "Layer", "Layout", "Tap"]

Kind = Literal["conv", "fc", "pool", "block"]
Layout = Literal["nchw", "nhwc", "tokens", "vector"]

#: Functions that count as activation functions, by their names in ``torch.nn.functional``.
ACTIVATIONS = frozenset({
    "relu", "relu6", "hardtanh", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu",
    "silu", "mish", "softplus", "softsign", "hardswish", "hardsigmoid", "sigmoid", "logsigmoid",
    "tanh",
})  # fmt: skip


@dataclass(frozen=True)
class Tap:
    """A place at which values are read during a forward pass.

    Parameters
    ----------
    module
        Dotted path of the module, as in ``named_modules()``.
    side
        ``"output"``: what the module returns (a forward hook). ``"input"``: its first positional
        argument (a forward *pre*-hook, because the module may work in place).
    activation
        Name of a function of ``torch.nn.functional``, applied to what was read; None to take the
        values as they are. It is set only where the network calls its activation as a plain
        function and passes the result to no module, so that no hook ever sees it.

    Notes
    -----
    Where a module is called several times in a forward pass, the last call counts. Read, pool or
    copy the values inside the hook: in-place functions overwrite them afterwards.
    """

    module: str
    side: Literal["input", "output"] = "output"
    activation: str | None = None

    def value(self, inputs: Sequence[Any], output: Any = None) -> torch.Tensor:
        """Tensor of this tap, from a hook's arguments; it may share memory with the network's own.

        Parameters
        ----------
        inputs
            The module's positional arguments, as hooks receive them.
        output
            The module's output; not needed when ``side`` is ``"input"``.
        """
        value = inputs[0] if self.side == "input" else output
        if not isinstance(value, torch.Tensor):
            raise TypeError(
                f"the {self.side} of module {self.module!r} is a {type(value).__name__}; "
                "expected a single tensor. Name a module that handles one tensor."
            )
        if self.activation is None:
            return value
        activated: torch.Tensor = getattr(functional, self.activation)(value)
        return activated


@dataclass(frozen=True)
class Layer:
    """One named layer of a backbone.

    Parameters
    ----------
    name
        The papers' name (``conv1_1``, ``fc6``, ``fire2``, ``block1``), or the module's path where
        no paper gives one.
    kind
        ``"conv"``, ``"fc"``, ``"pool"`` or ``"block"``.
    units
        Feature maps of a spatial layer, neurons of a vector: the length of the unit axis.
    spatial
        (height, width) of the feature maps for a crop of the backbone's preprocessing;
        ``(tokens, 1)`` for tokens; None for vectors.
    layout
        Axes of the tapped tensors: ``"nchw"`` (image, unit, row, column), ``"nhwc"``, ``"tokens"``
        (image, token, unit) or ``"vector"`` (image, unit).
    post, pre
        Taps after and before the activation function; several are concatenated along the unit axis.
        ``pre`` is empty where no hook sees the values before it; :meth:`taps` then raises.
    """

    name: str
    kind: Kind
    units: int
    spatial: tuple[int, int] | None
    layout: Layout
    post: tuple[Tap, ...]
    pre: tuple[Tap, ...]

    @property
    def unit_axis(self) -> int:
        """Axis of the units in a tapped tensor."""
        return {"nchw": 1, "nhwc": 3, "tokens": 2, "vector": 1}[self.layout]

    def taps(self, activation: Literal["post", "pre"]) -> tuple[Tap, ...]:
        """Taps of this layer, after (``"post"``) or before (``"pre"``) its activation function."""
        if activation not in ("post", "pre"):
            raise ValueError(f"unknown activation {activation!r}; known: post, pre")
        chosen = self.post if activation == "post" else self.pre
        if not chosen:
            raise ValueError(
                f"the values of layer {self.name!r} before its activation function cannot be read: "
                "the network joins branches there by plain function calls. Use activation='post'"
            )
        return chosen
