"""A fitted embedding in a folder: numbers as safetensors, all else as JSON.

Neither format can hold anything that is executed when it is read. The JSON is written last and
holds the checksum of the numbers, so that a half-written folder is not taken for a whole one.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

Array = NDArray[Any]

FORMAT, VERSION = "layerbook full-network embedding", 1
FACTS, NUMBERS = "embedding.json", "embedding.safetensors"

_TYPES: dict[str, tuple[type, ...]] = {
    "format": (str,),
    "format_version": (int,),
    "lower": (float,),
    "upper": (float,),
    "layers": (list, type(None)),
    "feature_layers": (list, type(None)),
    "kept_layers": (list, type(None)),
    "n_features_in": (int,),
    "feature_names_in": (list, type(None)),
    "provenance": (dict,),
    "classes": (list,),
    "versions": (dict,),
    "numbers_sha256": (str,),
}
_NAMES = ("layers", "feature_layers", "kept_layers", "feature_names_in", "classes")
_MOST = 2**31  # features; their names may be made from their number
_TENSORS = {"mean": np.dtype(np.float64), "scale": np.dtype(np.float64), "kept": np.dtype(np.int64)}


def write_embedding(folder: Path, tensors: dict[str, Array], facts: dict[str, Any]) -> Path:
    """Write both files, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = save({name: np.ascontiguousarray(tensors[name]) for name in _TENSORS})
    head = {"format": FORMAT, "format_version": VERSION}
    checksum = {"numbers_sha256": hashlib.sha256(numbers).hexdigest()}
    text = json.dumps(head | facts | checksum, indent=1, allow_nan=False, ensure_ascii=False)
    for name, content in ((NUMBERS, numbers), (FACTS, f"{text}\n".encode())):
        partial = folder / f".{name}.{os.getpid()}.part"
        partial.write_bytes(content)
        partial.replace(folder / name)
    return folder


def read_embedding(folder: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read both files and check that they hold what was written.

    Raises
    ------
    FileNotFoundError
        If one is missing.
    ValueError
        Another format or version, unknown or missing names, other types or sizes, another checksum.
    """
    for name in (FACTS, NUMBERS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} is no saved embedding: it lacks {name}")
    facts = _checked_facts(folder / FACTS)
    content = (folder / NUMBERS).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != facts["numbers_sha256"]:
        raise ValueError(
            f"{folder / NUMBERS} is not the file that {FACTS} was written with: expected SHA-256 "
            f"{facts['numbers_sha256']}, got {found}; save the embedding again"
        )
    try:
        tensors: dict[str, Array] = load(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{folder / NUMBERS} is not a safetensors file ({error})") from error
    _check_tensors(tensors, facts, folder / NUMBERS)
    return tensors, facts


def plain_json(value: Any) -> Any:
    """Turn NumPy's numbers and arrays into Python's, and what JSON does not know into text."""
    if isinstance(value, np.generic | np.ndarray):
        return plain_json(value.tolist())
    if isinstance(value, list | tuple):
        return [plain_json(each) for each in value]
    if isinstance(value, dict):
        return {str(name): plain_json(each) for name, each in value.items()}
    known = value is None or isinstance(value, bool | int | str)
    return value if known or (isinstance(value, float) and np.isfinite(value)) else str(value)


def _checked_facts(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or too deep
        raise ValueError(f"{path} is not JSON ({error})") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise ValueError(f"{path} is not a {FORMAT}")
    if facts.get("format_version") != VERSION:
        raise ValueError(
            f"{path}: expected format version {VERSION}, got {facts.get('format_version')!r}: read "
            "it with the version of Layerbook that wrote it"
        )
    if set(facts) != set(_TYPES):
        unknown, missing = sorted(set(facts) - set(_TYPES)), sorted(set(_TYPES) - set(facts))
        raise ValueError(f"{path}: unknown entries {unknown}, missing entries {missing}")
    _check_types(facts, path)
    return facts


def _check_types(facts: dict[str, Any], path: Path) -> None:
    for name, types in _TYPES.items():
        if type(facts[name]) not in types:
            kinds = " or ".join(kind.__name__ for kind in types)
            raise ValueError(f"{path}: expected {name} to be {kinds}, got {facts[name]!r:.60}")
    for name in _NAMES:
        if not all(isinstance(each, str) for each in facts[name] or ()):
            raise ValueError(f"{path}: expected {name} to be a list of names")
    n = facts["n_features_in"]
    if not 0 < n <= _MOST:
        raise ValueError(f"{path}: expected 1 to {_MOST} features, got {n}")
    for name in ("feature_layers", "feature_names_in"):
        if facts[name] is not None and len(facts[name]) != n:
            raise ValueError(f"{path}: expected {n} {name}, got {len(facts[name])}")


def _check_tensors(tensors: dict[str, Array], facts: dict[str, Any], path: Path) -> None:
    if set(tensors) != set(_TENSORS):
        raise ValueError(f"{path}: expected the tensors {sorted(_TENSORS)}, got {sorted(tensors)}")
    for name, dtype in _TENSORS.items():
        if tensors[name].dtype != dtype or tensors[name].shape != (tensors["kept"].size,):
            raise ValueError(
                f"{path}: expected {name} as {dtype} of shape ({tensors['kept'].size},), got "
                f"{tensors[name].dtype} of shape {tensors[name].shape}"
            )
    kept, n = tensors["kept"], facts["n_features_in"]
    if kept.size == 0 or kept.min() < 0 or kept.max() >= n or (np.diff(kept) <= 0).any():
        raise ValueError(f"{path}: expected kept features in order, from 0 to {n - 1}")
    scale = tensors["scale"]
    if not np.isfinite(tensors["mean"]).all() or not np.isfinite(scale).all() or scale.min() < 0:
        raise ValueError(f"{path}: expected finite means, and scales from 0")
