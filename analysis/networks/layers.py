"""What a layer is, and where in a module its values are read.

A :class:`Layer` is a name from the papers (``conv3_2``, ``fire9``, ``block16``) with the places at
which its values appear during a forward pass, each a :class:`Tap`.

Conventions
-----------
post
    The value that the layer's own element-wise operations end in: the last one that depends on
    nothing but the layer's output, before it meets another layer, a sum with another branch, a
    pool or a reshape. Batch normalisation, dropout and scaling by weights count as element-wise.
    A block's is what it hands on.
pre
    Before these operations, and after the normalisation that follows the layer directly.
Where there are none (pools, linear bottlenecks, transformer blocks, most class scores),
``pre == post``.

Kinds
-----
``"conv"``: a convolution. ``"block"``: a block that holds convolutions and no attention.
``"fc"``: a linear layer, or a block of such layers, on one vector per image. ``"tokens"``: the same
on every token or position. ``"attention"``: attention, or a block that holds it. ``"pool"``: a
pooling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Kind", "Layer", "Layout", "Tap"]

Kind = Literal["conv", "fc", "tokens", "pool", "block", "attention"]
Layout = Literal["nchw", "nhwc", "tokens", "vector"]


@dataclass(frozen=True)
class Tap:
    """A place at which values are read during a forward pass, see :func:`reading`.

    Parameters
    ----------
    module
        Dotted path of a module, as in ``named_modules()``; "" for the network itself.
    side
        ``"output"``: what the module returns. ``"input"``: its first positional argument.
    call
        Where no module takes or returns the value: number of functions that are called between the
        module's end (or beginning, ``side="input"``) and the one that makes or takes the value.
    when
        Whether the value is read before or after the call.
    position
        Which tensor of that function: of its arguments, before the call; of its results followed
        by its arguments, which it may have changed, after the call.
    function
        Name of the function.

    Notes
    -----
    Where a module is called several times in a forward pass, the last call counts.
    """

    module: str
    side: Literal["input", "output"] = "output"
    call: int | None = None
    when: Literal["before", "after"] = "after"
    position: int = 0
    function: str = ""


@dataclass(frozen=True)
class Layer:
    """One named layer of a backbone.

    Parameters
    ----------
    name
        The papers' name (``conv1_1``, ``fc6``, ``fire2``, ``block1``), or the module's path where
        no paper gives one.
    kind
        As above.
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
        ``pre`` is empty where the values before it cannot be read; :meth:`taps` then raises.
    added_tokens
        Positions of tokens that the network adds to those of the image, such as a class token,
        which comes first.
    """

    name: str
    kind: Kind
    units: int
    spatial: tuple[int, int] | None
    layout: Layout
    post: tuple[Tap, ...]
    pre: tuple[Tap, ...]
    added_tokens: tuple[int, ...] = ()

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
