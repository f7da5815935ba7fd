"""What the chapter on layers as fixed features classifies, maps, times and says."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from analysis.chapters import Study, decaf
from analysis.data import load_dataset
from analysis.figures import decaf as figures
from analysis.transfer.descriptors import words as kept
from analysis.transfer.published import published_caltech

NETWORK = "minivgg16@random"
SIZES: decaf.Sizes = {"n_train": 4, "n_validate": 1, "n_splits": 2}


@pytest.fixture(autouse=True)
def few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decaf, "FEW_WORDS", 12)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Three classes of eight images."""
    data = load_dataset("digits")
    chosen = np.concatenate([np.flatnonzero(data.labels == k)[:8] for k in (0, 4, 7)])
    folder = tmp_path_factory.mktemp("digits")
    for index in chosen:
        home = folder / data.classes[data.labels[index]]
        home.mkdir(exist_ok=True)
        data[int(index)].save(home / f"{index}.png")
    return Study("small", f"folder:{folder}", NETWORK, progress=False)


@pytest.fixture(scope="module")
def subject(study: Study) -> str:
    return decaf.subject_of(study)


@pytest.fixture(scope="module")
def layers(study: Study, subject: str) -> dict[str, np.ndarray]:
    return decaf.layer_features(study, subject, NETWORK, ["pool5", "conv10"])


def test_the_subject_is_the_one_named_or_has_the_most_classes():
    study = Study("two", "digits,photographs", NETWORK, progress=False)
    assert decaf.subject_of(study) == "photographs"
    assert decaf.subject_of(study, "digits") == "digits"
    with pytest.raises(ValueError, match=r"dataset of the study .*, got 'wood_grain'"):
        decaf.subject_of(study, "wood_grain")


def test_layers_that_the_network_lacks_are_left_out(study, layers):
    own = [layer.name for layer in study.backbone(NETWORK).layers]
    assert [*layers] == [*own, "pool5"]
    assert all(len(values) == 24 for values in layers.values())


def test_flattened_layers_keep_their_maps_as_far_as_they_fit(study, subject, layers, monkeypatch):
    monkeypatch.setattr(decaf, "MOST_VALUES", 24 * 128 * 8 * 8)
    flat = decaf.flattened_features(study, subject, NETWORK)
    assert next(iter(flat)) == "conv4_1, flattened"
    assert [*flat][-1] == "conv5_3, flattened"
    mean = flat["conv4_1, flattened"].values.reshape(24, 128, 64).mean(axis=2)
    np.testing.assert_allclose(mean, layers["conv4_1"], rtol=1e-4, atol=1e-6)


def test_every_layer_is_classified_with_and_without_dropout(study, subject, layers, monkeypatch):
    monkeypatch.setattr(decaf, "MOST_VALUES", 24 * 128 * 4 * 4)
    few = {name: layers[name] for name in ("conv1_1", "fc7")}
    summary = decaf.measure_layers(study, subject, NETWORK, few, **SIZES)
    assert (summary.groupby("features", sort=False).size()[:2] == 4).all()
    flat = summary[summary["features"].str.endswith(", flattened")]
    assert flat["features"].str.startswith("conv5").all()
    assert not flat["dropout"].any()
    assert summary["mean"].between(0, 1).all()
    assert (summary["chance"] == 1 / 3).all()


def test_others_are_descriptors_the_best_random_layer_and_the_embedding(study, subject, layers):
    described, random, whole = decaf.measure_others(study, subject, NETWORK, layers, **SIZES)
    assert described["features"].tolist() == list(kept.DESCRIPTORS)
    assert len(random) == len(layers)
    others = decaf.other_features(described, random, whole)
    assert others["features"].tolist()[-1] == "full-network embedding"
    best = random.iloc[int(random["validation"].to_numpy().argmax())]
    row = others.iloc[-2]
    assert row["features"] == best["features"]
    assert row["mean"] == best["mean"]
    assert row["features"].startswith("random weights, ")


def test_descriptors_are_found_again_and_words_know_where_they_come_from(tmp_path, monkeypatch):
    data = load_dataset("photographs").subset([0, 1, 2])
    words = load_dataset("photographs").subset([3, 4])
    options = {"n_words": 8, "store": tmp_path}
    first = kept.describe_dataset(data, words, **options)
    assert [*first] == list(kept.DESCRIPTORS)
    assert len([*tmp_path.iterdir()]) == 5

    def refuse(*_, **__):
        raise AssertionError("computed again")

    for name in ("raw_pixels", "hog", "gist", "bag_of_words", "llc", "learn_codebook"):
        monkeypatch.setattr(kept, name, refuse)
    again = kept.describe_dataset(data, words, **options)
    for name, values in first.items():
        np.testing.assert_array_equal(again[name], values)
    with pytest.raises(AssertionError, match="computed again"):
        kept.describe_dataset(data, words, names=("LLC",), seed=1, **options)
    with pytest.raises(AssertionError, match="computed again"):
        kept.describe_dataset(words, words, names=("HOG",), **options)
    kept.describe_dataset(data, words, names=("HOG",), seed=1, **options)
    with pytest.raises(ValueError, match=r"expected descriptors among raw pixels, .* got .'SIFT'"):
        kept.describe_dataset(data, words, names=("SIFT",), **options)


def test_half_a_descriptor_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(np, "save", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    data = load_dataset("photographs").subset([0])
    with pytest.raises(OSError, match="disk full"):
        kept.describe_dataset(data, data, names=("raw pixels",), store=tmp_path)
    assert not [*tmp_path.iterdir()]


def test_maps_count_neighbours_of_the_same_group(study, subject):
    maps = decaf.semantic_maps(study, subject, NETWORK)
    assert [each.name for each in maps] == ["GIST", "LLC", "pool1", "fc7"]
    for each in maps:
        assert each.points.shape == (24, 2)
        assert each.chance == pytest.approx(7 / 23)
        assert 0 <= each.alike <= 1
        assert set(each.order) == set(each.groups)
    apart = np.repeat(np.eye(3) * 50, 8, axis=0) + np.random.default_rng(0).random((24, 3))
    groups = np.repeat(["a", "b", "c"], 8)
    found = decaf._mapped("made", apart, groups, ("a", "b", "c"), 0)
    assert found.alike == pytest.approx(7 / 10)  # each has seven of its own among ten


def test_the_table_prints_the_papers_numbers_and_dashes():
    summary = pd.DataFrame(
        {
            "features": ["fc7", "fc7"],
            "classifier": ["linear SVM", "logistic regression"],
            "dropout": [False, True],
            "mean": [0.5, 0.25],
            "std": [0.01, 0.02],
        }
    )
    table = decaf.layers_beside_paper(summary, "here")
    ours = table[table["of"] == "here"].iloc[0]
    assert ours["svm"] == "50.0 ± 1.0"
    assert ours["logistic_dropout"] == "25.0 ± 2.0"
    assert ours["logistic"] == ours["svm_dropout"] == "–"
    paper = table[table["of"] != "here"].set_index("features")
    assert paper.loc["DeCAF6", "svm_dropout"] == "86.9 ± 0.7"
    assert paper.loc["DeCAF5, flattened", "svm_dropout"] == "–"
    assert len(paper) == 3


def test_published_accuracies_are_those_of_the_facts(lent_data: Path):
    facts = lent_data.parent / "facts" / "decaf_caltech101.csv"
    if not facts.exists():
        pytest.skip(f"{facts} is not there")
    theirs = pd.read_csv(facts)
    theirs = theirs[(theirs["table"] == "Figure 4 left") & theirs["dropout"].notna()]
    names = {"logreg": "logistic regression", "linear svm": "linear SVM"}
    expected = {
        (row.feature, names[row.classifier], bool(row.dropout)): (
            row.accuracy_mean,
            row.accuracy_std,
        )
        for row in theirs.itertuples()
    }
    assert len(expected) == 12
    for row in published_caltech().itertuples():
        found = (row.mean, row.std)
        np.testing.assert_equal(found, expected[row.features, row.classifier, row.dropout])


def test_the_best_is_picked_by_validation_never_by_the_test_images():
    summary = pd.DataFrame({"validation": [0.3, 0.6, 0.6], "mean": [0.9, 0.1, 0.5]})
    assert decaf.best_of(summary)["mean"] == 0.1


def test_facts_are_those_of_the_tables(study, subject, layers, monkeypatch):
    monkeypatch.setattr(decaf, "MOST_VALUES", 0)
    few = {name: layers[name] for name in ("conv1_1", "fc7")}
    summary = decaf.measure_layers(study, subject, NETWORK, few, **SIZES)
    others = decaf.other_features(*decaf.measure_others(study, subject, NETWORK, layers, **SIZES))
    curve = summary.assign(n_train=[1, 3] * 4)
    times = decaf.time_networks(study, [NETWORK])
    maps = decaf.semantic_maps(study, subject, NETWORK)
    facts = decaf.decaf_facts(summary, others, curve, maps, times)
    assert facts["first_layer"] == "conv1_1"
    assert {type(value) for value in facts.values()} == {str, float, int}  # to be formatted
    assert facts["dropout_of"] == 4
    svm = summary[(summary["classifier"] == "linear SVM") & ~summary["dropout"]]
    assert facts["top_mean"] == pytest.approx(100 * svm["mean"].max())
    assert facts["descriptor"] in kept.DESCRIPTORS
    assert facts["random_layer"] in layers
    for figure in (
        figures.plot_layer_accuracies(summary, others.set_index("features")["mean"].to_dict()),
        figures.plot_size_curve(curve, "fc7", 0.33),
        figures.plot_semantic_maps(maps),
        figures.plot_module_times(times),
    ):
        figure.canvas.draw()
        assert all(ax.get_title() for ax in figure.axes[:1])
        plt.close(figure)
