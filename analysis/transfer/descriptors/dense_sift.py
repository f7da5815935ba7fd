"""Dense SIFT: directions of the gradient in patches on a grid.

Conventions
-----------
Source: Lowe, *Distinctive image features from scale-invariant keypoints*, International Journal of
Computer Vision 60, 2004, section 6. As usual where patches lie on a grid, they are upright, of
given sizes, and all their pixels weigh alike, without Lowe's Gaussian around the centre.

gradient
    Central differences of the grey values (0 to 1), smoothed by a Gaussian of 0.8 px.
patch
    4 x 4 cells, in each a histogram of 8 directions. Direction d is that of grey values which rise
    d x 45 degrees clockwise from the right.
weights
    A pixel counts in the two nearest directions and the four nearest cells by its distance to
    their centres, so that the outer cells reach half a cell beyond the patch, as far as the image
    goes.
scale
    Unit norm, cut at 0.2, unit norm again. A patch whose gradient is below ``FAINT`` in the mean
    is plain, and all zeros: scaled up, it would show the camera's noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, gaussian_filter

__all__ = ["FAINT", "SIFT_WIDTH", "dense_sift"]

Floats = NDArray[np.float32]

CELLS, DIRECTIONS = 4, 8

SIFT_WIDTH = CELLS**2 * DIRECTIONS
"""Numbers of a descriptor: 128."""

FAINT = 0.005
"""Mean size of a patch's gradient, in grey values (0 to 1) per pixel, below which it is plain."""

_CUT = 0.2
_SMOOTH = 0.8  # px


def dense_sift(
    grey: NDArray[np.floating], *, patches: tuple[int, ...] = (16,), step: int = 8
) -> tuple[Floats, NDArray[np.float64]]:
    """Describe the patches of an image.

    Parameters
    ----------
    grey : ndarray, shape (height, width)
        From 0 to 1.
    patches : tuple of int
        Pixels across and down a patch, multiples of 4, size by size.
    step : int
        Pixels between patches. The grid is centred in the image.

    Returns
    -------
    descriptors : ndarray of float32, shape (n, 128)
        By size, row and column of the patch; row and column of the cell; direction. Sizes that do
        not fit into the image have no rows.
    places : ndarray of float64, shape (n, 2)
        Centres, row and column, as shares of the image's height and width.

    Raises
    ------
    ValueError
        No sizes or one that is no multiple of 4, a step below 1, or an array that is no image.
    """
    if not patches or any(patch < CELLS or patch % CELLS for patch in patches) or step < 1:
        raise ValueError(
            f"expected patches of multiples of {CELLS} pixels and a step from 1, got patches "
            f"{patches} and step {step}"
        )
    if grey.ndim != 2:
        raise ValueError(f"expected grey values (height, width), got shape {grey.shape}")
    descriptors = [np.zeros((0, SIFT_WIDTH), np.float32)]
    places = [np.zeros((0, 2))]
    fitting = [patch for patch in patches if patch <= min(grey.shape)]
    maps = _by_direction(grey) if fitting else np.zeros((DIRECTIONS, *grey.shape), np.float32)
    for patch in fitting:
        starts = [_centred(length, patch, step) for length in grey.shape]
        descriptors.append(_scaled(_histograms(maps, starts, patch // CELLS), patch))
        places.append(_centres(starts, grey.shape, patch))
    return np.concatenate(descriptors), np.concatenate(places)


def _by_direction(grey: NDArray[np.floating]) -> Floats:
    """Size of the gradient, shared out to the two nearest directions, (8, height, width)."""
    smooth = gaussian_filter(grey.astype(np.float32), _SMOOTH, mode="nearest")
    down, right = np.gradient(smooth)
    turns = np.arctan2(down, right) * np.float32(DIRECTIONS / (2 * np.pi)) % DIRECTIONS
    away = np.abs(turns - np.arange(DIRECTIONS, dtype=np.float32)[:, None, None])
    shares = np.maximum(1 - np.minimum(away, DIRECTIONS - away), 0)
    maps: Floats = np.hypot(down, right) * shares
    return maps


def _histograms(maps: Floats, starts: list[NDArray[np.int64]], cell: int) -> Floats:
    """Weighted sums of the maps in all cells of all patches, (patches, 128)."""
    tent = _tent(cell)
    spread = correlate1d(maps, tent, axis=1, mode="constant")
    # for even cells the centre lies before pixel cell // 2, and so does the tent's
    offsets = cell * np.arange(CELLS) + cell // 2
    rows, columns = (start[:, None] + offsets for start in starts)
    spread = correlate1d(spread[:, rows.ravel()], tent, axis=2, mode="constant")
    taken = spread[:, :, columns].reshape(DIRECTIONS, *rows.shape, *columns.shape)
    found: Floats = taken.transpose(1, 3, 2, 4, 0).reshape(-1, SIFT_WIDTH)
    return found


def _tent(cell: int) -> NDArray[np.float64]:
    """Weights of pixels by their distance to the centre of a cell, those above 0."""
    reach = cell - 0.5 if cell % 2 == 0 else cell - 1.0  # centres of even cells lie between pixels
    tent: NDArray[np.float64] = 1 - np.abs(np.arange(-reach, cell)) / cell
    return tent


def _centred(length: int, patch: int, step: int) -> NDArray[np.int64]:
    """First pixels of patches that leave margins equal to half a pixel."""
    number = (length - patch) // step + 1
    margin = (length - patch - step * (number - 1)) // 2
    return margin + step * np.arange(number)


def _centres(
    starts: list[NDArray[np.int64]], shape: tuple[int, ...], patch: int
) -> NDArray[np.float64]:
    """Row and column of the patches' centres as shares of height and width."""
    shares = [(start + patch / 2) / length for start, length in zip(starts, shape, strict=True)]
    return np.stack(np.meshgrid(*shares, indexing="ij"), axis=-1).reshape(-1, 2)


def _scaled(found: Floats, patch: int) -> Floats:
    """Scale to unit norm, cut, scale to unit norm again; zeros where a patch is plain."""
    plain = found.sum(axis=1, keepdims=True) < FAINT * patch**2  # weights sum to the patch's area
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    cut = np.minimum(found / np.where(plain, 1, norms), _CUT)
    scaled = cut / np.where(plain, 1, np.linalg.norm(cut, axis=1, keepdims=True))
    return np.where(plain, 0, scaled).astype(np.float32)
