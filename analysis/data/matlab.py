"""Variables of MATLAB files (version 5), read without trusting a byte of them.

SciPy's reader is not hardened, as its documentation says: a data type that does not exist ends the
process. So this one is our own. Everything that a file claims is compared with the bytes that are
there, before memory is taken for it.

References
----------
MathWorks, *MAT-File Format*, chapter "Level 5 MAT-file format".
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["read_matlab"]

_MOST = 1 << 28  # bytes: label files and features of some thousand images
_MOST_PARTS = 1 << 20  # cells and fields; bytes of a text
_DEEPEST = 32  # cells in cells
_HEADER, _TAG = 128, 8  # bytes
_MATRIX, _COMPRESSED = 14, 15  # types of elements; others are of numbers or text
_NUMBERS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_TEXTS = {2: "latin-1", 4: "utf-16-{}", 16: "utf-8", 17: "utf-16-{}", 18: "utf-32-{}"}
_CELL, _STRUCT, _CHAR = 1, 2, 4  # classes of variables; others are of numbers
_CLASSES = {
    6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip
_COMPLEX = 0x0800

Array = npt.NDArray[Any]


def read_matlab(file: Path, *names: str, squeeze: bool = False) -> list[Array]:
    """Read variables of a MATLAB file (version 5); nothing in it is executed.

    Parameters
    ----------
    file : Path
        The file.
    *names : str
        Which variables: real numbers, text, cells, and structures of these.
    squeeze : bool
        Leave out dimensions of size 1, also inside cells and structures; one number, text or cell
        in them is itself then, and no array.

    Returns
    -------
    list of ndarray
        One for each name, of at least one dimension. Cells are arrays of objects, structures have
        a field of objects for each of theirs, and of text the last dimension is one string.

    Raises
    ------
    ValueError
        If it is no such file or damaged, lacks a variable, or holds more than 256 MiB.
    OSError
        If it cannot be opened.
    """
    try:
        found = _variables(file, set(names))
    except (ValueError, zlib.error) as error:
        raise ValueError(f"{file} cannot be read as a MATLAB file: {error}") from error
    missing = sorted(set(names) - found.keys())
    if missing:
        raise ValueError(f"expected {' and '.join(names)} in {file}, but {missing} is missing")
    return [np.atleast_1d(_squeezed(found[name]) if squeeze else found[name]) for name in names]


def _variables(file: Path, names: set[str]) -> dict[str, Array]:
    if file.stat().st_size > _MOST:
        raise ValueError(f"it holds more than {_MOST} bytes")
    content = file.read_bytes()
    if content.startswith(b"MATLAB 7.3"):
        raise ValueError("expected version 5, got 7.3: save it with -v7")
    order = {b"IM": "<", b"MI": ">"}.get(content[_HEADER - 2 : _HEADER])
    if order is None:
        raise ValueError("expected the header of version 5")
    found: dict[str, Array] = {}
    parts = iter(range(_MOST_PARTS))
    for content_of_one in _matrices(_unpacked(memoryview(content)[_HEADER:], order)):
        variable = _Variable(content_of_one, order, parts)
        if variable.name in found:
            raise ValueError(f"it holds {variable.name!r} twice")
        if variable.name in names:
            found[variable.name] = variable.values(depth=0)
    return found


class _Element(NamedTuple):
    kind: int
    content: memoryview


def _elements(content: memoryview, order: str) -> Iterator[_Element]:
    """Cut bytes into elements: a type, a size, and that many bytes, filled up to eight."""
    at = 0
    while at < len(content):
        if at + _TAG > len(content):
            raise ValueError("it ends in the middle of a tag")
        kind, size = struct.unpack_from(f"{order}II", content, at)
        start, small = at + _TAG, kind >> 16
        if small:  # size and content are in the tag
            kind, size, start = kind & 0xFFFF, small, at + 4
        if size > (4 if small else len(content) - start):
            raise ValueError(f"an element of {size} bytes is longer than what is there")
        yield _Element(kind, content[start : start + size])
        at = start + (4 if small else size if kind == _COMPRESSED else size + -size % 8)


def _unpacked(content: memoryview, order: str) -> Iterator[_Element]:
    """Yield the variables, and unpack those that are compressed."""
    left = _MOST
    for element in _elements(content, order):
        inner = element.content
        if element.kind != _COMPRESSED:
            yield element
        else:
            unpacking = zlib.decompressobj()
            inner = memoryview(unpacking.decompress(inner, left + 1))
            if len(inner) <= left and not unpacking.eof:
                raise ValueError("a compressed variable is cut off")
        left -= len(inner)
        if left < 0:
            raise ValueError(f"it holds more than {_MOST} bytes")
        if element.kind == _COMPRESSED:
            yield from _elements(inner, order)


def _matrices(elements: Iterator[_Element]) -> Iterator[memoryview]:
    for element in elements:
        if element.kind != _MATRIX:
            raise ValueError(f"expected a variable, got an element of type {element.kind}")
        yield element.content


class _Variable:
    """A variable, or a part of one: flags, dimensions and name first, then its values.

    Attributes
    ----------
    name : str
        Empty, for a part.
    """

    def __init__(self, content: memoryview, order: str, parts: Iterator[int]) -> None:
        self._order, self._parts = order, parts
        self._elements = _elements(content, order)
        flags = self._integers()
        if flags.size != 2:
            raise ValueError(f"expected two words of flags, got {flags.size}")
        self._class, self._complex = int(flags[0]) & 0xFF, bool(int(flags[0]) & _COMPLEX)
        self._shape = tuple(self._integers().tolist())
        if len(self._shape) < 2 or min(self._shape) < 0:
            raise ValueError(f"expected two dimensions or more, got {self._shape}")
        self.name = bytes(self._next().content).decode("ascii")

    def values(self, depth: int) -> Array:
        """Read the values; of cells and structures, those of their parts."""
        if depth > _DEEPEST:
            raise ValueError(f"cells are in cells more than {_DEEPEST} deep")
        if self._class in _CLASSES and not self._complex:
            return self._real()
        if self._class == _CHAR:
            return self._text()
        if self._class == _CELL:
            return self._shaped(self._cells(1, depth)[:, 0])
        if self._class == _STRUCT:
            return self._structure(depth)
        kind = "complex" if self._complex else f"of class {self._class}"
        raise ValueError(f"{self.name!r} is {kind}, which is not read")

    def _shaped(self, values: Array) -> Array:
        """Give values their dimensions, of which the first is the fastest."""
        if values.size != prod(self._shape):
            raise ValueError(f"expected {self._shape} values, got {values.size}")
        return values.reshape(self._shape, order="F")

    def _next(self) -> _Element:
        for element in self._elements:
            return element
        raise ValueError("a variable ends before its values")

    def _numbers(self) -> Array:
        kind, content = self._next()
        if kind not in _NUMBERS:
            raise ValueError(f"expected numbers, got an element of type {kind}")
        return np.frombuffer(content, np.dtype(self._order + _NUMBERS[kind]))

    def _integers(self) -> Array:
        found = self._numbers()
        if found.dtype.kind not in "iu":
            raise ValueError(f"expected integers, got {found.dtype}")
        return found

    def _real(self) -> Array:
        kind = np.dtype(_CLASSES[self._class])
        if kind.itemsize * prod(self._shape) > _MOST:  # packed into fewer bytes than it takes
            raise ValueError(f"it holds more than {_MOST} bytes")
        return self._shaped(self._numbers()).astype(kind)

    def _text(self) -> Array:
        *rows, length = self._shape
        if prod(self._shape) == 0:
            return np.empty(0, "U1")
        kind, content = self._next()
        if kind not in _TEXTS:
            raise ValueError(f"expected text, got an element of type {kind}")
        if len(content) > _MOST_PARTS:
            raise ValueError(f"it has a text of more than {_MOST_PARTS} bytes")
        text = bytes(content).decode(_TEXTS[kind].format({"<": "le", ">": "be"}[self._order]))
        if prod(rows) == 1:  # of any number of bytes for a character
            return np.array([text]).reshape(rows)
        letters = self._shaped(np.array(list(text))).reshape(-1, length)
        return np.array(["".join(row) for row in letters]).reshape(rows)

    def _structure(self, depth: int) -> Array:
        length, names = self._integers(), bytes(self._next().content)
        if length.size != 1 or length[0] < 1 or not names or len(names) % length[0]:
            raise ValueError("expected the length of its fields' names, and names of that length")
        each = (names[at : at + length[0]] for at in range(0, len(names), int(length[0])))
        fields = [name.split(b"\0")[0].decode("ascii") for name in each]
        if len(set(fields)) < len(fields) or "" in fields:
            raise ValueError(f"expected fields of different names, got {fields}")
        cells = self._cells(len(fields), depth)
        made = np.empty(self._shape, [(name, object) for name in fields])
        for name, values in zip(fields, cells.T, strict=True):
            made[name] = self._shaped(values)
        return made

    def _cells(self, fields: int, depth: int) -> Array:
        """Read as many parts as there are values and fields, shape (values, fields)."""
        size = prod(self._shape)
        if size * fields > _MOST_PARTS:
            raise ValueError(f"it has more than {_MOST_PARTS} cells and fields")
        made = np.empty((size, fields), object)
        for place, content in zip(np.ndindex(made.shape), _matrices(self._elements), strict=False):
            if next(self._parts, None) is None:
                raise ValueError(f"it has more than {_MOST_PARTS} cells and fields")
            part = _Variable(content, self._order, self._parts) if len(content) else None
            made[place] = np.empty((0, 0)) if part is None else part.values(depth + 1)
        if any(value is None for value in made.flat):
            raise ValueError("a variable ends before its values")
        return made


def _squeezed(values: Array) -> Any:
    """Leave out dimensions of size 1; of one number, text or cell, leave what it holds."""
    for field in values.dtype.names or ([...] if values.dtype.hasobject else []):
        each = values[field]
        for place in np.ndindex(each.shape):
            each[place] = _squeezed(each[place])
    if values.size == 0:
        return values.reshape(0)
    if values.size == 1 and values.dtype.names is None:
        return values.item()
    return values.squeeze()
