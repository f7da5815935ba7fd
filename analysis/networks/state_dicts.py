"""State dicts: read from files, found among what else a checkpoint holds, put into a module.

Files are read in ways that cannot execute code: safetensors, or PyTorch's loader restricted to
tensors, which is given neither the archives of its first versions (tar), in which it once could be
made to, nor compressed ones, which unpack to more than memory holds; PyTorch writes neither.

Conventions
-----------
part
    Containers and names are joined by dots (``state_dict.model.features.0.weight``). The network's
    weights are the part of the file, what has one prefix, that has most of the network's names with
    shapes that fit; an optimiser, a loss, a projection under other prefixes are left alone.
several parts
    Where two fit equally well and differ, averaged weights are taken (``ema``, ``swa`` or
    ``teacher`` in the prefix), as the trainings that keep them evaluate these; else the file is
    refused.
unexpected names
    Refused, for they may change what the network computes; except counters (integers, a single
    number beside the modules), loss functions and metrics, and what stands in the place of a part
    of which everything is missing: another head.
missing names
    Become NaN. The caller refuses them unless they come after everything that the file has
    (:func:`analysis.networks.loading.assemble`): a file without its head.
"""

from __future__ import annotations

import argparse
import re
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

__all__ = ["load_state", "match_names", "read_state"]

State = dict[str, torch.Tensor]

# What DataParallel, torch.compile, FSDP and activation checkpointing put into names, anywhere.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_AVERAGED = re.compile(r"(?:^|[._])(?:ema|swa|averaged?|teacher)(?:[._]|$)")
_BESIDE = re.compile(r"(?:\w+_)?(?:loss|criterion|metrics?)(?:_\w+)?\.")
_DEEPEST = 12  # parts of a name, and wrappers or containers around them
# Checkpoints of torchvision's DenseNets are older than its module names: norm.1 became norm1.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.")


def read_state(path: Path) -> State:
    """Read all tensors of a file, by their names: those of containers are joined by dots.

    Raises
    ------
    ValueError
        If the file is damaged, holds no tensors, or anything but tensors and plain containers;
        nothing in it is executed.
    """
    found: State = {}
    seen: set[int] = set()  # a container may hold itself
    waiting: list[tuple[tuple[str, ...], Any]] = [((), _read(path))]
    while waiting:
        names, held = waiting.pop()
        if isinstance(held, torch.Tensor):
            found[".".join(names)] = held.detach()
        elif isinstance(held, Mapping | list | tuple) and id(held) not in seen:
            seen.add(id(held))
            parts = held.items() if isinstance(held, Mapping) else enumerate(held)
            if len(names) < _DEEPEST:
                waiting += reversed([((*names, str(name)), part) for name, part in parts])
    if not found:
        raise ValueError(f"{path} holds no tensors; expected a state dict, or one in containers")
    return found


def match_names(tensors: State, module: nn.Module, origin: str) -> tuple[str, State]:
    """Find the part of a file that holds the weights of a module; see the conventions above.

    Parameters
    ----------
    tensors
        From :func:`read_state`.
    module
        What the weights are for.
    origin
        The file, for messages.

    Returns
    -------
    prefix
        Of that part, "" for the whole file.
    state
        Names as the module has them, and tensors, floating-point ones as float32.

    Raises
    ------
    ValueError
        If two parts fit equally well, or tensors are sparse, quantised, or larger than the file.
    """
    own = module.state_dict()
    wrappers = _WRAPPERS - {piece for name in own for piece in name.split(".")}
    parts: dict[str, State] = defaultdict(dict)
    for name, value in tensors.items():
        pieces = name.split(".")
        for cut in range(max(0, len(pieces) - _DEEPEST), len(pieces)):
            inner = _plain_name(pieces[cut:], wrappers)
            # The first axis of a class layer is the number of classes, which may be another one.
            fits = inner in own and own[inner].shape[1:] == value.shape[1:]
            if fits and pieces[cut] not in wrappers:
                parts[".".join([*pieces[:cut], ""])][inner] = value
    most = max(map(len, parts.values()), default=0)
    best = [prefix for prefix, part in parts.items() if len(part) == most] or [""]
    if any(not _is_same(parts[best[0]], parts[other]) for other in best[1:]):
        averaged = [prefix for prefix in best if _AVERAGED.search(prefix)]
        if len(averaged) != 1:
            raise ValueError(
                f"{origin} holds several sets of weights that fit {type(module).__name__}: "
                f"{_few([prefix.rstrip('.') for prefix in best])}. Save the one that you want "
                "alone: torch.save(torch.load(FILE)[NAME], ...)"
            )
        best = averaged
    whole = {
        _plain_name(name.removeprefix(best[0]).split("."), wrappers): value
        for name, value in tensors.items()
        if name.startswith(best[0])
    }
    unlike = [name for name, value in whole.items() if not _is_plain(value)]
    if unlike:
        raise ValueError(
            f"{origin}: {_few(unlike)} are sparse, quantised, or larger than what the file holds; "
            "expected tensors with a number in the file for each of theirs"
        )
    return best[0].rstrip("."), {
        name: value.float() if value.is_floating_point() else value for name, value in whole.items()
    }


def load_state(module: nn.Module, state: State, origin: str) -> list[str]:
    """Copy a state dict into a module; weights that it lacks become NaN.

    Parameters
    ----------
    module
        Changed in place.
    state
        From :func:`match_names`.
    origin
        The file, for messages.

    Returns
    -------
    list of str
        Names of the weights that the state dict lacks, or that are NaN there.

    Raises
    ------
    ValueError
        Listing what is unexpected or of another shape, and what is missing. Missing weights alone
        do not raise, unless all are.
    """
    own = module.state_dict()
    mismatched = [key for key in own if key in state and state[key].shape != own[key].shape]
    fitting = {
        key: value
        for key, value in state.items()
        if key not in mismatched and not value.isnan().any()
    }
    # Modules rename what old versions of themselves called otherwise, so the verdict is theirs.
    absent, unexpected = module.load_state_dict(fitting, strict=False)
    # Integers are no weights: counters, and indices as the module itself makes them.
    weights = [key for key in own if own[key].is_floating_point()]
    missing = [key for key in weights if key in absent and key not in mismatched]
    emptied = tuple(_holders(missing) - _holders(own.keys() - set(missing)))
    strangers = [
        key
        for key in unexpected
        if state[key].is_floating_point()
        and not (state[key].ndim == 0 and "." not in key)
        and not _BESIDE.match(key)
        and not key.startswith(emptied)
    ]
    if strangers or mismatched or len(missing) == len(weights):
        problems = {
            "missing": missing,
            "unexpected": strangers,
            "of another shape": [
                f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
                for key in mismatched
            ],
        }
        listed = "; ".join(f"{len(k)} {what}: {_few(k)}" for what, k in problems.items() if k)
        raise ValueError(f"the weights of {origin} do not fit {type(module).__name__}: {listed}")
    for key in missing:
        own[key].fill_(torch.nan)
    return missing


def _holders(names: Iterable[str]) -> set[str]:
    """Modules that hold what is so named, themselves or in one of theirs, each with its dot."""
    return {name[: at + 1] for name in names for at, sign in enumerate(name) if sign == "."}


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        _refuse_archives(path)
        with torch.serialization.safe_globals([argparse.Namespace]):  # names and values, no code
            return torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from error
    except Exception as error:  # the restricted unpickler has no error class of its own
        odd = re.search(r"GLOBAL ([\w.]{1,80})", str(error))
        raise ValueError(
            f"{path} was refused ({type(error).__name__}): it is damaged, or holds something "
            f"other than tensors and plain containers{f' ({odd[1]})' if odd else ''}. Nothing in "
            "it was executed. Save the state dict alone, torch.save(model.state_dict(), ...), or "
            "better as .safetensors; of a checkpoint that you trust, "
            'torch.load(FILE, weights_only=False)["state_dict"]'
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


def _plain_name(pieces: list[str], wrappers: set[str]) -> str:
    """Undo what wrappers did to a name, and that torchvision's DenseNets were called otherwise."""
    kept = [piece for piece in pieces if piece not in wrappers]
    return _OLD_DENSENET.sub(r"\1\2.", ".".join(kept))


def _is_same(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def _few(names: list[str], limit: int = 4) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
