"""What can be asked for by name: networks, and the files that hold their weights."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import pooch
import torchvision
from torch import nn

from analysis import paths
from analysis.networks import weights as files
from analysis.networks.cards import NETWORKS, NetworkCard
from analysis.networks.minivgg import MINIVGG_PREPROCESSING, minivgg16
from analysis.networks.preprocessing import Preprocessing

__all__ = ["BUNDLED", "SHIPPED", "SOURCES", "Network", "find_network", "weights_file"]

#: Weights that are shipped, as ``NETWORK-KEYWORD.safetensors`` in :data:`BUNDLED`.
SHIPPED = ("bundled", "bundled-living")
#: Keywords of ``weights=``.
SOURCES = ("imagenet", "places365", "random", *SHIPPED)
#: Folder of the weights that are shipped, and of their model cards.
BUNDLED = Path(__file__).parent / "bundled"
# Networks whose constructors would draw weights slowly or warn, and whose published weights include
# auxiliary heads and expect inputs scaled as in their original training.
_OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"init_weights": False, "aux_logits": True, "transform_input": True},
    "inception_v3": {"init_weights": False, "aux_logits": True, "transform_input": True},
}


@dataclass(frozen=True)
class Network:
    """A network that can be built by name."""

    name: str
    build: Callable[..., nn.Module]  # takes num_classes
    preprocessing: Preprocessing
    imagenet: str  # address of the weights, or ""
    card: NetworkCard | None
    others: tuple[str, ...] = ()  # addresses of weights that were not learnt from ImageNet alone


def find_network(name: str, weights: str = "") -> Network:
    """Look a network up by name.

    Parameters
    ----------
    name
        Of a network card, or torchvision's name.
    weights
        What it is to be filled with. For a file with the name of one that torchvision publishes,
        preprocessing and image size are that file's; else those of ``IMAGENET1K_V1``, or where
        there is no such entry those of the published weights for the smallest images.

    Raises
    ------
    ValueError
        If it is unknown, with the closest known names.
    """
    if name == "minivgg16":
        return Network(name, minivgg16, MINIVGG_PREPROCESSING, "", NETWORKS[name])
    classifiers = torchvision.models.list_models(module=torchvision.models)
    if name not in classifiers:
        close = get_close_matches(str(name), {**NETWORKS, **dict.fromkeys(classifiers)}, n=3)
        hint = f" (did you mean {', '.join(close)}?)" if close else ""
        raise ValueError(
            f"unknown network {name!r}{hint}; known: {', '.join(NETWORKS)}, and every other "
            "classifier of torchvision (torchvision.models.list_models)"
        )
    published = [*torchvision.models.get_model_weights(name)]
    alone = [entry for entry in published if entry.name == "IMAGENET1K_V1"]
    by_size = sorted(published, key=lambda entry: entry.transforms().crop_size[0])
    named = [entry for entry in published if entry.url.endswith(f"/{Path(weights).name}")]
    preprocessing = Preprocessing.from_torchvision([*named, *alone, *by_size][0].transforms())
    options = dict(_OPTIONS.get(name, {}))
    kind = signature(torchvision.models.get_model_builder(name)).return_annotation
    if "image_size" in signature(kind).parameters:  # a transformer sees one size only
        options["image_size"] = preprocessing.crop
    return Network(
        name,
        partial(torchvision.models.get_model, name, weights=None, **options),
        preprocessing,
        alone[0].url if alone else "",
        NETWORKS.get(name),
        () if alone else tuple(entry.url for entry in by_size),
    )


def weights_file(
    network: Network, weights: str, *, progress: bool = False
) -> tuple[Path, dict[str, str | int]]:
    """Find the file of weights asked for by keyword or by name; download torchvision's if need be.

    Parameters
    ----------
    network
        The network that the weights are for.
    weights
        One of :data:`SOURCES` except ``"random"``, or a file name.
    progress
        Show a progress bar while downloading.

    Returns
    -------
    file
        Where it is.
    origin
        For the provenance: ``sha256`` of the file and, if it has one, its ``address``.

    Raises
    ------
    ValueError
        If ``weights`` is unknown, or no such weights are published.
    FileNotFoundError
        If the file is not on this machine and is not downloaded.
    OSError
        If a download fails.
    """
    file, origin = _found(network, weights, progress)
    return file, {"sha256": str(pooch.file_hash(str(file), alg="sha256")), **origin}


def _found(network: Network, weights: str, progress: bool) -> tuple[Path, dict[str, str | int]]:
    """Give the file of some weights and, if they have one, their address."""
    if weights == "imagenet":
        converted = files.find_file(f"{network.name}-imagenet.safetensors")
        return (converted, {}) if converted else _imagenet_file(network, progress)
    if weights == "places365":
        return _places_file(network), {}
    if weights in SHIPPED:
        return _bundled_file(network.name, weights), {}
    if not weights.endswith(files.SUFFIXES):
        raise ValueError(
            f"unknown weights {weights!r}; known: {', '.join(SOURCES)}, or a file that ends in "
            f"{', '.join(files.SUFFIXES)}"
        )
    found = files.find_file(weights)
    if found is None:
        folders = ", ".join(str(folder) for folder in paths.weights_roots())
        there = sorted(
            file.name
            for folder in paths.weights_roots()
            for file in (folder.iterdir() if folder.is_dir() else ())
            if file.name.endswith(files.SUFFIXES)
        )
        raise FileNotFoundError(
            f"no weights file {weights}; looked in the working folder and in {folders}, where "
            f"there are: {', '.join(there) or 'none'}"
        )
    return found, {}


def _imagenet_file(network: Network, progress: bool) -> tuple[Path, dict[str, str | int]]:
    prefix = re.search(r"-([0-9a-f]{8,})\.pth$", network.imagenet)
    if prefix is None:
        others = f"; weights trained on more than ImageNet: {' and '.join(network.others)}"
        raise ValueError(
            f"no ImageNet weights (IMAGENET1K_V1) of {network.name} are published; pass "
            f"weights='random' or the path of a file{others if network.others else ''}"
        )
    file = files.retrieve(network.imagenet, sha256_prefix=prefix[1], progress=progress)
    return file, {"address": network.imagenet}


def _places_file(network: Network) -> Path:
    """Find a Places365 checkpoint; its authors publish no checksums, so it is not downloaded."""
    names = [f"{network.name}_places365.pth.tar", f"{network.name}-places365.safetensors"]
    for name in names:
        found = files.find_file(name)
        if found is not None:
            return found
    address = network.card.places365 if network.card else ""
    where = (
        f"Its authors publish it at {address}"
        if address
        else "For this network its authors publish no PyTorch checkpoint (for VGG16 a Caffe model, "
        "which has to be converted)"
    )
    raise FileNotFoundError(
        f"no Places365 weights of {network.name} on this machine. {where}. Put the file into "
        f"{paths.weights_download_root()} or a folder named by LAYERBOOK_WEIGHTS, as "
        f"{' or '.join(names)}"
    )


def _bundled_file(network: str, weights: str) -> Path:
    file = BUNDLED / f"{network}-{weights}.safetensors"
    if not file.is_file():
        known = {path.stem.partition("-")[::2] for path in BUNDLED.glob("*.safetensors")}
        shipped = ", ".join(f"{name} ({keyword!r})" for name, keyword in sorted(known))
        raise FileNotFoundError(
            f"no {weights} weights of {network}; networks with bundled weights: "
            f"{shipped or 'none yet'}. Pass weights='random', 'imagenet' or a file"
        )
    return file
