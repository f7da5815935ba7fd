"""A backbone: a network with named layers, bound to its preprocessing and its origin.

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

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

from torch import nn

from analysis.networks.cards import SOURCE_TASKS
from analysis.networks.preprocessing import Preprocessing
from analysis.networks.weights import SOURCES

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


@dataclass(frozen=True, eq=False)
class Backbone:
    """A network to take features from; made by :func:`load_backbone`.

    Parameters
    ----------
    name
        Card name (``"vgg16"``), torchvision's name, or the class name of a module of your own.
    module
        The network: evaluation mode, float32, CPU, no gradients.
    layers
        The default embedding, in the order of the forward pass.
    available
        Everything that can be named: the default embedding, pools, class scores, aliases.
    preprocessing
        What the weights expect of an image.
    weights
        How the weights were asked for: ``"imagenet"``, ``"random"``, or a file name.
    weights_hash
        SHA-256 over the state dict: names, types, shapes and bytes.
    provenance
        Where it all came from, JSON-able: seed, stem, file, address.
    refused
        Modules whose output cannot be read safely, with the reason.
    """

    name: str
    module: nn.Module
    layers: tuple[Layer, ...]
    available: dict[str, Layer]
    preprocessing: Preprocessing
    weights: str
    weights_hash: str
    provenance: dict[str, str | int] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def n_features(self) -> int:
        """Number of features of the default embedding: one per unit."""
        return sum(layer.units for layer in self.layers)

    @property
    def source_task(self) -> str | None:
        """The task that the weights have learnt: a keyword of ``weights=``, such as "imagenet".

        None for random weights, and for files whose content is not known.
        """
        if self.weights in SOURCES:
            return None if self.weights == "random" else self.weights
        return SOURCE_TASKS.get(self.weights_hash)

    def select(self, names: Iterable[str] | str | None = None) -> tuple[Layer, ...]:
        """Layers by name, in the order given; None for the default embedding.

        Raises
        ------
        ValueError
            If a name is unknown or repeated, or its values cannot be read safely.
        """
        if names is None:
            return self.layers
        chosen = [self._layer(name) for name in ([names] if isinstance(names, str) else names)]
        if not chosen:
            raise ValueError(f"no layer named; known: {self._known()}")
        require_different(chosen)
        return tuple(chosen)

    def _layer(self, name: str) -> Layer:
        if name in self.available:
            return self.available[name]
        if name in self.refused:
            raise ValueError(f"layer {name!r} of {self.name} cannot be used: {self.refused[name]}")
        close = get_close_matches(str(name), self.available, n=3)
        hint = f" (did you mean {', '.join(close)}?)" if close else ""
        raise ValueError(f"unknown layer {name!r} of {self.name}{hint}; known: {self._known()}")

    def _known(self) -> str:
        """Names for an error message: the embedding first, then the rest."""
        names = list(dict.fromkeys([*(layer.name for layer in self.layers), *self.available]))
        return ", ".join(names[:60]) + (", ... (see .available)" if len(names) > 60 else "")


def require_different(layers: Sequence[Layer]) -> None:
    """Refuse layers of the same name."""
    names = [layer.name for layer in layers]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"layers named more than once: {', '.join(repeated)}")
