"""One recorded forward pass: which function made which value, and which modules saw it.

Values are numbered. A tensor that is changed in place, itself or through a view, holds a new value
afterwards. Functions are recorded as the network calls them; what each does to the elements of its
tensors is learnt from the operators of PyTorch's dispatcher that it runs, most of which PyTorch
itself marks as pointwise or random. So formulas, compiled activation functions and methods need no
list of names. The pass runs on a copy of the network's structure on PyTorch's ``meta`` device
(shapes without numbers, milliseconds even for VGG16); a module that cannot do that runs on zeros.

Receptive fields, the pixels of a crop that a unit at one position can see, follow from it:
positions are followed backwards through a recorded forward pass, function by function: a window of
a convolution or pool widens the range, a permutation moves its axes, a pointwise function keeps it.
Ranges are clipped at every map, so that borders are exact.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from analysis.networks.backbone import Backbone, Layer, Tap

MOVING = frozenset({"permute", "transpose", "swapaxes", "swapdims"})
NORMALISATIONS = frozenset({"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"})
# Operators that work element by element, or only lay an operand out for one that does, without
# PyTorch's mark. Where shapes differ before and after, a function never counts as element-wise.
_POINTWISE = {
    "hardswish", "log_sigmoid_forward", "_prelu_kernel", "rrelu_with_noise", "masked_fill", "fill",
    "copy", "_to_copy", "clone", "detach", "alias", "lift_fresh", "view", "_unsafe_view", "expand",
    "unsqueeze", "native_dropout",
}  # fmt: skip
_CREATING = {
    "empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "new_empty",
    "new_zeros", "new_ones", "new_full", "empty", "zeros", "ones", "full", "scalar_tensor", "rand",
    "randn", "arange",
}  # fmt: skip


# A module, its beginning or its end, and the number of functions called since then.
Place = tuple[str, Literal["input", "output"], int]


@dataclass(frozen=True)
class Operation:
    """One function call on values: ``outputs = name(inputs, *arguments)``.

    Attributes
    ----------
    name : str
        Of the function, without the marks of its in-place and operator forms.
    inputs, outputs : tuple of int
        Values that it works on; values that it makes, those written in place included.
    arguments, options : tuple, mapping
        As called, with shapes in place of tensors.
    elementwise : bool
        Whether every element of a value made depends on nothing but the same element of values of
        that shape, and on constants.
    draws : bool
        Whether it draws random numbers.
    module : str
        The innermost module in whose forward pass it was called.
    call : (str, str, int), optional
        Where to find the call: the module that began or ended last before it, ``"input"`` or
        ``"output"`` of that module, and the number of functions called since then. None where it
        cannot be seen from Python.
    before, after : tuple of int
        Values of all its tensors: as passed; results, then the passed ones after the call.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    elementwise: bool = False
    draws: bool = False
    module: str = ""
    call: Place | None = None
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()


@dataclass
class Trace:
    """A forward pass: shapes of all values, operations in order, what went in and out of modules.

    ``inputs``, ``outputs`` and ``order`` tell of the *last* call of each module, by its path.
    ``results`` are all tensors returned, ``result`` the one returned bare. ``constants`` tells of
    tensors that no function made: their names in the state dict, else hashes of their content.
    """

    shapes: list[tuple[int, ...]] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    inputs: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, int | None] = field(default_factory=dict)
    order: dict[str, int] = field(default_factory=dict)
    constants: dict[int, str] = field(default_factory=dict)
    image: int = 0
    result: int | None = None
    results: tuple[int, ...] = ()

    def producer(self, value: int) -> Operation | None:
        """Operation that made a value."""
        return self._producers.get(value)

    def consumers(self, value: int) -> list[Operation]:
        """Operations that take a value, as far as they contribute to what the network returns."""
        return self._consumers.get(value, [])

    def image_inputs(self, op: Operation) -> list[int]:
        """List the inputs of an operation that depend on the image."""
        return [value for value in op.inputs if value in self.from_image]

    def ancestors(self, value: int) -> set[int]:
        """Find a value and all that it was made from."""
        found = {value}
        for op in reversed(self.operations):
            if not found.isdisjoint(op.outputs):
                found |= set(op.inputs)
        return found

    def elementwise_from(self, start: int) -> set[int]:
        """Values that depend on nothing but ``start``, through element-wise operations."""
        own = {start}
        for op in self.operations:
            taken = self.image_inputs(op)
            if op.elementwise and taken and own.issuperset(taken):
                own |= {v for v in op.outputs if self.shapes[v] == self.shapes[start]}
        return own

    def value(self, tap: Tap) -> int | None:
        """Value that a tap reads; None where the pass does not come by it."""
        if tap.call is None:
            return (self.inputs if tap.side == "input" else self.outputs).get(tap.module)
        seen = [
            op.before if tap.when == "before" else op.after
            for op in self.operations
            if op.call == (tap.module, tap.side, tap.call)
        ]
        return seen[-1][tap.position] if seen else None

    def tap(self, value: int) -> Tap | None:
        """Where a value can be read; None where it passes between functions that Python calls not.

        The innermost module that last returned it, else one that took it, else a function's call.
        """
        returning = [path for path, number in self.outputs.items() if number == value]
        if returning:
            return Tap(min(returning, key=self.order.__getitem__))
        taking = [path for path, number in self.inputs.items() if number == value]
        if taking:
            return Tap(min(taking, key=self.order.__getitem__), "input")
        maker = self.producer(value)
        if maker is not None and maker.call is not None:
            return Tap(*maker.call, "after", maker.after.index(value), maker.name)
        for op in reversed(self.operations):
            if op.call is not None and value in op.before:
                return Tap(*op.call, "before", op.before.index(value), op.name)
        return None

    def digest(self) -> str:
        """SHA-256 (hex) over what is computed: operations, their arguments and the constants."""
        text = repr(
            [
                (op.name, op.inputs, op.outputs, op.arguments, sorted(op.options.items()))
                for op in self.operations
            ]
            + [self.results, sorted(self.constants.items())]
        )
        return hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", text).encode()).hexdigest()

    @cached_property
    def from_image(self) -> set[int]:
        """Values that depend on the image."""
        found = {self.image}
        for op in self.operations:
            if not found.isdisjoint(op.inputs):
                found |= set(op.outputs)
        return found

    @cached_property
    def _producers(self) -> dict[int, Operation]:
        return {value: op for op in self.operations for value in op.outputs}

    @cached_property
    def _consumers(self) -> dict[int, list[Operation]]:
        live = set(self.results)
        found: dict[int, list[Operation]] = defaultdict(list)
        for op in reversed(self.operations):
            if not live.isdisjoint(op.outputs):
                live |= set(op.inputs)
                for value in set(op.inputs):
                    found[value].insert(0, op)
        return found


def record(module: nn.Module, shape: tuple[int, int, int, int]) -> Trace:
    """Run a module once on an input of this shape (images, channels, height, width) and record it.

    The module is not touched.

    Raises
    ------
    ValueError
        If the module cannot take such an input.
    """
    try:
        return _record(module, "meta", torch.empty(shape, device="meta"))
    except Exception:  # whatever a module of the user's does that shapes alone do not allow
        try:
            with torch.random.fork_rng(devices=[]):
                return _record(module, "cpu", torch.zeros(shape))
        except Exception as error:
            raise ValueError(
                f"{type(module).__name__} cannot take an input of shape {shape} "
                f"(images, channels, height, width): {error}"
            ) from error


def copy_structure(module: nn.Module, convert: Callable[[torch.Tensor], torch.Tensor]) -> nn.Module:
    """Copy a module and convert its tensors: parameters, buffers and those in plain attributes.

    ``copy.deepcopy`` alone refuses tensors that autograd has made, which modules hold that keep
    their activations, and those under weight normalisation, spectral normalisation or pruning.
    Compiled and parallel modules are replaced by those that they wrap.

    Parameters
    ----------
    module
        What to copy.
    convert
        Gives the tensor to hold in place of another; parameters are wrapped again.
    """
    weights = {id(tensor): nn.Parameter(convert(tensor), False) for tensor in module.parameters()}
    fixed: dict[int, Any] = weights | {id(buffer): convert(buffer) for buffer in module.buffers()}

    def attempt() -> nn.Module:
        memo = dict(fixed)
        for part in reversed(list(module.modules())):
            inner = part._modules.get("_orig_mod")  # what torch.compile wraps
            if isinstance(part, nn.DataParallel | nn.parallel.DistributedDataParallel):
                inner = part.module
            if inner is not None:
                memo[id(part)] = copy.deepcopy(inner, memo)
        return copy.deepcopy(module, memo)

    with _Copying(convert):
        try:
            return attempt()
        except Exception:  # locks, files, compiled functions and the like: shared, not copied
            for part in module.modules():
                for value in (v for name, v in vars(part).items() if name != "_modules"):
                    try:
                        copy.deepcopy(value, dict(fixed))
                    except Exception:
                        fixed[id(value)] = value
            return attempt()


@contextmanager
def reading(
    module: nn.Module, taps: Sequence[Tap], keep: Callable[[int, torch.Tensor], object]
) -> Iterator[None]:
    """Hand over the values of taps whenever the module runs inside the context.

    Parameters
    ----------
    module
        The network.
    taps
        What to read.
    keep
        Called with the number of the tap and its value, which may be the network's own memory:
        reduce or copy it at once, because functions that work in place overwrite it afterwards.
        What it raises passes through the network's forward pass.

    Raises
    ------
    TypeError
        If a module that is tapped does not take or return a single tensor.
    """

    def keep_single(number: int, tap: Tap, part: nn.Module, *passed: Any) -> None:
        value = passed[-1] if tap.side == "output" else passed[0][0] if passed[0] else None
        if not isinstance(value, torch.Tensor):
            raise TypeError(
                f"the {tap.side} of module {tap.module!r} is a {type(value).__name__}; expected a "
                "single tensor. Name a module that handles one tensor."
            )
        with torch._C.DisableTorchFunction():  # what is kept here is no function of the network
            keep(number, value)

    calls = _Calls(taps, keep)
    hooks: list[Any] = []
    try:
        for number, tap in enumerate(taps):
            hook: Any = partial(keep_single, number, tap)
            if tap.call is not None:
                hook = partial(calls.start, (tap.module, tap.side))
            part = module.get_submodule(tap.module)
            if tap.side == "input":
                hooks.append(part.register_forward_pre_hook(hook, prepend=not tap.module))
            else:
                hooks.append(part.register_forward_hook(hook))
        with calls if calls.wanted else nullcontext():
            yield
    finally:
        for hook in hooks:
            hook.remove()


class _Calls(TorchFunctionMode):
    """Counts the functions that modules call, as the recording did, and reads those wanted."""

    def __init__(self, taps: Sequence[Tap], keep: Callable[[int, torch.Tensor], object]) -> None:
        super().__init__()
        self.wanted = [(number, tap) for number, tap in enumerate(taps) if tap.call is not None]
        self._keep = keep
        self._counts: dict[tuple[str, str], int] = {}

    def start(self, place: tuple[str, str], *arguments: Any) -> None:
        self._counts[place] = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        name = _plain(getattr(func, "__name__", str(func)))
        here = [
            (number, tap)
            for number, tap in self.wanted
            if self._counts.get((tap.module, tap.side)) == tap.call and name == tap.function
        ]
        self._counts = {place: count + 1 for place, count in self._counts.items()}
        given = list(_tensors((args, options))) if here else []
        for number, tap in here:
            if tap.when == "before":
                self._keep(number, given[tap.position])
        result = func(*args, **options)
        for number, tap in here:
            if tap.when == "after":
                self._keep(number, [*_tensors(result), *given][tap.position])
        return result


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """All tensors in nested sequences, mappings, dataclasses and namespaces, in order."""
    parts: Any = ()
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, list | tuple | set):
        parts = value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [getattr(value, part.name) for part in dataclasses.fields(value)]
    elif not callable(value):
        slots = [getattr(value, name, None) for name in getattr(value, "__slots__", ())]
        parts = [*slots, *getattr(value, "__dict__", {}).values()]
    for part in parts:
        yield from _tensors(part)


class _Copying(TorchFunctionMode):
    def __init__(self, convert: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self._convert = convert

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.Tensor.__deepcopy__:
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        return memo.setdefault(id(tensor), self._convert(tensor))


def _record(module: nn.Module, device: str, image: torch.Tensor) -> Trace:
    origin: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # by identity, so both must live

    def convert(tensor: torch.Tensor) -> torch.Tensor:
        converted = tensor.detach().to(device, copy=device != "meta")
        origin[id(converted)] = tensor, converted
        return converted

    copied = copy_structure(module, convert)
    names = {id(tensor): name for name, tensor in copied.state_dict(keep_vars=True).items()}
    recorder = _Recorder()
    trace = recorder.trace
    trace.image = recorder.number(image)
    for path, part in copied.named_modules():
        if path:
            part.register_forward_pre_hook(partial(recorder.entered, path))
            part.register_forward_hook(partial(recorder.left, path))
    with torch.no_grad(), recorder, _Dispatched(recorder):
        result = copied(image)
    trace.results = tuple(map(recorder.number, _tensors(result)))
    trace.result = trace.results[0] if isinstance(result, torch.Tensor) else None
    made = {trace.image, *(value for op in trace.operations for value in op.outputs)}
    for tensor, number in recorder.first:
        if number not in made:
            held, _ = origin.get(id(tensor), (tensor, tensor))
            trace.constants[number] = names.get(id(tensor)) or _content(held)
    return trace


@dataclass
class _Inside:
    """What the dispatcher saw while one function ran."""

    operators: int = 0
    pointwise: bool = True
    draws: bool = False
    touched: set[int] = field(default_factory=set)
    written: list[torch.Tensor] = field(default_factory=list)


class _Recorder(TorchFunctionMode):
    """Sees every PyTorch function that a forward pass calls."""

    def __init__(self) -> None:
        super().__init__()
        self.trace = Trace()
        self.inside: _Inside | None = None
        self._numbers: dict[int, int] = {}
        self._alive: dict[int, list[torch.Tensor]] = defaultdict(list)  # by storage; keeps ids
        self.first: list[tuple[torch.Tensor, int]] = []  # every tensor, with its first value
        self._running = [""]  # modules, the innermost last
        self._place: Place = ("", "input", 0)
        self._returned = 0

    def number(self, tensor: torch.Tensor) -> int:
        """Return the number of the value that a tensor holds now."""
        with torch._C.DisableTorchFunction():
            if id(tensor) not in self._numbers:
                self._alive[_storage(tensor)].append(tensor)
                self._renumber(tensor)
                self.first.append((tensor, self._numbers[id(tensor)]))
        return self._numbers[id(tensor)]

    def _renumber(self, tensor: torch.Tensor) -> None:
        self._numbers[id(tensor)] = len(self.trace.shapes)
        self.trace.shapes.append(tuple(tensor.shape))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        place = self._place
        self._place = (*place[:2], place[2] + 1)
        name = _plain(getattr(func, "__name__", str(func)))
        return self.run(name, func, args, dict(kwargs or {}), place)

    def run(self, name: str, func: Any, args: Any, options: Any, place: Place | None) -> Any:
        """Run a function and record it."""
        given = list(_tensors((args, options)))
        before = tuple(self.number(tensor) for tensor in given)
        outer, self.inside = self.inside, _Inside()
        try:
            result = func(*args, **options)
        finally:
            inside, self.inside = self.inside, outer
        in_training = options.get("training", args[5] if len(args) > 5 else False)
        frozen = name == "batch_norm" and not in_training
        changed = {} if frozen else self._rewritten(inside.written)
        results = tuple(self.number(tensor) for tensor in _tensors(result))
        after = results + tuple(self.number(tensor) for tensor in given)
        pairs = list(zip(given, before, strict=True))
        touched = [v for t, v in pairs if not inside.operators or id(t) in inside.touched]
        outputs = tuple(dict.fromkeys(v for v in after if v not in before))
        operation = Operation(
            name,
            tuple(touched),
            outputs,
            tuple(_described(value) for value in args),
            {key: _described(value) for key, value in options.items()},
            frozen or (inside.operators > 0 and inside.pointwise) or name == "setitem",
            inside.draws,
            self._running[-1],
            place,
            before,
            after,
        )
        if outputs:
            self.trace.operations.append(operation)
        for old, (new, storage) in changed.items():  # seen through other views of what was written
            if new not in outputs:
                taken = tuple(old if _storage(t) == storage else v for t, v in pairs)
                through = replace(operation, inputs=taken, outputs=(new,), call=None)
                self.trace.operations.append(through)
        return result

    def _rewritten(self, written: list[torch.Tensor]) -> dict[int, tuple[int, int]]:
        """Give what shares memory with tensors new numbers: old → new, and the storage."""
        changed = {}
        with torch._C.DisableTorchFunction():
            for storage in {_storage(tensor) for tensor in written}:
                for tensor in self._alive.get(storage, []):
                    old = self._numbers[id(tensor)]
                    self._renumber(tensor)
                    changed[old] = (self._numbers[id(tensor)], storage)
        return changed

    def entered(self, path: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._running.append(path)
        self._place = (path, "input", 0)
        self.trace.inputs.pop(path, None)
        if inputs and isinstance(inputs[0], torch.Tensor):
            self.trace.inputs[path] = self.number(inputs[0])

    def left(self, path: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self._running.pop()
        self._place = (path, "output", 0)
        is_tensor = isinstance(output, torch.Tensor)
        self.trace.outputs[path] = self.number(output) if is_tensor else None
        self._returned += 1
        self.trace.order[path] = self._returned


class _Dispatched(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees the operators that functions run, and those that compiled functions run unseen."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunction():  # what runs here the network does not call itself
            if self._recorder.inside is not None:
                return self._seen(func, *args, **(kwargs or {}))
            name = _plain(func.overloadpacket.__name__)
            unseen = partial(self._seen, func)
            return self._recorder.run(name, unseen, args, dict(kwargs or {}), None)

    def _seen(self, func: Any, *args: Any, **options: Any) -> Any:
        inside = self._recorder.inside
        assert inside is not None
        plain = func.overloadpacket.__name__.rstrip("_")
        inside.operators += 1
        inside.draws |= torch.Tag.nondeterministic_seeded in func.tags
        if plain not in _CREATING:  # what only creates works on nothing
            inside.touched |= {id(tensor) for tensor in _tensors((args, options))}
            inside.pointwise &= _is_pointwise(func) or plain in _POINTWISE
        for i, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                value = args[i] if i < len(args) else options.get(argument.name)
                inside.written += _tensors(value)
        return func(*args, **options)


@cache
def _is_pointwise(func: Any) -> bool:
    """Whether PyTorch marks an operator as pointwise, itself or the form that is not in place."""
    plain = getattr(torch.ops.aten, func.overloadpacket.__name__.rstrip("_"), None)
    twin = getattr(plain, func._overloadname, func)
    return torch.Tag.pointwise in func.tags or torch.Tag.pointwise in twin.tags


def _storage(tensor: torch.Tensor) -> int:
    with torch._C.DisableTorchFunction():
        return int(tensor.untyped_storage()._cdata)


def _described(value: Any) -> Any:
    """Arguments with every tensor replaced by its shape, and arrays by a hash."""
    if isinstance(value, torch.Tensor):
        return value.size()
    if isinstance(value, np.ndarray):
        return (value.shape, str(value.dtype), hashlib.sha256(value.tobytes()).hexdigest())
    if isinstance(value, list | tuple):
        return tuple(_described(part) for part in value)
    return value


def _content(tensor: torch.Tensor) -> str:
    """Hash of a tensor's type, shape and bytes; of its type and shape where it holds no bytes."""
    described = f"{tensor.dtype} {tuple(tensor.shape)}"
    if tensor.device.type == "meta":
        return described
    plain = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return f"{described} {hashlib.sha256(plain.tobytes()).hexdigest()}"


def _plain(name: str) -> str:
    """Name of a function without the marks of its in-place and operator forms."""
    if name.startswith("__") and name.endswith("__"):
        name = name.strip("_")
        return name[1:] if name in ("iadd", "radd", "imul", "rmul", "isub", "rsub") else name
    return name.rstrip("_")


# Axis → first and last position; None where every position counts.
Region = dict[int, tuple[int, int]] | None

# Beside element-wise operations.
_KEEPING = {
    "dropout2d", "local_response_norm", "chunk", "split", "cat", "concat", "linear", "layer_norm",
}  # fmt: skip
_WINDOWS = {"conv2d", "max_pool2d", "avg_pool2d", "lp_pool2d"}
_ADAPTIVE = {"adaptive_avg_pool2d", "adaptive_max_pool2d"}

_traces: WeakKeyDictionary[Backbone, Trace] = WeakKeyDictionary()


def permutation(op: Operation, rank: int) -> tuple[int, ...] | None:
    """Old axis at each new place, for an operation that only moves axes; else None."""
    order = [value for value in op.arguments[1:] if value is not None] or [
        op.options[key] for key in ("dims", "dim0", "dim1") if key in op.options
    ]
    if len(order) == 1 and isinstance(order[0], tuple):
        order = list(order[0])
    if op.name not in MOVING or not all(isinstance(axis, int) for axis in order):
        return None
    order = [axis % rank for axis in order]
    if op.name == "permute":
        return tuple(order)
    places = list(range(rank))
    places[order[0]], places[order[1]] = order[1], order[0]
    return tuple(places)


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
    values = [value for tap in found.post if (value := trace.value(tap)) is not None]
    region = _back_to_image(trace, dict.fromkeys(values, start))
    (top, bottom), (left, right) = (region[2], region[3]) if region else ((0, crop - 1),) * 2
    return left, top, right + 1, bottom + 1


def _back_to_image(trace: Trace, regions: dict[int, Region]) -> Region:
    """Region of the image that the given regions of values depend on."""
    regions = dict(regions)
    for op in reversed(trace.operations):
        for output in regions.keys() & op.outputs:
            for number in set(trace.image_inputs(op)):
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
        spans = {}
        for axis, (first, last) in region.items():
            n, m = before[axis], after[axis]
            spans[axis] = (first * n // m, -(-(last + 1) * n // m) - 1)
        return spans
    order = permutation(op, len(after))
    if order is not None:
        return {order[axis]: span for axis, span in region.items()}
    if (op.elementwise or op.name in _KEEPING) and _keeps_positions(op, region, before, after):
        return {axis: _clip(*span, before[axis]) for axis, span in region.items()}
    if op.name in ("view", "reshape") and before[-2:] == after[-2:]:
        shift = len(before) - len(after)
        kept = region.keys() == {len(after) - 2, len(after) - 1}
        return {axis + shift: span for axis, span in region.items()} if kept else None
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
    names = {
        "conv2d": ("input", "kernel", "bias", "stride", "padding", "dilation"),
        "lp_pool2d": ("input", "norm_type", "kernel", "stride"),
    }.get(op.name, ("input", "kernel", "stride", "padding", "dilation"))
    named = {
        {"weight": "kernel", "kernel_size": "kernel"}.get(k, k): v for k, v in op.options.items()
    }
    given = dict(zip(names, op.arguments, strict=False)) | named
    kernel = _pair(given["kernel"][2:] if op.name == "conv2d" else given["kernel"])
    stride = _pair(given.get("stride") or (1 if op.name == "conv2d" else kernel))
    dilation = _pair(given.get("dilation") or 1)
    padding = given.get("padding") or 0
    if padding == "same":
        padding = tuple(d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True))
    return kernel, stride, _pair(0 if padding == "valid" else padding), dilation


def _pair(value: Any) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, tuple | list) else (value,)
    return (pair[0], pair[-1])


def _clip(first: int, last: int, length: int) -> tuple[int, int]:
    return min(max(first, 0), length - 1), max(min(last, length - 1), 0)


def _indexed(op: Operation, region: dict[int, tuple[int, int]]) -> Region:
    """Region before whole axes were dropped by an integer index, or added by ``unsqueeze``."""
    if op.name == "unsqueeze":
        added = op.options.get("dim", op.arguments[1] if len(op.arguments) > 1 else -1)
        if added >= 0:
            return {axis - (axis > added): span for axis, span in region.items()}
    elif op.name == "getitem" and isinstance(op.arguments[1], tuple):
        index = [*op.arguments[1], *[slice(None)] * 4]
        if all(isinstance(part, int) or part == slice(None) for part in index):
            kept = [axis for axis, part in enumerate(index) if part == slice(None)]
            return {kept[axis]: span for axis, span in region.items()}
    return None
