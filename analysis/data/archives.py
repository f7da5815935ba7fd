"""Unpacking archives from the network without letting them write anywhere else, or fill the disk.

Conventions
-----------
Zip archives (stored or deflated) and tar archives (plain or gzip) are read; other compressions can
ask for more memory than any archive of images needs.

A member is refused, and with it the archive, if it would land outside the folder, is a link, a
device or the like, is encrypted, is not as long as its header says, or if its name differs from
another one in capitals or the composition of Unicode alone: on some file systems the two are one
file.

What an archive unpacks to is bounded by :func:`most_unpacked`: images are compressed already, so
that twenty times its own size is a bomb.
"""

from __future__ import annotations

import errno
import gzip
import io
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

__all__ = ["is_archive", "most_unpacked", "unpack"]

_ARCHIVE_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")
_TIMES = 20
_SMALL = 64 << 20  # bytes that any archive may unpack to
_BLOCK = 4096  # bytes that a member takes on disk at the least
_PIECE = 1 << 20
_GZIP = b"\x1f\x8b"
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # flags of the zip format: traditional, strong, masked headers
_UNFIT = {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}


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
        An existing folder. What is there already is not replaced.
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
    writer = _Writer(archive, into, most_unpacked(archive) if most is None else most)
    try:
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, writer)
        else:
            _unpack_tar(archive, writer)
    except (
        *(tarfile.TarError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile),
        *(EOFError, RuntimeError, NotImplementedError, UnicodeError),
    ) as error:
        raise ValueError(f"{archive} is damaged or no zip or tar archive: {error}") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # which is what seeking to a place before the start is
            raise
        raise ValueError(f"{archive} is damaged: a header leads out of it") from error


class _Writer:
    """Writes members into a folder, once each, up to a number of bytes."""

    def __init__(self, archive: Path, into: Path, most: int) -> None:
        self.archive, self.most = archive, most
        self._into = into
        self._left = most
        self._seen: dict[str, tuple[str, bool]] = {}

    def write(self, name: str, size: int, content: IO[bytes] | None) -> None:
        """Write a member, a folder where there is no content; ``size`` is what its header says."""
        target = self._target(name, is_file=content is not None)
        self._take(max(size, _BLOCK), name)
        try:
            if content is None:
                target.mkdir(parents=True, exist_ok=True)
                return
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                self._copy(name, size, content, file)
        except OSError as error:
            if error.errno not in _UNFIT:
                raise
            raise self.refusal(name, f"which cannot be written: {error.strerror}") from error

    def refusal(self, name: str, why: str) -> ValueError:
        return ValueError(f"{self.archive}: refused {name!r:.200}, {why}")

    def _copy(self, name: str, size: int, content: IO[bytes], file: IO[bytes]) -> None:
        copied = 0
        while piece := content.read(_PIECE):
            copied += len(piece)
            if copied > size:
                break
            file.write(piece)
        if copied != size:
            raise self.refusal(name, f"whose header says {size} bytes, which is not what it holds")

    def _take(self, n_bytes: int, name: str) -> None:
        self._left -= n_bytes
        if self._left < 0:
            raise self.refusal(
                name,
                f"with which the archive would unpack to more than {self.most} bytes, the most "
                "that is accepted of it",
            )

    def _target(self, name: str, *, is_file: bool) -> Path:
        path = PurePosixPath(name)
        drives = any(part[1:2] == ":" for part in path.parts)
        if "\\" in name or "\0" in name or path.is_absolute() or ".." in path.parts or drives:
            raise self.refusal(name, "which would land outside the folder")
        if not path.parts and is_file:
            raise self.refusal(name, "which is no name of a file")
        self._note(name, path, is_file=is_file)
        return self._into / path

    def _note(self, name: str, path: PurePosixPath, *, is_file: bool) -> None:
        """Remember a name and its folders; refuse what is the same file on some file systems."""
        for each in (*path.parents, path):
            key = unicodedata.normalize("NFC", str(each)).casefold()
            found = (str(each), is_file and each == path)
            before = self._seen.setdefault(key, found)
            if before != found or (found[1] and before is not found):
                raise self.refusal(name, f"whose name is also that of {before[0]!r:.200}")


def _unpack_tar(archive: Path, writer: _Writer) -> None:
    with _decompressed(archive) as raw:
        content = _Bounded(raw, writer)
        tar = tarfile.open(fileobj=content, mode="r:", tarinfo=_Header)  # noqa: SIM115 - not its own
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # else it keeps all of them
            if not (member.isreg() or member.isdir()) or member.issparse():
                raise writer.refusal(member.name, "neither file nor folder")
            writer.write(
                member.name, member.size, tar.extractfile(member) if member.isreg() else None
            )
        content.seek(tar.offset)
        last = content.read(tarfile.BLOCKSIZE)
        if last.strip(b"\0"):  # tarfile takes a broken header for the end
            raise tarfile.ReadError("a broken header")


@contextmanager
def _decompressed(archive: Path) -> Iterator[IO[bytes]]:
    with archive.open("rb") as raw:
        zipped = raw.read(2) == _GZIP
        raw.seek(0)
        if not zipped:
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as content:
            yield content  # type: ignore[misc]


class _Header(tarfile.TarInfo):
    """Header of a member; refuses sizes below 0, which lead back to where it was read."""

    def _block(self, count: int) -> int:
        if count < 0:
            raise tarfile.ReadError(f"a size of {count} bytes")
        blocks: int = super()._block(count)  # type: ignore[misc]
        return blocks


class _Bounded(io.RawIOBase):
    """Content of a tar archive; refuses to go past what it may hold, or to read much at once."""

    def __init__(self, content: IO[bytes], writer: _Writer) -> None:
        self._content, self._writer = content, writer

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= 8 * _PIECE:  # headers are in pieces too, and may claim any length
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._content.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence != 0 or offset > 2 * self._writer.most:
            raise tarfile.ReadError(f"a member that ends at byte {offset}")
        return self._content.seek(offset)

    def tell(self) -> int:
        return self._content.tell()


def _unpack_zip(archive: Path, writer: _Writer) -> None:
    with zipfile.ZipFile(archive) as zipped:
        for member in zipped.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise writer.refusal(member.filename, "neither file nor folder")
            if member.flag_bits & _ENCRYPTED:
                raise writer.refusal(member.filename, "which is encrypted")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise writer.refusal(
                    member.filename, f"compressed in a way not known here ({member.compress_type})"
                )
            if member.is_dir():
                writer.write(member.orig_filename, 0, None)
                continue
            with zipped.open(member) as content:
                writer.write(member.orig_filename, member.file_size, content)
