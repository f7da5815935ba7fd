"""Drawn symbols: every one is in its fonts, and shape alone tells it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageOps
from skimage.feature import hog
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import cross_val_score
from sklearn.tree import DecisionTreeClassifier

from analysis.data import glyphs
from analysis.data.glyphs import GLYPHS, SOURCE_GLYPHS, render_glyph

FONTS = Path(matplotlib.get_data_path()) / "fonts/ttf"
VARIANTS = [
    (name, character, family)
    for name, (characters, families) in glyphs._CHARACTERS.items()
    for character in characters
    for family in families
]


@cache
def drawn(style: str, n: int = 20) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(np.arange(len(GLYPHS)), n)
    images = [
        render_glyph(label, k % n, style=style, stream=9, seed=0)
        for k, label in enumerate(labels.tolist())
    ]
    return np.stack(images), labels


def test_half_of_the_classes_are_source_classes():
    assert len(set(GLYPHS)) == len(GLYPHS) == 20
    assert len(SOURCE_GLYPHS) == 10
    assert set(SOURCE_GLYPHS) < set(GLYPHS)


@pytest.mark.parametrize(("name", "character", "family"), VARIANTS)
def test_every_font_has_its_symbols(name, character, family):
    assert ord(character) in FT2Font(str(FONTS / f"{family}.ttf")).get_charmap()
    box = glyphs._master(character, family, 0).getbbox()
    assert box is not None
    assert abs(max(box[2] - box[0], box[3] - box[1]) - 144) <= 2  # whole, and all of one size


def test_symbols_of_two_classes_differ_however_turned_or_mirrored():
    upright = {
        (name, character, family): glyphs._master(character, family, 0).reduce(6)
        for name, character, family in VARIANTS
    }
    reference = np.stack([unit(mask) for mask in upright.values()])
    names = np.array([name for name, _, _ in upright])
    for (name, *_), mask in upright.items():
        for picture in (mask, ImageOps.mirror(mask)):
            for angle in range(-30, 31, 10):
                likeness = reference @ unit(picture.rotate(angle, Image.Resampling.BILINEAR))
                assert likeness[names != name].max() < 0.9


def unit(mask: Image.Image) -> np.ndarray:
    values = np.asarray(mask, float).ravel()
    values -= values.mean()
    return values / np.linalg.norm(values)


@pytest.mark.parametrize("style", ["clean", "cluttered"])
@pytest.mark.parametrize("change", [{"label": 1}, {"index": 1}, {"stream": 1}, {"seed": 1}])
def test_an_image_depends_on_each_number_and_nothing_else(style, change):
    numbers = {"label": 0, "index": 0, "stream": 0, "seed": 0}
    here = render_glyph(**numbers, style=style)
    assert here.shape == (96, 96, 3)
    assert here.dtype == np.uint8
    np.testing.assert_array_equal(here, render_glyph(**numbers, style=style))
    assert (here != render_glyph(**numbers | change, style=style)).mean() > 0.05


def test_what_cannot_be_drawn():
    with pytest.raises(ValueError, match=r"expected a label in 0\.\.19, got 20"):
        render_glyph(20, 0, style="clean", stream=0, seed=0)
    with pytest.raises(ValueError, match="'clean' or 'cluttered', got 'dirty'"):
        render_glyph(0, 0, style="dirty", stream=0, seed=0)


def test_clean_is_dark_on_near_white():
    images, _ = drawn("clean")
    assert (np.median(images, axis=(1, 2, 3)) > 215).all()
    assert (images.min((1, 2, 3)) < 190).all()


@pytest.mark.parametrize("style", ["clean", "cluttered"])
def test_no_single_statistic_tells_glyphs(style):
    images, labels = drawn(style)
    grey = images.mean(-1)
    rough = np.abs(np.diff(grey)).mean((1, 2))
    single = [rough, grey.mean((1, 2)), grey.std((1, 2)), *images.mean((1, 2)).T]
    single += [*grey[:, ::24, ::24].reshape(len(grey), -1).T]
    stump = DecisionTreeClassifier(max_leaf_nodes=20, random_state=0)
    best = max(cross_val_score(stump, s[:, None], labels, cv=3).mean() for s in single)
    assert best < 0.2  # chance is 0.05


@pytest.mark.parametrize(("style", "least"), [("clean", 0.95), ("cluttered", 0.09)])
def test_shapes_tell_glyphs(style, least):
    images, labels = drawn(style)
    edges = [
        hog(i, pixels_per_cell=(16, 16), cells_per_block=(2, 2), channel_axis=-1) for i in images
    ]
    accuracy = cross_val_score(RidgeClassifier(1.0), np.array(edges), labels, cv=3).mean()
    assert accuracy > least  # chance is 0.05; these descriptors know nothing of shifts and turns


def test_pixels_do_not_tell_cluttered_glyphs():
    images, labels = drawn("cluttered")
    pixels = images[:, ::4, ::4].reshape(len(images), -1) / 255
    assert cross_val_score(RidgeClassifier(100.0), pixels, labels, cv=3).mean() < 0.1
