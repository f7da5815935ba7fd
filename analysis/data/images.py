"""The labelled set of images that every other room works on."""

from __future__ import annotations

import hashlib
import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt
from PIL import Image

from analysis.data.cards import OverlapGroup
from analysis.data.given import class_positions, full_paths, relative_paths, rgb_arrays
from analysis.data.image_sources import ImageArrays, ImageFiles, ImageSource, hashing_threads

__all__ = [
    "ChangedImageError",
    "ImageArrays",
    "ImageDataset",
    "ImageFiles",
    "ImageSource",
    "hashing_threads",
]


class ChangedImageError(OSError):
    """An image is not the one that was there before; the message names its path."""


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """A labelled set of images, opened one at a time.

    Attributes
    ----------
    name : str
        The name it was loaded by.
    classes : tuple of str
        Class names.
    labels : ndarray of int64, shape (n,)
        Positions in ``classes``; read-only.
    paths : tuple of str
        Path of each image relative to the dataset's root, with "/"; a stable identifier also for
        images that are not files.
    source : ImageSource
        Where the images come from.
    overlap_group : {"a", "b", "c"} or None
        Overlap with the source task, see ``DatasetCard``.
    skipped : tuple of (str, str)
        Path and reason of every image that was left out: it cannot be read, is in a format that is
        not read, or lies where no class is.

    Examples
    --------
    >>> from analysis.data import load_dataset
    >>> data = load_dataset("digits")
    >>> len(data), data[0].mode, data.classes[data.labels[0]]
    (1797, 'RGB', '0')
    """

    name: str
    classes: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    paths: tuple[str, ...]
    source: ImageSource
    overlap_group: OverlapGroup | None = None
    skipped: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        labels = np.array(self.labels, dtype=np.int64)
        labels.flags.writeable = False
        object.__setattr__(self, "labels", labels)
        if not labels.shape == (len(self.paths),) == (len(self.source),):
            raise ValueError(
                f"dataset {self.name!r}: {labels.shape} labels, {len(self.paths)} paths and "
                f"{len(self.source)} images do not belong together"
            )
        if labels.size and not 0 <= labels.min() <= labels.max() < len(self.classes):
            raise ValueError(
                f"dataset {self.name!r}: labels {labels.min()}..{labels.max()} do not fit "
                f"{len(self.classes)} classes"
            )

    @classmethod
    def from_files(
        cls,
        paths: Iterable[str | os.PathLike[str]],
        labels: npt.ArrayLike,
        *,
        name: str = "files",
        root: str | os.PathLike[str] | None = None,
        need_files: bool = True,
    ) -> ImageDataset:
        """Dataset of image files, opened when asked for.

        Parameters
        ----------
        paths : sequence of n paths
            Files, each named once; also a Series or an array.
        labels : array_like, shape (n,)
            Class of each file, as text or numbers.
        name : str
            What the dataset is called.
        root : path, optional
            Folder that ``paths`` of the dataset are relative to; by default the deepest that holds
            all files.
        need_files : bool
            Refuse files that are not there. Without, opening them raises ``BrokenImageError``.

        Returns
        -------
        ImageDataset
            ``classes`` are the labels as text, sorted.

        Raises
        ------
        ValueError
            If there is not one label for each path, or labels are missing (the message says where);
            if a file is named twice.
        FileNotFoundError
            If files are not there.
        """
        files = full_paths(paths, need_files=need_files)
        classes, positions = class_positions(labels, len(files))
        relative = relative_paths(files, root)
        return cls(name, classes, positions, relative, ImageFiles(tuple(files)))

    @classmethod
    def from_arrays(
        cls, images: Any, labels: npt.ArrayLike, *, name: str = "arrays"
    ) -> ImageDataset:
        """Dataset of images in memory, which are copied.

        Parameters
        ----------
        images : ndarray of shape (n, height, width, 3) or (n, height, width), or sequence of n
            A sequence holds arrays of shape (height, width, 3) or (height, width), or PIL images,
            of any sizes. Arrays are of uint8, or of real numbers from 0 (black) to 1 (white).
        labels : array_like, shape (n,)
            Class of each image, as text or numbers.
        name : str
            What the dataset is called.

        Returns
        -------
        ImageDataset
            ``classes`` are the labels as text, sorted; ``paths`` count the images from ``"0"``.

        Raises
        ------
        ValueError
            If there is not one label for each image, labels are missing (the message says where),
            or an image has another shape, type or range of values.
        """
        arrays = rgb_arrays(images)
        classes, positions = class_positions(labels, len(arrays))
        paths = tuple(map(str, range(len(arrays))))
        return cls(name, classes, positions, paths, ImageArrays(arrays))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: SupportsIndex) -> Image.Image:
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"image {position} of {self.name!r}, which has {len(self)}")
        return self.source.image(position % len(self))

    def __iter__(self) -> Iterator[Image.Image]:
        return (self.source.image(index) for index in range(len(self)))

    def __repr__(self) -> str:
        return f"ImageDataset({self.name!r}, {len(self)} images, {len(self.classes)} classes)"

    def subset(self, indices: Sequence[int] | npt.NDArray[np.integer | np.bool_]) -> ImageDataset:
        """Dataset of some of the images, in the given order; ``classes`` stay as they are.

        Parameters
        ----------
        indices : integers in [0, n), or a boolean mask of shape (n,)
            Which images.

        Raises
        ------
        ValueError
            If a mask has the wrong length, or the indices are not integers.
        IndexError
            If an index is out of range.
        """
        chosen = self._positions(np.asarray(indices))
        return replace(
            self,
            labels=self.labels[chosen],
            paths=tuple(self.paths[index] for index in chosen),
            source=self.source.take(chosen),
        )

    def _positions(self, indices: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
        if indices.dtype == bool:
            if indices.shape != (len(self),):
                raise ValueError(f"expected a mask of shape ({len(self)},), got {indices.shape}")
            return np.flatnonzero(indices).astype(np.int64)
        if indices.size == 0:
            return np.zeros(0, dtype=np.int64)
        if indices.ndim != 1 or not np.issubdtype(indices.dtype, np.integer):
            raise ValueError(
                f"expected a vector of integers, got {indices.dtype} of shape {indices.shape}"
            )
        positions = indices.astype(np.int64)
        if positions.min() < 0 or positions.max() >= len(self):
            raise IndexError(
                f"indices {positions.min()}..{positions.max()} of {self.name!r}, "
                f"which has {len(self)} images"
            )
        return positions

    @cached_property
    def fingerprint(self) -> str:
        """Hash (hex) of the images' contents, relative paths, labels and classes.

        The same on every machine that holds the same files, wherever they lie. Computed on first
        use by reading every file; kept with the object only.
        """
        total = hashlib.sha256()
        for name in self.classes:
            total.update(_delimited(name))
        for path, label, digest in zip(
            self.paths, self.labels.tolist(), self._digests, strict=True
        ):
            total.update(_delimited(path) + label.to_bytes(8, "little") + digest)
        return total.hexdigest()

    @cached_property
    def _digests(self) -> tuple[bytes, ...]:
        with hashing_threads() as pool:
            return tuple(pool.map(self.source.digest, range(len(self))))

    def verified(self, index: int) -> Image.Image:
        """Image number ``index``, if it is the one that :attr:`fingerprint` stands for.

        Raises
        ------
        ChangedImageError
            If it has another content than when the fingerprint was taken.
        """
        try:
            return self[index]
        finally:  # after reading, and also if that fails: a file may be half replaced
            if self.source.digest(index) != self._digests[index]:
                raise ChangedImageError(
                    f"image {self.paths[index]!r} of {self.name!r} has changed since the dataset "
                    "was opened; open it again: with other images it has features of its own"
                )


def _delimited(text: str) -> bytes:
    """Bytes of a text with their length in front, so that neighbours cannot run together."""
    encoded = text.encode("utf-8", "surrogateescape")
    return len(encoded).to_bytes(8, "little") + encoded
