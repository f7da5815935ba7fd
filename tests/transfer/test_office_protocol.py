"""The Office protocol: what is drawn, what methods get to see, and one split computed naively."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from analysis.transfer import (
    MaxMarginDomainTransform,
    office_n_source,
    office_protocol,
    table_of_office,
)
from analysis.transfer.office_protocol import OFFICE_METHODS, _draws, _task

PER_CLASS = {"n_source": 6, "n_target": 2}


def two_domains(seed=0, classes=3, width=12, n=(10, 9)):
    """Same classes in both, other directions and another place in the target."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, width))
    ys, yt = np.repeat(np.arange(classes), n[0]), np.repeat(np.arange(classes), n[1])
    turn = np.eye(width) + 0.3 * rng.normal(size=(width, width))
    Xs = centres[ys] + rng.normal(size=(ys.size, width))
    return Xs, ys, (centres[yt] + rng.normal(size=(yt.size, width))) @ turn + 1, yt


def first_task(Xs, ys, Xt, yt, draw=None):
    draw = draw or next(_draws(ys, yt, 6, 2, 1, seed=0))
    return _task(Xs, ys, Xt, yt, draw, n_components=20), draw


@pytest.fixture(scope="module")
def measured():
    return office_protocol(*two_domains(), **PER_CLASS, n_splits=3, seed=0)


def test_a_row_for_every_split_and_method(measured):
    expected = [(split, *key) for split in range(3) for key in OFFICE_METHODS]
    assert [*zip(measured["split"], measured["training"], measured["method"], strict=True)] == (
        expected
    )
    trained = measured.groupby("training")["train"].unique().map(list).to_dict()
    assert trained == {"S": [18], "T": [6], "ST": [24], "adapt": [24], "S, unlabelled T": [18]}
    assert (measured["test"] == 21).all()
    assert measured["chance"].unique().tolist() == [1 / 3]


def test_as_many_images_of_each_class_as_asked_for_and_the_rest_of_the_target_is_tested():
    _, ys, _, yt = two_domains()
    ys = ys[:-4]  # all six images of a class may be taken
    draws = [*_draws(ys, yt, 6, 2, 5, seed=0)]
    for source, few, test in draws:
        assert Counter(ys[source].tolist()) == {0: 6, 1: 6, 2: 6}
        assert Counter(yt[few].tolist()) == {0: 2, 1: 2, 2: 2}
        assert np.unique(source).size == source.size
        assert sorted([*few, *test]) == list(range(yt.size))
    assert len({tuple(draw.source) for draw in draws}) == 5


def test_labelled_target_images_are_the_same_for_every_source(measured):
    other = office_protocol(
        *two_domains(seed=9)[:2], *two_domains()[2:], **PER_CLASS, n_splits=3, seed=0
    )
    a, b = (table[table["training"] == "T"].reset_index() for table in (measured, other))
    pd.testing.assert_frame_equal(a, b)


def test_the_same_seed_gives_the_same_table(measured):
    again = office_protocol(*two_domains(), **PER_CLASS, n_splits=3, seed=0)
    pd.testing.assert_frame_equal(again, measured)
    fewer = office_protocol(*two_domains(), **PER_CLASS, n_splits=1, seed=0)
    pd.testing.assert_frame_equal(fewer, measured[measured["split"] == 0])
    other = office_protocol(*two_domains(), **PER_CLASS, n_splits=3, seed=1)
    assert (other["accuracy"] != measured["accuracy"]).any()


@pytest.mark.parametrize("key", OFFICE_METHODS, ids=" ".join)
def test_what_reaches_a_method(key):
    Xs, ys, Xt, yt = two_domains()
    task, draw = first_task(Xs, ys, Xt, yt)
    method = OFFICE_METHODS[key]
    predicted = method.predict(task)

    wrong, others, moved = yt.copy(), yt.copy(), Xt.copy()
    wrong[draw.test] = np.random.default_rng(0).permutation(yt[draw.test])
    assert (wrong != yt).any()
    relabelled, _ = first_task(Xs, ys, Xt, wrong, draw)
    np.testing.assert_array_equal(predicted, method.predict(relabelled))

    moved[draw.test[:5]] += 50 * np.random.default_rng(0).normal(size=(5, Xt.shape[1]))
    changed, _ = first_task(Xs, ys, moved, yt, draw)
    assert method.unlabelled or (predicted == method.predict(changed))[5:].all()

    others[draw.few] = (yt[draw.few] + 1) % 3
    relabelled, _ = first_task(Xs, ys, Xt, others, draw)
    same = (predicted == method.predict(relabelled)).all()
    assert same == (key[0] in {"S", "S, unlabelled T"})


def test_some_methods_learn_from_unlabelled_images():
    aligned = ["Gong et al. (2012)", "Sun et al. (2016)", "Fernando et al. (2013)"]
    assert [key for key, method in OFFICE_METHODS.items() if method.unlabelled] == [
        ("ST", "SVM, each domain standardised"),
        ("adapt", "Hoffman et al. (2013)"),
        *(("adapt", name) for name in aligned),
        *(("S, unlabelled T", name) for name in ["SVM, each domain standardised", *aligned]),
    ]


@pytest.mark.parametrize("width", [12, 60])  # fewer and more features than labelled images
def test_equals_one_split_computed_naively(width):
    """Machines without adaptation, and Daumé's, with loops instead of shared code."""
    Xs, ys, Xt, yt = two_domains(seed=3, width=width)
    found = office_protocol(Xs, ys, Xt, yt, **PER_CLASS, n_splits=1, seed=0)
    found = found.set_index(["training", "method"])
    own, few, test = next(_draws(ys, yt, 6, 2, 1, seed=0))

    def scored(X, y, tested, machine):
        size = np.sqrt(np.mean([row @ row for row in X]))
        predicted = machine.fit(X / size, y).predict(tested / size)
        return np.mean(predicted == yt[test]), [
            np.mean(predicted[yt[test] == name] == name) for name in range(3)
        ]

    def scaled(rows, X):
        return (X - rows.mean(axis=0)) / rows.std(axis=0)

    both, y = np.vstack([Xs[own], Xt[few]]), np.append(ys[own], yt[few])
    for training, X, labels in [("S", Xs[own], ys[own]), ("T", Xt[few], yt[few]), ("ST", both, y)]:
        for name, machine in [
            ("Logistic Reg.", LogisticRegression(C=100, max_iter=1000)),
            ("SVM", LinearSVC(dual=False)),
        ]:
            accuracy, by_class = scored(scaled(X, X), labels, scaled(X, Xt[test]), machine)
            assert found.loc[(training, name), "accuracy"] == accuracy
            assert found.loc[(training, name), "class_accuracy"] == pytest.approx(np.mean(by_class))
    S, T, tested = (scaled(both, X) for X in (Xs[own], Xt[few], Xt[test]))
    rows = np.block([[S, S, 0 * S], [T, 0 * T, T]])
    accuracy, _ = scored(rows, y, np.hstack([tested, 0 * tested, tested]), LinearSVC(dual=False))
    assert found.loc[("adapt", "Daume III (2007)"), "accuracy"] == accuracy

    parts = [scaled(Xs[own], Xs[own]), scaled(Xt, Xt[few]), scaled(Xt, Xt[test])]
    accuracy, _ = scored(np.vstack(parts[:2]), y, parts[2], LinearSVC(dual=False))
    assert found.loc[("ST", "SVM, each domain standardised"), "accuracy"] == accuracy
    accuracy, _ = scored(parts[0], ys[own], parts[2], LinearSVC(dual=False))
    assert found.loc[("S, unlabelled T", "SVM, each domain standardised"), "accuracy"] == accuracy

    source, labelled, target = scaled(Xs[own], Xs[own]), scaled(Xt, Xt[few]), scaled(Xt, Xt)
    pooled = np.vstack([source, target])
    axes = np.linalg.svd(pooled - pooled.mean(axis=0))[2][: min(20, width // 2, 17)].T
    machine = MaxMarginDomainTransform(0.05, 1.0, max_iter=2)
    machine.fit(source @ axes, ys[own], labelled @ axes, yt[few])
    expected = np.mean(machine.predict(target[test] @ axes) == yt[test])
    assert found.loc[("adapt", "Hoffman et al. (2013)"), "accuracy"] == expected


def test_features_that_do_not_vary_and_few_of_them():
    Xs, ys, Xt, yt = two_domains(width=4)
    Xs[:, 0] = Xt[:, 0] = 3.0
    found = office_protocol(Xs, ys, Xt, yt, **PER_CLASS, n_splits=1, seed=0)
    assert np.isfinite(found["accuracy"]).all()


def test_source_images_per_class():
    domains = ("office_caltech10/amazon", "office31/dslr", "webcam", "caltech10")
    assert [office_n_source(domain) for domain in domains] == [20, 8, 8, 20]


def stacked(measured):
    here = measured.assign(source="amazon", target="webcam")
    there = here.assign(source="dslr", accuracy=here["accuracy"] / 2)
    cells = (here, "SURF"), (here, "fc6"), (there, "fc6")
    return pd.concat([table.assign(features=features) for table, features in cells])


def test_the_table_is_laid_out_as_the_paper_s(measured):
    table = table_of_office(stacked(measured))
    assert [*table.index] == [*OFFICE_METHODS]
    assert [*table.columns] == [
        ("amazon → webcam", "SURF"),
        ("amazon → webcam", "fc6"),
        ("dslr → webcam", "fc6"),
    ]
    part = measured[(measured["training"] == "S") & (measured["method"] == "SVM")]["accuracy"]
    expected = f"{50 * part.mean():.2f} ± {50 * part.std(ddof=1):.1f}"
    assert table.loc[("S", "SVM"), ("dslr → webcam", "fc6")] == expected
    one = table_of_office(stacked(measured[measured["split"] == 0]))
    assert not one.map(lambda cell: "±" in cell).any(axis=None)
    with pytest.raises(ValueError, match="source, target, features is missing"):
        table_of_office(measured)
    with pytest.raises(ValueError, match="split 0 of amazon → webcam by SURF comes twice"):
        table_of_office(pd.concat([stacked(measured)] * 2))


def test_refusals():
    Xs, ys, Xt, yt = two_domains()
    for arguments, options, message in [
        ((Xs, ys, Xt, yt), {"n_source": 11}, "n_source from 1 to 10, .* source class 0, got 11"),
        ((Xs, ys, Xt, yt), {"n_target": 9}, "10 images per class are needed"),
        ((Xs, ys, Xt, np.where(yt == 2, 7, yt)), {}, r"source has \[2\], only the target \[7\], b"),
        ((Xs, ys, Xt, yt[:-1]), {}, "one label for each of 27 target images"),
    ]:
        with pytest.raises(ValueError, match=message):
            office_protocol(*arguments, **PER_CLASS | options, seed=0)
