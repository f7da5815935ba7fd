"""Images that are the same, byte by byte."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import numpy.typing as npt

from analysis.data.images import ImageDataset, hashing_threads

__all__ = ["identical_images"]


def identical_images(data: ImageDataset) -> list[npt.NDArray[np.int64]]:
    """Find groups of images whose files (or arrays) hold the same.

    Parameters
    ----------
    data : ImageDataset
        Images; every file is read once and hashed.

    Returns
    -------
    list of ndarray of int64
        Positions in the dataset, ascending, of each group of two images or more; groups in the
        order of their first image.
    """
    groups: dict[bytes, list[int]] = defaultdict(list)
    with hashing_threads() as pool:
        for position, digest in enumerate(pool.map(data.source.digest, range(len(data)))):
            groups[digest].append(position)
    return [np.array(group, dtype=np.int64) for group in groups.values() if len(group) > 1]
