"""Weights: where they come from, how they are checked, and how they get into a module.

Files are read in ways that cannot execute code: safetensors, or PyTorch's loader restricted to
tensors, which is given neither the archives of its first versions (tar), in which it once could be
made to, nor compressed ones, which unpack to more than memory holds; PyTorch writes neither.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pooch
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.overrides import TorchFunctionMode

from analysis import paths

__all__ = [
    "SUFFIXES",
    "build_empty",
    "fill_random",
    "find_file",
    "load_state",
    "match_names",
    "read_state",
    "retrieve",
    "weights_hash",
]

State = dict[str, torch.Tensor]

#: File names that count as weights.
SUFFIXES = (".safetensors", ".pth", ".pt", ".pth.tar")

_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module", "_orig_mod")  # DataParallel, torch.compile
# Checkpoints of torchvision's DenseNets are older than its module names: norm.1 became norm1.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.")


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


def read_state(path: Path) -> State:
    """Read a state dict: names and tensors, floating-point ones as float32.

    Checkpoints that wrap it (``{"state_dict": ...}``) are unwrapped.

    Raises
    ------
    ValueError
        If the file is damaged, or holds anything but tensors and plain containers; nothing in it
        is executed.
    """
    held = _read(path)
    for wrapper in _WRAPPERS:
        if isinstance(held, Mapping) and isinstance(held.get(wrapper), Mapping):
            held = held[wrapper]
    if not isinstance(held, Mapping) or not held:
        raise ValueError(f"{path} holds a {type(held).__name__}; expected a state dict of tensors")
    strangers = [str(name) for name, value in held.items() if not isinstance(value, torch.Tensor)]
    if strangers:
        raise ValueError(
            f"{path} is not a state dict: {_few(strangers)} are no tensors; expected a tensor by "
            "each name"
        )
    unlike = [str(name) for name, value in held.items() if not _is_plain(value)]
    if unlike:
        raise ValueError(
            f"{path}: {_few(unlike)} are sparse, quantised, or larger than what the file holds; "
            "expected tensors with a number in the file for each of theirs"
        )
    return {
        str(name): value.float() if value.is_floating_point() else value
        for name, value in held.items()
    }


def match_names(state: State, module: nn.Module) -> State:
    """Undo what wrappers and old versions did to names, unless the names fit as they are.

    ``DataParallel`` and ``torch.compile`` put ``module`` and ``_orig_mod`` into names; the
    DenseNet checkpoints of torchvision are older than its module names.
    """
    if state.keys() <= module.state_dict().keys():
        return state
    return {_plain_name(name): value for name, value in state.items()}


def load_state(module: nn.Module, state: State, origin: str) -> None:
    """Copy a state dict into a module; every name and shape has to fit.

    Raises
    ------
    ValueError
        Listing what is missing, unexpected, or of another shape.
    """
    own = module.state_dict()
    mismatched = [key for key in own if key in state and state[key].shape != own[key].shape]
    fitting = {key: value for key, value in state.items() if key not in mismatched}
    # Modules rename what old versions of themselves called otherwise, so the verdict is theirs.
    missing, unexpected = module.load_state_dict(fitting, strict=False)
    missing = [key for key in missing if key not in mismatched]
    if missing or unexpected or mismatched:
        problems = {
            "missing": missing,
            "unexpected": unexpected,
            "of another shape": [
                f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
                for key in mismatched
            ],
        }
        listed = "; ".join(f"{len(k)} {what}: {_few(k)}" for what, k in problems.items() if k)
        raise ValueError(f"the weights of {origin} do not fit {type(module).__name__}: {listed}")


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


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        _refuse_archives(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from error
    except Exception as error:  # the restricted unpickler has no error class of its own
        raise ValueError(
            f"{path} was refused ({type(error).__name__}): it is damaged, or holds something "
            "other than tensors and plain containers. Nothing in it was executed. Save the state "
            "dict alone, torch.save(model.state_dict(), ...), or better as .safetensors"
        ) from None


def _refuse_archives(path: Path) -> None:
    """Stop before PyTorch's loader sees what it never wrote; see the module."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("compressed members")
    elif tarfile.is_tarfile(path):
        raise ValueError("a tar archive")


def _is_plain(value: torch.Tensor) -> bool:
    """Whether a tensor's numbers all lie in memory: views can repeat one of them without end."""
    if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _plain_name(name: str) -> str:
    parts = [part for part in name.split(".") if part not in _PREFIXES]
    return _OLD_DENSENET.sub(r"\1\2.", ".".join(parts))


def _few(names: list[str], limit: int = 4) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _has_hash(path: Path, prefix: str) -> bool:
    return str(pooch.file_hash(str(path), alg="sha256")).startswith(prefix)


def _check_hash(path: Path, prefix: str) -> None:
    if not _has_hash(path, prefix):
        raise ValueError(
            f"{path} is not the published file: expected a SHA-256 that begins with {prefix}, got "
            f"{pooch.file_hash(str(path), alg='sha256')}. Delete it and download it again"
        )
