"""Weights: files of them by name, found among what else a checkpoint holds, put into a module.

And random ones, and the hash of either. Files are read in ways that cannot execute code:
safetensors, or PyTorch's loader restricted to tensors, which is given neither the archives of its
first versions (tar), in which it once could be made to, nor compressed ones, which unpack to more
than memory holds; PyTorch writes neither.

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
import hashlib
import re
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import pooch
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.overrides import TorchFunctionMode

from analysis import paths
from analysis.networks.cards import NETWORKS, NetworkCard
from analysis.networks.minivgg import MINIVGG_PREPROCESSING, minivgg16
from analysis.networks.preprocessing import Preprocessing

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
    with paths.written_whole(folder / name) as partial:
        try:
            pooch.retrieve(url, None, partial.name, folder, progressbar=progress)
        except Exception as error:  # pooch passes on whatever its downloader meets
            raise OSError(
                f"could not download {url} ({type(error).__name__}). On a machine with internet "
                f"access, download it and put it into {folder} or a folder named by "
                f"LAYERBOOK_WEIGHTS, as {name}; or pass weights='random', or the path of a file"
            ) from error
        _check_hash(partial, sha256_prefix)
    return folder / name


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

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        if getattr(func, "__name__", "") not in self._DRAWING:
            return func(*args, **options)
        tensor: torch.Tensor = args[0] if args else options["tensor"]
        self.addresses.add(tensor.data_ptr())
        with torch.no_grad():
            return tensor.zero_()


def _check_hash(path: Path, prefix: str) -> None:
    digest = sha256_of(path)
    if not digest.startswith(prefix):
        raise ValueError(
            f"{path} is not the published file: expected a SHA-256 that begins with {prefix}, got "
            f"{digest}. Delete it and download it again"
        )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    return str(pooch.file_hash(str(path), alg="sha256"))


#: Weights that are shipped, as ``NETWORK-KEYWORD.safetensors`` in :data:`BUNDLED`.
SHIPPED = ("bundled", "bundled-living")
#: Keywords of ``weights=``.
SOURCES = ("imagenet", "places365", "random", *SHIPPED)
#: Folder of the weights that are shipped, and of their model cards.
BUNDLED = Path(__file__).parent / "bundled"
# Networks whose constructors would draw weights slowly or warn, and whose published weights include
# auxiliary heads and expect inputs scaled as in their original training.
_AUXILIARY = {"init_weights": False, "aux_logits": True, "transform_input": True}


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
    from torchvision import models  # takes as long to load as PyTorch itself

    classifiers = models.list_models(module=models)
    if name not in classifiers:
        close = get_close_matches(str(name), {**NETWORKS, **dict.fromkeys(classifiers)}, n=3)
        hint = f" (did you mean {', '.join(close)}?)" if close else ""
        raise ValueError(
            f"unknown network {name!r}{hint}; known: {', '.join(NETWORKS)}, and every other "
            "classifier of torchvision (torchvision.models.list_models)"
        )
    published = [*models.get_model_weights(name)]
    alone = [entry for entry in published if entry.name == "IMAGENET1K_V1"]
    named = [entry for entry in published if entry.url.endswith(f"/{Path(weights).name}")]
    by_size = sorted(published, key=lambda entry: entry.transforms().crop_size[0])
    preprocessing = Preprocessing.from_torchvision([*named, *alone, *by_size][0].transforms())
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        options |= _AUXILIARY
    kind = signature(models.get_model_builder(name)).return_annotation
    if "image_size" in signature(kind).parameters:  # a transformer sees one size only
        options["image_size"] = preprocessing.crop
    return Network(
        name,
        partial(models.get_model, name, weights=None, **options),
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
    names, hint = [weights], ""
    if weights in SHIPPED:
        names = [str(BUNDLED / f"{network.name}-{weights}.safetensors")]
        hint = f". Shipped are {', '.join(sorted(path.stem for path in BUNDLED.glob('*.safe*')))}"
    elif weights == "imagenet":
        names = [f"{network.name}-imagenet.safetensors"]
    elif weights == "places365":  # without checksums, so that it is not downloaded
        names = [f"{network.name}_places365.pth.tar", f"{network.name}-places365.safetensors"]
        address = network.card.places365 if network.card else ""
        hint = f". Its authors publish {f'it at {address}' if address else 'none for PyTorch'}"
    elif not weights.endswith(SUFFIXES):
        raise ValueError(
            f"unknown weights {weights!r}; known: {', '.join(SOURCES)}, or a file that ends in "
            f"{', '.join(SUFFIXES)}"
        )
    file = next(filter(None, map(find_file, names)), None)
    if file is not None:
        return file, {"sha256": sha256_of(file)}
    if weights == "imagenet":
        file = _published_file(network, progress)
        return file, {"sha256": sha256_of(file), "address": network.imagenet}
    roots = paths.weights_roots()
    files = [file for root in roots if root.is_dir() for file in root.iterdir()]
    there = sorted(file.name for file in files if file.name.endswith(SUFFIXES))
    raise FileNotFoundError(
        f"no {weights} weights of {network.name}: looked for {' and '.join(names)} in the working "
        f"folder and in {', '.join(map(str, roots))}, where there are: "
        f"{', '.join(there) or 'none'}{hint}"
    )


def _published_file(network: Network, progress: bool) -> Path:
    prefix = re.search(r"-([0-9a-f]{8,})\.pth$", network.imagenet)
    if prefix is None:
        others = f"; weights trained on more than ImageNet: {' and '.join(network.others)}"
        raise ValueError(
            f"no ImageNet weights (IMAGENET1K_V1) of {network.name} are published; pass "
            f"weights='random' or the path of a file{others if network.others else ''}"
        )
    return retrieve(network.imagenet, sha256_prefix=prefix[1], progress=progress)


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
    mismatched = {
        key: f"{key} {tuple(state[key].shape)} instead of {tuple(value.shape)}"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    }
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
            "of another shape": [*mismatched.values()],
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
        return load_file(path) if path.suffix == ".safetensors" else load_restricted(path)
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


def load_restricted(path: Path) -> Any:
    """Read what PyTorch wrote: tensors, names and plain containers.

    Raises
    ------
    Exception
        Whatever the loader meets; and for tar archives and compressed ones, see the module.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("compressed members")
    elif tarfile.is_tarfile(path):
        raise ValueError("a tar archive")
    with torch.serialization.safe_globals([argparse.Namespace]):  # names and values, no code
        return torch.load(path, map_location="cpu", weights_only=True)


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
