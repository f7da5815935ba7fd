"""Browsing a study: menus that follow each other, and a picture for who has no kernel."""

from __future__ import annotations

from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from analysis.chapters import Explorer, Pair, Study

WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def explorer(tmp_path_factory: pytest.TempPathFactory) -> Explorer:
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for dataset, classes in (("greys", ("dark", "light")), ("more", ("dark", "light", "odd"))):
        for number, name in enumerate(classes):
            (root / dataset / name).mkdir(parents=True)
            for image in range(4):
                pixels = rng.integers(70 * number, 70 * number + 90, (72, 72, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / dataset / name / f"{image}.png")
    return Explorer(
        Study(
            title="Greys",
            datasets=[f"folder:{root / 'greys'}", f"folder:{root / 'more'}"],
            networks="minivgg16@bundled,minivgg16@random",
            crops="center",
            reference_images="digits",
            progress=False,
        )
    )


def menus(box):
    return [*box.children[0].children, *box.children[1].children]


def test_shows_the_widest_units_of_the_chosen_class(explorer: Explorer) -> None:
    first, _ = explorer.study.datasets
    explorer.choose(Pair(first, "minivgg16@bundled"), "conv3_1", 1)
    table = explorer.units()
    D = explorer.study.distances(explorer.pair)
    of_layer = D.sel({"class": 1})[D["layer"].to_numpy() == "conv3_1"].to_numpy()
    assert table["distance"].max() == of_layer.max()
    assert table["distance"].min() == of_layer.min()
    assert set(table["dataset"]) == {first}


def test_menus_follow_each_other_and_the_picture_follows_them(explorer: Explorer) -> None:
    first, second = explorer.study.datasets
    explorer.choose(Pair(second, "minivgg16@bundled"), "fc7", 2)
    box = explorer.widget()
    network, dataset, layer, label = menus(box)
    picture = box.children[-1]
    assert (dataset.value, layer.value, label.value) == (second, "fc7", 2)
    assert [name for name, _ in label.options] == ["dark", "light", "odd"]
    before = picture.value
    layer.value = "conv1_1"
    assert explorer.layer == "conv1_1"
    assert picture.value != before
    dataset.value = first  # has no third class
    assert explorer.pair == Pair(first, "minivgg16@bundled")
    assert (layer.value, label.value) == ("conv1_1", 0)
    assert [name for name, _ in label.options] == ["dark", "light"]
    network.value = "minivgg16@random"
    assert explorer.pair == Pair(first, "minivgg16@random")
    assert layer.value == "conv1_1"
    for menu in (network, dataset, layer):  # what the browser shows is the index
        assert menu.options[menu.index] == menu.value
    assert label.options[label.index] == ("dark", 0)


def test_gives_a_widget_and_the_same_picture_without_one(explorer: Explorer) -> None:
    data, _ = explorer._repr_mimebundle_()
    assert WIDGET in data
    with Image.open(BytesIO(b64decode(data["image/png"]))) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 200
