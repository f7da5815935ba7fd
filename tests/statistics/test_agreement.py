"""Four distances side by side: each is the function's own, and summaries are what they say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import spearmanr

from analysis.statistics import (
    bhattacharyya,
    binning_bound,
    chance_by_measure,
    compare_measures,
    kullback_leibler,
    mutual_information,
    rank_correlations,
    sample_by_layer,
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


def shuffle(labels):
    return np.random.default_rng(0).permutation(labels)


def test_the_same_share_of_every_layer_is_drawn():
    layers = ["a"] * 3 + ["b"] * 40 + ["c"] * 7
    X = xr.DataArray(np.zeros((2, 50)), dims=("image", "feature"), coords={
        "layer": ("feature", layers), "unit": ("feature", np.arange(50))})  # fmt: skip
    drawn = sample_by_layer(X, 5, seed=1)
    assert drawn["layer"].values.tolist() == ["a"] * 3 + ["b"] * 5 + ["c"] * 5
    assert (np.diff(drawn["unit"]) > 0).all()
    again, other = sample_by_layer(X[:1], 5, seed=1), sample_by_layer(X, 5, seed=2)
    assert drawn["unit"].values.tolist() == again["unit"].values.tolist()
    assert drawn["unit"].values.tolist() != other["unit"].values.tolist()
    with pytest.raises(ValueError, match="at least 1 feature"):
        sample_by_layer(X, 0, seed=1)


def test_every_row_is_its_pair():
    X, labels = features()
    noise = shuffle(labels)
    table = compare_measures(X, labels, noise, bins=20)
    assert len(table) == 4 * 12
    for name, measure in (
        ("kullback_leibler", kullback_leibler),
        ("bhattacharyya", bhattacharyya),
        ("mutual_information", mutual_information),
    ):
        for suffix, y, bins in (
            ("", labels, 20),
            ("_shuffled", noise, 20),
            ("_coarse", labels, 10),
        ):
            expected = measure(X, y, bins=bins)
            np.testing.assert_array_equal(table[name + suffix], expected.values.ravel())
    D, binned = signed_ks(X, labels), signed_ks(X, labels, bins=20)
    for name, values in (
        ("dks", D),
        ("dks_shuffled", signed_ks(X, noise)),
        ("dks_binned", binned),
        ("dks_coarse", signed_ks(X, labels, bins=10)),
        ("loss", abs(D) - abs(binned)),
        ("bound", binning_bound(X, labels, bins=20)),
    ):
        np.testing.assert_array_equal(table[name], values.values.ravel())
    row = table.iloc[12 + 6]
    assert (row["class"], row["layer"], row["unit"]) == (1, "b", 6)
    assert row["zeros"] == pytest.approx((X.values[:, 6] == 0).mean())
    assert row["share"] == 0.25


def test_correlations_are_scipys_over_pairs_that_differ():
    X, labels = features()
    table = compare_measures(X, labels, shuffle(labels))
    (row,) = rank_correlations(table).to_dict("records")
    part = table[table["dks"] != 0]
    assert row["pairs"] == len(part) == 40
    for name in DIVERGENCES:
        assert row[name] == pytest.approx(spearmanr(part["dks"].abs(), part[name]).statistic)
    assert row["information_ratio"] == pytest.approx(
        (part["mutual_information"] / (0.25 * part["kullback_leibler"])).median()
    )


def test_chance_is_what_shuffled_labels_give():
    X, labels = features()
    table = compare_measures(X, labels, shuffle(labels))
    real, noise = table[table["dks"] != 0], table[table["dks_shuffled"] != 0]
    summary = chance_by_measure(table).set_index("measure")
    assert list(summary.index) == ["dks", *DIVERGENCES]
    for name, row in summary.iterrows():
        chance = noise[f"{name}_shuffled"].abs()
        assert row["largest"] == real[name].abs().max()
        assert row["median"] == real[name].abs().median()
        assert row["chance_ratio"] == pytest.approx(chance.median() / row["median"])
        beyond = real[name].abs() > np.quantile(chance, 0.95)
        assert row["beyond_chance"] == pytest.approx(beyond.mean())
        full = real["dks_binned" if name == "dks" else name].abs().median()
        assert row["bins_ratio"] == pytest.approx(real[f"{name}_coarse"].abs().median() / full)
    assert summary.loc["dks", "chance_ratio"] < summary.loc["kullback_leibler", "chance_ratio"]


def test_the_widest_disagreement_either_way():
    table = pd.DataFrame(
        {
            "class": [0, 1, 2, 3],
            "dks": [-0.9, 0.1, 0.2, 0.3],
            "kullback_leibler": [0.1, 0.2, 0.3, 0.4],
            "bhattacharyya": [0.3, 0.4, 0.2, 0.1],
            "mutual_information": [0.4, 0.1, 0.2, 0.3],
        }
    )
    for number, name in enumerate(DIVERGENCES):
        table[f"{name}_shuffled"] = number
    more, less = widest_disagreements(table).to_dict("records")
    assert (more["class"], more["measure"], more["value"]) == (1, "bhattacharyya", 0.4)
    assert (more["dks"], more["dks_rank"], more["value_rank"]) == (0.1, 0.25, 1.0)
    assert (more["value_shuffled"], less["value_shuffled"]) == (1, 0)
    assert (less["class"], less["measure"], less["value"]) == (0, "kullback_leibler", 0.1)
    assert (less["dks_rank"], less["value_rank"]) == (1.0, 0.25)
