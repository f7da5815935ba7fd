"""Fine-tuning: the last layers of a network learn the classes of a dataset, the others stay.

The frozen layers give the same answer in every epoch, since images are not changed, so that it is
computed once (:mod:`analysis.networks.kept`). Every epoch draws from the seed and its own number,
and a checkpoint is written whole after every epoch: a run that was killed goes on to the same
weights, bit by bit on the same machine with as many threads and the same versions.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
import torchvision
from torch import nn

from analysis.networks.backbone import Backbone
from analysis.networks.cards import NETWORKS
from analysis.networks.descent import FreeLayers, rate_that_learns
from analysis.networks.epochs import Row, check_seed, run_epochs
from analysis.networks.freezing import cut_before, free_parts, n_scores, replace_class_layer
from analysis.networks.kept import Examples, Way, shown
from analysis.networks.loading import assemble
from analysis.networks.recipes import FineTuning
from analysis.networks.tuned import FineTuned

if TYPE_CHECKING:
    from analysis.data import ImageDataset

__all__ = ["fine_tune"]

_MEMORY = 2 * 2**30


def fine_tune(
    net: Backbone,
    data: ImageDataset,
    *,
    seed: int = 0,
    free: int | str = 7,
    recipe: FineTuning | None = None,
    rates: Sequence[float] = (),
    validation: ImageDataset | None = None,
    checkpoint: str | Path | None = None,
    cache: bool = True,
    memory: int = _MEMORY,
    progress: bool = True,
) -> FineTuned:
    """Train the last layers of a network on the classes of a dataset.

    The class layer is replaced by a new one; it and the layers before it that are free learn by
    stochastic gradient descent (dos Santos and Ponti 2019, section IV). All others stay as they
    are, bit for bit, running statistics included.

    Parameters
    ----------
    net
        Any backbone; it is not changed.
    data
        Images with their classes, each class with at least one. An image is opened once.
    seed
        Of the new class layer, the order of the images and the dropout.
    free
        How many of the last layers learn, counted as in :mod:`analysis.networks.freezing` (which
        says what the paper's seven are in each network), or the first layer that does, by name:
        ``free="fire8"``.
    recipe
        How to train; None for that of the paper, ``FineTuning()``.
    rates
        Learning rates to try for two epochs each, the greatest first, before the training starts
        afresh at the first one after which the loss is below that of saying all classes with the
        same probability, and at the last if none is. None are tried if there are fewer than two.
        They take the place of that of ``recipe``, and the one taken is in the provenance
        (``tuned_recipe``).
    validation
        Images of the same classes, measured after every epoch. Nothing is chosen by them.
    checkpoint
        Folder for ``checkpoint.pt`` and ``history.csv``, written after every epoch; a checkpoint of
        the same network, images, recipe and seed is taken up. None for no checkpoints.
    cache
        Compute what the frozen layers give once. False computes it for every step: the same bits,
        many times slower.
    memory
        Bytes of a dataset's cache that are held in memory; a larger one goes to a temporary file,
        in the folder of the checkpoint if there is one.
    progress
        Show progress bars.

    Returns
    -------
    FineTuned
        A backbone to extract from, with :attr:`FineTuned.history`.

    Raises
    ------
    ValueError
        If a class has no images or there is only one, the class layer would not be free or is not
        found, weights in front of it are missing, a layer is unknown, or the folder holds a damaged
        checkpoint or that of another run.
    FloatingPointError
        If the loss grows out of bounds; the checkpoint of the last good epoch stays.

    Notes
    -----
    Where the forward pass depends on values, it cannot be cut in front of the free layers; then the
    whole network runs in every step (which ``cache`` does not change).
    """
    recipe = FineTuning() if recipe is None else recipe
    _check(data, validation)
    check_seed(seed)
    crop = net.preprocessing.crop
    module = copy.deepcopy(net.module).to(memory_format=torch.channels_last)
    replace_class_layer(module, len(data.classes), crop=crop, seed=seed)
    if any(value.isnan().any() for value in module.state_dict().values()):
        raise ValueError(
            f"{net.weights} lacks weights of {net.name} in front of its class layer, such as "
            f"{str(net.provenance.get('lacking')).partition(',')[0]}: there are features, but no "
            "class scores to learn. Take weights that have all but the class layer"
        )
    module.eval().requires_grad_(False)
    parts = free_parts(module, free if isinstance(free, int) else _path(net, free), crop=crop)
    folder = None if checkpoint is None else Path(checkpoint)
    rng = np.random.default_rng(0)
    probe = shown(rng.integers(0, 256, (2, crop, crop, 3), dtype=np.uint8), net.preprocessing)
    cut = cut_before(module, parts, probe)
    way = Way(net.preprocessing, recipe.crops, cut.front if cut else None, cache, memory, folder)
    sets = [Examples(one, way, progress=progress) for one in (data, validation) if one is not None]

    def trainer(rate: float, recipe: FineTuning = recipe) -> FreeLayers:
        tail = cut.tail if cut else module
        return FreeLayers(module, tail, parts, sets, replace(recipe, learning_rate=rate), seed)

    rate = rate_that_learns(trainer, rates or [recipe.learning_rate], progress=progress)
    recipe = replace(recipe, learning_rate=rate)
    described = _described(net, data, validation, free, recipe, seed)
    history = run_epochs(
        trainer(rate),
        recipe.epochs,
        folder,
        json.dumps(described),
        told=lambda row: f"loss {row['loss']:.3g}, accuracy {row['accuracy']:.1%}",
        progress=progress,
    )
    return _finished(net, module, data, parts, history, described)


def _check(data: ImageDataset, validation: ImageDataset | None) -> None:
    """Refuse images from which nothing can be learnt."""
    counts = np.bincount(data.labels, minlength=len(data.classes))
    empty = [name for name, count in zip(data.classes, counts, strict=True) if not count]
    if empty:
        raise ValueError(
            f"no images of {', '.join(empty)} in {data.name!r}: a class without images cannot be "
            "learnt; leave it out of the classes"
        )
    if len(data.classes) < 2:
        raise ValueError(f"expected at least two classes, got {', '.join(data.classes)} alone")
    if validation is not None and validation.classes != data.classes:
        raise ValueError(
            "expected validation images of the same classes in the same order: "
            f"{', '.join(data.classes)}; got {', '.join(validation.classes)}"
        )
    if validation is not None and not len(validation):
        raise ValueError(f"{validation.name!r} holds no images to validate by")


def _path(net: Backbone, name: str) -> str:
    """Path of the module of a layer that is given by name."""
    card = NETWORKS.get(net.name)
    modules = dict(card.modules) if card else {}
    aliases = dict(card.aliases) if card else {}
    path = modules.get(aliases.get(name, name), name)
    if path not in dict(net.module.named_modules()):
        (layer,) = net.select([name])  # says which are known
        path = (layer.pre or layer.post)[0].module
    return path


def _described(
    net: Backbone,
    data: ImageDataset,
    validation: ImageDataset | None,
    free: int | str,
    recipe: FineTuning,
    seed: int,
) -> dict[str, Any]:
    """Tell this run from others."""
    return {
        "network": net.name,
        "stem": net.provenance.get("stem"),
        "weights": net.weights_hash,
        "preprocessing": str(net.preprocessing),
        "task": data.fingerprint,
        "validation": validation.fingerprint if validation is not None else None,
        "free": free,
        "seed": seed,
        "recipe": asdict(recipe),
    }


def _finished(
    net: Backbone,
    module: nn.Module,
    data: ImageDataset,
    parts: Collection[str],
    history: list[Row],
    described: dict[str, Any],
) -> FineTuned:
    """Make a backbone of the trained module."""
    label = f"{net.weights} tuned on {data.name}"
    kept = {key: value for key, value in net.provenance.items() if key in ("network", "stem")}
    base = {f"base_{key}": net.provenance[key] for key in net.provenance.keys() - kept.keys()}
    provenance: dict[str, str | int] = {
        **kept,
        "weights": label,
        **dict(sorted(base.items())),
        "base_weights": net.weights,
        "base_weights_hash": net.weights_hash,
        "tuned_on": data.name,
        "tuned_fingerprint": data.fingerprint,
        "tuned_free": str(described["free"]),
        "tuned_recipe": json.dumps(described["recipe"]),
        "tuned_seed": described["seed"],
        "tuned_torch": str(torch.__version__),
        "tuned_torchvision": torchvision.__version__,
        "tuned_threads": torch.get_num_threads(),
    }
    module = module.to(memory_format=torch.contiguous_format)
    card = NETWORKS.get(net.name) if net.weights != "own" else None
    n_before = n_scores(net.module)
    layers = [layer.name if layer.units == n_before else layer for layer in net.layers]
    found = assemble(net.name, module, net.preprocessing, label, provenance, layers, card)
    return FineTuned(
        **{each.name: getattr(found, each.name) for each in fields(Backbone)},
        classes=data.classes,
        free=tuple(parts),
        history=pd.DataFrame(history).astype({"epoch": int}),
    )
