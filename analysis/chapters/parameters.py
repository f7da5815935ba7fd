"""The parameters of a study: read from a file, checked, and taken apart.

A study file (``book/studies/*.yml``) holds exactly the parameters that a notebook declares, so
``papermill -f`` reads it as it is.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from analysis.data.readers import OWN

__all__ = ["PARAMETERS", "as_names", "read_study", "refuse_unknown_parameters", "split_network"]

PARAMETERS = (
    "title",
    "datasets",
    "networks",
    "crops",
    "seed",
    "reference_images",
    "results",
    "max_images",
)


def read_study(path: Path | str, **overrides: Any) -> dict[str, Any]:
    """Parameters of a study file.

    Parameters
    ----------
    path
        YAML file with any of the keys of :data:`PARAMETERS`.
    **overrides
        Values that replace those of the file; ``None`` leaves the file's.

    Returns
    -------
    dict
        Parameters as a notebook takes them.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not YAML, not a mapping, has a key that studies do not know, or a value of
        another kind.
    """
    path = Path(path)
    if not path.is_file():
        known = sorted(str(p) for p in path.parent.glob("*.yml")) if path.parent.is_dir() else []
        raise FileNotFoundError(f"no study file {path}; known there: {', '.join(known) or 'none'}")
    try:
        study = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(study, dict):
        raise ValueError(f"{path} should hold 'key: value' lines, but holds {type(study).__name__}")
    unknown = sorted(map(str, set(study) - set(PARAMETERS)))
    if unknown:
        raise ValueError(f"{path} has unknown keys {unknown}; known: {', '.join(PARAMETERS)}")
    for key, value in study.items():
        if not _fits(key, value):
            kind = dict.fromkeys(_NUMBERS, "a whole number") | dict.fromkeys(
                _LISTS, "a list of names"
            )
            raise ValueError(
                f"{path}: expected {key} to be {kind.get(key, 'a text')}, got "
                f"{type(value).__name__}"
            )
    return study | {key: value for key, value in overrides.items() if value is not None}


_LISTS = ("datasets", "networks", "reference_images")
_NUMBERS = ("seed", "max_images")


def _fits(key: str, value: object) -> bool:
    """Whether a value is of the kind that a parameter takes."""
    if key in _NUMBERS:
        return isinstance(value, int) and not isinstance(value, bool)
    if key in _LISTS and isinstance(value, list):
        return all(isinstance(name, str) for name in value)
    return isinstance(value, str)


def refuse_unknown_parameters(cells: Sequence[str]) -> None:
    """Stop a notebook that was given a parameter which it does not declare.

    Papermill warns and goes on, so that a misspelt parameter would silently leave the default.

    Parameters
    ----------
    cells
        Sources of the cells run so far: ``In`` inside a notebook. Papermill puts what it injects
        right after the declaring cell, under the comment ``# Parameters``.

    Raises
    ------
    ValueError
        Naming the unknown parameters and the known ones.
    """
    for declaring, injected in pairwise(cells):
        if injected.startswith("# Parameters\n"):
            known, given = _assigned(declaring), _assigned(injected)
            unknown = [name for name in given if name not in known]
            if unknown:
                raise ValueError(
                    f"unknown parameters {', '.join(unknown)}; this notebook takes: "
                    f"{', '.join(known)}"
                )


def _assigned(source: str) -> list[str]:
    """Names that a cell of plain assignments defines."""
    statements = ast.parse(source).body
    targets = [target for s in statements if isinstance(s, ast.Assign) for target in s.targets]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def split_network(spec: str) -> tuple[str, str]:
    """``NAME@WEIGHTS`` as ``(name, weights)``; ``NAME`` alone has ImageNet weights."""
    name, _, weights = spec.partition("@")
    return name, weights or "imagenet"


def as_names(what: str, value: Sequence[str] | str) -> list[str]:
    """Names given as a list, or as one string with commas.

    A comma is part of a name if the name is then that of a file or folder that exists, as in
    ``folder:/photos/cats,dogs`` or ``vgg16@/weights/a,b.pth``.

    Raises
    ------
    ValueError
        If there are none, one is no text, or one is named twice.
    """
    if value in (None, "None") or not isinstance(value, Sequence):
        raise ValueError(
            f"expected names of {what}, as a list or as one text with commas, got {value!r}; leave "
            "the parameter away for the study's own"
        )
    names = _split(value) if isinstance(value, str) else list(value)
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise ValueError(f"expected names of {what}, each a text, got {wrong[0]!r} among them")
    names = [name.strip() for name in names if name.strip()]
    if not names:
        raise ValueError(f"a study needs at least one of {what}, but got {value!r}")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{what} are named more than once: {', '.join(repeated)}")
    return names


def _split(value: str) -> list[str]:
    """Cut at the commas that are not in the name of what exists."""
    parts, names = value.split(","), []
    while parts:
        ends = range(len(parts), 1, -1)
        end = next((end for end in ends if _exists(",".join(parts[:end]))), 1)
        names.append(",".join(parts[:end]))
        del parts[:end]
    return names


def _exists(name: str) -> bool:
    spelled = re.match(rf"\s*(?:(?:{'|'.join(OWN)}):|[^,:@]+@)(.+)", name)
    path = "" if spelled is None else Path(spelled[1].strip()).expanduser()
    return os.path.exists(path)  # noqa: PTH110 - false for what no file can be called
