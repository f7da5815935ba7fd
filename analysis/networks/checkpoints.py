"""Checkpoints of a training: written whole, and taken up only by the run that they belong to."""

from __future__ import annotations

import errno
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import torch

__all__ = ["read_checkpoint", "write_checkpoint", "write_whole"]

State = dict[str, Any]


def write_checkpoint(file: Path, run: str, state: State) -> None:
    """Write a checkpoint.

    Parameters
    ----------
    file
        Replaced, once the new one is whole.
    run
        JSON of an object: what tells this run from others.
    state
        Tensors and plain containers.
    """
    buffer = io.BytesIO()
    torch.save({"run": run, **state}, buffer)
    write_whole(file, buffer.getvalue())


def read_checkpoint(file: Path, run: str) -> State | None:
    """Read a checkpoint; None where there is none. Nothing in the file is executed.

    Parameters
    ----------
    file
        Where it may be.
    run
        What :func:`write_checkpoint` was given.

    Raises
    ------
    ValueError
        If the file is damaged, or belongs to another run; the message says what differs.
    """
    if not file.exists():
        return None
    try:
        with zipfile.ZipFile(file) as archive:  # PyTorch does not look at the checksums
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError  # PyTorch does not compress; what is could fill the memory
            if archive.testzip() is not None:
                raise zipfile.BadZipFile
        state: State = torch.load(file, map_location="cpu", weights_only=True)
        theirs, ours = json.loads(state.pop("run")), json.loads(run)
        if not isinstance(theirs, dict) or not isinstance(theirs.get("recipe", {}), dict):
            raise TypeError
    except Exception as error:  # the restricted unpickler has no error class of its own
        # A damaged file may lead to a place before its start, which is invalid.
        if isinstance(error, MemoryError) or getattr(error, "errno", errno.EINVAL) != errno.EINVAL:
            raise
        raise ValueError(
            f"{file} is damaged, or no checkpoint of a training ({type(error).__name__}). Remove "
            "it to start afresh, or choose another folder"
        ) from None
    if theirs != ours:
        raise ValueError(
            f"{file} belongs to another run: {_differences(theirs, ours)}. Choose another folder, "
            "or remove the file to start afresh"
        )
    return state


def write_whole(file: Path, content: bytes) -> None:
    """Write a file so that it is there whole or, if interrupted, as it was before."""
    partial = file.with_name(file.name + ".part")
    try:
        partial.write_bytes(content)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def _differences(theirs: State, ours: State) -> str:
    """Say what differs between two runs."""
    theirs, ours = (run | run.get("recipe", {}) | {"recipe": None} for run in (theirs, ours))
    found = [
        f"{key.replace('_', ' ')} {theirs.get(key)} there, {ours.get(key)} here"
        for key in sorted(theirs.keys() | ours.keys())
        if key != "task" and theirs.get(key) != ours.get(key)
    ]
    if theirs.get("task") != ours.get("task"):
        found.append("other images or classes there")
    return "; ".join(found)
