"""Time of a forward pass, module by module (Donahue et al. 2014, section 3.3 and figure 3)."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from analysis.networks.backbone import Backbone
from analysis.networks.trace import record


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
        parts = _innermost(backbone.module, images.shape)
        runs = [_run(backbone.module, images, parts) for _ in range(repeats + 1)][1:]
    finally:
        backbone.module.to("cpu")
    *seconds, whole = np.median(runs, axis=0).tolist()
    layers = backbone.available.values()
    names = {tap.module: layer.name for layer in layers for tap in layer.post}
    names |= {tap.module: layer.name for layer in layers for tap in layer.pre}
    rows = [(path, names.get(path, ""), type(part).__name__) for path, part in parts.items()]
    table = pd.DataFrame([*rows, ("(rest)", "", "")], columns=["module", "layer", "kind"])
    table["seconds"] = [*seconds, max(whole - sum(seconds), 0.0)]
    return table.assign(share=table["seconds"] / table["seconds"].sum())


def _innermost(module: nn.Module, shape: Any) -> dict[str, nn.Module]:
    """Modules that the forward pass calls and that call no other module, in the order of calls."""
    order = record(module, shape).order
    paths = sorted(order, key=order.__getitem__)
    outer = {path[:at] for path in paths for at, sign in enumerate(path) if sign == "."}
    return {path: module.get_submodule(path) for path in paths if path not in outer}


def _run(module: nn.Module, images: torch.Tensor, parts: dict[str, nn.Module]) -> list[float]:
    """Seconds of each part, then of the whole forward pass."""
    times = dict.fromkeys(parts, 0.0)

    def begin(path: str, *passed: Any) -> None:
        times[path] -= _now(images)

    def end(path: str, *passed: Any) -> None:
        times[path] += _now(images)

    with ExitStack() as hooks, torch.no_grad():
        for path, part in parts.items():
            hooks.enter_context(part.register_forward_pre_hook(partial(begin, path)))
            hooks.enter_context(part.register_forward_hook(partial(end, path)))
        start = _now(images)
        module(images)
        return [*times.values(), _now(images) - start]


def _now(images: torch.Tensor) -> float:
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
    return perf_counter()
