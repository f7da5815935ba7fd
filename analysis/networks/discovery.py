"""Finding layers in a network: what follows each convolution, which axis holds the units.

Nothing is guessed from names or sizes. A recorded forward pass tells which normalisation and which
activation function follow a layer, and where a hook can see the value before and after it. The
unit axis follows from the functions themselves (a convolution puts units on axis 1, a linear layer
on the last, a permutation moves them), and where that is not enough from a second pass on larger
images. What remains unknown is refused.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from analysis.networks.axes import unit_axes
from analysis.networks.layers import ACTIVATIONS, Kind, Layer, Layout, Tap
from analysis.networks.trace import Operation, Trace, record

__all__ = ["Discovery", "UnreadableLayerError"]

_NORMALISATIONS = {"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"}
_TO_SCORES = {
    "flatten", "reshape", "view", "squeeze", "mean", "adaptive_avg_pool2d", "avg_pool2d",
    "dropout", "softmax", "log_softmax",
}  # fmt: skip
_POOLS = (
    nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d, nn.FractionalMaxPool2d, nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
)  # fmt: skip
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


class UnreadableLayerError(ValueError):
    """A module whose values cannot be read without guessing what their axes mean."""


@dataclass(frozen=True)
class Discovery:
    """Layers of a module for square crops of ``crop`` pixels.

    Methods take module paths as in ``named_modules()``.
    """

    module: nn.Module
    crop: int
    channels: int = 3

    @cached_property
    def trace(self) -> Trace:
        """Forward pass of two images."""
        return record(self.module, (2, self.channels, self.crop, self.crop))

    def layer(self, path: str, name: str | None = None) -> Layer:
        """Layer read at a module: convolution, linear layer, pool, or any other as a block.

        Raises
        ------
        ValueError
            If there is no such module or the forward pass does not call it.
        UnreadableLayerError
            If its values cannot be read safely.
        """
        kind = self.kind(path)
        output = self.trace.outputs.get(path, None)
        if output is None:
            raise UnreadableLayerError(
                f"module {path!r} ({type(self._parts[path]).__name__}) is not called in the "
                "forward pass, or does not return a single tensor"
            )
        if kind in ("conv", "fc"):
            before = self._follow(output, _NORMALISATIONS)
            after = self._follow(before, ACTIVATIONS)
            pre, post = self._taps([before], path), self._post_tap(before, after, path)
        else:
            post = self._taps([output], path)
            pre = self._block_pre(output, path) if kind == "block" else post
        layout, units, spatial = self._geometry(pre, post, path)
        return Layer(name or path, kind, units, spatial, layout, post, pre)

    def check(self, layer: Layer) -> None:
        """Check that a layer described by hand has the units and the size that it claims.

        Raises
        ------
        ValueError
            If a tapped module is not called, or gives an array of another shape.
        """
        for side in (layer.pre, layer.post):
            shapes = [self._shape(tap) for tap in side]
            ranks = {"nchw": 4, "nhwc": 4, "tokens": 3, "vector": 2}[layer.layout]
            fits = all(shape and len(shape) == ranks for shape in shapes)
            if not fits or sum(shape[layer.unit_axis] for shape in shapes if shape) != layer.units:
                raise ValueError(
                    f"layer {layer.name!r} claims {layer.units} units in layout {layer.layout!r}, "
                    f"but its taps give {shapes} for 2 images"
                )

    def kind(self, path: str) -> Kind:
        """Kind of the layer at a module."""
        if path not in self._parts:
            raise ValueError(f"{type(self.module).__name__} has no module {path!r}")
        part = self._parts[path]
        if isinstance(part, nn.Conv2d):
            return "conv"
        if isinstance(part, nn.Linear):
            return "fc"
        return "pool" if isinstance(part, _POOLS) else "block"

    def paths(self) -> list[str]:
        """List what the forward pass calls, in its order: what convolves, connects or pools."""
        leaves = [path for path, part in self._parts.items() if self._is_leaf(part)]
        return sorted(
            (path for path in {*leaves, *self.blocks} if path in self.trace.order),
            key=lambda path: self.trace.order[path],
        )

    def embedding(self) -> list[str]:
        """Paths of the default embedding: blocks, and what convolves or connects outside of them.

        Pools and class scores are left out, as the papers do.
        """
        inside = tuple(f"{block}." for block in self.blocks)
        return [
            path
            for path in self.paths()
            if self.kind(path) != "pool" and path != self.scores and not path.startswith(inside)
        ]

    @cached_property
    def scores(self) -> str | None:
        """The layer whose values, with no activation function after it, are the class scores."""
        value = self.trace.result
        if value is None or len(self.trace.shapes[value]) != 2:
            return None
        by_output = {
            number: path
            for path, number in self.trace.outputs.items()
            if self._is_weighted(self._parts[path])
        }
        while value is not None and value not in by_output:
            op = self.trace.producer(value)
            value = op.inputs[0] if op is not None and op.name in _TO_SCORES else None
        return None if value is None else by_output[value]

    @cached_property
    def blocks(self) -> tuple[str, ...]:
        """Blocks: the repeated units of a network, such as Bottleneck, Fire or an encoder layer.

        A block is a module, not a mere container, that holds at least two convolutions or linear
        layers; a module that repeats such a block inside is a stage, and its blocks count instead.
        """
        candidates = {
            path: part
            for path, part in self._parts.items()
            if path in self.trace.order
            and not isinstance(part, _CONTAINERS)
            and sum(self._is_weighted(inner) for inner in part.modules()) >= 2
        }
        found: list[str] = []
        for path in candidates:
            if path.startswith(tuple(f"{block}." for block in found)):
                continue
            inner = [type(candidates[p]) for p in candidates if p.startswith(f"{path}.")]
            if all(inner.count(kind) < 2 for kind in inner):
                found.append(path)
        return tuple(found)

    @cached_property
    def _parts(self) -> dict[str, nn.Module]:
        return {path: part for path, part in self.module.named_modules() if path}

    @staticmethod
    def _is_weighted(part: nn.Module) -> bool:
        return isinstance(part, nn.Conv2d | nn.Linear)

    def _is_leaf(self, part: nn.Module) -> bool:
        return self._is_weighted(part) or isinstance(part, _POOLS)

    def _follow(self, value: int, names: Set[str]) -> int:
        """Value after the next function, if it alone takes ``value`` and is one of ``names``."""
        consumers = self.trace.consumers(value)
        if len(consumers) != 1 or consumers[0].inputs[0] != value or len(consumers[0].outputs) != 1:
            return value
        return consumers[0].outputs[0] if consumers[0].name in names else value

    def _before_activation(self, value: int) -> list[int]:
        """Values before the activation function that made ``value``, branch by branch."""
        op = self.trace.producer(value)
        if op is not None and op.name in ACTIVATIONS:
            return [op.inputs[0]]
        if op is not None and self._joins_units(op):
            return [before for part in op.inputs for before in self._before_activation(part)]
        return [value]

    def _block_pre(self, output: int, path: str) -> tuple[Tap, ...]:
        try:
            return self._taps(self._before_activation(output), path)
        except UnreadableLayerError:  # one branch ends in a plain function: no hook sees it alone
            return ()

    def _joins_units(self, op: Operation) -> bool:
        if op.name not in ("cat", "concat"):
            return False
        rank = len(self.trace.shapes[op.outputs[0]])
        axis = op.options.get("dim", op.arguments[1] if len(op.arguments) > 1 else 0)
        return bool(axis % rank == self._unit_axes.get(op.outputs[0]))

    def _taps(self, values: list[int], path: str) -> tuple[Tap, ...]:
        taps = [self._tap(value) for value in values]
        if None in taps:
            raise UnreadableLayerError(
                f"a value of layer {path!r} is passed from function to function, so that no module "
                "takes or returns it"
            )
        return tuple(tap for tap in taps if tap is not None)

    def _post_tap(self, before: int, after: int, path: str) -> tuple[Tap, ...]:
        tap = self._tap(after)
        if tap is not None:
            return (tap,)
        (source,) = self._taps([before], path)
        op = self.trace.producer(after)
        plain = op is not None and len(op.inputs) == len(op.arguments) == 1
        if op is None or not plain or any(v for k, v in op.options.items() if k != "inplace"):
            raise UnreadableLayerError(
                f"the activation function after {path!r} is called with arguments of its own, and "
                "no module takes or returns its result"
            )
        return (Tap(source.module, source.side, op.name),)

    def _tap(self, value: int) -> Tap | None:
        """Tap of the innermost module that last returned a value, else of one that took it."""
        returning = [path for path, number in self.trace.outputs.items() if number == value]
        if returning:
            return Tap(min(returning, key=lambda path: self.trace.order[path]), "output")
        taking = [path for path, number in self.trace.inputs.items() if number == value]
        return (
            Tap(min(taking, key=lambda path: self.trace.order[path]), "input") if taking else None
        )

    def _shape(self, tap: Tap) -> tuple[int, ...] | None:
        number = self._number(tap, self.trace)
        return None if number is None else self.trace.shapes[number]

    def _number(self, tap: Tap, trace: Trace) -> int | None:
        side = trace.inputs if tap.side == "input" else trace.outputs
        return side.get(tap.module)

    def _geometry(
        self, pre: tuple[Tap, ...], post: tuple[Tap, ...], path: str
    ) -> tuple[Layout, int, tuple[int, int] | None]:
        """Layout, units and spatial size, the same for the taps before and after."""
        before, after = ([self._read(tap, path) for tap in taps] for taps in (pre, post))
        layouts = {(layout, spatial) for layout, _, spatial in (*before, *after)}
        units = {sum(count for _, count, _ in taps) for taps in (before, after) if taps}
        if len(layouts) > 1 or len(units) > 1:
            raise UnreadableLayerError(
                f"the values of layer {path!r} before and after its activation function differ in "
                f"shape: {before} and {after} (layout, units, spatial size)"
            )
        ((layout, spatial),) = layouts
        return layout, units.pop(), spatial

    def _read(self, tap: Tap, path: str) -> tuple[Layout, int, tuple[int, int] | None]:
        number = self._number(tap, self.trace)
        assert number is not None
        shape, axis = self.trace.shapes[number], self._unit_axes.get(number, 0)
        three = self._number(tap, self._three_images)
        follows = three is not None and self._three_images.shapes[three] == (3, *shape[1:])
        layout = _LAYOUTS.get((len(shape), axis)) if shape and shape[0] == 2 and follows else None
        if layout is None:
            raise UnreadableLayerError(
                f"layer {path!r} gives an array of shape {shape} for 2 images of "
                f"{self.crop} × {self.crop} pixels, and which axis holds its units cannot be told. "
                "Expected (image, unit), (image, token, unit), (image, unit, row, column) or "
                "(image, row, column, unit)"
            )
        rest = [length for i, length in enumerate(shape) if i not in (0, axis)]
        spatial = {"nchw": rest, "nhwc": rest, "tokens": [*rest, 1], "vector": None}[layout]
        return layout, shape[axis], (spatial[0], spatial[1]) if spatial else None

    @cached_property
    def _three_images(self) -> Trace:
        return record(self.module, (3, self.channels, self.crop, self.crop))

    @cached_property
    def _unit_axes(self) -> dict[int, int]:
        known = unit_axes(self.trace)
        unknown = {
            path: number
            for path, number in self.trace.outputs.items()
            if number is not None and number not in known and len(self.trace.shapes[number]) == 4
        }
        return known | (self._axes_by_size(unknown) if unknown else {})

    def _axes_by_size(self, unknown: dict[str, int]) -> dict[int, int]:
        """Find the unit axis of maps whose other two axes grow with the image."""
        larger = self.crop + 64
        try:
            other = record(self.module, (2, self.channels, larger, larger))
        except ValueError:  # the network takes images of one size only
            return {}
        axes = {}
        for path, number in unknown.items():
            twin = other.outputs.get(path)
            shapes = self.trace.shapes[number], other.shapes[twin] if twin is not None else ()
            grown = [i for i, (a, b) in enumerate(zip(*shapes, strict=False)) if a != b]
            if len(shapes[1]) == 4 and grown in ([2, 3], [1, 2]):
                axes[number] = 1 if grown == [2, 3] else 3
        return axes


_LAYOUTS: dict[tuple[int, int], Layout] = {
    (4, 1): "nchw",
    (4, 3): "nhwc",
    (3, 2): "tokens",
    (2, 1): "vector",
}
