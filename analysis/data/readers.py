"""Finding a dataset on disk and loading it."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm.auto import tqdm

from analysis.data.bundled import BUNDLED
from analysis.data.cards import DatasetCard, card_of
from analysis.data.decoding import BrokenImageError
from analysis.data.download import fetch_dataset, how_to_get
from analysis.data.images import ImageDataset, ImageFiles, hashing_threads
from analysis.data.listing import Listing, class_folders, links_out
from analysis.data.locations import find_dataset, own_path, read_listing
from analysis.data.tables import read_table

__all__ = ["left_out_by_reason", "load_dataset"]

_LOG = logging.getLogger(__name__)
_MOST_REASONS = 10

OnError = Literal["raise", "skip"]


def load_dataset(
    name: str, *, on_error: OnError = "raise", fetch: bool = False, progress: bool = False
) -> ImageDataset:
    """Labelled images by name.

    Parameters
    ----------
    name : str
        A name of ``CARDS``; ``folder:/path/to/images`` for a folder of your own with one sub-folder
        per class; or ``table:/path/to/labels.csv`` for files that a table lists, see
        :func:`analysis.data.tables.read_table`. Nothing outside of a folder is read: links that
        lead out of it are refused, folders at once and images when they are opened.
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
        give each file one label.
    FileNotFoundError
        If the dataset, the folder, the table or (with "raise") one of its files is not on disk; the
        message says how to get a dataset and where to put it.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error is 'raise' or 'skip', got {on_error!r}")
    data = _load(name, on_error, fetch=fetch, progress=progress)
    if on_error == "skip":
        data = _without_broken(data, progress=progress)
    _warn(data)
    return data


def _load(name: str, on_error: OnError, *, fetch: bool, progress: bool) -> ImageDataset:
    own = own_path(name)
    if own is not None and own.kind == "folder":
        return _from_listing(name, _own_folder(own.path))
    if own is not None:
        table = read_table(own.path, need_files=on_error == "raise")
        return ImageDataset.from_files(
            table.files, table.labels, root=own.path.parent, name=name, need_files=False
        )
    card = card_of(name)
    if card.layout == "bundled":
        return BUNDLED[name]()
    if find_dataset(card) is None:
        if not fetch:
            raise FileNotFoundError(how_to_get(card))
        fetch_dataset(name, progress=progress)
    listing = read_listing(card)
    _compare(card, listing)
    return _from_listing(name, listing, card)


def _own_folder(root: Path) -> Listing:
    if not root.exists():
        raise FileNotFoundError(f"no such folder: {root} (from {Path.cwd()})")
    if not root.is_dir():
        raise ValueError(f"expected a folder with one sub-folder per class, got the file {root}")
    if leading := links_out(root):
        named = ", ".join(map(repr, leading[:10])) + (" ..." if len(leading) > 10 else "")
        raise ValueError(
            f"class folder(s) {named} of {root} are links that lead out of it, and nothing outside "
            "of the folder is read; put the images there instead (cp -rL follows links)"
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


def _compare(card: DatasetCard, listing: Listing) -> None:
    if card.images is not None and len(listing.files) != card.images:
        _LOG.warning(
            "%s: %d images in %s, the complete dataset has %d",
            card.name,
            len(listing.files),
            listing.root,
            card.images,
        )
    if card.classes is not None and len(listing.classes) != card.classes:
        _LOG.warning(
            "%s: %d classes in %s, the complete dataset has %d",
            card.name,
            len(listing.classes),
            listing.root,
            card.classes,
        )


def _without_broken(data: ImageDataset, *, progress: bool) -> ImageDataset:
    def reason(index: int) -> str | None:
        try:
            data[index]
        except BrokenImageError as error:
            return str(error)
        return None

    with hashing_threads() as pool:
        reasons = list(
            tqdm(
                pool.map(reason, range(len(data))),
                total=len(data),
                desc=f"checking {data.name}",
                disable=not progress,
            )
        )
    broken = [(path, why) for path, why in zip(data.paths, reasons, strict=True) if why]
    if not broken:
        return data
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
    more = len(lines) - _MOST_REASONS
    return lines if more <= 0 else [*lines[:_MOST_REASONS], f"and for {more:,} more reasons"]


def _warn(data: ImageDataset) -> None:
    """Tell what is left out, so that nobody takes a part for the whole."""
    if data.skipped:
        _LOG.warning(
            "%s: %d of %d images are left out:\n  %s",
            data.name,
            len(data.skipped),
            len(data.skipped) + len(data),
            "\n  ".join(left_out_by_reason(data)),
        )
