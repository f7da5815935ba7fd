"""What the report says of classes and their sizes, and when it says that its advice is bad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from analysis.book.report import _doubt, _draw_images, advise, what_was_read
from analysis.chapters import describe_datasets
from analysis.data import ImageDataset
from analysis.figures.fusion import plot_runs
from analysis.networks import load_backbone
from analysis.transfer import recommend

SIZES = ([1, 1], [12] * 4, [1, 2], [12, 12, 12, 40])


@dataclass
class Pair:
    network: str = "minivgg16@bundled"
    dataset: str = "made up"


@dataclass
class Study:
    """As much of a study as these tables ask for."""

    images: ImageDataset
    crops: str = "center"
    seed: int = 0

    networks, datasets, pairs = ("minivgg16@bundled",), ("made up",), (Pair(),)

    def data(self, name: str) -> ImageDataset:
        return self.images

    def backbone(self, spec: str) -> Any:
        return load_backbone("minivgg16", weights="bundled")

    def features(self, pair: Pair) -> Any:
        X = np.random.default_rng(0).normal(size=(len(self.images), 4)).astype(np.float32)
        return xr.DataArray(X, dims=("image", "feature"))

    def kinds(self, pair: Pair) -> dict[str, str]:
        return {}


def study_of(sizes: list[int]) -> Study:
    labels = np.repeat([f"class {i}" for i in range(len(sizes))], sizes)
    images = [np.zeros((4, 4, 3), np.uint8) for _ in labels]
    return Study(ImageDataset.from_arrays(images, list(labels)))


@pytest.mark.parametrize("sizes", SIZES)
def test_tables(sizes):
    study, equal = study_of(sizes), len(set(sizes)) == 1
    facts = dict(what_was_read(study).to_numpy())
    assert facts.get("class sizes") == (f"{sizes[0]} images in every class" if equal else None)
    assert {"smallest class", "largest class", "images per class, mean"}.isdisjoint(facts) == equal
    spread = describe_datasets(study)["images per class"][0]
    expected = "in every class" if equal else f"({min(sizes)} to {max(sizes)})"
    assert spread == f"{np.mean(sizes):.0f} {expected}"


@pytest.mark.parametrize("sizes", [[2, 2], [2, 2, 2], [2, 3], [2, 5, 9]])
def test_too_few_for_advice(sizes, monkeypatch):
    monkeypatch.setattr(
        "analysis.book.report.RecommendedEmbedding",
        lambda **_: type("Nothing", (), {"fit": lambda self, X: self})(),
    )
    because = advise(study_of(sizes)).because
    assert "smallest class has fewer" in because if max(sizes) > 2 else "every class has" in because
    assert ("smallest" in because) == (max(sizes) > 2)


@pytest.mark.parametrize("sizes", [[9, 9], [9, 10]])
def test_recommendations(sizes):
    rng = np.random.default_rng(0)
    X = xr.DataArray(
        rng.normal(size=(sum(sizes), 4)).astype(np.float32),
        dims=("image", "feature"),
        coords={"layer": ("feature", ["a", "a", "b", "b"]), "unit": ("feature", [0, 1, 0, 1])},
    )
    statement = recommend(X, np.repeat([0, 1], sizes), seed=0).statement
    assert ("Every class leaves" in statement) == (sizes[0] == sizes[1])
    assert ("The smallest class leaves" in statement) == (sizes[0] != sizes[1])


@pytest.mark.parametrize(("last", "said"), [((1.0, 1.0), "100"), ((0.5, 1.0), "50 to 100")])
def test_the_end_of_trainings(last, said):
    table = pd.DataFrame({"run": ["a", "b"], "epoch": 1, "loss": 0.1, "accuracy": last})
    assert plot_runs(table).axes[1].get_title() == f"At the end {said} %"
    plt.close("all")


@pytest.mark.parametrize("most", [1_000, 130, 60])
def test_of_many_images_small_classes_are_taken_whole(most: int) -> None:
    sizes = np.array([5, 200, 40, 3])
    labels = np.random.default_rng(0).permutation(np.repeat([7, 1, 4, 9], sizes))
    at = _draw_images(labels, most, seed=0)
    assert (np.diff(at) > 0).all()
    taken = dict(zip(*np.unique(labels[at], return_counts=True), strict=True))
    expected = {
        1_000: {7: 5, 1: 200, 4: 40, 9: 3},
        130: {7: 5, 1: 82, 4: 40, 9: 3},
        60: {7: 5, 1: 26, 4: 26, 9: 3},
    }
    assert taken == expected[most]
    assert (_draw_images(labels, most, seed=0) == at).all()


def test_no_class_is_left_with_fewer_than_a_recommendation_needs() -> None:
    labels = np.repeat(np.arange(50), 8)
    assert (np.bincount(labels[_draw_images(labels, 10, seed=0)]) == 3).all()


@pytest.mark.parametrize(
    ("difference", "error", "said"),
    [(-0.3, 0.004, True), (-0.05, 0.03, False), (-0.015, 0.001, False), (0.2, 0.01, False)],
)
def test_a_clearly_worse_recommendation_is_said_to_be(
    difference: float, error: float, said: bool
) -> None:
    table = pd.DataFrame(
        {
            "over": ["fc6", "fc7", "best candidate"],
            "difference": [0.01, difference, -0.9],
            "standard_error": [0.01, error, 0.001],
        }
    )
    told = _doubt(table)
    assert bool(told) is said
    assert ("fc7 was more accurate by 30.0% ± 0.4%" in told) is said
