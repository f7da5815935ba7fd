"""Pictures in rows and grids."""

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("agg")

from matplotlib import pyplot as plt

from analysis.figures import features as figures
from analysis.figures import style


@pytest.fixture(autouse=True)
def closed_figures():
    with mpl.rc_context():
        style.use_style()
        yield
    plt.close("all")


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (40, 40, 3), dtype=np.uint8) for _ in range(4)]


def shown(fig):
    """Axes of a figure that hold a picture."""
    return [ax for ax in fig.axes if ax.images]


def test_every_picture_stands_under_its_name(pictures):
    fig = figures.plot_pictures(dict(zip("abcd", pictures, strict=True)), columns=3)
    assert [ax.get_title() for ax in shown(fig)] == list("abcd")
    assert np.array_equal(shown(fig)[2].images[0].get_array(), pictures[2])
    assert len(fig.axes) == 4  # the two places without a picture are gone


def test_samples_stand_in_a_row_beside_the_name_of_their_dataset(pictures):
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, 20:60] = 200
    fig = figures.plot_samples({"first": pictures, "second/part": [wide] * 3})
    assert [text.get_text() for ax in fig.axes for text in ax.texts] == ["first", "second/\npart"]
    held = [ax.images[0].get_array() for ax in shown(fig)]
    assert len(held) == 7
    assert len({picture.shape for picture in held}) == 1  # all are squares of one size
    assert np.median(held[4][:, :8]) > 190  # the middle of a wide picture, not all of it squeezed


def test_a_folder_is_labelled_by_the_end_of_its_path(pictures):
    fig = figures.plot_samples({"folder:/a/long/way/down/to/my $images$": pictures})
    (label,) = [text.get_text() for ax in fig.axes for text in ax.texts]
    assert label == "folder:/\nmy $images$"
    fig.canvas.draw()  # warns where the label leaves no room for pictures


def test_a_narrow_patch_stands_in_the_middle_of_a_white_square():
    square = figures.square(np.zeros((4, 2, 3), np.uint8))
    assert square.shape == (4, 4, 3)
    assert square[0, :, 0].tolist() == [255, 0, 0, 255]
