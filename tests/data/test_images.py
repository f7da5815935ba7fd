"""The dataset object, fingerprints, folders of one's own."""

from __future__ import annotations

import logging
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layout_writers import write_image

from analysis.data import BrokenImageError, ImageDataset, load_dataset
from analysis.data.images import ImageArrays

# --- the dataset object ---


def small(n: int = 5) -> ImageDataset:
    arrays = np.random.default_rng(0).integers(0, 255, (n, 4, 4, 3), dtype=np.uint8)
    return ImageDataset(
        name="small",
        classes=("x", "y"),
        labels=np.arange(n) % 2,
        paths=tuple(f"{i}" for i in range(n)),
        source=ImageArrays(arrays),
    )


def test_subset():
    data = small()
    part = data.subset([3, 0])
    assert part.paths == ("3", "0")
    assert part.labels.tolist() == [1, 0]
    assert part.classes == data.classes
    assert part[0].tobytes() == data[3].tobytes()
    assert part.fingerprint not in (data.fingerprint, data.subset([0, 3]).fingerprint)
    assert data.subset(data.labels == 1).paths == ("1", "3")
    assert len(data.subset([])) == 0
    assert data.subset(range(5)).fingerprint == data.fingerprint


@pytest.mark.parametrize("indices", [[5], [-6], [0.5], [[0]], [True, False]])
def test_subset_of_what_is_not_there(indices):
    with pytest.raises((IndexError, TypeError)):
        small().subset(indices)


def test_parts_that_do_not_belong_together():
    arrays = ImageArrays(np.zeros((2, 4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="do not belong together"):
        ImageDataset("x", ("a",), np.zeros(3, np.int64), ("1", "2"), arrays)
    with pytest.raises(ValueError, match="do not fit 1 classes"):
        ImageDataset("x", ("a",), np.array([0, 1]), ("1", "2"), arrays)


def test_iteration_and_negative_positions():
    data = small()
    assert [image.tobytes() for image in data] == [data[i].tobytes() for i in range(5)]
    assert data[-1].tobytes() == data[4].tobytes()
    assert data[np.int64(2)].tobytes() == data[2].tobytes()


# --- fingerprints ---


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("ant/1.png", "ant/2.png", "bee/1.png")):
        write_image(tmp_path / "mine" / name, grey=number)
    return tmp_path / "mine"


def fingerprint(folder: Path) -> str:
    return load_dataset(f"folder:{folder}").fingerprint


def test_fingerprint_is_that_of_the_content_wherever_it_lies(folder, tmp_path):
    before = fingerprint(folder)
    assert len(before) == 64
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert fingerprint(tmp_path / "elsewhere") == before


def swap(folder: Path) -> None:
    first, second = (folder / "ant/1.png").read_bytes(), (folder / "ant/2.png").read_bytes()
    (folder / "ant/1.png").write_bytes(second)
    (folder / "ant/2.png").write_bytes(first)


CHANGES = {
    "class": lambda folder: (folder / "bee").rename(folder / "cat"),
    "file": lambda folder: (folder / "ant/2.png").rename(folder / "ant/3.png"),
    "place": lambda folder: (folder / "ant/2.png").rename(folder / "bee/2.png"),
    "pixel": lambda folder: write_image(folder / "ant/1.png", grey=77),
    "contents": swap,
}


@pytest.mark.parametrize("change", CHANGES)
def test_fingerprint_changes_with_the_content(change, folder):
    before = fingerprint(folder)
    CHANGES[change](folder)
    assert fingerprint(folder) != before


# --- folders of one's own ---


def test_folder(folder, caplog):
    (folder / "ant/notes.txt").write_text("x")
    (folder / "ant/.hidden.png").write_text("x")
    (folder / "ant/Thumbs.db").write_text("x")
    (folder / ".git").mkdir()
    (folder / "README").write_text("x")
    with caplog.at_level(logging.INFO):
        data = load_dataset(f"folder:{folder}")
    assert data.paths == ("ant/1.png", "ant/2.png", "bee/1.png")
    assert data.classes == ("ant", "bee")
    assert data.labels.tolist() == [0, 0, 1]
    assert "2 files are not images: 1 x .db, 1 x .txt" in caplog.text


def test_folder_relative_to_where_one_is(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    data = load_dataset("folder:mine")
    monkeypatch.chdir("/")
    assert data[0].mode == "RGB"


def test_folders_that_are_refused(folder, tmp_path):
    (tmp_path / "bare/ant").mkdir(parents=True)
    (tmp_path / "bare/ant/notes.txt").write_text("x")
    write_image(tmp_path / "stray/ant/1.png")
    write_image(tmp_path / "stray/stray.png")
    for place, error, message in (
        (f"{tmp_path}/nowhere", FileNotFoundError, "no such folder: .*nowhere"),
        (f"{folder}/ant/1.png", ValueError, "got the file"),
        ("", ValueError, "after 'folder:'"),
        (f"{folder}/ant", ValueError, "got 0 folders, and beside them 2 images"),
        (f"{tmp_path}/bare/ant", ValueError, "in .*ant, got 0 folders"),
        (f"{tmp_path}/bare", ValueError, r"no images in class folder\(s\) ant .*\.jpeg"),
        (f"{folder.parent}", ValueError, "mine of .*: name the folder whose"),
        (f"{tmp_path}/stray", ValueError, r"belong to no class \(stray\.png\)"),
    ):
        with pytest.raises(error, match=message):
            load_dataset(f"folder:{place}")
    (tmp_path / "bare/ant/IMG_1.CR2").write_text("x")
    with pytest.raises(ValueError, match=r"; ant/IMG_1.CR2: files that end in \.cr2.*convert"):
        load_dataset(f"folder:{tmp_path}/bare")


NAMES = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cn"), exclude_characters="/\0"),
    min_size=1,
    max_size=20,
).filter(lambda name: not name.startswith(".") and len(name.encode()) < 100)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    names=st.lists(
        NAMES, min_size=1, max_size=4, unique_by=lambda n: unicodedata.normalize("NFC", n)
    )
)
def test_any_class_name(names, tmp_path_factory):
    root = tmp_path_factory.mktemp("classes")
    names = [name for name in names if name != "__MACOSX"] or ["class"]
    for number, name in enumerate(names):
        write_image(root / name / "1.png", grey=number)
    data = load_dataset(f"folder:{root}")
    assert data.classes == tuple(sorted(unicodedata.normalize("NFC", name) for name in names))
    assert data.paths == tuple(f"{name}/1.png" for name in data.classes)
    assert [image.size for image in data] == [(12, 10)] * len(names)


def test_decomposed_names_give_the_same_fingerprint(tmp_path):
    for form in ("NFC", "NFD"):
        write_image(tmp_path / form / unicodedata.normalize(form, "café") / "1.png")
    assert fingerprint(tmp_path / "NFC") == fingerprint(tmp_path / "NFD")


# --- broken files ---


def test_broken_files_are_left_out_if_asked(folder, caplog):
    (folder / "ant/2.png").write_bytes((folder / "ant/2.png").read_bytes()[:50])
    with pytest.raises(BrokenImageError, match=str(folder / "ant/2.png")):
        load_dataset(f"folder:{folder}")[1]
    with caplog.at_level(logging.WARNING):
        data = load_dataset(f"folder:{folder}", on_error="skip")
    assert data.paths == ("ant/1.png", "bee/1.png")
    assert data.labels.tolist() == [0, 1]
    ((path, reason),) = data.skipped
    assert path == "ant/2.png"
    assert str(folder / "ant/2.png") in reason
    assert "1 of 3 images are left out" in caplog.text
    assert load_dataset("digits", on_error="skip").skipped == ()
