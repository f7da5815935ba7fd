"""Downloads that are not what was published: not used, what was there stays, nothing is left."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pooch
import pytest
import torch
from PIL import Image

from analysis.data import CARDS, fetch_dataset, load_dataset
from analysis.data.cards import Source
from analysis.networks.weights import retrieve

Damage = Callable[[bytes], bytes]
DAMAGES: tuple[Damage, ...] = (
    lambda content: content[:-1],
    lambda content: content[: len(content) // 2],
    lambda content: content + b"\0",
    lambda content: bytes([content[0] ^ 1]) + content[1:],
    lambda content: content[:-40] + bytes([content[-40] ^ 1]) + content[-39:],
    lambda content: b"",
    lambda content: b"<html>not found</html>",
)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LAYERBOOK_HOME", str(tmp_path / "home"))
    for name in ("LAYERBOOK_DATA", "LAYERBOOK_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home/data").mkdir(parents=True)
    (tmp_path / "home/weights").mkdir()
    return tmp_path / "home"


@pytest.fixture
def serve(monkeypatch) -> Callable[[bytes | BaseException], None]:
    """Answer every download with a content, or break it off in its middle."""

    def answer(content: bytes | BaseException) -> None:
        def download(self: object, url: str, output_file: object, *_: object, **__: object) -> None:
            broken = isinstance(content, BaseException)
            sent = b"half of it" if broken else content
            if hasattr(output_file, "write"):
                output_file.write(sent)
            else:
                Path(str(output_file)).write_bytes(sent)
            if broken:
                raise content

        monkeypatch.setattr(pooch.HTTPDownloader, "__call__", download)

    return answer


def zipped(label: str) -> bytes:
    """Archive of a dataset of two classes."""
    buffer, picture = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (8, 8), label).save(picture, "PNG")
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("bar", "kitchen"):
            archive.writestr(f"Images/{name}/1.png", picture.getvalue())
    return buffer.getvalue()


def held(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def publish(monkeypatch: pytest.MonkeyPatch, content: bytes, *, name: str = "i.zip") -> None:
    checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
    source = Source(f"http://127.0.0.1:9/{name}", checksum)
    monkeypatch.setitem(CARDS, "mit67", replace(CARDS["mit67"], sources=(source,)))


def test_a_dataset_that_is_not_the_published_one_is_not_used(home, serve, monkeypatch, withstood):
    good = zipped("red")
    (home / "data/other").mkdir()
    (home / "data/other/1.txt").write_text("mine")
    before = held(home)
    publish(monkeypatch, good)
    broken = [OSError("broken off"), KeyboardInterrupt(), MemoryError()]
    for content in [damage(good) for damage in DAMAGES] + broken:
        serve(content)
        with pytest.raises(ValueError if isinstance(content, bytes) else type(content)):
            fetch_dataset("mit67", progress=False)
        assert held(home) == before
        assert not (home / "data/mit67").exists()
    serve(good)
    fetch_dataset("mit67", progress=False)
    assert len(load_dataset("mit67")) == 2
    withstood("attack", "A downloaded dataset that is not what was published",
              tried=len(DAMAGES) + len(broken))  # fmt: skip


def test_a_dataset_that_is_there_is_not_replaced(home, serve, monkeypatch, withstood):
    """Not by a newer one, nor by one that is broken; and what is no dataset is not removed."""
    publish(monkeypatch, zipped("red"))
    serve(zipped("red"))
    fetch_dataset("mit67", progress=False)
    before = held(home)
    publish(monkeypatch, zipped("blue"))
    for content in (zipped("blue"), b"", OSError("broken off")):
        serve(content)
        fetch_dataset("mit67", progress=False)
        assert held(home) == before
    for path in (home / "data/mit67/Images").rglob("*.png"):
        path.unlink()
    (home / "data/mit67/Images").rename(home / "data/mit67/Notes")
    (home / "data/mit67/Notes/own.txt").write_text("mine")
    before = held(home)
    for content in (zipped("blue"), b""):
        serve(content)
        with pytest.raises(ValueError, match="move the folder away"):
            fetch_dataset("mit67", progress=False)
        assert held(home) == before
    withstood("fault", "A dataset is fetched where there is one already, or something else",
              tried=5)  # fmt: skip


def test_weights_that_are_not_the_published_ones_are_not_used(home, serve, withstood):
    buffer = io.BytesIO()
    torch.save({"a": torch.arange(9.0)}, buffer)
    good = buffer.getvalue()
    prefix = hashlib.sha256(good).hexdigest()[:8]
    url = f"https://example.org/net-{prefix}.pth"
    (home / "weights/mine.pth").write_bytes(b"mine")
    before = held(home)
    for content in [damage(good) for damage in DAMAGES]:
        serve(content)
        with pytest.raises(ValueError, match=f"begins with {prefix}"):
            retrieve(url, sha256_prefix=prefix)
        assert held(home) == before
    for broken, raised in ((OSError("no"), OSError), (KeyboardInterrupt(), KeyboardInterrupt)):
        serve(broken)
        with pytest.raises(raised):
            retrieve(url, sha256_prefix=prefix)
        assert held(home) == before
    serve(good)
    assert retrieve(url, sha256_prefix=prefix).read_bytes() == good
    withstood("attack", "Downloaded weights that are not what was published",
              tried=len(DAMAGES) + 2)  # fmt: skip


def test_weights_that_are_there_are_checked_and_kept(home, serve, withstood):
    """A file of the published name that holds something else is neither used nor replaced."""
    url = "https://example.org/net-00000000.pth"
    serve(b"whatever is served")
    for number, content in enumerate((b"older", b"", b"half")):
        file = home / "weights/net-00000000.pth"
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"net-00000000\.pth is not the published file"):
            retrieve(url, sha256_prefix="00000000")
        assert held(home) == {"weights/net-00000000.pth": content}, number
    withstood("attack", "Weights on disk that are not what was published", tried=3)
