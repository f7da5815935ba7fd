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


def damaged(content: bytes) -> list[bytes | BaseException]:
    """What may come in the place of a content, or break it off."""
    return [
        content[:-1],
        content[: len(content) // 2],
        content + b"\0",
        bytes([content[0] ^ 1]) + content[1:],
        content[:-40] + bytes([content[-40] ^ 1]) + content[-39:],
        *(b"", b"<html>not found</html>"),
        *(OSError("broken off"), KeyboardInterrupt()),
    ]


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
        def download(self: object, url: str, output_file: str, *_: object, **__: object) -> None:
            broken = isinstance(content, BaseException)
            Path(output_file).write_bytes(b"half of it" if broken else content)
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
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def publish(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
    source = Source("http://127.0.0.1:9/i.zip", checksum)
    monkeypatch.setitem(CARDS, "mit67", replace(CARDS["mit67"], sources=(source,)))


def test_a_dataset_that_is_not_the_published_one_is_not_used(home, serve, monkeypatch, withstood):
    good = zipped("red")
    (home / "data/other").mkdir()
    (home / "data/other/1.txt").write_text("mine")
    before = held(home)
    publish(monkeypatch, good)
    for content in damaged(good):
        serve(content)
        with pytest.raises(ValueError if isinstance(content, bytes) else type(content)):
            fetch_dataset("mit67", progress=False)
        assert held(home) == before
        assert not (home / "data/mit67").exists()
    serve(good)
    fetch_dataset("mit67", progress=False)
    assert len(load_dataset("mit67")) == 2
    what = "A downloaded dataset that is not what was published"
    withstood("attack", what, tried=len(damaged(good)))


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
    what = "A dataset is fetched where there is one already, or something else"
    withstood("fault", what, tried=5)


def test_weights_that_are_not_the_published_ones_are_not_used(home, serve, withstood):
    buffer = io.BytesIO()
    torch.save({"a": torch.arange(9.0)}, buffer)
    good = buffer.getvalue()
    prefix = hashlib.sha256(good).hexdigest()[:8]
    url = f"https://example.org/net-{prefix}.pth"
    (home / "weights/mine.pth").write_bytes(b"mine")
    before = held(home)
    for content in damaged(good):
        serve(content)
        told = f"begins with {prefix}" if isinstance(content, bytes) else None
        with pytest.raises(ValueError if told else type(content), match=told):
            retrieve(url, sha256_prefix=prefix)
        assert held(home) == before
    serve(good)
    assert retrieve(url, sha256_prefix=prefix).read_bytes() == good
    # A file of the published name that holds something else is neither used nor replaced.
    for content in (b"older", b"", b"half"):
        (home / f"weights/net-{prefix}.pth").write_bytes(content)
        with pytest.raises(ValueError, match=rf"net-{prefix}\.pth is not the published file"):
            retrieve(url, sha256_prefix=prefix)
        assert held(home) == before | {f"weights/net-{prefix}.pth": content}
    what = "Downloaded weights, or weights on disk, that are not what was published"
    withstood("attack", what, tried=len(damaged(good)) + 3)
