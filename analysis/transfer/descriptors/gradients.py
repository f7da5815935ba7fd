"""HOG: directions of the gradient in the cells of an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.feature import hog as _hog

from analysis.data import ImageDataset
from analysis.transfer.descriptors.reading import centre_square, describe_images

__all__ = ["hog"]

_DIRECTIONS, _BLOCK = 9, 2


def hog(
    data: ImageDataset, *, side: int = 128, cell: int = 8, progress: bool = False
) -> NDArray[np.float32]:
    """Describe images by histograms of oriented gradients, as scikit-image makes them.

    Parameters
    ----------
    data : ImageDataset
        n images; of each the largest square at the centre, resized.
    side : int
        Pixels across and down that it is resized to.
    cell : int
        Pixels across and down a cell; at least two cells must fit.
    progress : bool
        Show a progress bar.

    Returns
    -------
    ndarray of float32, shape (n, blocks * blocks * 36)
        By block of 2 x 2 cells (row, column), of which there are ``side // cell - 1`` each way,
        cell in the block and direction: 8,100 numbers by default. Zeros where there is no gradient.

    Raises
    ------
    ValueError
        A cell so large that there is no block, or below one pixel.
    BrokenImageError
        If an image cannot be read.

    Notes
    -----
    Dalal and Triggs, *Histograms of oriented gradients for human detection*, CVPR 2005: 9
    directions without sign, at each pixel the gradient of the colour where it is largest, blocks
    scaled to unit norm, cut at 0.2, and scaled again. Their window is 64 x 128 px. scikit-image
    counts a pixel in one direction and one cell only, where they share it out among the nearest.
    """
    if cell < 1 or side // cell < _BLOCK:
        raise ValueError(
            f"expected cells of 1 to {side // _BLOCK} pixels in an image of {side}, got {cell}"
        )
    blocks = side // cell - _BLOCK + 1

    def describe(image: Image.Image) -> NDArray[np.floating]:
        described: NDArray[np.floating] = _hog(
            np.asarray(centre_square(image, side)),
            orientations=_DIRECTIONS,
            pixels_per_cell=(cell, cell),
            cells_per_block=(_BLOCK, _BLOCK),
            block_norm="L2-Hys",
            channel_axis=-1,
        )
        return described

    return describe_images(data, describe, blocks**2 * _BLOCK**2 * _DIRECTIONS, progress=progress)
