"""A backbone: a network with named layers, bound to its preprocessing and its origin."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches

from torch import nn

from analysis.networks.cards import SOURCE_TASKS
from analysis.networks.layers import Layer
from analysis.networks.preprocessing import Preprocessing
from analysis.networks.sources import SOURCES

__all__ = ["Backbone"]


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
        chosen = tuple(self._layer(name) for name in ([names] if isinstance(names, str) else names))
        if not chosen:
            raise ValueError(f"no layer named; known: {self._known()}")
        repeated = {layer.name for layer in chosen if chosen.count(layer) > 1}
        if repeated:
            raise ValueError(f"layers named more than once: {', '.join(sorted(repeated))}")
        return chosen

    def _layer(self, name: str) -> Layer:
        if name in self.available:
            return self.available[name]
        if name in self.refused:
            raise ValueError(f"layer {name!r} of {self.name} cannot be used: {self.refused[name]}")
        close = get_close_matches(str(name), self.available, n=3)
        hint = f" (did you mean {', '.join(close)}?)" if close else ""
        raise ValueError(f"unknown layer {name!r} of {self.name}{hint}; known: {self._known()}")

    def _known(self, limit: int = 60) -> str:
        """Names for an error message: the embedding first, then the rest, cut at ``limit``."""
        default = [layer.name for layer in self.layers]
        names = [*default, *(name for name in self.available if name not in default)]
        more = f", ... and {len(names) - limit} more in .available" if len(names) > limit else ""
        return ", ".join(names[:limit]) + more
