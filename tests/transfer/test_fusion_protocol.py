"""Alignment and classification of descriptors: against plain steps, and what labels can reach."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.svm import LinearSVC

from analysis.transfer import (
    CorrelationAlignment,
    GeodesicFlowKernel,
    TransferComponentAnalysis,
)
from analysis.transfer.fusion import (
    ALIGNMENTS,
    SIZES,
    Alignment,
    Descriptor,
    Domains,
    classify_targets,
    fusion_descriptors,
    fusion_table,
    predict_linear,
    table_of_fusion,
)

FEW = Alignment(sizes=(16, 8, 4))


def domains(seed=0, n=(40, 31), width=20, classes=4):
    """Same classes in both; the target turned a little and moved."""
    rng = np.random.default_rng(seed)
    centres = 1.5 * rng.normal(size=(classes, width))
    ys, yt = np.arange(n[0]) % classes, rng.integers(classes, size=n[1])
    turn = np.eye(width) + 0.2 * rng.normal(size=(width, width))
    source = centres[ys] + rng.normal(size=(n[0], width))
    target = (centres[yt] + rng.normal(size=(n[1], width))) @ turn + 1
    names = np.array(["ant", "bee", "cat", "dog"])
    return Domains(source, target), names[ys], names[yt]


@pytest.fixture(scope="module")
def pair():
    late, ys, yt = domains()
    local = {("b1", "flatten"): domains(1)[0], ("b2", "PCA"): domains(2, width=9)[0]}
    return fusion_descriptors("late", late, local), ys, yt


@pytest.fixture(scope="module")
def table(pair):
    return fusion_table(*pair, how=FEW, alignments=[*ALIGNMENTS], label_free=True)


def plain_svm(X, y, X_new, C=1.0):
    """The machine, step by step, by LIBLINEAR."""
    mean = X.mean(axis=0)
    size = np.sqrt(np.mean([row @ row for row in X - mean]))
    machine = LinearSVC(C=C, dual=False, tol=1e-8).fit((X - mean) / size, y)
    return machine.predict((X_new - mean) / size)


def share_right(predicted, labels):
    return np.nan if predicted is None else np.mean(predicted == labels)


class TestTable:
    def test_a_row_for_each_outcome(self, pair, table):
        kinds = [each.kind for each in pair[0]]
        assert kinds == ["global", "fusion", "fusion", "local", "local"]
        per_alignment = {name: 3 if name in ("TCA", "geodesic flow") else 1 for name in ALIGNMENTS}
        expected = [
            (each.kind, each.layer, each.selection, name)
            for each in pair[0]
            for name, rows in per_alignment.items()
            for _ in range(rows)
        ]
        found = table[["descriptor", "layer", "selection", "alignment"]]
        assert [*found.itertuples(index=False, name=None)] == expected
        assert (table["train"] == 40).all()
        assert (table["test"] == 31).all()
        assert table["chance"].unique().tolist() == [0.25]
        assert table["majority"].unique().tolist() == [
            np.bincount(np.unique(pair[2], return_inverse=True)[1]).max() / 31
        ]

    @pytest.mark.parametrize("size", FEW.sizes)
    def test_transfer_components_cut_are_those_fitted_anew(self, pair, table, size):
        descriptors, ys, yt = pair
        for each in descriptors:
            found = TransferComponentAnalysis(size, mu=FEW.mu).fit(*each.domains)
            predicted = plain_svm(found.source_embedding_, ys, found.target_embedding_)
            rows = table[
                (table["descriptor"] == each.kind)
                & (table["layer"] == each.layer)
                & (table["n_components"] == size)
                & (table["alignment"] == "TCA")
            ]
            assert rows["accuracy"].tolist() == [np.mean(predicted == yt)]
            by_class = [np.mean(predicted[yt == name] == name) for name in np.unique(yt)]
            assert_allclose(rows["class_accuracy"], [np.mean(by_class)])

    def test_descriptors_that_are_not_aligned(self, pair, table):
        descriptors, ys, yt = pair
        source, target = descriptors[0].domains
        unit = [X / np.linalg.norm(X, axis=1, keepdims=True) for X in (source, target)]
        scaled = [(X - X.mean(axis=0)) / X.std(axis=0) for X in (source, target)]
        found = table[table["descriptor"] == "global"].set_index("alignment")["accuracy"]
        for name, (Xs, Xt) in {
            "none": (source, target),
            "none, unit length": unit,
            "none, each domain standardised": scaled,
            "CORAL": (CorrelationAlignment().fit(*scaled).transform_source(scaled[0]), scaled[1]),
        }.items():
            assert found[name] == np.mean(plain_svm(Xs, ys, Xt) == yt)

    def test_settings_reach_the_alignment(self, pair):
        descriptors, ys, _ = pair
        how = Alignment((5,), mu=0.01, gamma=0.3)
        (found,) = classify_targets(descriptors[:1], ys, alignments=["TCA"], how=how, C=7.0)
        fitted = TransferComponentAnalysis(5, gamma=0.3, mu=0.01).fit(*descriptors[0].domains)
        expected = plain_svm(fitted.source_embedding_, ys, fitted.target_embedding_, C=7.0)
        assert_array_equal(found["predicted"], expected)


class TestLabelsOfTheTarget:
    def test_they_change_accuracies_alone(self, pair, table):
        descriptors, ys, yt = pair
        others = np.random.default_rng(0).permutation(yt)
        assert (others != yt).any()
        options = {"how": FEW, "alignments": [*ALIGNMENTS], "label_free": True}
        found = fusion_table(descriptors, ys, others, **options)
        outcomes = [*classify_targets(descriptors, ys, how=FEW, alignments=[*ALIGNMENTS])]
        for labels, scored in ((yt, table), (others, found)):
            expected = [share_right(each["predicted"], labels) for each in outcomes]
            assert_array_equal(scored["accuracy"], expected)
        blind = ["descriptor", "layer", "selection", "alignment", "n_components", "gap"]
        blind += ["source_accuracy", "chance", "majority"]
        pd.testing.assert_frame_equal(found[blind], table[blind])


class TestAlignments:
    def test_geodesic_flow_in_the_span_is_that_of_all_features(self):
        (source, target), _, _ = domains(n=(20, 15), width=200)
        ((_, (Zs, Zt)),) = ALIGNMENTS["geodesic flow"](source, target, Alignment((10,)))
        scaled = [(X - X.mean(axis=0)) / X.std(axis=0) for X in (source, target)]
        flow = GeodesicFlowKernel(5).fit(*scaled)
        expected = flow.transform(scaled[0]) @ flow.transform(scaled[1]).T
        assert_allclose(Zs @ Zt.T, expected, atol=1e-8 * np.abs(expected).max())

    def test_coral_in_the_span_is_that_of_all_features(self):
        (source, target), _, _ = domains(n=(20, 15), width=200)
        ((width, (Zs, Zt)),) = ALIGNMENTS["CORAL"](source, target, Alignment())
        scaled = [(X - X.mean(axis=0)) / X.std(axis=0) for X in (source, target)]
        expected = CorrelationAlignment().fit(*scaled).transform_source(scaled[0]) @ scaled[1].T
        assert_allclose(Zs @ Zt.T, expected, atol=1e-8 * np.abs(expected).max())
        assert width == 200

    @pytest.mark.parametrize("name", ["TCA", "geodesic flow"])
    def test_more_numbers_than_there_are(self, name):
        late, ys, yt = domains(n=(12, 9))
        descriptor = Descriptor("global", "late", "", late)
        found = fusion_table([descriptor], ys, yt, alignments=[name])
        most = {"TCA": 20, "geodesic flow": 16}[name]
        assert found["n_components"].tolist() == [*SIZES, most]
        assert found["accuracy"].isna().tolist() == 5 * [True] + [False]
        some = fusion_table([descriptor], ys, yt, alignments=[name], how=Alignment((256, 8)))
        assert some["n_components"].tolist() == [256, 8]
        assert some["accuracy"].isna().tolist() == [True, False]

    def test_images_that_come_twice_leave_fewer_components(self):
        (source, target), ys, _ = domains(n=(12, 9))
        twice = Descriptor("global", "late", "", Domains(np.repeat(source, 2, axis=0), target))
        *_, last = classify_targets([twice], np.repeat(ys, 2), alignments=["TCA"])
        assert 16 <= last["n_components"] <= 20
        assert last["predicted"].shape == (9,)

    @pytest.mark.parametrize("name", ALIGNMENTS)
    def test_features_without_variance(self, name):
        (source, target), ys, _ = domains()
        padded = [np.pad(X, [(0, 0), (0, 3)]) for X in (source, target)]
        options = {"alignments": [name], "how": Alignment((8,), gamma=0.01)}
        outcomes = [
            outcome
            for X in ((source, target), padded)
            for outcome in classify_targets([Descriptor("g", "", "", Domains(*X))], ys, **options)
        ]
        assert_array_equal(outcomes[0]["predicted"], outcomes[1]["predicted"])


class TestMachine:
    @pytest.mark.parametrize("classes", [2, 4])
    def test_it_is_the_plain_one(self, classes):
        (source, target), ys, _ = domains(classes=classes)
        expected = plain_svm(source * 50 + 9, ys, target * 50 + 9, C=3.0)
        assert_array_equal(predict_linear(source * 50 + 9, ys, target * 50 + 9, C=3.0), expected)

    def test_one_class_is_all_there_is_to_say(self):
        assert predict_linear(np.eye(3), np.array(["a"] * 3), np.eye(2, 3)).tolist() == ["a", "a"]


class TestErrors:
    def test_classes_that_the_source_lacks(self, pair):
        descriptors, ys, yt = pair
        with pytest.raises(ValueError, match=r"but \['elk'\] of 31 target labels.*by name"):
            fusion_table(descriptors, ys, np.append(yt[:-1], "elk"))

    def test_labels_for_other_images(self, pair):
        descriptors, ys, yt = pair
        with pytest.raises(ValueError, match="each of 40 source images"):
            fusion_table(descriptors, ys[:-1], yt)
        with pytest.raises(ValueError, match="each of 31 target images"):
            fusion_table(descriptors, ys, yt[:-1], how=FEW)

    def test_unknown_alignments_and_sizes(self, pair):
        with pytest.raises(ValueError, match=r"unknown alignments \['tca'\]; known: none, none, u"):
            fusion_table(*pair, alignments=["tca"])
        for sizes in ((), (64, 1)):
            with pytest.raises(ValueError, match="components from 2"):
                fusion_table(*pair, how=Alignment(sizes))


class TestLayout:
    def test_the_papers_tables(self, table):
        found = table_of_fusion(table)
        assert found.index.tolist() == ["16", "8", "4", "Avg."]
        assert found.columns.tolist() == [
            ("global", "late", ""),
            ("fusion", "b1", "flatten"),
            ("fusion", "b2", "PCA"),
            ("local", "b1", "flatten"),
            ("local", "b2", "PCA"),
        ]
        cells = table[(table["alignment"] == "TCA") & (table["descriptor"] == "global")]
        column = found["global", "late", ""]
        assert_allclose(column[:3], 100 * cells["accuracy"])
        assert_allclose(column["Avg."], 100 * cells["accuracy"].mean())

    def test_the_average_is_of_the_numbers_there_are(self, table):
        lacking = table.copy()
        gone = (lacking["alignment"] == "TCA") & (lacking["n_components"] == 16)
        lacking.loc[gone & (lacking["layer"] == "b2"), "accuracy"] = np.nan
        column = table_of_fusion(lacking)["fusion", "b2", "PCA"]
        assert np.isnan(column["16"])
        assert_allclose(column["Avg."], column[["8", "4"]].mean())

    def test_what_cannot_be_laid_out(self, table):
        with pytest.raises(ValueError, match="aligned by 'PCA'"):
            table_of_fusion(table, alignment="PCA")
        with pytest.raises(ValueError, match="a cell comes twice"):
            table_of_fusion(pd.concat([table, table]))
