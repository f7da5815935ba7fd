"""Brightness, depth and formats: what a file means by its numbers is what comes out."""

from __future__ import annotations

import struct
import zlib
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from pillow_heif import encode, register_heif_opener

from analysis.data.decoding import (
    FORMATS,
    IMAGE_SUFFIXES,
    BrokenImageError,
    is_image,
    looks_like_an_image,
    open_image,
)

SHADE = np.tile(np.arange(64) * 4, (64, 1))  # black at the left, nearly white at the right
LAYOUTS = [{}, {"tile": (32, 32)}, {"rowsperstrip": 7}]


def first_row(path: Path) -> np.ndarray:
    image = open_image(path)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)[5, :, 0]


def twelve_bits(values: np.ndarray) -> bytes:
    bits = np.unpackbits(values.astype(">u2").view("u1").reshape(*values.shape, 2), axis=2)
    return np.packbits(bits[:, :, 4:].reshape(len(values), -1), axis=1).tobytes()


def write_tiff(path: Path, pixels: bytes, order: str, **tags: int) -> None:
    """Write a TIFF of one strip by hand: libraries do not write every kind."""
    numbers = {"bits": 258, "compression": 259, "photometric": 262}
    size = {256: 64, 257: 64, 273: 8, 277: 1, 278: 64, 279: len(pixels)}
    every = size | {numbers[name]: value for name, value in tags.items()}
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, every[tag]) for tag in sorted(every))
    magic = {"<": b"II*\0", ">": b"MM\0*"}[order]
    body = struct.pack(f"{order}H", len(every)) + entries + bytes(4)
    path.write_bytes(magic + struct.pack(f"{order}I", 8 + len(pixels)) + pixels + body)


@pytest.mark.parametrize("layout", LAYOUTS, ids=["strip", "tiles", "strips"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(("bits", "order"), [(1, "<"), (8, ">"), (16, "<"), (16, ">")])
def test_tiff_whose_zero_is_white(bits, order, compression, layout, tmp_path):
    full = (1 << bits) - 1
    values = np.round(SHADE / 255 * full).astype({1: bool, 8: "u1", 16: "u2"}[bits])
    for photometric, stored in (("minisblack", values), ("miniswhite", full - values)):
        file = tmp_path / f"{photometric}.tif"
        tifffile.imwrite(
            file,
            stored.astype(values.dtype),
            photometric=photometric,
            byteorder=order,
            compression=compression,
            **layout,
        )
        # the reference is another reader, which gives the numbers and what they mean
        with tifffile.TiffFile(file) as read:
            numbers = read.pages[0].asarray().astype(int)
            white_is_zero = read.pages[0].photometric == tifffile.PHOTOMETRIC.MINISWHITE
        meant = (full - numbers if white_is_zero else numbers)[5] * 255 / full
        assert np.abs(first_row(file) - meant).max() <= 0.5
        assert first_row(file)[0] == 0 and first_row(file)[-1] >= 252


@pytest.mark.parametrize(("photometric", "order", "compression"), [*product([0, 1], "<>", [1, 8])])
def test_tiff_of_twelve_bits(photometric, order, compression, tmp_path):
    values = np.round(SHADE / 255 * 4095).astype(int)
    pixels = twelve_bits(values if photometric else 4095 - values)
    pixels = zlib.compress(pixels) if compression == 8 else pixels
    tags = {"bits": 12, "compression": compression, "photometric": photometric}
    write_tiff(tmp_path / "x.tif", pixels, order, **tags)
    np.testing.assert_array_equal(first_row(tmp_path / "x.tif"), SHADE[0])


def test_a_turned_tiff_whose_zero_is_white(tmp_path):
    tags = [(274, "H", 1, 6, False)]
    tifffile.imwrite(
        tmp_path / "x.tif",
        (65535 - SHADE * 257).astype("u2"),
        photometric="miniswhite",
        extratags=tags,
        metadata=None,
    )
    found = np.asarray(open_image(tmp_path / "x.tif")).astype(int)
    np.testing.assert_array_equal(found[..., 0], np.rot90(SHADE, -1))


@pytest.mark.parametrize(("dtype", "order"), list(product(["u4", "f4"], "<>")))
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_numbers_without_a_range_are_refused_by_name(dtype, order, photometric, tmp_path):
    values = (SHADE * (1 << 24) if dtype == "u4" else SHADE / 255).astype(dtype)
    tifffile.imwrite(tmp_path / "x.tif", values, photometric=photometric, byteorder=order)
    with pytest.raises(BrokenImageError, match=r"x\.tif: .*(no defined range|none of the formats)"):
        open_image(tmp_path / "x.tif")


@pytest.mark.parametrize("most", [100, 255, 1000, 4095, 65535])
def test_grey_maps_are_scaled_by_their_largest_value(most, tmp_path):
    values = np.round(SHADE / 255 * most).astype(">u2" if most > 255 else "u1")
    (tmp_path / "x.pgm").write_bytes(f"P5 64 64 {most}\n".encode() + values.tobytes())
    assert np.abs(first_row(tmp_path / "x.pgm") - SHADE[0]).max() <= (1 if most < 255 else 0)


@pytest.mark.parametrize("ending", ["png", "tif", "bmp", "gif", "pbm"])
def test_one_bit_and_reversed_palettes(ending, tmp_path):
    bits = Image.fromarray(SHADE >= 128)
    bits.save(tmp_path / f"bits.{ending}")
    np.testing.assert_array_equal(first_row(tmp_path / f"bits.{ending}"), (SHADE[0] >= 128) * 255)
    if ending != "pbm":
        palette = Image.fromarray((255 - SHADE).astype(np.uint8)).convert("P")
        palette.putpalette([value for i in range(256) for value in [255 - i] * 3])
        palette.save(tmp_path / f"palette.{ending}")
        np.testing.assert_array_equal(first_row(tmp_path / f"palette.{ending}"), SHADE[0])


COLOURS = np.stack([SHADE, 255 - SHADE, SHADE // 2], axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("x.jpg", "CMYK", {"quality": 100}),  # written inverted, as Adobe does
        ("x.tif", "CMYK", {}),
        ("x.tif", "CMYK", {"compression": "jpeg"}),
        ("x.tif", "CMYK", {"compression": "tiff_lzw"}),
        ("x.tif", "YCbCr", {"compression": "jpeg", "quality": 100}),
        ("x.tif", "RGB", {"compression": "jpeg", "quality": 100}),
        ("x.avif", "RGB", {"quality": 100, "subsampling": "4:4:4"}),
        ("x.heic", "RGB", {"format": "HEIF", "quality": 100, "chroma": 444}),
    ],
)
def test_colours_are_those_that_were_meant(name, mode, options, tmp_path):
    register_heif_opener()
    Image.fromarray(COLOURS).convert(mode).save(tmp_path / name, **options)
    found = np.asarray(open_image(tmp_path / name)).astype(int)
    assert np.abs(found - COLOURS).max() <= 5


# --- photos of phones ---


def turned(orientation: int) -> np.ndarray:
    """How a camera stores a scene that is red at the upper left (TIFF 6.0, Orientation)."""
    scene = np.zeros((64, 128, 3), np.uint8)
    scene[:32, :32] = (255, 0, 0)
    scene[32:, 96:] = (0, 0, 255)
    flipped = scene.transpose(1, 0, 2)
    ways = [scene, scene[:, ::-1], scene[::-1, ::-1], scene[::-1], flipped, np.rot90(scene, 1)]
    ways += [np.rot90(flipped, 2), np.rot90(scene, -1)]
    return np.ascontiguousarray(ways[orientation - 1])


def with_rotation(heif: bytes, quarters: int) -> bytes:
    """Add the box that turns the only image of a HEIF file counter-clockwise, as phones do."""

    def grown(content: bytes, box: bytes, by: int) -> bytes:
        at = content.index(box) - 4
        size = int.from_bytes(content[at : at + 4]) + by
        return content[:at] + size.to_bytes(4) + content[at + 4 :]

    irot = (9).to_bytes(4) + b"irot" + bytes([quarters])
    offsets = sorted({heif.index(b"mdat") + 4, heif.rindex(b"\0\0\0\x06Exif\0\0")})
    for box, by in ((b"meta", 10), (b"iprp", 10), (b"ipco", 9), (b"ipma", 1)):
        heif = grown(heif, box, by)
    at = heif.index(b"iloc")
    for offset in offsets:
        end = heif.index(b"iinf")
        locations = heif[at:end].replace(offset.to_bytes(4), (offset + 10).to_bytes(4))
        heif = heif[:at] + locations + heif[end:]
    start = heif.index(b"ipco") - 4
    end = start + int.from_bytes(heif[start : start + 4]) - 9
    boxes = heif[start + 8 : end]
    count = 0
    while boxes:
        boxes, count = boxes[int.from_bytes(boxes[:4]) :], count + 1
    heif = heif[:end] + irot + heif[end:]
    at = heif.index(b"ipma") + 14  # version, flags, one entry, item 1; then how many
    n = heif[at]
    return (
        heif[:at]
        + bytes([n + 1])
        + heif[at + 1 : at + 1 + n]
        + bytes([0x80 | (count + 1)])
        + (heif[at + 1 + n :])
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_upright(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    register_heif_opener()
    for ending in ("jpg", "png", "tif", "webp", "HEIC", "avif"):
        file = tmp_path / f"IMG_0001.{ending}"
        Image.fromarray(turned(orientation)).save(file, exif=exif, quality=95)
        found = np.asarray(open_image(file)).astype(int)
        assert found.shape == (64, 128, 3)
        assert np.abs(found - turned(1)).mean() < 4


@pytest.mark.parametrize(("orientation", "quarters"), [(6, 3), (3, 2), (8, 1)])
def test_heic_is_not_turned_twice(orientation, quarters, tmp_path):
    """Phones say it twice: in a box, which the decoder follows, and in EXIF."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    register_heif_opener()
    file = tmp_path / "x.heic"
    Image.fromarray(turned(orientation)).save(file, exif=exif, quality=95)
    file.write_bytes(with_rotation(file.read_bytes(), quarters))
    with Image.open(file) as image:
        assert image.size == (128, 64), "the box should turn it"
    found = np.asarray(open_image(file)).astype(int)
    assert np.abs(found - turned(1)).mean() < 4


@pytest.mark.parametrize("name", ["x.heic", "x.HEIF", "x.hif"])
def test_heic_of_ten_bits_and_with_transparency(name, tmp_path):
    deep = np.stack([SHADE * 257] * 3, axis=2).astype("u2")  # 16 bits, written as 10 or 12
    encode("RGB;16", (64, 64), deep.tobytes(), tmp_path / name, quality=-1)
    assert np.abs(first_row(tmp_path / name) - SHADE[0]).max() <= 2
    half = np.dstack([np.zeros((64, 64, 3), np.uint8), np.full((64, 64), 128, np.uint8)])
    encode("RGBA", (64, 64), half.tobytes(), tmp_path / name, quality=-1)
    assert np.abs(first_row(tmp_path / name) - 127).max() <= 2


def test_a_damaged_heic_is_named(tmp_path):
    register_heif_opener()
    Image.fromarray(COLOURS).save(tmp_path / "x.heic", format="HEIF")
    whole = (tmp_path / "x.heic").read_bytes()
    for content in (whole[: len(whole) // 2], b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)):
        (tmp_path / "x.heic").write_bytes(content)
        with pytest.raises(BrokenImageError, match=r"cannot read the image .*x\.heic"):
            open_image(tmp_path / "x.heic")


# --- transparency, animations, damage ---


def pixels(path: Path) -> np.ndarray:
    image = open_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)


OPAQUE = {
    "png": "1 L P RGB",
    **{"jpg": "L CMYK YCbCr", "tif": "RGB CMYK", "gif": "P"},
    **{"bmp": "RGB", "ppm": "RGB", "webp": "RGB"},
}


@pytest.mark.parametrize("ending", OPAQUE)
def test_opaque_modes_agree_with_pillow(ending, tmp_path):
    file = tmp_path / f"x.{ending}"
    for mode in OPAQUE[ending].split():
        Image.fromarray(SHADE.astype(np.uint8)).convert(mode).save(file)
        expected = np.asarray(Image.open(file).convert("RGB"))
        np.testing.assert_array_equal(pixels(file), expected)


def test_transparency_is_white(tmp_path):
    for mode in ("LA", "RGBA"):
        image = Image.fromarray(SHADE.astype(np.uint8)).convert(mode)
        image.putalpha(Image.new("L", image.size, 128))
        image.save(tmp_path / "alpha.png")
        expected = (SHADE * 128 + 255 * 127) / 255
        assert np.abs(pixels(tmp_path / "alpha.png") - expected[..., None]).max() <= 1
    for mode, transparent, shown in (("P", 0, (200, 100, 50)), ("RGB", (1, 2, 3), (9, 9, 9))):
        image = Image.new(mode, (2, 1), transparent)
        if mode == "P":
            image.putpalette([10, 20, 30, *shown])
        image.putpixel((1, 0), 1 if mode == "P" else shown)
        for ending in ("png", "gif") if mode == "P" else ("png",):
            image.save(tmp_path / f"key.{ending}", transparency=transparent)
            assert pixels(tmp_path / f"key.{ending}").tolist() == [[[255] * 3, list(shown)]]


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    for ending in ("png", "tif", "pgm"):
        values = np.array([[0, 257, 32896, 65535]], np.uint16)
        Image.fromarray(values).save(tmp_path / f"image.{ending}")
        assert pixels(tmp_path / f"image.{ending}")[0, :, 0].tolist() == [0, 1, 128, 255]


def test_first_frame_damaged_exif_and_a_file_that_is_gone(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "image.gif", save_all=True, append_images=frames[1:])
    assert pixels(tmp_path / "image.gif")[0, 0].tolist() == [255, 0, 0]
    frames[0].save(tmp_path / "image.jpg", exif=b"Exif\0\0" + b"nonsense" * 4)
    image = open_image(tmp_path / "image.jpg")
    (tmp_path / "image.jpg").unlink()
    assert image.resize((5, 5)).size == (5, 5)
    with pytest.raises(BrokenImageError, match=r"image\.jpg: No such file"):
        open_image(tmp_path / "image.jpg")


@pytest.mark.parametrize("ending", ["jpg", "png", "gif", "bmp", "tif", "webp"])
def test_broken_files_are_named(ending, tmp_path, monkeypatch):
    path = tmp_path / f"image.{ending}"
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    with (
        monkeypatch.context() as patch,
        pytest.raises(BrokenImageError, match="decompression bomb"),
    ):
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
        open_image(path)
    for content in (b"", b"<html>", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(BrokenImageError, match="cannot read the image ") as caught:
            open_image(path)
        assert str(path) in str(caught.value)


# --- what is not read, and says so ---


def test_what_looks_like_an_image_is_told_apart(tmp_path):
    jpeg, heif = tmp_path / "made.jpg", tmp_path / "made.heif"
    register_heif_opener()
    for file in (jpeg, heif):
        Image.new("RGB", (8, 8)).save(file)
    rename, convert = "its name does not end like that of an image; rename it", "; convert it"
    for name, content, said in (
        *(
            (f"x{ending}", b"", f"end in {ending.lower()} are not read{convert}")
            for ending in UNREAD
        ),
        *((name, jpeg.read_bytes(), f"JPEG, but {rename}") for name in ("photo", "x.jpg_large")),
        ("photo.dat", heif.read_bytes(), f"HEIF, but {rename}"),
        *(
            ("notes.txt", b"Hello", None),
            ("labels.csv", b"", None),
            ("Thumbs.db", b"\xd0\xcf", None),
        ),
    ):
        (tmp_path / name).write_bytes(content)
        reason = looks_like_an_image(tmp_path / name)
        assert (reason is None) if said is None else (reason is not None and said in reason), name
    (tmp_path / "x.jpg").write_bytes(b"nothing")
    with pytest.raises(BrokenImageError, match=f"none of the formats {', '.join(FORMATS)}"):
        open_image(tmp_path / "x.jpg")


UNREAD = (".jxl", ".CR2", ".dng", ".nii.gz", ".svg", ".MOV", ".psd", ".pdf")


def test_every_ending_is_one_that_pillow_knows_for_a_format_that_is_read():
    register_heif_opener()
    known = Image.registered_extensions() | {".hif": "HEIF", ".mpo": "JPEG"}
    assert {known[ending] for ending in IMAGE_SUFFIXES - {".pnm"}} <= set(FORMATS)
    assert is_image("A.HEIC") and not is_image(".heic") and not is_image("heic")
    assert not any(looks_like_an_image(f"x{ending}") for ending in IMAGE_SUFFIXES)
