"""A forward pass that keeps only what is asked of some layers and ends after the last of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    import numpy.typing as npt

    from analysis.networks import Backbone, Layer, Preprocessing, Tap

__all__ = ["DTYPES", "Forward", "Reduction"]

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
        self._taps = [layer.taps(activation) for layer in layers]
        originals = [*net.module.parameters(), *net.module.buffers()]
        self._tensors: list[torch.Tensor] = (
            like._tensors if like else [_converted(one, device, dtype) for one in originals]
        )
        # deepcopy takes the tensors it finds in the memo, and copies only the structure.
        memo: dict[int, Any] = {id(a): b for a, b in zip(originals, self._tensors, strict=True)}
        self._module: nn.Module = copy.deepcopy(net.module, memo).eval()
        self._input = _Normalisation(net.preprocessing, device, dtype)
        self._values: dict[tuple[int, int], torch.Tensor] = {}
        self._calls = 0
        self._last_call: int | None = None  # not known before a first complete pass
        for number, taps in enumerate(self._taps):
            for part, tap in enumerate(taps):
                self._hook(tap, number, part)

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
        self._calls = 0
        with torch.inference_mode():
            try:
                self._module(self._input(crops))
                self._last_call = self._calls
            except _EverythingSeenError:
                pass
            return [self._joined(number) for number in range(len(self.layers))]

    def _hook(self, tap: Tap, number: int, part: int) -> None:
        def keep(module: nn.Module, inputs: tuple[Any, ...], output: Any = None) -> None:
            # The last call of a module wins: ResNet's bottlenecks call one ReLU three times.
            self._values[number, part] = self._reduce(
                tap.value(inputs, output), self.layers[number]
            )
            self._calls += 1
            if self._calls == self._last_call:
                raise _EverythingSeenError

        module = self._module.get_submodule(tap.module)
        if tap.side == "input":
            module.register_forward_pre_hook(keep)
        else:
            module.register_forward_hook(keep)

    def _joined(self, number: int) -> torch.Tensor:
        parts = [self._values.pop((number, part), None) for part in range(len(self._taps[number]))]
        present = [part for part in parts if part is not None]
        if len(present) != len(parts):
            missed = [t.module for t, p in zip(self._taps[number], parts, strict=True) if p is None]
            raise ValueError(
                f"layer {self.layers[number].name!r}: the forward pass did not call {missed}"
            )
        return present[0] if len(present) == 1 else torch.cat(present, dim=1)


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


def _converted(tensor: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Convert a parameter or buffer; the same memory where nothing has to change."""
    converted = tensor.detach().to(device, dtype if tensor.is_floating_point() else tensor.dtype)
    if converted.ndim == 4:
        converted = converted.contiguous(memory_format=torch.channels_last)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(converted, requires_grad=False)
    return converted
