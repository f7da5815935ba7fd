"""All descriptors of a dataset, kept on disk beside the features of networks.

From datasets to descriptors, such as the pixels: images are decoded once, side by side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm.auto import tqdm

from analysis import paths
from analysis.data import ImageDataset
from analysis.data.images import hashing_threads
from analysis.data.source_tasks import thumbnails
from analysis.statistics.threads import one_blas_thread
from analysis.transfer.descriptors.gradients import gist, hog
from analysis.transfer.descriptors.words import Codebook, bag_of_words, learn_codebook, llc

__all__ = ["DESCRIPTORS", "describe_dataset"]

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


DESCRIPTORS = ("raw pixels", "HOG", "GIST", "bag of visual words", "LLC")
"""Names, from the plainest on."""


def describe_dataset(
    data: ImageDataset,
    words_from: ImageDataset,
    *,
    names: tuple[str, ...] = DESCRIPTORS,
    n_words: int = 1024,
    seed: int = 0,
    store: Path | str | None = None,
    progress: bool = False,
) -> dict[str, NDArray[np.float32]]:
    """Compute classical descriptors of images, or open them if they were computed before.

    Parameters
    ----------
    data : ImageDataset
        Images to describe.
    words_from : ImageDataset
        Images that visual words are learnt from. Take others than those of ``data``, so that no
        image that is classified has had a part in its own description.
    names : tuple of str
        Some of :data:`DESCRIPTORS`.
    n_words : int
        Visual words.
    seed : int
        Seed of the words.
    store : path, optional
        Folder to keep descriptors in; by default beside the features of networks.
    progress : bool
        Show progress bars.

    Returns
    -------
    dict of str to ndarray of float32, shape (images, any)
        In the order of ``names``; read-only views of files.

    Raises
    ------
    ValueError
        A name that is not known, or too few patches for so many words.
    BrokenImageError
        If an image cannot be read.

    Notes
    -----
    Found again by the fingerprint of the images, of those that words come from, by ``n_words``,
    ``seed``, and by the program text of this package of descriptors.
    """
    if unknown := sorted(set(names) - set(DESCRIPTORS)):
        raise ValueError(f"expected descriptors among {', '.join(DESCRIPTORS)}, got {unknown}")
    folder = Path(store) if store is not None else paths.store_root()
    words: list[Codebook] = []

    def codebook() -> Codebook:
        if not words:
            words.append(learn_codebook(words_from, n_words, seed=seed, progress=progress))
        return words[0]

    compute: Mapping[str, Callable[[], NDArray[np.float32]]] = {
        "raw pixels": lambda: raw_pixels(data, progress=progress),
        "HOG": lambda: hog(data, progress=progress),
        "GIST": lambda: gist(data, progress=progress),
        "bag of visual words": lambda: bag_of_words(data, codebook(), progress=progress),
        "LLC": lambda: llc(data, codebook(), progress=progress),
    }
    found = {}
    for name in names:
        meant = [name, data.fingerprint, _program()]
        if name in ("bag of visual words", "LLC"):
            meant += [words_from.fingerprint, str(n_words), str(seed)]
        key = hashlib.sha256("\n".join(meant).encode()).hexdigest()[:20]
        path = folder / f"descriptor-{name.replace(' ', '-').lower()}-{key}.npy"
        if not path.exists():
            values = compute[name]()
            with paths.written_whole(path) as partial, partial.open("wb") as file:
                np.save(file, values)
        found[name] = np.load(path, mmap_mode="r", allow_pickle=False)
    return found


def _program() -> str:
    """Hash of the modules of this package, so that a change of any of them is a change of key."""
    texts = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in texts)).hexdigest()
