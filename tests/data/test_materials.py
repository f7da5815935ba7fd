"""Drawn materials and woods: reproducible, apart by stream, and told by structure alone."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from skimage.feature import hog, local_binary_pattern
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from analysis.data.materials import (
    MATERIALS,
    WOOD_GRAINS,
    any_palette,
    cells,
    paint,
    render_material,
    render_wood_grain,
    standardise,
    value_noise,
    view,
)

TASKS = {"materials": (MATERIALS, render_material), "wood": (WOOD_GRAINS, render_wood_grain)}
each_task = pytest.mark.parametrize("task", TASKS)


@cache
def drawn(task: str, n: int = 20) -> tuple[np.ndarray, np.ndarray]:
    classes, render = TASKS[task]
    labels = np.repeat(np.arange(len(classes)), n)
    images = [render(label, k % n, stream=1, seed=0) for k, label in enumerate(labels)]
    return np.stack(images), labels


def moments(images: np.ndarray) -> np.ndarray:
    return np.concatenate([images.mean((1, 2)), images.std((1, 2))], axis=1)


def structure(image: np.ndarray) -> np.ndarray:
    """Histograms of edges, local patterns and wavelengths, without regard to place or turn."""
    grey = image.mean(-1)
    codes = [
        np.bincount(local_binary_pattern(grey.round().astype(int), 8, r, "uniform").astype(int)
                    .ravel(), minlength=10)
        for r in (1, 2, 4)
    ]  # fmt: skip
    edges = hog(grey, pixels_per_cell=(16, 16), cells_per_block=(1, 1)).reshape(-1, 9)
    power = np.abs(np.fft.fft2(standardise(grey))) ** 2
    radius = np.hypot(*np.meshgrid(*[np.fft.fftfreq(96) * 96] * 2)).astype(int)
    rings = np.bincount(radius.ravel(), power.ravel())[1:40]
    order = np.sort(edges, axis=1)
    return np.concatenate(
        [np.sqrt(np.concatenate(codes)), order.mean(0), order.std(0), np.log(rings)]
    )


def accuracy(classifier: object, features: np.ndarray, labels: np.ndarray) -> float:
    return cross_val_score(
        make_pipeline(StandardScaler(), classifier), features, labels, cv=4
    ).mean()


@each_task
def test_an_image_depends_on_its_four_numbers_only(task):
    classes, render = TASKS[task]
    last = len(classes) - 1
    assert len(set(classes)) == len(classes) == {"materials": 16, "wood": 8}[task]
    numbers = {"label": last, "index": 0, "stream": 0, "seed": 0}
    here = render(**numbers)
    assert (here.shape, here.dtype) == ((96, 96, 3), np.uint8) and here.std() > 5
    np.random.seed(1)  # noqa: NPY002 - the global generator must not matter
    for name in numbers:
        assert (render(**numbers | {name: 1}) != here).mean() > 0.5
    np.testing.assert_array_equal(here, render(**numbers))
    for label in (-1, 99):
        with pytest.raises(IndexError, match=rf"expected a label in 0\.\.{last}, .* got {label}"):
            render(label, 0, stream=0, seed=0)


@each_task
def test_colour_and_contrast_do_not_tell_the_classes(task):
    images, labels = drawn(task)
    chance = 1 / len(TASKS[task][0])
    assert accuracy(LinearDiscriminantAnalysis(), moments(images), labels) < 3 * chance


@each_task
def test_structure_tells_the_classes(task):
    images, labels = drawn(task)
    features = np.array([structure(image) for image in images])
    assert accuracy(RidgeClassifier(10.0), features, labels) > 0.75  # chance is 0.06 and 0.125


def test_materials_come_light_on_dark_and_dark_on_light():
    images, labels = drawn("materials")
    bricks = images[labels == MATERIALS.index("brick")].mean(-1)
    # Bricks cover more than mortar, so that the median is theirs.
    light = [np.median(wall) > wall.mean() for wall in bricks]
    assert 0.2 < np.mean(light) < 0.8


def test_woods_are_brown():
    images, _ = drawn("wood")
    red, green, blue = images.mean((1, 2)).T
    assert (red > green).all()
    assert (green > blue).all()


def test_value_noise_is_smooth_and_meets_its_lattice():
    across = np.linspace(0, 4, 401, dtype=np.float32)[None]
    noise = value_noise(across, np.zeros_like(across), np.random.default_rng(0))
    assert np.abs(np.diff(noise)).max() < 0.05
    assert np.abs(noise).max() <= 1
    at_lattice = noise[0, ::100]
    between = noise[0, 50::100]
    np.testing.assert_allclose(between, (at_lattice[:-1] + at_lattice[1:]) / 2, atol=1e-5)


def test_cells_without_jitter_are_squares():
    side = np.linspace(0.05, 2.95, 30, dtype=np.float32)
    u, v = np.meshgrid(side, side)
    plain = cells(u, v, np.random.default_rng(0), jitter=0.0)
    expected = np.hypot(u - np.floor(u) - 0.5, v - np.floor(v) - 0.5)
    np.testing.assert_allclose(plain.nearest, expected, atol=1e-5)
    assert (plain.second >= plain.nearest).all()
    assert len(np.unique(plain.identity)) == 9


def test_nearest_points_of_cells_are_those_of_a_search_over_all():
    u, v = view(np.random.default_rng(3))
    found = cells(u / 20, v / 20, np.random.default_rng(4), jitter=0.8)
    x, y = (0.4 * (2 * table.random(1024, np.float32) - 1) + 0.5
            for table in [np.random.default_rng(4)] for _ in "xy")  # fmt: skip
    row, column = np.divmod(np.arange(1024), 32)
    row, column = (row + 16) % 32 - 16, (column + 16) % 32 - 16
    apart = np.hypot(u[::7, ::7, None] / 20 - column - x, v[::7, ::7, None] / 20 - row - y)
    np.testing.assert_allclose(found.nearest[::7, ::7], apart.min(-1), atol=1e-4)


def test_paint_sets_mean_and_contrast_without_regard_to_the_field():
    rng = np.random.default_rng(0)
    flat = rng.random((96, 96), np.float32)
    pictures = [
        paint(field, None, any_palette(np.random.default_rng(1)), np.random.default_rng(2))
        for field in (flat, 50 * flat - 7)
    ]
    np.testing.assert_allclose(*np.array(pictures, float), atol=1)
