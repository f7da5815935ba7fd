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
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from numpy.typing import NDArray

from analysis import paths
from analysis.data.cards import card_of
from analysis.data.images import ImageDataset, cut_boxes
from analysis.data.layouts import find_dataset
from analysis.data.listing import composed
from analysis.data.matlab import read_matlab
from analysis.data.splits import Split, stratified_splits

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
        For another domain, or a file that is not the published one.
    """
    if domain not in _SHA256:
        raise ValueError(f"expected one of the domains {', '.join(_SHA256)}, got {domain!r}")
    roots = paths.data_roots() if roots is None else roots
    places = [root / "office_caltech10_surf" / f"{domain}.mat" for root in roots]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise FileNotFoundError(
            f"the SURF features of {domain} are not on disk: expected "
            f"{' or '.join(map(str, places))}; they are published with Office-Caltech-10"
        )
    counts, numbers = read_matlab(file, "fts", "labels", sha256=_SHA256[domain])
    return counts.astype(np.float64), numbers.astype(np.int64) - 1


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

    def left_out(train: NDArray[np.int64], k: int) -> NDArray[np.int64]:
        rng = np.random.default_rng((seed, k, 1))  # the split itself is drawn from (seed, k)
        drawn = [rng.permutation(train[y[train] == name]) for name in np.unique(y)]
        return np.sort(np.concatenate([one[n_train - n_validation :] for one in drawn]))

    splits = stratified_splits(y, n_train=n_train, n_test=n_test, n_splits=n_splits, seed=seed)
    return tuple(
        SceneSplit(train, left_out(train, k), test) for k, (train, test) in enumerate(splits)
    )


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
    root = find_dataset(card_of("sun397")) or Path("sun397")
    choices = (root / "Partitions", root.parent / "Partitions")
    folder = next((choice for choice in choices if choice.is_dir()), None)
    if folder is None:
        raise FileNotFoundError(
            f"expected the published lists in {choices[0]}; unpack Partitions.zip of the dataset's "
            "home page there, or draw splits with scene_splits"
        )
    position = pd.Series(range(len(data)), [f"/{path}" for path in data.paths])

    def positions(part: str, k: int) -> NDArray[np.int64]:
        file = folder / f"{part}_{k:02d}.txt"
        try:
            listed = position[[composed(name) for name in file.read_text("utf-8").split()]]
        except KeyError as error:
            raise ValueError(f"{file} names images that are not in {data.name}: {error}") from error
        return np.sort(listed.to_numpy())

    return tuple(
        Split(positions("Training", k), positions("Testing", k)) for k in range(1, n_splits + 1)
    )


Floats = npt.NDArray[np.float64]

REGIONS: Mapping[str, tuple[str, ...]] = {
    "head": ("beak", "crown", "forehead", "left eye", "nape", "right eye", "throat"),
    "body": ("back", "belly", "breast"),
    "wing": ("left wing", "right wing"),
    "tail": ("tail",),
}
"""Regions and the annotated parts that they are made of; the legs are in none."""


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
    root = find_dataset(card_of("cub200")) or Path("cub200")

    def table(name: str, *columns: str, n_keys: int = 1) -> pd.DataFrame:
        lines = (root / name).read_text("utf-8", "replace").splitlines()
        rows = [line.split(maxsplit=len(columns) - 1) for line in lines if line.strip()]
        frame = pd.DataFrame(rows, columns=list(columns)).set_index(list(columns[:n_keys]))
        if frame.index.has_duplicates:
            raise ValueError(f"there are lines with the same number in {name}")
        return frame

    try:
        names = table("parts/parts.txt", "part", "name")
        files = table("images.txt", "image", "file")["file"].map(composed)
        number = dict(zip("images/" + files, files.index, strict=True))
        images = [number[path] for path in data.paths]
        boxes = table("bounding_boxes.txt", "image", *("left", "top", "width", "height"))
        training = table("train_test_split.txt", "image", "training")
        located = table("parts/part_locs.txt", "image", "part", *("x", "y", "visible"), n_keys=2)
        wanted = pd.MultiIndex.from_product([images, names.index])
        rows = located.loc[wanted].to_numpy(np.float64)
        x_y_visible = rows.reshape(len(images), len(names), 3)
        return BirdAnnotations(
            boxes=boxes.loc[images].to_numpy(np.float64),
            parts=tuple(names["name"]),
            places=np.where(x_y_visible[..., 2:] > 0, x_y_visible[..., :2], np.nan),
            training=training.loc[images, "training"].to_numpy() == "1",
        )
    except (KeyError, ValueError) as error:
        raise ValueError(f"the annotation in {root} does not fit {data.name}: {error}") from error


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


def crop_regions(
    data: ImageDataset,
    annotations: BirdAnnotations,
    *,
    regions: Mapping[str, Sequence[str]] = REGIONS,
    margin: float = 0.2,
) -> tuple[ImageDataset, npt.NDArray[np.bool_]]:
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
    data : ImageDataset
        m images, by image and then region, clipped at the borders of the image, and there no longer
        square. Labels are the birds'; a path ends in ``#`` and the region.
    present : ndarray of bool, shape (n, regions)
        Which regions have an image: those with a visible part. m of them are true.

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
    unknown = sorted({part for parts in regions.values() for part in parts} - {*annotations.parts})
    if not regions or not margin > 0 or unknown:
        raise ValueError(
            f"expected a margin above 0, got {margin}, and regions of {annotations.parts}, got "
            f"{dict(regions)}, which has the unknown parts {unknown}"
        )
    widen = margin * np.sqrt(annotations.boxes[:, 2] * annotations.boxes[:, 3])
    columns = ([annotations.parts.index(part) for part in parts] for parts in regions.values())
    edges = np.stack([_squares(annotations.places[:, parts], widen) for parts in columns], axis=1)
    present: npt.NDArray[np.bool_] = np.asarray(np.isfinite(edges).all(axis=2))
    if not present.any():
        raise ValueError(f"expected visible parts, got none in the {len(data)} images")
    image, region = np.nonzero(present)
    crops = cut_boxes(data.subset(image), edges[present], name="regions")
    names = np.array(list(regions))[region]
    paths = tuple(f"{path}#{name}" for path, name in zip(crops.paths, names, strict=True))
    return replace(crops, paths=paths), present


def _squares(places: Floats, widen: Floats) -> Floats:
    """Edges (n, 4) of squares around points (n, parts, 2), widened; not finite without points."""
    low = np.nanmin(places, axis=1, initial=np.inf)
    high = np.nanmax(places, axis=1, initial=-np.inf)
    half = (high - low).max(axis=1) / 2 + widen
    with np.errstate(invalid="ignore"):
        centre = (low + high) / 2
    return np.concatenate([centre - half[:, None], centre + half[:, None]], axis=1)


def concatenate_regions(
    features: npt.ArrayLike, present: npt.NDArray[np.bool_]
) -> npt.NDArray[np.floating]:
    """Put the features of regions side by side, one row per bird.

    Parameters
    ----------
    features : array_like, shape (m, d)
        One row per image that :func:`crop_regions` has cut.
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
