"""Pooling: the values of one layer for one crop become one vector of features.

Conventions
-----------
mean
    Spatial mean: one feature per unit.
none
    All values, flattened with the units outermost (unit, row, column), as DeCAF and
    ``torch.flatten`` do; tokens as (unit, token).
flatten:x
    Means of consecutive segments of x values of that flattened map (dos Santos & Ponti 2019, who
    use x = 100). The last segment is averaged over its own length where x does not divide the map.
grid:g
    Adaptive average to g x g regions, flattened (unit, row, column). ``grid:1`` is ``mean``.

Of the tokens of a transformer, the mean is over those of the image: what the network adds to them
(a class token, registers) is no position. ``tokens="class"`` takes the class token alone, and
``tokens="all"`` every token, (unit, token), whatever the pooling of maps.

Vectors (fully-connected layers, class scores) stay as they are in every mode. Features of one
layer are numbered from 0 in the order above; with ``mean`` that number is the unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod
from typing import TYPE_CHECKING, Literal

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from analysis.networks import Layer

_KNOWN = "known: mean, none, flatten:<values per segment>, grid:<regions per side>"
_AXES = {"nchw": 4, "nhwc": 4, "tokens": 3, "vector": 2}


@dataclass(frozen=True)
class Pooling:
    """A way to pool, parsed from its name.

    Attributes
    ----------
    mode : {"mean", "none", "flatten", "grid"}
        Way to pool.
    size : int
        Values per segment or regions per side; 1 where there is none.
    tokens : {"mean", "class", "all"}
        What is taken of tokens.
    """

    mode: Literal["mean", "none", "flatten", "grid"]
    size: int = 1
    tokens: Literal["mean", "class", "all"] = "mean"

    @classmethod
    def parse(cls, name: str, tokens: Literal["mean", "class", "all"] = "mean") -> Pooling:
        """Pooling by name.

        Raises
        ------
        ValueError
            If a name is unknown or its number is not a positive integer.
        """
        if tokens not in ("mean", "class", "all"):
            raise ValueError(f"unknown tokens {tokens!r}; known: mean, class, all")
        mode, colon, number = name.partition(":")
        if mode in ("mean", "none") and not colon:
            return cls(mode, tokens=tokens)  # type: ignore[arg-type]
        if mode in ("flatten", "grid") and number.isascii() and number.isdigit() and int(number):
            return cls(mode, int(number), tokens)  # type: ignore[arg-type]
        raise ValueError(f"unknown pooling {name!r}; {_KNOWN}")

    def length(self, layer: Layer) -> int:
        """Features that a layer gives.

        Raises
        ------
        ValueError
            If a class token is asked of a layer whose tokens are all of the image, or a grid of
            tokens.
        """
        if layer.layout == "tokens" and self.tokens == "class" and not layer.added_tokens:
            raise ValueError(
                f"layer {layer.name!r} has no class token: all its tokens come from the image. "
                "Use tokens='mean' or 'all'"
            )
        if layer.layout == "tokens" and self.tokens == "mean" and self.mode == "grid":
            raise ValueError(
                f"layer {layer.name!r} holds tokens, which have no grid; "
                "use pooling 'mean' or 'none'"
            )
        if layer.layout == "tokens" and self.tokens != "mean":
            return layer.units * (prod(layer.spatial or ()) if self.tokens == "all" else 1)
        if layer.layout == "vector" or self.mode == "mean":
            return layer.units
        if self.mode == "grid":
            return layer.units * self.size**2
        return ceil(layer.units * prod(layer.spatial or ()) / self.size)

    def inside_hook(self, values: torch.Tensor, layer: Layer) -> torch.Tensor:
        """Reduce what one tap holds, as far as it can be done tap by tap.

        Parameters
        ----------
        values
            Values of the tap, laid out as ``layer.layout`` says; batch first.
        layer
            The layer that the tap belongs to.

        Returns
        -------
        Tensor of float32, shape (crops, values)
            Shares no memory with ``values``, which the network may overwrite.

        Raises
        ------
        ValueError
            If the tensor does not have the axes of the layout.
        """
        if values.ndim != _AXES[layer.layout]:
            raise ValueError(
                f"layer {layer.name!r}: expected {_AXES[layer.layout]} axes for layout "
                f"{layer.layout!r}, got shape {tuple(values.shape)}"
            )
        is_tokens = layer.layout == "tokens"
        if is_tokens and self.tokens == "class":
            values = values[:, layer.added_tokens[0]]
        elif layer.layout == "vector":
            pass
        elif self.mode == "mean" and (not is_tokens or self.tokens == "mean"):
            if layer.added_tokens:
                own = set(range(values.shape[1])) - set(layer.added_tokens)
                values = values[:, sorted(own)]
            return _mean(values, layer.layout)
        else:
            values = values.movedim(layer.unit_axis, 1)
            if self.mode == "grid" and not is_tokens:
                values = functional.adaptive_avg_pool2d(values.float(), self.size)
        return values.flatten(1).to(torch.float32, copy=True, memory_format=torch.contiguous_format)

    def after(self, values: torch.Tensor, layer: Layer) -> torch.Tensor:
        """Finish what needs all taps of a layer together: segments may cross from one to the next.

        Parameters
        ----------
        values : Tensor of shape (crops, values)
            Results of :meth:`inside_hook`, concatenated over the taps.
        layer
            The layer.
        """
        chosen = layer.layout == "tokens" and self.tokens != "mean"
        if self.mode != "flatten" or layer.layout == "vector" or chosen:
            return values
        whole = values.shape[1] // self.size * self.size
        means = values[:, :whole].reshape(len(values), -1, self.size).mean(2)
        if whole == values.shape[1]:
            return means
        return torch.cat([means, values[:, whole:].mean(1, keepdim=True)], dim=1)


def _mean(values: torch.Tensor, layout: str) -> torch.Tensor:
    """Mean over everything but batch and units."""
    if layout == "nchw":
        if values.is_contiguous() and not values.is_contiguous(memory_format=torch.channels_last):
            return values.flatten(2).mean(2, dtype=torch.float32)
        values = values.permute(0, 2, 3, 1)
    rows = values.flatten(1, -2)
    if rows.dtype == torch.float32:
        return rows.mean(1)
    # Reductions in half precision are up to 25 times slower than this product, which oneDNN
    # accumulates in float32; only its result is rounded.
    ones = rows.new_ones(1, 1, rows.shape[1])
    return torch.matmul(ones, rows)[:, 0].float() / rows.shape[1]
