"""What the offline datasets look like."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.feature import hog
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import cross_val_score
from sklearn.tree import DecisionTreeClassifier

from analysis.data import load_dataset
from analysis.data.drawn import digits_rendered


def as_array(name: str) -> tuple[np.ndarray, np.ndarray]:
    data = load_dataset(name)
    return np.stack([np.asarray(image) for image in data]), data.labels


def test_digits_are_those_of_scikit_learn():
    images, labels = as_array("digits")
    table = load_digits()
    np.testing.assert_array_equal(labels, table.target)
    assert images.max() == 255
    np.testing.assert_allclose(images[..., 0], table.images * 255 / 16, atol=0.5)
    assert (images[..., 0] == images[..., 2]).all()


def test_rendered_digits_depend_on_seed_digit_and_number_only():
    few, more = digits_rendered(2, seed=3), digits_rendered(3, seed=3)
    assert few.subset([1, 3]).fingerprint == more.subset([1, 4]).fingerprint
    assert few[0].tobytes() != digits_rendered(2, seed=4)[0].tobytes()
    assert few[0].tobytes() != few[1].tobytes()


def test_no_single_statistic_tells_rendered_digits():
    images, labels = as_array("digits_rendered")
    grey = images.mean(-1)
    moments = [grey.mean((1, 2)), grey.std((1, 2)), *images.mean((1, 2)).T]
    single = [*moments, *grey[:, ::16, ::16].reshape(len(grey), -1).T]
    stump = DecisionTreeClassifier(max_leaf_nodes=10, random_state=0)
    best = max(cross_val_score(stump, s[:, None], labels, cv=3).mean() for s in single)
    assert best < 0.2  # chance is 0.1


def test_shapes_tell_rendered_digits():
    images, labels = as_array("digits_rendered")
    edges = [
        hog(i, pixels_per_cell=(16, 16), cells_per_block=(2, 2), channel_axis=-1) for i in images
    ]
    accuracy = cross_val_score(RidgeClassifier(1.0), np.array(edges), labels, cv=3).mean()
    assert accuracy > 0.35  # chance is 0.1; these descriptors know nothing of shifts


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "china", "coffee", "flower", "rocket"])
def test_photographs(name):
    data = load_dataset("photographs")
    image = np.asarray(data[data.classes.index(name)], float)
    assert image.std() > 20
    assert (image[..., 0] != image[..., 2]).mean() > 0.5
    assert data.labels.tolist() == list(range(len(data)))
