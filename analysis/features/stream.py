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
from copy import copy
from numbers import Integral
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import torch

from analysis.networks.preprocessing import cut_crops, n_crops
from analysis.networks.trace import copy_structure, reading

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL.Image import Image

    from analysis.data import ImageDataset
    from analysis.networks import Backbone, Layer

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
    ) -> None:
        def converted(tensor: torch.Tensor) -> torch.Tensor:
            """Convert a parameter or buffer; it keeps its memory if nothing has to change."""
            kind = dtype if tensor.is_floating_point() else tensor.dtype
            moved = tensor.detach().to(device, kind)
            is_map = moved.ndim == 4
            return moved.contiguous(memory_format=torch.channels_last) if is_map else moved

        self.layers = layers
        self._reduce = reduce
        self._taps = [(i, tap) for i, layer in enumerate(layers) for tap in layer.taps(activation)]
        self._module = copy_structure(net.module, converted).eval()
        # One row of pixels: a vector long enough for SIMD, which three channels are not.
        mean, std = (
            np.tile(values, net.preprocessing.crop)
            for values in (net.preprocessing.mean, net.preprocessing.std)
        )
        self._scale = torch.tensor(1 / (255 * std), dtype=torch.float32, device=device)
        self._shift = torch.tensor(-mean / std, dtype=torch.float32, device=device)
        self._dtype = dtype
        self._last_read: int | None = None  # not known before a first complete pass

    def twin(self, reduce: Reduction | None = None) -> Forward:
        """Another instance to run beside this one, perhaps with another reduction.

        It shares the parameters. Must not be called while this instance runs.
        """
        twin = copy(self)
        twin._module = copy_structure(self._module, lambda tensor: tensor)
        twin._reduce = reduce or self._reduce
        return twin

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
        values: dict[int, torch.Tensor] = {}
        n_read = 0

        def keep(number: int, value: torch.Tensor) -> None:
            # The last call of a module wins: ResNet's bottlenecks call one ReLU three times.
            nonlocal n_read
            values[number] = self._reduce(value, self.layers[self._taps[number][0]])
            n_read += 1
            if n_read == self._last_read:
                raise _EverythingSeenError

        taps = [tap for _, tap in self._taps]
        with torch.inference_mode(), reading(self._module, taps, keep):
            try:
                self._module(self._normalised(crops))
                self._last_read = n_read
            except _EverythingSeenError:
                pass
        parts: list[list[torch.Tensor]] = [[] for _ in self.layers]
        for number, (layer, tap) in enumerate(self._taps):
            if number not in values:
                raise ValueError(
                    f"layer {self.layers[layer].name!r}: the forward pass did not call "
                    f"{tap.module!r}"
                )
            parts[layer].append(values.pop(number))
        return [part[0] if len(part) == 1 else torch.cat(part, dim=1) for part in parts]

    def _normalised(self, crops: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Pixels to the network's input, in two passes over memory that stays in the cache."""
        number, height, width, channels = crops.shape
        pixels = torch.from_numpy(crops).to(self._scale.device, non_blocking=True)
        rows = pixels.view(number * height, width * channels).float()
        torch.addcmul(self._shift, rows, self._scale, out=rows)
        return rows.to(self._dtype).view(number, height, width, channels).permute(0, 3, 1, 2)


class _EverythingSeenError(Exception):
    """Ends a forward pass after its last hook; never leaves this module."""


T = TypeVar("T")
Device = str | torch.device | int

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


class Engine:
    """How images go through a network.

    Can be pickled: what is made of the network to run it is made again where it arrives.

    Parameters
    ----------
    net, layers
        The network, and the layers of it that are wanted.
    reduce
        Applied to every tap inside its hook, see :class:`Forward`.
    activation, dtype, device, crops, batch_size
        As in :func:`analysis.extract`.

    Attributes
    ----------
    device : torch.device
        Where the forward passes run.
    batch_size : int
        Crops in one forward pass.
    images_per_batch : int
        Images that are decoded and cropped together: as many as fill one forward pass.
    passes : int
        Forward passes at the same time.
    threads : int
        Threads within one forward pass.

    Raises
    ------
    ValueError
        For names that are not known, a device that is not there, or a batch size below 1.
    """

    def __init__(
        self,
        net: Backbone,
        layers: tuple[Layer, ...],
        reduce: Reduction,
        *,
        activation: Literal["post", "pre"] = "post",
        dtype: str = "float32",
        device: Device = "auto",
        crops: str = "center",
        batch_size: int | None = None,
    ) -> None:
        self.device = choose_device(device)
        crops_per_image = n_crops(crops)
        if dtype not in DTYPES:
            raise ValueError(f"unknown dtype {dtype!r}; known: {', '.join(DTYPES)}")
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"expected a batch_size of at least 1, got {batch_size}")
        pixels = _PIXELS_PER_PASS[self.device.type]
        self.batch_size = batch_size or max(1, round(pixels / net.preprocessing.crop**2))
        self.images_per_batch = max(1, self.batch_size // crops_per_image)
        cores = torch.get_num_threads() if self.device.type == "cpu" else 1
        self.passes = min(cores, _MAX_PASSES)
        self.threads = cores // self.passes
        self.net, self.layers, self.reduce, self.activation = net, layers, reduce, activation
        self.dtype, self.crops = dtype, crops
        self._begin()

    def _begin(self) -> None:
        self._idle: SimpleQueue[Forward] = SimpleQueue()
        self._forward = Forward(  # never run, so that others can be made of it at any time
            self.net,
            self.layers,
            self.activation,
            self.reduce,
            device=self.device,
            dtype=DTYPES[self.dtype],
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def forward(self, reduce: Reduction | None = None) -> Forward:
        """One more network to run, perhaps with another reduction."""
        return self._forward.twin(reduce)

    def run(
        self,
        data: ImageDataset,
        finish: Callable[[range, list[torch.Tensor]], T],
        *,
        parts: Sequence[range] | None = None,
        read: Callable[[int], Image] | None = None,
        passes: int | None = None,
    ) -> Generator[T]:
        """Compute batch by batch; batches are cut by position in the dataset.

        Parameters
        ----------
        data
            The images.
        finish
            Called in the working thread with the positions of a batch and, for every layer, the
            reduced values on the CPU, shape (images, crops, k).
        parts
            Positions of the images wanted, None for all; every part begins at a multiple of
            :attr:`images_per_batch` and ends at one or at the last image.
        read
            Gives an image by its position; None for the dataset's images as they are now.
        passes
            Forward passes at the same time; None for :attr:`passes`.

        Yields
        ------
        What ``finish`` returns, in the order of the parts.

        Raises
        ------
        ValueError
            If values are not finite; the message names the layer and the image.
        """
        image = read or data.__getitem__
        size = self.batch_size
        passes = passes or self.passes
        slots = threading.Semaphore(passes)

        def batch(images: range) -> T:
            cut = [cut_crops(image(i), self.crops, self.net.preprocessing) for i in images]
            crops = np.concatenate(cut)
            with slots:
                try:
                    forward = self._idle.get_nowait()
                except Empty:
                    forward = self.forward()
                try:
                    outputs = [forward(crops[at : at + size]) for at in range(0, len(crops), size)]
                    joined = [torch.cat(parts).cpu() for parts in zip(*outputs, strict=True)]
                finally:
                    self._idle.put(forward)
            values = [one.view(len(images), -1, one.shape[1]) for one in joined]
            _require_finite(values, self.layers, [data.paths[i] for i in images])
            return finish(images, values)

        step = self.images_per_batch
        batches = [
            range(at, min(at + step, part.stop))
            for part in (parts if parts is not None else [range(len(data))])
            for at in range(part.start, part.stop, step)
        ]
        workers = passes
        if self.device.type != "cpu":
            workers = min(os.cpu_count() or 1, _MAX_DECODERS)
        waiting: deque[Future[T]] = deque()
        with _threads(workers, self.threads) as pool:
            for images in batches:
                waiting.append(pool.submit(batch, images))
                if len(waiting) > 2 * workers:  # no more results wait to be taken
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


def _require_finite(
    values: list[torch.Tensor], layers: tuple[Layer, ...], paths: Sequence[str]
) -> None:
    for of_layer, layer in zip(values, layers, strict=True):
        # A sum is finite only if all its terms are: one pass, and no array of booleans.
        if not torch.isfinite(of_layer.sum(dtype=torch.float64)):
            bad = ~torch.isfinite(of_layer).flatten(1).all(1)
            raise ValueError(
                f"layer {layer.name!r} gives values that are not finite for image "
                f"{paths[int(bad.nonzero()[0])]!r}; check the network's weights"
            )


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
