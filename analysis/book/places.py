"""Folders that are built in: by one process at a time, and cleared of what a dead one left."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

__all__ = ["one_at_a_time", "remove_leftovers"]

_LOG = logging.getLogger(__name__)


@contextmanager
def one_at_a_time(lock: Path, folder: Path, *, progress: bool = True) -> Iterator[None]:
    """Wait until no other process builds into a folder, then keep others waiting.

    Parameters
    ----------
    lock
        File that stands for the folder; the system frees it when a process dies.
    folder
        What to call it, should it be taken.
    progress
        Whether to say that it is taken.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        if progress:
            tqdm.write(f"Another process builds into {folder}; waiting until it has finished.")
        held.acquire()
    try:
        yield
    finally:
        held.release()


def remove_leftovers(folder: Path, prefix: str) -> None:
    """Remove sub-folders of unfinished work, while their lock is held: their process is dead."""
    for leftover in folder.glob(f"{prefix}*"):
        _LOG.info("removing %s, left by a process that was killed", leftover)
        shutil.rmtree(leftover, ignore_errors=True)
