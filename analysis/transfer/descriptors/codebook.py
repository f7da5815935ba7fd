"""Words: the centres of clusters of patches, learnt from images without their labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from sklearn.cluster import MiniBatchKMeans

from analysis.data import ImageDataset
from analysis.statistics.threads import one_blas_thread
from analysis.transfer.descriptors.dense_sift import dense_sift
from analysis.transfer.descriptors.reading import describe_each

__all__ = ["Codebook", "learn_codebook"]

_BATCH = 4096  # patches per step of k-means


@dataclass(frozen=True, eq=False)
class Codebook:
    """Words, and how the patches are cut that they were learnt from.

    Attributes
    ----------
    words : ndarray of float32, shape (n_words, 128)
        Centres of clusters of dense SIFT descriptors.
    patches : tuple of int
        Pixels across and down the patches, size by size.
    step : int
        Pixels between patches.
    longest : int
        Images are shrunk so that their longer side has at most so many pixels.
    """

    words: NDArray[np.float32]
    patches: tuple[int, ...] = (16, 24, 32)
    step: int = 8
    longest: int = 300

    def __len__(self) -> int:
        return len(self.words)

    def describe(self, image: Image.Image) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Dense SIFT descriptors (n, 128) of an image and their places (n, 2).

        Never empty: images too small for the largest patch are enlarged until it fits.
        """
        grey = _sized(image.convert("L"), self.longest, max(self.patches))
        values = np.asarray(grey, dtype=np.float32) / np.float32(255)
        return dense_sift(values, patches=self.patches, step=self.step)


def _sized(image: Image.Image, longest: int, shortest: int) -> Image.Image:
    """Shrink to a longer side, enlarge to a shorter one; proportions kept up to rounding."""
    scale = min(1.0, longest / max(image.size))
    scale = max(scale, shortest / min(image.size))
    if scale == 1.0:
        return image
    width, height = (max(shortest, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


@one_blas_thread
def learn_codebook(
    data: ImageDataset,
    n_words: int = 1024,
    *,
    images: ArrayLike | None = None,
    seed: int,
    n_patches: int = 100_000,
    patches: tuple[int, ...] = (16, 24, 32),
    step: int = 8,
    longest: int = 300,
    progress: bool = False,
) -> Codebook:
    """Learn words from patches drawn from images.

    Parameters
    ----------
    data : ImageDataset
        Images; labels are not used.
    n_words : int
        How many words.
    images : array_like of int or bool, optional
        Which images to learn from; by default all. Where accuracy is measured, give training
        images.
    seed : int
        Seed of the draws and of k-means.
    n_patches : int
        Patches to learn from, rounded up to equally many of each image; fewer where images have
        not so many.
    patches, step, longest
        See :class:`Codebook`.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Codebook

    Raises
    ------
    ValueError
        No images, fewer different patches than words, or a number below 1.
    BrokenImageError
        If an image cannot be read.

    Notes
    -----
    k-means by batches of patches (scikit-learn's ``MiniBatchKMeans``), one start. The same seed
    gives the same words for equal numbers of threads and versions.
    """
    if n_words < 1 or n_patches < 1 or longest < 1:
        raise ValueError(
            f"expected numbers from 1, got n_words={n_words}, n_patches={n_patches}, "
            f"longest={longest}"
        )
    chosen = data if images is None else data.subset(np.asarray(images))
    if not len(chosen):
        raise ValueError(f"expected images of {data.name!r} to learn words from, got none")
    empty = Codebook(np.zeros((0, 0), np.float32), tuple(patches), step, longest)
    each = -(-n_patches // len(chosen))

    def draw(index: int, image: Image.Image) -> NDArray[np.float32]:
        found, _ = empty.describe(image)
        drawn = np.random.default_rng((seed, index)).permutation(len(found))[:each]
        return found[drawn]

    sample = np.concatenate(list(describe_each(chosen, draw, progress=progress)))
    different = len(np.unique(sample, axis=0))
    if different < n_words:
        raise ValueError(
            f"expected at least as many different patches as words, got {different} of "
            f"{len(chosen)} images for {n_words} words; ask for fewer words"
        )
    means = MiniBatchKMeans(n_words, batch_size=_BATCH, n_init=1, random_state=seed).fit(sample)
    words = means.cluster_centers_.astype(np.float32)
    return Codebook(words, tuple(patches), step, longest)
