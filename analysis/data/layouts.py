"""Where datasets lie, and readers of the official layouts: what archives unpack to, unmodified."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis import paths
from analysis.data.cards import DatasetCard
from analysis.data.listing import Listing, by_index, class_folders, files_of
from analysis.data.matlab import read_matlab


@dataclass(frozen=True)
class Layout:
    """How a dataset lies on disk.

    Attributes
    ----------
    needs : tuple of str
        Files and folders, relative to the base folder, that must be there. ``"*"`` asks for a base
        folder with anything in it; ``"a|b"`` for one of two.
    inside : tuple of str
        Base folders to try, relative to the dataset's folder, in order, where
        ``{domain}`` stands for the domain's name. The first is what a fetch
        unpacks to; the others what people and mirrors make of it.
    read : callable, optional
        Takes the base folder and gives the listing; by default, there is a folder for each class in
        the one that is needed.
    """

    needs: tuple[str, ...]
    inside: tuple[str, ...] = ("",)
    read: Callable[[Path], Listing] | None = None

    def listing(self, base: Path) -> Listing:
        """Files and labels below a base folder."""
        return self.read(base) if self.read else class_folders(base / self.needs[0].strip("*"))

    def base(self, folder: Path, domain: str = "") -> Path | None:
        """Find the base folder in a dataset's folder; ``None`` if what is needed is not there."""
        bases = (folder / inside.format(domain=domain) for inside in self.inside)
        return next((base for base in bases if base.is_dir() and self._fits(base)), None)

    def _fits(self, base: Path) -> bool:
        if self.needs == ("*",):
            return any(not entry.name.startswith(".") for entry in base.iterdir())
        return all(any((base / one).exists() for one in need.split("|")) for need in self.needs)

    def expected(self, folder: Path, domain: str = "") -> tuple[str, ...]:
        """Full paths of what is needed, in the preferred place."""
        base = folder / self.inside[0].format(domain=domain)
        needs = ("<class>" if need == "*" else need.replace("|", " or ") for need in self.needs)
        return tuple(str(base / need) for need in needs)


def _lines(file: Path) -> list[list[str]]:
    """Words of every line that is neither empty nor a comment."""
    lines = file.read_text("utf-8", errors="replace").splitlines()
    return [line.split() for line in lines if line.strip() and not line.startswith("#")]


def _labelled(root: Path, entries: Iterable[tuple[str, str]]) -> Listing:
    """List (file, class name) pairs, with the classes in sorted order."""
    pairs = list(entries)
    classes = sorted({name for _, name in pairs})
    position = {name: label for label, name in enumerate(classes)}
    return by_index(root, ((file, position[name]) for file, name in pairs), classes)


def _flowers102(root: Path) -> Listing:
    (numbers,) = read_matlab(root / "imagelabels.mat", "labels")
    labels = np.ravel(numbers).astype(int).tolist()
    entries = ((f"jpg/image_{n:05d}.jpg", label - 1) for n, label in enumerate(labels, 1))
    return by_index(root, entries, (f"{label:03d}" for label in range(1, max(labels) + 1)))


def _cub200(root: Path) -> Listing:
    names = {number: name for number, name in _lines(root / "classes.txt")}
    labels = {image: int(number) - 1 for image, number in _lines(root / "image_class_labels.txt")}
    entries = ((f"images/{file}", labels[image]) for image, file in _lines(root / "images.txt"))
    return by_index(root, entries, (names[number] for number in sorted(names, key=int)))


def _catsdogs(root: Path) -> Listing:
    rows = [(name, int(number) - 1) for name, number, *_ in _lines(root / "annotations/list.txt")]
    names = {label: name.rpartition("_")[0] for name, label in rows}
    entries = ((f"images/{name}.jpg", label) for name, label in rows)
    return by_index(root, entries, (names[label] for label in sorted(names)))


def _food101(root: Path) -> Listing:
    test: dict[str, list[str]] = json.loads((root / "meta/test.json").read_text("utf-8"))
    rows = [(f"images/{image}.jpg", name) for name in sorted(test) for image in sorted(test[name])]
    return _labelled(root, rows)


def _wood(root: Path) -> Listing:
    folder = "knot_images_png/" if (root / "knot_images_png").is_dir() else ""
    present = {Path(name).stem: name for name in files_of(root / folder)}
    rows = ((Path(file).stem, name) for file, name, *_ in _lines(root / "names.txt"))
    return _labelled(root, ((folder + present.get(stem, stem), name) for stem, name in rows))


def _imagenet(root: Path) -> Listing:
    images = next(root / name for name in _IMAGENET.split("|") if (root / name).is_dir())
    if any(entry.is_dir() and entry.name.startswith("n0") for entry in images.iterdir()):
        return class_folders(images)
    devkit = root / "ILSVRC2012_devkit_t12/data"
    if not devkit.is_dir():
        raise ValueError(
            f"{images} holds no folders by wnid, so that the labels of the development kit are "
            f"needed, and they are not in {devkit}; unpack ILSVRC2012_devkit_t12.tar.gz in {root}"
        )
    (synsets,) = read_matlab(devkit / "meta.mat", "synsets")
    wnids = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
    truth = _lines(devkit / "ILSVRC2012_validation_ground_truth.txt")
    files = (f"ILSVRC2012_val_{n:08d}.JPEG" for n in range(1, len(truth) + 1))
    return _labelled(images, ((f, wnids[int(n)]) for f, (n,) in zip(files, truth, strict=True)))


_IMAGENET = "val|ILSVRC2012_img_val"


def _imagenet_sample(root: Path) -> Listing:
    files = files_of(root)
    return by_index(root, zip(files, range(len(files)), strict=True), (Path(f).stem for f in files))


def _sun397(root: Path) -> Listing:
    names = [name.strip("/") for (name,) in _lines(root / "ClassName.txt")]
    rows = (
        (f"{name}/{file}", label)
        for label, name in enumerate(names)
        if os.path.isdir(root / name)  # noqa: PTH112 - also where no file system holds the name
        for file in files_of(root / name)
    )
    return by_index(root, rows, (name[2:] for name in names))  # "a/abbey": not the initial


def _places365(root: Path) -> Listing:
    classes = [name[3:] for name, _ in _lines(root / "categories_places365.txt")]
    rows = _lines(root / "places365_val.txt")
    return by_index(root, ((f"val_256/{file}", int(label)) for file, label in rows), classes)


def _ham10000(root: Path) -> Listing:
    table = next(root / name for name in _HAM_TABLES.split("|") if (root / name).exists())
    with table.open(encoding="utf-8", newline="") as file:
        rows = [(row["image_id"], row["dx"]) for row in csv.DictReader(file)]
    present = {
        file.stem: file for part in root.glob("HAM10000_images*/") for file in part.glob("*.jpg")
    }
    where = {stem: file.relative_to(root).as_posix() for stem, file in present.items()}
    return _labelled(root, ((where.get(image, image), name) for image, name in sorted(rows)))


_HAM_TABLES = "HAM10000_metadata.csv|HAM10000_metadata"


def _ph2(root: Path) -> Listing:
    """Rows such as ``|| IMD003 || || 0 || ...``: name, histology, clinical diagnosis, and on."""
    text = (root / "PH2_dataset.txt").read_text("utf-8", errors="replace")
    rows = [[cell.strip() for cell in line.split("||")] for line in text.splitlines()]
    entries = (
        (f"PH2 Dataset images/{row[1]}/{row[1]}_Dermoscopic_Image/{row[1]}.bmp", int(row[3]))
        for row in rows
        if len(row) > 3 and row[1].startswith("IMD")
    )
    return by_index(root, entries, ("common nevus", "atypical nevus", "melanoma"))


def _corel1000(root: Path) -> Listing:
    entries = ((f"image.orig/{n}.jpg", n // 100) for n in range(1000))
    classes = "africa beaches buildings buses dinosaurs elephants flowers horses mountains food"
    return by_index(root, entries, classes.split())


_OFFICE_CALTECH_REPOSITORY = (
    "OfficeCaltechDomainAdaptation-0bcf68398284dbef34b04b70e5b897815b11147b/images/{domain}"
)

LAYOUTS: dict[str, Layout] = {
    "caltech101": Layout(("101_ObjectCategories",), ("", "caltech-101")),
    "caltech256": Layout(("256_ObjectCategories",)),
    "imagenet": Layout((_IMAGENET,), read=_imagenet),
    "imagenet_sample": Layout(("*",), read=_imagenet_sample),
    "catsdogs": Layout(("images", "annotations/list.txt"), read=_catsdogs),
    "stanforddogs": Layout(("Images",)),
    "flowers102": Layout(("jpg", "imagelabels.mat"), read=_flowers102),
    "cub200": Layout(
        ("images", "images.txt", "image_class_labels.txt", "classes.txt"),
        ("CUB_200_2011", ""),
        _cub200,
    ),
    "food101": Layout(("images", "meta/test.json"), ("food-101", ""), _food101),
    "textures": Layout(("images",), ("dtd", "")),
    "mit67": Layout(("Images",)),
    "wood": Layout(("names.txt",), ("", "KNOTS"), _wood),
    "sun397": Layout(("ClassName.txt",), ("SUN397", ""), _sun397),
    "places365": Layout(
        ("val_256", "places365_val.txt", "categories_places365.txt"), read=_places365
    ),
    "office31": Layout(
        ("*",), ("domain_adaptation_images/{domain}/images", "{domain}/images", "{domain}")
    ),
    "office_caltech10": Layout(("*",), ("{domain}", "images/{domain}", _OFFICE_CALTECH_REPOSITORY)),
    "fruits360": Layout(
        ("Training",), ("", "fruits-360", "fruits-360_dataset", "fruits-360_dataset/fruits-360")
    ),
    "supermarket_produce": Layout(("*",), ("tropical-fruits-DB-1024x768", "")),
    "ham10000": Layout((_HAM_TABLES, "HAM10000_images_part_1"), read=_ham10000),
    "ph2": Layout(("PH2 Dataset images", "PH2_dataset.txt"), ("PH2Dataset", ""), _ph2),
    "corel1000": Layout(("image.orig",), read=_corel1000),
}


def find_dataset(card: DatasetCard, roots: tuple[Path, ...] | None = None) -> Path | None:
    """Find the base folder of a dataset in the official layout; ``None`` if it is in no root.

    Parameters
    ----------
    card : DatasetCard
        Which dataset.
    roots : tuple of Path, optional
        Where to search; ``paths.data_roots()`` if not given.
    """
    layout = LAYOUTS[card.layout]
    roots = paths.data_roots() if roots is None else roots
    bases = (layout.base(root / card.folder, card.domain) for root in roots)
    return next((base for base in bases if base is not None), None)


def read_listing(card: DatasetCard, roots: tuple[Path, ...] | None = None) -> Listing:
    """Files and labels of a dataset that is on disk.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    ValueError
        If what is there is not what the archive unpacks to; the message names the folder.
    """
    base = find_dataset(card, roots)
    if base is None:
        raise FileNotFoundError(f"dataset {card.name!r} is not on disk")
    try:
        return LAYOUTS[card.layout].listing(base)
    except OSError:
        raise
    except Exception as error:  # a damaged index can be anything: short lines, no numbers, a list
        raise ValueError(f"dataset {card.name!r} in {base} cannot be read: {error!r}") from error
