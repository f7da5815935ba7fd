"""Getting a dataset: download, verify, unpack, and only then put in place."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pooch

from analysis import paths
from analysis.data.archives import is_archive, most_unpacked, unpack
from analysis.data.cards import DatasetCard, Source, card_of
from analysis.data.layouts import LAYOUTS, find_dataset, read_listing

__all__ = ["fetch_dataset", "how_to_get"]

_LOG = logging.getLogger(__name__)


def fetch_dataset(name: str, *, progress: bool = True) -> Path:
    """Make sure that a dataset is on disk, downloading it if it is not.

    Everything is downloaded, compared with its checksum, unpacked and listed in a temporary folder,
    which is then renamed; an interruption or a failed check leaves nothing in the dataset's place.
    Where no checksum is published, the numbers of images and classes have to be the card's.

    Parameters
    ----------
    name : str
        A name of ``CARDS``. The domains of one dataset are fetched together.
    progress : bool
        Show a progress bar for each file.

    Returns
    -------
    Path
        Folder of the dataset, where it was found or put.

    Raises
    ------
    ValueError
        For an unknown or a bundled dataset, and for files that are not what the card says.
    FileNotFoundError
        If the dataset cannot be downloaded directly; the message says how to get it.
    OSError
        If the download fails or the disk is too small.
    """
    card = card_of(name)
    if card.how_obtained == "bundled":
        raise ValueError(f"{name!r} comes with the installed packages; there is nothing to fetch")
    if (found := find_dataset(card)) is not None:
        _LOG.info("%s is already in %s", name, found)
        return found
    if not card.sources:
        raise FileNotFoundError(how_to_get(card))
    place = paths.data_download_root() / card.folder
    if place.exists() and any(place.iterdir()):
        raise ValueError(
            f"{place} exists, but {_what_is_expected(card)} is not there; move the folder away "
            "and fetch again"
        )
    _install(card, place, progress=progress)
    found = find_dataset(card)
    if found is None:  # a data root was changed meanwhile
        raise FileNotFoundError(how_to_get(card))
    return found


def how_to_get(card: DatasetCard) -> str:
    """Say that a dataset is not on disk, how to get it, where to put it and what is checked."""
    searched = ", ".join(str(root / card.folder) for root in paths.data_roots())
    lines = [f"dataset {card.name!r} is not on disk (searched: {searched})."]
    if card.sources:
        size = _total_bytes(card)
        said = f" ({_megabytes(size)})" if size else ""
        lines.append(
            f"Download it{said} with `layerbook fetch {card.name}` or "
            f"load_dataset({card.name!r}, fetch=True)."
        )
    else:
        homepage = f" See {card.homepage}." if card.homepage else ""
        lines.append(f"It cannot be downloaded directly. {card.obtain}{homepage}")
    lines.append(f"To put it there by hand: {_what_is_expected(card)}.")
    return "\n".join(lines)


def _what_is_expected(card: DatasetCard) -> str:
    expected = LAYOUTS[card.layout].expected(paths.data_download_root() / card.folder, card.domain)
    counts = f"{card.images or 'any number of'} images, {card.classes or 'any number of'} classes"
    return f"{' and '.join(expected)} ({counts})"


def _total_bytes(card: DatasetCard) -> int:
    return sum(source.n_bytes or 0 for source in card.sources)


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def _install(card: DatasetCard, place: Path, *, progress: bool) -> None:
    root = place.parent
    root.mkdir(parents=True, exist_ok=True)
    _require_space(card, root)
    downloads = root / ".downloads" / card.folder
    with tempfile.TemporaryDirectory(prefix=f".{card.folder}-", dir=root) as temporary:
        # Named as the dataset's own folder, so that it can be listed before it is in place.
        unpacked = Path(temporary) / card.folder
        unpacked.mkdir()
        try:
            for source in card.sources:
                _add(source, _download(source, downloads, progress=progress), unpacked)
            _check(card, Path(temporary))
        except ValueError:
            _forget_unverified(card, downloads)
            raise
        _rename(unpacked, place, card)
    shutil.rmtree(downloads, ignore_errors=True)


def _forget_unverified(card: DatasetCard, downloads: Path) -> None:
    """Remove what was refused; what agrees with a checksum need not be downloaded again."""
    for source in card.sources:
        if source.checksum is None:
            (downloads / _file_name(source)).unlink(missing_ok=True)


def _require_space(card: DatasetCard, root: Path) -> None:
    needed = 2 * _total_bytes(card)  # the archive, and about as much again unpacked
    free = shutil.disk_usage(root).free
    if needed > free:
        raise OSError(
            f"{card.name!r} needs about {_megabytes(needed)} in {root}, "
            f"which has {_megabytes(free)} free"
        )


def _download(source: Source, folder: Path, *, progress: bool) -> Path:
    name = _file_name(source)
    size = f", {_megabytes(source.n_bytes)}" if source.n_bytes else ""
    if source.checksum is None:
        (folder / name).unlink(missing_ok=True)  # an earlier try may have left anything
    _LOG.info("downloading %s%s", source.url, size)
    try:
        fetched = pooch.retrieve(
            source.url,
            known_hash=source.checksum,
            fname=name,
            path=folder,
            downloader=pooch.HTTPDownloader(progressbar=progress, chunk_size=1 << 20),
        )
    except ValueError as error:
        raise ValueError(f"{source.url} is not the published file: {error}") from error
    except OSError as error:
        raise OSError(f"could not download {source.url}: {error}") from error
    if source.checksum is None:
        _LOG.warning(
            "no checksum of %s is known: its images are counted instead; its sha256 is %s",
            source.url,
            pooch.file_hash(fetched),
        )
    return Path(fetched)


def _file_name(source: Source) -> str:
    return unquote(Path(urlsplit(source.url).path).name)


def _add(source: Source, file: Path, folder: Path) -> None:
    if not is_archive(file.name):
        shutil.copyfile(file, folder / file.name)
        return
    most = most_unpacked(file)  # also of an archive inside
    unpack(file, folder, most=most)
    for nested in source.nested:
        inner = folder / nested
        if not inner.is_file():
            raise ValueError(f"expected {nested} in {file}, and it is not there")
        unpack(inner, inner.parent, most=most)
        inner.unlink()


def _check(card: DatasetCard, root: Path) -> None:
    try:
        listing = read_listing(card, (root,))
    except FileNotFoundError as error:
        layout = LAYOUTS[card.layout]
        raise ValueError(
            f"the downloaded files of {card.name!r} do not hold {' and '.join(layout.needs)}"
        ) from error
    counted = (len(listing.files), len(listing.classes))
    verified = all(source.checksum for source in card.sources)
    if not verified and counted != (card.images, card.classes):
        raise ValueError(
            f"expected {card.images} images of {card.classes} classes in the downloaded files of "
            f"{card.name!r}, got {counted[0]} of {counted[1]}"
        )


def _rename(unpacked: Path, place: Path, card: DatasetCard) -> None:
    try:
        unpacked.rename(place)
    except OSError:
        if find_dataset(card) is None:
            raise
        _LOG.info("another process has put %s in place meanwhile", card.name)
