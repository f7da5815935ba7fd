"""Images as they are: pixels, directions of the gradient, energies; decoded once, side by side.

HOG: directions of the gradient in the cells of an image.

GIST: how much energy of each orientation and scale there is in each part of an image.

Conventions
-----------
Source: Oliva and Torralba, *Modeling the shape of the scene*, International Journal of Computer
Vision 42, 2001, with the numbers of the authors' published program.

image
    Grey, the largest square at the centre, 256 x 256 px, stretched so that its values run from 0 to
    255. A constant image is black.
whitening
    The logarithm (of 1 + grey) less its low frequencies, divided by 0.2 plus the local standard
    deviation. Low frequencies are those that a Gaussian lets pass, which halves the amplitude at 4
    cycles per image, a border of 5 px mirrored around it included.
filters
    In frequencies, 4 scales of 8 orientations. Scale s is centred at 0.3 / 1.85^s cycles per px.
    Orientation o belongs to waves that run o x 22.5 degrees anticlockwise from left to right: 0 to
    upright stripes, 4 to level ones. Only one of the two halves of the frequencies passes, so that
    the size of the (complex) answer is the envelope of the wave, not the wave.
parts
    The mean size of the answer in each of 4 x 4 parts. The whitened image is mirrored by 32 px at
    its borders, and the answers there do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import fft2, fftfreq, ifft2
from skimage.feature import hog as _hog
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


Floats = NDArray[np.float64]

SIDE = 256
"""Pixels across and down of the image described."""

SCALES, ORIENTATIONS, PARTS = 4, 8, 4

_FINEST, _RATIO = 0.3, 1.85  # cycles per px of the finest scale; from one scale to the next
_RADIAL, _ANGULAR = 3.5, 2 * np.pi  # how fast a filter falls, squared distances times these
_BORDER, _MARGIN = 5, 32  # px mirrored before whitening and before filtering
_CUTOFF = 4.0  # cycles per image
_CONTRAST = 0.2  # added to the local contrast, which may be 0


def gist(data: ImageDataset, *, progress: bool = False) -> NDArray[np.float32]:
    """Describe images by the energy of orientations and scales in their parts.

    Parameters
    ----------
    data : ImageDataset
        n images.
    progress : bool
        Show a progress bar.

    Returns
    -------
    ndarray of float32, shape (n, 512)
        By scale (finest first), orientation, then part, row by row; see the module's conventions.

    Raises
    ------
    BrokenImageError
        If an image cannot be read.

    Notes
    -----
    In the place of the GIST features of DeCAF, section 3.2, which says
    no more of them than that.
    """

    def describe(image: Image.Image) -> NDArray[np.float32]:
        return describe_gist(np.asarray(centre_square(image, SIDE).convert("L")))

    return describe_images(data, describe, SCALES * ORIENTATIONS * PARTS**2, progress=progress)


def describe_gist(grey: NDArray[np.number]) -> NDArray[np.float32]:
    """Describe one image.

    Parameters
    ----------
    grey : ndarray, shape (256, 256)
        Grey values, in any unit.

    Returns
    -------
    ndarray of float32, shape (512,)
    """
    wide = np.pad(_whitened(_stretched(grey)), _MARGIN, mode="symmetric")
    spectrum = fft2(wide.astype(np.float32))
    return np.concatenate([_energies(spectrum * filters) for filters in _gabors(len(wide))])


def _energies(spectra: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Mean size of some filters' answers in each part, shape (filters * parts,)."""
    inner = slice(_MARGIN, -_MARGIN)
    answers = np.abs(ifft2(spectra, axes=(1, 2))[:, inner, inner])
    step = SIDE // PARTS
    energies: NDArray[np.float32] = answers.reshape(-1, PARTS, step, PARTS, step).mean(axis=(2, 4))
    return energies.ravel()


def _stretched(grey: NDArray[np.number]) -> Floats:
    """Grey values from 0 to 255."""
    values = grey.astype(np.float64) - float(grey.min())
    return values * (255 / (values.max() or 1.0))


def _whitened(grey: Floats) -> Floats:
    """Logarithm of an image, without low frequencies, divided by its local contrast."""
    wide = np.pad(np.log1p(grey), _BORDER, mode="symmetric")
    low_pass = _low_pass(len(wide))
    high = wide - np.real(ifft2(fft2(wide) * low_pass))
    variance = np.real(ifft2(fft2(high**2) * low_pass))
    contrast = np.sqrt(np.abs(variance))  # rounding may leave it below 0
    inner = slice(_BORDER, -_BORDER)
    whitened: Floats = (high / (_CONTRAST + contrast))[inner, inner]
    return whitened


@lru_cache(maxsize=1)
def _low_pass(side: int) -> Floats:
    """Share of each frequency's amplitude that is low; one half at the cut-off."""
    cycles = fftfreq(side) * side
    squared = cycles[:, None] ** 2 + cycles**2
    passed: Floats = np.exp2(-squared / _CUTOFF**2)
    return passed


@lru_cache(maxsize=1)
def _gabors(side: int) -> NDArray[np.float32]:
    """Give the filters in frequencies, shape (scales, orientations, side, side)."""
    f = fftfreq(side)
    radius, angle = np.hypot(f[:, None], f), np.arctan2(f[:, None], f)
    centres = _FINEST / _RATIO ** np.arange(SCALES)
    along = _RADIAL * (radius / centres[:, None, None] - 1) ** 2
    turned = angle + np.pi / ORIENTATIONS * np.arange(ORIENTATIONS)[:, None, None]
    across = _ANGULAR * ((turned + np.pi) % (2 * np.pi) - np.pi) ** 2
    filters: NDArray[np.float32] = np.exp(-along[:, None] - across).astype(np.float32)
    return filters
