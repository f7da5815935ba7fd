"""Decoding image files: whatever the file holds, an RGB image of 8 bits comes out.

Windows of resized images are cut without the memory that the whole resized image would take.

Conventions
-----------
Colour spaces and palettes are converted by Pillow. Transparency is composited on white.
Grey of 12 and 16 bits is scaled (the largest value becomes 255), not clipped; 16-bit colour is
reduced by Pillow to its high byte. Where a TIFF says that 0 is white, it is. The orientation that a
camera wrote is applied. Of animations and pages, the first frame is taken. Values whose range
nobody defines (float, 32-bit) are refused.

Nothing but ordinary files in one of :data:`FORMATS` is read, whatever a file is called: Pillow
would start Ghostscript for a PostScript file named ``.jpg``, and wait for ever for what somebody
may write into a pipe.
"""

from __future__ import annotations

import math
import os
import re
import stat
import struct
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError
from pillow_heif import register_heif_opener

IMAGE_SUFFIXES = frozenset(
    {".apng", ".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".j2k", ".jfif", ".jp2", ".jpe"}
    | {".jpeg", ".jpf", ".jpg", ".jpx", ".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif"}
    | {".tiff", ".webp"}
)
"""Lower-case endings of the files that are taken for images."""

FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What Pillow may decode: pixels, and neither programs nor what refers to other files."""

_UNREAD = re.compile(
    r"\.(jxl|3fr|arw|cr2|cr3|crw|dng|erf|iiq|kdc|mos|mrw|nef|nrw|orf|pef|raf|raw|rw2|rwl|sr2|srf|srw|"
    r"x3f|afphoto|kra|ora|psb|psd|xcf|ai|cdr|emf|eps|ps|svgz?|wmf|djvu|pdf|3gp|avi|flv|m2ts|m4v|mkv|"
    r"mov|mp4|mpe?g|mts|webm|wmv|czi|dcm|dicom|exr|fits?|lif|mha|mrxs|nd2|ndpi|nii|nii\.gz|nrrd|svs|"
    r"vsi|bpg|cur|dds|dib|flif|ico|icns|jng|jxr|mng|pcx|pfm|pict|qoi|ras|sgi|tga|wdp|xbm|xpm)$",
    re.IGNORECASE,
)
"""Endings of what holds images and is not read: raw files of cameras, documents, videos, etc."""

MOST_PIXELS = 178_956_970
"""Pixels of an image at the most: more is taken for a decompression bomb, as Pillow does."""

_ORIENTATION_TAG, _BITS_TAG, _PHOTOMETRIC_TAG = 0x0112, 0x0102, 0x0106
_WHITE_IS_ZERO = 0
_DEEP_TIFFS: dict[
    Any, tuple[str, str]
] = {  # kinds that Pillow can decode and does not list, with how it does
    (b"MM", 0, (1,), 1, (16,), ()): ("I;16B", "I;16B"),
    (b"MM", 0, (1,), 1, (12,), ()): ("I;16", "I;12"),
    (b"MM", 1, (1,), 1, (12,), ()): ("I;16", "I;12"),
    (b"II", 0, (1,), 1, (12,), ()): ("I;16", "I;12"),
}
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
        none of the known formats, truncated, of more than :data:`MOST_PIXELS`, or in a mode whose
        range of values is not defined.
    MemoryError
        If there is no memory for it; the message names the path.
    """
    try:
        with (
            open_ordinary(path, inside=inside) as file,
            Image.open(file, "r", _known_formats()) as image,
        ):
            if image.width * image.height > MOST_PIXELS:  # Pillow's own limit can be switched off
                raise ValueError(
                    f"{image.width} x {image.height} pixels are more than {MOST_PIXELS}: it could "
                    "be a decompression bomb"
                )
            image.load()
            return as_rgb(_upright(image, file), *_black_and_white(image))
    except MemoryError as error:
        raise MemoryError(f"there is not enough memory to read the image {path}") from error
    except Exception as error:  # Pillow's plugins raise nearly anything on damaged files
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = f"it is in none of the formats {', '.join(_known_formats())}, or damaged"
        raise BrokenImageError(f"cannot read the image {path}: {reason}") from error


@cache
def _known_formats() -> tuple[str, ...]:
    """Those of the formats that this Pillow was built with."""
    Image.init()
    register_heif_opener()
    TiffImagePlugin.OPEN_INFO.update(_DEEP_TIFFS)
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
    real = Path(os.path.realpath(path))
    if inside is not None and not real.is_relative_to(os.path.realpath(inside)):
        raise PermissionError(f"it is a link that leads out of {inside}")
    flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # which not all systems have
    descriptor = os.open(path, os.O_RDONLY | flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is no ordinary file")
    return os.fdopen(descriptor, "rb")


def _upright(image: Image.Image, file: BinaryIO) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except (SyntaxError, ValueError, KeyError, struct.error):
        return image  # the pixels are intact; a damaged EXIF block only says nothing
    if image.format == "HEIF":
        file.seek(0)
        # The decoder has followed the boxes that turn or mirror an image; else EXIF alone says it.
        if not re.search(rb"\0\0\0\x09i(rot|mir)", file.read()):
            orientation = image.info.get("original_orientation")
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _black_and_white(image: Image.Image) -> tuple[int, int]:
    """Which values of deep grey are black and white; only a TIFF says more than its mode."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    most = 4095 if tags.get(_BITS_TAG) == (12,) else 65535
    white_is_zero = tags and tags.get(_PHOTOMETRIC_TAG, _WHITE_IS_ZERO) == _WHITE_IS_ZERO
    return (most, 0) if white_is_zero else (0, most)


def as_rgb(image: Image.Image, black: int = 0, white: int = 65535) -> Image.Image:
    """Convert an image to 8 bits and RGB; black and white are values of deep grey.

    Raises
    ------
    ValueError
        If the range of its values is not defined.
    """
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return _from_deep_grey(image, black, white)
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image.convert("RGBA"))
        return ground.convert("RGB")
    # convert() would copy even where there is nothing to do
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_deep_grey(image: Image.Image, black: int, white: int) -> Image.Image:
    values, most = np.asarray(image), max(black, white)
    if image.mode == "F" or values.min() < 0 or values.max() > most:
        raise ValueError(
            f"grey values of mode {image.mode!r} between {values.min()} and {values.max()} have no "
            "defined range; convert the file to 8 or 16 bits"
        )
    level = values.astype(np.uint32) if black == 0 else np.uint32(most) - values
    grey = ((255 * level + most // 2) // most).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")


def is_image(name: str) -> bool:
    """Whether a file name is one of an image: its ending says so and it is not hidden."""
    ending = name[name.rfind(".") :].lower()
    return not name.startswith(".") and ending in IMAGE_SUFFIXES


def looks_like_an_image(path: str | Path, *, inside: str | Path | None = None) -> str | None:
    """Why a file that is not called like an image is one that is left out, and what to do.

    Returns
    -------
    str or None
        None if it looks like no image.
    """
    if ending := _UNREAD.search(Path(path).name):
        return f"files that end in {ending[0].lower()} are not read; convert it to PNG or JPEG"
    try:
        with (
            open_ordinary(path, inside=inside) as file,
            Image.open(file, "r", _known_formats()) as image,
        ):
            format_ = image.format
    except Exception:  # as in open_image
        return None
    return f"it is {format_}, but its name does not end like that of an image; rename it"


_MOST = 1 << 25  # pixels at once, of 4 bytes
_REACH = 3  # pixels on both sides that an output pixel may depend on, in units of its own width


def grows_too_large(size: tuple[int, int], resized: tuple[int, int]) -> bool:
    """Whether resizing an image of (width, height) at once takes hundreds of megabytes.

    Pillow resizes one axis after the other, and between them holds one of each size.
    """
    widest, tallest = max(size[0], resized[0]), max(size[1], resized[1])
    return max(resized[0] * tallest, widest * resized[1]) > _MOST


def resized_window(
    image: Image.Image,
    size: tuple[int, int],
    corner: tuple[int, int],
    shape: tuple[int, int],
    resample: Image.Resampling,
) -> Image.Image:
    """Cut a window as if the whole image had been resized, up to rounding.

    Parameters
    ----------
    image : PIL.Image.Image
        Of any size.
    size : (int, int)
        Width and height that the whole image would be resized to.
    corner, shape : (int, int)
        Left and top of the window in the resized image; its width and height.
    resample : PIL.Image.Resampling
        ``BILINEAR`` or ``BICUBIC``.

    Returns
    -------
    PIL.Image.Image
        The window.
    """
    axes = [_needed(*axis) for axis in zip(image.size, size, corner, shape, strict=True)]
    (left, right), (top, bottom) = (needed for needed, _ in axes)
    (x0, x1), (y0, y1) = (ends for _, ends in axes)
    part = image.crop((left, top, right, bottom))
    width, height = shape
    if grows_too_large(part.size, shape):  # the longer axis first, and alone
        if part.height > part.width:
            part = part.resize((part.width, height), resample, (0, y0, part.width, y1))
            y0, y1 = 0, height
        else:
            part = part.resize((width, part.height), resample, (x0, 0, x1, part.height))
            x0, x1 = 0, width
    return part.resize(shape, resample, (x0, y0, x1, y1))


def _needed(
    n_in: int, n_out: int, first: int, count: int
) -> tuple[tuple[int, int], tuple[float, float]]:
    """Pixels of an axis that a window depends on, and where among them it begins and ends.

    Pillow takes places in single precision, which is exact enough only near 0.
    """
    scale = n_in / n_out
    begin, end = first * scale, min((first + count) * scale, n_in)
    margin = _REACH * max(1.0, scale)
    low, high = max(0, math.floor(begin - margin)), min(n_in, math.ceil(end + margin))
    return (low, high), (begin - low, min(end, n_in) - low)
