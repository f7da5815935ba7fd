"""MATLAB files: what SciPy reads is read alike, and what would harm it is refused."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.io import loadmat, savemat

from analysis.data import matlab
from analysis.data.matlab import read_matlab

numbers = npst.arrays(
    st.sampled_from(
        [np.dtype(kind) for kind in ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")]
    ),
    npst.array_shapes(min_dims=2, max_dims=3, min_side=0, max_side=4),
)
_letters = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=9)
texts = st.lists(_letters, min_size=1, max_size=3).map(np.array)


def _cells(parts: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(parts, min_size=1, max_size=4).map(_of_objects)


def _of_objects(parts: list[Any]) -> np.ndarray:
    made = np.empty(len(parts), object)
    for number, part in enumerate(parts):
        made[number] = part
    return made


def _structures(parts: st.SearchStrategy) -> st.SearchStrategy:
    rows = st.lists(st.tuples(parts, parts), min_size=1, max_size=3)
    return rows.map(lambda rows: np.array(rows, [("a", object), ("words", object)]))


values = st.recursive(
    numbers | texts, lambda parts: _cells(parts) | _structures(parts), max_leaves=6
)


def assert_alike(ours: Any, theirs: Any) -> None:
    """Equal in shape and values; SciPy gives numbers in the type in which they were packed."""
    assert np.shape(ours) == np.shape(theirs)
    if np.asarray(theirs).dtype.names is not None:
        assert ours.dtype.names == theirs.dtype.names
        for name in theirs.dtype.names:
            assert_alike(ours[name], theirs[name])
    elif np.asarray(theirs).dtype == object:
        for place in np.ndindex(theirs.shape):
            assert_alike(ours[place], theirs[place])
    else:
        np.testing.assert_array_equal(ours, theirs)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=values, packed=st.booleans(), squeeze=st.booleans())
def test_what_is_written_is_read_as_by_scipy(tmp_path, value, packed, squeeze):
    file = tmp_path / "x.mat"
    savemat(file, {"other": 3.0, "x": value}, do_compression=packed)
    (ours,) = read_matlab(file, "x", squeeze=squeeze)
    theirs = np.atleast_1d(loadmat(file, squeeze_me=squeeze)["x"])
    assert_alike(ours, theirs)
    if theirs.dtype.kind in "fiu" and not squeeze:
        assert ours.dtype == value.dtype


def test_lent_files_are_read_as_by_scipy(lent_data):
    files = sorted((lent_data / "office_caltech10_surf").glob("*.mat"))
    assert files
    for file in files:
        theirs = loadmat(file)
        for name, ours in zip(("fts", "labels"), read_matlab(file, "fts", "labels"), strict=True):
            assert_alike(ours, theirs[name])


class Writer:
    """Elements of a file, in an order of bytes."""

    def __init__(self, order: str = "<") -> None:
        self.order = order

    def element(self, kind: int, content: bytes, size: int | None = None) -> bytes:
        tag = struct.pack(f"{self.order}II", kind, len(content) if size is None else size)
        return tag + content + (b"" if kind == 15 else b"\0" * (-len(content) % 8))

    def integers(self, *values: int) -> bytes:
        return self.element(5, struct.pack(f"{self.order}{len(values)}i", *values))

    def matrix(self, kind: int, shape: tuple[int, ...], *parts: bytes, name: str = "x") -> bytes:
        flags = self.element(6, struct.pack(f"{self.order}II", kind, 0))
        named = self.element(1, name.encode())
        return self.element(14, b"".join([flags, self.integers(*shape), named, *parts]))

    def doubles(self, *values: float, kind: int = 9) -> bytes:
        return self.element(kind, struct.pack(f"{self.order}{len(values)}d", *values))

    def file(self, folder: Path, *variables: bytes) -> Path:
        mark = {"<": b"\0\1IM", ">": b"\1\0MI"}[self.order]
        file = folder / "x.mat"
        file.write_bytes(b"MATLAB 5.0".ljust(124) + mark + b"".join(variables))
        return file


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_orders_of_bytes(order, tmp_path):
    write = Writer(order)
    text = write.element(4, "né".encode("utf-16-le" if order == "<" else "utf-16-be"))
    rows = write.element(16, "acébdf".encode())
    file = write.file(
        tmp_path,
        write.matrix(6, (1, 2), write.doubles(1.5, -2)),
        write.matrix(4, (1, 2), text, name="t"),
        write.matrix(4, (2, 3), rows, name="rows"),
    )
    x, t, two = read_matlab(file, "x", "t", "rows")
    np.testing.assert_array_equal(x, [[1.5, -2]])
    assert t.tolist() == ["né"]
    assert two.tolist() == ["aéd", "cbf"]
    assert_alike(x, loadmat(file)["x"])


def test_types_that_do_not_exist_are_refused(tmp_path, withstood):
    """Such a number ends the process that reads it by SciPy."""
    write, tried = Writer(), 0
    for kind in [*range(40), 255, 256, 65535, 65536 * 9 + 9, 2**31, 2**32 - 1]:
        if kind in (9, 12, 13):  # of eight bytes, as what is there
            continue
        file = write.file(tmp_path, write.matrix(6, (1, 1), write.doubles(1, kind=kind)))
        with pytest.raises(ValueError, match=r"x\.mat cannot be read as a MATLAB file: "):
            read_matlab(file, "x")
        tried += 1
    withstood("attack", "A MATLAB file names types that do not exist", tried=tried)


_W = Writer()
_ONE = _W.matrix(6, (1, 1), _W.doubles(1), name="")
_EMPTY = _W.element(14, b"")
_NAMES = _W.integers(4) + _W.element(1, b"a\0\0\0b\0\0\0")


def _deep(n: int) -> bytes:
    inner = _ONE
    for _ in range(n):
        inner = _W.matrix(1, (1, 1), inner)
    return inner


HOSTILE = {
    "numbers that are not there": (_W.matrix(6, (2**8, 2**8), _W.doubles(1)), "values, got 1"),
    "more numbers than fit": (_W.matrix(6, (2**30, 2**30), _W.doubles(1)), "holds more than"),
    "a negative size": (_W.matrix(6, (-1, -1), _W.doubles(1)), "two dimensions or more"),
    "one dimension": (_W.matrix(6, (1,), _W.doubles(1)), "two dimensions or more"),
    "cells that are not there": (_W.matrix(1, (10, 10), _EMPTY), "ends before its values"),
    "too many cells": (_W.matrix(1, (2**16, 2**16), _EMPTY), "more than 1024 cells"),
    "cells in cells": (_deep(33), "more than 32 deep"),
    "a size beyond the end": (_W.element(14, b"12345678", size=2**31), "longer than what is there"),
    "no values": (_W.matrix(6, (1, 1)), "ends before its values"),
    "an element that is no variable": (_W.doubles(1), "expected a variable"),
    "a cut tag": (_ONE + b"\0\0\0", "in the middle of a tag"),
    "text of numbers": (_W.matrix(4, (1, 1), _W.doubles(1)), "expected text"),
    "text that is none": (_W.matrix(4, (1, 1), _W.element(16, b"\xff")), "can't decode"),
    "text of another size": (_W.matrix(4, (2, 2), _W.element(16, b"abc")), "values, got 3"),
    "text without end": (
        _W.matrix(4, (1, 9), _W.element(16, bytes(2**10 + 1))),
        "text of more than 1024 bytes",
    ),
    "bytes that become doubles": (
        _W.matrix(6, (1, 2**18), _W.element(2, bytes(2**18))),
        "holds more than 1048576 bytes",
    ),
    "sparse numbers": (_W.matrix(5, (1, 1), _W.doubles(1)), "class 5, which is not read"),
    "an opaque object": (_W.matrix(17, (1, 1), _ONE), "class 17, which is not read"),
    "complex numbers": (_W.matrix(6 + 0x800, (1, 1), _W.doubles(1)), "complex, which is not read"),
    "the same name twice": (_W.matrix(6, (1, 1), _W.doubles(1)) * 2, "'x' twice"),
    "fields of the same name": (
        _W.matrix(2, (1, 1), _W.integers(4), _W.element(1, b"a\0\0\0" * 2), _ONE, _ONE),
        "different names",
    ),
    "fields without names": (
        _W.matrix(2, (1, 1), _W.integers(0), _W.element(1, b"")),
        "length of its fields' names",
    ),
    "fields that are not there": (_W.matrix(2, (1, 1), _NAMES, _ONE), "ends before its values"),
    "too many structures": (_W.matrix(2, (2**15, 2**15), _NAMES), "more than 1024 cells"),
    "a compressed variable that is cut": (
        _W.element(15, zlib.compress(_ONE * 9)[:-5]),
        "is cut off",
    ),
    "a compressed variable that is none": (_W.element(15, b"12345678"), "Error -3"),
    "compression in compression": (
        _W.element(15, zlib.compress(_W.element(15, zlib.compress(_ONE)))),
        "expected a variable",
    ),
    "a MiB of zeros": (
        _W.element(15, zlib.compress(_W.element(14, bytes(2**20)))),
        "holds more than 1048576 bytes",
    ),
    "many times a quarter of that": (
        _W.element(15, zlib.compress(_W.matrix(6, (1, 1), bytes(2**18), name="y"))) * 5,
        "holds more than 1048576 bytes",
    ),
    "a MiB that is not compressed": (_W.element(14, bytes(2**20)), "holds more than 1048576 bytes"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files_are_refused(what, tmp_path, monkeypatch, withstood):
    monkeypatch.setattr(matlab, "_MOST", 2**20)
    monkeypatch.setattr(matlab, "_MOST_PARTS", 2**10)
    content, message = HOSTILE[what]
    with pytest.raises(ValueError, match=rf"x\.mat cannot be read as a MATLAB file: .*{message}"):
        read_matlab(_W.file(tmp_path, content), "x")
    withstood("attack", "A MATLAB file claims what is not so", tried=1)


def test_no_more_is_unpacked_than_may_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(matlab, "_MOST", 2**20)
    bomb = _W.file(tmp_path, _W.element(15, zlib.compress(bytes(2**26))))
    tracemalloc.start()
    with pytest.raises(ValueError, match="holds more than 1048576 bytes"):
        read_matlab(bomb, "x")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2**23


def test_parts_are_counted_over_all_cells(tmp_path, monkeypatch):
    monkeypatch.setattr(matlab, "_MOST_PARTS", 10)
    cells = _W.matrix(1, (4, 1), *[_EMPTY] * 4, name="")
    assert read_matlab(_W.file(tmp_path, _W.matrix(1, (2, 1), cells, cells)), "x")[0].size == 2
    with pytest.raises(ValueError, match="more than 10 cells and fields"):
        read_matlab(_W.file(tmp_path, _W.matrix(1, (3, 1), *[cells] * 3)), "x")


def test_other_versions_and_files_are_refused(tmp_path):
    file = tmp_path / "x.mat"
    file.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")
    with pytest.raises(ValueError, match="save it with -v7"):
        read_matlab(file, "x")
    for content in (b"", b"<html>", bytes(200)):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"x\.mat cannot .* expected the header of version 5"):
            read_matlab(file, "x")
    with pytest.raises(FileNotFoundError):
        read_matlab(tmp_path / "y.mat", "x")
    with pytest.raises(ValueError, match=r"expected y and x in .*x\.mat, but \['y'\] is missing"):
        read_matlab(_W.file(tmp_path, _W.matrix(6, (1, 1), _W.doubles(1))), "y", "x")
