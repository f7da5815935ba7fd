"""Windows of resized images, without the memory that the whole resized image would take."""

from __future__ import annotations

import math

from PIL import Image

__all__ = ["grows_too_large", "resized_window"]

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
