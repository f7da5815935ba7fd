"""Which datasets are domains of each other: names of classes, shared images, rules of drawing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis.chapters.domains import DomainPair, compare_domains, domain_pairs, named_labels
from analysis.data import ImageDataset
from analysis.data.drawn import DrawnImages, drawing
from analysis.data.images import ImageArrays


def grey(name, seed, classes=("bike", "mug"), per_class=4):
    """A dataset of 8 x 8 noise."""
    n = per_class * len(classes)
    arrays = np.random.default_rng(seed).integers(0, 255, (n, 8, 8, 3), dtype=np.uint8)
    return ImageDataset(
        name=name,
        classes=tuple(classes),
        labels=np.repeat(np.arange(len(classes)), per_class),
        paths=tuple(f"{name}/{k}" for k in range(n)),
        source=ImageArrays(arrays),
    )


def render(label, index, *, stream=0, seed=0, style="clean"):
    rng = np.random.default_rng((label, index, stream, seed, len(style)))
    return rng.integers(0, 255, (96, 96, 3), dtype=np.uint8)


def drawn(name, per_class=2, **options):
    parts = tuple(drawing(render, label, per_class, **options) for label in range(2))
    source = DrawnImages(name, parts, np.arange(2 * per_class))
    return replace(grey(name, 0, per_class=per_class), source=source)


def pairs(*datasets, **options):
    try:
        return domain_pairs({data.name: data for data in datasets}, **options)
    except ValueError as error:
        assert "no two such datasets" in str(error)
        return []


def test_both_directions_of_the_same_classes_in_the_study_s_order():
    datasets = [grey("shop", 0), grey("webcam", 1), grey("other", 2, ("bike", "cup"))]
    assert pairs(*datasets, grey("dslr", 3)) == [
        ("shop", "webcam"),
        ("shop", "dslr"),
        ("webcam", "shop"),
        ("webcam", "dslr"),
        ("dslr", "shop"),
        ("dslr", "webcam"),
    ]
    assert pairs(*datasets[::2]) == []
    assert pairs(datasets[0]) == []


@pytest.mark.parametrize("classes", [("bike",), ("bike", "mug", "pen"), ("Bike", "mug")])
def test_classes_have_exactly_the_same_names(classes):
    assert pairs(grey("shop", 0), grey("webcam", 1, classes)) == []


def test_one_class_is_no_task():
    assert pairs(grey("shop", 0, ("bike",)), grey("webcam", 1, ("bike",))) == []


def test_classes_in_another_order_are_the_same_by_name():
    shop, webcam = grey("shop", 0), grey("webcam", 1, ("mug", "bike"))
    assert len(pairs(shop, webcam)) == 2
    assert named_labels(shop).tolist() == 4 * ["bike"] + 4 * ["mug"]
    assert named_labels(webcam).tolist() == 4 * ["mug"] + 4 * ["bike"]


def test_datasets_that_share_an_image_are_no_domains():
    shop, webcam = grey("shop", 0), grey("webcam", 1)
    arrays = webcam.source.arrays.copy()
    arrays[5] = shop.source.arrays[2]
    table = compare_domains({"shop": shop, "webcam": replace(webcam, source=ImageArrays(arrays))})
    assert table["refused"].tolist() == 2 * ["1 images are in both"]
    assert pairs(shop, replace(webcam, source=ImageArrays(arrays))) == []


def test_draws_by_the_same_rule_are_no_domains():
    first = drawn("materials", stream=4, seed=0)
    again = drawn("materials_unbalanced", 5, stream=5, seed=3)
    assert pairs(first, again) == []
    table = compare_domains({"first": first, "again": again})
    assert table["refused"].tolist() == 2 * ["drawn by the same rule"]


def test_draws_in_another_style_and_images_that_are_not_drawn_are_domains():
    clean, cluttered = drawn("clean", stream=2), drawn("cluttered", stream=2, style="cluttered")
    assert len(pairs(clean, cluttered)) == 2
    assert len(pairs(clean, grey("photographs", 0))) == 2


def test_the_target_alone_needs_labelled_images_and_one_to_test():
    large, small = grey("large", 0, per_class=4), grey("small", 1, per_class=3)
    assert pairs(large, small, n_target=3) == [("small", "large")]
    table = compare_domains({"large": large, "small": small}, n_target=3)
    assert table["refused"].tolist() == ["a class of small has 3 images, and 4 are needed", ""]
    assert len(pairs(large, small, n_target=2)) == 2


def test_a_class_without_images_is_no_domain():
    empty = grey("empty", 1).subset(np.arange(4))
    assert pairs(grey("shop", 0), empty) == []


def test_the_table_counts_classes_and_images():
    table = compare_domains({"a": grey("a", 0), "b": grey("b", 1, per_class=3)})
    assert table[["classes", "source_images", "target_images"]].to_numpy().tolist() == [
        [2, 8, 6],
        [2, 6, 8],
    ]
    nothing = compare_domains({"a": grey("a", 0)})
    assert nothing.empty
    assert [*nothing] == [*table]


@pytest.mark.parametrize(
    ("pair", "short"),
    [
        (("office_caltech10/amazon", "office_caltech10/webcam"), "amazon → webcam"),
        (("digits", "digits_rendered"), "digits → digits_rendered"),
        (("digits", "folder:/a/b"), "digits → folder:/a/b"),
        (("folder:/a/b", "folder:/a/c"), "b → c"),
    ],
)
def test_short_names(pair, short):
    assert DomainPair(*pair).short == short


def test_the_bundled_datasets():
    from analysis.data.drawn import digits_rendered, glyphs_clean, glyphs_cluttered, materials
    from analysis.data.drawn import materials_unbalanced as unbalanced

    small = [glyphs_clean(1), glyphs_cluttered(1), digits_rendered(1), materials(1)]
    found = pairs(*small, unbalanced(1, 2))
    assert found == [("glyphs_clean", "glyphs_cluttered"), ("glyphs_cluttered", "glyphs_clean")]
