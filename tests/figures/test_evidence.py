"""Pictures beside classes: what stands where, in which words, and that nothing is cut or parsed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("agg")

from matplotlib import pyplot as plt
from PIL import Image

from analysis.figures import evidence, style
from analysis.figures.evidence import MarkedClass


@pytest.fixture(autouse=True)
def closed_figures():
    with mpl.rc_context():
        style.use_style()
        yield
    plt.close("all")


@dataclass
class Found:
    """What the figures read of a ``StrongCrop``."""

    patch: np.ndarray
    activation: float = 1.0


def grey(value: int, shape: tuple[int, int] = (8, 8)) -> np.ndarray:
    return np.full((*shape, 3), value, np.uint8)


def marked(distance: float = 0.5, number: int = 0, **others) -> MarkedClass:
    given = {
        "layer": "conv1",
        "unit": 7,
        "class_name": f"class {number}",
        "distance": distance,
        "crops": [Found(grey(10 * number + place)) for place in range(9)],
        "samples": [Image.fromarray(grey(200 + place)) for place in range(4)],
        "dataset": "birds",
    }
    return MarkedClass(**(given | others))


def texts(fig) -> list[str]:
    return [text.get_text() for text in fig.texts]


def pictures(fig) -> list[tuple[float, float, int]]:
    """Place and shade of every picture, row by row from the top."""
    found = []
    for ax in fig.axes:
        box = ax.get_position()
        shade = int(ax.images[0].get_array()[4 % ax.images[0].get_array().shape[0], 0, 0])
        found.append((round(-box.y1, 4), round(box.x0, 4), shade))
    return sorted(found)


def test_crops_and_samples_stand_in_the_row_of_their_class() -> None:
    rows = [marked(number=number) for number in range(3)]
    fig = evidence.plot_marked_classes(rows)
    shades = [shade for *_, shade in pictures(fig)]
    rest = [200, 201, 202, 203]
    assert shades == [*range(9), *rest, *range(10, 19), *rest, *range(20, 29), *rest]
    lefts = [left for _, left, _ in pictures(fig)]
    assert lefts[:13] == lefts[13:26] == lefts[26:]
    steps = np.diff(lefts[:13])
    assert steps[8] > steps[0]  # the gap between crops and samples
    assert [line for line in texts(fig) if line.startswith("class ")] == [
        f"class {number}\nconv1, unit 7\n+0.50" for number in range(3)
    ]


def test_each_dataset_has_one_heading_over_its_rows() -> None:
    rows = [marked(dataset=name, number=i) for i, name in enumerate(["a", "a", "b", "b", "c"])]
    fig = evidence.plot_marked_classes(rows)
    headings = {t.get_text(): t.get_position()[1] for t in fig.texts if t.get_text() in "abc"}
    assert list(headings) == ["a", "b", "c"]
    tops = sorted({-y for y, _, _ in pictures(fig)}, reverse=True)
    assert tops[1] > headings["b"] > tops[2]
    assert tops[3] > headings["c"] > tops[4]


@pytest.mark.parametrize(
    ("distances", "said"), [((0.5, 0.9), "higher"), ((-0.5, -0.9), "lower"), ((0.5, -0.9), "")]
)
def test_the_heading_says_where_units_are_in_the_classes(distances, said: str) -> None:
    drawn = texts(evidence.plot_marked_classes([marked(distance) for distance in distances]))
    (heading,) = [text for text in drawn if text.startswith("images of the class")]
    assert [word for word in ("higher", "lower") if word in heading] == ([said] if said else [])
    assert "the unit's strongest crops" in drawn


NAMES = [
    "$x_{very}$ odd $",
    "\\alpha % & #_a_^b^",
    "Großer Ölkäfer, Ørsted's",
    "W" * 70,
    "a class whose name takes a whole sentence of many words to be told apart from all others",
    "$",
]


@pytest.mark.parametrize(
    ("plot", "extra"),
    [
        (evidence.plot_marked_classes, "conv1,unit7-0.50"),
        (evidence.plot_shared_absence, "-0.50"),
    ],
)
def test_any_name_is_drawn_as_it_is_and_beside_the_pictures(plot, extra: str) -> None:
    rows = [marked(-0.5, class_name=name, dataset="folder:$d_$") for name in NAMES]
    fig = plot(rows)
    fig.canvas.draw()
    left = min(ax.get_window_extent().x0 for ax in fig.axes)
    flat = ["".join(text.split()) for text in texts(fig)]
    assert any("folder:$d_$" in text for text in flat)
    labels = []
    for name in NAMES:
        label = "".join(name.split()) + extra
        (place,) = [number for number, text in enumerate(flat) if text == label]
        labels.append(fig.texts[place])
    assert not any(label.get_parse_math() for label in labels)
    boxes = [label.get_window_extent() for label in labels]
    assert all(box.x0 >= 0 and box.x1 < left for box in boxes)
    assert all(above.y0 >= below.y1 for above, below in pairwise(boxes))


@pytest.mark.parametrize("n_samples", [1, 4, 9])
def test_nothing_leaves_the_page(n_samples: int) -> None:
    samples = [grey(200)] * n_samples
    rows = [marked(-0.5, number, samples=samples, dataset=f"d{number}") for number in range(3)]
    for fig in (evidence.plot_marked_classes(rows), evidence.plot_shared_absence(rows[:1])):
        fig.canvas.draw()
        page = fig.bbox
        for artist in (*fig.texts, *fig.axes):
            box = artist.get_window_extent()
            assert page.x0 - 1 <= box.x0 < box.x1 <= page.x1 + 1
            assert page.y0 - 1 <= box.y0 < box.y1 <= page.y1 + 1
        assert fig.get_size_inches()[0] == pytest.approx(style.WIDTH)


def test_crops_that_a_unit_does_not_answer_to_are_said_to_be_none() -> None:
    silent = [Found(grey(0)), Found(grey(50), 0.0), Found(grey(50), 0.0)]
    fig = evidence.plot_marked_classes([marked(crops=silent, samples=[])])
    assert [shade for *_, shade in pictures(fig)] == [0, 255, 255]
    assert texts(fig).count("none") == 2


def test_narrow_patches_and_wide_samples_become_squares() -> None:
    wide = grey(90, (10, 30))
    wide[:, 10:20] = 30
    fig = evidence.plot_marked_classes([marked(crops=[Found(grey(9, (8, 4)))], samples=[wide])])
    patch, sample = (ax.images[0].get_array() for ax in fig.axes)
    assert patch.shape == (8, 8, 3)
    assert sample.shape[0] == sample.shape[1]
    assert np.median(np.asarray(sample)) == 30  # the middle, not all of it squeezed


def test_shared_absence_shows_the_unit_once_and_each_class_below() -> None:
    rows = [marked(-0.9 + number / 10, number, samples=[grey(100 + number)] * 9)
            for number in range(4)]  # fmt: skip
    fig = evidence.plot_shared_absence(rows)
    shades = [shade for *_, shade in pictures(fig)]
    assert shades == [*range(9), *[100] * 9, *[101] * 9, *[102] * 9, *[103] * 9]
    drawn = texts(fig)
    assert "conv1, unit 7" in drawn
    assert "birds" in drawn
    assert [text for text in drawn if text.startswith("class ") and "\n" in text] == [
        "class 0\n-0.90", "class 1\n-0.80", "class 2\n-0.70", "class 3\n-0.60"
    ]  # fmt: skip


@pytest.mark.parametrize("other", [{"unit": 8}, {"layer": "fc6"}, {"dataset": "flowers"}])
def test_shared_absence_refuses_several_units(other) -> None:
    with pytest.raises(ValueError, match="share one unit"):
        evidence.plot_shared_absence([marked(-0.5), marked(-0.5, **other)])


@pytest.mark.parametrize("plot", [evidence.plot_marked_classes, evidence.plot_shared_absence])
def test_nothing_to_show_is_said_in_words(plot) -> None:
    (ax,) = plot([]).axes
    assert not ax.axison
    assert ax.texts[0].get_text().startswith("No ")
