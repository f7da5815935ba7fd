"""Decoding image files: whatever the file holds, an RGB image of 8 bits comes out.

Conventions
-----------
Colour spaces and palettes are converted by Pillow. Transparency is composited on white.
16-bit grey is scaled (65535 becomes 255), not clipped; 16-bit colour PNGs are reduced by Pillow to
their high byte. The orientation that a camera wrote is applied. Of animations and pages, the first
frame is taken. Values whose range nobody defines (float, 32-bit) are refused.

Nothing but ordinary files in the formats of :data:`FORMATS` is read, whatever a file is called:
Pillow would start Ghostscript for a PostScript file named ``.jpg``, and wait for ever for what
somebody may write into a pipe.
"""

from __future__ import annotations

import os
import stat
import struct
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

__all__ = [
    "FORMATS",
    "IMAGE_SUFFIXES",
    "MOST_PIXELS",
    "BrokenImageError",
    "open_image",
    "open_ordinary",
]

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"}
    | {".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Lower-case endings of the files that are taken for images."""

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What Pillow may decode: pixels, and neither programs nor what refers to other files."""

MOST_PIXELS = 178_956_970
"""Pixels of an image at the most: more is taken for a decompression bomb, as Pillow does."""

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BrokenImageError(OSError):
    """A file that should hold an image cannot be read as one; the message names its full path."""


def open_image(path: str | Path, *, inside: str | Path | None = None) -> Image.Image:
    """Read an image file as RGB.

    Parameters
    ----------
    path : str or Path
        The file.
    inside : str or Path, optional
        Folder that the file must lie in when links have been followed.

    Returns
    -------
    PIL.Image.Image
        Mode RGB, upright, fully in memory; the file is closed again.

    Raises
    ------
    BrokenImageError
        If the file is missing, no ordinary file, behind a link that leads out of ``inside``, of
        none of the :data:`FORMATS`, truncated, of more than :data:`MOST_PIXELS`, or in a mode whose
        range of values is not defined.
    MemoryError
        If there is no memory for it; the message names the path.
    """
    try:
        with (
            open_ordinary(path, inside=inside) as file,
            Image.open(file, "r", _known_formats()) as image,
        ):
            _refuse_bomb(image)
            image.load()
            return _as_rgb(_upright(image))
    except MemoryError as error:
        raise MemoryError(f"there is not enough memory to read the image {path}") from error
    except Exception as error:  # Pillow's plugins raise nearly anything on damaged files
        raise BrokenImageError(f"cannot read the image {path}: {_reason(error)}") from error


@cache
def _known_formats() -> tuple[str, ...]:
    """Those of the formats that this Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def open_ordinary(path: str | Path, *, inside: str | Path | None = None) -> BinaryIO:
    """Open a file for reading, if it is one: no folder, pipe, socket or device.

    Parameters
    ----------
    path, inside
        As in :func:`open_image`.

    Raises
    ------
    OSError
        If it is something else, leads out of ``inside``, or cannot be opened.
    """
    if inside is not None and not _is_inside(path, inside):
        raise PermissionError(f"it is a link that leads out of {inside}")
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is no ordinary file")
    return os.fdopen(descriptor, "rb")


_BINARY = getattr(os, "O_BINARY", 0)  # on Windows alone


def _is_inside(path: str | Path, folder: str | Path) -> bool:
    found, root = os.path.realpath(path), os.path.realpath(folder)
    return found.startswith(os.path.join(root, ""))  # noqa: PTH118 - a string that ends in "/"


def _refuse_bomb(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MOST_PIXELS:  # Pillow's own limit can be switched off
        raise ValueError(
            f"{width} x {height} pixels are more than {MOST_PIXELS}: it could be a decompression "
            "bomb"
        )


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"it is in none of the formats {', '.join(FORMATS)}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except (SyntaxError, ValueError, KeyError, struct.error):
        return image  # the pixels are intact; a damaged EXIF block only says nothing
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return _from_deep_grey(image)
    if image.has_transparency_data:
        return _on_white(image)
    # convert() would copy even where there is nothing to do
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ValueError(
            f"grey values of mode {image.mode!r} between {values.min()} and {values.max()} have no "
            "defined range; convert the file to 8 or 16 bits"
        )
    grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 / 255 = 257
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")
