"""The labelled set of images that every other room works on, and where its images come from.

Labels are a vector, one for each image: none missing, all of one kind.

:func:`change_images` makes small changes that leave what an image shows as it is. A person sees the
same thing in a photograph and in its changed copy; how much the features of a network move says
what a layer ignores. Every change happens at the size at which the network sees the image, so that
its strength means the same for photographs of any size.

Conventions
-----------
missing
    NaN, NaT, None, what pandas calls missing, and what a masked array hides, in any container.
kinds
    Numbers (truth values among them), text, dates. 1 and ``"1"`` are not the same class, so kinds
    are never mixed, neither within a dataset nor between two.
"""

from __future__ import annotations

import hashlib
import operator
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property, reduce
from numbers import Number
from pathlib import Path
from typing import Any, Protocol, SupportsIndex

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageEnhance, ImageOps

from analysis.data.cards import OverlapGroup
from analysis.data.decoding import BrokenImageError, as_rgb, open_image, open_ordinary
from analysis.data.listing import composed, is_there, is_unicode

__all__ = [
    "CHANGES",
    "UNCHANGED",
    "BoxedImages",
    "ChangedImageError",
    "ChangedImages",
    "ImageArrays",
    "ImageDataset",
    "ImageFiles",
    "ImageSource",
    "JoinedImages",
    "change_images",
    "checked_labels",
    "cut_boxes",
    "hashing_threads",
    "identical_images",
    "join_datasets",
]

Array = npt.NDArray[Any]

_KINDS = dict(zip("biufUTSM", ["numbers"] * 4 + ["text"] * 2 + ["bytes", "dates"], strict=True))
_TYPES = {str: "text", bytes: "bytes", Number: "numbers", np.bool_: "numbers", date: "dates"}


def checked_labels(
    labels: npt.ArrayLike,
    n: int | None = None,
    of: str = "the {} images",
    *,
    like: Array | None = None,
) -> Array:
    """Take labels as a vector.

    Parameters
    ----------
    labels : array_like, shape (n,)
        Class of each image: any values that NumPy can sort.
    n : int, optional
        How many images there are; by default as many as labels, at least one.
    of : str
        What the labels belong to, for the message; ``{}`` stands for ``n``.
    like : ndarray, optional
        Checked labels of other images, whose classes these are to be compared with.

    Returns
    -------
    ndarray, shape (n,)
        As ``numpy.asarray`` gives them.

    Raises
    ------
    ValueError
        Labels of another shape, missing ones (the message says where), or kinds that are mixed.
    """
    # From a list, NumPy would make text of numbers among text, and of what is missing there.
    given: Any = np.ma.asarray(labels, None if hasattr(labels, "dtype") else object)
    values = given.data
    if values.ndim != 1 or (values.size != n if n is not None else not values.size):
        wanted = "a vector of labels" if n is None else f"one label for each of {of.format(n)}"
        raise ValueError(f"expected {wanted}, got labels of shape {values.shape}")
    missing = np.flatnonzero(pd.isna(values) | np.ma.getmaskarray(given))
    if missing.size:
        raise ValueError(
            f"expected a label for every image, got {missing.size} NaN, None or otherwise missing, "
            f"the first at position {missing[0]}: leave these images out"
        )
    kinds = _kinds(values) if like is None else _kinds(like) | _kinds(values)
    if len(kinds) > 1:
        examples = " and ".join(f"{kind} such as {example!r}" for kind, example in kinds.items())
        raise ValueError(f"expected labels of one kind, got {examples}: name classes in one way")
    return np.asarray(labels)


def _kinds(values: Array) -> dict[str, Any]:
    """Kinds of labels, and an example of each."""
    if values.dtype != object:
        kind = _KINDS.get(values.dtype.kind, str(values.dtype))
        return dict(zip([kind], values[:1].tolist(), strict=False))
    found: dict[str, Any] = {}
    for value in values:
        names = (name for known, name in _TYPES.items() if isinstance(value, known))
        found.setdefault(next(names, type(value).__name__), value)
    return found


Pixels = npt.NDArray[np.uint8]


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


@dataclass(frozen=True, eq=False)
class JoinedImages:
    """Images of several sources, an ``ImageSource``.

    Attributes
    ----------
    sources : tuple of ImageSource
        Where the images come from.
    origin, position : ndarray of int64, shape (n,)
        Of each image, which source has it, and where in that source.
    """

    sources: tuple[ImageSource, ...]
    origin: npt.NDArray[np.int64]
    position: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.origin)

    def image(self, index: int) -> Image.Image:
        """Image number ``index``."""
        source: ImageSource = self.sources[self.origin[index]]
        return source.image(int(self.position[index]))

    def digest(self, index: int) -> bytes:
        """Hash of what the source holds for the image."""
        source: ImageSource = self.sources[self.origin[index]]
        return source.digest(int(self.position[index]))

    def take(self, indices: npt.NDArray[np.int64]) -> JoinedImages:
        """Restrict to some of the images."""
        return JoinedImages(self.sources, self.origin[indices], self.position[indices])


@dataclass(frozen=True, eq=False)
class BoxedImages:
    """Images of a source cut to boxes, an ``ImageSource``.

    Attributes
    ----------
    source : ImageSource
        Where the images come from.
    boxes : ndarray of int64, shape (n, 4)
        Left, top, right and bottom in pixels; right and bottom are the first that are not inside.
        Clipped at the borders of the image when it is opened.
    """

    source: ImageSource
    boxes: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.boxes)

    def image(self, index: int) -> Image.Image:
        """Image number ``index``, cut; raises ``ValueError`` if the box lies outside."""
        image = self.source.image(index)
        left, top, right, bottom = self.boxes[index].tolist()
        inside = (max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height))
        if inside[0] >= inside[2] or inside[1] >= inside[3]:
            raise ValueError(
                f"expected a box in an image of {image.width} x {image.height} pixels, got left, "
                f"top, right, bottom {(left, top, right, bottom)}"
            )
        return image.crop(inside)

    def digest(self, index: int) -> bytes:
        """Hash of what the source holds for the image, and of the box."""
        box = self.boxes[index].astype("<i8").tobytes()
        return hashlib.sha256(self.source.digest(index) + box).digest()

    def take(self, indices: npt.NDArray[np.int64]) -> BoxedImages:
        """Restrict to some of the images."""
        return BoxedImages(self.source.take(indices), self.boxes[indices])


def _hash(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()  # the fastest here: processors have instructions for it


def hashing_threads() -> ThreadPoolExecutor:
    """Pool of threads for work that spends its time in reading, hashing or decoding files."""
    return ThreadPoolExecutor(max_workers=min(32, (os.cpu_count() or 1) + 2))


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
        files = _full_paths(paths, need_files=need_files)
        classes, positions = _class_positions(labels, len(files))
        relative = _relative_paths(files, root)
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
        arrays = _rgb_arrays(images)
        classes, positions = _class_positions(labels, len(arrays))
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


def join_datasets(parts: Sequence[ImageDataset]) -> ImageDataset:
    """Put datasets one after another; classes of the same name become one.

    Parameters
    ----------
    parts : sequence of ImageDataset
        At least one; a single dataset is given back as it is.

    Returns
    -------
    ImageDataset
        Its paths begin with the name of the dataset that an image comes from.

    Raises
    ------
    ValueError
        If there are no parts.
    """
    if not parts:
        raise ValueError("expected at least one dataset to join")
    if len(parts) == 1:
        return parts[0]
    classes = tuple(dict.fromkeys(name for part in parts for name in part.classes))
    labels = [
        np.array([classes.index(name) for name in part.classes], dtype=np.int64)[part.labels]
        for part in parts
    ]
    sizes = [len(part) for part in parts]
    return ImageDataset(
        name=", ".join(part.name for part in parts),
        classes=classes,
        labels=np.concatenate(labels),
        paths=tuple(f"{part.name}/{path}" for part in parts for path in part.paths),
        source=JoinedImages(
            tuple(part.source for part in parts),
            np.repeat(np.arange(len(parts)), sizes),
            np.concatenate([np.arange(size) for size in sizes]),
        ),
        skipped=reduce(lambda left, part: left + part.skipped, parts, ()),
    )


def cut_boxes(data: ImageDataset, boxes: npt.ArrayLike, *, name: str) -> ImageDataset:
    """Cut each image to its box.

    Parameters
    ----------
    data : ImageDataset
        n images.
    boxes : array_like of float, shape (n, 4)
        Left, top, right and bottom in pixels from the image's upper left corner. Rounded outwards,
        and clipped at the borders of the image, so that a box that reaches beyond gives a smaller
        image, no longer centred on the box's centre, and nothing is filled in.
    name : str
        Added to the dataset's name, after a space.

    Returns
    -------
    ImageDataset
        The same labels, classes and paths.

    Raises
    ------
    ValueError
        If there is not one box per image, or a box is empty or not finite.
    """
    edges = np.asarray(boxes, dtype=np.float64)
    if edges.shape != (len(data), 4):
        raise ValueError(f"expected boxes of shape ({len(data)}, 4), got {edges.shape}")
    wrong = ~(np.isfinite(edges).all(axis=1) & (edges[:, 2:] > edges[:, :2]).all(axis=1))
    if wrong.any():
        first = int(wrong.argmax())
        raise ValueError(
            f"expected left < right and top < bottom, got {edges[first].tolist()} for "
            f"{data.paths[first]}, the first of {int(wrong.sum())}"
        )
    outwards = np.concatenate([np.floor(edges[:, :2]), np.ceil(edges[:, 2:])], axis=1)
    return replace(
        data,
        name=f"{data.name} {name}",
        source=BoxedImages(data.source, outwards.astype(np.int64)),
    )


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


def _class_positions(
    labels: npt.ArrayLike, n: int
) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Classes, sorted as text, and the position of each of n labels among them.

    Raises
    ------
    ValueError
        If there is not one label for each image, or labels are missing, empty or of mixed kinds.
    """
    names = [composed(str(label)) for label in checked_labels(labels, n).tolist()]
    blank = next((position for position, name in enumerate(names) if not name.strip()), None)
    if blank is not None:
        raise ValueError(f"expected a label for every image, got an empty text at position {blank}")
    classes = tuple(sorted(set(names)))
    position = {name: label for label, name in enumerate(classes)}
    return classes, np.array([position[name] for name in names], dtype=np.int64)


def _full_paths(paths: Iterable[str | os.PathLike[str]], *, need_files: bool) -> list[str]:
    """Absolute paths of files.

    Raises
    ------
    ValueError
        If there are none, one is no path or no Unicode, or the same file is named twice.
    FileNotFoundError
        If files are needed that are not there.
    """
    if isinstance(paths, str | bytes | os.PathLike):
        raise ValueError(f"expected paths of images, one for each label, got the one {paths!r}")
    given = list(paths)
    seen: dict[str, int] = {}
    for position, path in enumerate(given):
        if not isinstance(path, str | os.PathLike) or not str(path).strip():
            raise ValueError(f"expected a path at position {position}, got {path!r}")
        full = os.path.normpath(Path(path).expanduser().absolute())
        if not is_unicode(full):
            raise ValueError(f"the path {full!a} is not Unicode, so that no table could hold it")
        first = seen.setdefault(full, position)
        if first != position:
            raise ValueError(
                f"{full} is there twice, at positions {first} and {position} from 0; name it once"
            )
    if not seen:
        raise ValueError("expected paths of images, got none")
    absent = [path for path in seen if not is_there(Path(path))] if need_files else []
    if absent:
        raise FileNotFoundError(
            f"{len(absent)} of {len(seen)} files are not there, the first being {absent[0]}"
        )
    return list(seen)


def _relative_paths(files: Sequence[str], root: str | os.PathLike[str] | None) -> tuple[str, ...]:
    """Paths from a folder, by default the deepest that holds all files."""
    try:
        top = os.path.commonpath([Path(file).parent for file in files]) if root is None else root
        return tuple(composed(Path(os.path.relpath(file, top)).as_posix()) for file in files)
    except ValueError:  # on several drives
        return tuple(composed(Path(file).as_posix()) for file in files)


def _rgb_arrays(images: Any) -> Pixels | tuple[Pixels, ...]:
    """Copy images as RGB values of 8 bits; of one size into one array.

    Parameters
    ----------
    images : ndarray of shape (n, height, width), (n, height, width, 3), or sequence
        A sequence holds arrays of shape (height, width) or (height, width, 3), or PIL images.
        Arrays are of uint8, or of real numbers from 0 (black) to 1 (white).

    Raises
    ------
    ValueError
        If there are none, or one has another shape, type or range of values.
    """
    stacked = hasattr(images, "shape") or hasattr(images, "__array__")
    given = np.asarray(images) if stacked and not isinstance(images, Image.Image) else images
    if isinstance(given, Image.Image | str) or len(given) == 0:
        raise ValueError("expected several images, got one or none")
    arrays = tuple(_rgb(image, position) for position, image in enumerate(given))
    if len({array.shape for array in arrays}) > 1:
        return arrays
    return np.stack(arrays)


def _rgb(image: Any, position: int) -> Pixels:
    if isinstance(image, Image.Image):
        return np.array(as_rgb(image))
    values = np.asarray(image)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] != 3) or not values.size:
        raise ValueError(
            f"expected images of shape (height, width, 3) or (height, width), got {values.shape} "
            f"at position {position}; the channels come last"
        )
    if np.issubdtype(values.dtype, np.floating):
        if not (values >= 0).all() or not (values <= 1).all():  # which NaN is not either
            raise ValueError(
                f"expected real numbers from 0 to 1, got {values.min()} to {values.max()} at "
                f"position {position}; scale them, or give whole numbers from 0 to 255 as uint8"
            )
        values = np.rint(values * 255).astype(np.uint8)
    if values.dtype != np.uint8:
        raise ValueError(
            f"expected uint8, or real numbers from 0 to 1, got {values.dtype} at position "
            f"{position}"
        )
    return np.stack([values] * 3, axis=2) if values.ndim == 2 else values.copy()


UNCHANGED = "unchanged"
SHIFT, ANGLE, BRIGHTER, NOISE = 1 / 16, 8.0, 1.3, 12.0
_LONGEST = 64  # sides: of an image thinner than this, the middle is taken

Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def _shift(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    step = round(SHIFT * min(image.size))
    return image.transform(image.size, Image.Transform.AFFINE, (1, 0, -step, 0, 1, 0))


def _turn(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return image.rotate(ANGLE, resample=Image.Resampling.BILINEAR)


def _add_noise(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    pixels = np.asarray(image)
    noisy = pixels + rng.normal(0.0, NOISE, pixels.shape)
    return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


CHANGES: dict[str, Change] = {
    "mirrored": lambda image, rng: ImageOps.mirror(image),
    "shifted by 1/16": _shift,
    "turned by 8°": _turn,
    "30 % brighter": lambda image, rng: ImageEnhance.Brightness(image).enhance(BRIGHTER),
    "noise (s.d. 12 of 255)": _add_noise,
    "without colour": lambda image, rng: image.convert("L").convert("RGB"),
}
"""Name → change. The shift is a share of the shorter side, to the right."""


@dataclass(frozen=True)
class ChangedImages:
    """Images of another source, resized and then changed.

    Attributes
    ----------
    source : ImageSource
        Where the images come from.
    change : str
        Key of ``CHANGES``, or ``"unchanged"``.
    side : int
        Shorter side after resizing, in pixels.
    seed : int
        Seed of the noise. The same image gets the same noise wherever it stands in a dataset.
    """

    source: ImageSource
    change: str
    side: int
    seed: int = 0

    def __len__(self) -> int:
        return len(self.source)

    def image(self, index: int) -> Image.Image:
        """Image number ``index``, resized and changed."""
        image = self.source.image(index)
        width, height = (min(edge, _LONGEST * min(image.size)) for edge in image.size)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        scale = self.side / min(width, height)
        size = (max(self.side, round(scale * width)), max(self.side, round(scale * height)))
        box = (left, top, left + width, top + height)
        resized = image.crop(box).resize(size, Image.Resampling.BILINEAR)
        if self.change == UNCHANGED:
            return resized
        rng = np.random.default_rng([self.seed, *self.source.digest(index)[:16]])
        return CHANGES[self.change](resized, rng)

    def digest(self, index: int) -> bytes:
        """Hash of the original image and of what is done to it."""
        done = f"{self.change}|{self.side}|{self.seed}".encode()
        return hashlib.sha256(self.source.digest(index) + done).digest()

    def take(self, indices: npt.NDArray[np.int64]) -> ChangedImages:
        """Restrict to some of the images."""
        return replace(self, source=self.source.take(indices))


def change_images(data: ImageDataset, change: str, *, side: int, seed: int = 0) -> ImageDataset:
    """Dataset of changed copies, in the same order and with the same labels and paths.

    Parameters
    ----------
    data
        Images to change. They are changed when they are opened.
    change
        Key of ``CHANGES``, or ``"unchanged"`` for copies that are resized only.
    side
        Shorter side in pixels at which the change happens: the ``resize`` of a network's
        preprocessing. A shift leaves a black edge of 1/16 of ``side`` and a turn black corners;
        a central crop of 7/8 of ``side`` does not see them.
    seed
        Seed of the noise.

    Returns
    -------
    ImageDataset

    Raises
    ------
    ValueError
        If the change is unknown or ``side`` is not positive.
    """
    if change != UNCHANGED and change not in CHANGES:
        known = ", ".join([UNCHANGED, *CHANGES])
        raise ValueError(f"unknown change {change!r}; known: {known}")
    if side <= 0:
        raise ValueError(f"expected a positive side in pixels, got {side}")
    source = ChangedImages(data.source, change, side, seed)
    return replace(data, name=f"{data.name}, {change}", source=source)
