"""Getting a dataset: download, verify, unpack, and only then put in place.

Archives cannot write anywhere else, nor fill the disk.

Conventions
-----------
Zip archives (stored or deflated) and tar archives (plain or gzip) are read; other compressions can
ask for more memory than any archive of images needs. ``zipfile`` writes the members of the ones,
and ``tarfile`` with its data filter those of the others.

A member is refused, and with it the archive, if it would land outside the folder, is a link, a
device or the like, is encrypted, or if its name differs from another one in capitals or the
composition of Unicode alone: on some file systems the two are one file.

What an archive unpacks to is bounded by :func:`most_unpacked`: images are compressed already, so
that twenty times its own size is a bomb.
"""

from __future__ import annotations

import errno
import gzip
import io
import logging
import shutil
import stat
import sys
import tarfile
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import pooch

from analysis import paths
from analysis.data.cards import DatasetCard, Source, card_of
from analysis.data.layouts import LAYOUTS, find_dataset, read_listing

_ARCHIVE_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")
_TIMES = 20
_SMALL = 64 << 20  # bytes that any archive may unpack to
_BLOCK = 4096  # bytes that a member takes on disk at the least
_LONGEST_HEADER = 1 << 20  # bytes
_UNFIT = {
    *(errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    None,  # of a damaged gzip file
}
_PLAIN = (0, stat.S_IFREG, stat.S_IFDIR)  # 0 where the system has no such modes
_READ = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

# Name, size, whether it is a file or a folder that can be read, and what writes it.
_Members = Generator[tuple[str, int, bool, Callable[..., object]]]


def most_unpacked(archive: Path) -> int:
    """Bytes that an archive may unpack to: 20 times its own size, and 64 MiB in any case."""
    return max(_SMALL, _TIMES * archive.stat().st_size)


def unpack(archive: Path, into: Path, *, most: int | None = None) -> None:
    """Write the files of a zip, tar or tar.gz archive into a folder.

    Only files and folders are accepted. Permissions, owners and times are not taken over.

    Parameters
    ----------
    archive : Path
        The archive; its kind is read from its content.
    into : Path
        An existing folder.
    most : int, optional
        Bytes that it may unpack to, where each member counts 4 KiB at the least;
        :func:`most_unpacked` if not given.

    Raises
    ------
    ValueError
        If a member is refused (see the module's conventions), the archive holds more than ``most``,
        or the file is damaged or no archive. What was written until then stays for the caller to
        remove.
    """
    most = left = most_unpacked(archive) if most is None else most
    names: dict[str, str] = {}
    try:
        read = _zip_members if zipfile.is_zipfile(archive) else _tar_members
        with closing(read(archive)) as members:
            for name, size, plain, extract in members:
                named, left = f"{name!r:.200}", left - max(size, _BLOCK)
                if not plain:
                    raise ValueError(f"{named} is neither file nor folder, or oddly compressed")
                if left < 0 or size < 0:  # below zero it leads back to where it was read
                    raise ValueError(f"{named} of {size} bytes is too much: it may hold {most}")
                _check_name(name, names)
                extract(path=into)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{archive} is damaged or no zip or tar archive: {error}") from error
    except (ValueError, RuntimeError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _UNFIT:
            raise  # of this machine
        raise ValueError(f"{archive} cannot be unpacked: {error}") from error


def _check_name(name: str, names: dict[str, str]) -> None:
    """Refuse a name that leads out, or is another's on some file systems; remember its folders."""
    path = PurePosixPath(name)
    drives = any(part[1:2] == ":" for part in path.parts)
    if drives or path.is_absolute() or ".." in path.parts or set("\\\0") & set(name):
        raise ValueError(f"{name!r:.200} would land outside the folder")
    for each in map(str, (*path.parents, path)):
        key = unicodedata.normalize("NFC", each).casefold()
        if names.setdefault(key, each) != each:
            raise ValueError(f"the name of {name!r:.200} is also that of {names[key]!r:.200}")


def _zip_members(archive: Path) -> _Members:
    with zipfile.ZipFile(archive) as zipped:
        for member in zipped.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            plain = kind in _PLAIN and member.compress_type in _READ
            extract = partial(zipped.extract, member)
            yield member.orig_filename, member.file_size, plain, extract


def _tar_members(archive: Path) -> _Members:
    if not hasattr(tarfile, "data_filter"):
        raise RuntimeError(f"expected Python 3.11.4 or later, got {sys.version.split()[0]}")
    with archive.open("rb") as file:
        opener = gzip.open if file.read(2) == b"\x1f\x8b" else open
    with (
        _Bounded(opener(archive, "rb")) as content,
        tarfile.open(fileobj=content, mode="r:") as tar,
    ):
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # else it keeps all of them
            plain = (member.isreg() or member.isdir()) and not member.issparse()
            extract = partial(tar.extract, member, set_attrs=False, filter="data")
            yield member.name, member.size, plain, extract
        content.seek(tar.offset)
        if content.read(tarfile.BLOCKSIZE).strip(b"\0"):  # which tarfile takes for the end
            raise tarfile.ReadError("a broken header")


class _Bounded(io.BufferedReader):
    """Content of a tar archive, of which headers are read whole, and may claim any length."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return super().read(size)


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
    if card.layout == "bundled":
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
    root = place.parent
    root.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(root).free, 2 * card.n_bytes  # packed and unpacked
    if needed > free:
        sizes = f"about {_megabytes(needed)} in {root}, which has {_megabytes(free)} free"
        raise OSError(f"{card.name!r} needs {sizes}")
    downloads = root / ".downloads" / card.folder
    with tempfile.TemporaryDirectory(prefix=f".{card.folder}-", dir=root) as temporary:
        # Named as the dataset's own folder, so that it can be listed before it is in place.
        unpacked = Path(temporary) / card.folder
        unpacked.mkdir()
        for source in card.sources:
            # What is verified need not be downloaded again, whatever happens to the rest.
            folder = downloads if source.checksum else Path(temporary)
            _add(source, _download(source, folder, progress=progress), unpacked)
        _check(card, Path(temporary))
        try:
            unpacked.rename(place)
        except OSError:
            if find_dataset(card) is None:
                raise
            _LOG.info("another process has put %s in place meanwhile", card.name)
    shutil.rmtree(downloads, ignore_errors=True)
    return find_dataset(card) or place


def how_to_get(card: DatasetCard) -> str:
    """Say that a dataset is not on disk, how to get it, where to put it and what is checked."""
    searched = ", ".join(str(root / card.folder) for root in paths.data_roots())
    size = f" ({_megabytes(card.n_bytes)})" if card.n_bytes else ""
    homepage = f" See {card.homepage}." if card.homepage else ""
    get = (
        f"Download it{size} with `layerbook fetch {card.name}` or load_dataset({card.name!r}, "
        "fetch=True)."
        if card.sources
        else f"It cannot be downloaded directly. {card.obtain}{homepage}"
    )
    return (
        f"dataset {card.name!r} is not on disk (searched: {searched}).\n{get}\n"
        f"To put it there by hand: {_what_is_expected(card)}."
    )


def _what_is_expected(card: DatasetCard) -> str:
    expected = LAYOUTS[card.layout].expected(paths.data_download_root() / card.folder, card.domain)
    return f"{' and '.join(expected)} ({card.images} images, {card.classes} classes)"


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def _download(source: Source, folder: Path, *, progress: bool) -> Path:
    name = unquote(Path(urlsplit(source.url).path).name)
    _LOG.info("downloading %s (%s)", source.url, _megabytes(source.n_bytes or 0))
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


def _add(source: Source, file: Path, folder: Path) -> None:
    if not file.name.lower().endswith(_ARCHIVE_ENDINGS):
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
