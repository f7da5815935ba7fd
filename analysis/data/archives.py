"""Unpacking archives from the network without letting them write anywhere else, or fill the disk.

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
import stat
import sys
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from pathlib import Path, PurePosixPath

__all__ = ["is_archive", "most_unpacked", "unpack"]

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


def is_archive(name: str) -> bool:
    """Whether a file name is one of an archive that ``unpack`` understands."""
    return name.lower().endswith(_ARCHIVE_ENDINGS)


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
