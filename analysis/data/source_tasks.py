"""Source tasks: labelled images as one array, ready to train a small network on.

A network of 64 × 64 pixels is trained from memory: 50,000 images are 0.6 GB. The images come from a
folder, and may be joined by the classes that Layerbook draws.

Conventions
-----------
A class of ImageNet is a noun of WordNet 3.0, ``n`` and eight digits (its *wnid*), which are its
place in WordNet's file of nouns. That file is sorted by subject (animals before artefacts, before
food, and so on) and, within animals, by kind. So the digits alone tell the group. The borders below
lie between the 1,000 classes of ILSVRC 2012, for which the groups are meant.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray
from PIL import Image
from tqdm.auto import tqdm

from analysis.data.decoding import grows_too_large, resized_window
from analysis.data.drawn import source_drawn
from analysis.data.images import ImageDataset, hashing_threads, merge_classes
from analysis.data.readers import load_dataset
from analysis.data.splits import stratified_splits

_HELD_OUT = 10  # one in so many images of the smallest class, where the folder has no val/


@dataclass(frozen=True)
class Part:
    """The training or the validation part of a source task.

    Attributes
    ----------
    images : ndarray of uint8, shape (n, 3, side, side)
        RGB.
    labels : ndarray of int64, shape (n,)
        Positions in the task's classes.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class SourceTask:
    """What a network is trained on.

    Attributes
    ----------
    classes : tuple of str
        Names: those of the folder, then the drawn ones.
    titles : tuple of str
        Readable names, from ``classes.tsv`` in the folder (name, tab, title), else the names.
    train, val : Part
        Images to learn from, and images to measure the accuracy on.
    n_drawn : int
        How many classes, at the end, are drawn.
    fingerprint : str
        Hash (hex) of what the datasets hold, and of which image is in which part.
    """

    classes: tuple[str, ...]
    titles: tuple[str, ...]
    train: Part
    val: Part
    n_drawn: int
    fingerprint: str


def read_source_task(
    folder: str | Path,
    *,
    keep: Collection[str] | None = None,
    drawn: bool = False,
    side: int = 64,
    seed: int = 0,
    progress: bool = False,
) -> SourceTask:
    """Read a folder of images, and draw the generated classes, as a source task.

    Parameters
    ----------
    folder : path
        Holds ``train/`` and ``val/``, each with one sub-folder per class; or one sub-folder per
        class, and then as many images of every class as make a tenth of the smallest (rounded up)
        are held out. Beside them there may be a ``classes.tsv``: sub-folder, tab, readable name.
    keep : collection of str, optional
        Names of the classes to read; by default all.
    drawn : bool
        Add the classes that Layerbook draws (``source_drawn``), from ``seed``.
    side : int
        Images are resized to this shorter side and cropped at their centre, in pixels.
    seed : int
        Seed of the drawing and of the held-out images.
    progress : bool
        Show a progress bar.

    Returns
    -------
    SourceTask

    Raises
    ------
    ValueError
        If the folder has no images, ``train/`` and ``val/`` have not the same classes, a class
        that should be kept is not there, there is nothing to hold out, or ``classes.tsv`` has
        lines without a tab.
    FileNotFoundError
        If there is no such folder.
    BrokenImageError
        If an image cannot be read; the message names its path.
    """
    root = Path(folder)
    parts = _read_parts(root, keep, seed)
    if parts[0].classes != parts[1].classes:
        raise ValueError(
            f"{folder}: expected the same classes in train and val; only one of them has "
            f"{sorted({*parts[0].classes} ^ {*parts[1].classes})}"
        )
    own = parts[0].classes
    table = root / "classes.tsv"
    lines = table.read_text("utf-8-sig", "replace").splitlines() if table.is_file() else []
    if bare := [line for line in lines if line.strip() and "\t" not in line]:
        raise ValueError(
            f"{table}: expected sub-folder, tab, readable name in every line, got {bare[0]!r}"
        )
    title = dict(line.split("\t", 1) for line in lines if line.strip())
    drawings = [source_drawn("train", seed=seed), source_drawn("val", seed=seed)] if drawn else []
    added = drawings[0].classes if drawn else ()
    images = [thumbnails(part, side, progress=progress) for part in parts]
    labels = [part.labels.copy() for part in parts]
    for k, part in enumerate(drawings):
        images[k] = np.concatenate([images[k], thumbnails(part, side)])
        labels[k] = np.concatenate([labels[k], part.labels + len(own)])
    hashes = "\n".join(part.fingerprint for part in [*parts, *drawings])
    return SourceTask(
        classes=own + added,
        titles=tuple(title.get(name, name) for name in own) + added,
        train=Part(images[0], labels[0]),
        val=Part(images[1], labels[1]),
        n_drawn=len(added),
        fingerprint=hashlib.sha256(hashes.encode()).hexdigest(),
    )


def thumbnails(data: ImageDataset, side: int, *, progress: bool = False) -> npt.NDArray[np.uint8]:
    """Resize all images to a shorter side and crop the centre.

    Parameters
    ----------
    data : ImageDataset
        n images.
    side : int
        Pixels.
    progress : bool
        Show a progress bar.

    Returns
    -------
    ndarray of uint8, shape (n, 3, side, side)
    """
    images = np.empty((len(data), 3, side, side), np.uint8)

    def fill(index: int) -> None:
        images[index] = _thumbnail(data[index], side).transpose(2, 0, 1)

    with hashing_threads() as pool:
        done = pool.map(fill, range(len(data)))
        for _ in tqdm(done, total=len(data), desc=data.name, unit="image", disable=not progress):
            pass
    return images


def _thumbnail(image: Image.Image, side: int) -> npt.NDArray[np.uint8]:
    size = image.size
    if min(size) != side:
        scale = side / min(size)
        size = (max(side, round(size[0] * scale)), max(side, round(size[1] * scale)))
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    if grows_too_large(image.size, size):
        window = resized_window(image, size, (left, top), (side, side), Image.Resampling.BILINEAR)
        return np.asarray(window)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(image.crop((left, top, left + side, top + side)))


def _read_parts(folder: Path, keep: Collection[str] | None, seed: int) -> list[ImageDataset]:
    """Training and validation images of a folder."""

    def read(place: Path) -> ImageDataset:
        data = load_dataset(f"folder:{place}")
        if keep is None:
            return data
        names = [name for name in data.classes if name in keep] + sorted({*keep} - {*data.classes})
        return merge_classes(data, {name: (name,) for name in names})

    if keep is not None and not keep:
        raise ValueError("expected the name of at least one class to keep, got none")
    if (folder / "train").is_dir() and (folder / "val").is_dir():
        return [read(folder / part) for part in ("train", "val")]
    data = read(folder)
    smallest = int(np.bincount(data.labels, minlength=len(data.classes)).min())
    if smallest < 2:
        raise ValueError(
            f"{folder}: expected at least 2 images in every class, to hold some out for "
            f"validation, but the smallest class has {smallest}"
        )
    n_val = -(-smallest // _HELD_OUT)
    (split,) = stratified_splits(data.labels, n_train=n_val, n_splits=1, seed=seed)
    return [data.subset(split.test), data.subset(split.train)]


COARSE_GROUPS = (
    "birds",
    "dogs",
    "other mammals",
    "other animals",
    "artefacts",
    "food, plants, fungi",
    "land, sea, people",
)
"""Names of the groups."""

_BIRD, _DOG, _MAMMAL, _ANIMAL, _THING, _FOOD, _LAND = COARSE_GROUPS
_FROM = (
    (1_313_093, _ANIMAL),  # fishes
    (1_503_061, _BIRD),
    (1_627_424, _ANIMAL),  # amphibians, reptiles, spiders
    (1_789_740, _BIRD),  # fowl and parrots
    (1_861_778, _MAMMAL),  # that lay eggs or have pouches
    (1_905_661, _ANIMAL),  # jellyfish, snails, crabs
    (2_000_954, _BIRD),  # of water
    (2_062_017, _MAMMAL),  # of the sea
    (2_084_071, _DOG),
    (2_114_100, _MAMMAL),  # wolves, cats, bears
    (2_159_955, _ANIMAL),  # insects, starfish
    (2_323_449, _MAMMAL),  # hares, hoofed animals, apes
    (2_512_053, _ANIMAL),  # fishes
    (2_663_000, _THING),
    (7_555_000, _FOOD),
    (9_186_000, _LAND),
    (11_529_000, _FOOD),
    (13_200_000, _THING),
)
_STARTS = [start for start, _ in _FROM]
_WNID = re.compile(r"n(\d{8})(?:\D|$)")


def coarse_groups(names: Iterable[str]) -> NDArray[np.str_] | None:
    """Coarse group of each class, by the wnid that its name begins with.

    Parameters
    ----------
    names : iterable of str
        Names of classes, such as ``"n02123045_tabby"``.

    Returns
    -------
    ndarray of str, or None
        One of :data:`COARSE_GROUPS` for each name; None if any name does not begin with a wnid.
    """
    found = [_WNID.match(name) for name in names]
    if not found or not all(found):
        return None
    places = [int(match.group(1)) for match in found if match]
    return np.array([_FROM[bisect_right(_STARTS, place) - 1][1] for place in places])
