"""Changes of training images, drawn anew for every batch.

The scale of an image stays near what it will be when features are taken (72 pixels, of which 64
are seen): a network that was trained on enlarged images is lost on plain ones.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from analysis.networks.preprocessing import Preprocessing

__all__ = ["augment", "centre", "channel_statistics"]

_MARGIN = 8  # pixels that a crop leaves of the enlarged image
_BRIGHTNESS, _CONTRAST, _SATURATION = 0.2, 0.2, 0.2
_ERASED = 0.15  # share of the images that lose a square
_GREY = 0.05  # share of the images that lose their colour


def augment(
    images: torch.Tensor, mean: torch.Tensor, std: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Shift, mirror, recolour and partly erase a batch of training images.

    A batch is, by even chance, enlarged by an eighth before it is cropped, or it keeps its scale
    and is shifted by up to 4 pixels over mirrored borders.

    Parameters
    ----------
    images
        (n, 3, side, side), uint8.
    mean, std
        (1, 3, 1, 1), of the network's preprocessing, for values in [0, 1].
    generator
        Where the draws come from.

    Returns
    -------
    Tensor
        (n, 3, side, side), float32, normalised.
    """
    side = images.shape[-1]
    floats = images.float().div_(255)
    if torch.rand((), generator=generator) < 0.5:
        floats = _enlarged(floats)
    else:
        floats = functional.pad(floats, [_MARGIN // 2] * 4, mode="reflect")
    floats = _cropped(floats, side, generator)
    floats = _recoloured(floats, generator)
    normalised = (floats - mean) / std
    return _erased(normalised, generator)


def centre(images: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Give what the network's own preprocessing gives: enlarged by an eighth, cropped, normalised.

    Parameters and result are those of :func:`augment`. Features are taken through Pillow, which
    rounds to whole grey levels after each of its two passes; the two differ by one level at most.
    """
    enlarged = _enlarged(images.float().div_(255))
    start, side = _MARGIN // 2, images.shape[-1]
    return (enlarged[..., start : start + side, start : start + side] - mean) / std


def channel_statistics(preprocessing: Preprocessing) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the channels, float32, each of shape (1, 3, 1, 1)."""
    values = (preprocessing.mean, preprocessing.std)
    mean, std = (torch.tensor(value).reshape(1, 3, 1, 1) for value in values)
    return mean, std


def _enlarged(images: torch.Tensor) -> torch.Tensor:
    side = images.shape[-1] + _MARGIN
    return functional.interpolate(images, size=side, mode="bilinear", align_corners=False)


def _cropped(images: torch.Tensor, side: int, generator: torch.Generator) -> torch.Tensor:
    """Crop every image at its own place, and mirror half of them."""
    n, channels = images.shape[:2]
    top, left = torch.randint(0, images.shape[-1] - side + 1, (2, n, 1), generator=generator)
    mirrored = torch.rand((n, 1), generator=generator) < 0.5
    steps = torch.arange(side)
    rows, columns = top + steps, left + torch.where(mirrored, steps.flip(0), steps)
    pixel = rows[:, :, None] * images.shape[-1] + columns[:, None, :]
    index = pixel.reshape(n, 1, -1).expand(n, channels, -1)
    return images.flatten(2).gather(2, index).reshape(n, channels, side, side)


def _recoloured(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Change brightness, contrast and saturation of every image."""
    n = len(images)
    draws = 2 * torch.rand((3, n, 1, 1, 1), generator=generator) - 1
    saturation = 1 + _SATURATION * draws[2]
    saturation[torch.rand((n,), generator=generator) < _GREY] = 0
    grey = images.mean(1, keepdim=True)
    images = grey + saturation * (images - grey)
    level = images.mean((1, 2, 3), keepdim=True)
    images = level + (1 + _CONTRAST * draws[1]) * (images - level)
    return (images * (1 + _BRIGHTNESS * draws[0])).clamp_(0, 1)


def _erased(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Set a square of some images to zero, the mean colour."""
    n, _, side, _ = images.shape
    size = torch.randint(side // 8, side // 2 + 1, (n, 1), generator=generator)
    size[torch.rand((n, 1), generator=generator) >= _ERASED] = 0
    starts = torch.rand((2, n, 1), generator=generator) * (side - size)
    steps = torch.arange(side)
    inside = [(steps >= start) & (steps < start + size) for start in starts]
    return images.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0)
