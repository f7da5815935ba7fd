"""Decoding, the dataset object, fingerprints, folders of one's own."""

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
from PIL import Image

from analysis.data import BrokenImageError, ImageDataset, load_dataset
from analysis.data.decoding import open_image
from analysis.data.images import ImageArrays


def gradient(mode: str, size: tuple[int, int] = (40, 30)) -> Image.Image:
    across = np.linspace(0, 255, size[0]).astype(np.uint8)
    return Image.fromarray(np.tile(across, (size[1], 1))).convert(mode)


def pixels(path: Path) -> np.ndarray:
    image = open_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize(
    ("mode", "ending"),
    [
        ("1", "png"),
        ("L", "png"),
        ("L", "jpg"),
        ("P", "png"),
        ("P", "gif"),
        ("RGB", "png"),
        ("RGB", "bmp"),
        ("RGB", "tif"),
        ("RGB", "ppm"),
        ("RGB", "webp"),
        ("CMYK", "jpg"),
        ("CMYK", "tif"),
        ("YCbCr", "jpg"),
    ],
)
def test_opaque_modes_agree_with_pillow(mode: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"image.{ending}"
    gradient(mode).save(path)
    np.testing.assert_array_equal(pixels(path), np.asarray(Image.open(path).convert("RGB")))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_is_composited_on_white(mode: str, tmp_path: Path) -> None:
    image = gradient(mode)
    image.putalpha(Image.fromarray(np.full((30, 40), 128, np.uint8)))
    image.save(tmp_path / "image.png")
    grey = np.asarray(gradient("L"), float)
    expected = (grey * 128 + 255 * 127) / 255
    assert np.abs(pixels(tmp_path / "image.png") - expected[..., None]).max() <= 1


@pytest.mark.parametrize("ending", ["png", "gif"])
def test_transparent_palette_entry_is_white(ending: str, tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 1), 1)
    image.save(tmp_path / f"image.{ending}", transparency=0)
    found = pixels(tmp_path / f"image.{ending}")
    assert found[0, 0].tolist() == [255, 255, 255]
    assert found[1, 1].tolist() == [200, 100, 50]


def test_transparent_colour_is_white(tmp_path: Path) -> None:
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (9, 9, 9))
    image.save(tmp_path / "image.png", transparency=(1, 2, 3))
    assert pixels(tmp_path / "image.png").tolist() == [[[255, 255, 255], [9, 9, 9]]]


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_sixteen_bits_are_scaled_not_clipped(ending: str, tmp_path: Path) -> None:
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"image.{ending}")
    assert pixels(tmp_path / f"image.{ending}")[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(
    "values", [np.array([[0.2, 0.4]], np.float32), np.array([[-5, 10**6]], np.int32)]
)
def test_values_without_a_range_are_refused(values: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(values).save(tmp_path / "image.tif")
    with pytest.raises(BrokenImageError, match=r"image\.tif.*no defined range"):
        open_image(tmp_path / "image.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
def test_orientation_is_applied(orientation: int, ending: str, tmp_path: Path) -> None:
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :8] = (255, 0, 0)
    upright[8:, 24:] = (0, 0, 255)
    # How a camera stores the scene for each value of the tag (TIFF 6.0, Orientation).
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright.transpose(1, 0, 2), 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"image.{ending}"
    lossless = {"lossless": True} if ending == "webp" else {}
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, quality=95, **lossless)
    found = pixels(path).astype(int)
    assert found.shape == upright.shape
    assert np.abs(found - upright).mean() < 8


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "image.gif", save_all=True, append_images=frames[1:])
    assert pixels(tmp_path / "image.gif")[0, 0].tolist() == [255, 0, 0]


def test_damaged_exif_does_not_cost_the_pixels(tmp_path: Path) -> None:
    gradient("RGB").save(tmp_path / "image.jpg", exif=b"Exif\0\0" + b"nonsense" * 4)
    assert pixels(tmp_path / "image.jpg").shape == (30, 40, 3)


@pytest.mark.parametrize("ending", ["jpg", "png", "gif", "bmp", "tif", "webp"])
@pytest.mark.parametrize("damage", ["empty", "text", "truncated"])
def test_broken_files_are_named(ending: str, damage: str, tmp_path: Path) -> None:
    path = tmp_path / f"image.{ending}"
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "text": b"<html>", "truncated": whole[: len(whole) // 2]}[damage]
    )
    with pytest.raises(BrokenImageError, match=r"cannot read the image .*image\.") as caught:
        open_image(path)
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, OSError)


def test_bomb_is_an_error_with_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gradient("RGB").save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(BrokenImageError, match=r"bomb\.png.*decompression bomb"):
        open_image(tmp_path / "bomb.png")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BrokenImageError, match=r"gone\.png: No such file"):
        open_image(tmp_path / "gone.png")


def test_image_is_whole_after_its_file_is_gone(tmp_path: Path) -> None:
    gradient("RGB").save(tmp_path / "image.jpg")
    image = open_image(tmp_path / "image.jpg")
    (tmp_path / "image.jpg").unlink()
    assert image.resize((5, 5)).size == (5, 5)


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


def test_subset() -> None:
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
def test_subset_of_what_is_not_there(indices: list[object]) -> None:
    with pytest.raises((IndexError, TypeError)):
        small().subset(indices)  # type: ignore[arg-type]


def test_parts_that_do_not_belong_together() -> None:
    arrays = ImageArrays(np.zeros((2, 4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="do not belong together"):
        ImageDataset("x", ("a",), np.zeros(3, np.int64), ("1", "2"), arrays)
    with pytest.raises(ValueError, match="do not fit 1 classes"):
        ImageDataset("x", ("a",), np.array([0, 1]), ("1", "2"), arrays)


def test_iteration_and_negative_positions() -> None:
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


def test_fingerprint_is_that_of_the_content_wherever_it_lies(folder: Path, tmp_path: Path) -> None:
    before = fingerprint(folder)
    assert len(before) == 64
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert fingerprint(tmp_path / "elsewhere") == before


def _rename_class(folder: Path) -> None:
    (folder / "bee").rename(folder / "cat")


def _rename_file(folder: Path) -> None:
    (folder / "ant/2.png").rename(folder / "ant/3.png")


def _move_file(folder: Path) -> None:
    (folder / "ant/2.png").rename(folder / "bee/2.png")


def _change_pixel(folder: Path) -> None:
    write_image(folder / "ant/1.png", grey=77)


def _swap_contents(folder: Path) -> None:
    first, second = (folder / "ant/1.png").read_bytes(), (folder / "ant/2.png").read_bytes()
    (folder / "ant/1.png").write_bytes(second)
    (folder / "ant/2.png").write_bytes(first)


@pytest.mark.parametrize(
    "change", [_rename_class, _rename_file, _move_file, _change_pixel, _swap_contents]
)
def test_fingerprint_changes_with_the_content(change: object, folder: Path) -> None:
    before = fingerprint(folder)
    change(folder)  # type: ignore[operator]
    assert fingerprint(folder) != before


# --- folders of one's own ---


def test_folder(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
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


def test_folder_relative_to_where_one_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    data = load_dataset("folder:mine")
    monkeypatch.chdir("/")
    assert data[0].mode == "RGB"


def test_folder_errors(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such folder: .*nowhere"):
        load_dataset(f"folder:{tmp_path}/nowhere")
    with pytest.raises(ValueError, match="got the file"):
        load_dataset(f"folder:{folder}/ant/1.png")
    with pytest.raises(ValueError, match="after 'folder:'"):
        load_dataset("folder:")
    with pytest.raises(ValueError, match="beside them 2 images"):
        load_dataset(f"folder:{folder}/ant")
    (tmp_path / "bare").mkdir()
    with pytest.raises(ValueError, match=r"in .*bare, got 0 folders"):
        load_dataset(f"folder:{tmp_path}/bare")


def test_empty_class_folder_is_named(folder: Path) -> None:
    (folder / "cat").mkdir()
    with pytest.raises(ValueError, match=r"no images in class folder\(s\) cat of .*mine"):
        load_dataset(f"folder:{folder}")


def test_no_images_at_all(tmp_path: Path) -> None:
    (tmp_path / "ant").mkdir()
    (tmp_path / "ant/notes.txt").write_text("x")
    with pytest.raises(ValueError, match=r"no images in class folder\(s\) ant.*\.jpeg"):
        load_dataset(f"folder:{tmp_path}")
    (tmp_path / "ant/IMG_1.CR2").write_text("x")
    with pytest.raises(ValueError, match=r"; ant/IMG_1.CR2: files that end in \.cr2.*convert"):
        load_dataset(f"folder:{tmp_path}")


def test_one_folder_too_high_is_recognised(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"mine of .*: name the folder whose"):
        load_dataset(f"folder:{folder.parent}")


def test_image_beside_class_folders(folder: Path) -> None:
    write_image(folder / "stray.png")
    with pytest.raises(ValueError, match=r"belong to no class \(stray\.png\)"):
        load_dataset(f"folder:{folder}")


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
def test_any_class_name(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("classes")
    names = [name for name in names if name != "__MACOSX"] or ["class"]
    for number, name in enumerate(names):
        write_image(root / name / "1.png", grey=number)
    data = load_dataset(f"folder:{root}")
    assert data.classes == tuple(sorted(unicodedata.normalize("NFC", name) for name in names))
    assert data.paths == tuple(f"{name}/1.png" for name in data.classes)
    assert [image.size for image in data] == [(12, 10)] * len(names)


def test_decomposed_names_give_the_same_fingerprint(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        write_image(tmp_path / form / unicodedata.normalize(form, "café") / "1.png")
    assert fingerprint(tmp_path / "NFC") == fingerprint(tmp_path / "NFD")


# --- broken files ---


def test_broken_file_raises_when_opened(folder: Path) -> None:
    (folder / "ant/2.png").write_bytes(b"")
    data = load_dataset(f"folder:{folder}")
    assert len(data) == 3
    with pytest.raises(BrokenImageError, match=str(folder / "ant/2.png")):
        data[1]


def test_broken_files_are_left_out_if_asked(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "ant/2.png").write_bytes((folder / "ant/2.png").read_bytes()[:50])
    with caplog.at_level(logging.WARNING):
        data = load_dataset(f"folder:{folder}", on_error="skip")
    assert data.paths == ("ant/1.png", "bee/1.png")
    assert data.labels.tolist() == [0, 1]
    ((path, reason),) = data.skipped
    assert path == "ant/2.png"
    assert str(folder / "ant/2.png") in reason
    assert "1 of 3 images are left out" in caplog.text
    assert load_dataset("digits", on_error="skip").skipped == ()
