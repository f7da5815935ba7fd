"""From a name to a backbone: build, fill with weights, find the layers."""

from __future__ import annotations

import os
from collections.abc import Sequence, Set
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from analysis.networks import weights as files
from analysis.networks.backbone import Backbone, Layer, require_different
from analysis.networks.cards import NetworkCard
from analysis.networks.discovery import Discovery, UnreadableLayerError, class_layer
from analysis.networks.preprocessing import Preprocessing
from analysis.networks.trace import copy_structure
from analysis.networks.weights import SOURCES, Network

Layers = Sequence[str | Layer] | None


def load_backbone(
    name_or_module: str | nn.Module,
    *,
    weights: str | Path = "imagenet",
    layers: Layers = None,
    preprocess: Any = None,
    seed: int = 0,
    stem: str | None = None,
    progress: bool = False,
) -> Backbone:
    """Load a network with named layers, ready to take features from.

    Parameters
    ----------
    name_or_module
        A name from :data:`NETWORKS`, any other classifier of torchvision by its name there, or a
        module of your own (it is copied, and brings its own weights).
    weights
        ``"imagenet"``: torchvision's IMAGENET1K_V1, found in the weights folders or downloaded.
        ``"places365"``: a published checkpoint, from a file in the weights folders. ``"random"``:
        drawn from ``seed``. ``"bundled"``, ``"bundled-living"``: shipped with Layerbook for
        ``minivgg16``, trained on 200 classes of photographs and 26 drawn ones, or on living things
        alone. Else a ``.safetensors``, ``.pth``, ``.pt``, ``.pth.tar``, ``.ckpt`` or ``.bin`` file:
        absolute, relative to the working folder, or in one of the weights folders. It may be a
        checkpoint of a training (:mod:`analysis.networks.weights`), have another number of
        classes, or lack its head: then layers that depend on what is missing are not available.
    layers
        The embedding: names from ``Backbone.available``, module paths, or :class:`Layer` objects.
        None: the papers' layers where there is a card; else blocks, and the convolutions and
        linear layers outside of them, without class scores.
    preprocess
        :class:`Preprocessing` or a torchvision ``ImageClassification`` preset. Needed for a module
        of your own; None for a named network: that of its ImageNet weights.
    seed
        Seed of ``weights="random"``.
    stem
        ``"unpadded"``: a ResNet whose first pooling does not pad, as in early Keras; its first
        blocks have 55 × 55 positions (dos Santos and Ponti 2019, section III) instead of 56 × 56.
    progress
        Show a progress bar while downloading.

    Returns
    -------
    Backbone

    Raises
    ------
    ValueError
        If a name is unknown, weights do not fit or are refused, or a layer cannot be read safely.
    FileNotFoundError
        If weights are not on this machine and are not downloaded.
    OSError
        If a download fails.

    Notes
    -----
    torchvision's ImageNet weights are a re-training: single neurons are not those of the papers'
    Caffe models.
    """
    # Activations on huge pages: fewer page faults for large maps, the same bits. PyTorch looks when
    # it makes its first tensor, which is mostly here; only Linux heeds it.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if isinstance(name_or_module, nn.Module):
        if str(weights) != "imagenet" or stem is not None:
            raise ValueError(
                "weights= and stem= are for networks given by name; load the weights of a module "
                "of your own before you pass it"
            )
        return _from_module(name_or_module, layers, preprocess)
    network = files.find_network(name_or_module, str(weights))
    module, provenance = _weighted(network, weights, seed, progress)
    _set_stem(module, stem, network.name)
    prepared = (
        network.preprocessing if preprocess is None else Preprocessing.from_torchvision(preprocess)
    )
    label = str(weights) if str(weights) in SOURCES else Path(weights).name
    provenance = {"network": network.name, "weights": label, **provenance}
    if stem is not None:
        provenance["stem"] = stem
    return assemble(network.name, module, prepared, label, provenance, layers, network.card)


def _from_module(module: nn.Module, layers: Layers, preprocess: Any) -> Backbone:
    name = type(module).__name__
    if preprocess is None:
        raise ValueError(
            f"{name} is a module of your own, so say what its weights expect of an image: "
            "preprocess=Preprocessing(resize=256, crop=224, mean=(...), std=(...))"
        )
    _require_plain(module)
    own, prepared = (
        copy_structure(module, _on_cpu).eval(),
        Preprocessing.from_torchvision(preprocess),
    )
    while (inner := Discovery(own, prepared.crop).wrapped) is not None:
        own = inner
    name = type(own).__name__
    provenance: dict[str, str | int] = {"network": name, "weights": "own"}
    return assemble(name, own, prepared, "own", provenance, layers, None)


def assemble(
    name: str,
    module: nn.Module,
    preprocessing: Preprocessing,
    weights: str,
    provenance: dict[str, str | int],
    layers: Layers,
    card: NetworkCard | None,
) -> Backbone:
    """Find the layers of a filled module.

    Parameters
    ----------
    name, module, preprocessing, weights, provenance
        As in :class:`Backbone`; the module is set to evaluation mode, without gradients.
    layers
        As in :func:`load_backbone`.
    card
        Where the names of layers come from; None for the modules' paths.

    Raises
    ------
    ValueError
        If a layer is unknown, named twice, or cannot be read safely, or weights are missing
        (``provenance["lacking"]``) that others, which are there, come after.
    """
    module.eval().requires_grad_(False)
    discovery = Discovery(module, preprocessing.crop)
    available, refused = _all_layers(discovery, card)
    missing = str(provenance["lacking"]).split(", ") if "lacking" in provenance else []
    lost = _depending_on(missing, discovery)
    for key in [key for key, layer in available.items() if _reads(layer, lost, discovery)]:
        del available[key]
        refused[key] = f"{weights} lacks weights that it depends on, such as {missing[0]}"
    known = Backbone(
        name, module, (), available, preprocessing, weights, "", provenance, refused
    )  # its errors name what is known
    if layers is None:
        default = list(card.embedding) if card else discovery.embedding()
        layers = [key for key in default if not missing or key not in refused]
    if not layers:
        raise ValueError(f"{name} has no layers to take features from; name them by layers=[...]")
    picked = [_pick(known, discovery, choice) for choice in layers]
    for layer in picked:
        if _reads(layer, lost, discovery):
            raise ValueError(f"layer {layer.name!r} depends on weights that {weights} lacks")
    require_different(picked)
    return replace(
        known,
        layers=tuple(picked),
        available={layer.name: layer for layer in picked} | available,
        weights_hash=files.weights_hash(module),
    )


def _all_layers(
    discovery: Discovery, card: NetworkCard | None
) -> tuple[dict[str, Layer], dict[str, str]]:
    """Everything that can be named, in the order of the forward pass, and what cannot, with why."""
    names = {path: name for name, path in card.modules.items()} if card else {}
    available: dict[str, Layer] = {}
    refused: dict[str, str] = {}
    for path in discovery.paths():
        name = names.get(path, path)
        try:
            available[name] = discovery.layer(path, name)
        except UnreadableLayerError as error:
            refused[name] = str(error)
    aliases = card.aliases if card else {}
    return available | {alias: available[name] for alias, name in aliases.items()}, refused


def _depending_on(missing: Sequence[str], discovery: Discovery) -> set[int]:
    """Values of the recorded forward pass that depend on weights that are missing.

    Raises
    ------
    ValueError
        If weights that are there are applied to one of them: what is missing is no head then.
    """
    trace, own = discovery.trace, discovery.module.state_dict()
    there = {key for key, value in own.items() if value.is_floating_point()} - {*missing}
    lost = {value for value, name in trace.constants.items() if name in missing}
    for op in trace.operations:
        if lost.intersection(op.inputs):
            lost |= set(op.outputs)
            after = [trace.constants[v] for v in op.inputs if trace.constants.get(v) in there]
            if after:
                raise ValueError(
                    f"the weights do not fit {type(discovery.module).__name__}: {len(missing)} "
                    f"missing: {', '.join(missing[:4])}, and {after[0]}, which is there, "
                    "comes after what is missing"
                )
    return lost


def _reads(layer: Layer, values: Set[int], discovery: Discovery) -> bool:
    return any(discovery.trace.value(tap) in values for tap in (*layer.post, *layer.pre))


def _pick(known: Backbone, discovery: Discovery, choice: str | Layer) -> Layer:
    """One layer by name, by module path, or as given."""
    if isinstance(choice, Layer):
        discovery.check(choice)
        return choice
    if choice in discovery.trace.order and choice not in {**known.available, **known.refused}:
        return discovery.layer(choice)
    return known.select([choice])[0]


def _require_plain(module: nn.Module) -> None:
    """Refuse modules whose values or weights cannot be read."""
    parts, tensors = list(module.modules()), [*module.parameters(), *module.buffers()]
    if any(isinstance(part, torch.jit.ScriptModule) for part in parts):
        what = "TorchScript, which hides its layers; expected the module that it was made from"
    elif any("quantized" in type(part).__module__.split(".") for part in parts):
        what = "quantised; expected the floating-point module that it was made from"
    elif any(map(is_lazy, tensors)):
        what = "lazy and has no weights yet; run it once, module(images), before you pass it"
    else:
        return
    raise ValueError(f"{type(module).__name__} is {what}")


def _on_cpu(tensor: torch.Tensor) -> torch.Tensor:
    kind = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to("cpu", kind, copy=True)


def _weighted(
    network: Network, weights: str | Path, seed: int, progress: bool
) -> tuple[nn.Module, dict[str, str | int]]:
    """Build a network with its weights, and say where they came from."""
    if str(weights) == "random":
        module, waiting = files.build_empty(network.build)
        files.fill_random(module, waiting, seed)
        return module, {"seed": seed}
    file, origin = files.weights_file(network, str(weights), progress=progress)
    module, _ = files.build_empty(network.build)
    prefix, state = files.match_names(files.read_state(file), module, str(file))
    path, layer = class_layer(module)
    scores = state.get(f"{path}.weight", layer.weight)
    if len(scores) != len(layer.weight) and scores.shape[1:] == layer.weight.shape[1:]:
        module, _ = files.build_empty(partial(network.build, num_classes=len(scores)))
    missing = files.load_state(module, state, str(file))
    taken = {"part_of_file": prefix} if prefix else {}
    lacking = {"lacking": ", ".join(missing)} if missing else {}
    return module, {"file": file.name, **origin, **taken, **lacking}


def _set_stem(module: nn.Module, stem: str | None, name: str) -> None:
    if stem is None:
        return
    if stem != "unpadded":
        raise ValueError(f"unknown stem {stem!r}; known: 'unpadded', or None as published")
    from torchvision.models import ResNet

    if not isinstance(module, ResNet):
        raise ValueError(f"stem='unpadded' is for ResNets; {name} has no such first pooling")
    module.maxpool.padding = 0
