"""What datasets publish beside their images: features, splits, boxes and parts.

SURF features of Office-Caltech-10; splits of SUN-397, as in section 4.4 of DeCAF, drawn anew or the
published ones; of the birds, where they and their parts are, and the official split.

Conventions
-----------
SURF
    Each image is a histogram of 800 visual words, clusters of SURF descriptors, as in Saenko,
    Kulis, Fritz and Darrell, *Adapting visual category models to new domains*, ECCV 2010; Gong,
    Shi, Sha and Grauman, CVPR 2012, added Caltech-256. One MATLAB file per domain holds the counts,
    ``fts`` (images, 800), and ``labels`` from 1 to 10. Label k is the k-th class in the order of
    the names: in all four domains the classes have as many histograms as they have images. Which
    histogram is of which image the files do not say.
birds
    The files beside the images of Caltech-UCSD Birds-200-2011 (``cub200``), unmodified. Pixels are
    counted from the upper left corner of the image as it is decoded.
bird
    The bounding box, sides 1.5 times as long around the same centre, as in section 4.3 of DeCAF,
    clipped at the borders of the image (how the paper treats them is not said).
regions
    Head, body, wing and tail, each the square around those of its parts that are visible, wider on
    every side by a share of the bird's size, which is the square root of the area of its bounding
    box. DPD, which the paper uses, predicts boxes by a deformable part model and pools them by
    learnt weights. Here boxes come from the annotation, of test images too, and are not weighed:
    what knowing the parts is worth, not how well they are found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from analysis import paths
from analysis.data.cards import card_of
from analysis.data.images import ImageDataset, cut_boxes
from analysis.data.layouts import find_dataset
from analysis.data.listing import composed
from analysis.data.matlab import read_matlab
from analysis.data.splits import Split, stratified_splits

__all__ = [
    "REGIONS",
    "BirdAnnotations",
    "BirdRegions",
    "SceneSplit",
    "concatenate_regions",
    "crop_birds",
    "crop_regions",
    "read_bird_annotations",
    "read_partitions",
    "scene_splits",
    "surf_features",
]

_SURF_FOLDER = "office_caltech10_surf"
_WORDS, _CLASSES = 800, 10
_SHA256 = {
    "amazon": "df32548b994e18d364c99e1f317e1fae100597259f0423a41b90f4f68187bb1f",
    "caltech10": "4f9334c8ced489d5054de97a5fd51a61f017f3bcd1f38c9a85c6d78cb9d7bda5",
    "dslr": "44d673c68e1d07b837893aa74dba3b986e4a6cc3fd66f0dd357683bdef059216",
    "webcam": "a6a9c78b4b7181dfbb58bcfd351d4ebd737f171c31247b8884948aa156d3f700",
}


def surf_features(
    domain: str, roots: tuple[Path, ...] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read the published SURF features of a domain of Office-Caltech-10.

    Parameters
    ----------
    domain : {"amazon", "caltech10", "dslr", "webcam"}
        Which domain.
    roots : tuple of Path, optional
        Folders in which ``office_caltech10_surf/DOMAIN.mat`` is looked for, in order;
        ``paths.data_roots()`` if not given.

    Returns
    -------
    counts : ndarray of float64, shape (images, 800)
        How often each visual word occurs in an image. Adaptation methods are usually given shares,
        ``counts / counts.sum(axis=1, keepdims=True)``.
    labels : ndarray of int64, shape (images,)
        Positions in ``load_dataset("office_caltech10/DOMAIN").classes``.

    Raises
    ------
    FileNotFoundError
        If the file is in none of the folders.
    ValueError
        For another domain, or a file that holds something else.
    """
    if domain not in _SHA256:
        raise ValueError(f"expected one of the domains {', '.join(_SHA256)}, got {domain!r}")
    places = [
        root / _SURF_FOLDER / f"{domain}.mat"
        for root in (paths.data_roots() if roots is None else roots)
    ]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise FileNotFoundError(
            f"the SURF features of {domain} are not on disk: expected "
            f"{' or '.join(map(str, places))}; they are published with Office-Caltech-10"
        )
    return _read(file)


def _read(file: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    fts, numbers = read_matlab(file, "fts", "labels", sha256=_SHA256[file.stem])
    counts, numbers = np.atleast_2d(fts), np.ravel(numbers)
    if not (
        all(np.issubdtype(values.dtype, np.number) for values in (counts, numbers))
        and counts.shape == (numbers.size, _WORDS)
        and np.isin(numbers, np.arange(1, _CLASSES + 1)).all()
        and np.isfinite(counts).all()
        and counts.min(initial=0) >= 0
    ):
        raise ValueError(
            f"expected counts from 0, fts (images, {_WORDS}), and a label from 1 to {_CLASSES} for "
            f"each image in {file}, got {counts.shape} and {numbers.size} labels such as "
            f"{np.unique(numbers)[:20]}"
        )
    return counts.astype(np.float64), numbers.astype(np.int64) - 1


_DATASET = "sun397"


class SceneSplit(NamedTuple):
    """Positions of images, each sorted: ``validation`` is a part of ``train``."""

    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]


def scene_splits(
    labels: npt.ArrayLike,
    *,
    n_train: int = 50,
    n_validation: int = 8,
    n_test: int = 50,
    n_splits: int = 5,
    seed: int,
) -> tuple[SceneSplit, ...]:
    """Draw random splits of equal classes, with training images to choose a method by.

    Parameters
    ----------
    labels : array_like of shape (n,)
        Class of each image.
    n_train, n_test : int
        Training and test images per class.
    n_validation : int
        Training images per class that are left out while a method is chosen, fewer than
        ``n_train``; the method chosen is trained on all.
    n_splits : int
        How many splits.
    seed : int
        Seed of the draws.

    Returns
    -------
    tuple of SceneSplit
        Train and test are those of :func:`analysis.data.stratified_splits` with the same seed.

    Raises
    ------
    ValueError
        If a class is too small, or nothing is left to train on.
    """
    if not 1 <= n_validation < n_train:
        raise ValueError(
            f"expected 1 to {n_train - 1} of {n_train} training images per class to validate by, "
            f"got {n_validation}"
        )
    y = np.asarray(labels)
    splits = stratified_splits(y, n_train=n_train, n_test=n_test, n_splits=n_splits, seed=seed)
    return tuple(
        SceneSplit(train, _left_out(y, train, n_train - n_validation, (seed, k)), test)
        for k, (train, test) in enumerate(splits)
    )


def _left_out(
    y: npt.NDArray[np.generic],
    train: npt.NDArray[np.int64],
    n_kept: int,
    seed: tuple[int, int],
) -> npt.NDArray[np.int64]:
    """Training images that are not among the ``n_kept`` of each class drawn to train on."""
    rng = np.random.default_rng((*seed, 1))  # the split itself is drawn from ``seed``
    drawn = [rng.permutation(train[y[train] == name])[n_kept:] for name in np.unique(y)]
    return np.sort(np.concatenate(drawn))


def read_partitions(data: ImageDataset, *, n_splits: int = 10) -> tuple[Split, ...]:
    """Read the published splits of SUN-397, 50 training and 50 test images per class.

    Parameters
    ----------
    data : ImageDataset
        ``load_dataset("sun397")``.
    n_splits : int
        How many, from the first; ten are published.

    Returns
    -------
    tuple of Split
        Positions in ``data``.

    Raises
    ------
    FileNotFoundError
        If the lists are not there: ``Training_01.txt``, ``Testing_01.txt`` and so on in
        ``Partitions``, in the dataset's folder or beside it.
    ValueError
        If a list names an image that ``data`` has not.
    """
    folder = _partitions()
    position = {f"/{path}": index for index, path in enumerate(data.paths)}
    return tuple(
        Split(*(_positions(folder / f"{part}_{k:02d}.txt", position) for part in _PARTS))
        for k in range(1, n_splits + 1)
    )


_PARTS = ("Training", "Testing")


def _partitions() -> Path:
    root = find_dataset(card_of(_DATASET))
    if root is None:
        raise FileNotFoundError(f"dataset {_DATASET!r} is not on disk")
    choices = (root / "Partitions", root.parent / "Partitions")
    found = next((folder for folder in choices if folder.is_dir()), None)
    if found is None:
        raise FileNotFoundError(
            f"expected the published lists in {choices[0]}; unpack Partitions.zip of the dataset's "
            "home page there, or draw splits with scene_splits"
        )
    return found


def _positions(file: Path, position: dict[str, int]) -> npt.NDArray[np.int64]:
    """Positions of the images that a list names, sorted."""
    names = [composed(name) for name in file.read_text("utf-8", "replace").split()]
    unknown = [name for name in names if name not in position]
    if unknown:
        raise ValueError(
            f"{file}: expected images of the dataset, got {len(unknown)} that it has not, the "
            f"first being {unknown[0]}"
        )
    return np.sort(np.array([position[name] for name in names], np.int64))


Floats = npt.NDArray[np.float64]

REGIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "head": ("beak", "crown", "forehead", "left eye", "nape", "right eye", "throat"),
        "body": ("back", "belly", "breast"),
        "wing": ("left wing", "right wing"),
        "tail": ("tail",),
    }
)
"""Regions and the annotated parts that they are made of; the legs are in none."""

_FOLDER = "cub200"
_NEEDED = (
    "images.txt",
    "bounding_boxes.txt",
    "train_test_split.txt",
    "parts/parts.txt",
    "parts/part_locs.txt",
)


@dataclass(frozen=True, eq=False)
class BirdAnnotations:
    """What is annotated, in the order of a dataset's images.

    Attributes
    ----------
    boxes : ndarray of float64, shape (n, 4)
        Left, top, width and height of each bird in pixels.
    parts : tuple of str
        Names of the parts, 15 in the complete dataset.
    places : ndarray of float64, shape (n, parts, 2)
        x and y of each part in pixels; NaN where it is not visible.
    training : ndarray of bool, shape (n,)
        Whether the official split has an image among its training images.
    """

    boxes: Floats
    parts: tuple[str, ...]
    places: Floats
    training: npt.NDArray[np.bool_]

    @property
    def split(self) -> Split:
        """The official split, which unpacks as training and test positions."""
        return Split(np.flatnonzero(self.training), np.flatnonzero(~self.training))


def read_bird_annotations(data: ImageDataset) -> BirdAnnotations:
    """Read what is annotated about birds.

    Parameters
    ----------
    data : ImageDataset
        ``load_dataset("cub200")`` or a subset of it, n images.

    Returns
    -------
    BirdAnnotations
        In the order of ``data``.

    Raises
    ------
    FileNotFoundError
        If the dataset, or one of the files of its annotation, is not on disk.
    ValueError
        If an image of ``data`` is not in these files.
    """
    root = find_dataset(card_of(_FOLDER))
    missing = [str(root / name) for name in _NEEDED if root and not (root / name).is_file()]
    if root is None or missing:
        raise FileNotFoundError(
            f"expected the annotation of {_FOLDER} beside its images, as its archive unpacks; "
            f"not there: {', '.join(missing) or _FOLDER}"
        )
    number = {f"images/{composed(file)}": image for image, file in _rows(root / "images.txt", 2)}
    unknown = [path for path in data.paths if path not in number]
    if unknown:
        raise ValueError(
            f"expected images that {root / 'images.txt'} names, got {len(unknown)} of {data.name} "
            f"that it does not, the first being {unknown[0]}"
        )
    images = [number[path] for path in data.paths]
    names = dict(_rows(root / "parts/parts.txt", 2))
    boxes = {image: box for image, *box in _rows(root / "bounding_boxes.txt", 5)}
    training = dict(_rows(root / "train_test_split.txt", 2))
    located = {(image, part): at for image, part, *at in _rows(root / "parts/part_locs.txt", 5)}
    try:
        return BirdAnnotations(
            boxes=np.array([boxes[image] for image in images], np.float64).reshape(-1, 4),
            parts=tuple(names.values()),
            places=_places(
                [[located[image, part] for part in names] for image in images], len(names)
            ),
            training=np.array([training[image] == "1" for image in images], dtype=bool),
        )
    except KeyError as error:
        raise ValueError(f"expected a line for image (and part) {error} in {root}") from error
    except ValueError as error:
        raise ValueError(f"expected numbers in the annotation in {root}: {error}") from error


def _rows(file: Path, columns: int) -> list[list[str]]:
    """Columns of a file separated by blanks; the last one may hold blanks (``left wing``)."""
    lines = file.read_text("utf-8", errors="replace").splitlines()
    rows = [line.split(maxsplit=columns - 1) for line in lines if line.strip()]
    short = next((row for row in rows if len(row) < columns), None)
    if short is not None:
        raise ValueError(f"{file}: expected {columns} columns, got {' '.join(short)!r}")
    return rows


def _places(rows: list[list[list[str]]], n_parts: int) -> Floats:
    """Locations (n, parts, 2) of rows of x, y and whether a part is visible."""
    located = np.array(rows, np.float64).reshape(-1, n_parts, 3)
    return np.where(located[..., 2:] > 0, located[..., :2], np.nan)


def crop_birds(
    data: ImageDataset, annotations: BirdAnnotations, *, factor: float = 1.5
) -> ImageDataset:
    """Cut each image to its bird; ``extract(..., crops="warp")`` makes the square of it.

    Parameters
    ----------
    data : ImageDataset
        n images.
    annotations : BirdAnnotations
        Of these images.
    factor : float
        Sides of the crop in sides of the bounding box, above 0.

    Returns
    -------
    ImageDataset
        n images; see the module's conventions.

    Raises
    ------
    ValueError
        A factor that is not above 0, annotations of other images, an empty bounding box.
    """
    if not factor > 0:
        raise ValueError(f"expected a factor above 0, got {factor}")
    corner, size = annotations.boxes[:, :2], annotations.boxes[:, 2:]
    margin = (factor - 1) / 2 * size
    edges = np.concatenate([corner - margin, corner + size + margin], axis=1)
    return cut_boxes(data, edges, name=f"({factor:g} x box)")


@dataclass(frozen=True, eq=False)
class BirdRegions:
    """Regions of birds as images, those that can be located.

    Attributes
    ----------
    data : ImageDataset
        m images, by image and then region. Labels are the birds'; a path ends in ``#`` and the
        region.
    regions : tuple of str
        Names of the regions.
    present : ndarray of bool, shape (n, regions)
        Which regions have an image: those with a visible part. m of them are true.
    """

    data: ImageDataset
    regions: tuple[str, ...]
    present: npt.NDArray[np.bool_]


def crop_regions(
    data: ImageDataset,
    annotations: BirdAnnotations,
    *,
    regions: Mapping[str, Sequence[str]] = REGIONS,
    margin: float = 0.2,
) -> BirdRegions:
    """Cut the regions of each bird.

    Parameters
    ----------
    data : ImageDataset
        n images.
    annotations : BirdAnnotations
        Of these images.
    regions : mapping of str to sequence of str
        Names of parts by region.
    margin : float
        Added on every side of the square around a region's visible parts, in square roots of the
        area of the bird's bounding box, above 0. No value is published; this one is a guess that
        nobody has measured.

    Returns
    -------
    BirdRegions
        Crops are clipped at the borders of the image, and there no longer square.

    Raises
    ------
    ValueError
        A part that is not annotated, no regions, a margin that is not above 0, annotations of
        other images, or no region of any image with a visible part.
    """
    if len(annotations.boxes) != len(data):
        raise ValueError(
            f"expected annotations of {len(data)} images, got {len(annotations.boxes)}"
        )
    if not regions or not margin > 0:
        raise ValueError(f"expected regions and a margin above 0, got {regions} and {margin}")
    unknown = sorted({part for parts in regions.values() for part in parts} - {*annotations.parts})
    if unknown:
        raise ValueError(f"expected parts among {annotations.parts}, got {', '.join(unknown)}")
    widen = margin * np.sqrt(annotations.boxes[:, 2] * annotations.boxes[:, 3])
    columns = ([annotations.parts.index(part) for part in parts] for parts in regions.values())
    edges = np.stack([_squares(annotations.places[:, of], widen) for of in columns], axis=1)
    present: npt.NDArray[np.bool_] = np.asarray(np.isfinite(edges).all(axis=2))
    if not present.any():
        raise ValueError(f"expected visible parts, got none in the {len(data)} images")
    image, region = np.nonzero(present)
    names = tuple(regions)
    crops = cut_boxes(data.subset(image), edges[present], name="regions")
    paths = (f"{path}#{names[of]}" for path, of in zip(crops.paths, region, strict=True))
    return BirdRegions(replace(crops, paths=tuple(paths)), names, present)


def _squares(places: Floats, widen: Floats) -> Floats:
    """Edges (n, 4) of squares around points (n, parts, 2), widened; NaN where no point is."""
    seen = np.isfinite(places)
    low = np.where(seen, places, np.inf).min(axis=1)
    high = np.where(seen, places, -np.inf).max(axis=1)
    somewhere = np.asarray(seen.any(axis=(1, 2)))[:, None]
    low, high = (np.where(somewhere, corner, np.nan) for corner in (low, high))
    half = (high - low).max(axis=1) / 2 + widen
    centre = (low + high) / 2
    return np.concatenate([centre - half[:, None], centre + half[:, None]], axis=1)


def concatenate_regions(
    features: npt.ArrayLike, present: npt.NDArray[np.bool_]
) -> npt.NDArray[np.floating]:
    """Put the features of regions side by side, one row per bird.

    Parameters
    ----------
    features : array_like, shape (m, d)
        One row per image of :class:`BirdRegions`.
    present : ndarray of bool, shape (n, regions)
        Which regions have one.

    Returns
    -------
    ndarray of shape (n, regions * d), dtype of ``features``
        By region, then feature; zeros where a region is not present.

    Raises
    ------
    ValueError
        If there is not one row for each region that is present.
    """
    rows = np.asarray(features)
    if rows.ndim != 2 or len(rows) != int(present.sum()):
        raise ValueError(
            f"expected {int(present.sum())} rows of features, one per region that is present, got "
            f"shape {rows.shape}"
        )
    placed = np.zeros((*present.shape, rows.shape[1]), rows.dtype)
    placed[present] = rows
    return placed.reshape(len(present), -1)
