"""Archives that mean harm: refused, nothing outside of the folder, nothing left in place."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pooch
import pytest

from analysis.data import CARDS, fetch_dataset
from analysis.data.cards import Source
from analysis.data.download import most_unpacked, unpack

BOMB = bytes(80 << 20)  # zeros shrink to a thousandth; twenty times, and 64 MiB, may be needed
Case = tuple[bytes, str]  # an archive, and why it is refused


def tar_of(*members: tuple[str | tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members:
            member = zipfile.ZipInfo(name) if isinstance(name, str) else name
            zipped.writestr(member, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def three_of(*members: tuple[str, bytes]) -> tuple[bytes, bytes, bytes]:
    return tar_of(*members), gzip.compress(tar_of(*members), 1), zip_of(*members)


def changed(content: bytes, place: int, form: str, *values: int) -> bytes:
    """An archive with other numbers in a header."""
    changing = bytearray(content)
    struct.pack_into(form, changing, place, *values)
    return bytes(changing)


def outside() -> Iterator[Case]:
    for name in (
        "../out.jpg", "a/../../out.jpg", "..", "/layerbook-out.jpg", "//layerbook-out.jpg",
        "a\\..\\..\\out.jpg", "\\layerbook-out.jpg", "C:/out.jpg", "C:out.jpg", "a/C:out.jpg",
    ):  # fmt: skip
        for content in three_of((name, b"x")):
            yield content, "'.*' would land outside the folder"
    early = zip_of(("a.jpg#../b.jpg", b"x")).replace(b"a.jpg#", b"a.jpg\0")
    yield early, "outside the folder"


def no_files() -> Iterator[Case]:
    """Links that stay inside the folder, which the data filter accepts, among them."""
    why = r"'innocent\.jpg' is neither file nor folder"
    for target in ("/etc/passwd", "b.jpg"):
        for kind in (
            tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE,
            tarfile.GNUTYPE_SPARSE, b"9",
        ):  # fmt: skip
            member = tarfile.TarInfo("innocent.jpg")
            member.type, member.linkname = kind, target
            yield tar_of(("b.jpg", b""), (member, b"")), why
    for mode in (0o120777, 0o020666, 0o060666, 0o010644, 0o140644):
        linked = zipfile.ZipInfo("innocent.jpg")
        linked.external_attr = mode << 16
        yield zip_of((linked, b"/etc/passwd")), why


def twins() -> Iterator[Case]:
    for names in (
        ("a/Cat.jpg", "a/cat.jpg"), ("A/1.jpg", "a/2.jpg"), ("caf\xe9/1.jpg", "cafe\u0301/2.jpg"),
        ("stra\xdfe.jpg", "STRASSE.jpg"),
    ):  # fmt: skip
        for content in three_of(*((name, name.encode()) for name in names)):
            yield content, "is also that of"
    for names in (("a", "a/b.jpg"), ("a/b.jpg", "a")):
        for content in three_of(*((name, name.encode()) for name in names)):
            yield content, "cannot be unpacked: .*into/a['/]"


def bombs() -> Iterator[Case]:
    for content in three_of(("bomb.jpg", BOMB))[1:]:
        yield content, rf"'bomb\.jpg' of {80 << 20} bytes is too much: it may hold {64 << 20}"


def long_headers() -> Iterator[Case]:
    """Extended headers (PAX, GNU) are read whole; this one claims to be 8 GB long."""
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        header = tarfile.TarInfo("x")
        header.type, header.size = kind, 8 << 30
        content = header.tobuf(tarfile.GNU_FORMAT) + bytes(16 << 20)
        yield gzip.compress(content, 1), "a header of 8589934592 bytes"


def sizes_below_zero() -> Iterator[Case]:
    """A size below 0 would have tarfile read the same member for ever (CVE-2025-8194)."""
    for size in (-512, -1024, -(1 << 40)):
        header = tarfile.TarInfo("a.jpg")
        header.pax_headers = {"size": str(size)}
        content = header.tobuf(tarfile.PAX_FORMAT) + bytes(1024)
        yield content, rf"'a\.jpg' of {size} bytes is too much"


def lies() -> Iterator[Case]:
    zipped = zip_of(("a.jpg", b"content" * 100))
    yield changed(zipped, zipped.index(b"PK\1\2") + 24, "<I", 7), "damaged.*CRC"
    header = tarfile.TarInfo("a.jpg")
    header.size = 70_000
    yield header.tobuf() + tar_of(("a.jpg", b"content" * 100))[512:], "damaged"


def odd_compressions() -> Iterator[Case]:
    content = zip_of(("a.jpg", b"content" * 9))
    for flags, method in [(1, 8), (0x41, 8), (0x2041, 8), (0, 14), (0, 12), (0, 99)]:
        odd = changed(content, content.index(b"PK\1\2") + 8, "<HH", flags, method)
        odd = changed(odd, odd.index(b"PK\3\4") + 6, "<HH", flags, method)
        yield odd, "encrypt" if flags else "or oddly compressed"


def damages() -> Iterator[Case]:
    second = tar_of(("a.jpg", b"x" * 512), ("b.jpg", b"y" * 512))
    yield changed(second, 1024 + 150, "B", second[1024 + 150] ^ 0xFF), "a broken header"
    for content in (b"", b"<html>404</html>", b"PK\x03\x04broken", b"\x1f\x8bbroken"):
        yield content, "is damaged or no zip or tar archive"
    for whole in three_of(("a.jpg", bytes(range(256)) * 99), ("b.jpg", b"x" * 9999)):
        yield whole[: len(whole) // 2], "is damaged or no zip or tar archive"
    content = tar_of(("a.jpg", b"x" * 99_999))  # two streams; of the first a false checksum
    first, last = gzip.compress(content[:50_000]), gzip.compress(content[50_000:])
    yield first[:-8] + bytes(8) + last, "cannot be unpacked: CRC check failed"


HOSTILE = {
    "An archive whose members lead out of its folder": outside,
    "An archive with links, devices or pipes": no_files,
    "An archive whose members differ in capitals or Unicode alone": twins,
    "An archive that unpacks to far more than its own size": bombs,
    "An archive with a header that asks for all memory": long_headers,
    "A tar archive with sizes below zero": sizes_below_zero,
    "An archive whose headers lie about sizes": lies,
    "An archive with encrypted members, or in other compressions": odd_compressions,
    "An archive that is damaged": damages,
}


def refused(content: bytes, why: str, folder: Path, **options: int) -> None:
    """An archive is refused by name, and leaves nothing outside of the folder."""
    into = folder / "box" / "into"
    into.mkdir(parents=True)
    (folder / "x").write_bytes(content)
    beside = {path for path in folder.rglob("*") if into not in path.parents}
    with pytest.raises(ValueError, match=why) as caught:
        unpack(folder / "x", into, **options)
    assert str(folder / "x") in str(caught.value)
    assert {path for path in folder.rglob("*") if into not in path.parents} == beside
    assert not Path("/layerbook-out.jpg").exists()
    assert not [path for path in into.rglob("*") if path.is_symlink()]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_archives_are_refused(what, tmp_path, withstood):
    tried = 0
    for tried, (content, why) in enumerate(HOSTILE[what](), start=1):
        refused(content, why, tmp_path / str(tried))
    withstood("fault" if "damaged" in what else "attack", what, tried=tried)


def test_what_an_archive_may_unpack_to(tmp_path):
    (tmp_path / "x").write_bytes(zip_of(("bomb.jpg", BOMB)))
    assert most_unpacked(tmp_path / "x") < len(BOMB)
    for number, many in enumerate(three_of(*((f"{n}.jpg", b"") for n in range(300)))):
        why = r"'256\.jpg' of 0 bytes is too much: it may hold 1048576"  # 4 KiB each
        refused(many, why, tmp_path / str(number), most=1 << 20)


def test_names_that_no_file_system_holds(tmp_path, withstood):
    tried = 0
    for name in ("x" * 300 + ".jpg", "a/" * 3000 + "x.jpg", ".", "./"):
        for content in three_of((name, b"x")):
            tried += 1
            archive, into = tmp_path / f"{tried}.x", tmp_path / str(tried)
            archive.write_bytes(content)
            into.mkdir()
            try:
                unpack(archive, into)
            except ValueError as error:
                assert str(archive) in str(error)
            else:
                assert name.endswith("/")  # an empty folder, in a zip
    withstood("attack", "An archive with names that no file system holds", tried=tried)


def test_faults_of_the_machine_are_no_faults_of_the_archive(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError):
        unpack(tmp_path / "x", tmp_path, most=1)
    monkeypatch.delattr(tarfile, "data_filter")
    why = r"expected Python 3\.11\.4 or later, got 3"
    refused(tar_of(("a.jpg", b"x")), why, tmp_path / "older")


def test_only_content_is_taken_over(tmp_path):
    """No permissions, no times; of a name that comes twice the last."""
    member = tarfile.TarInfo("a.jpg")
    member.mode, member.mtime = 0o4777, 2**62
    (tmp_path / "x").write_bytes(tar_of((member, b"x"), (member, b"y")))
    into = tmp_path / "into"
    into.mkdir()
    (into / "b.jpg").touch()
    unpack(tmp_path / "x", into)
    assert (into / "a.jpg").read_bytes() == b"y"
    assert (into / "a.jpg").stat().st_mode == (into / "b.jpg").stat().st_mode
    assert (into / "a.jpg").stat().st_mtime < 2**40


def test_a_harmless_archive_is_unpacked(tmp_path):
    members = {f"class {n % 3}/{n}.jpg": bytes([n]) * 600 * n for n in range(40)}
    for number, content in enumerate(three_of(*members.items())):
        into = tmp_path / str(number)
        into.mkdir()
        (tmp_path / "x").write_bytes(content)
        unpack(tmp_path / "x", into)
        files = (path for path in into.rglob("*") if path.is_file())
        assert {str(file.relative_to(into)): file.read_bytes() for file in files} == members


def test_a_refused_download_leaves_nothing_in_place(tmp_path, monkeypatch, withstood):
    """From the download on: with no checksum, the hostile archive itself goes as well."""
    monkeypatch.setenv("LAYERBOOK_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LAYERBOOK_DATA", raising=False)
    hostile = three_of(("Images/a/1.jpg", b"x"), ("../../../out.jpg", b"x"))
    for content in (*hostile, three_of(("Images/a/1.jpg", BOMB))[1]):
        monkeypatch.setattr(
            pooch.HTTPDownloader,
            "__call__",
            lambda self, url, file, *_, content=content, **__: Path(file).write_bytes(content),
        )
        source = Source("http://127.0.0.1:9/a.zip")
        monkeypatch.setitem(CARDS, "mit67", replace(CARDS["mit67"], sources=(source,)))
        with pytest.raises(ValueError, match=r"outside the folder|is too much"):
            fetch_dataset("mit67", progress=False)
        assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []
        assert not (tmp_path / "home/data/mit67").exists()
    assert not list(tmp_path.rglob("out.jpg"))
    withstood("attack", "A hostile archive in the place of a dataset's download", tried=4)
