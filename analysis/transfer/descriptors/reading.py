"""From datasets to descriptors, such as the pixels: images are decoded once, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm.auto import tqdm

from analysis.data import ImageDataset
from analysis.data.images import hashing_threads
from analysis.data.source_tasks import thumbnails
from analysis.statistics.threads import one_blas_thread

T = TypeVar("T")


def describe_each(
    data: ImageDataset, describe: Callable[[int, Image.Image], T], *, progress: bool
) -> Iterator[T]:
    """Describe images in threads, in order.

    Parameters
    ----------
    data : ImageDataset
        Images.
    describe : callable
        Takes an image's position and the image. It should spend its time where Python's lock is
        released, as NumPy's and SciPy's routines do.
    progress : bool
        Show a progress bar.

    Yields
    ------
    T
        What ``describe`` gives.

    Raises
    ------
    BrokenImageError
        If an image cannot be read; the message names its path.
    """
    # one thread of linear algebra for each image: images are already side by side
    with one_blas_thread, hashing_threads() as pool:
        done = pool.map(lambda index: describe(index, data[index]), range(len(data)))
        yield from tqdm(done, total=len(data), desc=data.name, unit="image", disable=not progress)


def describe_images(
    data: ImageDataset,
    describe: Callable[[Image.Image], NDArray[np.floating]],
    width: int,
    *,
    progress: bool,
) -> NDArray[np.float32]:
    """Describe every image by equally many numbers.

    Parameters
    ----------
    data : ImageDataset
        n images.
    describe : callable
        Gives (width,) numbers of an RGB image.
    width : int
        Numbers per image.
    progress : bool
        Show a progress bar.

    Returns
    -------
    ndarray of float32, shape (n, width)
    """
    described = np.empty((len(data), width), np.float32)

    def fill(index: int, image: Image.Image) -> None:
        described[index] = describe(image)

    for _ in describe_each(data, fill, progress=progress):
        pass
    return described


def centre_square(image: Image.Image, side: int) -> Image.Image:
    """Cut the largest square at the centre, resized (bilinear, antialiased) to ``side`` pixels."""
    if image.size == (side, side):
        return image
    shorter = min(image.size)
    left, top = ((length - shorter) / 2 for length in image.size)
    box = (left, top, left + shorter, top + shorter)
    return image.resize((side, side), Image.Resampling.BILINEAR, box=box)


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
