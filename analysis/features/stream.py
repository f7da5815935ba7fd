"""Images through a network: every thread decodes, crops and computes batches of its own.

One forward pass per thread, each on its share of the processor's cores, needs no waiting for
another at the end of every layer and overlaps decoding with computing by itself. A forward pass
keeps only what is asked of some layers and ends after the last of them. Results come in the order
of the dataset.
"""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from queue import SimpleQueue
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import torch
from torch import nn

from analysis.networks.preprocessing import cut_crops, n_crops
from analysis.networks.trace import copy_structure, reading

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL.Image import Image

    from analysis.data import ImageDataset
    from analysis.networks import Backbone, Layer, Preprocessing

__all__ = ["DTYPES", "Device", "Engine", "Forward", "Forwards", "Reduction", "choose_device"]

#: What a tap's values become inside its hook: (crops, ...) to float32 (crops, k), in own memory.
Reduction = Callable[[torch.Tensor, "Layer"], torch.Tensor]

#: Arithmetic of the forward pass, by name.
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Forward:
    """A network of one's own to run: hooked, in channels-last layout, in the wanted arithmetic.

    The backbone's module is not touched. The copy shares its parameters wherever layout, type and
    device agree, and one instance must not be called from two threads at once.

    Parameters
    ----------
    net
        The backbone.
    layers
        Layers whose values are wanted.
    activation
        Values after (``"post"``) or before (``"pre"``) the activation function.
    reduce
        Applied to the values of every tap inside its hook, because activation functions that work
        in place overwrite them right afterwards.
    device
        Where to compute.
    dtype
        Arithmetic of the forward pass.
    like
        Another instance for the same device and dtype, to share its parameters.
    """

    def __init__(
        self,
        net: Backbone,
        layers: tuple[Layer, ...],
        activation: Literal["post", "pre"],
        reduce: Reduction,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        like: Forward | None = None,
    ) -> None:
        self.layers = layers
        self._reduce = reduce
        self._taps = [(i, tap) for i, layer in enumerate(layers) for tap in layer.taps(activation)]
        shared: dict[int, torch.Tensor] = {}
        if like is not None:
            theirs = _tensors_of(like._module)
            shared = dict(zip(map(id, _tensors_of(net.module)), theirs, strict=True))
        self._module: nn.Module = copy_structure(
            net.module,
            lambda one: shared[id(one)] if id(one) in shared else _converted(one, device, dtype),
        ).eval()
        self._input = _Normalisation(net.preprocessing, device, dtype)
        self._values: dict[int, torch.Tensor] = {}
        self._reads = 0
        self._last_read: int | None = None  # not known before a first complete pass

    def __call__(self, crops: npt.NDArray[np.uint8]) -> list[torch.Tensor]:
        """Run the network on crops.

        Parameters
        ----------
        crops : ndarray of uint8, shape (crops, height, width, 3)
            Pixels.

        Returns
        -------
        list of Tensor of float32, each of shape (crops, k)
            What ``reduce`` made of every layer; the taps of a layer concatenated.

        Raises
        ------
        ValueError
            If the forward pass did not come by all layers.
        """
        self._values.clear()
        self._reads = 0
        taps = [tap for _, tap in self._taps]
        with torch.inference_mode(), reading(self._module, taps, self._keep):
            try:
                self._module(self._input(crops))
                self._last_read = self._reads
            except _EverythingSeenError:
                pass
            return [self._joined(number) for number in range(len(self.layers))]

    def _keep(self, number: int, value: torch.Tensor) -> None:
        # The last call of a module wins: ResNet's bottlenecks call one ReLU three times.
        self._values[number] = self._reduce(value, self.layers[self._taps[number][0]])
        self._reads += 1
        if self._reads == self._last_read:
            raise _EverythingSeenError

    def _joined(self, layer: int) -> torch.Tensor:
        numbers = [number for number, (of, _) in enumerate(self._taps) if of == layer]
        missed = [self._taps[number][1].module for number in numbers if number not in self._values]
        if missed:
            raise ValueError(
                f"layer {self.layers[layer].name!r}: the forward pass did not call {missed}"
            )
        parts = [self._values.pop(number) for number in numbers]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


class _EverythingSeenError(Exception):
    """Ends a forward pass after its last hook; never leaves this module."""


class _Normalisation:
    """Pixels to a network's input, in two passes over memory that stays in the cache."""

    def __init__(
        self, preprocessing: Preprocessing, device: torch.device, dtype: torch.dtype
    ) -> None:
        # One row of pixels: a vector long enough for SIMD, which three channels are not.
        mean = np.tile(preprocessing.mean, preprocessing.crop)
        std = np.tile(preprocessing.std, preprocessing.crop)
        self._scale = torch.tensor(1 / (255 * std), dtype=torch.float32, device=device)
        self._shift = torch.tensor(-mean / std, dtype=torch.float32, device=device)
        self._dtype = dtype

    def __call__(self, crops: npt.NDArray[np.uint8]) -> torch.Tensor:
        number, height, width, channels = crops.shape
        pixels = torch.from_numpy(crops).to(self._scale.device, non_blocking=True)
        rows = pixels.view(number * height, width * channels).float()
        torch.addcmul(self._shift, rows, self._scale, out=rows)
        return rows.to(self._dtype).view(number, height, width, channels).permute(0, 3, 1, 2)


def _tensors_of(module: nn.Module) -> list[torch.Tensor]:
    return [*module.parameters(), *module.buffers()]


def _converted(tensor: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Convert a parameter or buffer; the same memory where nothing has to change."""
    converted = tensor.detach().to(device, dtype if tensor.is_floating_point() else tensor.dtype)
    if converted.ndim == 4:
        converted = converted.contiguous(memory_format=torch.channels_last)
    return converted


T = TypeVar("T")
Device = str | torch.device | int

#: Networks that no thread is using.
Forwards = SimpleQueue[Forward]

#: What a forward pass takes at once. On a CPU few enough for the activations to stay near the core.
_PIXELS_PER_PASS = {"cpu": 4 * 224**2, "cuda": 160 * 224**2}
_MAX_PASSES = 4  # at once, on a CPU: each holds its own activations in memory
_MAX_DECODERS = 8  # threads that feed one accelerator


def choose_device(device: Device) -> torch.device:
    """Device by name, number or as PyTorch's own; ``"auto"`` is ``cuda`` where there is one.

    Parameters
    ----------
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` (or 1), or a ``torch.device``.

    Raises
    ------
    ValueError
        If the device is not known or not there: nothing falls back silently.
    """
    is_number = isinstance(device, Integral) and not isinstance(device, bool)
    name = f"cuda:{device}" if is_number else str(device).lower()
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if available else "cpu"
    known = re.fullmatch(r"cpu(?::0)?|cuda(?::(0|[1-9]\d{0,3}))?", name, re.ASCII)
    if known is None:
        raise ValueError(f"unknown device {device!r}; known: auto, cpu, cuda, cuda:<number>")
    if name.startswith("cpu"):
        return torch.device("cpu")
    if int(known[1] or 0) >= available:
        raise ValueError(f"device {device!r} is not there: PyTorch sees {available} CUDA device(s)")
    return torch.device(name)


@dataclass(frozen=True)
class Engine:
    """How images go through a network.

    Attributes
    ----------
    device : torch.device
        Where the forward passes run.
    dtype : {"float32", "bfloat16"}
        Their arithmetic.
    crops : str
        Name of the crops.
    batch_size : int
        Crops in one forward pass.
    passes : int
        Forward passes at the same time.
    threads : int
        Threads within one forward pass.
    """

    device: torch.device
    dtype: str
    crops: str
    batch_size: int
    passes: int
    threads: int

    @classmethod
    def choose(
        cls, device: Device, dtype: str, crops: str, side: int, batch_size: int | None
    ) -> Engine:
        """Engine for this machine and crops of ``side`` pixels.

        Raises
        ------
        ValueError
            For names that are not known, a device that is not there, or a batch size below 1.
        """
        where = choose_device(device)
        n_crops(crops)  # refuses unknown names
        if dtype not in DTYPES:
            raise ValueError(f"unknown dtype {dtype!r}; known: {', '.join(DTYPES)}")
        default = max(1, round(_PIXELS_PER_PASS[where.type] / side**2))
        size = default if batch_size is None else int(batch_size)
        if size < 1:
            raise ValueError(f"expected a batch_size of at least 1, got {batch_size}")
        if where.type != "cpu":
            return cls(where, dtype, crops, size, passes=1, threads=1)
        cores = torch.get_num_threads()
        passes = min(cores, _MAX_PASSES)
        return cls(where, dtype, crops, size, passes, cores // passes)

    @property
    def images_per_batch(self) -> int:
        """Images that are decoded and cropped together: as many as fill one forward pass."""
        return max(1, self.batch_size // n_crops(self.crops))

    def prepare(
        self,
        net: Backbone,
        layers: tuple[Layer, ...],
        reduce: Reduction,
        activation: Literal["post", "pre"] = "post",
    ) -> Forwards:
        """Networks to run, one for each pass at the same time, which share their parameters."""
        make = partial(
            Forward, net, layers, activation, reduce, device=self.device, dtype=DTYPES[self.dtype]
        )
        first = make()
        idle: Forwards = SimpleQueue()
        for forward in [first, *(make(like=first) for _ in range(self.passes - 1))]:
            idle.put(forward)
        return idle

    def run(
        self,
        data: ImageDataset,
        net: Backbone,
        layers: tuple[Layer, ...],
        reduce: Reduction,
        finish: Callable[[range, list[torch.Tensor]], T],
        *,
        activation: Literal["post", "pre"] = "post",
        parts: Sequence[range] | None = None,
        read: Callable[[int], Image] | None = None,
        forwards: Forwards | None = None,
    ) -> Generator[T]:
        """Compute batch by batch; batches are cut by position in the dataset.

        Parameters
        ----------
        data, net, layers, activation
            What to compute.
        reduce
            Applied to every tap inside its hook, see :class:`Forward`.
        finish
            Called in the working thread with the positions of a batch and, for every layer, the
            reduced values on the CPU, shape (images, crops, k).
        parts
            Positions of the images wanted, None for all; every part begins at a multiple of
            :attr:`images_per_batch` and ends at one or at the last image.
        read
            Gives an image by its position; None for the dataset's images as they are now.
        forwards
            What :meth:`prepare` returns for the same network, layers, activation and reduction,
            to run one call after another on it; None to prepare for this call alone.

        Yields
        ------
        What ``finish`` returns, in the order of the parts.
        """
        idle = forwards or self.prepare(net, layers, reduce, activation)
        image = read or data.__getitem__

        def batch(images: range) -> T:
            crops = [cut_crops(image(i), self.crops, net.preprocessing) for i in images]
            forward = idle.get()
            try:
                return finish(images, self._forward(forward, np.concatenate(crops), len(images)))
            finally:
                idle.put(forward)

        step = self.images_per_batch
        cuts = [
            range(at, min(at + step, part.stop))
            for part in (parts if parts is not None else [range(len(data))])
            for at in range(part.start, part.stop, step)
        ]
        workers = self.passes
        if self.device.type != "cpu":
            workers = min(os.cpu_count() or 1, _MAX_DECODERS)
        with _threads(workers, self.threads) as pool:
            yield from _in_order(pool, batch, cuts, ahead=2 * workers)

    def _forward(
        self, forward: Forward, crops: npt.NDArray[np.uint8], images: int
    ) -> list[torch.Tensor]:
        passes = [
            forward(crops[at : at + self.batch_size])
            for at in range(0, len(crops), self.batch_size)
        ]
        joined = [torch.cat(parts).cpu() for parts in zip(*passes, strict=True)]
        return [values.view(images, -1, values.shape[1]) for values in joined]


@contextmanager
def _threads(number: int, threads_each: int) -> Iterator[ThreadPoolExecutor]:
    """Threads in each of which PyTorch uses ``threads_each`` threads; elsewhere nothing changes."""
    usual = torch.get_num_threads()
    everyone = threading.Barrier(number)

    def prepare() -> None:
        torch.get_num_threads()  # the first use in a thread adopts the default, so not later
        torch.set_num_threads(threads_each)  # this thread's own, and the default of new threads
        everyone.wait()

    pool = ThreadPoolExecutor(number, thread_name_prefix="extraction")
    try:
        for prepared in [pool.submit(prepare) for _ in range(number)]:
            prepared.result()
        torch.set_num_threads(usual)
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[range], T], items: Sequence[range], ahead: int
) -> Iterator[T]:
    """Like ``pool.map``, but never more than ``ahead`` results wait to be taken."""
    waiting: deque[Future[T]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
