"""Archives that mean harm: refused, nothing outside of the folder, nothing left in place."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.data import CARDS, fetch_dataset
from analysis.data.cards import Source
from analysis.data.download import most_unpacked, unpack

OUTSIDE = (
    "../out.jpg",
    "a/../../out.jpg",
    "..",
    "/layerbook-out.jpg",
    "//layerbook-out.jpg",
    "a\\..\\..\\out.jpg",
    "\\layerbook-out.jpg",
    "C:/out.jpg",
    "C:out.jpg",
    "a/C:out.jpg",
)
TWINS = (
    ("a/Cat.jpg", "a/cat.jpg"),
    ("A/1.jpg", "a/2.jpg"),
    ("caf\N{LATIN SMALL LETTER E WITH ACUTE}/1.jpg", "cafe\N{COMBINING ACUTE ACCENT}/2.jpg"),
    ("stra\N{LATIN SMALL LETTER SHARP S}e.jpg", "STRASSE.jpg"),
)
FOLDERS_OF_FILES = (("a", "a/b.jpg"), ("a/b.jpg", "a"))


def write_tar(file: Path, *members: tuple[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(file, mode) as tar:  # type: ignore[call-overload]
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file


def write_gzipped_tar(file: Path, *members: tuple[str, bytes]) -> Path:
    return write_tar(file, *members, mode="w:gz")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def write_zip(file: Path, *members: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members:
            zipped.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return file


WRITERS = (write_tar, write_gzipped_tar, write_zip)
Writer = Callable[..., Path]


def refused(archive: Path, why: str, **options: int) -> None:
    """An archive is refused by name, and leaves nothing outside of the folder."""
    into = archive.parent / "box" / "into"
    into.mkdir(parents=True)
    beside = {path for path in archive.parent.rglob("*") if into not in path.parents}
    with pytest.raises(ValueError, match=why) as caught:
        unpack(archive, into, **options)
    assert str(archive) in str(caught.value)
    assert {path for path in archive.parent.rglob("*") if into not in path.parents} == beside
    assert not Path("/layerbook-out.jpg").exists()
    assert not [path for path in into.rglob("*") if path.is_symlink()]


def test_a_member_cannot_land_outside(tmp_path, withstood):
    tried = 0
    for writer in WRITERS:
        for name in OUTSIDE:
            folder = tmp_path / str(tried)
            folder.mkdir()
            refused(writer(folder / "x", (name, b"x")), "'.*' would land outside the folder")
            tried += 1
    withstood("attack", "An archive whose members lead out of its folder", tried=tried)


LINKS_AND_DEVICES = (
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
    tarfile.GNUTYPE_SPARSE,
    b"9",
)
MODES = (0o120777, 0o020666, 0o060666, 0o010644, 0o140644)


def test_only_files_and_folders(tmp_path, withstood):
    """Links that stay inside the folder, which the data filter accepts, among them."""
    tried = 0
    for target in ("/etc/passwd", "b.jpg"):
        for kind in LINKS_AND_DEVICES:
            folder = tmp_path / str(tried)
            folder.mkdir()
            member = tarfile.TarInfo("innocent.jpg")
            member.type, member.linkname = kind, target
            with tarfile.open(folder / "x", "w") as tar:
                tar.addfile(tarfile.TarInfo("b.jpg"))
                tar.addfile(member)
            refused(folder / "x", r"'innocent\.jpg' is neither file nor folder")
            tried += 1
    for mode in MODES:
        folder = tmp_path / str(tried)
        folder.mkdir()
        linked = zipfile.ZipInfo("innocent.jpg")
        linked.external_attr = mode << 16
        with zipfile.ZipFile(folder / "x", "w") as zipped:
            zipped.writestr(linked, "/etc/passwd")
        refused(folder / "x", r"'innocent\.jpg' is neither file nor folder")
        tried += 1
    withstood("attack", "An archive with links, devices or pipes", tried=tried)


def test_names_that_are_one_file_on_some_file_systems(tmp_path, withstood):
    tried = 0
    for writer in WRITERS:
        for names in TWINS:
            folder = tmp_path / str(tried)
            folder.mkdir()
            archive = writer(folder / "x", *((name, name.encode()) for name in names))
            refused(archive, "is also that of")
            tried += 1
        for names in FOLDERS_OF_FILES:
            folder = tmp_path / str(tried)
            folder.mkdir()
            archive = writer(folder / "x", *((name, name.encode()) for name in names))
            refused(archive, "cannot be unpacked: .*into/a['/]")
            tried += 1
    withstood("attack", "An archive whose members differ in capitals or Unicode alone", tried=tried)


def test_what_unpacks_to_far_more_than_the_archive(tmp_path, withstood):
    """Zeros shrink to a thousandth; twenty times, and 64 MiB, is what images could need."""
    bomb = bytes(80 << 20)
    tried = 0
    for writer in (write_gzipped_tar, write_zip):
        (tmp_path / writer.__name__).mkdir()
        archive = writer(tmp_path / writer.__name__ / "x", ("bomb.jpg", bomb))
        assert most_unpacked(archive) < len(bomb)
        refused(archive, rf"'bomb\.jpg' of {80 << 20} bytes is too much: it may hold {64 << 20}")
        tried += 1
    for writer in WRITERS:
        folder = tmp_path / f"many{writer.__name__}"
        folder.mkdir()
        many = writer(folder / "x", *((f"{number}.jpg", b"") for number in range(300)))
        refused(
            many, r"'256\.jpg' of 0 bytes is too much: it may hold 1048576", most=1 << 20
        )  # 4 KiB each
        tried += 1
    withstood("attack", "An archive that unpacks to far more than its own size", tried=tried)


def test_a_tar_header_that_asks_for_all_memory(tmp_path, withstood):
    """Extended headers (PAX, GNU) are read whole; this one claims to be 8 GB long."""
    for number, kind in enumerate((tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME)):
        (tmp_path / str(number)).mkdir()
        header = tarfile.TarInfo("x")
        header.type, header.size = kind, 8 << 30
        with gzip.open(tmp_path / str(number) / "x", "wb", 1) as file:
            file.write(header.tobuf(tarfile.GNU_FORMAT))
            for _ in range(16):
                file.write(bytes(1 << 20))
        refused(tmp_path / str(number) / "x", "a header of 8589934592 bytes")
    withstood("attack", "An archive with a header that asks for all memory", tried=2)


def test_a_tar_header_that_leads_backwards(tmp_path, withstood):
    """A size below 0 would have tarfile read the same member for ever (CVE-2025-8194)."""
    tried = 0
    for size in (-512, -1024, -(1 << 40)):
        (tmp_path / str(tried)).mkdir()
        header = tarfile.TarInfo("a.jpg")
        header.pax_headers = {"size": str(size)}
        content = header.tobuf(tarfile.PAX_FORMAT) + bytes(1024)
        (tmp_path / str(tried) / "x").write_bytes(content)
        refused(tmp_path / str(tried) / "x", rf"'a\.jpg' of {size} bytes is too much")
        tried += 1
    withstood("attack", "A tar archive with sizes below zero", tried=tried)


def test_headers_that_lie_about_sizes(tmp_path, withstood):
    def changed(name: str, at: bytes, offset: int, size: int) -> None:
        (tmp_path / name).mkdir()
        archive = write_zip(tmp_path / name / "x", ("a.jpg", b"content" * 100))
        content = bytearray(archive.read_bytes())
        struct.pack_into("<I", content, content.index(at) + offset, size)
        archive.write_bytes(content)
        refused(archive, "damaged.*CRC")

    changed("short", b"PK\1\2", 24, 7)
    (tmp_path / "tar").mkdir()
    archive = write_tar(tmp_path / "tar/x", ("a.jpg", b"content" * 100))
    whole = bytearray(archive.read_bytes())
    header = tarfile.TarInfo("a.jpg")
    header.size = 70_000
    whole[:512] = header.tobuf()
    archive.write_bytes(whole)
    refused(archive, "damaged")
    withstood("attack", "An archive whose headers lie about sizes", tried=2)


def test_encrypted_and_oddly_compressed_members(tmp_path, withstood):
    for number, (flags, method) in enumerate(
        [(1, 8), (0x41, 8), (0x2041, 8), (0, 14), (0, 12), (0, 99)]
    ):
        (tmp_path / str(number)).mkdir()
        archive = write_zip(tmp_path / str(number) / "x", ("a.jpg", b"content" * 9))
        content = bytearray(archive.read_bytes())
        for start, at in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
            struct.pack_into("<HH", content, content.index(start) + at, flags, method)
        archive.write_bytes(content)
        refused(archive, "encrypt" if flags else "or oddly compressed")
    withstood("attack", "An archive with encrypted members, or in other compressions", tried=6)


def test_names_that_no_file_system_holds(tmp_path, withstood):
    tried = 0
    for writer in WRITERS:
        for name in ("x" * 300 + ".jpg", "a/" * 3000 + "x.jpg", ".", "./"):
            folder = tmp_path / str(tried)
            folder.mkdir()
            archive = writer(folder / "x", (name, b"x"))
            into = folder / "into"
            into.mkdir()
            try:
                unpack(archive, into)
            except ValueError as error:
                assert str(archive) in str(error)
            else:
                assert name.endswith("/")  # an empty folder, in a zip
            tried += 1
    withstood("attack", "An archive with names that no file system holds", tried=tried)


def test_a_broken_header_is_not_taken_for_the_end(tmp_path, withstood):
    archive = write_tar(tmp_path / "x", ("a.jpg", b"x" * 512), ("b.jpg", b"y" * 512))
    content = bytearray(archive.read_bytes())
    content[1024 + 150] ^= 0xFF  # in the checksum of the second header
    archive.write_bytes(content)
    refused(archive, "a broken header")
    withstood("fault", "A tar archive that is damaged in its middle", tried=1)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"<html>404</html>", b"PK\x03\x04broken", b"\x1f\x8bbroken"),
    ],
)
def test_what_is_no_archive_is_refused(content, tmp_path):
    (tmp_path / "x").write_bytes(content)
    refused(tmp_path / "x", "is damaged or no zip or tar archive")


@pytest.mark.parametrize("writer", WRITERS)
def test_a_truncated_archive_is_refused(writer, tmp_path):
    archive = writer(tmp_path / "x", ("a.jpg", bytes(range(256)) * 99), ("b.jpg", b"x" * 9999))
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    refused(archive, "is damaged or no zip or tar archive")


def test_gzip_that_is_damaged_in_its_middle(tmp_path):
    """Two streams, of which the first has another checksum than it says."""
    content = write_tar(tmp_path / "x", ("a.jpg", b"x" * 99_999)).read_bytes()
    first, second = gzip.compress(content[:50_000]), gzip.compress(content[50_000:])
    (tmp_path / "x").write_bytes(first[:-8] + bytes(8) + second)
    refused(tmp_path / "x", "cannot be unpacked: CRC check failed")


def test_a_zip_name_that_seems_to_end_early(tmp_path):
    archive = write_zip(tmp_path / "x", ("a.jpg#../b.jpg", b"x"))
    archive.write_bytes(archive.read_bytes().replace(b"a.jpg#", b"a.jpg\0"))
    refused(archive, "outside the folder")


def test_an_older_python_is_named(tmp_path, monkeypatch):
    monkeypatch.delattr(tarfile, "data_filter")
    refused(write_tar(tmp_path / "x", ("a.jpg", b"x")), r"expected Python 3\.11\.4 or later, got 3")


def test_faults_of_the_machine_are_no_faults_of_the_archive(tmp_path):
    with pytest.raises(FileNotFoundError):
        unpack(tmp_path / "x", tmp_path, most=1)


def test_only_content_is_taken_over(tmp_path):
    """No permissions, no times; of a name that comes twice the last."""
    member = tarfile.TarInfo("a.jpg")
    member.mode, member.mtime, member.size = 0o4777, 2**62, 1
    with tarfile.open(tmp_path / "x", "w") as tar:
        tar.addfile(member, io.BytesIO(b"x"))
        tar.addfile(member, io.BytesIO(b"y"))
    into = tmp_path / "into"
    into.mkdir()
    (into / "b.jpg").touch()
    unpack(tmp_path / "x", into)
    assert (into / "a.jpg").read_bytes() == b"y"
    assert (into / "a.jpg").stat().st_mode == (into / "b.jpg").stat().st_mode
    assert (into / "a.jpg").stat().st_mtime < 2**40


@pytest.mark.parametrize("writer", WRITERS)
def test_a_harmless_archive_is_unpacked(writer: Writer, tmp_path):
    members = [(f"class {n % 3}/{n}.jpg", bytes([n]) * 600 * n) for n in range(40)]
    archive = writer(tmp_path / "x", *members)
    (tmp_path / "into").mkdir()
    unpack(archive, tmp_path / "into")
    for name, content in members:
        assert (tmp_path / "into" / name).read_bytes() == content
    assert len([path for path in (tmp_path / "into").rglob("*") if path.is_file()]) == 40


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERBOOK_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LAYERBOOK_DATA", raising=False)
    (tmp_path / "home/data").mkdir(parents=True)
    return tmp_path / "home/data"


def test_a_refused_download_leaves_nothing_in_place(home, tmp_path, monkeypatch, withstood):
    """From the download on: with no checksum, the hostile archive itself goes as well."""
    import pooch

    hostile = [
        write_tar(tmp_path / "a.tar", ("Images/a/1.jpg", b"x"), ("../../../out.jpg", b"x")),
        write_zip(tmp_path / "b.zip", ("Images/a/1.jpg", b"x"), ("../../../out.jpg", b"x")),
        write_gzipped_tar(tmp_path / "c.tgz", ("Images/a/1.jpg", bytes(80 << 20))),
    ]
    for archive in hostile:

        def serve(self, url, output_file, *_, archive=archive, **__):
            with Path(output_file).open("wb") as file:
                file.write(archive.read_bytes())

        monkeypatch.setattr(pooch.HTTPDownloader, "__call__", serve)
        source = Source(f"http://127.0.0.1:9/{archive.name}")
        monkeypatch.setitem(CARDS, "mit67", replace(CARDS["mit67"], sources=(source,)))
        with pytest.raises(ValueError, match=r"outside the folder|is too much"):
            fetch_dataset("mit67", progress=False)
        assert [path for path in home.rglob("*") if path.is_file()] == []
        assert not (home / "mit67").exists()
    assert not list(tmp_path.rglob("out.jpg"))
    withstood(
        "attack", "A hostile archive in the place of a dataset's download", tried=len(hostile)
    )
