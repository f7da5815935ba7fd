"""The pixels themselves: the plainest control."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analysis.data import ImageDataset
from analysis.data.source_tasks import thumbnails

__all__ = ["raw_pixels"]


def raw_pixels(
    data: ImageDataset, *, side: int = 32, progress: bool = False
) -> NDArray[np.float32]:
    """Give the pixels themselves, as numbers to classify by.

    Images are resized and cropped as a network's input is, shorter side to ``side``, centre kept.

    Parameters
    ----------
    data : ImageDataset
        n images.
    side : int
        Pixels across and down.
    progress : bool
        Show a progress bar.

    Returns
    -------
    ndarray of float32, shape (n, 3 * side * side)
        Red, then green, then blue, each row by row; 0 is black and 1 full.
    """
    images = thumbnails(data, side, progress=progress)
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
