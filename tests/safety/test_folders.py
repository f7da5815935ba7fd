"""Folders of images from somebody who means harm: what is no image is named, and nothing happens.

What reading opens and starts is watched with audit hooks (PEP 578) in a process of its own, which
sees every ``open``, ``subprocess.Popen``, ``exec`` and connection that Python makes.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hostile_folders import EPS, fill, picture, png
from PIL import Image

from analysis import load_dataset
from analysis.data.decoding import FORMATS, BrokenImageError, open_image

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs links, pipes and signals")


@pytest.fixture
def soon(tmp_path):
    """Stop a test that waits for ever, as one does that opens a pipe; its threads wait as well."""

    def stop(*_):
        for pipe in filter(Path.is_fifo, tmp_path.rglob("pipe.jpg")):
            os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))
        raise TimeoutError("it hangs")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 60, 1)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)


def test_what_is_no_image_is_named_and_the_rest_is_read(tmp_path, soon, withstood):
    bad = fill(tmp_path / "images", tmp_path / "secrets")
    data = load_dataset(f"folder:{tmp_path / 'images'}", on_error="skip")
    assert [path for path, _ in data.skipped] == bad
    assert len(data) == 9 and "dogs/inside.png" in data.paths
    why = dict(data.skipped)
    for name in ("passwd.jpg", "absolute.png", "relative.png", "twice.png", "input.png"):
        assert "a link that leads out of" in why[f"cats/{name}"]
    for name in ("pipe.jpg", "folder.jpg"):
        assert "no ordinary file" in why[f"cats/{name}"]
    for name in ("bomb.png", "wide.png"):
        assert "bomb" in why[f"cats/{name}"]
    assert f"none of the formats {', '.join(FORMATS)}" in why["cats/vector.png"]
    assert all(f"{tmp_path}/images/{path}" in reason for path, reason in data.skipped)
    digests = {data.source.digest(index) for index in range(len(data))}
    assert len(digests) == 8  # the link inside is the image that it leads to
    what = "Files that are called images and are links, pipes, programs, bombs or text"
    withstood("attack", what, tried=len(bad))
    data = load_dataset(f"folder:{tmp_path / 'images'}")  # without skipping
    tried = 0
    for index, path in enumerate(data.paths):
        if path in bad:
            with pytest.raises(BrokenImageError, match=r"cannot read the image ") as caught:
                data[index]
            assert path in str(caught.value)
            tried += 1
    assert tried == len(bad)
    for name in ("pipe.jpg", "absolute.png", "zero.png"):
        with pytest.raises(BrokenImageError, match=name):
            data.source.digest(data.paths.index(f"cats/{name}"))
    withstood("fault", "A broken file is opened without leaving broken files out", tried=tried)


def test_class_folders_that_are_links_out_are_refused_by_name(tmp_path, withstood):
    images = tmp_path / "images"
    for name in ("cats", "dogs"):
        picture(images / name / "1.png")
        picture(tmp_path / "elsewhere" / name / "private.png")
    (images / "theirs").symlink_to(tmp_path / "elsewhere/cats")
    (images / "up").symlink_to("../elsewhere/dogs")
    for on_error in ("raise", "skip"):
        with pytest.raises(ValueError, match=r"'theirs', 'up' of .* lead out of it") as caught:
            load_dataset(f"folder:{images}", on_error=on_error)
        assert "private" not in str(caught.value)
    (images / "theirs").unlink()
    (images / "up").unlink()
    (images / "kittens").symlink_to("cats")  # a link inside may stay
    assert load_dataset(f"folder:{images}").classes == ("cats", "dogs", "kittens")
    (tmp_path / "here").symlink_to(images)  # and so may the folder that is named
    data = load_dataset(f"folder:{tmp_path / 'here'}")
    assert [image.size for image in data] == [(40, 40)] * 3
    withstood("attack", "Class folders that are links to somebody else's folders", tried=4)


def test_postscript_starts_no_program(tmp_path, monkeypatch, withstood):
    """Pillow hands PostScript to Ghostscript, under any file name; this one says that it ran."""
    (tmp_path / "bin").mkdir()
    gs = tmp_path / "bin/gs"
    gs.write_text(f"#!/bin/sh\ntouch {tmp_path}/owned\n")
    gs.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    tried = 0
    for ending in ("jpg", "png", "gif", "tif", "webp", "bmp", "ppm", "jp2"):
        file = tmp_path / f"x.{ending}"
        file.write_bytes(EPS)
        with pytest.raises(BrokenImageError, match="none of the formats"):
            open_image(file)
        tried += 1
    assert not (tmp_path / "owned").exists()
    with Image.open(tmp_path / "x.jpg") as image, pytest.raises(OSError):
        image.load()
    assert (tmp_path / "owned").exists(), "Pillow alone would have started it"
    withstood("attack", "PostScript that is called an image, to start Ghostscript", tried=tried)


def test_bombs_are_refused_even_where_pillows_limit_is_off(tmp_path, monkeypatch, withstood):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    sizes = [(60_000, 60_000), (13_378, 13_378), (2**31 - 1, 1), (1, 2**31 - 1)]
    for number, size in enumerate(sizes):
        (tmp_path / f"{number}.png").write_bytes(png(*size))
        with pytest.raises(BrokenImageError, match=rf"{number}\.png: .* decompression bomb"):
            open_image(tmp_path / f"{number}.png")
    withstood("attack", "Images that decode to gigabytes", tried=len(sizes))


def test_folders_of_another_shape_are_refused_or_told(tmp_path, caplog, withstood):
    cases = [
        ("birds/owls/1.png", ".", "no images in class folder.* birds .*name the folder whose"),
        ("3.png", ".", r"beside them 1 images, which belong to no class \(3\.png\)"),
        ("birds/", ".", "no images in class folder.* birds of"),
        ("cats/2.png", "cats/1.png", "got the file"),
        ("../void/", "../void", "got 0 folders"),
    ]
    for number, (more, spelled, told) in enumerate(cases):
        images = tmp_path / str(number) / "images"
        for path in ("cats/1.png", "dogs/1.png"):
            picture(images / path)
        if more.endswith("/"):
            (images / more).resolve().mkdir()
        else:
            picture(images / more)
        with pytest.raises(ValueError, match=told):
            load_dataset(f"folder:{(images / spelled).resolve()}")
    # A level too much in one class: passed over by name.
    picture(images / "cats/old/2.png")
    with caplog.at_level(logging.WARNING):
        data = load_dataset(f"folder:{images}")
    assert data.paths == ("cats/1.png", "dogs/1.png")
    assert [path for path, _ in data.skipped] == ["cats/old/2.png"]
    assert "folders inside class folders are passed over, as cats/old is" in caplog.text
    what = "A folder of another shape than one sub-folder per class"
    withstood("fault", what, tried=len(cases) + 1)


def test_names_that_no_table_holds_are_refused(tmp_path, withstood):
    tried = 0
    for place in (b"cats/\xff\xfe.png", b"\xff/1.png", b"cats/caf\xe9.png"):
        images = tmp_path / str(tried)
        picture(images / "cats/1.png")
        file = os.fsencode(images) + b"/" + place
        os.makedirs(os.path.dirname(file), exist_ok=True)  # noqa: PTH103, PTH120 - bytes
        try:
            os.link(images / "cats/1.png", file)
        except OSError:
            pytest.skip("this file system takes names in Unicode alone")
        with pytest.raises(ValueError, match="is not Unicode, so that no table could hold it"):
            load_dataset(f"folder:{images}")
        tried += 1
    for number, (one, other) in enumerate([("1", "1.png"), ("cats", "")]):
        images = tmp_path / f"twin{number}"
        names = [f"caf{e}" for e in ("\N{LATIN SMALL LETTER E WITH ACUTE}", "e\u0301")]
        for name in names:
            picture(images / (f"cats/{name}.png" if other else f"{name}/{one}.png"))
        with pytest.raises(ValueError, match="are one name in two spellings of Unicode"):
            load_dataset(f"folder:{images}")
        tried += 1
    withstood("fault", "Names that are not Unicode, or twice the same in Unicode", tried=tried)


WATCHED = """
import json, os, sys
opened, started = [], []
FATAL = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn",
         "socket.connect", "socket.bind", "pty.spawn", "os.startfile"}
watching = False

def watch(event, args):
    opens = event in ("open", "os.listdir", "os.scandir")
    if watching and opens and isinstance(args[0], str | bytes | os.PathLike):
        opened.append(os.path.realpath(os.fsdecode(args[0])))
    elif watching and event in FATAL:
        started.append(event)

from analysis import load_dataset
from analysis.data.images import identical_images
from analysis.book.report import broken_files, warnings_of
from PIL import Image
Image.init()
sys.addaudithook(watch)
watching = True
data = load_dataset(sys.argv[1], on_error="skip")
sizes = [image.size for image in data]
data.fingerprint
groups = identical_images(data)
broken = broken_files(data)
told = warnings_of(data)
watching = False
print(json.dumps({"opened": opened, "started": started, "read": len(sizes), "bad": len(broken)}))
"""


def test_nothing_is_started_and_nothing_outside_is_opened(tmp_path, withstood):
    bad = fill(tmp_path / "images", tmp_path / "secrets")
    run = subprocess.run(
        [sys.executable, "-c", WATCHED, f"folder:{tmp_path / 'images'}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    assert seen["started"] == []
    assert (seen["read"], seen["bad"]) == (9, len(bad))
    inside = (str(tmp_path / "images"), sys.prefix, sys.base_prefix, str(Path.cwd() / "analysis"))
    outside = [path for path in seen["opened"] if not path.startswith(inside)]
    assert outside == []
    assert len([path for path in seen["opened"] if path.startswith(inside[0])]) > 9
    withstood("attack", "A hostile folder is read, to open files outside of it", tried=len(bad))


OUTSIDE = (
    "/etc/passwd",
    "../../secrets/private.png",
    "a/../../../secrets/private.png",
    "..\\x.png",
)


def test_an_index_cannot_name_images_outside_of_its_dataset(tmp_path, monkeypatch, withstood):
    """The published lists of a dataset are files too, and may come from anywhere."""
    monkeypatch.setenv("LAYERBOOK_DATA", str(tmp_path / "data"))
    picture(tmp_path / "secrets/private.png")
    root = tmp_path / "data/cub200/CUB_200_2011"
    picture(root / "images/a/1.png")
    (root / "image_class_labels.txt").write_text("1 1\n2 1\n")
    (root / "classes.txt").write_text("1 a\n")
    tried = 0
    for outside in OUTSIDE:
        (root / "images.txt").write_text(f"1 a/1.png\n2 ../{outside}\n")
        with pytest.raises(ValueError, match=r"index names '.*', which is not in .*CUB_200_2011"):
            load_dataset("cub200")
        tried += 1
    (root / "images.txt").write_text("1 a/1.png\n")
    assert len(load_dataset("cub200")) == 1
    withstood("attack", "An index of a dataset that names files outside of it", tried=tried)
