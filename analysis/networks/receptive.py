"""Receptive fields: which pixels of a crop a unit at one position can see.

Positions are followed backwards through a recorded forward pass, function by function: a window of
a convolution or pool widens the range, a permutation moves its axes, a pointwise function keeps it.
Ranges are clipped at every map, so that borders are exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from analysis.networks.backbone import Backbone
from analysis.networks.discovery import permutation
from analysis.networks.layers import Layer
from analysis.networks.trace import Operation, Trace, record

__all__ = ["receptive_field"]

# Axis → first and last position; None where every position counts.
Region = dict[int, tuple[int, int]] | None

# Beside element-wise operations.
_KEEPING = {
    "dropout2d", "local_response_norm", "chunk", "split", "cat", "concat", "linear", "layer_norm",
}  # fmt: skip
_WINDOWS = {"conv2d", "max_pool2d", "avg_pool2d", "lp_pool2d"}
_ADAPTIVE = {"adaptive_avg_pool2d", "adaptive_max_pool2d"}

_traces: WeakKeyDictionary[Backbone, Trace] = WeakKeyDictionary()


def receptive_field(
    backbone: Backbone, layer: Layer | str, position: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Box of a crop that a unit sees.

    Parameters
    ----------
    backbone
        The network; the crop is that of its preprocessing.
    layer
        A layer or its name.
    position
        (row, column) in the layer's maps, from 0.

    Returns
    -------
    left, top, right, bottom
        In pixels of the crop, clipped to it; ``right`` and ``bottom`` are exclusive, as in Pillow.
        The whole crop for vectors and tokens, and wherever a function on the way mixes positions
        (squeeze-and-excitation, attention), for which it is an upper bound.

    Raises
    ------
    ValueError
        If the layer is unknown or the position lies outside of its maps.
    """
    found = layer if isinstance(layer, Layer) else backbone.select([layer])[0]
    crop = backbone.preprocessing.crop
    if found.layout in ("tokens", "vector") or found.spatial is None:
        return 0, 0, crop, crop
    if not all(0 <= p < n for p, n in zip(position, found.spatial, strict=True)):
        raise ValueError(
            f"position {tuple(position)} lies outside of the {found.spatial} (rows, columns) maps "
            f"of layer {found.name!r}"
        )
    if backbone not in _traces:
        _traces[backbone] = record(backbone.module, (1, 3, crop, crop))
    trace = _traces[backbone]
    first = 2 if found.layout == "nchw" else 1
    start = {first: (position[0], position[0]), first + 1: (position[1], position[1])}
    region = _back_to_image(trace, dict.fromkeys(_values(found, trace), start))
    (top, bottom), (left, right) = (region[2], region[3]) if region else ((0, crop - 1),) * 2
    return left, top, right + 1, bottom + 1


def _values(layer: Layer, trace: Trace) -> Iterator[int]:
    for tap in layer.post:
        number = trace.value(tap)
        if number is not None:
            yield number


def _back_to_image(trace: Trace, regions: dict[int, Region]) -> Region:
    """Region of the image that the given regions of values depend on."""
    regions = dict(regions)
    # Weights and constants are inputs of functions too, but nothing of the image reaches them.
    made = {trace.image, *(output for op in trace.operations for output in op.outputs)}
    for op in reversed(trace.operations):
        for output in op.outputs:
            if output not in regions:
                continue
            for number in made.intersection(op.inputs):
                region = _before(op, regions[output], trace, number, output)
                regions[number] = _union(regions[number], region) if number in regions else region
    return regions[trace.image]


def _union(a: Region, b: Region) -> Region:
    if a is None or b is None or a.keys() != b.keys():
        return None
    return {axis: (min(a[axis][0], b[axis][0]), max(a[axis][1], b[axis][1])) for axis in a}


def _before(op: Operation, region: Region, trace: Trace, number: int, output: int) -> Region:
    """Region of an input of a function that a region of its output depends on."""
    before, after = trace.shapes[number], trace.shapes[output]
    if region is None or not before:
        return None
    if op.name in _WINDOWS and region.keys() == {2, 3}:
        return _window(op, region, before)
    if op.name in _ADAPTIVE and region.keys() == {2, 3}:
        return {axis: _adaptive(region[axis], before[axis], after[axis]) for axis in region}
    order = permutation(op, len(after))
    if order is not None:
        return {order[axis]: span for axis, span in region.items()}
    if (op.elementwise or op.name in _KEEPING) and _keeps_positions(op, region, before, after):
        return {axis: _clip(*span, before[axis]) for axis, span in region.items()}
    if op.name in ("view", "reshape") and before[-2:] == after[-2:]:
        last = {len(after) - 2: len(before) - 2, len(after) - 1: len(before) - 1}
        return (
            {last[axis]: span for axis, span in region.items()}
            if region.keys() == last.keys()
            else None
        )
    return _indexed(op, region)


def _keeps_positions(
    op: Operation,
    region: dict[int, tuple[int, int]],
    before: tuple[int, ...],
    after: tuple[int, ...],
) -> bool:
    if len(before) != len(after) or any(before[axis] not in (1, after[axis]) for axis in region):
        return False
    return not (op.name in ("linear", "layer_norm") and len(after) - 1 in region)


def _window(op: Operation, region: dict[int, tuple[int, int]], before: tuple[int, ...]) -> Region:
    kernel, stride, padding, dilation = _geometry(op)
    return {
        axis: _clip(
            first * stride[i] - padding[i],
            last * stride[i] - padding[i] + dilation[i] * (kernel[i] - 1),
            before[axis],
        )
        for i, (axis, (first, last)) in enumerate(sorted(region.items()))
    }


def _geometry(op: Operation) -> tuple[tuple[int, int], ...]:
    """Kernel, stride, padding and dilation (rows, columns) of a convolution or pool."""
    is_conv = op.name == "conv2d"
    names = {
        "conv2d": ("input", "weight", "bias", "stride", "padding", "dilation"),
        "max_pool2d": ("input", "kernel_size", "stride", "padding", "dilation"),
        "avg_pool2d": ("input", "kernel_size", "stride", "padding"),
        "lp_pool2d": ("input", "norm_type", "kernel_size", "stride"),
    }[op.name]
    given = {**dict(zip(names, op.arguments, strict=False)), **op.options}
    kernel = tuple(given["weight"])[2:] if is_conv else _pair(given["kernel_size"])
    stride = _pair(given.get("stride") or (1 if is_conv else kernel))
    dilation = _pair(given.get("dilation") or 1)
    padding = given.get("padding") or 0
    if padding == "same":
        padding = tuple(d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True))
    elif padding == "valid":
        padding = 0
    return (kernel[0], kernel[1]), stride, _pair(padding), dilation


def _pair(value: Any) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, tuple | list) else (value,)
    return (pair[0], pair[-1])


def _adaptive(span: tuple[int, int], before: int, after: int) -> tuple[int, int]:
    first, last = span
    return first * before // after, -(-(last + 1) * before // after) - 1


def _clip(first: int, last: int, length: int) -> tuple[int, int]:
    return min(max(first, 0), length - 1), max(min(last, length - 1), 0)


def _indexed(op: Operation, region: dict[int, tuple[int, int]]) -> Region:
    """Region before whole axes were dropped by an integer index, or added by ``unsqueeze``."""
    if op.name == "unsqueeze":
        added = op.options.get("dim", op.arguments[1] if len(op.arguments) > 1 else -1)
        return (
            {axis - (axis > added): span for axis, span in region.items()} if added >= 0 else None
        )
    if op.name != "getitem" or not isinstance(op.arguments[1], tuple):
        return None
    index = op.arguments[1]
    if not all(isinstance(part, int) or part == slice(None) for part in index):
        return None
    kept = [
        axis for axis in range(len(index) + 4) if axis >= len(index) or index[axis] == slice(None)
    ]
    return {kept[axis]: span for axis, span in region.items()}
