"""Loading datasets: from disk, from a table of files, and those that need no download."""

from __future__ import annotations

import csv
import io
import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from analysis.data.cards import CARDS, DatasetCard, card_of
from analysis.data.decoding import BrokenImageError
from analysis.data.download import fetch_dataset, how_to_get
from analysis.data.drawn import DRAWN
from analysis.data.glyphs import DIGITS
from analysis.data.images import ImageArrays, ImageDataset, ImageFiles, hashing_threads
from analysis.data.layouts import find_dataset, read_listing
from analysis.data.listing import Listing, class_folders, is_there, links_out

_LOG = logging.getLogger(__name__)
_MOST_REASONS = 10
_MISSING = ("", "nan", "NaN", "NaT", "<NA>")  # as pandas and NumPy write what is missing

OWN = {"folder": "folder:/path/to/images", "table": "table:/path/to/labels.csv"}
"""How images of one's own are spelled, by kind."""

OnError = Literal["raise", "skip"]


class OwnPath(NamedTuple):
    """A dataset of one's own: a key of :data:`OWN`, and where it lies."""

    kind: str
    path: Path


def own_path(name: str) -> OwnPath | None:
    """Take ``folder:PATH`` or ``table:PATH`` apart; None for the name of a card.

    Raises
    ------
    ValueError
        If there is no path.
    """
    kind, colon, path = name.partition(":")
    if kind not in OWN or not colon:
        return None
    if not path.strip():
        raise ValueError(f"expected a path after '{kind}:', such as {OWN[kind]}")
    return OwnPath(kind, Path(path).expanduser())


def absolute_name(name: str) -> str:
    """Spell the path of a dataset of one's own in full; other names stay."""
    own = own_path(name)
    return name if own is None else f"{own.kind}:{own.path.absolute().as_posix()}"


def load_dataset(
    name: str, *, on_error: OnError = "raise", fetch: bool = False, progress: bool = False
) -> ImageDataset:
    """Labelled images by name.

    Parameters
    ----------
    name : str
        A name of ``CARDS``; ``folder:/path/to/images`` for a folder of your own with one sub-folder
        per class; or ``table:/path/to/labels.csv`` for files that a table lists: CSV in UTF-8
        with a header, whose values are separated by commas, semicolons or tabs. The column ``path``
        is relative to the table's folder, or absolute; ``label`` is any text. Other columns and
        empty lines are ignored. Nothing outside of a folder is read: links that lead out of it are
        refused, folders at once and images when they are opened.
    on_error : {"raise", "skip"}
        "raise": a file that cannot be read raises ``BrokenImageError`` when it is opened.
        "skip": every file is read once now, and those that cannot be are left out and listed in
        ``skipped``. In either case ``skipped`` also lists what looks like an image and is in a
        format that is not read (raw files of cameras, PDF, videos), or in a folder inside a class
        folder, and a warning counts them.
    fetch : bool
        Download the dataset if it is not on disk. Without this the network is never used.
    progress : bool
        Show progress bars.

    Returns
    -------
    ImageDataset
        Images are opened only when asked for.

    Raises
    ------
    ValueError
        For a name that is not known, a folder that is not one sub-folder per class, has class
        folders that are links to elsewhere, or names that are not Unicode, or a table that does not
        give each file one label; with "skip", if no image can be read.
    FileNotFoundError
        If the dataset, the folder, the table or (with "raise") one of its files is not on disk; the
        message says how to get a dataset and where to put it.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error is 'raise' or 'skip', got {on_error!r}")
    data = _load(name, on_error, fetch=fetch, progress=progress)
    if on_error == "skip":
        data = _without_broken(data, progress=progress)
    if data.skipped:  # so that nobody takes a part for the whole
        numbers = (len(data.skipped), len(data.skipped) + len(data))
        rows = "\n  ".join(left_out_by_reason(data))
        _LOG.warning("%s: %d of %d images are left out:\n  %s", data.name, *numbers, rows)
    return data


def _load(name: str, on_error: OnError, *, fetch: bool, progress: bool) -> ImageDataset:
    own = own_path(name)
    if own is not None and own.kind == "folder":
        return _from_listing(name, _own_folder(own.path))
    if own is not None:
        files, labels = _read_table(own.path)
        need_files, root = on_error == "raise", own.path.parent
        return ImageDataset.from_files(files, labels, root=root, name=name, need_files=need_files)
    card = card_of(name)
    if card.layout == "bundled":
        return BUNDLED[name]()
    if find_dataset(card) is None:
        if not fetch:
            raise FileNotFoundError(how_to_get(card))
        fetch_dataset(name, progress=progress)
    listing = read_listing(card)
    counted = {"images": len(listing.files), "classes": len(listing.classes)}
    for what, complete in {"images": card.images, "classes": card.classes}.items():
        if complete not in (None, counted[what]):
            text = "%s: %d %s in %s, the complete dataset has %d"
            _LOG.warning(text, name, counted[what], what, listing.root, complete)
    return _from_listing(name, listing, card)


def _own_folder(root: Path) -> Listing:
    if not root.exists():
        raise FileNotFoundError(f"no such folder: {root} (from {Path.cwd()})")
    if not root.is_dir():
        raise ValueError(f"expected a folder with one sub-folder per class, got the file {root}")
    if leading := links_out(root):
        raise ValueError(
            f"class folder(s) {', '.join(map(repr, leading[:10]))} of {root} are links that lead "
            "out of it, and nothing outside of the folder is read; put the images there instead "
            "(cp -rL follows links)"
        )
    return class_folders(root)


def _from_listing(name: str, listing: Listing, card: DatasetCard | None = None) -> ImageDataset:
    """Dataset of a listing; images of a folder of one's own are not read from outside of it."""
    root = listing.root.absolute()
    return ImageDataset(
        name=name,
        classes=listing.classes,
        labels=np.array(listing.labels, dtype=np.int64),
        paths=listing.paths,
        source=ImageFiles(
            tuple(f"{root}/{file}" for file in listing.files),
            inside=str(root) if card is None else None,
        ),
        overlap_group=card.overlap_group if card else None,
        skipped=tuple((path, f"{root}/{path}: {why}") for path, why in listing.left_out),
    )


def _without_broken(data: ImageDataset, *, progress: bool) -> ImageDataset:
    def reason(index: int) -> str | None:
        try:
            data[index]
        except BrokenImageError as error:
            return str(error)
        return None

    title = f"checking {data.name}"
    with hashing_threads() as pool:
        done = pool.map(reason, range(len(data)))
        reasons = list(tqdm(done, total=len(data), desc=title, disable=not progress))
    broken = [(path, why) for path, why in zip(data.paths, reasons, strict=True) if why]
    if len(broken) == len(data) > 0:
        path, why = broken[0]
        raise ValueError(
            f"none of the {len(data):,} images of {data.name} can be read; {path}: {why}. Look at "
            "the paths, and whether the files are there"
        )
    kept = data.subset(np.array([why is None for why in reasons]))
    return replace(kept, skipped=tuple(sorted([*data.skipped, *broken])))


def left_out_by_reason(data: ImageDataset) -> list[str]:
    """Say how many images were left out for each reason, with an example, most first.

    Returns
    -------
    list of str
        A line per reason, of many only the first; none where nothing was left out.
    """
    examples: dict[str, list[str]] = defaultdict(list)
    for path, reason in data.skipped:
        examples[reason.rpartition(f"{path}: ")[2]].append(path)
    most_first = sorted(examples.items(), key=lambda item: -len(item[1]))
    lines = [f"{len(paths):,} (such as {paths[0]}): {why}" for why, paths in most_first]
    more = [f"and for {len(lines) - _MOST_REASONS:,} more reasons"]
    return lines if len(lines) <= _MOST_REASONS else lines[:_MOST_REASONS] + more


def _read_table(file: Path) -> tuple[list[Path], list[str]]:
    """Read which files, by their full paths, have which label."""
    if not is_there(file):
        raise FileNotFoundError(f"no such table: {file} (from {Path.cwd()})")
    try:
        text = file.read_text("utf-8-sig")
        separator = max(",;\t", key=text.lstrip().partition("\n")[0].count)  # most in the header
        lines = csv.reader(
            io.StringIO(text), delimiter=separator, skipinitialspace=True, strict=True
        )
        rows = [values for line in lines if any(values := [value.strip() for value in line])]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"expected {file} to be CSV in UTF-8, but {error}") from error
    names = [name.lower() for name in rows[0]] if rows else []
    if len(rows) < 2 or names.count("path") != 1 or names.count("label") != 1:
        raise ValueError(
            f"expected a header with the columns path,label in {file}, each once, and rows below "
            f"it, got {rows[:2]}"
        )
    files, labels = [], []
    for number, row in enumerate(rows[1:], start=1):
        cells = dict(zip(names, row, strict=False))
        path, label = cells.get("path", ""), cells.get("label", "")
        if not path or label in _MISSING:
            raise ValueError(f"row {number} of {file} has no path or no label: {', '.join(row)}")
        place = file.parent.absolute() / path
        if "\\" in path and not is_there(place):  # as Windows writes it
            place = file.parent.absolute() / path.replace("\\", "/")
        files.append(place)
        labels.append(label)
    return files, labels


_PHOTOGRAPHS = {
    ("skimage", "data"): "astronaut.png brick.png camera.png chelsea.png coffee.png coins.png "
    "grass.png gravel.png hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png retina.jpg "
    "rocket.jpg",
    ("sklearn", "datasets/images"): "china.jpg flower.jpg",
}


def _digits() -> ImageDataset:
    """Give the 1,797 handwritten digits of scikit-learn: 8 x 8, grey 0..16 scaled to 0..255."""
    from sklearn.datasets import load_digits  # slow to import, and seldom needed

    table = load_digits()
    grey = (table.images * 255 / 16).round().astype(np.uint8)
    return ImageDataset(
        name="digits",
        classes=DIGITS,
        labels=table.target,
        paths=tuple(f"digits/{index:04d}" for index in range(len(grey))),
        source=ImageArrays(np.repeat(grey[..., None], 3, axis=-1)),
        overlap_group=CARDS["digits"].overlap_group,
    )


def _photographs() -> ImageDataset:
    """Give the photographs inside the scikit-image and scikit-learn wheels, one class each.

    Left out are drawings, documents, test patterns, blurred or tiny frames, and the second view of
    the stereo pair. The files are read where they are installed; nothing is downloaded.
    """
    every = {
        f"{package}/{name}": Path(str(files(package)), folder, name)
        for (package, folder), names in _PHOTOGRAPHS.items()
        for name in names.split()
    }
    here = {name: path for name, path in every.items() if path.is_file()}
    return ImageDataset(
        name="photographs",
        classes=tuple(Path(name).stem for name in here),
        labels=np.arange(len(here)),
        paths=tuple(here),
        source=ImageFiles(tuple(map(str, here.values()))),
    )


BUNDLED: dict[str, Callable[[], ImageDataset]] = {
    **{"digits": _digits, "photographs": _photographs},
    **DRAWN,
}
