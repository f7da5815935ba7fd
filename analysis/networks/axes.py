"""Which axis of each value of a forward pass holds the units, from what the functions do."""

from __future__ import annotations

from math import prod

from analysis.networks.trace import Operation, Trace

__all__ = ["permutation", "unit_axes"]

_ON_AXIS_1 = {
    "conv2d", "conv_transpose2d", "batch_norm", "group_norm", "instance_norm",
    "local_response_norm", "max_pool2d", "avg_pool2d", "lp_pool2d", "adaptive_avg_pool2d",
    "adaptive_max_pool2d", "interpolate",
}  # fmt: skip
_ON_LAST_AXIS = {"linear", "layer_norm", "rms_norm"}
_RESHAPING = {"view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze"}
_MOVING = {"permute", "transpose", "swapaxes", "swapdims"}
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


def permutation(op: Operation, rank: int) -> tuple[int, ...] | None:
    """Old axis at each new place, for an operation that only moves axes; else None."""
    order = [value for value in op.arguments[1:] if value is not None] or [
        op.options[key] for key in ("dims", "dim0", "dim1") if key in op.options
    ]
    if len(order) == 1 and isinstance(order[0], tuple):
        order = list(order[0])
    if op.name not in _MOVING or not all(isinstance(axis, int) for axis in order):
        return None
    order = [axis % rank for axis in order]
    if op.name == "permute":
        return tuple(order)
    places = list(range(rank))
    places[order[0]], places[order[1]] = order[1], order[0]
    return tuple(places)


def _axis(op: Operation, output: int, trace: Trace, axes: dict[int, int]) -> int | None:
    rank = len(trace.shapes[output])
    if op.name in _ON_AXIS_1 and rank >= 3:
        return 1
    if op.name in _ON_LAST_AXIS:
        return rank - 1
    if op.name in _MOVING:
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
