"""Adjusted p-values, and the table of the features to believe."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import false_discovery_control

from analysis.statistics import false_discovery, ks_p_values, signed_ks, significant_features


def naive_discoveries(p, q):
    """Step up: the most features k whose kth least p-value is at most q k / m, and all below."""
    order = np.argsort(p, kind="stable")
    most = max((k for k in range(1, p.size + 1) if p[order[k - 1]] <= q * k / p.size), default=0)
    chosen = np.zeros(p.size, bool)
    chosen[order[:most]] = True
    return chosen


def study(seed=0, n=400, features=300, relevant=60):
    """Rectified noise; in class 0 the first features are raised, the next lowered."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 4)
    X = rng.standard_normal((n, features))
    X[:, : relevant // 2] += 1.5 * (labels == 0)[:, None]
    X[:, relevant // 2 : relevant] -= 1.5 * (labels == 0)[:, None]
    coords = {"layer": ("feature", ["conv1"] * 100 + ["fc2"] * (features - 100))}
    coords["unit"] = ("feature", np.arange(features) % 100)
    X = xr.DataArray(np.maximum(X, 0), dims=("image", "feature"), coords=coords)
    return signed_ks(X, labels), ks_p_values(X, labels)


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 4), st.integers(1, 30)),
        elements=st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.05, 1.0])),
    )
)
def test_adjusted_values_name_what_stepping_up_names(P):
    adjusted = false_discovery(P)
    assert (adjusted >= P).all()
    assert (adjusted <= 1).all()
    for row, p in zip(adjusted, P, strict=True):
        np.testing.assert_allclose(row, false_discovery_control(p), rtol=1e-12)
        for q in (0.013, 0.21, 0.77):
            near = np.isclose(row, q, rtol=1e-12)
            np.testing.assert_array_equal((row <= q)[~near], naive_discoveries(p, q)[~near])


def test_each_class_by_itself_whatever_the_order_of_dimensions():
    _, P = study()
    adjusted = false_discovery(P)
    np.testing.assert_array_equal(adjusted, false_discovery(P.values))
    turned = false_discovery(P.transpose("feature", "class"))
    np.testing.assert_array_equal(turned.transpose("class", "feature"), adjusted)
    assert adjusted.name == "adjusted_p_value"
    assert set(adjusted.coords) == {"class", "layer", "unit"}
    np.testing.assert_array_equal(false_discovery(P.values[2]), adjusted[2])


def test_the_table_lists_the_planted_features_and_few_others():
    shares, found = [], []
    for seed in range(20):
        table = significant_features(*study(seed), q=0.1)
        ours = table[table["class"] == 0]
        planted = (ours["layer"] == "conv1") & (ours["unit"] < 60)
        shares.append((~planted).mean())
        found.append(planted.sum())
        assert (ours["distance"][planted & (ours["unit"] < 30)] > 0).all()
        assert (ours["distance"][planted & (ours["unit"] >= 30)] < 0).all()
    assert min(found) >= 55
    assert np.mean(shares) < 0.1


def test_the_table_is_complete_and_in_order():
    D, P = study()
    table = significant_features(D, P, q=0.05)
    assert list(table) == ["class", "layer", "unit", "distance", "p_value", "adjusted_p_value"]
    assert len(table) == (false_discovery(P) <= 0.05).sum()
    assert (table["adjusted_p_value"] <= 0.05).all()
    assert table["class"].is_monotonic_increasing
    for _, rows in table.groupby("class"):
        assert rows["distance"].abs().is_monotonic_decreasing
    first = table.iloc[0]
    unit = D.sel({"class": first["class"]}).values.tolist().index(first["distance"])
    assert (unit % 100, D["layer"].values[unit]) == (first["unit"], first["layer"])
    none = significant_features(D * 0, P * 0 + 1)
    assert len(none) == 0
    assert list(none) == list(table)


def test_errors_say_what_came():
    D, P = study()
    with pytest.raises(ValueError, match=r"p-values in \[0, 1\], got 2 others"):
        false_discovery([0.5, np.nan, 1.5])
    with pytest.raises(ValueError, match="dimension 'feature'"):
        false_discovery(P.rename(feature="unit_of_all"))
    with pytest.raises(ValueError, match="between 0 and 1, got 5"):
        significant_features(D, P, q=5)
    with pytest.raises(ValueError, match="same classes and features"):
        significant_features(D, P[:, 1:])
    with pytest.raises(ValueError, match="same classes and features"):
        significant_features(D, P.assign_coords({"class": [3, 2, 1, 0]}))
