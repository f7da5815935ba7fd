"""Four distances side by side: each is the function's own, and summaries are what they say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import spearmanr

from analysis.statistics import (
    bhattacharyya,
    chance_by_measure,
    compare_measures,
    kullback_leibler,
    mutual_information,
    rank_correlations,
    signed_ks,
    widest_disagreements,
)

DIVERGENCES = ["kullback_leibler", "bhattacharyya", "mutual_information"]


def features(n=300, f=12, seed=0):
    """Rectified features, two of them constant, and labels of which three of four classes shift."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 4
    X = np.maximum(rng.standard_normal((n, f)) + labels[:, None] * rng.random(f), 0.5) - 0.5
    X[:, -2:] = 3
    coords = {"layer": ("feature", ["a"] * 5 + ["b"] * (f - 5)), "unit": ("feature", range(f))}
    return xr.DataArray(X.astype(np.float32), dims=("image", "feature"), coords=coords), labels


def test_every_row_is_its_pair():
    X, labels = features()
    table = compare_measures(X, labels, bins=20)
    assert len(table) == 4 * 12
    shape = (4, 12)
    for name, values in (
        ("dks", signed_ks(X, labels)),
        ("dks_binned", signed_ks(X, labels, bins=20)),
        ("kullback_leibler", kullback_leibler(X, labels, bins=20)),
        ("bhattacharyya", bhattacharyya(X, labels, bins=20)),
        ("mutual_information", mutual_information(X, labels, bins=20)),
    ):
        np.testing.assert_array_equal(table[name].to_numpy().reshape(shape), values)
    row = table.iloc[12 + 6]
    assert (row["class"], row["layer"], row["unit"]) == (1, "b", 6)
    assert row["zeros"] == pytest.approx((X.values[:, 6] == 0).mean())
    assert row["share"] == 0.25


def test_correlations_are_scipys_over_pairs_that_differ():
    X, labels = features()
    table = compare_measures(X, labels)
    (row,) = rank_correlations(table).to_dict("records")
    part = table[table["dks"] != 0]
    assert row["pairs"] == len(part) == 40
    for name in DIVERGENCES:
        assert row[name] == pytest.approx(spearmanr(part["dks"].abs(), part[name]).statistic)
    assert row["information_ratio"] == pytest.approx(
        (part["mutual_information"] / (0.25 * part["kullback_leibler"])).median()
    )


def test_a_ratio_near_one_where_classes_are_small():
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(40), 200)
    X = rng.standard_normal((8000, 3)) + 0.3 * rng.standard_normal((40, 3))[labels]
    coords = {"layer": ("feature", ["a"] * 3), "unit": ("feature", range(3))}
    X = xr.DataArray(X, dims=("image", "feature"), coords=coords)
    (row,) = rank_correlations(compare_measures(X, labels, bins=20)).to_dict("records")
    assert row["information_ratio"] == pytest.approx(1, abs=0.1)


def test_constant_features_alone_have_no_correlation():
    X, labels = features()
    table = compare_measures(X[:, -2:], labels)
    (row,) = rank_correlations(table).to_dict("records")
    assert row["pairs"] == 0
    assert np.isnan(row["kullback_leibler"])


def test_chance_is_what_shuffled_labels_give():
    X, labels = features()
    shuffled = np.random.default_rng(0).permutation(labels)
    tables = [
        compare_measures(X, y, bins=b) for y, b in ((labels, 100), (shuffled, 100), (labels, 50))
    ]
    real, noise, halved = (table[table["dks"] != 0] for table in tables)
    summary = chance_by_measure(*tables).set_index("measure")
    assert list(summary.index) == ["dks", *DIVERGENCES]
    for name in summary.index:
        row, binned = summary.loc[name], "dks_binned" if name == "dks" else name
        assert row["largest"] == real[name].abs().max()
        assert row["median"] == real[name].abs().median()
        assert row["chance_ratio"] == pytest.approx(noise[name].abs().median() / row["median"])
        beyond = real[name].abs() > np.quantile(noise[name].abs(), 0.95)
        assert row["beyond_chance"] == pytest.approx(beyond.mean())
        halves = halved[binned].abs().median() / real[binned].abs().median()
        assert row["bins_ratio"] == pytest.approx(halves)
    assert summary.loc["dks", "chance_ratio"] < summary.loc["kullback_leibler", "chance_ratio"]


def test_the_widest_disagreement_either_way():
    real = pd.DataFrame(
        {
            "class": [0, 1, 2, 3],
            "dks": [-0.9, 0.1, 0.2, 0.3],
            "kullback_leibler": [0.1, 0.2, 0.3, 0.4],
            "bhattacharyya": [0.3, 0.4, 0.2, 0.1],
            "mutual_information": [0.4, 0.1, 0.2, 0.3],
        }
    )
    noise = real.assign(dks=0.01, kullback_leibler=0.02, bhattacharyya=0.03)
    more, less = widest_disagreements(real, noise).to_dict("records")
    assert (more["class"], more["measure"], more["value"]) == (1, "bhattacharyya", 0.4)
    assert (more["dks"], more["dks_rank"], more["value_rank"]) == (0.1, 0.25, 1.0)
    assert (more["value_shuffled"], more["dks_shuffled"]) == (0.03, 0.01)
    assert (less["class"], less["measure"], less["value"]) == (0, "kullback_leibler", 0.1)
    assert (less["dks_rank"], less["value_rank"]) == (1.0, 0.25)
