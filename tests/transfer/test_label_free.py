"""Choosing without target labels: the measures, the rules, and what a choice costs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.neighbors import KNeighborsClassifier

from analysis.transfer import fusion
from analysis.transfer.fusion import (
    RULES,
    choose_without_labels,
    domain_gap,
    source_accuracy,
)


def samples(n, shift=0.0, seed=0, width=5):
    return np.random.default_rng(seed).normal(size=(n, width)) + shift


def nearest(X, y, X_new):
    return KNeighborsClassifier(1).fit(X, y).predict(X_new)


class TestGap:
    def test_a_loop_over_pairs_gives_the_same(self):
        source, target = samples(8), samples(6, 1.0, seed=1)
        X = np.vstack([source, target])
        squared = euclidean_distances(X) ** 2
        K = np.exp(squared / (-2 * np.median(squared[np.triu_indices(14, 1)])))
        within = [[K[i, j] for i in r for j in r if i != j] for r in (range(8), range(8, 14))]
        across = [K[i, j] for i in range(8) for j in range(8, 14)]
        expected = np.mean(within[0]) + np.mean(within[1]) - 2 * np.mean(across)
        assert_allclose(domain_gap(source, target), expected)

    def test_it_grows_with_the_distance_up_to_two(self):
        gaps = [domain_gap(samples(60), samples(50, shift, seed=1)) for shift in (0, 0.5, 1, 3)]
        assert gaps == sorted(gaps)
        assert abs(gaps[0]) < 0.02
        far = domain_gap(samples(60, width=1) * 1e-9, samples(50, 1.0, 1, 1) * 1e-9 + 1)
        assert 0 < far <= 2

    def test_neither_scale_nor_place_matters(self):
        source, target = samples(40), samples(30, 1.0, seed=1)
        expected = domain_gap(source, target)
        assert_allclose(domain_gap(1e3 * source + 5, 1e3 * target + 5), expected, rtol=1e-9)
        assert_allclose(domain_gap(target, source), expected)

    def test_images_that_all_are_the_same_are_no_apart(self):
        assert domain_gap(np.ones((5, 3)), np.ones((4, 3))) == 0

    def test_most_images_the_same(self):
        source = np.vstack([np.zeros((9, 2)), np.ones((1, 2))])
        assert np.isfinite(domain_gap(source, np.zeros((9, 2))))

    def test_many_images_are_drawn_by_seed(self, monkeypatch):
        monkeypatch.setattr(fusion, "_AT_MOST", 20)
        source, target = samples(80), samples(70, 1.0, seed=1)
        gaps = [domain_gap(source, target, seed=seed) for seed in (0, 0, 1)]
        assert gaps[0] == gaps[1] != gaps[2]


class TestSourceAccuracy:
    def test_every_image_is_tested_once_by_a_machine_that_has_not_seen_it(self):
        X, y = samples(33), np.arange(33) % 3
        seen = []

        def remember(own, labels, others):
            assert not {*own[:, 0]} & {*others[:, 0]}
            assert len(own) + len(others) == 33
            seen.extend(others[:, 0])
            return np.repeat(0, len(others))

        assert source_accuracy(X, y, remember) == 11 / 33
        assert sorted(seen) == sorted(X[:, 0])

    def test_classes_are_spread_evenly(self):
        y = np.repeat([*"abc"], [10, 7, 4])
        folds = fusion._folds(y, 4, seed=0)
        for name in "abc":
            counts = np.bincount(folds[y == name], minlength=4)
            assert counts.max() - counts.min() <= 1
        counts = np.bincount(folds)
        assert counts.max() - counts.min() <= 1

    def test_draws_go_by_the_seed(self):
        X, y = samples(60), np.arange(60) % 3
        found = [source_accuracy(X, y, nearest, seed=seed) for seed in range(6)]
        assert source_accuracy(X, y, nearest, seed=0) == found[0]
        assert len({*found}) > 1

    def test_what_makes_no_folds_is_refused(self):
        X = samples(6)
        with pytest.raises(ValueError, match="at least two classes"):
            source_accuracy(X, np.zeros(6), nearest)
        for n_folds in (1, 4):
            with pytest.raises(ValueError, match="n_folds from 2 to 3"):
                source_accuracy(X, np.arange(6) % 2, nearest, n_folds=n_folds)
        with pytest.raises(ValueError, match="each of 6 source images"):
            source_accuracy(X, np.arange(5), nearest)


def candidates(**columns):
    table = pd.DataFrame(
        {
            "layer": [*"abcd"],
            "n_components": [256, 64, 128, 64],
            "gap": [0.3, 0.1, 0.2, 0.4],
            "source_accuracy": [0.9, 0.5, 0.8, 0.7],
            "accuracy": [0.40, 0.20, 0.60, 0.30],
        }
    )
    return table.assign(**columns)


class TestChoice:
    def test_each_rule(self):
        found = choose_without_labels(candidates()).set_index("rule")
        assert [*found.index] == [*RULES]
        assert found["layer"].tolist() == ["b", "a", "c"]
        assert_allclose(found["regret"], [0.4, 0.2, 0.0])
        assert_allclose(found["best"], 0.6)
        assert_allclose(found["mean_regret"], 0.6 - 0.375)

    def test_ties_go_to_fewer_components_and_then_to_what_comes_first(self):
        found = choose_without_labels(candidates(gap=0.1, source_accuracy=0.5))
        assert found["layer"].tolist() == ["b", "b", "b"]

    def test_rows_that_were_not_measured_are_no_candidates(self):
        table = candidates(gap=[0.3, np.nan, 0.2, 0.4])
        assert choose_without_labels(table)["layer"].tolist()[0] == "c"

    def test_no_accuracy_is_needed_and_none_changes_a_choice(self):
        expected = choose_without_labels(candidates())["layer"].tolist()
        rng = np.random.default_rng(0)
        for accuracy in rng.random((5, 4)):
            found = choose_without_labels(candidates(accuracy=accuracy))
            assert found["layer"].tolist() == expected
        blind = choose_without_labels(candidates().drop(columns="accuracy"))
        assert blind["layer"].tolist() == expected
        assert "regret" not in blind

    def test_tables_without_the_measures_are_refused(self):
        with pytest.raises(ValueError, match=r"gap, source_accuracy is missing.*label_free=True"):
            choose_without_labels(candidates().drop(columns=["gap", "source_accuracy"]))
        with pytest.raises(ValueError, match="got none"):
            choose_without_labels(candidates(gap=np.nan))
