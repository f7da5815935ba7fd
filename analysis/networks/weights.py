"""Weights: where files of them come from and how they are checked, random ones, and their hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pooch
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from analysis import paths

__all__ = [
    "SUFFIXES",
    "build_empty",
    "fill_random",
    "find_file",
    "retrieve",
    "weights_hash",
]

#: File names that count as weights.
SUFFIXES = (".safetensors", ".pth", ".pt", ".pth.tar", ".ckpt", ".bin")


def find_file(name: str | Path) -> Path | None:
    """Find a weights file: as given, else in the folders of ``paths.weights_roots()``."""
    path = Path(name).expanduser()
    places = [path, *(root / path for root in paths.weights_roots())]
    return next((place for place in places if place.is_file()), None)


def retrieve(url: str, *, sha256_prefix: str, progress: bool = False) -> Path:
    """Find or download a file and check its hash.

    Parameters
    ----------
    url
        Address; its last part is the file name that is looked for first.
    sha256_prefix
        First digits of the SHA-256, as torchvision puts them into file names.
    progress
        Show a progress bar while downloading.

    Raises
    ------
    ValueError
        If the file has another hash; a download is then removed.
    OSError
        If it cannot be downloaded; nothing half-written is left.
    """
    name = url.rsplit("/", 1)[-1]
    found = find_file(name)
    if found is not None:
        _check_hash(found, sha256_prefix)
        return found
    folder = paths.weights_download_root()
    partial = folder / f"{name}.part"
    try:
        pooch.retrieve(url, None, partial.name, folder, progressbar=progress)
        _check_hash(partial, sha256_prefix)
    except ValueError:
        raise
    except Exception as error:  # pooch passes on whatever its downloader meets
        raise OSError(
            f"could not download {url} ({type(error).__name__}). On a machine with internet "
            f"access, download it and put it into {folder} or a folder named by "
            f"LAYERBOOK_WEIGHTS, as {name}; or pass weights='random', or the path of a file"
        ) from error
    finally:
        if partial.exists() and not _has_hash(partial, sha256_prefix):
            partial.unlink()
    return partial.rename(folder / name)


def build_empty(build: Callable[[], nn.Module]) -> tuple[nn.Module, set[int]]:
    """Build a module without drawing random numbers, and say which parameters wait for them.

    Drawing VGG16's 138 million weights only to replace them takes seconds. Constant initial values
    are set as the module defines them.

    Returns
    -------
    module
        With zeros where it would have drawn.
    waiting
        Storage addresses (``data_ptr``) of those parameters.
    """
    with torch.random.fork_rng(devices=[]), _Postponed() as postponed:
        torch.manual_seed(0)
        module = build()
    return module, postponed.addresses


def fill_random(module: nn.Module, waiting: set[int], seed: int) -> None:
    """Draw initial weights (He et al. 2015, arXiv:1502.01852, section 2.2).

    Convolutions and linear layers get normal weights of variance 2 / fan-in and zero biases; other
    parameters that a network draws (position embeddings, attention projections) get a standard
    deviation of 0.02. PyTorch's global random state is neither used nor changed.

    Parameters
    ----------
    module
        Changed in place.
    waiting
        Storage addresses of parameters to draw, from :func:`build_empty`.
    seed
        Same seed, same weights.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn: set[int] = set()
    with torch.no_grad():
        for part in module.modules():
            if not isinstance(part, nn.Conv2d | nn.Linear) or part.weight.data_ptr() in drawn:
                continue
            fan_in = part.weight[0].numel()
            part.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
            drawn.add(part.weight.data_ptr())
            if part.bias is not None:
                part.bias.zero_()
                drawn.add(part.bias.data_ptr())
        for parameter in module.parameters():
            if parameter.data_ptr() in waiting - drawn:
                parameter.normal_(0, 0.02, generator=generator)


def weights_hash(module: nn.Module) -> str:
    """SHA-256 over a module's state dict: names, types, shapes and bytes, in order."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        plain = value.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        digest.update(memoryview(plain.reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()


class _Postponed(TorchFunctionMode):
    """Sets zeros where PyTorch's initialisers would draw, and remembers where."""

    _DRAWING = frozenset({"normal_", "uniform_", "kaiming_uniform_", "kaiming_normal_"})

    def __init__(self) -> None:
        super().__init__()
        self.addresses: set[int] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        options = kwargs or {}
        if getattr(func, "__name__", "") not in self._DRAWING:
            return func(*args, **options)
        tensor: torch.Tensor = args[0] if args else options["tensor"]
        self.addresses.add(tensor.data_ptr())
        with torch.no_grad():
            return tensor.zero_()


def _has_hash(path: Path, prefix: str) -> bool:
    return str(pooch.file_hash(str(path), alg="sha256")).startswith(prefix)


def _check_hash(path: Path, prefix: str) -> None:
    if not _has_hash(path, prefix):
        raise ValueError(
            f"{path} is not the published file: expected a SHA-256 that begins with {prefix}, got "
            f"{pooch.file_hash(str(path), alg='sha256')}. Delete it and download it again"
        )
