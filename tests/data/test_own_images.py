"""Images of one's own: folders with more in them than images, tables, files and arrays."""

from __future__ import annotations

import csv
import logging
import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from layout_writers import write_image
from PIL import Image
from pillow_heif import register_heif_opener

from analysis.chapters.study import as_names
from analysis.data import ImageDataset, load_dataset
from analysis.data.readers import absolute_name, left_out_by_reason, own_path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("ant/1.png", "ant/2.png", "bee/1.png", "bee/2.png")):
        write_image(tmp_path / "mine" / name, grey=50 * number)
    return tmp_path / "mine"


# --- what a folder holds besides ---


def test_photos_of_phones_are_images(folder):
    register_heif_opener()
    for name in ("ant/IMG_1.HEIC", "bee/IMG_2.heif", "bee/IMG_3.HIF"):
        Image.new("RGB", (32, 16), "red").save(folder / name, format="HEIF")
    data = load_dataset(f"folder:{folder}")
    assert len(data) == 7 and data.skipped == ()
    assert [data[data.paths.index("ant/IMG_1.HEIC")].size] == [(32, 16)]


def test_what_looks_like_an_image_is_never_left_out_silently(folder, caplog):
    for name in ("ant/scan.jxl", "ant/a.CR2", "bee/art.psd", "bee/plot.svg", "bee/film.mov"):
        (folder / name).write_bytes(b"?")
    (folder / "ant/no-ending").write_bytes((folder / "ant/1.png").read_bytes())
    (folder / "beside.nef").write_bytes(b"?")
    write_image(folder / "ant/more/deep/3.png")
    write_image(folder / "ant/more/4.png")
    (folder / "ant/more/5.dng").write_bytes(b"?")
    silent = ("ant/notes.txt", "ant/Thumbs.db", "ant/.DS_Store", "ant/.4.jxl", "bee/more/notes.txt")
    silent += ("ant/__MACOSX/1.png", "ant/.hidden/1.png", ".5.nef")
    for name in silent:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"?")
    with caplog.at_level(logging.WARNING):
        data = load_dataset(f"folder:{folder}")
    assert data.paths == ("ant/1.png", "ant/2.png", "bee/1.png", "bee/2.png")
    reasons = dict(data.skipped)
    assert list(reasons) == [
        *("ant/a.CR2", "ant/more/4.png", "ant/more/5.dng", "ant/more/deep/3.png", "ant/no-ending"),
        *("ant/scan.jxl", "bee/art.psd", "bee/film.mov", "bee/plot.svg", "beside.nef"),
    ]
    assert all(f"{folder}/{path}: " in reason for path, reason in reasons.items())
    assert "rename it" in reasons["ant/no-ending"]
    assert "convert it" in reasons["ant/a.CR2"] and "convert it" in reasons["bee/film.mov"]
    assert "as ant/more/deep is; move it into ant" in reasons["ant/more/deep/3.png"]
    assert "10 of 14 images are left out" in caplog.text
    assert "1 (such as ant/a.CR2): files that end in .cr2 are not read" in caplog.text
    again = load_dataset(f"folder:{folder}")
    (folder / "bee/2.png").write_bytes(b"no image")
    told = [path for path, _ in load_dataset(f"folder:{folder}", on_error="skip").skipped]
    assert told == sorted([*reasons, "bee/2.png"])
    write_image(folder / "bee/2.png", grey=150)
    assert again.fingerprint == data.fingerprint and again.subset([0]).skipped == data.skipped


def test_reasons_are_counted_and_not_repeated(folder):
    for number in range(30):
        (folder / f"ant/{number}.jxl").write_bytes(b"")
        write_image(folder / f"bee/{number}/1.png")
    lines = left_out_by_reason(load_dataset(f"folder:{folder}"))
    assert lines[0].startswith("30 (such as ant/0.jxl): files that end in .jxl")
    assert len(lines) == 11 and lines[-1] == "and for 21 more reasons"


def test_a_link_to_a_folder_in_a_class_is_told_and_not_followed(folder, tmp_path):
    write_image(tmp_path / "elsewhere/1.png")
    (folder / "ant/link").symlink_to(tmp_path / "elsewhere")
    (folder / "ant/round").symlink_to(folder / "ant")
    data = load_dataset(f"folder:{folder}")
    assert [path for path, _ in data.skipped] == ["ant/link", "ant/round"]


def test_parts_of_a_split_are_no_classes(folder, tmp_path):
    cases = (("train", "val", "test"), ("Training", "Validation"), ("train",), ("TRAIN", "valid"))
    for number, parts in enumerate(cases):
        root = tmp_path / f"{number}"
        for part in parts:
            shutil.copytree(folder, root / part)
        with pytest.raises(ValueError, match=f"is divided into .*folder:{root}/{sorted(parts)[0]}"):
            load_dataset(f"folder:{root}")
        assert load_dataset(f"folder:{root / parts[0]}").classes == ("ant", "bee")
    for image in ("train/1.png", "test/1.png", "bus/1.png", "bus/inner/1.png"):  # a railway
        write_image(tmp_path / "vehicles" / image)
    assert load_dataset(f"folder:{tmp_path / 'vehicles'}").classes == ("bus", "test", "train")


# --- tables ---


def write_table(path: Path, rows: list[tuple[str, ...]], *, delimiter: str = ",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


@pytest.fixture
def rows(folder: Path) -> list[tuple[str, ...]]:
    return [("path", "label"), ("ant/1.png", "b"), ("bee/2.png", "a"), ("bee/1.png", "b")]


def test_a_table_gives_files_and_labels(folder, rows):
    data = load_dataset(f"table:{write_table(folder / 'labels.csv', rows)}")
    assert data.name == f"table:{folder / 'labels.csv'}"
    assert data.classes == ("a", "b")
    assert data.labels.tolist() == [1, 0, 1]
    assert data.paths == ("ant/1.png", "bee/2.png", "bee/1.png")
    same = load_dataset(f"folder:{folder}")
    assert data[1].tobytes() == same[same.paths.index("bee/2.png")].tobytes()
    assert pickle.loads(pickle.dumps(data)).fingerprint == data.fingerprint
    moved = folder.rename(folder.parent / "moved")
    assert load_dataset(f"table:{moved}/labels.csv").fingerprint == data.fingerprint


SPELLINGS = (
    *(lambda text, other=other: text.replace(",", other) for other in (";", "\t")),
    lambda text: "\ufeff" + text,
    *(lambda text, pair=pair: text.replace(*pair) for pair in (("\n", "\r\n"), ("/", "\\"))),
    lambda text: text.replace(",", '","').replace("\n", '"\n"').join('""').removesuffix('""'),
    lambda text: text.replace(",", " , ").replace("path", "Path").replace("label", "LABEL"),
    lambda text: text.replace("\n", "\n\n,\n"),
    lambda text: "\n".join(f"x,{line},y" for line in text.splitlines()),
)


def test_tables_are_spelled_in_many_ways(folder, rows):
    text = "\n".join(",".join(row) for row in rows) + "\n"
    (folder / "plain.csv").write_text(text)
    plain = load_dataset(f"table:{folder}/plain.csv")
    for spelled in SPELLINGS:
        (folder / "odd.csv").write_bytes(spelled(text).encode())
        odd = load_dataset(f"table:{folder}/odd.csv")
        assert (odd.paths, odd.classes) == (plain.paths, plain.classes)
        assert odd.fingerprint == plain.fingerprint


def test_commas_absolute_paths_and_files_elsewhere(folder, tmp_path):
    write_image(folder / "ant/a, b.png")
    write_image(tmp_path / "elsewhere/1.png")
    rows = [("path", "label"), ("ant/a, b.png", "x, y"), (str(folder / "bee/1.png"), "z")]
    rows += [("../elsewhere/1.png", "z"), ("ant/../ant/1.png", "z")]
    data = load_dataset(f"table:{write_table(folder / 'labels.csv', rows)}")
    assert data.classes == ("x, y", "z")
    assert data.paths == ("ant/a, b.png", "bee/1.png", "../elsewhere/1.png", "ant/1.png")
    assert [image.size for image in data] == [(12, 10)] * 4


HEADER = ("path", "label")
ONE, GONE = ("ant/1.png", "a"), ("ant/9.png", "a")


@pytest.mark.parametrize(
    ("rows", "error", "said"),
    [
        *(
            (rows, ValueError, "expected a header with the columns path,label .*, each once")
            for rows in ([], [HEADER], [("file", "label"), ONE], [("path",), ("ant/1.png",)])
        ),
        ([(*HEADER, "label"), (*ONE, "b")], ValueError, "columns path,label .*, each once"),
        ([HEADER, ONE, ("ant/2.png", "")], ValueError, "row 2 .* has no path or no label"),
        *(
            ([HEADER, row], ValueError, "row 1 .* has no path or no label")
            for row in (("ant/1.png", "nan"), ("ant/1.png",), ("", "a"))
        ),
        ([HEADER, ONE, ONE], ValueError, "1.png is there twice, at positions 0 and 1"),
        ([HEADER, ONE, ("bee/../ant/1.png", "b")], ValueError, "1.png is there twice"),
        ([HEADER, ONE, GONE], FileNotFoundError, "1 of 2 files .*, the first being .*ant/9.png"),
        ([HEADER, ("x" * 5000, "a")], FileNotFoundError, "1 of 1 files"),
        ([HEADER, ("ant", "a")], FileNotFoundError, "not there"),
    ],
)
def test_tables_that_say_too_little_are_refused(rows, error, said, folder):
    table = write_table(folder / "labels.csv", rows)
    with pytest.raises(error, match=said) as caught:
        load_dataset(f"table:{table}")
    assert str(folder) in str(caught.value)


def test_tables_that_are_none(folder):
    with pytest.raises(FileNotFoundError, match="no such table"):
        load_dataset(f"table:{folder}/none.csv")
    with pytest.raises(FileNotFoundError, match="no such table"):
        load_dataset(f"table:{folder}")
    with pytest.raises(ValueError, match="after 'table:', such as table:/path"):
        load_dataset("table: ")
    for content in ("path,label\né.png,a".encode("latin-1"), b'path,label\n"a"b,c\n'):
        (folder / "bad.csv").write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.csv to be CSV in UTF-8, but"):
            load_dataset(f"table:{folder}/bad.csv")


def test_missing_and_broken_files_of_a_table_are_left_out_if_asked(folder, rows):
    (folder / "bee/2.png").write_bytes(b"no image")
    (folder / "raw.cr2").write_bytes(b"?")
    table = write_table(folder / "t.csv", [*rows, ("gone.png", "a"), ("raw.cr2", "a")])
    data = load_dataset(f"table:{table}", on_error="skip")
    assert data.paths == ("ant/1.png", "bee/1.png")
    assert [path for path, _ in data.skipped] == ["bee/2.png", "gone.png", "raw.cr2"]
    assert "No such file" in data.skipped[1][1] and "none of the formats" in data.skipped[2][1]
    gone = [rows[0], ("gone.png", "a"), ("too.png", "b")]
    table = write_table(folder / "t.csv", gone)
    with pytest.raises(
        ValueError, match=r"none of the 2 images of .* can be read; gone\.png: .*No such"
    ):
        load_dataset(f"table:{table}", on_error="skip")


# --- files ---


CONTAINERS = (list, np.array, lambda values: pd.Series(values, index=range(7, 10)), tuple)


def test_files_in_any_container(folder):
    paths = [str(folder / name) for name in ("bee/1.png", "ant/2.png", "ant/1.png")]
    for of_paths, of_labels in zip(CONTAINERS, reversed(CONTAINERS), strict=True):
        data = ImageDataset.from_files(of_paths(paths), of_labels(["y", "x", "y"]))
        assert (data.classes, data.labels.tolist()) == (("x", "y"), [1, 0, 1])
        assert data.paths == ("bee/1.png", "ant/2.png", "ant/1.png")
        assert data[0].tobytes() == Image.open(folder / "bee/1.png").convert("RGB").tobytes()


def test_labels_of_any_kind(folder):
    files = [folder / "ant/1.png", folder / "ant/2.png", folder / "bee/1.png"]
    for labels, classes in (
        ([3, 1, 3], ("1", "3")),
        (np.array([2, 10, 2], np.int8), ("10", "2")),
        ([True, False, True], ("False", "True")),
        (pd.Series(["b", "a", "b"], dtype="category"), ("a", "b")),
    ):
        data = ImageDataset.from_files(files, labels)
        assert data.classes == classes
        assert [data.classes[k] for k in data.labels] == [str(label) for label in list(labels)]
    for labels, said in ((["a", None, "b"], "position 1"), (["a", " ", "b"], "text at position 1")):
        with pytest.raises(ValueError, match=said):
            ImageDataset.from_files(files, labels)
        with pytest.raises(ValueError, match=said):
            ImageDataset.from_arrays(np.zeros((3, 4, 4, 3), np.uint8), labels)


def test_files_that_cannot_be_meant(folder):
    one, other = folder / "ant/1.png", folder / "gone.png"
    for files, error, said in (
        ([one, other], FileNotFoundError, r"1 of 2 files are not there.*gone\.png"),
        ([one, folder / "bee/1.png", one], ValueError, "twice, at positions 0 and 2"),
        (str(one), ValueError, r"paths of images, .* got '"),
        ([], ValueError, r"paths of images, .* got \[\]"),
        *(([one, wrong], ValueError, "a path at position 1") for wrong in (None, np.nan, "", 3)),
    ):
        with pytest.raises(error, match=said):
            ImageDataset.from_files(files, ["a", "b", "c"][: len(files)])


def test_relative_files_are_found_from_elsewhere(folder, monkeypatch):
    monkeypatch.chdir(folder)
    data = ImageDataset.from_files(["ant/1.png", "ant/2.png"], [0, 1])
    monkeypatch.chdir("/")
    assert data.paths == ("1.png", "2.png")
    assert [image.size for image in data] == [(12, 10)] * 2


# --- arrays ---


PIXELS = np.random.default_rng(0).integers(0, 256, (4, 8, 6, 3), dtype=np.uint8)


def test_arrays_in_any_form():
    reference = ImageDataset.from_arrays(PIXELS, ["b", "a", "b", "b"])
    for images in (
        *(PIXELS, list(PIXELS), [Image.fromarray(pixels) for pixels in PIXELS]),
        *(PIXELS / 255, (PIXELS / 255).astype(np.float32), pd.Series(list(PIXELS))),
    ):
        data = ImageDataset.from_arrays(images, ["b", "a", "b", "b"])
        assert (data.classes, data.labels.tolist()) == (("a", "b"), [1, 0, 1, 1])
        np.testing.assert_array_equal([np.asarray(image) for image in data], PIXELS)
        assert data.fingerprint == reference.fingerprint
        assert pickle.loads(pickle.dumps(data)).fingerprint == reference.fingerprint
    (image,) = ImageDataset.from_arrays([np.array([[0.0, 0.1, 0.25, 0.999, 1.0]])], [0])
    assert np.asarray(image)[0, :, 0].tolist() == [0, 26, 64, 255, 255]


def test_arrays_of_several_sizes_and_of_grey():
    grey = Image.fromarray(np.full((5, 7), 40, np.uint8))
    images = [PIXELS[0], PIXELS[1, :3], PIXELS[2, ..., 0], PIXELS[2, ..., :1], grey]
    images += [Image.new("RGBA", (2, 2), (0, 0, 0, 0))]
    data = ImageDataset.from_arrays(images, [0, 1, 0, 1, 0, 1])
    assert [image.size for image in data] == [(6, 8), (6, 3), (6, 8), (6, 8), (7, 5), (2, 2)]
    np.testing.assert_array_equal(np.asarray(data[2]), PIXELS[2, ..., [0, 0, 0]].transpose(1, 2, 0))
    assert data[4].getpixel((0, 0)) == (40, 40, 40)
    assert data[5].getpixel((0, 0)) == (255, 255, 255)  # transparency is composited on white
    part = data.subset([5, 1])
    assert [image.size for image in part] == [(2, 2), (6, 3)]
    assert part.fingerprint == pickle.loads(pickle.dumps(part)).fingerprint


def test_the_fingerprint_is_that_of_pixels_and_labels():
    one = ImageDataset.from_arrays(PIXELS, [0, 1, 0, 1])
    changed = PIXELS.copy()
    changed[3, 0, 0, 0] ^= 1
    others = [
        ImageDataset.from_arrays(changed, [0, 1, 0, 1]),
        ImageDataset.from_arrays(PIXELS, [0, 1, 1, 1]),
        ImageDataset.from_arrays(PIXELS, [0, 2, 0, 2]),
        ImageDataset.from_arrays(PIXELS.transpose(0, 2, 1, 3), [0, 1, 0, 1]),
    ]
    assert len({data.fingerprint for data in [one, *others]}) == 5


def test_arrays_are_copied():
    pixels = PIXELS.copy()
    data = ImageDataset.from_arrays(pixels, [0, 1, 0, 1])
    pixels[:] = 0
    assert np.asarray(data[0]).any()


def test_arrays_that_cannot_be_meant():
    for images, said in (
        (PIXELS.transpose(0, 3, 1, 2), r"got \(3, 8, 6\) at position 0; the channels come last"),
        (PIXELS.astype(np.int64), "expected uint8, .* got int64"),
        (PIXELS.astype(np.float32), "real numbers from 0 to 1, got float32 from 0.0 to"),
        (PIXELS / 255 - 0.5, "real numbers from 0 to 1"),
        (np.where(PIXELS > 250, np.nan, 0.5), "real numbers from 0 to 1"),
        *(
            ([PIXELS[0], other], "position 1")
            for other in (PIXELS[1, 0, 0], PIXELS[1, :0], "x.png")
        ),
        *((several, "several images") for several in (PIXELS[:0], Image.fromarray(PIXELS[0]))),
    ):
        with pytest.raises(ValueError, match=said):
            ImageDataset.from_arrays(images, [0, 1, 0, 1])


# --- how datasets are spelled ---


def test_names_of_own_images(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert own_path("digits") is None and own_path("office_caltech10/webcam") is None
    assert absolute_name("digits") == "digits"
    for kind in ("folder", "table"):
        assert absolute_name(f"{kind}:x/y") == f"{kind}:{tmp_path.as_posix()}/x/y"
        assert absolute_name(f"{kind}:/a,b/y") == f"{kind}:/a,b/y"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("folder:{0}/a,b,digits", ["folder:{0}/a,b", "digits"]),
        ("digits, folder:{0}/a,b , folder:{0}/a", ["digits", "folder:{0}/a,b", "folder:{0}/a"]),
        ("table:{0}/t,1.csv,digits", ["table:{0}/t,1.csv", "digits"]),
        ("digits,folder:{0}/none,b", ["digits", "folder:{0}/none", "b"]),
        ("vgg16@{0}/w/x,y.pth,minivgg16@random", ["vgg16@{0}/w/x,y.pth", "minivgg16@random"]),
    ],
)
def test_commas_in_names_of_what_exists(text, names, tmp_path):
    for name in ("a", "a,b", "w"):
        (tmp_path / name).mkdir()
    (tmp_path / "t,1.csv").touch()
    (tmp_path / "w/x,y.pth").touch()
    filled = [name.format(tmp_path) for name in names]
    assert as_names("datasets", text.format(tmp_path)) == filled
    assert as_names("datasets", filled) == filled


def test_what_is_no_name_is_refused_in_a_sentence():
    for value in (None, "None", 5, {"digits": 1}):
        with pytest.raises(ValueError, match=r"names of datasets, .* leave the parameter away"):
            as_names("datasets", value)
    with pytest.raises(ValueError, match="each a text, got None"):
        as_names("datasets", ["digits", None])


# --- where they are used ---


def test_every_way_gives_the_same_images(folder, tmp_path):
    from analysis.chapters import Study

    files = sorted(folder.rglob("*.png"))
    labels = [file.parent.name for file in files]
    names = [(file.relative_to(folder).as_posix(), file.parent.name) for file in files]
    table = write_table(folder / "a,b.csv", [("path", "label"), *names])
    first, *others = [
        load_dataset(f"folder:{folder}"),
        load_dataset(f"table:{table}"),
        ImageDataset.from_files(files, labels),
        ImageDataset.from_arrays([Image.open(file).convert("RGB") for file in files], labels),
    ]
    for data in others:
        assert (data.classes, data.labels.tolist()) == (first.classes, first.labels.tolist())
        assert [image.tobytes() for image in data] == [image.tobytes() for image in first]
    both = f"table:{table},folder:{folder}"
    study = Study("T", both, "minivgg16@random", crops=None, results=None)
    assert study.datasets == [f"table:{table}", f"folder:{folder}"]
    assert study.data(f"table:{table}").fingerprint == first.fingerprint == others[0].fingerprint


def test_a_book_is_told_of_tables_by_their_full_path(monkeypatch, tmp_path):
    from analysis.book.build import study_parameters

    (tmp_path / "study.yml").write_text("title: T\nnetworks: minivgg16@random\ndatasets: digits\n")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a,b").mkdir()
    given = study_parameters(tmp_path / "study.yml", datasets="table:x.csv,folder:a,b,digits")
    full = tmp_path.as_posix()
    assert given["datasets"] == [f"table:{full}/x.csv", f"folder:{full}/a,b", "digits"]
    assert given["reference_images"] == given["datasets"]
    assert given["title"] == "x.csv, a,b, digits"
