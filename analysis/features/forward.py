"""A forward pass that keeps only what is asked of some layers and ends after the last of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import nn

from analysis.networks.trace import copy_structure, reading

if TYPE_CHECKING:
    import numpy.typing as npt

    from analysis.networks import Backbone, Layer, Preprocessing

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
        self._taps = [(i, tap) for i, layer in enumerate(layers) for tap in layer.taps(activation)]
        shared: dict[int, torch.Tensor] = {}
        if like is not None:
            shared = {
                id(original): tensor
                for original, tensor in zip(
                    _tensors_of(net.module), _tensors_of(like._module), strict=True
                )
            }
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
