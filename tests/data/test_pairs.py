"""Pairs of datasets with the same classes."""

from __future__ import annotations

import logging
import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from layout_writers import WRITERS, write_image

from analysis.data import PAIRS, ImageDataset, Pair, load_dataset, load_pair
from analysis.data.images import merge_classes

FRUITS = "fruits360 → supermarket_produce"
NINE = ("red apple", "green apple", "kiwi", "lime", "nectarine", "orange", "peach", "pear", "plum")


def names(data: ImageDataset) -> dict[str, str]:
    return {path: data.classes[label] for path, label in zip(data.paths, data.labels, strict=True)}


def folders(root: Path, contents: dict[str, int]) -> None:
    for name, count in contents.items():
        for number in range(count):
            write_image(root / name / f"{number}.png", grey=len(name) + number)


def own(root: Path, **contents: dict[str, int]) -> str:
    for name, classes in contents.items():
        folders(root / name, classes)
    return " → ".join(f"folder:{root / name}" for name in contents)


@pytest.fixture
def fruits(data_root) -> Pair:
    card = PAIRS[FRUITS]
    source, target = (
        {part: n for both in card.classes.values() for part in both[2 - n]} for n in (2, 1)
    )
    folders(data_root / "fruits360/Training", source | {"Apple Golden 1": 3, "Pear Williams": 1})
    produce = data_root / "supermarket_produce/tropical-fruits-DB-1024x768"
    folders(produce, target | {"onion": 4})
    return load_pair(FRUITS)


def test_fruits_have_nine_classes_and_red_apples_are_one(fruits):
    source, target = fruits
    assert source.classes == target.classes == NINE
    counts = Counter(names(source).values())
    assert counts.pop("red apple") == 4 * 2 and set(counts.values()) == {2}
    assert names(source)["Apple Red Delicious/0.png"] == "red apple"
    assert names(target)["fuji_apple/0.png"] == "red apple"
    assert len(target) == 9
    assert fruits.left_out == ({"Apple Golden 1": 3, "Pear Williams": 1}, {"onion": 4})
    assert fruits.note.startswith(
        "Left out of fruits360: 2 of its 14 classes (images: 4). Left out of supermarket_produce: "
        "1 of its 10 classes (images: 4). The nine names are the paper's."
    )


def test_a_class_that_is_missing_is_named(data_root):
    WRITERS["fruits360"](data_root / "fruits360")
    WRITERS["supermarket_produce"](data_root / "supermarket_produce")
    told = "fruits360 has no classes Apple Granny Smith, .*; there are Apple Red 1, K"
    with pytest.raises(ValueError, match=told):
        load_pair(FRUITS)


def test_both_nevi_are_one_class(data_root):
    for name in ("ham10000", "ph2"):
        WRITERS[name](data_root / name)
    metadata = data_root / "ham10000/HAM10000_metadata.csv"
    metadata.write_text(metadata.read_text() + "HAM_2,ISIC_9,mel,histo\n")
    write_image(data_root / "ham10000/HAM10000_images_part_2/ISIC_9.jpg")
    base = data_root / "ph2/PH2Dataset"
    write_image(base / "PH2 Dataset images/IMD9/IMD9_Dermoscopic_Image/IMD9.bmp")
    with (base / "PH2_dataset.txt").open("a") as table:
        table.write("|| IMD9 ||      || 1 || 1 ||\n")
    pair = load_pair("ham10000 -> ph2")
    assert pair.source.classes == pair.target.classes == ("nevus", "melanoma")
    assert list(names(pair.source).values()) == ["nevus", "melanoma"]
    assert Counter(names(pair.target).values()) == {"nevus": 2, "melanoma": 1}
    assert pair.left_out == ({"bkl": 1}, {})
    assert "Left out of ham10000: 1 of its 3 classes (images: 1)." in pair.note


def test_corel_is_split_by_class_at_random(data_root):
    for number in range(1000):
        write_image(data_root / f"corel1000/image.orig/{number}.jpg", grey=number % 250)
    corel = load_dataset("corel1000")
    source, target = load_pair("corel1000 → corel1000", seed=1)
    assert (source.name, target.name) == ("corel1000 (source)", "corel1000 (target)")
    assert source.classes == target.classes == corel.classes
    assert np.bincount(source.labels).tolist() == [80] * 10
    assert np.bincount(target.labels).tolist() == [20] * 10
    assert set(source.paths) | set(target.paths) == set(corel.paths)
    again, other = (load_pair("corel1000 → corel1000", seed=seed).source for seed in (1, 2))
    assert again.paths == source.paths != other.paths
    assert (
        "800 images to learn from, 200 to be tested on" in load_pair("corel1000 → corel1000").note
    )


def test_amazon_and_webcam_have_classes_of_the_same_names(data_root):
    for domain in ("amazon", "webcam"):
        WRITERS[f"office31/{domain}"](data_root / "office31")
    pair = load_pair("office31/amazon → office31/webcam")
    assert pair.source.classes == pair.target.classes == ("back_pack", "trash_can")
    assert (pair.left_out, pair.note) == (({}, {}), "")
    assert pair.source.fingerprint == load_dataset("office31/amazon").fingerprint


def test_classes_are_common_by_name_and_the_rest_is_told(tmp_path, caplog):
    name = own(
        tmp_path,
        a={"Coffee mug": 2, "bike": 1, "anvil": 3},
        b={"BIKE": 2, "zebra": 1, "coffee_mug": 1},
    )
    with caplog.at_level(logging.WARNING):
        pair = load_pair(name)
    assert pair.source.classes == pair.target.classes == ("Coffee mug", "bike")
    assert names(pair.target) == {
        "BIKE/0.png": "bike",
        "BIKE/1.png": "bike",
        "coffee_mug/0.png": "Coffee mug",
    }
    assert pair.left_out == ({"anvil": 3}, {"zebra": 1})
    assert "1 of its 3 classes (images: 3)" in pair.note and pair.note in caplog.text


def test_a_pair_is_lazy_and_can_be_pickled(fruits, data_root):
    before = fruits.source.fingerprint, fruits.target.fingerprint
    copy = pickle.loads(pickle.dumps(fruits))
    assert (copy.source.fingerprint, copy.target.fingerprint) == before
    assert copy.source[3].tobytes() == fruits.source[3].tobytes()
    assert load_dataset("fruits360").fingerprint != before[0]
    write_image(data_root / "fruits360/Training/Plum/0.png", grey=222)
    assert load_pair(FRUITS).source.fingerprint != before[0]


def test_digits_are_a_pair_that_comes_along():
    pair = load_pair("digits_rendered → digits")
    assert pair.source.classes == pair.target.classes == load_dataset("digits").classes
    assert (len(pair.source), len(pair.target)) == (1000, 1797)


def test_what_makes_no_pair_is_refused(tmp_path):
    for number, (a, b, said) in enumerate((
        ({"x": 1, "y": 1}, {"z": 1, "v": 1}, r"found \[\]: .* has x, y; .* has v, z"),
        ({"x": 1, "y": 1}, {"x": 1, "v": 1}, r"found \['x'\]"),
        ({"x": 1, "y_y": 1, "YY": 1}, {"x": 1, "yy": 1}, "'YY' and 'y_y' .* rename one"),
    )):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            load_pair(own(tmp_path / f"{number}", a=a, b=b))
    for name in ("digits", "digits → ", "a → b → c", "digits->digits"):
        with pytest.raises(ValueError, match="expected a pair such as"):
            load_pair(name)
    folders(tmp_path / "a", {"x": 2, "y": 1})
    name = f"folder:{tmp_path / 'a'}"
    with pytest.raises(ValueError, match=r"at least two images of each class .* 1 of y"):
        load_pair(f"{name} → {name}")


@pytest.mark.parametrize(("group", "expected"), [("a", "a"), ("b", None), ("c", "c"), (None, None)])
def test_an_overlap_of_some_classes_is_not_known_of_a_part(group, expected):
    digits = replace(load_dataset("digits").subset(range(30)), overlap_group=group)
    assert merge_classes(digits, {"odd": ("1", "3")}).overlap_group == expected
    assert merge_classes(digits, {name: (name,) for name in digits.classes}).overlap_group == group


@pytest.mark.parametrize("name", PAIRS)
def test_cards_name_every_class_once_on_both_sides(name):
    card = PAIRS[name]
    for side in (0, 1):
        parts = [part for both in card.classes.values() for part in both[side]]
        assert len(parts) == len(set(parts)) and all(both[side] for both in card.classes.values())
