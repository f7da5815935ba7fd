"""Which layers to keep: judged fairly, chosen by training images, compared with everything else."""

import numpy as np
import pandas as pd
import pytest
from plain_embedding import embedded
from sklearn.metrics import balanced_accuracy_score
from sklearn.svm import LinearSVC

from analysis.data import stratified_splits
from analysis.statistics import (
    false_discovery,
    kept,
    ks_p_values,
    noise_thresholds,
    signed_ks,
)
from analysis.transfer import (
    Candidate,
    WideLinearSVC,
    candidate_embeddings,
    choose_smallest,
    compare_features,
    explain_losses,
    judge_candidates,
    layers_kept,
    recommend,
    summarise_losses,
)
from analysis.transfer import recommendation as module
from analysis.transfer.recommendation import Bench, LeftOut, _balanced, telling_features

LAYERS = np.repeat(["first", "middle", "last"], [4, 6, 14])


def problem(signal=1.5, sizes=(14, 11, 12), seed=0):
    """Three layers, of which the middle one tells classes apart."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)) + 4, sizes))
    X = rng.standard_normal((labels.size, LAYERS.size))
    centres = rng.standard_normal((labels.max() + 1, 6))
    X[:, LAYERS == "middle"] += signal * centres[labels]
    return X, labels


def advised(X, labels, **settings):
    return recommend(X, labels, feature_layers=LAYERS, **{"seed": 0, "n_splits": 3} | settings)


def test_every_run_of_layers_is_a_candidate():
    found = candidate_embeddings(LAYERS)
    runs = {each.layers for each in found}
    assert runs == {
        ("first",),
        ("middle",),
        ("last",),
        ("first", "middle"),
        ("middle", "last"),
        ("first", "middle", "last"),
    }
    assert len(found) == 3 * 2 + 3 * 4  # one weighting of a single layer is like another
    sizes = {each.layers: each.n_features for each in found}
    assert sizes["middle", "last"] == 20
    assert {each.n_bytes for each in found if each.layers == ("last",)} == {14, 4 * 14}


def test_networks_of_many_layers_are_cut_into_groups():
    names = [f"layer{k}" for k in range(20)]
    runs = {each.layers for each in candidate_embeddings(names, groups=4)}
    assert len(runs) == 20 + 10
    assert tuple(names[5:15]) in runs
    assert tuple(names) in runs


def naive_left_out(X, labels, candidate):
    """Loss and verdict of machines fitted to all images but one, for every image."""
    how = {"values": candidate.values, "weights": candidate.weights}
    Z = embedded(X, X, LAYERS, candidate.layers, **how) / np.sqrt(candidate.n_features)
    Z = np.hstack([Z, np.ones((len(Z), 1))])
    classes = np.unique(labels)
    loss, right = [], []
    for k in range(len(Z)):
        rest = np.delete(np.arange(len(Z)), k)
        targets = np.where(labels[rest][:, None] == classes, 1.0, -1.0)
        squares = Z[rest].T @ Z[rest] + 0.5 * np.eye(Z.shape[1])
        coefficients = np.linalg.solve(squares, Z[rest].T @ targets)
        outputs = Z[k] @ coefficients
        signs = np.where(labels[k] == classes, 1.0, -1.0)
        loss.append(sum(max(0, 1 - each) ** 2 for each in signs * outputs))
        right.append(classes[outputs.argmax()] == labels[k])
    return np.array(loss), np.array(right)


def test_leaving_out_in_closed_form_equals_fitting_again():
    X, labels = problem(0.6)
    candidates = candidate_embeddings(LAYERS)
    found = judge_candidates(X, labels, LAYERS, candidates)
    assert 0.3 < found.right.mean() < 0.9
    for loss, right, candidate in zip(*found, candidates, strict=True):
        expected = naive_left_out(X, labels, candidate)
        np.testing.assert_allclose(loss, expected[0], rtol=1e-8)
        np.testing.assert_array_equal(right, expected[1])


def test_scales_of_features_and_order_of_images_change_nothing():
    X, labels = problem(0.6)
    candidates, rng = candidate_embeddings(LAYERS), np.random.default_rng(1)
    expected = judge_candidates(X, labels, LAYERS, candidates)
    scaled = X * np.exp2(rng.integers(-9, 9, LAYERS.size))
    found = judge_candidates(scaled, labels, LAYERS, candidates)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-9)
    order = rng.permutation(labels.size)
    found = judge_candidates(X[order], labels[order], LAYERS, candidates)
    np.testing.assert_allclose(found.loss, expected.loss[:, order], rtol=1e-9)
    np.testing.assert_array_equal(found.right, expected.right[:, order])


def plain(n_features, values="standardised"):
    return Candidate(("any",), values, "features", (n_features,))


def test_the_smallest_within_the_tolerance_is_chosen():
    loss = np.zeros((4, 100))
    loss[1, :1] = 1  # 0.01 behind, standard error 0.00995: 1.005 of them
    loss[2, :2] = 1
    loss[3, :50] = 1
    judged, candidates = LeftOut(loss, loss < 1), [plain(40), plain(30), plain(20), plain(10)]
    table = choose_smallest(candidates, judged, tolerance=1.01)
    assert table["best"].tolist() == [True, False, False, False]
    assert table["accuracy"].tolist() == pytest.approx([1, 0.99, 0.98, 0.5])
    assert table["behind"].tolist() == pytest.approx([0, 0.01, 0.02, 0.5])
    assert table["standard_error"][1] == pytest.approx(np.sqrt(0.01 * 0.99 / 100))
    assert table["near"].tolist() == [True, True, False, False]
    assert table["chosen"].tolist() == [False, True, False, False]
    assert choose_smallest(candidates, judged, tolerance=1.0)["chosen"].tolist()[0]
    assert choose_smallest(candidates, judged)["chosen"].tolist()[0]
    assert choose_smallest(candidates, judged, tolerance=2.0)["chosen"].tolist()[2]


def test_ties_go_to_fewer_features_then_fewer_bytes():
    judged = LeftOut(np.zeros((3, 10)), np.ones((3, 10), bool))
    table = choose_smallest([plain(8), plain(7), plain(7, "discretised")], judged, tolerance=0)
    assert table["chosen"].tolist() == [False, False, True]
    assert table["best"].tolist() == [False, False, True]


def test_of_many_classes_a_layer_that_tells_nothing_is_not_chosen():
    """Saying of every image that it is of no class has the least summed loss."""
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(150), 2)
    telling = rng.normal(size=(150, 200))[labels] + 2 * rng.normal(size=(300, 200))
    X = np.hstack([rng.normal(size=(300, 4)), telling])
    layers = np.repeat(["noise", "telling"], [4, 200])
    candidates = candidate_embeddings(layers)
    table = choose_smallest(candidates, judge_candidates(X, labels, layers, candidates))
    least = table.loc[table["loss"].idxmin()]
    assert "telling" not in least["candidate"]
    assert not least["plausible"]
    (chosen,) = table.loc[table["chosen"], "candidate"]
    assert "telling" in chosen


def test_enough_images_of_many_classes_are_judged():
    labels = np.repeat(np.arange(300), 8)
    assert np.bincount(labels[_balanced(labels, 0)]).tolist() == [5] * 300
    labels = np.repeat(np.arange(300), 3)
    assert np.bincount(labels[_balanced(labels, 0)]).tolist() == [3] * 300
    labels = np.repeat([0, 1], [90, 400])
    assert np.bincount(labels[_balanced(labels, 0)]).tolist() == [90, 90]


def test_features_that_no_class_keeps_are_dropped_from_what_is_recommended():
    X, labels = problem(3.0)
    X[:, 5] = 7.0  # of the layer that is chosen
    found = advised(X, labels, n_splits=2, n_train=5)
    assert found.chosen.layers == ("middle",)
    assert not found.features[5]
    splits = stratified_splits(labels, n_train=5, n_splits=2, seed=0)
    recommended = found.splits[found.splits["features"] == "recommended"]
    whole = found.splits[found.splits["features"] == "best candidate"]
    assert whole["layers"].tolist() == recommended["layers"].tolist() == ["middle"] * 2
    assert whole["n_features"].tolist() == [6, 6]
    assert (recommended["n_features"] < 6).all()
    for (train, test), (_, row) in zip(splits, recommended.iterrows(), strict=True):
        thresholds = noise_thresholds(X[train], labels[train], seed=0)
        beyond = np.asarray(kept(signed_ks(X[train], labels[train]), thresholds)).any(axis=0)
        (chosen,) = [each for each in candidate_embeddings(LAYERS) if fits(each, row)]
        how = {"features": beyond, "values": chosen.values, "weights": chosen.weights}
        own, others = (
            embedded(X[train], X[part], LAYERS, chosen.layers, **how) for part in (train, test)
        )
        model = WideLinearSVC().fit(own, labels[train])
        expected = balanced_accuracy_score(labels[test], model.predict(others))
        assert row["accuracy"] == pytest.approx(expected)
        assert row["n_features"] == own.shape[1]


def fits(candidate, row):
    """Whether a row of the table is that of a candidate (of a single layer)."""
    n_bytes = candidate.n_bytes // candidate.n_features
    same = " ".join(candidate.layers) == row["layers"]
    return same and n_bytes * row["n_features"] == row["bytes"]


def test_alternatives_are_those_of_the_protocol():
    X, labels = problem(0.8)
    found = advised(X, labels, n_train=5).splits
    sets = {name: X[:, name == LAYERS] for name in dict.fromkeys(LAYERS.tolist())}
    expected = compare_features({**sets, "all layers": X}, labels, n_train=5, n_splits=3, seed=0)
    for name, part in expected.groupby("features"):
        same = found[found["features"] == name]
        assert same["accuracy"].tolist() == part["accuracy"].tolist()
        assert same["train"].tolist() == part["train"].tolist()
    train, _ = stratified_splits(labels, n_train=5, n_splits=3, seed=0)[1]
    thresholds = noise_thresholds(X[train], labels[train], seed=0)
    beyond = np.asarray(kept(signed_ks(X[train], labels[train]), thresholds)).any(axis=0)
    row = found[(found["features"] == "kept by distance") & (found["split"] == 1)]
    assert row["n_features"].item() == beyond.sum()


@pytest.mark.parametrize("n_train", [4, 10])
def test_shared_products_give_the_accuracies_of_the_plain_pipeline(n_train):
    X, labels = problem(0.6, sizes=(60, 70, 50))
    train, test = stratified_splits(labels, n_train=n_train, n_splits=1, seed=0)[0]
    bench, some = Bench(X, labels, LAYERS, train, test, {}), np.arange(LAYERS.size) % 3 > 0
    for each in candidate_embeddings(LAYERS):
        for wanted in (np.isin(LAYERS, each.layers), np.isin(LAYERS, each.layers) & some):
            how = {"features": wanted, "values": each.values, "weights": each.weights}
            own, others = (
                embedded(X[train], X[part], LAYERS, each.layers, **how) / np.sqrt(wanted.sum())
                for part in (train, test)
            )
            machine = LinearSVC(dual=False, tol=1e-8, max_iter=10_000).fit(own, labels[train])
            expected = balanced_accuracy_score(labels[test], machine.predict(others))
            row = bench.measured("any", "chosen", each, wanted)
            assert row["accuracy"] == pytest.approx(expected, abs=1 / 50 / 3 + 1e-9)
            assert row["n_features"] == wanted.sum()
            assert row["seconds"] > 0


def test_discoveries_are_those_of_the_training_images():
    X, labels = problem(2.0, sizes=(30, 30, 30))
    found = telling_features(X, labels, n_shuffles=2, seed=0)["kept by false discovery"]
    adjusted = false_discovery(ks_p_values(X, labels))
    assert found.tolist() == (adjusted <= 0.05).any(axis=0).tolist()
    assert 0 < found.sum() < LAYERS.size
    table = advised(X, labels, n_train=15).splits
    train, _ = stratified_splits(labels, n_train=15, n_splits=3, seed=0)[2]
    expected = (false_discovery(ks_p_values(X[train], labels[train])) <= 0.05).any(axis=0)
    row = table[(table["features"] == "kept by false discovery") & (table["split"] == 2)]
    assert row["n_features"].item() == expected.sum()
    assert row["layers"].item().split() == list(dict.fromkeys(LAYERS[expected].tolist()))


def test_nothing_of_test_images_reaches_a_choice(monkeypatch):
    X, labels = problem(0.7, sizes=(20, 20, 20))
    fixed = stratified_splits(labels, n_train=8, n_splits=1, seed=3)[0]
    monkeypatch.setattr(module, "stratified_splits", lambda *_, **__: (fixed, fixed))
    expected = advised(X, labels, n_splits=2).splits
    rng = np.random.default_rng(0)
    other, shuffled = X.copy(), labels.copy()
    other[fixed.test] = 100 * rng.standard_normal(other[fixed.test].shape)
    shuffled[fixed.test] = rng.permutation(labels[fixed.test])
    found = advised(other, shuffled, n_splits=2).splits
    same = ["features", "split", "layers", "n_features", "bytes"]
    pd.testing.assert_frame_equal(found[same], expected[same])
    assert not np.allclose(found["accuracy"], expected["accuracy"])


@pytest.mark.long
def test_on_noise_the_recommended_accuracy_is_at_chance_and_the_best_in_hindsight_is_not():
    recommended, best = [], []
    for seed in range(120):
        X, labels = problem(0.0, sizes=(30, 30), seed=seed)
        splits = advised(X, labels, seed=seed).splits.assign(network="n", dataset="noise")
        losses = explain_losses(splits)
        recommended.append(losses["recommended"].item())
        best.append(losses["best_accuracy"].item())
    errors = np.std([recommended, best], axis=1, ddof=1) / np.sqrt(120)
    assert abs(np.mean(recommended) - 0.5) < 3 * errors[0]
    assert np.mean(best) - 0.5 > 2 * errors[1]


def test_twenty_images_work_and_the_statement_says_how_little_they_tell():
    X, labels = problem(2.0, sizes=(10, 10))
    found = advised(X, labels)
    assert (found.splits["train"] == 10).all()
    assert "from 20 images" in found.statement
    assert "± 11.2 points" in found.statement
    assert "moves the accuracy by 10.0 points" in found.statement
    assert np.isfinite(found.summary["corrected_error"]).all()


def test_many_classes_work():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(300), 3)
    X = rng.standard_normal((300, 6))[labels] + 0.1 * rng.standard_normal((900, 6))
    found = recommend(X, labels, feature_layers=["a"] * 3 + ["b"] * 3, seed=0, n_splits=2)
    accuracy = found.summary.set_index("features")["mean"]
    assert accuracy["all layers"] > 20 / 300


def test_a_layer_without_any_telling_feature_is_no_error():
    X, labels = problem()
    X[:] = 1.0
    found = advised(X, labels).splits
    row = found[found["features"] == "kept by distance"]
    assert (row["n_features"] == 0).all()
    assert (row["accuracy"] == row["chance"]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (X[:, :5], y), r"a layer per feature, got \(37, 5\), \(37,\) and \(24,\)"),
        (lambda X, y: (X, y[1:]), "a label per image"),
        (lambda X, y: (X, np.zeros_like(y)), "at least two classes"),
        (lambda X, y: (np.where(X[0, 0] == X, np.inf, X), y), "got 1 others"),
        (lambda X, y: (X, np.where(np.arange(y.size) == 0, 99, y)), r"fewer: 99 \(1\)\. Leave"),
        (lambda X, y: (X, np.where(np.arange(y.size) < 2, 99, y)), r"fewer: 99 \(2\)\. Leave"),
    ],
)
def test_errors_say_what_came(change, message):
    with pytest.raises(ValueError, match=message):
        advised(*change(*problem()))


def test_layers_must_be_known_and_splits_be_several():
    with pytest.raises(ValueError, match="coordinate 'layer', or feature_layers"):
        recommend(*problem(), seed=0)
    with pytest.raises(ValueError, match="two splits, got n_splits=1"):
        advised(*problem(), n_splits=1)


def table_of(accuracies, sizes):
    """A table of splits: name → accuracies, name → number of features."""
    kinds = {"recommended": "chosen", "best candidate": "diagnostic"}
    rows = [
        {
            "features": name,
            "kind": kinds.get(name, "single layer"),
            "split": split,
            "train": 20,
            "test": 60,
            "accuracy": value,
            "n_features": sizes[name],
            "layers": "a b" if split else "a",
        }
        for name, values in accuracies.items()
        for split, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


SIZES = {"a": 5, "b": 5, "all layers": 10, "best candidate": 8, "recommended": 4}


def test_a_loss_is_explained_by_three_parts():
    table = table_of(
        {
            "a": [0.9, 0.5, 0.5],
            "b": [0.5, 0.8, 0.7],
            "all layers": [0.6, 0.6, 0.6],
            "best candidate": [0.6, 0.7, 0.8],
            "recommended": [0.5, 0.6, 0.7],
        },
        SIZES,
    )
    (row,) = explain_losses(table.assign(dataset="d", network="n")).itertuples()
    assert row.best == "b"
    # Without split 0 the best is b, without 1 and 2 it is a.
    assert row.hindsight == pytest.approx((0.5 + 0.5 + 0.5) / 3 - 2 / 3)
    assert row.choice == pytest.approx(0.7 - 0.5)
    assert row.size == pytest.approx(-0.1)
    assert row.difference == pytest.approx(row.hindsight + row.choice + row.size)
    ahead = np.array([0.5 - 0.5, 0.6 - 0.5, 0.7 - 0.5])
    assert row.foreseeable == pytest.approx(ahead.mean())
    assert row.foreseeable_error == pytest.approx(ahead.std(ddof=1) / np.sqrt(3))
    assert row.share == pytest.approx(0.4)
    assert "hindsight" in row.reason
    kept_layers = layers_kept(table.assign(dataset="d", network="n"))
    assert kept_layers["layer"].tolist() == ["a", "b", "all layers"]
    assert kept_layers["share"].tolist() == pytest.approx([1, 2 / 3, 0])


def test_no_loss_needs_no_reason():
    values = {name: [0.5, 0.6] for name in SIZES}
    row = explain_losses(table_of(values, SIZES).assign(network="n", dataset="d")).iloc[0]
    assert row["difference"] == 0
    assert row["reason"] == ""


def test_losses_are_summarised_by_network_with_their_errors():
    losses = pd.DataFrame(
        {
            "network": ["n", "n", "m"],
            "dataset": ["d", "e", "d"],
            "difference": [-0.02, 0.01, -0.05],
            "standard_error": [0.003, 0.004, 0.01],
            "corrected_error": [0.006, 0.008, 0.06],
            "foreseeable": [-0.01, 0.02, -0.03],
            "foreseeable_error": [0.002, 0.002, 0.01],
            "share": [0.4, 1.0, 0.2],
        }
    )
    found = summarise_losses(losses)
    assert found["network"].tolist() == ["n", "m"]
    assert found["difference"].tolist() == pytest.approx([-0.005, -0.05])
    assert found["over_datasets"][0] == pytest.approx(0.015)
    assert found["standard_error"].tolist() == pytest.approx([0.0025, 0.01])
    assert found["corrected_error"][0] == pytest.approx(0.005)
    assert found["within"].tolist() == [True, False]
    assert found["within_corrected"].tolist() == [True, True]
    assert found["foreseeable"].tolist() == pytest.approx([0.005, -0.03])
    assert found["foreseeable_error"].tolist() == pytest.approx([0.015, 0.01])
    assert found["within_foreseeable"].tolist() == [True, False]
    assert found["smaller"].tolist() == [1, 1]
