"""Source tasks: which image is in which part, under which label, and what it looks like."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.data import source_tasks
from analysis.data.decoding import BrokenImageError
from analysis.data.drawn import source_drawn
from analysis.data.images import ImageArrays, ImageDataset
from analysis.data.source_tasks import Part, read_source_task, thumbnails


def write(folder: Path, **sizes: int) -> Path:
    """Images of 8 x 8 pixels; the red of an image is its class, the green its number."""
    for label, (name, size) in enumerate(sorted(sizes.items())):
        (folder / name).mkdir(parents=True)
        for number in range(size):
            Image.new("RGB", (8, 8), (label, number, 77)).save(folder / name / f"{number:03d}.png")
    return folder


def contents(part: Part) -> set[tuple[int, int, int]]:
    """(label, red, green) of every image; each of them has to be of one colour."""
    assert (part.images == part.images[:, :, :1, :1]).all()
    assert (part.images[:, 2] == 77).all()
    corner = part.images[:, :2, 0, 0].tolist()
    return {(label, *colour) for label, colour in zip(part.labels.tolist(), corner, strict=True)}


def every(**sizes: int) -> set[tuple[int, int, int]]:
    return {
        (label, label, number)
        for label, (_, size) in enumerate(sorted(sizes.items()))
        for number in range(size)
    }


# --- layouts ---


def test_train_and_val_are_taken_as_they_are(tmp_path):
    write(tmp_path / "train", ant=3, bee=2)
    write(tmp_path / "val", ant=1, bee=2)
    task = read_source_task(tmp_path, side=8)
    assert task.classes == task.titles == ("ant", "bee")
    assert contents(task.train) == every(ant=3, bee=2)
    assert contents(task.val) == every(ant=1, bee=2)
    assert task.train.images.shape == (5, 3, 8, 8)
    assert task.train.images.dtype == np.uint8 and task.train.labels.dtype == np.int64
    assert task.n_drawn == 0


def test_without_val_a_tenth_of_the_smallest_class_is_held_out_of_each(tmp_path):
    for smallest, held_out in ((2, 1), (10, 1), (11, 2), (21, 3)):
        sizes = {"ant": 23, "bee": smallest}
        task = read_source_task(write(tmp_path / f"{smallest}", **sizes), side=8)
        train, val = contents(task.train), contents(task.val)
        assert np.bincount(task.val.labels).tolist() == [held_out, held_out]
        assert train | val == every(**sizes)
        assert not train & val
        assert len(task.train.labels) + len(task.val.labels) == 23 + smallest


def test_what_is_held_out_is_drawn_from_the_seed(tmp_path):
    write(tmp_path, ant=30, bee=30)
    first, again, other = (read_source_task(tmp_path, side=8, seed=seed) for seed in (1, 1, 2))
    assert contents(first.val) == contents(again.val) != contents(other.val)
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_folders_that_are_no_source_task(tmp_path):
    write(tmp_path / "one", ant=5, bee=1)
    write(tmp_path / "two/train", ant=1, bee=1, cat=1)
    write(tmp_path / "two/val", ant=1, bee=1, dog=1)
    for name, keep, message in (
        ("one", None, r"at least 2 images in every class, .* smallest class has 1"),
        ("two", None, r"same classes in train and val; .*\['cat', 'dog'\]"),
        ("one", ["emu", "ant", "cow"], "has no classes cow, emu; there are ant, bee"),
        ("one", [], "at least one class to keep, got none"),
    ):
        with pytest.raises(ValueError, match=message):
            read_source_task(tmp_path / name, keep=keep)
    assert len(read_source_task(tmp_path / "one", side=8, keep=["ant"]).train.labels) == 4
    assert read_source_task(tmp_path / "two", side=8, keep=["bee", "ant"]).classes == ("ant", "bee")


def test_the_fingerprint_is_of_what_is_there_not_of_where_it_is(tmp_path):
    one = write(tmp_path / "one", ant=3, bee=3)
    shutil.copytree(one, tmp_path / "two")
    prints = [read_source_task(folder, side=8).fingerprint for folder in (one, tmp_path / "two")]
    assert prints[0] == prints[1]
    Image.new("RGB", (8, 8), (9, 9, 9)).save(tmp_path / "two" / "bee" / "000.png")
    assert read_source_task(tmp_path / "two", side=8).fingerprint != prints[0]


# --- classes ---


def test_kept_classes_have_new_labels_in_the_order_of_the_folder(tmp_path):
    write(tmp_path / "train", ant=2, bee=3, cat=4, dog=5)
    write(tmp_path / "val", ant=1, bee=1, cat=1, dog=1)
    task = read_source_task(tmp_path, side=8, keep=("dog", "bee"))
    assert task.classes == ("bee", "dog")
    assert contents(task.train) == {(0, 1, n) for n in range(3)} | {(1, 3, n) for n in range(5)}
    assert contents(task.val) == {(0, 1, 0), (1, 3, 0)}
    other = read_source_task(tmp_path, side=8, keep=("dog", "ant"))
    assert other.fingerprint != task.fingerprint


def test_titles_come_from_a_table(tmp_path):
    write(tmp_path, ant=2, bee=2)
    table = tmp_path / "classes.tsv"
    table.write_text("\ufeffbee\thoney bee, Apis\r\nyak\tgrunting ox\r\n\r\n", "utf-8")
    assert read_source_task(tmp_path, side=8).titles == ("ant", "honey bee, Apis")
    table.write_text("bee\thoney bee\nant little worker\n", "utf-8")
    with pytest.raises(ValueError, match=r"classes\.tsv: expected .* got 'ant little worker'"):
        read_source_task(tmp_path)


def test_drawn_classes_come_after_those_of_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(source_tasks, "source_drawn", partial(source_drawn, n_per_class=2))
    write(tmp_path / "train", ant=3, bee=2)
    write(tmp_path / "val", ant=1, bee=1)
    plain = read_source_task(tmp_path, side=16)
    task = read_source_task(tmp_path, side=16, drawn=True)
    assert task.n_drawn == 26 and len(task.classes) == len(task.titles) == 28
    assert task.classes[2:] == task.titles[2:] == source_drawn("train", n_per_class=1).classes
    for part, own, split in ((task.train, plain.train, "train"), (task.val, plain.val, "val")):
        drawings = source_drawn(split, n_per_class=2)
        n = len(own.labels)
        assert (part.images[:n] == own.images).all() and (part.labels[:n] == own.labels).all()
        assert (part.images[n:] == thumbnails(drawings, 16)).all()
        assert (part.labels[n:] == drawings.labels + 2).all()
    other = read_source_task(tmp_path, side=16, drawn=True, seed=1)
    assert (other.train.images[:5] == plain.train.images).all()
    assert len({plain.fingerprint, task.fingerprint, other.fingerprint}) == 3


# --- images ---


def dataset(pixels: np.ndarray) -> ImageDataset:
    return ImageDataset("one", ("a",), np.zeros(1), ("0",), ImageArrays(pixels[None]))


def naive_shrunk(line: np.ndarray, size: int) -> np.ndarray:
    """A row of pixels made smaller: means weighted by triangles as wide as two new pixels."""
    scale = len(line) / size
    shrunk = []
    for new in range(size):
        centre = (new + 0.5) * scale
        weights = [max(0.0, 1 - abs(at + 0.5 - centre) / scale) for at in range(len(line))]
        shrunk.append(np.dot(weights, line) / sum(weights))
    return np.array(shrunk)


@pytest.mark.parametrize("turned", [False, True])
def test_images_that_are_not_square_are_shrunk_whole_and_cropped_at_the_centre(turned):
    wide = np.random.default_rng(0).integers(0, 256, (40, 90, 3), dtype=np.uint8)
    side = 16  # 90 x 40 becomes 36 x 16, of which 10 are cut off at either end
    expected = np.empty((side, side, 3))
    for channel in range(3):
        rows = np.array([naive_shrunk(row, 36) for row in wide[..., channel]])
        columns = np.array([naive_shrunk(column, side) for column in rows.T]).T
        expected[..., channel] = columns[:, 10:26]
    image = wide.transpose(1, 0, 2) if turned else wide
    (found,) = thumbnails(dataset(np.ascontiguousarray(image)), side)
    (expected,) = [expected.transpose(2, 1, 0) if turned else expected.transpose(2, 0, 1)]
    assert np.abs(found - expected).max() <= 1.01  # Pillow rounds after either pass


def test_images_of_the_right_size_are_taken_bit_by_bit():
    square = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert (thumbnails(dataset(square), 16)[0] == square.transpose(2, 0, 1)).all()
    long = np.random.default_rng(1).integers(0, 256, (16, 23, 3), dtype=np.uint8)
    assert (thumbnails(dataset(long), 16)[0] == long[:, 3:19].transpose(2, 0, 1)).all()


@pytest.mark.parametrize("size", [(3, 5), (16, 17), (200, 16), (1, 100)])
def test_every_shape_becomes_a_square(size):
    assert thumbnails(dataset(np.zeros((*size, 3), np.uint8)), 16).shape == (1, 3, 16, 16)


def test_a_broken_image_is_named_by_its_path(tmp_path):
    write(tmp_path / "train", ant=3, bee=3)
    write(tmp_path / "val", ant=1, bee=2)
    broken = tmp_path / "val" / "bee" / "001.png"
    broken.write_bytes(b"no image")
    with pytest.raises(BrokenImageError, match=r"001\.png") as raised:
        read_source_task(tmp_path, side=8)
    assert str(broken) in str(raised.value)
