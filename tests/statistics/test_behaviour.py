from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from analysis.statistics import distribution_differences, layer_histograms, measure_behaviour

LAYERS = ("c1", "c2", "f1")
KINDS = {"c1": "conv", "c2": "conv", "f1": "fc"}


def distances(values, layers=None):
    values = np.asarray(values, dtype=float)
    layers = layers or [LAYERS[i * len(LAYERS) // values.shape[1]] for i in range(values.shape[1])]
    return xr.DataArray(
        values,
        dims=("class", "feature"),
        coords={"class": np.arange(len(values)), "layer": ("feature", layers)},
    )


def lognormal_distances(seed, n_classes=12, n_features=90):
    rng = np.random.default_rng(seed)
    sizes = np.minimum(0.2 * np.exp(0.5 * rng.standard_normal((n_classes, n_features))), 1)
    return distances(sizes * rng.choice([-1.0, 0.0, 1.0], sizes.shape, p=[0.5, 0.05, 0.45]))


def columns_of(D, row):
    layers = D["layer"].to_numpy()
    if row["scope"] == "layer":
        return layers == row["name"]
    kinds = np.array([KINDS[layer] for layer in layers])
    return kinds == row["name"] if row["scope"] == "kind" else np.full(layers.size, True)


def naively(D, row):
    """Each measure by its definition, pair by pair."""
    every = D.to_numpy()
    values = every[:, columns_of(D, row)]
    flat = values.ravel()
    sizes = sorted(abs(d) for d in flat)
    plus, minus = flat[flat > 0], -flat[flat < 0]
    lowest = [set(np.argsort(line, kind="stable")[:10]) for line in every]
    classes = [sum(d < -0.5 for d in column) for column in values.T]
    absent = [n for n in classes if n]
    bar = np.quantile(np.abs(every), 0.99)
    found = {
        "units": values.shape[1],
        "classes": values.shape[0],
        "pairs": flat.size,
        "mean_size": sum(sizes) / flat.size,
        "widest": sizes[-1],
        "near_zero": sum(abs(d) <= 0.01 for d in flat) / flat.size,
        "highest": np.quantile(flat, 0.999),
        "among_widest": sum(abs(d) >= bar for d in flat) / flat.size,
        "absent_share": np.quantile(absent, 0.95) / len(values) if absent else np.nan,
        "shared_lowest": max(
            sum(f in ten and every[c, f] < 0 for c, ten in enumerate(lowest))
            for f in np.flatnonzero(columns_of(D, row))
        ),
    }
    for x in (0.25, 0.5):
        found[f"above_{x:g}"] = sum(d > x for d in flat) / flat.size
        found[f"below_{x:g}"] = sum(d < -x for d in flat) / flat.size
    for side, part in (("presence", plus), ("absence", minus)):
        found[side] = part.size / flat.size
        found[f"{side}_size"] = part.mean()
        found[f"{side}_spread"] = np.subtract(*np.quantile(part, [0.84, 0.16]))
        logs = np.log(part)
        laws = {
            "lognormal": stats.lognorm(logs.std(), scale=np.exp(logs.mean())),
            "normal": stats.norm(part.mean(), part.std()),
            "exponential": stats.expon(scale=part.mean()),
        }
        for name, law in laws.items():
            found[f"{side}_{name}"] = stats.kstest(part, law.cdf).statistic
    return found


@pytest.mark.parametrize("seed", range(4))
def test_measures_agree_with_their_definitions(seed):
    D = lognormal_distances(seed)
    table = measure_behaviour(D, KINDS)
    assert table[["scope", "name", "kind"]].to_numpy().tolist() == [
        ["layer", "c1", "conv"], ["layer", "c2", "conv"], ["layer", "f1", "fc"],
        ["kind", "conv", "conv"], ["kind", "fc", "fc"], ["all", "all", "all"],
    ]  # fmt: skip
    for _, row in table.iterrows():
        for name, value in naively(D, row).items():
            assert row[name] == pytest.approx(value, nan_ok=True), (row["name"], name)


def smooth_densities(flat, places):
    """Kernel estimate from bins of 0.01, by its formula."""
    edges = np.arange(-100, 101) / 100
    counts = [((flat >= a) & (flat < b)).sum() for a, b in pairwise(edges)]
    kernel = np.exp(-0.5 * (np.arange(-8, 9) * 0.01 / 0.02) ** 2)
    kernel /= kernel.sum()
    indices = [round((place + 0.995) / 0.01) for place in places]
    return [sum(k * counts[i + j - 8] for j, k in enumerate(kernel)) for i in indices]


def test_two_modes_and_the_valley_between_them():
    rng = np.random.default_rng(0)
    flat = np.concatenate([rng.normal(-0.3, 0.08, 6000), rng.normal(0.25, 0.06, 4000)])
    row = measure_behaviour(distances(flat.reshape(10, -1)), KINDS).iloc[-1]
    left, right = (
        smooth_densities(flat, part)
        for part in (np.arange(-0.495, 0, 0.01), np.arange(0.005, 0.5, 0.01))
    )
    peak = min(max(left), max(right))
    between = [*left[np.argmax(left) :], *right[: np.argmax(right) + 1]]
    assert row["valley_ratio"] == pytest.approx(min(between) / peak, rel=1e-3)
    near = (np.abs(flat) <= 0.01).mean() / 0.02
    assert row["near_zero_ratio"] == pytest.approx(near / (peak / flat.size / 0.01), rel=1e-3)


def test_constant_features_have_no_shape():
    row = measure_behaviour(distances(np.zeros((3, 3))), KINDS).iloc[-1]
    assert (row["near_zero"], row["presence"], row["shared_lowest"]) == (1, 0, 0)
    assert np.isnan(row["presence_size"])


@pytest.mark.parametrize("seed", range(3))
def test_the_difference_is_that_of_wasserstein(seed):
    rng = np.random.default_rng(seed)
    one, other = rng.uniform(-1, 1, (5, 60)), rng.triangular(-1, 0.3, 1, (5, 60))
    tables = [
        layer_histograms(distances(values, ["c1"] * 60), bins=1000).assign(dataset=name)
        for name, values in (("one", one), ("other", other))
    ]
    found = distribution_differences(pd.concat(tables))["difference"].item()
    assert found == pytest.approx(stats.wasserstein_distance(one.ravel(), other.ravel()), abs=0.002)


def test_errors_say_what_is_missing():
    with pytest.raises(ValueError, match="signed_ks keeps"):
        measure_behaviour(xr.DataArray(np.zeros((2, 2)), dims=("class", "feature")), KINDS)
    with pytest.raises(ValueError, match="without a kind: c2, f1; known: c1"):
        measure_behaviour(distances(np.zeros((2, 3))), {"c1": "conv"})
