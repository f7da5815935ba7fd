"""Images as words: counted, or mixed and pooled over the parts of the image.

Conventions
-----------
bag of words
    Csurka et al., *Visual categorization with bags of keypoints*, ECCV workshop 2004: the share of
    an image's patches that are nearest to each word.
LLC
    Wang et al., *Locality-constrained linear coding for image classification*, CVPR 2010, in the
    approximation of its section 3. A patch x is a mixture of its k nearest words B, with weights c
    that sum to 1 and minimise |x - c B|^2 + beta t |c|^2, where t is the sum of the squared
    distances of these words to x and beta is 1e-4. Of each word the greatest weight in each cell
    of a pyramid of 1, 2 x 2 and 4 x 4 cells is kept, and at least 0, which is what it weighs in
    patches that are not mixed from it. The whole is scaled to unit norm.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from analysis.data import ImageDataset
from analysis.transfer.descriptors.codebook import Codebook
from analysis.transfer.descriptors.reading import describe_images

__all__ = ["bag_of_words", "llc", "mixtures", "nearest_words", "pooled_weights"]

Floats = NDArray[np.float64]

_BETA = 1e-4
_TINY = 1e-12  # keeps the system of a patch solvable that equals all its words


def bag_of_words(
    data: ImageDataset, codebook: Codebook, *, progress: bool = False
) -> NDArray[np.float32]:
    """Describe images by how often each word occurs.

    Parameters
    ----------
    data : ImageDataset
        n images.
    codebook : Codebook
        From :func:`learn_codebook`.
    progress : bool
        Show a progress bar.

    Returns
    -------
    ndarray of float32, shape (n, n_words)
        Shares of patches; each row sums to 1.

    Raises
    ------
    BrokenImageError
        If an image cannot be read.

    Notes
    -----
    Csurka et al. (see above); patches lie on a grid here, where they take them at points of
    interest.
    """

    def describe(image: Image.Image) -> NDArray[np.floating]:
        found, _ = codebook.describe(image)
        nearest = nearest_words(found, codebook.words, 1)[:, 0]
        shares: Floats = np.bincount(nearest, minlength=len(codebook)) / len(found)
        return shares

    return describe_images(data, describe, len(codebook), progress=progress)


def llc(
    data: ImageDataset,
    codebook: Codebook,
    *,
    neighbours: int = 5,
    pyramid: tuple[int, ...] = (1, 2, 4),
    progress: bool = False,
) -> NDArray[np.float32]:
    """Describe images by mixtures of words, pooled over a pyramid of cells.

    Parameters
    ----------
    data : ImageDataset
        n images.
    codebook : Codebook
        From :func:`learn_codebook`.
    neighbours : int
        Words that a patch is mixed from, no more than there are.
    pyramid : tuple of int
        Cells down and across, level by level.
    progress : bool
        Show a progress bar.

    Returns
    -------
    ndarray of float32, shape (n, cells * n_words)
        By level, cell (row by row) and word: 21,504 numbers for 1,024 words. Rows have unit norm.

    Raises
    ------
    ValueError
        More neighbours than words, or numbers below 1.
    BrokenImageError
        If an image cannot be read.

    Notes
    -----
    In the place of the LLC features of DeCAF, section 3.2, whose
    codebook is not given. Wang et al. have patches of 16, 25 and 31 px; a patch here is a multiple
    of 4.
    """
    if not 1 <= neighbours <= len(codebook):
        raise ValueError(
            f"expected 1 to {len(codebook)} neighbours, as many as there are words, "
            f"got {neighbours}"
        )
    if not pyramid or min(pyramid) < 1:
        raise ValueError(f"expected levels of at least one cell, got pyramid={pyramid}")

    def describe(image: Image.Image) -> NDArray[np.floating]:
        found, places = codebook.describe(image)
        near = nearest_words(found, codebook.words, neighbours)
        weights = mixtures(found, codebook.words[near])
        pooled = pooled_weights(near, weights, places, len(codebook), pyramid)
        norm = float(np.linalg.norm(pooled)) or 1.0
        return pooled.ravel() / norm

    width = len(codebook) * sum(side**2 for side in pyramid)
    return describe_images(data, describe, width, progress=progress)


def nearest_words(
    found: NDArray[np.float32], words: NDArray[np.float32], number: int
) -> NDArray[np.int64]:
    """Positions of the nearest words of descriptors (n, 128), nearest first, (n, number)."""
    squares = np.einsum("ij,ij->i", words, words)
    distances = squares - 2 * (found @ words.T)  # up to the descriptor's own square
    near = np.empty((len(found), number), np.int64)
    rows = np.arange(len(found))
    for rank in range(number):  # a few passes are faster than a partition of each row
        near[:, rank] = distances.argmin(axis=1)
        distances[rows, near[:, rank]] = np.inf
    return near


def mixtures(found: NDArray[np.float32], words: NDArray[np.float32]) -> Floats:
    """Weights that mix descriptors (n, 128) from words of their own (n, k, 128), shape (n, k)."""
    relative = words.astype(np.float64) - found[:, None]
    products = relative @ relative.transpose(0, 2, 1)
    n, k, _ = products.shape
    diagonal = _BETA * np.trace(products, axis1=1, axis2=2) + _TINY
    products += diagonal[:, None, None] * np.eye(k)
    solved = np.linalg.solve(products, np.ones((n, k, 1)))[..., 0]
    weights: Floats = solved / solved.sum(axis=1, keepdims=True)
    return weights


def pooled_weights(
    near: NDArray[np.int64],
    weights: Floats,
    places: Floats,
    n_words: int,
    pyramid: tuple[int, ...],
) -> Floats:
    """Greatest weight of each word in each cell, shape (cells, n_words); 0 where none is above."""
    pooled = np.zeros((sum(side**2 for side in pyramid), n_words))
    first = 0
    for side in pyramid:
        row, column = np.minimum((places * side).astype(np.int64), side - 1).T
        cell = first + row * side + column
        np.maximum.at(pooled, (cell[:, None], near), weights)
        first += side**2
    return pooled
