"""Figures of the networks that come along: they show what the tables hold, readably."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("agg")

from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

from analysis.figures import networks, style


@pytest.fixture(autouse=True)
def closed_figures():
    with mpl.rc_context():
        style.use_style()
        yield
    plt.close("all")


def history(n_epochs=3):
    epochs = np.arange(1, n_epochs + 1)
    one = pd.DataFrame(
        {
            "epoch": epochs,
            "train_loss": 5.0 - epochs,
            "val_loss": 4.5 - epochs,
            "train_accuracy": epochs / 10,
            "val_top1": epochs / 8,
        }
    )
    return pd.concat([one.assign(weights="whole"), one.assign(weights="part", val_loss=1.0)])


def class_table(n=40):
    rows = [
        (weights, f"class {k}", "drawn" if k >= n - 3 else "photographs", (7 * k % n) / n)
        for weights in ("whole", "part")
        for k in range(n)
    ]
    return pd.DataFrame(rows, columns=["weights", "title", "origin", "accuracy"])


def accuracy_table(n_sets=5):
    rows = [
        (dataset, f"set {k}", 0.3 + 0.1 * k, 0.02, 0.1 + shift)
        for dataset, shift in (("first", 0.0), ("second", 0.2))
        for k in range(n_sets)
    ]
    return pd.DataFrame(rows, columns=["dataset", "features", "mean", "std", "chance"])


def test_every_set_of_weights_has_its_losses_and_accuracies():
    fig = networks.plot_training(history())
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["whole", "", "part", ""]
    training, validation = fig.axes[2].lines
    assert training.get_linestyle() == "--"
    assert training.get_ydata().tolist() == [4, 3, 2]
    assert validation.get_ydata().tolist() == [1, 1, 1]
    assert fig.axes[3].lines[1].get_ydata().tolist() == [1 / 8, 2 / 8, 3 / 8]
    assert fig.axes[3].get_ylim()[0] == 0


def test_a_single_epoch_is_a_point():
    fig = networks.plot_training(history(1))
    assert all(line.get_marker() == "o" for ax in fig.axes for line in ax.lines)


def test_classes_are_sorted_and_those_at_the_ends_named():
    fig = networks.plot_class_accuracy(class_table(), n_named=3)
    every, ends = fig.axes[:2]
    heights = [bar.get_height() for bar in every.patches]
    assert heights == sorted(heights, reverse=True)
    assert len(heights) == 40
    photographs = class_table(40).iloc[:37].sort_values("accuracy", ascending=False)
    chosen = pd.concat([photographs.head(3), photographs.tail(3)])
    assert [label.get_text() for label in ends.get_yticklabels()] == chosen["title"].tolist()
    assert [bar.get_width() for bar in ends.patches] == chosen["accuracy"].tolist()
    assert [text.get_text() for text in ends.texts] == [f"{a:.0%}" for a in chosen["accuracy"]]
    drawn = [bar for bar in every.patches if to_hex(bar.get_facecolor()) == "#d55e00"]
    assert len(drawn) == 3


def test_few_classes_are_named_once_and_long_names_are_cut():
    table = class_table(7).query("weights == 'whole'").assign(title="a" * 60)
    fig = networks.plot_class_accuracy(table, n_named=6)
    names = [label.get_text() for label in fig.axes[1].get_yticklabels()]
    assert len(names) == 4  # four classes of photographs
    assert all(len(name) <= networks.LONGEST_NAME and name.endswith("…") for name in names)


def test_filters_are_pictures_with_zero_at_grey():
    weights = np.zeros((5, 3, 3, 3))
    weights[0, 0, 1, 1] = 2.0
    weights[1, 2, 0, 2] = -0.1
    fig = networks.plot_filters({"one": weights, "two": weights[:2]})
    pictures = [ax.images[0].get_array() for ax in fig.axes if ax.images]
    assert len(pictures) == 5 + 2
    assert pictures[0][1, 1].tolist() == [1.0, 0.5, 0.5]
    assert pictures[1][0, 2].tolist() == [0.5, 0.5, 0.0]
    assert (pictures[2] == 0.5).all()
    with pytest.raises(ValueError, match=r"\(4, 16, 3, 3\)"):
        networks.plot_filters({"deeper": np.zeros((4, 16, 3, 3))})


def test_accuracies_stand_in_the_order_of_the_table_from_above():
    table = accuracy_table()
    fig = networks.plot_accuracies(table)
    (ax,) = fig.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["first", "second"]
    assert ax.yaxis_inverted()
    places = {}
    for container in ax.containers:
        x, y = container.lines[0].get_data()
        assert x.tolist() == pytest.approx(
            table.loc[table["features"] == container.get_label(), "mean"].tolist()
        )
        assert [round(place) for place in y] == [0, 1]
        places[container.get_label()] = y[0]
    assert list(places) == [f"set {k}" for k in range(5)]
    assert list(places.values()) == sorted(places.values())
    chance = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in chance] == pytest.approx([0.1, 0.3])
    labels = [text.get_text() for text in fig.legends[0].get_texts()]
    assert labels == [*(f"set {k}" for k in range(5)), "chance"]


@pytest.mark.parametrize(
    ("plot", "table"),
    [
        (networks.plot_training, history()),
        (networks.plot_class_accuracy, class_table()),
        (networks.plot_accuracies, accuracy_table()),
    ],
)
def test_the_legend_covers_no_data(plot, table):
    fig = plot(table)
    fig.canvas.draw()
    (legend,) = fig.legends
    for ax in fig.axes:
        assert not legend.get_window_extent().overlaps(ax.get_window_extent())
