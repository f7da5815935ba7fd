"""Downloads from a local server."""

from __future__ import annotations

import hashlib
import logging
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from layout_writers import WRITERS, write_image

from analysis.data import CARDS, fetch_dataset, load_dataset
from analysis.data.cards import Source


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address under which it is published."""
    published = tmp_path / "published"
    published.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(published))) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield published, f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()


def sha256(file: Path) -> str:
    return f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"


@pytest.fixture
def publish_as(monkeypatch):
    def publish(name: str, *sources: Source, **changes: int) -> None:
        monkeypatch.setitem(CARDS, name, replace(CARDS[name], sources=sources, **changes))

    return publish


def left_in(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def tar_of(folder: Path, archive: Path, mode: str) -> None:
    with tarfile.open(archive, mode) as tar:
        for entry in sorted(folder.iterdir()):
            tar.add(entry, entry.name)


@pytest.fixture
def caltech(server, tmp_path) -> Path:
    """The nested archive as Caltech publishes it."""
    WRITERS["caltech101"](tmp_path / "made")
    inner = tmp_path / "101_ObjectCategories.tar.gz"
    with tarfile.open(inner, "w:gz") as tar:
        images = tmp_path / "made/caltech-101/101_ObjectCategories"
        tar.add(images, "101_ObjectCategories")
    archive = server[0] / "caltech-101.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.write(inner, "caltech-101/101_ObjectCategories.tar.gz")
        zipped.writestr("caltech-101/Annotations.tar", b"")
    return archive


@pytest.fixture
def flowers(server, tmp_path) -> list[Source]:
    published, url = server
    WRITERS["flowers102"](tmp_path / "made")
    (tmp_path / "made/imagelabels.mat").rename(published / "imagelabels.mat")
    tar_of(tmp_path / "made", published / "102flowers.tgz", "w:gz")
    names = ("102flowers.tgz", "imagelabels.mat")
    return [Source(f"{url}/{name}", sha256(published / name)) for name in names]


NESTED = ("caltech-101/101_ObjectCategories.tar.gz",)


def test_nested_archive(data_root, server, caltech, publish_as):
    source = Source(f"{server[1]}/caltech-101.zip?download=1", sha256(caltech), 10_000, NESTED)
    publish_as("caltech101", source)
    found = fetch_dataset("caltech101", progress=True)
    assert found == data_root / "caltech101/caltech-101"
    assert len(load_dataset("caltech101")) == 3
    assert not [file for file in left_in(data_root) if file.endswith((".zip", ".gz"))]
    assert (data_root / "caltech101").stat().st_mode & 0o055 == data_root.stat().st_mode & 0o055
    caltech.unlink()  # a second fetch uses no network
    assert fetch_dataset("caltech101") == found


def test_load_uses_the_network_only_if_asked(data_root, server, caltech, publish_as):
    source = Source(f"{server[1]}/caltech-101.zip", sha256(caltech), 2_500_000_000, NESTED)
    publish_as("caltech101", source)
    with pytest.raises(FileNotFoundError, match=r"2\.5 GB.*fetch=True"):
        load_dataset("caltech101")
    assert left_in(data_root) == []
    publish_as("caltech101", replace(source, checksum="md5:" + "0" * 32))
    with pytest.raises(ValueError, match=r"caltech-101\.zip is not the published file"):
        fetch_dataset("caltech101", progress=False)
    assert left_in(data_root) == [] and not (data_root / "caltech101").exists()
    publish_as("caltech101", source)
    assert len(load_dataset("caltech101", fetch=True)) == 3


def test_a_good_archive_survives_a_bad_one(data_root, server, flowers, publish_as):
    publish_as("flowers102", flowers[0], replace(flowers[1], checksum="md5:" + "0" * 32))
    with pytest.raises(ValueError, match=r"imagelabels\.mat is not the published file"):
        fetch_dataset("flowers102", progress=False)
    (server[0] / "102flowers.tgz").unlink()  # what was verified is not downloaded again
    publish_as("flowers102", *flowers)
    assert len(load_dataset("flowers102", fetch=True)) == 4


@pytest.mark.parametrize("complete", [True, False])
def test_without_checksum_the_images_are_counted(
    complete, data_root, server, tmp_path, publish_as, caplog
):
    published, url = server
    WRITERS["mit67"](tmp_path / "made")
    tar_of(tmp_path / "made", published / "indoor.tar", "w")
    images = 2 if complete else 15620
    publish_as("mit67", Source(f"{url}/indoor.tar"), images=images, classes=2)
    with caplog.at_level(logging.WARNING):
        if complete:
            assert len(load_dataset("mit67", fetch=True)) == 2
        else:
            with pytest.raises(ValueError, match=r"expected 15620 images of 2 classes.*got 2 of 2"):
                fetch_dataset("mit67", progress=False)
            assert not (data_root / "mit67").exists()
    assert sha256(published / "indoor.tar").removeprefix("sha256:") in caplog.text


def test_archive_of_something_else(data_root, server, tmp_path, publish_as):
    published, url = server
    write_image(tmp_path / "made/Elsewhere/bar/a.jpg")
    tar_of(tmp_path / "made", published / "indoor.tar", "w")
    publish_as("mit67", Source(f"{url}/indoor.tar"), images=2, classes=2)
    with pytest.raises(ValueError, match="do not hold Images"):
        fetch_dataset("mit67", progress=False)
    assert not (data_root / "mit67").exists()
    # Once the right file is published, the wrong one is not used again.
    WRITERS["mit67"](tmp_path / "right")
    tar_of(tmp_path / "right", published / "indoor.tar", "w")
    assert len(load_dataset("mit67", fetch=True)) == 2


def test_server_without_the_file_and_disk_too_small(data_root, server, publish_as):
    publish_as("mit67", Source(f"{server[1]}/gone.tar"))
    with pytest.raises(OSError, match=r"could not download .*gone\.tar.*404"):
        fetch_dataset("mit67", progress=False)
    assert left_in(data_root) == []
    publish_as("mit67", Source("http://127.0.0.1:9/x.tar", n_bytes=10**18))
    with pytest.raises(OSError, match=r"needs about 2000000000\.0 GB"):
        fetch_dataset("mit67", progress=False)


def test_what_is_in_the_way_is_kept(data_root):
    (data_root / "mit67").mkdir()
    (data_root / "mit67/notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="move the folder away"):
        fetch_dataset("mit67", progress=False)
    assert (data_root / "mit67/notes.txt").read_text() == "mine"


def test_bundled_is_not_fetched():
    with pytest.raises(ValueError, match="nothing to fetch"):
        fetch_dataset("digits")
