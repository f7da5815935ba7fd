"""Figures of the recommendation: every set of features is there, nothing is covered or cut."""

import matplotlib as mpl
import pandas as pd
import pytest

mpl.use("agg")

from matplotlib import pyplot as plt

from analysis.figures import recommendation as figures
from analysis.figures import style


@pytest.fixture(autouse=True)
def closed_figures():
    with mpl.rc_context():
        style.use_style()
        yield
    plt.close("all")


def summary(n_datasets=7, n_layers=15):
    rows = []
    for number in range(n_datasets):
        sets = [(f"conv{k}", "single layer", 16 * 2 ** (k // 3)) for k in range(n_layers)]
        sets += [
            ("all layers", "all layers", 2080),
            ("all layers, discretised", "all layers", 2080),
        ]
        sets += [("kept by distance", "chosen", 900), ("kept by false discovery", "chosen", 800)]
        sets += [("chosen layers, discretised", "chosen", 700)]
        sets += [("best candidate", "diagnostic", 800), ("recommended", "chosen", 640)]
        rows += [
            {
                "dataset": f"dataset {number}",
                "features": name,
                "kind": kind,
                "mean": 0.47 + 0.001 * k,
                "standard_error": 0.01,
                "n_features": size,
                "chance": 0.46 if number else 0.01,
            }
            for k, (name, kind, size) in enumerate(sets)
        ]
    return pd.DataFrame(rows)


def kept_table(n_datasets=7):
    rows = [
        (f"dataset {number}", f"conv{layer}", (number + layer) % 6 / 5)
        for number in range(n_datasets)
        for layer in range(15)
    ]
    return pd.DataFrame(rows, columns=["dataset", "layer", "share"])


def points(ax, label):
    (drawn,) = [each for each in ax.containers if each.get_label() == label]
    return drawn.lines[0].get_xydata().tolist()


def test_every_dataset_has_a_panel_with_all_but_the_diagnostic_set():
    table = summary()
    fig = figures.plot_accuracy_against_size(table)
    assert [ax.get_title(loc="left") for ax in fig.axes] == [f"dataset {k}" for k in range(7)]
    ax = fig.axes[3]
    drawn = [at for each in ax.containers for at in points(ax, each.get_label())]
    part = table[(table["dataset"] == "dataset 3") & (table["kind"] != "diagnostic")]
    expected = part[["n_features", "mean"]].to_numpy(float).tolist()
    assert sorted(map(tuple, drawn)) == sorted(map(tuple, expected))
    (recommended,) = points(ax, "recommended")
    assert recommended == pytest.approx([640, part["mean"].max()])


def test_layers_far_below_the_others_are_carets_on_the_edge():
    table = summary(1)
    table.loc[table["features"].isin(["conv0", "conv4"]), "mean"] = 0.05
    ax = figures.plot_accuracy_against_size(table).axes[0]
    (carets,) = [line for line in ax.lines if line.get_label() == "single layer, further below"]
    assert carets.get_xdata().tolist() == [16, 32]
    assert len(points(ax, "single layer")) == 13
    assert ax.get_ylim()[0] > 0.05


def test_hardly_any_discovery_does_not_squeeze_the_rest():
    table = summary(1)
    table.loc[table["features"] == "kept by false discovery", "mean"] = 0.05
    ax = figures.plot_accuracy_against_size(table).axes[0]
    label = "kept by false discovery, further below"
    (caret,) = [line for line in ax.lines if line.get_label() == label]
    assert caret.get_xdata().tolist() == [800]
    assert ax.get_ylim()[0] > 0.4


def test_the_best_single_layer_is_named_and_chance_where_it_is_near():
    fig = figures.plot_accuracy_against_size(summary(2))
    far, near = ([text.get_text() for text in ax.texts] for ax in fig.axes)
    assert far == ["conv14"]
    assert near == ["conv14", "chance"]


def test_kept_layers_are_shares_by_dataset_and_layer():
    table = kept_table()
    ax = figures.plot_kept_layers(table).axes[0]
    (mesh,) = ax.collections
    assert mesh.get_array().reshape(7, 15)[2, 3] == pytest.approx(1.0)
    assert [label.get_text() for label in ax.get_yticklabels()][2] == "dataset 2"
    assert [label.get_text() for label in ax.get_xticklabels()][4] == "conv4"


@pytest.mark.parametrize("n_datasets", [1, 2, 7])
@pytest.mark.parametrize(
    ("plot", "table_of"),
    [
        (figures.plot_accuracy_against_size, summary),
        (figures.plot_kept_layers, kept_table),
    ],
)
def test_nothing_is_covered_or_cut(plot, table_of, n_datasets):
    fig = plot(table_of(n_datasets))
    fig.canvas.draw()
    page = fig.bbox
    for ax in fig.axes:
        box = ax.get_tightbbox()
        assert box.x0 >= page.x0 - 1
        assert box.x1 <= page.x1 + 1
        for legend in fig.legends:
            assert not legend.get_window_extent().overlaps(ax.get_window_extent())
