"""Variables of MATLAB files, which can claim to hold more than memory does."""

from __future__ import annotations

import errno
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["read_matlab"]

_MOST = 1 << 28  # bytes: label files and features of some thousand images
_HEADER = 128  # bytes
_COMPRESSED = 15  # type of an element
_PIECE = 1 << 20


def read_matlab(file: Path, *names: str, squeeze: bool = False) -> list[npt.NDArray[np.generic]]:
    """Read variables of a MATLAB file (version 5); nothing in it is executed.

    Parameters
    ----------
    file : Path
        The file.
    *names : str
        Which variables.
    squeeze : bool
        Leave out dimensions of size 1.

    Returns
    -------
    list of ndarray
        One for each name.

    Raises
    ------
    ValueError
        If it is no such file or damaged, lacks a variable, or holds more than 256 MiB.
    OSError
        If it cannot be opened.
    """
    from scipy.io import loadmat  # slow to import, and seldom needed

    try:
        _refuse_bomb(file)
        # A name without the ending .mat would be looked for under another one.
        content = loadmat(file, squeeze_me=squeeze, variable_names=list(names), appendmat=False)
    except Exception as error:  # damaged files meet nearly anything in the reader
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        told = str(error) or type(error).__name__
        raise ValueError(f"{file} cannot be read as a MATLAB file: {told}") from error
    missing = sorted(set(names) - content.keys())
    if missing:
        raise ValueError(f"expected {' and '.join(names)} in {file}, but {missing} is missing")
    return [np.atleast_1d(content[name]) for name in names]


def _refuse_bomb(file: Path) -> None:
    """Add up what the elements unpack to, without keeping it."""
    with file.open("rb") as opened:
        order = {b"IM": "<", b"MI": ">"}.get(opened.read(_HEADER)[126:])
        left = _MOST
        while order and len(tag := opened.read(8)) == 8:
            kind, size = struct.unpack(f"{order}II", tag)
            if kind != _COMPRESSED:
                left -= size
                opened.seek(size, 1)
            else:
                left -= _unpacked(opened.read(min(size, _MOST)), left)
            if left < 0:
                raise ValueError(f"it holds more than {_MOST} bytes")


def _unpacked(element: bytes, most: int) -> int:
    """Size of a compressed element, counted up to a little more than ``most``."""
    unpacking, size = zlib.decompressobj(), 0
    while size <= most and (element or not size):
        piece = unpacking.decompress(element, _PIECE)
        size, element = size + len(piece), unpacking.unconsumed_tail
        if not piece:
            break
    return size
