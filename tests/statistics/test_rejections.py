"""Rejections under two laws: counted rightly, and as many as promised where there is nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from analysis.statistics import (
    false_discovery,
    ks_p_values,
    rejection_by_zeros,
    rejection_shares,
    rejections_by,
)


def features(zeros, n=400, f=150, seed=0):
    """Independent features with a share of zeros, and a constant one at the end."""
    X = np.random.default_rng(seed).random((n, f)).astype(np.float32)
    X = np.where(np.argsort(np.argsort(X, axis=0), axis=0) < zeros * n, 0, X)
    X[:, -1] = 0
    coords = {"layer": ("feature", ["a"] * f), "unit": ("feature", range(f))}
    return xr.DataArray(X, dims=("image", "feature"), coords=coords)


def test_shares_are_those_of_the_p_values():
    X = features(0.5, n=120, f=9)
    labels, shuffled = np.arange(120) % 3, np.random.default_rng(1).permutation(np.arange(120) % 3)
    X[labels == 1, :4] += 1
    table = rejection_shares(X, labels, [shuffled, labels], alpha=0.1, q=0.2)
    assert table["labels"].tolist() == ["real"] * 9 + ["0"] * 9 + ["1"] * 9
    for name, y in {"real": labels, "0": shuffled, "1": labels}.items():
        part = table[table["labels"] == name]
        for law in ("conditional", "classical"):
            P = ks_p_values(X, y, law=law).to_numpy()
            np.testing.assert_array_equal(part[law], (P <= 0.1).mean(axis=0))
        adjusted = false_discovery(ks_p_values(X, y).to_numpy())
        np.testing.assert_array_equal(part["discovered"], (adjusted <= 0.2).mean(axis=0))
        assert part["constant"].tolist() == [False] * 8 + [True]
        np.testing.assert_allclose(part["zeros"], (X == 0).mean("image"))
    assert table["discovered"].iloc[:4].min() > 0


def test_groups_errors_and_what_is_left_out():
    table = pd.DataFrame(
        {
            "network": "n",
            "dataset": ["a"] * 4 + ["b"] * 4,
            "labels": ["0", "0", "1", "1", "0", "0", "1", "real"],
            "layer": "x",
            "unit": [0, 1, 0, 1, 0, 1, 0, 0],
            "zeros": [0.0, 0.0, 0.0, 0.0, 0.3, 1.0, 0.0, 0.0],
            "constant": [False] * 5 + [True, False, False],
            "conditional": [0.1, 0.3, 0.0, 0.2, 0.5, 0.0, 0.4, 1.0],
            "classical": [0.1, 0.1, 0.1, 0.1, 0.4, 0.0, 0.1, 1.0],
        }
    )
    rates = rejection_by_zeros(table)
    assert rates["law"].tolist() == ["conditional"] * 2 + ["classical"] * 2
    none, some = rates.iloc[0], rates.iloc[1]
    assert (none["zeros"], none["features"], some["features"]) == (0, 3, 1)
    assert none["rate"] == pytest.approx(0.2)
    deviations = np.array([2 * 0.0, 2 * -0.1, 1 * 0.2])  # three labellings, 2, 2 and 1 rows
    expected = np.sqrt((deviations**2).sum() * 3 / 2) / 5
    assert none["standard_error"] == pytest.approx(expected)
    assert np.isnan(some["standard_error"])
    assert rates.iloc[2]["standard_error"] == pytest.approx(0)


def test_shares_by_group_keep_the_order_and_set_chance_beside():
    table = pd.DataFrame(
        {
            "layer": ["b", "a", "a"] * 3,
            "labels": ["real"] * 3 + ["0"] * 3 + ["1"] * 3,
            "conditional": [0.9, 0.5, 0.7, 0.1, 0.0, 0.2, 0.3, 0.0, 0.2],
            "classical": 0.5,
            "discovered": [0.8, 0.2, 0.4, 0, 0, 0, 0, 0, 0],
        }
    )
    shares = rejections_by(table, ["layer"])
    assert shares["layer"].tolist() == ["b", "a"]
    assert shares["conditional"].tolist() == pytest.approx([0.9, 0.6])
    assert shares["conditional_shuffled"].tolist() == pytest.approx([0.2, 0.1])
    assert shares["discovered"].tolist() == pytest.approx([0.8, 0.3])
    assert (shares["discovered_shuffled"] == 0).all()
