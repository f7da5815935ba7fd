"""Fused layers over a study: which features, whose labels, and what is said of them."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA

from analysis import extract
from analysis.chapters import Study, fusion
from analysis.chapters.domains import domain_pairs
from analysis.chapters.fusion import describe_tuned
from analysis.data import load_dataset
from analysis.figures import fusion as figures
from analysis.transfer.fusion import Alignment, Domains
from analysis.transfer.published import published_fusion

HOW = Alignment((8, 4))
NETWORK = "minivgg16@random"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    names = []
    for number, kind in enumerate(("glyphs_clean", "glyphs_cluttered")):
        data = load_dataset(kind)
        root = tmp_path_factory.mktemp(kind)
        for name in data.classes[:3]:
            (root / name).mkdir()
            members = np.flatnonzero(data.labels == data.classes.index(name))[:6]
            for k in members:
                data[int(k)].save(root / name / f"{number}-{k}.png")
        names.append(f"folder:{root}")
    return Study("Small", names, [NETWORK], "center", 0, ["photographs"], progress=False)


@pytest.fixture(scope="module")
def pairs(study):
    return domain_pairs({name: study.data(name) for name in study.datasets})


@pytest.fixture(scope="module")
def described(study, pairs):
    return fusion.describe_pairs(study, pairs, study.backbone(NETWORK))


@pytest.fixture(scope="module")
def measured(study, described):
    return fusion.measure_fusion(
        study, described, NETWORK, how=HOW, with_local=True, label_free=True
    )


def test_blocks_are_the_first_three_or_the_last_of_three_sizes(study):
    assert fusion.blocks_of(study.backbone(NETWORK)) == ("conv1_2", "conv2_2", "conv3_3")


def test_descriptors_are_what_the_layers_answer(study, pairs, described):
    net = study.backbone(NETWORK)
    both = [
        extract(study.data(name), net, crops="whole", layers=["conv1_2"], pooling="none").values
        for name in pairs[0]
    ]
    of = {
        (each.kind, each.layer, each.selection): each.domains
        for each in described[pairs[0]].descriptors(with_local=True)
    }
    assert len(of) == 1 + 2 * 9
    means = of["local", "conv1_2", "pool 2D"]
    np.testing.assert_allclose(
        means.source, both[0].reshape(len(both[0]), 16, -1).mean(axis=2), rtol=1e-4, atol=1e-6
    )
    exact = PCA(svd_solver="full").fit(both[0].astype(np.float64))
    expected = exact.transform(both[1].astype(np.float64))
    found = of["local", "conv1_2", "PCA"].target
    np.testing.assert_allclose(
        np.abs(found), np.abs(expected[:, : found.shape[1]]), atol=2e-4 * np.abs(expected).max()
    )
    whole, fused = of["global", "fc7", ""], of["fusion", "conv1_2", "pool 2D"]
    np.testing.assert_array_equal(fused.target, np.hstack([whole.target, means.target]))


def test_both_directions_are_measured_and_named(pairs, measured):
    assert measured["pair"].unique().tolist() == [pair.short for pair in pairs]
    assert set(measured["network"]) == {NETWORK}
    assert (measured["n_components"].isin([8, 4]) | (measured["alignment"] != "TCA")).all()


def test_points_are_differences_of_means_over_components(measured):
    points = fusion.points_over_global(measured, "fusion")
    assert len(points) == 2 * 9
    aligned = measured[measured["alignment"] == "TCA"]
    row = points.iloc[4]
    of = aligned[aligned["pair"] == row["pair"]]
    fused = of[(of["descriptor"] == "fusion") & (of["layer"] == row["layer"])]
    fused = fused.loc[fused["selection"] == row["selection"], "accuracy"].mean()
    whole = of.loc[of["descriptor"] == "global", "accuracy"].mean()
    assert row["points"] == pytest.approx(100 * (fused - whole))


def test_training_changes_the_global_descriptor_alone(study, pairs, described):
    net = study.backbone(NETWORK)
    tuned, histories = describe_tuned(study, described, net, epochs=3)
    assert histories.groupby("run").size().tolist() == [3, 3]
    before, after = described[pairs[1]], tuned[pairs[1]]
    for both in zip(before.whole, after.whole, strict=True):
        assert not np.array_equal(*both)
    assert after.local is before.local and len(after.local) == 9
    plt.close(figures.plot_runs(histories))


def test_blocks_that_are_trained_are_refused(study, described, monkeypatch):
    monkeypatch.setattr("analysis.chapters.fusion.blocks_of", lambda net: ("conv1_2", "fc6"))
    with pytest.raises(ValueError, match="in front of the layers that are trained, but fc6"):
        describe_tuned(study, described, study.backbone(NETWORK), epochs=1)


def test_labels_of_the_target_change_no_choice(study, described, measured, monkeypatch):
    choices = fusion.choose(measured)
    shuffled = measured.assign(accuracy=measured["accuracy"].sample(frac=1, random_state=0).values)
    columns = ["pair", "rule", "descriptor", "layer", "selection", "n_components"]
    pd.testing.assert_frame_equal(fusion.choose(shuffled)[columns], choices[columns])


def test_features_above_the_noise_are_found_without_the_target(study):
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 30)
    X = rng.normal(size=(90, 200))
    X[:, :20] += 3 * (y == 1)[:, None]
    kept = fusion.above_noise(X, y, seed=0)
    assert kept[:20].all()
    assert kept[20:].mean() < 0.3
    assert fusion.above_noise(np.zeros((90, 4)), y, seed=0).all()


def test_other_alignments_have_rows_with_and_without_noise(study, described):
    others = fusion.measure_others(study, described, NETWORK, HOW)
    laid_out = fusion.compare_alignments(others)
    assert laid_out.columns.tolist() == [
        "features", "none, each domain standardised", "CORAL", "geodesic flow", "TCA",
    ]  # fmt: skip
    assert len(laid_out) == 2 * 4
    assert laid_out["features"].str.contains("above the noise").sum() == 4


def test_at_one_size_the_units_of_a_part_do_not_matter(study, described):
    even = fusion.measure_at_one_size(study, described, NETWORK, HOW)
    louder = {
        pair: parts._replace(
            local={key: Domains(*(1000 * X for X in own)) for key, own in parts.local.items()}
        )
        for pair, parts in described.items()
    }
    again = fusion.measure_at_one_size(study, louder, NETWORK, HOW)
    assert even["accuracy"].tolist() == again["accuracy"].tolist()
    assert even["n_components"].unique().tolist() == [4]
    assert len(fusion.points_over_global(even, "fusion")) == 2 * 9


def test_the_table_stands_beside_the_papers_with_stars(pairs, measured):
    better = measured.assign(accuracy=measured["accuracy"] + 0.01)
    shown = fusion.beside_paper({"a": measured, "a, tuned": better}, [pairs[0].short])
    sections = shown["of"].unique()
    assert sections[0] == f"a, {pairs[0].short}"
    assert len(sections) == 4
    ours = shown[shown["of"] == sections[1]]
    assert ours["components"].tolist() == ["8", "4", "Avg."]
    assert ours["global"].str.endswith("*").all()
    paper = shown[shown["of"] == sections[2]].set_index("components")
    assert paper.loc["64", "2 flatten"] == "65.5"
    assert shown.columns.tolist()[2:4] == ["global", "1 PCA"]


def test_the_papers_gains_are_those_of_its_averages():
    laid_out = fusion.paper_over_global()
    assert len(laid_out) == 8
    row = laid_out.iloc[0]
    assert row["pair"] == "fruits360 → supermarket_produce"
    assert (row["global"], row["block 1 flatten"]) == ("30.8", "+6.8")
    assert published_fusion()["table"].nunique() == 4


def test_figures_and_sentences_follow_the_tables(study, pairs, described, measured):
    choices = fusion.choose(measured)
    fused = fusion.points_over_global(measured, "fusion")
    fig = figures.plot_against_global(fused, "Fused")
    better = (fused["points"] > 0).sum()
    assert fig.axes[0].get_title().endswith(f"in {better} of {len(fused)} cases")
    assert len(figures.plot_choices(choices).axes[0].get_yticklabels()) == len(pairs)
    planes = fusion.before_and_after(described, HOW)
    assert [len(points) for points in planes.after] == [18, 18]
    assert len(figures.plot_alignment(planes).axes) == 2
    table = fusion.measure_sensitivity(study, described, size=4)
    assert table.groupby("varied").size().to_dict() == {"γ": 4 * 5, "μ": 4 * 6}
    figures.plot_sensitivity(table)
    plt.close("all")
    said = fusion.state_fusion(measured, measured, measured, choices)
    assert "moves the global descriptor by +0.0 points" in said
    assert len(fusion.state_pairs(fused, [pair.short for pair in pairs]).splitlines()) == 2
