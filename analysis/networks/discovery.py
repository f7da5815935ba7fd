"""Finding layers in a network: what is theirs alone, which axis holds the units, the scores.

Nothing is guessed from names or sizes. A recorded forward pass tells what becomes of the values of
a layer and where they can be read. The unit axis follows from the functions themselves (a
convolution puts units on axis 1, a linear layer on the last, a permutation moves them), and where
that is not enough from a second pass on larger images. What remains unknown is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from torch import nn

from analysis.networks.backbone import Kind, Layer, Layout, Tap
from analysis.networks.trace import MOVING, NORMALISATIONS, Operation, Trace, permutation, record

_TO_SCORES = {
    "flatten", "reshape", "view", "squeeze", "unsqueeze", "softmax", "log_softmax", "cat", "concat",
    "stack", "getitem", "unbind",
}  # fmt: skip
_POOLING = {"mean", "adaptive_avg_pool2d", "avg_pool2d"}
_ATTENDING = {"scaled_dot_product_attention", "multi_head_attention_forward"}
_PRODUCTS = {"matmul", "bmm", "einsum", "baddbmm"}
_POOLS = (
    nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d, nn.FractionalMaxPool2d, nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
)  # fmt: skip
_JOINING = {"cat", "concat"}
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def _is_weighted(part: nn.Module) -> bool:
    return isinstance(part, nn.Conv2d | nn.Linear)


def class_layer(module: nn.Module) -> tuple[str, nn.Conv2d | nn.Linear]:
    """Path of the last layer that convolves or connects, and the layer."""
    for path, part in reversed(list(module.named_modules())):
        if isinstance(part, nn.Conv2d | nn.Linear):
            return path, part
    raise ValueError(f"{type(module).__name__} has neither convolutions nor linear layers")


def _is_pool(part: nn.Module) -> bool:
    return isinstance(part, _POOLS)


class UnreadableLayerError(ValueError):
    """A module whose values cannot be read without guessing what their axes mean."""


@dataclass(frozen=True)
class Discovery:
    """Layers of a module for square crops of ``crop`` pixels.

    Methods take module paths as in ``named_modules()``.
    """

    module: nn.Module
    crop: int

    @cached_property
    def trace(self) -> Trace:
        """Forward pass of two images."""
        return record(self.module, (2, 3, self.crop, self.crop))

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
        if _is_weighted(self._parts[path]):
            before = self._normalised(output)
            pre, post = self._taps([before]), self._taps([self._own_end(before, path)])
        else:
            post = self._taps([output])
            pre = post if kind == "pool" else self._taps(self._before_elementwise(output))
        if not post or (not pre and _is_weighted(self._parts[path])):
            raise UnreadableLayerError(
                f"a value of layer {path!r} passes from one compiled function to another, where it "
                "cannot be read"
            )
        layout, units, spatial = self._geometry(pre, post, path)
        added = self._added_tokens(output) if layout == "tokens" else ()
        return Layer(name or path, kind, units, spatial, layout, post, pre, added)

    def check(self, layer: Layer) -> None:
        """Check that a layer described by hand has the units and the size that it claims.

        Raises
        ------
        ValueError
            If a tapped module is not called, or gives an array of another shape.
        """
        for side in (layer.pre, layer.post):
            values = [self.trace.value(tap) for tap in side]
            shapes = [None if value is None else self.trace.shapes[value] for value in values]
            kinds = {_LAYOUTS.get((len(shape or ()), layer.unit_axis)) for shape in shapes}
            if (
                kinds - {layer.layout}
                or sum(shape[layer.unit_axis] for shape in shapes if shape) != layer.units
            ):
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
        if _is_pool(part):
            return "pool"
        inside = [op for op in self.trace.operations if f"{op.module}.".startswith(f"{path}.")]
        if any(map(self._attends, inside)):
            return "attention"
        weighted = [inner for inner in part.modules() if _is_weighted(inner)]
        if not weighted or any(isinstance(inner, nn.Conv2d) for inner in weighted):
            return "block"
        output = self.trace.outputs.get(path)
        return "tokens" if output and len(self.trace.shapes[output]) > 2 else "fc"

    def paths(self) -> list[str]:
        """List what the forward pass calls, in its order: what convolves, connects or pools."""
        leaves = [p for p, part in self._parts.items() if _is_weighted(part) or _is_pool(part)]
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
            if self.kind(path) != "pool" and path not in self.scores and not path.startswith(inside)
        ]

    @cached_property
    def scores(self) -> frozenset[str]:
        """Layers that give the class scores: what is returned comes from them, and nothing else.

        Their values reach what the network returns through element-wise operations, reshapes,
        softmax or joining, or through pooling if no activation function comes before it, and no
        other layer takes them.
        """
        by_output = {
            number: path
            for path, number in self.trace.outputs.items()
            if number is not None and _is_weighted(self._parts[path])
        }
        found: set[int] = set()
        waiting = [
            (value, False)
            for value in self.trace.results
            if value in self.trace.from_image and prod(self.trace.shapes[value][2:]) == 1
        ]
        while waiting:
            value, pooled = waiting.pop()
            if value in by_output:
                found.add(value)
                continue
            op = self.trace.producer(value)
            reshapes = op is not None and op.name in _TO_SCORES | _POOLING
            if op is not None and (reshapes or (op.elementwise and not pooled)):
                pooled |= op.name in _POOLING
                waiting += [(taken, pooled) for taken in self.trace.image_inputs(op)]
        taken = {one for value in by_output for one in self.trace.ancestors(value) - {value}}
        return frozenset(by_output[value] for value in found - taken)

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
            and sum(_is_weighted(inner) for inner in part.modules()) >= 2
        }
        found: list[str] = []
        for path in candidates:
            if path.startswith(tuple(f"{block}." for block in found)):
                continue
            inner = [type(candidates[p]) for p in candidates if p.startswith(f"{path}.")]
            if all(inner.count(kind) < 2 for kind in inner):
                found.append(path)
        weighted = [path for path, part in self._parts.items() if _is_weighted(part)]
        held = [path for path in weighted if path.startswith(tuple(f"{one}." for one in found))]
        # One that holds most of the network is no repeated unit of it.
        return () if len(found) == 1 and 2 * len(held) > len(weighted) else tuple(found)

    @property
    def wrapped(self) -> nn.Module | None:
        """Module that this one only passes images to and returns the result of; None if it is not.

        So do Lightning's holders, averaged models, and containers of one module.
        """
        for path, part in self.module.named_children():
            whole = self.trace.inputs.get(path) == self.trace.image
            returned = self.trace.outputs.get(path)
            if whole and returned is not None and returned == self.trace.result:
                return part if any(True for _ in part.children()) else None
        return None

    @cached_property
    def _parts(self) -> dict[str, nn.Module]:
        return {path: part for path, part in self.module.named_modules() if path}

    def _attends(self, op: Operation) -> bool:
        """Whether an operation is attention: a softmax that weighs values of the image."""
        if op.name in _ATTENDING:
            return True
        users = self.trace.consumers(op.outputs[0]) if op.name == "softmax" else []
        return any(user.name in _PRODUCTS for user in users)

    def _normalised(self, value: int) -> int:
        """Value after the normalisation that alone takes ``value``, if there is one."""
        consumers = self.trace.consumers(value)
        if len(consumers) != 1 or consumers[0].name not in NORMALISATIONS:
            return value
        return consumers[0].outputs[0] if consumers[0].inputs[0] == value else value

    def _own_end(self, start: int, path: str) -> int:
        """Value that a layer's own element-wise operations end in, see :class:`Backbone`'s module.

        It is the last of those that every way from ``start`` to another layer comes by.
        """
        own = self.trace.elementwise_from(start)
        uses = {v: self.trace.consumers(v) for v in own}
        after = {v: {out for op in uses[v] for out in op.outputs if out in own} for v in own}
        leaving = {v for v in own if any(own.isdisjoint(op.outputs) for op in uses[v])}
        ends = leaving or {v for v in own if not after[v]}  # else what the network returns
        shared: dict[int, set[int]] = {}  # values on every way from one to the ends
        for value in sorted(own, reverse=True):
            ways = [shared[v] for v in after[value] if v in shared] + [set()] * (value in ends)
            if ways:
                shared[value] = {value}.union(set.intersection(*ways))
        last = max(shared[start])
        # Where there are several, the same functions may have made them.
        if last not in ends and len({self._formula(end, last) for end in ends}) > 1:
            names = sorted({op.name for end in ends if (op := self.trace.producer(end))})
            raise UnreadableLayerError(
                f"layer {path!r} is followed by several element-wise branches ({', '.join(names)}) "
                "and which of them is its activation cannot be told. Name a module behind the one "
                "you want, or describe the layer by hand: layers=[Layer(...)]"
            )
        return last if last in ends else min(ends)

    def _formula(self, value: int, start: int) -> str:
        op = self.trace.producer(value)
        if value == start or op is None or value not in self.trace.from_image:
            return "x" if value == start else f"constant {value}"
        inputs = [self._formula(taken, start) for taken in op.inputs]
        options = sorted((key, value) for key, value in op.options.items() if key != "inplace")
        return f"{op.name}{inputs}{op.arguments}{options}"

    def _before_elementwise(self, value: int) -> list[int]:
        """Values before the element-wise operations that made ``value``, branch by branch."""
        before, parts = value, {value}
        while (op := self.trace.producer(max(parts))) is not None:
            taken = set(self.trace.image_inputs(op))
            whole = all(self.trace.shapes[v] == self.trace.shapes[value] for v in taken)
            if not (op.elementwise and taken and whole) or op.name in NORMALISATIONS:
                break
            parts = (parts - {max(parts)}) | taken
            before = max(parts) if len(parts) == 1 else before
        op = self.trace.producer(before)
        if op is not None and op.name in _JOINING:
            rank = len(self.trace.shapes[before])
            axis = op.options.get("dim", op.arguments[1] if len(op.arguments) > 1 else 0)
            if axis % rank == self._unit_axes.get(before):
                return [v for part in op.inputs for v in self._before_elementwise(part)]
        return [before]

    def _taps(self, values: list[int]) -> tuple[Tap, ...]:
        """Where values can be read; nowhere if one passes between compiled functions, unseen."""
        taps = [tap for value in values if (tap := self.trace.tap(value)) is not None]
        return tuple(taps) if len(taps) == len(values) else ()

    def _added_tokens(self, value: int) -> tuple[int, ...]:
        """Positions of tokens that do not come from the image."""
        needed = self.trace.ancestors(value)
        for op in reversed(self.trace.operations):
            shapes = [self.trace.shapes[part] for part in op.inputs]
            if op.name in _JOINING and needed.intersection(op.outputs) and len(shapes[0]) == 3:
                added = [part not in self.trace.from_image for part in op.inputs]
                tokens = np.repeat(added, [shape[1] for shape in shapes])
                if len(tokens) == self.trace.shapes[value][1]:
                    return tuple(np.flatnonzero(tokens).tolist())
        return ()

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
        number = self.trace.value(tap)
        assert number is not None
        shape, axis = self.trace.shapes[number], self._unit_axes.get(number, 0)
        three = self._three_images.value(tap)
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
        return record(self.module, (3, 3, self.crop, self.crop))

    @cached_property
    def _unit_axes(self) -> dict[int, int]:
        """Unit axes that are certain, and of maps whose other two axes grow with the image."""
        axes = unit_axes(self.trace)
        unknown = {
            path: number
            for path, number in self.trace.outputs.items()
            if number is not None and number not in axes and len(self.trace.shapes[number]) == 4
        }
        try:
            size = (2, 3, self.crop + 64, self.crop + 64)
            larger = record(self.module, size) if unknown else self.trace
        except ValueError:  # the network takes images of one size only
            return axes
        for path, number in unknown.items():
            twin = larger.outputs.get(path)
            shapes = self.trace.shapes[number], larger.shapes[twin] if twin is not None else ()
            grown = [i for i, (a, b) in enumerate(zip(*shapes, strict=False)) if a != b]
            if len(shapes[1]) == 4 and grown in ([2, 3], [1, 2]):
                axes[number] = 1 if grown == [2, 3] else 3
        return axes


# By the number of axes and that of the units.
_LAYOUTS: dict[tuple[int, int], Layout] = {
    (4, 1): "nchw", (4, 3): "nhwc", (3, 2): "tokens", (2, 1): "vector",
}  # fmt: skip


_ON_AXIS_1 = {
    "conv2d", "conv_transpose2d", "batch_norm", "group_norm", "instance_norm",
    "local_response_norm", "max_pool2d", "avg_pool2d", "lp_pool2d", "adaptive_avg_pool2d",
    "adaptive_max_pool2d", "interpolate",
}  # fmt: skip
_ON_LAST_AXIS = {"linear", "layer_norm", "rms_norm"}
_RESHAPING = {"view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze"}
# Joining, cutting and padding: what comes out lies as what went in, as after additions and other
# element-wise operations.
_KEEPING = {"dropout2d", "alpha_dropout", "pad", "cat", "concat", "chunk", "split", "softmax"}


def unit_axes(trace: Trace) -> dict[int, int]:
    """Find the unit axis of every value for which it is certain.

    A vector's units are on axis 1. Functions that keep the axes in place (additions, activation
    functions, joining, cutting) hand the axis on where their inputs agree. A value that a
    convolution takes has its units on axis 1, one that a linear layer takes on the last axis.
    """
    axes = {number: 1 for number, shape in enumerate(trace.shapes) if len(shape) == 2}
    for op in trace.operations:
        for output in op.outputs:
            axis = _axis(op, output, trace, axes)
            if axis is not None:
                axes.setdefault(output, axis)
    for op in reversed(trace.operations):
        rank = len(trace.shapes[op.inputs[0]]) if op.inputs else 0
        if op.name in _ON_AXIS_1 and rank == 4:
            axes.setdefault(op.inputs[0], 1)
        elif op.name in _ON_LAST_AXIS and rank:
            axes.setdefault(op.inputs[0], rank - 1)
    return axes


def _axis(op: Operation, output: int, trace: Trace, axes: dict[int, int]) -> int | None:
    rank = len(trace.shapes[output])
    if op.name in _ON_AXIS_1 and rank >= 3:
        return 1
    if op.name in _ON_LAST_AXIS:
        return rank - 1
    if op.name in MOVING:
        order = permutation(op, rank)
        known = axes.get(op.inputs[0])
        return order.index(known) if order is not None and known is not None else None
    if op.name in _RESHAPING:
        return _reshaped(trace.shapes[op.inputs[0]], trace.shapes[output], axes.get(op.inputs[0]))
    if not op.elementwise and op.name not in _KEEPING and not _is_slicing(op):
        return None
    inherited = {
        axes[number] for number in op.inputs if number in axes and len(trace.shapes[number]) == rank
    }
    return inherited.pop() if len(inherited) == 1 else None


def _reshaped(before: tuple[int, ...], after: tuple[int, ...], axis: int | None) -> int | None:
    """Where an axis lies after a reshape that leaves it whole."""
    if axis is None:
        return None
    whole = (i for i, length in enumerate(after) if length == before[axis])
    return next((i for i in whole if prod(after[:i]) == prod(before[:axis])), None)


def _is_slicing(op: Operation) -> bool:
    """Whether an operation cuts ranges out of axes and drops or adds none."""
    if op.name != "getitem" or len(op.arguments) != 2:
        return False
    index = op.arguments[1] if isinstance(op.arguments[1], tuple) else (op.arguments[1],)
    return all(part is Ellipsis or isinstance(part, slice) for part in index)
