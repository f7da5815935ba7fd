"""Where the images of a dataset come from: files, or arrays."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from analysis.data.decoding import BrokenImageError, open_image, open_ordinary

__all__ = ["ImageArrays", "ImageFiles", "ImageSource", "hashing_threads"]


class ImageSource(Protocol):
    """Where a dataset's images come from: files or arrays."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> Image.Image:
        """Image number ``index`` as RGB."""

    def digest(self, index: int) -> bytes:
        """Hash of what image number ``index`` holds."""

    def take(self, indices: npt.NDArray[np.int64]) -> ImageSource:
        """Restrict the source to some images, in the given order."""


@dataclass(frozen=True)
class ImageFiles:
    """Image files, opened when asked for.

    Attributes
    ----------
    files : tuple of str
        Full paths.
    inside : str, optional
        Folder that no file may lead out of when links are followed. None: links may lead anywhere.
    """

    files: tuple[str, ...]
    inside: str | None = None

    def __len__(self) -> int:
        return len(self.files)

    def image(self, index: int) -> Image.Image:
        """Image number ``index`` as RGB; raises ``BrokenImageError`` with the file's path."""
        return open_image(self.files[index], inside=self.inside)

    def digest(self, index: int) -> bytes:
        """Hash of the bytes of the file; raises ``BrokenImageError`` as :meth:`image` does."""
        path = self.files[index]
        try:
            with open_ordinary(path, inside=self.inside) as file:
                return _hash(file.read())
        except OSError as error:
            reason = error.strerror or str(error)
            raise BrokenImageError(f"cannot read the image {path}: {reason}") from error

    def take(self, indices: npt.NDArray[np.int64]) -> ImageFiles:
        """Restrict to some of the files."""
        return replace(self, files=tuple(self.files[index] for index in indices))


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """Images held in memory.

    Attributes
    ----------
    arrays : ndarray of uint8, shape (n, height, width, 3), or tuple of (height, width, 3)
        RGB values.
    """

    arrays: npt.NDArray[np.uint8] | tuple[npt.NDArray[np.uint8], ...]

    def __len__(self) -> int:
        return len(self.arrays)

    def image(self, index: int) -> Image.Image:
        """Image number ``index``."""
        return Image.fromarray(self.arrays[index])

    def digest(self, index: int) -> bytes:
        """Hash of the shape and values."""
        array = self.arrays[index]
        return _hash(f"{array.shape}".encode() + array.tobytes())

    def take(self, indices: npt.NDArray[np.int64]) -> ImageArrays:
        """Restrict to some of the arrays."""
        if isinstance(self.arrays, tuple):
            return ImageArrays(tuple(self.arrays[index] for index in indices))
        return ImageArrays(self.arrays[indices])


def _hash(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()  # the fastest here: processors have instructions for it


def hashing_threads() -> ThreadPoolExecutor:
    """Pool of threads for work that spends its time in reading, hashing or decoding files."""
    return ThreadPoolExecutor(max_workers=min(32, (os.cpu_count() or 1) + 2))
