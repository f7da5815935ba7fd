"""MATLAB files: SciPy reads those that it has written, and what would harm it ends in an error."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from analysis.data import matlab
from analysis.data.matlab import read_matlab

ROWS = [(1, "n01", [1.0, 2.0]), (2, "n02", [3.0])]
SYNSETS = np.array(ROWS, [("ID", object), ("WNID", object), ("children", object)])


@pytest.mark.parametrize("verified", [True, False])
@pytest.mark.parametrize(("version", "packed"), [("4", False), ("5", False), ("5", True)])
def test_every_version_is_read(version, packed, verified, tmp_path):
    """The process of its own gives what this one gives."""
    numbers = np.arange(6.0).reshape(2, 3) / 7
    content = {"x": numbers, "name": "n\xe9e", "other": 3.0, "three": [[1, 2, 3]]}
    if version == "5":
        small = np.array([[1], [255]], np.uint8)
        cells = np.array(["a", 2.0, [1, 2]], object)
        content |= {"synsets": SYNSETS.reshape(-1, 1), "small": small, "cells": cells}
    else:
        content["name"] = "nee"
    file = tmp_path / "x.mat"
    savemat(file, content, format=version, do_compression=packed)
    checksum = hashlib.sha256(file.read_bytes()).hexdigest() if verified else None
    names = [name for name in content if name != "other"]
    found = dict(zip(names, read_matlab(file, *names, sha256=checksum), strict=True))
    np.testing.assert_array_equal(found["x"], numbers)
    np.testing.assert_array_equal(found["three"], [1, 2, 3])
    assert found["name"] == content["name"]
    if version == "5":
        assert [row["WNID"] for row in found["synsets"]] == ["n01", "n02"]
        assert [np.ravel(row["children"]).tolist() for row in found["synsets"]] == [[1, 2], [3]]
        np.testing.assert_array_equal(found["small"], [1, 255])
        assert found["cells"][0] == "a" and found["cells"][1] == 2
        np.testing.assert_array_equal(found["cells"][2], [1, 2])


def test_what_is_not_finite_is_read(tmp_path):
    savemat(tmp_path / "x.mat", {"x": [np.nan, np.inf, -np.inf, -0.0]})
    (found,) = read_matlab(tmp_path / "x.mat", "x")
    np.testing.assert_array_equal(found, [np.nan, np.inf, -np.inf, 0])


def test_only_a_published_file_is_read_in_this_process(tmp_path, monkeypatch):
    file = tmp_path / "x.mat"
    savemat(file, {"x": 1.0})
    checksum = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setattr(matlab, "loadmat", lambda *_, **__: {"x": "read here"})
    assert read_matlab(file, "x", sha256=checksum) == ["read here"]
    assert read_matlab(file, "x") == [1]
    with pytest.raises(ValueError, match=r"x\.mat .* not the published file"):
        read_matlab(file, "x", sha256="0" * 64)


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + b"\0" * (-len(content) % 8)


def variable(values: bytes, *, shape: tuple[int, int] = (1, 1), kind: int = 6) -> bytes:
    """Flags, dimensions, name and values, as version 5 has them."""
    flags = element(6, struct.pack("<II", kind, 0))
    return element(14, flags + element(5, struct.pack("<2i", *shape)) + element(1, b"x") + values)


def written(file: Path, *variables: bytes) -> Path:
    file.write_bytes(b"MATLAB 5.0".ljust(124) + b"\0\1IM" + b"".join(variables))
    return file


ONE = struct.pack("<d", 1)
HOSTILE = {
    "a type that does not exist": variable(element(40, ONE)),
    "values longer than their tag": variable(element(2**16 * 9 + 9, ONE)),
    "numbers that are not there": variable(element(9, b""), shape=(2**16, 2**16)),
    "a negative size": variable(element(9, b""), shape=(-1, -1)),
    "no values": variable(b""),
    "a compressed variable that is none": element(15, b"12345678"),
}
_INNER = variable(element(9, ONE))
for _ in range(3000):
    _INNER = variable(_INNER + element(14, b""), shape=(1, 2), kind=1)
HOSTILE["cells in cells"] = _INNER


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files_end_in_an_error(what, tmp_path, withstood):
    file = written(tmp_path / "x.mat", HOSTILE[what])
    with pytest.raises(ValueError, match=r"x\.mat cannot be read as a MATLAB file"):
        read_matlab(file, "x")
    withstood("attack", "A MATLAB file claims what is not so", tried=1)


def test_one_of_them_ends_the_process_that_reads_it(tmp_path):
    """Else a process for each file would be for nothing."""
    file = written(tmp_path / "x.mat", HOSTILE["a type that does not exist"])
    command = [sys.executable, "-c", f"from scipy.io import loadmat; loadmat({str(file)!r})"]
    ended = subprocess.run(command, capture_output=True).returncode
    if sys.platform == "linux":
        assert ended < 0
    with pytest.raises(ValueError, match=r"died with <Signals\.SIG" if ended < 0 else r"x\.mat"):
        read_matlab(file, "x")


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process")
def test_a_bomb_takes_the_memory_of_its_own_process_only(tmp_path, withstood):
    """Zeros that become gigabytes: of a process that may take less than they are."""
    packing = zlib.compressobj(1)
    head = variable(b"", shape=(1, 2**29))[8:]
    size = len(head) + 8 + 2**32 - 2**24
    packed = packing.compress(struct.pack("<II", 14, size) + head)
    packed += packing.compress(struct.pack("<II", 9, 2**32 - 2**24))
    packed += b"".join(packing.compress(bytes(2**24)) for _ in range(4)) + packing.flush()
    file = written(tmp_path / "x.mat", struct.pack("<II", 15, len(packed)) + packed)
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"x\.mat cannot be read as a MATLAB file.*MemoryError"):
        read_matlab(file, "x")
    assert time.monotonic() - start < 60
    withstood("attack", "A MATLAB file that asks for all memory", tried=1)


def test_other_files_are_refused(tmp_path, monkeypatch):
    file = tmp_path / "x.mat"
    savemat(file, {"x": np.arange(100.0)})
    whole = file.read_bytes()
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM"
    for content in (b"", b"<html>not found</html>" * 20, bytes(200), whole[:-100], header):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"x\.mat .* saved with -v7, and reading it fails: \w"):
            read_matlab(file, "x")
    with pytest.raises(FileNotFoundError):
        read_matlab(tmp_path / "y.mat", "x")
    file.write_bytes(whole)
    with pytest.raises(ValueError, match=r"expected y and x in .*x\.mat, but \['y'\] is missing"):
        read_matlab(file, "y", "x")
    monkeypatch.setattr(matlab, "_MOST", 100)
    with pytest.raises(ValueError, match=rf"at most 100 bytes in .*x\.mat, got {len(whole)}"):
        read_matlab(file, "x")
    monkeypatch.setattr(matlab, "_MOST", len(whole))
    monkeypatch.setattr(matlab, "_SECONDS", 0.01)
    with pytest.raises(ValueError, match=r"x\.mat cannot .* timed out after 0\.01 seconds"):
        read_matlab(file, "x")
