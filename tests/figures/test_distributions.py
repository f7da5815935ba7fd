"""What the figures of the distributions show is what their tables hold."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle

from analysis.figures import distributions as figures
from analysis.figures import style
from analysis.statistics import edf_pair


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def ridges(layers: list[str], datasets: list[str]) -> pd.DataFrame:
    edges = np.linspace(-1, 1, 11)
    rng = np.random.default_rng(0)
    parts = []
    for dataset in datasets:
        for layer in layers:
            share = rng.dirichlet(np.ones(10))
            parts.append(
                pd.DataFrame(
                    {
                        "network": "net@random",
                        "dataset": dataset,
                        "layer": layer,
                        "kind": "fc" if layer.startswith("fc") else "conv",
                        "left": edges[:-1],
                        "right": edges[1:],
                        "share": share,
                        "share_shuffled": share[::-1],
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def titles(fig) -> list[str]:
    """Titles of all panels, each in one line."""
    return [" ".join((ax.get_title(loc="left") or ax.get_title()).split()) for ax in fig.axes]


def test_gap_is_drawn_where_it_is() -> None:
    rng = np.random.default_rng(1)
    inner = np.arange(60) < 20
    pair = edf_pair(rng.normal(size=60) + inner, inner)
    ax = figures.plot_edfs(pair, ax=plt.figure().subplots())
    x, y = ax.lines[-1].get_data()
    assert set(x) == {pair.gap_at}
    assert abs(y[1] - y[0]) == pytest.approx(abs(pair.distance))
    assert f"{pair.distance:+.2f}" in ax.get_title()


def test_histograms_hold_every_image_and_a_legend() -> None:
    inner = np.arange(30) % 3 == 0
    pair = edf_pair(np.arange(30.0), inner)
    ax = figures.plot_inner_outer_histograms(pair, ax=plt.figure().subplots())
    heights = [patch.get_data().values.sum() for patch in ax.patches]
    assert heights == pytest.approx([1.0] * 4)
    assert [text.get_text() for text in ax.get_legend().texts] == [
        "outside the class",
        "inside the class",
    ]


def test_one_line_per_layer_from_the_first_upwards() -> None:
    table = ridges(["conv1", "conv2", "fc6"], ["a"])
    ax = figures.plot_layer_ridges(table, ax=plt.figure().subplots())
    assert [text.get_text() for text in ax.get_yticklabels()] == ["conv1", "conv2", "fc6"]
    assert len(ax.patches) == 6
    tops = [patch.get_data().values.max() - i // 2 for i, patch in enumerate(ax.patches)]
    assert max(tops) <= 0.9 + 1e-12


def test_datasets_are_pooled_with_equal_weight_into_a_panel_per_network() -> None:
    table = ridges(["conv1", "fc6"], ["a", "b", "c", "d"])
    other = table[table["layer"] == "conv1"].assign(network="$net$@x_y")
    fig = figures.plot_ridges_of_networks(pd.concat([table, other]))
    assert titles(fig) == ["net@random", "$net$@x_y"]
    fig.canvas.draw()  # a title that is read as mathematics fails here: x_y is none
    assert len(fig.legends) == 1
    conv1 = table[table["layer"] == "conv1"]
    for patch, column in zip(fig.axes[0].patches, ("share_shuffled", "share"), strict=False):
        naive = [conv1[conv1["left"] == left][column].mean() for left in conv1["left"].unique()]
        heights = patch.get_data().values
        uncut = heights < 0.9 - 1e-12
        ratio = heights[uncut] / np.array(naive)[uncut]
        assert ratio == pytest.approx(ratio[0])


def test_panels_of_ridges_share_one_scale() -> None:
    table = ridges(["conv1"], ["a"])
    flat = table.assign(network="flat", share=0.1)
    fig = figures.plot_ridges_of_networks(pd.concat([table, flat]))
    sharp, level = (ax.patches[1].get_data().values for ax in fig.axes)
    share = table["share"].to_numpy()
    lowest = share.argmin()
    assert sharp[lowest] / level[lowest] == pytest.approx(share[lowest] / 0.1)


def modes(datasets: list[str], layers: list[str], network: str = "n") -> pd.DataFrame:
    return pd.DataFrame(
        {"network": network, "dataset": d, "layer": layer, "sign": s, "mode": m,
         "lower": m - 0.1, "upper": m + 0.1, "kind": "fc" if layer[0] == "f" else "conv"}
        for d in datasets for layer in layers for s, m in (("presence", 0.2), ("absence", -0.2))
    )  # fmt: skip


def shaded(ax) -> list[tuple[float, float]]:
    spans = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    return [(span.get_x(), span.get_x() + span.get_width()) for span in spans]


def test_every_dataset_has_colour_and_marker_of_its_own() -> None:
    names = [f"d{i}" for i in range(11)]
    fig = figures.plot_modes_of_networks(modes(names, ["conv1"]).drop(columns="kind"))
    handles = fig.legends[0].legend_handles
    assert [text.get_text() for text in fig.legends[0].texts] == names
    looks = [(line.get_color(), line.get_marker()) for line in handles]
    assert len(set(looks)) == 11
    drawn = [line for line in fig.axes[0].lines if line.get_marker() in style.MARKERS]
    assert [(line.get_color(), line.get_marker()) for line in drawn[::2]] == looks


def test_modes_have_one_scale_one_legend_and_fully_connected_layers_on_grey() -> None:
    table = pd.concat(
        [
            modes(["a", "b"], ["conv1", "conv2", "fc6"]),
            modes(["a", "b"], ["conv1", "conv2", "fc6"], "m").assign(upper=0.9),
            modes(["b"], ["conv1"], "squeezed"),
        ]
    )
    fig = figures.plot_modes_of_networks(table)
    assert titles(fig) == ["n", "m", "squeezed"]
    assert len({ax.get_ylim() for ax in fig.axes}) == 1
    assert len(fig.legends) == 1
    assert [shaded(ax) for ax in fig.axes] == [[(1.5, 2.5)], [(1.5, 2.5)], []]
    assert fig.legends[0].texts[-1].get_text() == "fully connected"
    only = [line for line in fig.axes[2].lines if line.get_marker() == style.MARKERS[1]]
    assert [line.get_color() for line in only] == [style.PALETTE[1]] * 2  # b looks as it does above
    fig.canvas.draw()
    named = [ax.xaxis.get_tick_params()["labelbottom"] for ax in fig.axes]
    assert named == [False, True, True]  # the first has the layers of the second
    (legend,) = fig.legends
    for ax in fig.axes:
        assert not legend.get_window_extent().overlaps(ax.get_tightbbox())


def densities(network: str, kinds: list[str], **groups: str | None) -> pd.DataFrame:
    edges = np.linspace(-1, 1, 21)
    parts = []
    for number, (dataset, group) in enumerate(groups.items()):
        for kind in kinds:
            share = np.random.default_rng(number).dirichlet(np.ones(20))
            columns = {"left": edges[:-1], "right": edges[1:], "share": share, "group": group}
            frame = pd.DataFrame(columns)
            parts.append(frame.assign(network=network, dataset=dataset, kind=kind))
    return pd.concat(parts, ignore_index=True)


BOTH = ["convolutional", "fully connected"]


def lines(ax) -> list[np.ndarray]:
    return [line.get_ydata() for line in ax.lines if len(line.get_ydata()) == 20]


def words(ax) -> str:
    return " ".join(" ".join(text.get_text().split()) for text in ax.texts)


def test_kinds_stand_side_by_side_and_a_missing_one_is_said() -> None:
    full = densities("vgg@x", BOTH, a="a", b="b")
    table = pd.concat([full, densities("squeezenet1_0", BOTH[:1], a="a", b="b")])
    fig = figures.plot_kinds(table)
    first, second, third, fourth = fig.axes
    assert titles(fig)[:2] == [f"vgg@x: {kind}" for kind in BOTH]
    for ax, kind in ((first, BOTH[0]), (second, BOTH[1])):
        for line, dataset in zip(lines(ax), "ab", strict=True):
            part = full[(full["kind"] == kind) & (full["dataset"] == dataset)]
            assert np.array_equal(line, part["share"])
        assert any(set(line.get_xdata()) == {0} for line in ax.lines)  # zero is marked
    assert len(lines(third)) == 2
    assert lines(fourth) == []
    assert words(fourth) == "squeezenet1_0 has no fully connected layer"
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in fig.axes}) == 1
    assert first.get_ylim()[1] > table["share"].max()  # no peak is cut off
    assert [text.get_text() for text in fig.legends[0].texts] == ["a", "b"]


def test_groups_have_panels_and_what_is_left_out_is_named() -> None:
    table = pd.concat(
        [
            densities("net", BOTH, one="a", two="c", three="c", mine=None),
            densities("flat", BOTH[:1], one="a", two="b"),
            densities("raw", BOTH, one=None, two=None),
        ]
    )
    fig = figures.plot_overlap_groups(table)
    assert [len(lines(ax)) for ax in fig.axes] == [1, 0, 2, 0, 0, 0]
    assert words(fig.axes[1]) == "no dataset of this study in this group"
    assert words(fig.axes[3]) == "flat has no fully connected layer"
    assert titles(fig)[:3] == [
        "net a: classes within the source task",
        "b: some of them",
        "c: none",
    ]
    note = " ".join(fig.get_supxlabel().split())
    assert note == "Not drawn, for want of a group: mine of net; all datasets of raw."
    assert {text.get_text() for text in fig.legends[0].texts} == {"one", "two", "three"}
    two = table[(table["network"] == "net") & (table["dataset"] == "two")]
    assert np.array_equal(lines(fig.axes[2])[0], two[two["kind"] == BOTH[1]]["share"])


def test_a_study_without_groups_gets_words_and_no_note_is_made_of_nothing() -> None:
    fig = figures.plot_overlap_groups(densities("net", BOTH, one=None))
    assert {words(ax) for ax in fig.axes} == {"no dataset of this study in this group"}
    assert "all datasets of net" in fig.get_supxlabel()
    assert figures.plot_overlap_groups(densities("net", BOTH, one="a")).get_supxlabel() == ""


def test_groups_of_other_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"groups a, b, c or none, got \['d'\]"):
        figures.plot_overlap_groups(densities("net", BOTH, one="d"))


@pytest.mark.parametrize("names", [["a", "b"], ["folder:$a_b$/" + "x" * 60, *"cdefg"]])
def test_legends_cover_no_panel_and_stay_on_the_page(names: list[str]) -> None:
    with mpl.rc_context():
        style.use_style()
        fig = figures.plot_kinds(densities("net", BOTH, **dict.fromkeys(names, "a")))
        fig.canvas.draw()
        (legend,) = fig.legends
        extent = legend.get_window_extent()
        assert extent.x1 <= fig.bbox.x1
        for ax in fig.axes:
            assert not extent.overlaps(ax.get_tightbbox())
        assert [text.get_text().replace("\n", "") for text in legend.texts] == names
        assert not any(text.get_parse_math() for text in legend.texts)
