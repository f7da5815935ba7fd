"""One recorded forward pass: which function made which value, and which modules saw it.

Values are numbered. A tensor that is changed in place counts as a new value, and functions asked to
work in place are recorded as if they did not, so that a value before a ReLU and the value after it
never share a number. The pass runs on PyTorch's ``meta`` device (shapes without numbers,
milliseconds even for VGG16); a module that cannot do that is run once on zeros.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

__all__ = ["Operation", "Trace", "record"]


@dataclass(frozen=True)
class Operation:
    """One function call on values: ``outputs = name(inputs, *arguments)``."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]


@dataclass
class Trace:
    """A forward pass: shapes of all values, operations in order, what went in and out of modules.

    ``inputs``, ``outputs`` and ``order`` tell of the *last* call of each module, by its path.
    """

    shapes: list[tuple[int, ...]] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    inputs: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, int | None] = field(default_factory=dict)
    order: dict[str, int] = field(default_factory=dict)
    image: int = 0
    result: int | None = None

    def producer(self, value: int) -> Operation | None:
        """Operation that made a value."""
        return next((op for op in self.operations if value in op.outputs), None)

    def consumers(self, value: int) -> list[Operation]:
        """Operations that take a value."""
        return [op for op in self.operations if value in op.inputs]


def record(module: nn.Module, shape: tuple[int, int, int, int]) -> Trace:
    """Run a module once on an input of this shape (images, channels, height, width) and record it.

    Raises
    ------
    ValueError
        If the module cannot take such an input.
    """
    parameters = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    empty = {name: torch.empty_like(value, device="meta") for name, value in parameters.items()}
    try:
        return _record(module, empty, torch.empty(shape, device="meta"))
    except Exception:  # whatever a module of the user's does that shapes alone do not allow
        try:
            return _record(module, {}, torch.zeros(shape))
        except Exception as error:
            raise ValueError(
                f"{type(module).__name__} cannot take an input of shape {shape} "
                f"(images, channels, height, width): {error}"
            ) from error


def _record(module: nn.Module, tensors: dict[str, torch.Tensor], image: torch.Tensor) -> Trace:
    recorder = _Recorder()
    recorder.trace.image = recorder.number(image)
    hooks = [
        hook
        for path, part in module.named_modules()
        if path
        for hook in (
            part.register_forward_pre_hook(recorder.on_input(path)),
            part.register_forward_hook(recorder.on_output(path)),
        )
    ]
    try:
        with torch.no_grad(), recorder:
            result = torch.func.functional_call(module, tensors, (image,))
    finally:
        for hook in hooks:
            hook.remove()
    if isinstance(result, torch.Tensor):
        recorder.trace.result = recorder.number(result)
    return recorder.trace


class _Recorder(TorchFunctionMode):
    """Sees every PyTorch function that a forward pass calls."""

    def __init__(self) -> None:
        super().__init__()
        self.trace = Trace()
        self._numbers: dict[tuple[int, int], int] = {}
        self._alive: list[torch.Tensor] = []  # an identity is unique only while its tensor lives
        self._calls: Counter[str] = Counter()

    def number(self, tensor: torch.Tensor) -> int:
        """Return the number of the value that a tensor holds now."""
        with torch._C.DisableTorchFunction():
            key = (id(tensor), tensor._version)
            if key not in self._numbers:
                self._numbers[key] = len(self.trace.shapes)
                self.trace.shapes.append(tuple(tensor.shape))
                self._alive.append(tensor)
        return self._numbers[key]

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if options.get("inplace"):
            options["inplace"] = False
        inputs = tuple(self.number(tensor) for tensor in _tensors((args, options)))
        result = func(*args, **options)
        outputs = tuple(self.number(tensor) for tensor in _tensors(result))
        if outputs and not set(outputs) & set(inputs):
            name = _plain(getattr(func, "__name__", str(func)))
            # Tensors are named by their numbers, so that a trace holds no memory.
            arguments = tuple(_without_tensors(value) for value in args)
            rest = {key: _without_tensors(value) for key, value in options.items()}
            self.trace.operations.append(Operation(name, inputs, outputs, arguments, rest))
        return result

    def on_input(self, path: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            self.trace.inputs.pop(path, None)
            if inputs and isinstance(inputs[0], torch.Tensor):
                self.trace.inputs[path] = self.number(inputs[0])

        return hook

    def on_output(self, path: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            is_tensor = isinstance(output, torch.Tensor)
            self.trace.outputs[path] = self.number(output) if is_tensor else None
            self._calls["all"] += 1
            self.trace.order[path] = self._calls["all"]

        return hook


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """All tensors in nested sequences and mappings, in order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)


def _without_tensors(value: Any) -> Any:
    """Arguments with every tensor replaced by its shape."""
    if isinstance(value, torch.Tensor):
        return value.size()
    if isinstance(value, list | tuple):
        return tuple(_without_tensors(part) for part in value)
    return value


def _plain(name: str) -> str:
    """Name of a function without the marks of its in-place and operator forms."""
    if name.startswith("__") and name.endswith("__"):
        name = name.strip("_")
        return name[1:] if name in ("iadd", "radd", "imul", "rmul", "isub", "rsub") else name
    return name.rstrip("_")
