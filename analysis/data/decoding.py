"""Decoding image files: whatever the file holds, an RGB image of 8 bits comes out.

Conventions
-----------
Colour spaces and palettes are converted by Pillow. Transparency is composited on white.
16-bit grey is scaled (65535 becomes 255), not clipped; 16-bit colour PNGs are reduced by Pillow to
their high byte. The orientation that a camera wrote is applied. Of animations and pages, the first
frame is taken. Values whose range nobody defines (float, 32-bit) are refused.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

__all__ = ["IMAGE_SUFFIXES", "BrokenImageError", "open_image"]

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"}
    | {".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Lower-case endings of the files that are taken for images."""

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


def open_image(path: str | Path) -> Image.Image:
    """Read an image file as RGB.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    PIL.Image.Image
        Mode RGB, upright, fully in memory; the file is closed again.

    Raises
    ------
    BrokenImageError
        If the file is missing, no image, truncated, larger than Pillow's limit for decompression
        bombs, or in a mode whose range of values is not defined.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return _as_rgb(_upright(image))
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins raise nearly anything on damaged files
        raise BrokenImageError(f"cannot read the image {path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no image format that Pillow knows"
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
