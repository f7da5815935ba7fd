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
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from numbers import Number
from pathlib import Path
from typing import Any, NamedTuple, Protocol, SupportsIndex

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageEnhance, ImageOps

from analysis.data.cards import OverlapGroup
from analysis.data.decoding import BrokenImageError, as_rgb, open_image, open_ordinary
from analysis.data.listing import composed, is_there, is_unicode

Array = npt.NDArray[Any]

_KINDS: tuple[tuple[tuple[type, ...], str], ...] = (
    *(((str,), "text"), ((bytes,), "bytes")),
    *(((Number, np.bool_), "numbers"), ((date, np.datetime64), "dates")),
)


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
    """Kinds of labels, and an example of each; all values of a typed array are of one kind."""
    return {
        next((kind for types, kind in _KINDS if isinstance(value, types)), type(value).__name__): (
            value.item() if isinstance(value, np.generic) else value
        )
        for value in (values if values.dtype == object else values[:1])
    }


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
    places : tuple of (int, int)
        Of each image, which source has it, and where in that source.
    """

    sources: tuple[ImageSource, ...]
    places: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.places)

    def image(self, index: int) -> Image.Image:
        """Image number ``index``."""
        source, position = self.places[index]
        return self.sources[source].image(position)

    def digest(self, index: int) -> bytes:
        """Hash of what the source holds for the image."""
        source, position = self.places[index]
        return self.sources[source].digest(position)

    def take(self, indices: npt.NDArray[np.int64]) -> JoinedImages:
        """Restrict to some of the images."""
        return replace(self, places=tuple(self.places[index] for index in indices))


@dataclass(frozen=True, eq=False)
class EditedImages:
    """Images of another source, each edited when it is opened; an ``ImageSource``.

    Attributes
    ----------
    source : ImageSource
        Where the images come from.
    edits : tuple of Box or Change
        What is done to each of them.
    """

    source: ImageSource
    edits: tuple[Box | Change, ...]

    def __len__(self) -> int:
        return len(self.edits)

    def image(self, index: int) -> Image.Image:
        """Image number ``index``, edited; raises ``ValueError`` if a box lies outside of it."""
        return self.edits[index].edited(self.source, index)

    def digest(self, index: int) -> bytes:
        """Hash of what the source holds for the image, and of the edit."""
        return _hash(self.source.digest(index) + self.edits[index].key)

    def take(self, indices: npt.NDArray[np.int64]) -> EditedImages:
        """Restrict to some of the images."""
        return EditedImages(self.source.take(indices), tuple(self.edits[k] for k in indices))


class Box(NamedTuple):
    """Part of an image in pixels; right and bottom are the first that are not inside.

    Clipped at the borders of the image when it is opened.
    """

    left: int
    top: int
    right: int
    bottom: int

    @property
    def key(self) -> bytes:
        """Bytes that tell this edit from others."""
        return np.array(self, "<i8").tobytes()

    def edited(self, source: ImageSource, index: int) -> Image.Image:
        """Cut an image of a source."""
        image = source.image(index)
        left, top = max(self.left, 0), max(self.top, 0)
        right, bottom = min(self.right, image.width), min(self.bottom, image.height)
        if left >= right or top >= bottom:
            raise ValueError(
                f"expected a box in an image of {image.width} x {image.height} pixels, got "
                f"{tuple(self)} as left, top, right, bottom"
            )
        return image.crop((left, top, right, bottom))


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
        top = os.path.commonpath(list(map(os.path.dirname, files))) if root is None else root
        relative = tuple(composed(Path(os.path.relpath(file, top)).as_posix()) for file in files)
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
        try:
            return self.source.image(range(len(self))[index])
        except IndexError as error:
            raise IndexError(f"image {index} of {self.name!r}, which has {len(self)}") from error

    def __iter__(self) -> Iterator[Image.Image]:
        return (self.source.image(index) for index in range(len(self)))

    def __repr__(self) -> str:
        return f"ImageDataset({self.name!r}, {len(self)} images, {len(self.classes)} classes)"

    def subset(self, indices: Sequence[int] | npt.NDArray[np.integer | np.bool_]) -> ImageDataset:
        """Dataset of some of the images, in the given order; ``classes`` stay as they are.

        Parameters
        ----------
        indices : vector of integers, or a boolean mask of shape (n,)
            Which images; negative integers count from the end.

        Raises
        ------
        IndexError
            As NumPy does: an index is out of range, a mask has the wrong length, or it is neither.
        """
        given = np.asarray(indices)
        chosen = np.arange(len(self))[given if given.size else given.astype(int)]
        return replace(
            self,
            labels=self.labels[chosen],
            paths=tuple(self.paths[index] for index in chosen),
            source=self.source.take(chosen),
        )

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
        np.array([classes.index(name) for name in part.classes], np.int64)[part.labels]
        for part in parts
    ]
    return ImageDataset(
        name=", ".join(part.name for part in parts),
        classes=classes,
        labels=np.concatenate(labels),
        paths=tuple(f"{part.name}/{path}" for part in parts for path in part.paths),
        source=JoinedImages(
            tuple(part.source for part in parts),
            tuple((k, index) for k, part in enumerate(parts) for index in range(len(part))),
        ),
        skipped=tuple(row for part in parts for row in part.skipped),
    )


def merge_classes(data: ImageDataset, classes: Mapping[str, Sequence[str]]) -> ImageDataset:
    """Take the images of some classes, under new names.

    Parameters
    ----------
    data : ImageDataset
        Images of these classes and others.
    classes : mapping of str to sequence of str
        Name of each new class, and the classes of ``data`` that make it up.

    Returns
    -------
    ImageDataset
        Images in the order of ``data``, classes in that of ``classes``.

    Raises
    ------
    ValueError
        If a class is not in ``data``, or a new class has no images.
    """
    new_label = {part: label for label, parts in enumerate(classes.values()) for part in parts}
    if missing := sorted(new_label.keys() - set(data.classes)):
        raise ValueError(
            f"{data.name} has no classes {', '.join(missing)}; there are {', '.join(data.classes)}"
        )
    labels = np.array([new_label.get(name, -1) for name in data.classes], np.int64)[data.labels]
    if absent := [name for label, name in enumerate(classes) if label not in labels]:
        raise ValueError(f"{data.name} has no images of {', '.join(absent)}")
    # What holds of all classes, or of none, holds of those that are taken; "some" need not.
    unsure = data.overlap_group == "b" and len(new_label) < len(data.classes)
    return replace(
        data.subset(labels >= 0),
        classes=tuple(classes),
        labels=labels[labels >= 0],
        overlap_group=None if unsure else data.overlap_group,
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
    cut = EditedImages(data.source, tuple(Box(*box) for box in outwards.astype(int).tolist()))
    return replace(data, name=f"{data.name} {name}", source=cut)


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
    groups = pd.Series(range(len(data))).groupby(list(data._digests), sort=False)
    return [np.asarray(group, np.int64) for _, group in groups if len(group) > 1]


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
    if isinstance(paths, str | bytes | os.PathLike) or not (given := list(paths)):
        raise ValueError(f"expected paths of images, one for each label, got {paths!r}")
    seen: dict[str, int] = {}
    for position, path in enumerate(given):
        if not isinstance(path, str | os.PathLike) or not str(path).strip():
            raise ValueError(f"expected a path at position {position}, got {path!r}")
        full = os.path.normpath(Path(path).expanduser().absolute())
        if not is_unicode(full):
            raise ValueError(f"the path {full!a} is not Unicode, so that no table could hold it")
        if (first := seen.setdefault(full, position)) != position:
            raise ValueError(
                f"{full} is there twice, at positions {first} and {position} from 0; name it once"
            )
    absent = [path for path in seen if not is_there(Path(path))] if need_files else []
    if absent:
        raise FileNotFoundError(
            f"{len(absent)} of {len(seen)} files are not there, the first being {absent[0]}"
        )
    return list(seen)


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
    if isinstance(images, Image.Image | str) or len(images) == 0:
        raise ValueError("expected several images, got one or none")
    arrays = tuple(_rgb(image, position) for position, image in enumerate(images))
    return np.stack(arrays) if len({array.shape for array in arrays}) == 1 else arrays


def _rgb(image: Any, position: int) -> Pixels:
    if isinstance(image, Image.Image):
        return np.array(as_rgb(image))
    values = np.asarray(image)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if not values.size or not (values.ndim == 2 or (values.ndim == 3 and values.shape[2] == 3)):
        raise ValueError(
            f"expected images of shape (height, width, 3) or (height, width), got {values.shape} "
            f"at position {position}; the channels come last"
        )
    real = np.issubdtype(values.dtype, np.floating)
    if values.dtype != np.uint8 and not (real and ((values >= 0) & (values <= 1)).all()):
        raise ValueError(
            f"expected uint8, or real numbers from 0 to 1, got {values.dtype} from {values.min()} "
            f"to {values.max()} at position {position}"
        )
    grey_or_rgb = np.rint(values * 255).astype(np.uint8) if real else values
    return np.stack([grey_or_rgb] * 3, axis=2) if values.ndim == 2 else grey_or_rgb.copy()


UNCHANGED = "unchanged"
SHIFT, ANGLE, BRIGHTER, NOISE = 1 / 16, 8.0, 1.3, 12.0
_LONGEST = 64  # sides: of an image thinner than this, the middle is taken


def _shift(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    step = round(SHIFT * min(image.size))
    return image.transform(image.size, Image.Transform.AFFINE, (1, 0, -step, 0, 1, 0))


def _turn(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return image.rotate(ANGLE, resample=Image.Resampling.BILINEAR)


def _add_noise(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    pixels = np.asarray(image)
    noisy = pixels + rng.normal(0.0, NOISE, pixels.shape)
    return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


CHANGES: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "mirrored": lambda image, rng: ImageOps.mirror(image),
    "shifted by 1/16": _shift,
    "turned by 8°": _turn,
    "30 % brighter": lambda image, rng: ImageEnhance.Brightness(image).enhance(BRIGHTER),
    "noise (s.d. 12 of 255)": _add_noise,
    "without colour": lambda image, rng: image.convert("L").convert("RGB"),
}
"""Name → change. The shift is a share of the shorter side, to the right."""


class Change(NamedTuple):
    """A resize, and then a change of what came out of it.

    Attributes
    ----------
    change : str
        Key of ``CHANGES``, or ``"unchanged"``.
    side : int
        Shorter side after resizing, in pixels.
    seed : int
        Seed of the noise. The same image gets the same noise wherever it stands in a dataset.
    """

    change: str
    side: int
    seed: int

    @property
    def key(self) -> bytes:
        """Bytes that tell this edit from others."""
        return f"{self.change}|{self.side}|{self.seed}".encode()

    def edited(self, source: ImageSource, index: int) -> Image.Image:
        """Resize and change an image of a source."""
        image = source.image(index)
        width, height = (min(edge, _LONGEST * min(image.size)) for edge in image.size)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        scale = self.side / min(width, height)
        size = (max(self.side, round(scale * width)), max(self.side, round(scale * height)))
        box = (left, top, left + width, top + height)
        resized = image.crop(box).resize(size, Image.Resampling.BILINEAR)
        if self.change == UNCHANGED:
            return resized
        rng = np.random.default_rng([self.seed, *source.digest(index)[:16]])
        return CHANGES[self.change](resized, rng)


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
        raise ValueError(f"unknown change {change!r}; known: {', '.join([UNCHANGED, *CHANGES])}")
    if side <= 0:
        raise ValueError(f"expected a positive side in pixels, got {side}")
    changed = EditedImages(data.source, (Change(change, side, seed),) * len(data))
    return replace(data, name=f"{data.name}, {change}", source=changed)
