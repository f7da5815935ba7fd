"""Folders of images in which something else lies, and links that lead elsewhere."""

from __future__ import annotations

import os
import socket
import stat
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 40 40
%%EndComments
newpath 0 0 moveto 40 40 lineto stroke
(%pipe%touch owned) (w) file closefile
showpage
%%EOF
"""
SVG = b"""<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>
<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><text>&x;</text></svg>"""
OTHERS = {
    "postscript.jpg": EPS,
    "postscript.png": b"\xc5\xd0\xd3\xc6" + (30).to_bytes(4, "little") + bytes(22) + EPS,
    "vector.png": SVG,
    "document.png": b"%PDF-1.7\n1 0 obj << /OpenAction << /S /JavaScript >> >> endobj",
    "page.jpg": b"<html><script>alert(1)</script></html>",
    "script.jpg": b"#!/bin/sh\ntouch owned\n",
    "program.png": b"\x7fELF" + bytes(60),
    "text.jpg": b"no image at all\n",
    "nothing.jpg": b"",
    "pixmap.jpg": b'/* XPM */ static char *x[] = {"1 1 1 1", "a c red", "a"};',
    "icon.png": b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0\x68\4\0\0\x16\0\0\0" + bytes(1100),
    "film.jpg": b"\x00\x00\x01\xba" + bytes(200),
    "metafile.png": b"\xd7\xcd\xc6\x9a" + bytes(60),
}
"""Files that are called images and are none of those that are read."""


def picture(path: Path, number: int = 0) -> None:
    rng = np.random.default_rng(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(path)


def png(width: int, height: int) -> bytes:
    """Grey PNG that claims a size, with no more rows than fit into a short file."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return len(content).to_bytes(4) + body + zlib.crc32(body).to_bytes(4)

    rows = zlib.compress(bytes(min((width // 8 + 1) * height, 1 << 22)))
    header = width.to_bytes(4) + height.to_bytes(4) + bytes([1, 0, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def fill(root: Path, secrets: Path, *, classes: tuple[str, ...] = ("cats", "dogs")) -> list[str]:
    """Make a folder of classes with good images, and among them much that is none.

    Parameters
    ----------
    root
        Folder to make, with four good images in each class.
    secrets
        Folder to make beside it, with images of somebody else that links lead to.
    classes
        Names of the class folders; what is bad lies in the first.

    Returns
    -------
    list of str
        Relative paths of everything that must be named as unreadable.
    """
    for number, name in enumerate(classes):
        for image in range(4):
            picture(root / name / f"{image}.png", 10 * number + image)
    picture(secrets / "private.png", 99)
    (secrets / "password.txt").write_text("secret")
    bad = root / classes[0]
    for name, content in OTHERS.items():
        (bad / name).write_bytes(content)
    (bad / "bomb.png").write_bytes(png(60_000, 60_000))
    (bad / "wide.png").write_bytes(png(2**31 - 1, 1))
    whole = (bad / "0.png").read_bytes()
    (bad / "half.png").write_bytes(whole[: len(whole) // 2])
    (bad / "folder.jpg").mkdir()
    os.mkfifo(bad / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as bound:
        _bind(bound, bad / "socket.jpg")
    links = {
        "passwd.jpg": "/etc/passwd",
        "absolute.png": str(secrets / "private.png"),
        "relative.png": os.path.relpath(secrets / "private.png", bad),
        "twice.png": "absolute.png",
        "input.png": "/dev/stdin",
        "zero.png": "/dev/zero",
        "itself.png": "itself.png",
        "gone.png": "nowhere.png",
        "descriptor.png": "/proc/self/fd/0",
    }
    for name, target in links.items():
        (bad / name).symlink_to(target)
    (root / classes[1] / "inside.png").symlink_to(f"../{classes[0]}/0.png")  # may stay
    made = [*OTHERS, "bomb.png", "wide.png", "half.png", "folder.jpg", "pipe.jpg", "socket.jpg"]
    made += [*links, *_device(bad / "device.jpg")]
    return sorted(f"{classes[0]}/{name}" for name in made)


def _bind(bound: socket.socket, path: Path) -> None:
    """Bind a socket by a short path: the system takes no more than about a hundred characters."""
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        bound.bind(path.name)
    finally:
        os.chdir(before)


def _device(path: Path) -> list[str]:
    """Make a device of endless zeros, where this user may."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    except OSError:
        return []
    return [path.name]
