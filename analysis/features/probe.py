"""What a network makes of one fixed picture: a guard that no description of a network can fool."""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from analysis.features.store import PROBE, read_metadata
from analysis.networks.trace import NORMALISATIONS, Operation, Trace

if TYPE_CHECKING:
    import numpy.typing as npt

    from analysis.features.stream import Engine
    from analysis.networks import Layer

# Largest difference, as a share of the largest value of a layer: on the same device, on another.
_TOLERANCE = {"float32": (2e-3, 1e-2), "bfloat16": (3e-2, 6e-2)}
_SAME = 1e-5  # two passes on one device


class Probe:
    """Features of one picture, half noise and half smooth: a weighted mean of every unit.

    Parameters
    ----------
    engine
        What is extracted, and how.
    """

    def __init__(self, engine: Engine) -> None:
        self._layers = engine.layers
        self._side = engine.net.preprocessing.crop
        self._device = engine.device
        self._tolerance = _TOLERANCE[engine.dtype]
        self._forward = engine.forward(_sums)

    @cached_property
    def _values(self) -> list[npt.NDArray[np.float32]]:
        return self._run(seed=0)

    @property
    def attributes(self) -> dict[str, Any]:
        """What is kept with stored features: in half precision, as shares of these scales."""
        scales = [_largest(values) for values in self._values]
        shares = [values / scale for values, scale in zip(self._values, scales, strict=True)]
        content = np.concatenate(shares).astype("<f2").tobytes()
        return dict(zip(PROBE, (base64.b64encode(content).decode(), scales), strict=True))

    def agrees(self, group: Path) -> bool:
        """Whether a group of the store holds features of this network."""
        attributes = read_metadata(group)
        content, scales = (attributes.get(name, "") for name in PROBE)
        shares = np.frombuffer(base64.b64decode(content), "<f2")
        lengths = [len(values) for values in self._values]
        if len(shares) != sum(lengths) or len(scales) != len(lengths):
            return False
        stored = np.split(shares.astype(np.float32), np.cumsum(lengths)[:-1])
        elsewhere = str(attributes.get("device", "")).split(" ")[0] != self._device.type
        return all(
            _close(ours, theirs * np.float32(scale), scale * self._tolerance[elsewhere])
            for ours, theirs, scale in zip(self._values, stored, scales, strict=True)
        )

    def require_repeatable(self, trace: Trace) -> None:
        """Run again, alone and beside another picture, and compare.

        Parameters
        ----------
        trace
            A recorded forward pass of the network, which may tell what differs.

        Raises
        ------
        ValueError
            If the network gives other values.
        """
        again, beside = self._run(seed=1), self._run(seed=0, beside=True)
        for layer, first, second, third in zip(
            self._layers, self._values, again, beside, strict=True
        ):
            if not _close(first, second, _SAME * _largest(first)):
                raise ValueError(
                    f"two passes over one picture differ in layer {layer.name!r}: the network "
                    "draws random numbers in evaluation mode "
                    f"({_named(trace, lambda op: op.draws) or 'outside PyTorch'}). Switch that "
                    "off, as F.dropout(x, training=self.training) does, or name layers in front "
                    "of it"
                )
            if not _close(first, third, self._tolerance[0] * _largest(first)):
                norms = _named(trace, lambda op: op.name in NORMALISATIONS and not op.elementwise)
                raise ValueError(
                    f"what layer {layer.name!r} gives for a picture depends on the others of its "
                    f"batch{f' ({norms})' if norms else ''}. Let batch normalisation keep running "
                    "statistics, or name layers in front of it"
                )

    def _run(self, seed: int, *, beside: bool = False) -> list[npt.NDArray[np.float32]]:
        pictures = _picture(self._side)
        if beside:
            pictures = np.concatenate([pictures, 255 - pictures // 2])
        cuda = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(seed)
            return [values[0].cpu().numpy() for values in self._forward(pictures)]


def _picture(side: int) -> npt.NDArray[np.uint8]:
    """One crop, (1, side, side, 3)."""
    rows, columns = np.mgrid[:side, :side] / side
    smooth = np.stack([rows, columns, 1 - rows * columns], axis=-1)
    noise = np.random.default_rng(0).random((side, side, 3))
    mixed = np.where((columns < rows)[..., None], noise, smooth)
    return np.round(255 * mixed).astype(np.uint8)[None]


def _sums(values: torch.Tensor, layer: Layer) -> torch.Tensor:
    """Mean over the positions of every unit, with weights that differ from place to place."""
    if layer.layout == "vector":
        return values.float().clone()
    rows = values.movedim(layer.unit_axis, -1).flatten(1, -2).float()
    places = torch.arange(rows.shape[1], device=rows.device)
    return (rows * (1 + torch.cos(1.7 * places))[:, None]).mean(1)


def _largest(values: npt.NDArray[np.float32]) -> float:
    """Largest finite value; 1 where there is none above 0."""
    return float(np.abs(values[np.isfinite(values)]).max(initial=0)) or 1.0


def _close(ours: npt.NDArray[Any], theirs: npt.NDArray[Any], difference: float) -> bool:
    return np.allclose(ours, theirs, rtol=0, atol=difference, equal_nan=True)


def _named(trace: Trace, wanted: Callable[[Operation], bool]) -> str:
    """Operations of some kind, by name, and the modules that they are in."""
    names = {
        f"{op.name} in module {op.module!r}" if op.module else op.name
        for op in trace.operations
        if wanted(op)
    }
    return ", ".join(sorted(names))
