"""One contract for all datasets, whatever their layout and wherever they come from."""

from __future__ import annotations

import logging
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from layout_writers import WRITERS, write_image
from PIL import Image
from small_drawings import SMALL

from analysis.data import CARDS, ImageDataset, fetch_dataset, load_dataset
from analysis.data.drawn import DRAWN
from analysis.data.layouts import LAYOUTS
from analysis.data.readers import BUNDLED


def check_contract(data: ImageDataset) -> None:
    n = len(data)
    assert n > 0
    assert data.labels.shape == (n,)
    assert data.labels.dtype == np.int64
    assert not data.labels.flags.writeable
    assert len(data.paths) == len(set(data.paths)) == n
    assert all(path and not path.startswith("/") and "\\" not in path for path in data.paths)
    assert len(set(data.classes)) == len(data.classes)
    assert 0 <= data.labels.min() <= data.labels.max() < len(data.classes)
    for index in {0, n // 2, n - 1, -1}:
        image = data[index]
        assert isinstance(image, Image.Image)
        assert image.mode == "RGB"
        assert min(image.size) > 0
        assert image.tobytes() == data[index].tobytes()
    copy = pickle.loads(pickle.dumps(data))
    assert copy.fingerprint == data.fingerprint
    assert copy[0].tobytes() == data[0].tobytes()
    with pytest.raises(IndexError, match=str(n)):
        data[n]


@pytest.mark.parametrize("name", CARDS)
def test_cards_are_complete(name):
    card = CARDS[name]
    assert card.name == name
    assert card.classes is None or card.classes > 1
    assert card.images is None or card.images >= (card.classes or 1)
    assert ":" in card.reference or card.layout == "bundled"
    assert card.citation.isidentifier()
    assert card.overlap_group in ("a", "b", "c", None)
    assert card.overlap_reason or card.overlap_group is None, "say why it is in this group"
    assert not card.overlap_reason or card.overlap_reason.endswith(".")
    for source in card.sources:
        assert source.url.startswith(("https://", "http://"))
        if source.checksum is not None:
            kind, _, digits = source.checksum.partition(":")
            assert (kind, len(digits)) in {("md5", 32), ("sha256", 64)}
            assert set(digits) <= set("0123456789abcdef")
    if card.layout == "bundled":
        assert name in BUNDLED
        assert not card.sources
    else:
        assert card.layout in LAYOUTS
        assert name in WRITERS, "write the official layout in miniature"
        assert bool(card.sources) != bool(card.obtain), "either fetched or explained"


def test_citations_are_in_the_bibliography():
    bibliography = Path(__file__).parents[2] / "book" / "references.bib"
    known = set(re.findall(r"^@\w+\{([^,]+),", bibliography.read_text("utf-8"), re.MULTILINE))
    assert {card.citation for card in CARDS.values()} <= known


def test_every_layout_belongs_to_a_card():
    assert set(LAYOUTS) == {card.layout for card in CARDS.values()} - {"bundled"}
    assert set(BUNDLED) == {name for name, card in CARDS.items() if card.layout == "bundled"}


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled(name):
    data = load_dataset(name)
    assert data.name == name
    assert len(data) == CARDS[name].images
    assert set(data.labels.tolist()) == set(range(len(data.classes)))
    assert len(data.classes) == CARDS[name].classes
    assert data.overlap_group == CARDS[name].overlap_group
    checked = SMALL[name]() if name in SMALL else data
    check_contract(checked)
    again = SMALL[name]() if name in SMALL else load_dataset(name)
    assert checked.fingerprint == again.fingerprint


def test_there_are_few_images_of_every_drawn_dataset():
    assert set(SMALL) == set(DRAWN)


@pytest.mark.parametrize("name", WRITERS)
def test_official_layout(name, data_root):
    expected = WRITERS[name](data_root / CARDS[name].folder)
    data = load_dataset(name)
    check_contract(data)
    listed = {
        path: data.classes[label]
        for path, label in zip(data.paths, data.labels.tolist(), strict=True)
    }
    assert listed == expected
    assert data.overlap_group == CARDS[name].overlap_group


def test_absent_datasets_say_where_they_go(data_root):
    for name in WRITERS:
        card = CARDS[name]
        with pytest.raises(FileNotFoundError) as caught:
            load_dataset(name)
        message = str(caught.value)
        assert str(data_root / card.folder) in message
        assert f"{card.images} images, {card.classes} classes" in message
        if card.sources:
            assert f"layerbook fetch {name}" in message and "fetch=True" in message
        else:
            assert card.obtain in message
            with pytest.raises(FileNotFoundError, match="cannot be downloaded directly"):
                fetch_dataset(name)


@pytest.mark.parametrize(
    ("name", "n_images", "n_classes"),
    [
        ("caltech101", 4772, 102),
        ("imagenet_sample", 1000, 1000),
        ("office_caltech10/amazon", 958, 10),
        ("office_caltech10/caltech10", 1123, 10),
        ("office_caltech10/dslr", 157, 10),
        ("office_caltech10/webcam", 295, 10),
    ],
)
def test_lent_data(name, n_images, n_classes, lent_data):
    data = load_dataset(name)
    assert (len(data), len(data.classes)) == (n_images, n_classes)
    assert set(data.labels.tolist()) == set(range(n_classes))
    assert data[n_images // 2].mode == "RGB"


def test_incomplete_datasets_are_used_with_a_warning(data_root, caplog):
    WRITERS["caltech101"](data_root / "caltech101")
    with caplog.at_level(logging.WARNING):
        assert len(load_dataset("caltech101")) == 3
    assert "3 images" in caplog.text and "9144" in caplog.text
    WRITERS["cub200"](data_root / "cub200")
    next((data_root / "cub200").rglob("B_1.jpg")).unlink()  # which the index names
    data = load_dataset("cub200")
    assert data.paths == ("images/002.Laysan_Albatross/L_1.jpg",)
    assert data.classes == ("001.Black_footed_Albatross", "002.Laysan_Albatross")
    assert data.labels.tolist() == [1]


def test_damaged_index_names_the_dataset(data_root):
    WRITERS["ham10000"](data_root / "ham10000")
    (data_root / "ham10000/HAM10000_metadata.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"'ham10000' in .* cannot be read: .*image_id"):
        load_dataset("ham10000")


def test_imagenet_by_wnid_folders_has_the_same_labels(data_root):
    write_image(data_root / "imagenet/val/ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(ValueError, match="ILSVRC2012_devkit_t12"):
        load_dataset("imagenet")
    write_image(data_root / "imagenet/val/n01440764/ILSVRC2012_val_00000001.JPEG")
    write_image(data_root / "imagenet/val/n02119789/ILSVRC2012_val_00000002.JPEG")
    (data_root / "imagenet/val/ILSVRC2012_val_00000001.JPEG").unlink()
    data = load_dataset("imagenet")
    assert data.classes == ("n01440764", "n02119789")
    assert data.labels.tolist() == [0, 1]


@pytest.mark.parametrize("inside", ["", "caltech-101"])
def test_caltech101_in_both_places(inside, data_root):
    write_image(data_root / "caltech101" / inside / "101_ObjectCategories/ant/image_0001.jpg")
    assert load_dataset("caltech101").paths == ("ant/image_0001.jpg",)


def test_read_only_root_comes_first(data_root, tmp_path, monkeypatch):
    write_image(data_root / "mit67/Images/bar/a.jpg")
    write_image(tmp_path / "lent/mit67/Images/bakery/b.jpg")
    monkeypatch.setenv("LAYERBOOK_DATA", str(tmp_path / "lent"))
    assert load_dataset("mit67").classes == ("bakery",)


def test_names_that_are_not_known():
    for name in ("digit", "", "Digits", "office31/paris", "../digits"):
        with pytest.raises(ValueError, match=r"unknown dataset .*digits, .*corel1000.*folder:"):
            load_dataset(name)
    for name in ("office31", "office_caltech10", "office_caltech10/"):
        with pytest.raises(ValueError, match=r"/amazon, .*/webcam"):
            load_dataset(name)
    with pytest.raises(ValueError, match="'raise' or 'skip', got 'ignore'"):
        load_dataset("digits", on_error="ignore")


def test_room_does_not_import_torch():
    code = "import sys, analysis.data; assert not {'torch', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
