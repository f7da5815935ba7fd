"""Unpacking archives from the network without letting them write anywhere else."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

__all__ = ["is_archive", "unpack"]

_ARCHIVE_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")


def is_archive(name: str) -> bool:
    """Whether a file name is one of an archive that ``unpack`` understands."""
    return name.lower().endswith(_ARCHIVE_ENDINGS)


def unpack(archive: Path, into: Path) -> None:
    """Write the files of a zip, tar or tar.gz archive into a folder.

    Only files and folders are accepted. Permissions, owners and times are not taken over.

    Parameters
    ----------
    archive : Path
        The archive; its kind is read from its content.
    into : Path
        An existing folder.

    Raises
    ------
    ValueError
        If a member would land outside the folder or is a link, a device or the like, or if the file
        is damaged or no archive. What was written until then stays for the caller to remove.
    """
    try:
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, into)
        else:
            _unpack_tar(archive, into)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise ValueError(f"{archive} is damaged or no zip or tar archive: {error}") from error


def _unpack_tar(archive: Path, into: Path) -> None:
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:  # one pass: listing a compressed archive first would read it twice
            if not (member.isreg() or member.isdir()):
                raise ValueError(f"{archive}: refused {member.name!r}, neither file nor folder")
            content = tar.extractfile(member) if member.isreg() else None
            _write(_target(member.name, archive, into), content)


def _unpack_zip(archive: Path, into: Path) -> None:
    with zipfile.ZipFile(archive) as zipped:
        for member, content in _zip_members(zipped):
            mode = member.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ValueError(f"{archive}: refused {member.filename!r}, neither file nor folder")
            _write(_target(member.orig_filename, archive, into), content)


def _zip_members(zipped: zipfile.ZipFile) -> Iterator[tuple[zipfile.ZipInfo, IO[bytes] | None]]:
    for member in zipped.infolist():
        if member.is_dir():
            yield member, None
        else:
            with zipped.open(member) as content:
                yield member, content


def _target(name: str, archive: Path, into: Path) -> Path:
    path = PurePosixPath(name)
    hostile = "\\" in name or "\0" in name or path.is_absolute() or ".." in path.parts
    if hostile or PureWindowsPath(name).drive:
        raise ValueError(f"{archive}: refused {name!r}, which would land outside the folder")
    return into / path


def _write(target: Path, content: IO[bytes] | None) -> None:
    if content is None:
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        shutil.copyfileobj(content, file, 1 << 20)
