"""Nearest neighbours against loops, and maps that keep groups together."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.statistics import neighbours
from analysis.statistics.neighbours import neighbour_map, neighbour_shares


def clouds(seed=0, n=30, width=5):
    rng = np.random.default_rng(seed)
    classes, domains = rng.integers(0, 3, n), rng.choice(["a", "b", "c"], n)
    return rng.normal(size=(n, width)), classes, domains


def naive(X, classes, domains):
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    found = []
    for i in range(len(Z)):
        apart = [np.inf if j == i else np.linalg.norm(Z[i] - Z[j]) for j in range(len(Z))]
        abroad = [np.inf if domains[j] == domains[i] else apart[j] for j in range(len(Z))]
        near, far = int(np.argmin(apart)), int(np.argmin(abroad))
        others = [j for j in range(len(Z)) if j != i]
        away = [j for j in others if domains[j] != domains[i]]
        found.append(
            [
                domains[near] == domains[i],
                classes[near] == classes[i],
                classes[far] == classes[i],
                np.mean([domains[j] == domains[i] for j in others]),
                np.mean([classes[j] == classes[i] for j in others]),
                np.mean([classes[j] == classes[i] for j in away]),
            ]
        )
    return np.mean(np.array(found, float), axis=0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("block", [1, 2**22])
def test_equals_loops(seed, block, monkeypatch):
    monkeypatch.setattr(neighbours, "_BLOCK", block)
    given = clouds(seed)
    np.testing.assert_allclose(neighbour_shares(*given), naive(*given))


def test_domains_apart_and_domains_mixed():
    rng = np.random.default_rng(0)
    classes, domains = np.tile([0, 1], 20), np.repeat(["a", "b"], 20)
    noise = 0.1 * rng.normal(size=(40, 3))
    apart = neighbour_shares(noise + 9 * (domains == "b")[:, None], classes, domains)
    mixed = neighbour_shares(noise + 9 * classes[:, None], classes, domains)
    assert apart.same_domain == 1
    assert mixed.same_class == mixed.across == 1
    assert apart.same_domain_chance == pytest.approx(19 / 39)
    assert mixed.across_chance == pytest.approx(1 / 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": np.zeros(3)}, r"a class and a domain for each of 30 images, got \(3,\)"),
        ({"domains": np.full(30, "a")}, r"two domains, got \['a'\]"),
        ({"X": np.full((30, 2), np.nan)}, "finite features"),
    ],
)
def test_refusals(change, message):
    X, classes, domains = clouds()
    with pytest.raises(ValueError, match=message):
        neighbour_shares(**{"X": X, "classes": classes, "domains": domains} | change)


def test_a_map_keeps_groups_together_and_is_the_same_for_a_seed():
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 20)
    X = 20 * groups[:, None] + rng.normal(size=(40, 60))
    points = neighbour_map(X, seed=1)
    assert points.shape == (40, 2)
    apart = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (groups[apart.argmin(axis=1)] == groups).all()
    np.testing.assert_array_equal(points, neighbour_map(X, seed=1))


def test_a_map_of_few_images_or_one_feature():
    assert neighbour_map(np.arange(5.0)[:, None], seed=0).shape == (5, 2)
    assert np.isfinite(neighbour_map(np.zeros((6, 3)), seed=0)).all()
    with pytest.raises(ValueError, match="at least four images, got 3"):
        neighbour_map(np.eye(3), seed=0)
