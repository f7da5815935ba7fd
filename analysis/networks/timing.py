"""Time of a forward pass, module by module (Donahue et al. 2014, section 3.3 and figure 3)."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from analysis.networks.backbone import Backbone

__all__ = ["time_by_layer"]


def time_by_layer(
    backbone: Backbone, *, batch_size: int = 1, repeats: int = 5, device: str = "cpu", seed: int = 0
) -> pd.DataFrame:
    """Measure how long each part of a network takes.

    Parameters
    ----------
    backbone
        The network; its module is moved to ``device`` for the measurement and back again.
    batch_size
        Crops in a forward pass.
    repeats
        Measured forward passes, after one that is not measured; the median is reported.
    device
        ``"cpu"``, or a device such as ``"cuda"``, which is synchronised around every module.
    seed
        Seed of the input, normally distributed noise.

    Returns
    -------
    DataFrame
        One row per innermost module in the order of the forward pass, then ``"(rest)"``: plain
        function calls, and what measuring itself costs. Columns ``module`` (path), ``layer`` (name
        of the layer whose values are read there, or ""), ``kind`` (class of the module),
        ``seconds`` (per forward pass), ``share`` (of the whole).
    """
    if batch_size < 1 or repeats < 1:
        raise ValueError(f"expected batch_size and repeats >= 1, got {batch_size} and {repeats}")
    crop = backbone.preprocessing.crop
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn((batch_size, 3, crop, crop), generator=generator).to(device)
    backbone.module.to(device)
    try:
        leaves = _innermost(backbone.module, images)
        runs = [_run(backbone.module, images, leaves) for _ in range(repeats)]
    finally:
        backbone.module.to("cpu")
    whole = float(np.median([total for total, _ in runs]))
    seconds = [float(np.median([times[path] for _, times in runs])) for path in leaves]
    names = {tap.module: layer.name for layer in backbone.available.values() for tap in layer.post}
    names |= {tap.module: layer.name for layer in backbone.available.values() for tap in layer.pre}
    table = pd.DataFrame(
        {
            "module": [*leaves, "(rest)"],
            "layer": [*(names.get(path, "") for path in leaves), ""],
            "kind": [*(type(part).__name__ for part in leaves.values()), ""],
            "seconds": [*seconds, max(whole - sum(seconds), 0.0)],
        }
    )
    return table.assign(share=table["seconds"] / table["seconds"].sum())


def _innermost(module: nn.Module, images: torch.Tensor) -> dict[str, nn.Module]:
    """Modules that the forward pass calls and that call no other module, in the order of calls."""
    called: dict[str, nn.Module] = {}

    def note(path: str, part: nn.Module, inputs: Any, output: Any) -> None:
        called.setdefault(path, part)

    with ExitStack() as hooks, torch.no_grad():
        for path, part in module.named_modules():
            if path:
                hooks.enter_context(part.register_forward_hook(partial(note, path)))
        module(images)
    return {
        path: part
        for path, part in called.items()
        if not any(other.startswith(f"{path}.") for other in called)
    }


def _run(
    module: nn.Module, images: torch.Tensor, leaves: dict[str, nn.Module]
) -> tuple[float, dict[str, float]]:
    times: dict[str, float] = defaultdict(float)
    started: dict[str, float] = {}

    def begin(path: str, part: nn.Module, inputs: Any) -> None:
        started[path] = _now(images)

    def end(path: str, part: nn.Module, inputs: Any, output: Any) -> None:
        times[path] += _now(images) - started[path]

    with ExitStack() as hooks, torch.no_grad():
        for path, part in leaves.items():
            hooks.enter_context(part.register_forward_pre_hook(partial(begin, path)))
            hooks.enter_context(part.register_forward_hook(partial(end, path)))
        start = _now(images)
        module(images)
        return _now(images) - start, times


def _now(images: torch.Tensor) -> float:
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
    return perf_counter()
