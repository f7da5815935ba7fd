"""Semi-supervised transfer component analysis: against the paper's formula, literally."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import eigh, subspace_angles
from sklearn.base import clone
from sklearn.metrics.pairwise import euclidean_distances, pairwise_kernels

from analysis.transfer import (
    SemiSupervisedTransferComponentAnalysis,
    TransferComponentAnalysis,
    sstca,
)


def labelled(seed, n=(40, 50), width=12, classes=3):
    rng = np.random.default_rng(seed)
    centres, move = 2 * rng.normal(size=(classes, width)), rng.normal(size=width)
    ys, yt = np.arange(n[0]) % classes, np.arange(n[1]) % classes
    Xs = centres[ys] + rng.normal(size=(n[0], width))
    return Xs, ys, centres[yt] + rng.normal(size=(n[1], width)) + move, yt


def literal_laplacian(X, n_neighbors):
    squared = euclidean_distances(X, squared=True)
    gamma = 1 / (2 * np.median(squared[np.triu_indices(len(X), 1)]))
    M = np.zeros_like(squared)
    for i, row in enumerate(squared):
        for j in np.argsort(row)[1 : n_neighbors + 1]:
            M[i, j] = M[j, i] = np.exp(-gamma * squared[i, j])
    return np.diag(M.sum(axis=1)) - M


def literal(X, labels, n_source, k, mu, share, smoothness, n_neighbors, gamma):
    """Both sides as the paper writes them; a label of None is none."""
    n = len(X)
    K = pairwise_kernels(X, metric="rbf", gamma=gamma)
    alike = [[a is not None and a == b for b in labels] for a in labels]
    targets = share * np.array(alike, float) + (1 - share) * np.eye(n)
    e = np.where(np.arange(n) < n_source, 1 / n_source, -1 / (n - n_source))
    H = np.eye(n) - 1 / n
    inner = np.outer(e, e) + smoothness / n**2 * literal_laplacian(X, n_neighbors)
    values, W = eigh(K @ H @ targets @ H @ K, K @ inner @ K + mu * np.eye(n))
    return values[::-1][:k], W[:, ::-1][:, :k]


@pytest.fixture(params=["dense", "Krylov"])
def n(request, monkeypatch):
    """Sizes of both domains; with the larger ones, the iterative solver."""
    if request.param == "dense":
        return 40, 50
    monkeypatch.setattr(sstca, "_DENSE", 0)
    return 110, 120


@pytest.mark.parametrize("with_target", [False, True])
@pytest.mark.parametrize(
    ("mu", "share", "smoothness"), [(1.0, 0.5, 1.0), (0.1, 0.9, 1e4), (10.0, 0.0, 0.0)]
)
def test_it_is_the_generalised_eigenproblem(mu, share, smoothness, with_target, n):
    Xs, ys, Xt, yt = labelled(0, n)
    found = SemiSupervisedTransferComponentAnalysis(
        4, gamma=0.05, mu=mu, label_share=share, smoothness=smoothness, n_neighbors=5
    ).fit(Xs, ys, Xt, yt if with_target else None)
    labels = [*ys.tolist(), *(yt.tolist() if with_target else [None] * len(yt))]
    X = np.vstack([Xs, Xt])
    values, W = literal(X, labels, len(Xs), 4, mu, share, smoothness, 5, 0.05)
    assert subspace_angles(W, found.eigenvectors_).max() < 1e-6
    assert_allclose(found.eigenvalues_, values, rtol=1e-8)


def test_neither_labels_nor_neighbours_leave_the_plain_analysis():
    Xs, ys, Xt, _ = labelled(1)
    plain = TransferComponentAnalysis(5, mu=0.1).fit(Xs, Xt)
    found = SemiSupervisedTransferComponentAnalysis(5, mu=0.1, label_share=0, smoothness=0)
    found.fit(Xs, ys, Xt)
    assert_allclose(found.eigenvectors_, plain.eigenvectors_, atol=1e-8)
    assert_allclose(found.transform(Xt), plain.transform(Xt), atol=1e-8)


def test_labels_draw_classes_together():
    """The more they count, the larger the share of variance between classes of the source."""
    Xs, ys, Xt, _ = labelled(2)
    between = []
    for share in (0.0, 0.9, 1.0):
        method = SemiSupervisedTransferComponentAnalysis(2, "linear", label_share=share)
        Z = method.fit(Xs, ys, Xt).source_embedding_
        means = np.array([Z[ys == c].mean(axis=0) for c in np.unique(ys)])
        between.append(means[ys].var(axis=0).sum() / Z.var(axis=0).sum())
    assert between[0] < between[1] <= between[2]


def test_smoothness_draws_neighbours_together():
    Xs, ys, Xt, _ = labelled(3)
    laplacian = literal_laplacian(np.vstack([Xs, Xt]), 10)
    rough = []
    for smoothness in (0.0, 1e3, 1e6):
        method = SemiSupervisedTransferComponentAnalysis(2, smoothness=smoothness)
        method.fit(Xs, ys, Xt)
        Z = np.vstack([method.source_embedding_, method.target_embedding_])
        rough.append(np.trace(Z.T @ laplacian @ Z) / Z.var(axis=0).sum())
    assert rough[0] > rough[1] > rough[2]


def test_laplacian():
    X = np.random.default_rng(0).normal(size=(30, 4))
    found = sstca.neighbour_laplacian(X, 4, 0)
    assert_allclose(found.toarray(), literal_laplacian(X, 4), atol=1e-12)


@pytest.mark.parametrize("kernel", ["rbf", "linear", "poly"])
def test_the_same_samples_have_the_same_components(kernel):
    Xs, ys, Xt, _ = labelled(4)
    found = clone(SemiSupervisedTransferComponentAnalysis(3, kernel)).fit(Xs, ys, Xt)
    for X, Z in [(Xs, found.source_embedding_), (Xt[::-1], found.target_embedding_[::-1])]:
        assert_allclose(found.transform(X), Z, atol=1e-9 * np.abs(Z).max())


def test_the_constraint_of_the_paper():
    """wᵀ K H K̃ H K w = 1, with labels of the source."""
    Xs, ys, Xt, _ = labelled(5)
    found = SemiSupervisedTransferComponentAnalysis(3, scaling="variance").fit(Xs, ys, Xt)
    Z = np.vstack([found.source_embedding_, found.target_embedding_])
    Z -= Z.mean(axis=0)
    alike = np.zeros((90, 90))
    alike[:40, :40] = ys[:, None] == ys
    assert_allclose(Z.T @ (alike + np.eye(90)) @ Z / 2, np.eye(3), atol=1e-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_share": 1.5}, "label_share from 0 to 1, got 1.5"),
        ({"smoothness": -1.0}, "smoothness of at least 0, got -1"),
        ({"n_neighbors": 90}, "n_neighbors from 1 to 89, got 90"),
        ({"kernel": "precomputed"}, "samples, whose neighbours are needed"),
        ({"label_share": 1.0, "n_components": 5}, "n_components from 1 to 3, as many as rounding"),
    ],
)
def test_refusals(options, message):
    Xs, ys, Xt, _ = labelled(6)
    with pytest.raises(ValueError, match=message):
        SemiSupervisedTransferComponentAnalysis(**{"n_components": 2} | options).fit(Xs, ys, Xt)


def test_refuses_other_numbers_of_labels():
    Xs, ys, Xt, _ = labelled(7)
    with pytest.raises(ValueError, match="one label for each of 40 source samples"):
        SemiSupervisedTransferComponentAnalysis(2).fit(Xs, ys[:5], Xt)
