"""The Caltech-101 protocol against plain scikit-learn; nothing of test images may reach it."""

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import normalize
from sklearn.svm import LinearSVC

from analysis.data import stratified_splits
from analysis.statistics import FullNetworkEmbedding
from analysis.transfer import protocols
from analysis.transfer.protocols import (
    caltech_protocol,
    derived_seed,
    fit_split,
    protocol_on_splits,
    reduced_images,
    summarise_protocol,
    training_size_curve,
)

SIZES = (14, 9, 23, 11)
GRID = (0.1, 1.0, 10.0)
QUICK = {"n_train": 6, "n_validate": 2, "n_splits": 2, "Cs": GRID}
REFERENCES = {
    "linear SVM": lambda C: LinearSVC(C=C, tol=1e-9, dual=False, max_iter=100_000),
    "logistic regression": lambda C: LogisticRegression(
        C=C, tol=1e-9, max_iter=1000, solver="newton-cg"
    ),
}


def problem(n_features=7, separation=0.8, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([1, 2, 5, 9], SIZES))
    centres = separation * rng.standard_normal((10, n_features))
    X = 3 + centres[labels] + rng.standard_normal((labels.size, n_features))
    X[:, 1] = 4.0
    return X, labels


def scaled(X, train):
    """Unit length, centred by training images, their mean square length 1."""
    rows = normalize(X)
    rows = rows - rows[train].mean(axis=0)
    return rows / np.sqrt(np.square(rows[train]).sum(axis=1).mean())


def by_scikit_learn(X, y, train, test, kept, held, make):
    """C, validation accuracy and test accuracy, by the definition."""
    rows = scaled(X, train)

    def accuracy(C, fitted, tested):
        return balanced_accuracy_score(
            y[tested], make(C).fit(rows[fitted], y[fitted]).predict(rows[tested])
        )

    tried = {C: accuracy(C, train[kept], train[held]) for C in GRID}
    C = max(GRID, key=tried.get)
    assert len(GRID) == 3  # too few for the search to stop before the last
    return C, tried[C], accuracy(C, train, test)


@pytest.mark.parametrize("n_features", [7, 60])
@pytest.mark.parametrize("classifier", REFERENCES)
def test_a_split_is_what_plain_scikit_learn_makes_of_it(classifier, n_features):
    X, y = problem(n_features)
    options = QUICK | {"classifiers": [classifier], "dropout": [False], "tol": 1e-9}
    table = caltech_protocol({"a": X}, y, seed=3, **options)
    splits = stratified_splits(y, n_train=6, n_splits=2, seed=3)
    for row, (train, test) in zip(table.itertuples(), splits, strict=True):
        seed = derived_seed(3, row.split)
        members = np.unique(y[train], return_inverse=True)[1]
        inner = stratified_splits(members, n_train=4, n_test=2, n_splits=1, seed=seed)[0]
        expected = by_scikit_learn(X, y, train, test, *inner, REFERENCES[classifier])
        assert (row.C, row.validation, row.accuracy) == pytest.approx(expected)
        assert (row.train, row.test) == (24, y.size - 24)


@pytest.mark.parametrize("n_features", [7, 60])
def test_dropout_is_a_machine_fitted_to_copies_with_values_at_zero(n_features):
    X, y = problem(n_features)
    train, test = stratified_splits(y, n_train=6, n_splits=1, seed=0)[0]
    images = reduced_images(X, train, test, draws=3, seed=4)
    fit = fit_split(images, y[train], Cs=[2.0], seed=0, tol=1e-10)
    left = np.random.default_rng((4, 0)).integers(0, 2, (3, train.size, n_features), dtype=np.int8)
    assert 0.35 < left.mean() < 0.65
    rows = normalize(X)
    copies = (left * rows[train]).reshape(-1, n_features) - rows[train].mean(axis=0) / 2
    length = np.sqrt(np.square(copies).sum(axis=1).mean())
    copies, rows = copies / length, (rows - rows[train].mean(axis=0)) / length
    machine = LinearSVC(C=2 / 3, tol=1e-10, dual=False, max_iter=100_000)
    machine.fit(copies, np.tile(y[train], 3))
    ours = images.test @ fit.weights[:-1] + fit.weights[-1]
    np.testing.assert_allclose(ours, machine.decision_function(rows[test] / 2), atol=1e-6)
    ours = images.clean @ fit.weights[:-1] + fit.weights[-1]
    np.testing.assert_allclose(ours, machine.decision_function(rows[train] / 2), atol=1e-6)


def blind_fit(X, y, train, test):
    """C and decision values on training images; what the test images are must not matter."""
    images = reduced_images(X, train, test, seed=0)
    fit = fit_split(images, y[train], Cs=GRID, n_validate=2, seed=0)
    return fit.C, images.clean @ fit.weights[:-1] + fit.weights[-1]


def fit_that_centres_by_all_images(X, y, train, test):
    return blind_fit(X - X.mean(axis=0), y, train, test)


def fit_that_chooses_by_test_images(X, y, train, test):
    def accuracy(C):
        machine = LinearSVC(C=C).fit(X[train], y[train])
        return np.mean(machine.predict(X[test]) == y[test])

    C = max((1e-6, *GRID), key=accuracy)
    return C, blind_fit(X, y, train, test)[1]


def assert_sees_no_test_image(fit):
    """Corrupting the test images, or their labels, must change nothing that was fitted."""
    X, y = problem(12, separation=1.5)
    train, test = stratified_splits(y, n_train=6, n_splits=1, seed=0)[0]
    rng = np.random.default_rng(1)
    corrupted, mislabelled = X.copy(), y.copy()
    corrupted[test] = 1e3 * rng.standard_normal((test.size, X.shape[1]))
    mislabelled[test] = np.roll(np.unique(y), 1)[np.searchsorted(np.unique(y), y[test])]
    C, decisions = fit(X, y, train, test)
    for X_seen, y_seen in ((corrupted, y), (X, mislabelled)):
        other_C, other = fit(X_seen, y_seen, train, test)
        assert other_C == C
        np.testing.assert_array_equal(other, decisions)


def test_nothing_of_a_test_image_reaches_c_or_the_machine():
    assert_sees_no_test_image(blind_fit)


@pytest.mark.parametrize("leak", [fit_that_centres_by_all_images, fit_that_chooses_by_test_images])
def test_a_planted_leak_is_caught(leak):
    with pytest.raises(AssertionError):
        assert_sees_no_test_image(leak)


def test_same_seed_same_table_another_seed_another():
    X, y = problem()
    sets = {"b": X, "a": X[:, :4]}
    tables = [caltech_protocol(sets, y, seed=seed, **QUICK) for seed in (0, 0, 1)]
    numbers = [table.drop(columns="seconds") for table in tables]
    pd.testing.assert_frame_equal(numbers[0], numbers[1])
    assert not numbers[0]["accuracy"].equals(numbers[2]["accuracy"])
    configurations = numbers[0][["features", "classifier", "dropout"]].drop_duplicates()
    assert configurations.apply(tuple, axis=1).tolist() == [
        (features, classifier, dropout)
        for features in ("b", "a")
        for classifier in ("linear SVM", "logistic regression")
        for dropout in (False, True)
    ]


def test_a_transformer_is_fitted_to_the_training_images_alone():
    X, y = problem()
    train, test = stratified_splits(y, n_train=6, n_splits=1, seed=0)[0]
    images = reduced_images(X, train, test, transformer=FullNetworkEmbedding())
    fitted = FullNetworkEmbedding().fit(X[train])
    transformed = scaled(fitted.transform(X).astype(float), train)
    rows, others = transformed[train], transformed[test]
    np.testing.assert_allclose(images.train @ images.train.T, rows @ rows.T, atol=1e-10)
    np.testing.assert_allclose(images.test @ images.train.T, others @ rows.T, atol=1e-10)
    options = QUICK | {"dropout": [False], "classifiers": ["linear SVM"]}
    with pytest.raises(ValueError, match=r"transformers of \['a'\], got some of \['b'\]"):
        caltech_protocol({"a": X}, y, seed=0, transformers={"b": fitted}, **options)
    table = caltech_protocol({"a": X}, y, seed=0, transformers={"a": fitted}, **options)
    expected = fit_split(images, y[train], Cs=GRID, n_validate=2, seed=derived_seed(0, 0))
    assert table["C"][0] == expected.C
    assert table["validation"][0] == expected.validation[expected.C]


def test_features_wider_than_a_block_are_summed_up(monkeypatch):
    X, y = problem(60)
    whole = caltech_protocol({"a": X}, y, seed=0, dropout=[False], **QUICK)
    monkeypatch.setattr(protocols, "_BLOCK", 17)
    parts = caltech_protocol({"a": X}, y, seed=0, dropout=[False], **QUICK)
    pd.testing.assert_frame_equal(whole.drop(columns="seconds"), parts.drop(columns="seconds"))


def test_products_shared_by_all_splits_are_those_of_unit_vectors_and_change_nothing():
    X, y = problem(60)
    X[3] = 0
    shared = protocols.inner_products(X)
    np.testing.assert_allclose(shared, normalize(X) @ normalize(X).T, atol=1e-12)
    train, test = stratified_splits(y, n_train=6, n_splits=1, seed=0)[0]
    alone = reduced_images(X, train, test)
    taken = reduced_images(X, train, test, products=shared)
    rows = scaled(X, train)
    np.testing.assert_allclose(alone.train @ alone.train.T, rows[train] @ rows[train].T, atol=1e-10)
    for part in ("train", "test"):
        a, b = (getattr(each, part) @ each.train.T for each in (alone, taken))
        np.testing.assert_allclose(a, b, atol=1e-10)


@pytest.mark.parametrize(
    ("accuracies", "declined"),
    [
        ([0.5], False),
        ([0.5, 0.4], False),
        ([0.5, 0.4, 0.45], True),
        ([0.5, 0.4, 0.5], False),
        ([0.3, 0.5, 0.4], False),
        ([0.5, 0.4, 0.6], False),
    ],
)
def test_the_search_ends_after_two_values_below_the_best(accuracies, declined):
    assert protocols._declined(accuracies) is declined


def test_small_classes_are_trained_on_half_and_validated_in_proportion():
    X, y = problem()
    table = caltech_protocol({"a": X}, y, seed=0, n_train=9, n_validate=4, dropout=[False])
    assert (table["train"] == 4 * (9 // 2)).all()
    with pytest.raises(ValueError, match="smallest class has 3 images, too few"):
        keep = np.concatenate([np.flatnonzero(y == name)[:3] for name in (1, 2)])
        caltech_protocol({"a": X[keep]}, y[keep], seed=0)


def test_the_summary_is_mean_and_sample_deviation():
    X, y = problem()
    table = caltech_protocol({"a": X}, y, seed=0, classifiers=["linear SVM"], **QUICK)
    summary = summarise_protocol(table)
    assert summary["dropout"].tolist() == [False, True]
    plain = table[~table["dropout"]]
    assert summary["mean"][0] == pytest.approx(plain["accuracy"].mean())
    assert summary["std"][0] == pytest.approx(np.std(plain["accuracy"], ddof=1))
    assert summary["splits"].tolist() == [2, 2]
    assert summary["seconds"][0] == pytest.approx(plain["seconds"].sum())


def test_the_curve_shares_test_images_and_nests_training_images(monkeypatch):
    X, y = problem()
    seen = []
    honest = protocols.reduced_images

    def remembered(values, train, test, **options):
        seen.append((set(train.tolist()), test.tolist()))
        return honest(values, train, test, **options)

    monkeypatch.setattr(protocols, "reduced_images", remembered)
    curve = training_size_curve({"a": X}, y, seed=0, sizes=[1, 3, 8], n_splits=2)
    first = [split for split in seen if split[1] == seen[0][1]]
    one, three, eight = sorted(first, key=lambda split: len(split[0]))
    assert one[0] < three[0] < eight[0]
    assert sorted({*eight[0], *eight[1]}) == list(range(y.size))
    assert curve["train"].unique().tolist() == [4, 12, 32]
    assert summarise_protocol(curve)["n_train"].tolist() == [1, 1, 3, 3, 8, 8]


def test_the_curve_takes_by_default_the_sizes_that_leave_an_image_to_test_on():
    X, y = problem()
    curve = training_size_curve({"a": X}, y, seed=0, n_splits=1, Cs={"linear SVM": 1.0})
    assert curve["n_train"].tolist() == [1, 3, 5]
    with pytest.raises(ValueError, match=r"sizes from 1 to 8, .* got \[1, 9\]"):
        training_size_curve({"a": X}, y, seed=0, sizes=[1, 9])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": {}}, "at least one set of features"),
        ({"features": {"a": np.zeros((5, 2))}}, r"a: expected features .* \(5, 2\) and \(57,\)"),
        ({"features": {"a": np.full((57, 2), np.nan)}}, "a: expected finite features, got 114"),
        ({"labels": np.zeros(57)}, "at least two classes"),
        ({"classifiers": ["svm"]}, r"expected classifiers among .*got \['svm'\]"),
        ({"Cs": [0.0]}, r"values of C above 0, got \[0.0\]"),
        ({"copies": 0}, "at least one copy of each image, got copies=0"),
        ({"n_validate": 6}, "n_train=6 of which n_validate=6"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    X, y = problem()
    arguments = {"features": {"a": X}, "labels": y, "seed": 0} | QUICK | change
    with pytest.raises(ValueError, match=message):
        caltech_protocol(**arguments)


def test_given_splits_are_measured_as_they_are():
    X, y = problem(20)
    drawn = stratified_splits(y, n_train=6, n_splits=2, seed=3)
    ours = protocol_on_splits({"a": X}, y, drawn, seed=3, n_validate=2, Cs=GRID)
    theirs = caltech_protocol({"a": X}, y, seed=3, **QUICK)
    pd.testing.assert_frame_equal(ours.drop(columns="seconds"), theirs.drop(columns="seconds"))
    train, test = drawn[0]
    few = protocol_on_splits({"a": X}, y, [(train, test[:5])], seed=0, n_validate=2, Cs=GRID)
    assert few["test"].unique().tolist() == [5]
    assert few["split"].unique().tolist() == [0]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (None, "at least one split, got none"),
        (([0, 1, 2], [2, 3]), "none that train; got 2 test images of which 1 train"),
        (([0, 1, 2], []), "got 0 test images"),
        (([0, 1, 2], [3]), "more than 1 training images of every class, got . of class"),
    ],
)
def test_splits_that_cannot_be_measured_are_refused(split, message):
    X, y = problem()
    with pytest.raises(ValueError, match=message):
        protocol_on_splits({"a": X}, y, [split] if split else [], seed=0, n_validate=1)


@pytest.mark.parametrize("n_features", [300, 20])
def test_lazy_features_give_the_accuracies_of_those_in_memory(n_features):
    X, y = problem(60)
    wide = np.hstack([X] * (1 + n_features // X.shape[1]))[:, :n_features].astype(np.float32)
    wide *= np.random.default_rng(0).uniform(0.5, 2, n_features).astype(np.float32)
    read = []

    def load(block_info):
        (first, last) = block_info[None]["array-location"][1]
        read.append(last - first)
        return wide[:, first:last]

    chunks = ((len(wide),), (n_features // 2, n_features - n_features // 2))
    meta = np.empty((0, 0), np.float32)
    lazy = dask.array.map_blocks(load, chunks=chunks, meta=meta)
    options = {"seed": 0, "dropout": [False], **QUICK}
    found = caltech_protocol({"a": xr.DataArray(lazy, dims=("image", "feature"))}, y, **options)
    expected = caltech_protocol({"a": wide}, y, **options)
    pd.testing.assert_frame_equal(found.drop(columns="seconds"), expected.drop(columns="seconds"))
    assert max(read) < n_features
    bad = xr.DataArray(lazy, dims=("image", "feature")).where(lambda x: x < x.max())
    with pytest.raises(ValueError, match="expected finite features"):
        caltech_protocol({"a": bad}, y, **options)
