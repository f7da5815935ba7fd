"""Transfer component analysis: against dense generalised eigensolvers, and its invariances."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import eigh, subspace_angles
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import pairwise_kernels

from analysis.transfer import TransferComponentAnalysis, tca

MUS = [0.01, 1.0, 100.0]
KERNELS = {
    "rbf": {"gamma": 0.02},
    "linear": {},
}


def domains(seed, n=(40, 60), width=30):
    """Two domains of the same falling variances, the second moved."""
    rng = np.random.default_rng(seed)
    spread = np.arange(1, width + 1) ** -0.5
    source = rng.normal(size=(n[0], width)) * spread
    return source, (rng.normal(size=(n[1], width)) + 0.7 * rng.normal(size=width)) * spread


def kernel_of(source, target, name, options):
    return pairwise_kernels(np.vstack([source, target]), metric=name, **options)


def literal(K, n_source, mu, k):
    """Both sides as the paper writes them, by LAPACK's dense generalised eigensolver."""
    n, n_target = len(K), len(K) - n_source
    L = np.full((n, n), -1 / (n_source * n_target))
    L[:n_source, :n_source] = 1 / n_source**2
    L[n_source:, n_source:] = 1 / n_target**2
    H = np.eye(n) - 1 / n
    values, W = eigh(K @ H @ K, K @ L @ K + mu * np.eye(n), subset_by_index=[n - k, n - 1])
    return values[::-1], W[:, ::-1]


def solved(K, n_source, mu, k):
    """The package's solution for a kernel that is held, vectors of unit length in columns."""
    e = tca.domain_weights(n_source, len(K) - n_source)
    values, W = tca.transfer_components(lambda V: V @ K, e, mu, k, seed=0)
    return values, (W / np.linalg.norm(W, axis=1, keepdims=True)).T


def mean_gap(found):
    """Squared distance between the domains' means, as a share of the variance of the components."""
    both = np.vstack([found.source_embedding_, found.target_embedding_])
    gap = found.source_embedding_.mean(axis=0) - found.target_embedding_.mean(axis=0)
    return (gap**2).sum() / both.var(axis=0).sum()


@pytest.fixture(params=["dense", "Krylov"])
def route(request, monkeypatch):
    """Both ways of solving, at sizes at which the package would take the dense one."""
    if request.param == "Krylov":
        monkeypatch.setattr(tca, "_DENSE", 0)
        monkeypatch.setattr(tca, "_densely", None)
    return request.param


class TestExactSolver:
    @pytest.mark.parametrize("mu", MUS)
    @pytest.mark.parametrize("name", KERNELS)
    def test_it_is_the_generalised_eigenproblem(self, name, mu, route):
        source, target = domains(0, (150, 170))
        found = TransferComponentAnalysis(8, name, mu=mu, **KERNELS[name]).fit(source, target)
        K = kernel_of(source, target, name, KERNELS[name])
        values, W = literal(K, 150, mu, 8)
        assert subspace_angles(W, found.eigenvectors_).max() < 1e-7
        assert_allclose(found.eigenvalues_, values, rtol=1e-9)
        embedding = np.vstack([found.source_embedding_, found.target_embedding_])
        assert_allclose(embedding, K @ found.eigenvectors_, atol=1e-9 * np.abs(K).max())

    @pytest.mark.parametrize("mu", MUS)
    def test_large_problems(self, mu):
        """At a size at which no route is forced."""
        source, target = domains(1, (300, 420), 60)
        found = TransferComponentAnalysis(64, gamma=0.05, mu=mu).fit(source, target)
        K = kernel_of(source, target, "rbf", {"gamma": 0.05})
        values, W = literal(K, 300, mu, 64)
        assert subspace_angles(W, found.eigenvectors_).max() < 1e-6
        assert_allclose(found.eigenvalues_, values, rtol=1e-8)

    @pytest.mark.parametrize("n", [(30, 10), (40, 45)])
    def test_few_samples_or_many_components(self, n):
        source, target = domains(2, n)
        k = sum(n) - 2
        found = TransferComponentAnalysis(k, gamma=0.3, mu=0.1).fit(source, target)
        values, W = literal(kernel_of(source, target, "rbf", {"gamma": 0.3}), n[0], 0.1, k)
        assert_allclose(found.eigenvalues_, values, rtol=1e-6)
        assert subspace_angles(W, found.eigenvectors_).max() < 1e-6

    def test_flat_spectra_are_solved_densely(self, monkeypatch):
        """A kernel near the identity, whose eigenvalues hardly differ."""
        monkeypatch.setattr(tca, "_DENSE", 0)
        source, target = domains(3, (60, 70))
        found = TransferComponentAnalysis(5, gamma=20.0).fit(source, target)
        values, _ = literal(kernel_of(source, target, "rbf", {"gamma": 20.0}), 60, 1.0, 5)
        assert_allclose(found.eigenvalues_, values, rtol=1e-9)

    def test_eigenvalues_that_repeat_more_often_than_a_block_has_vectors(self, route):
        """Groups of samples that are alike within and orthogonal between."""
        member = np.kron(np.eye(40), np.ones((9, 1)))
        order = np.random.default_rng(0).permutation(360)
        X = member[order]
        values, _ = solved(X @ X.T, 180, 1.0, 39)
        assert_allclose(values[1:38], 81.0, rtol=1e-9)

    def test_small_eigenvalues_are_not_lost_in_squares(self, route):
        """A kernel whose eigenvalues fall by ten orders of magnitude."""
        rng = np.random.default_rng(4)
        sizes = 10.0 ** -np.arange(0, 15, 0.5)
        Q, _ = np.linalg.qr(rng.normal(size=(320, sizes.size)))
        K = Q * sizes @ Q.T
        K = (K + K.T) / 2
        values, _ = solved(K, 160, 1e9, 20)
        centred = (Q - Q.mean(axis=0)) * sizes
        expected = np.linalg.svd(centred, compute_uv=False)[:20] ** 2 / 1e9
        assert_allclose(values, expected, rtol=1e-4)


class TestComponents:
    def test_domains_come_closer_with_smaller_mu(self):
        source, target = domains(0)
        gaps = [
            mean_gap(TransferComponentAnalysis(8, gamma=0.1, mu=mu).fit(source, target))
            for mu in (1e6, 1.0, 0.1, 0.001)
        ]
        assert (np.diff(gaps) < 0).all()
        assert gaps[-1] < 0.01 * gaps[0]

    def test_large_mu_gives_principal_components(self):
        """Of samples whose common mean is 0: H stands between the kernels, not around them."""
        source, target = domains(1)
        mean = np.vstack([source, target]).mean(axis=0)
        source, target = source - mean, target - mean
        found = TransferComponentAnalysis(4, "linear", mu=1e9).fit(source, target)
        pca = PCA(4).fit(np.vstack([source, target]))
        assert subspace_angles(found.transform(np.eye(30)), pca.components_.T).max() < 1e-6

    def test_centred_domains_have_no_distance_left_to_reduce(self):
        """With a linear kernel, whatever mu, it is the analysis of variance alone."""
        source, target = (X - X.mean(axis=0) for X in domains(2))
        pca = PCA(4).fit(np.vstack([source, target]))
        for mu in MUS:
            found = TransferComponentAnalysis(4, "linear", mu=mu).fit(source, target)
            assert subspace_angles(found.transform(np.eye(30)), pca.components_.T).max() < 1e-6

    @pytest.mark.parametrize("mu", MUS)
    def test_scalings(self, mu):
        source, target = domains(3)
        K = kernel_of(source, target, "rbf", {"gamma": 0.1})
        unit, constrained = (
            TransferComponentAnalysis(6, gamma=0.1, mu=mu, scaling=scaling).fit(source, target)
            for scaling in ("unit", "variance")
        )
        assert_allclose(np.linalg.norm(unit.eigenvectors_, axis=0), 1)
        both = np.vstack([constrained.source_embedding_, constrained.target_embedding_])
        both -= both.mean(axis=0)
        assert_allclose(both.T @ both, np.eye(6), atol=1e-8)
        W = constrained.eigenvectors_
        assert_allclose(W / np.linalg.norm(W, axis=0), unit.eigenvectors_)
        assert_allclose(constrained.transform(target), K[40:] @ W, atol=1e-9)

    def test_signs_are_settled(self):
        found = TransferComponentAnalysis(6, "linear").fit(*domains(4))
        W = found.eigenvectors_
        assert (W[np.abs(W).argmax(axis=0), np.arange(6)] > 0).all()


class TestInvariances:
    """Components of every sample stay what they are, whatever else is changed."""

    @staticmethod
    def embedded(source, target, **options):
        found = TransferComponentAnalysis(6, **options).fit(source, target)
        return found.source_embedding_, found.target_embedding_

    @pytest.mark.parametrize("name", KERNELS)
    def test_order_of_samples(self, name):
        source, target = domains(0)
        here, there = self.embedded(source, target, kernel=name, mu=0.1)
        one, other = np.random.default_rng(0).permutation(40), np.arange(60)[::-1]
        moved, turned = self.embedded(source[one], target[other], kernel=name, mu=0.1)
        assert_allclose(moved, here[one], atol=1e-8 * np.abs(here).max())
        assert_allclose(turned, there[other], atol=1e-8 * np.abs(there).max())

    def test_moved_turned_and_scaled_samples_with_the_median_distance(self):
        source, target = domains(2)
        turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(30, 30)))
        here = np.vstack(self.embedded(source, target, mu=0.1))
        there = np.vstack(self.embedded(5 * source @ turn + 100, 5 * target @ turn + 100, mu=0.1))
        assert_allclose(there, here, atol=1e-8)

    def test_scaled_kernels_with_mu_scaled_twice(self):
        """c K with c² μ: the same w, hence c times the components."""
        source, target = domains(3)
        here = np.vstack(self.embedded(source, target, kernel="linear", mu=0.1))
        there = np.vstack(self.embedded(2 * source, 2 * target, kernel="linear", mu=1.6))
        assert_allclose(there, 4 * here, atol=1e-8)


class TestNewSamples:
    @pytest.mark.parametrize("solver", ["exact", "nystrom"])
    @pytest.mark.parametrize("name", KERNELS)
    @pytest.mark.parametrize("width", [30, 150])
    def test_the_same_samples_have_the_same_components(self, name, solver, width):
        source, target = domains(0, width=width)
        found = TransferComponentAnalysis(6, name, solver=solver, n_landmarks=50)
        found.fit(source, target)
        order = np.random.default_rng(1).permutation(60)
        for X, Z in [
            (source, found.source_embedding_),
            (target, found.target_embedding_),
            (target[order], found.target_embedding_[order]),
            (source[:1], found.source_embedding_[:1]),
        ]:
            assert_allclose(found.transform(X), Z, atol=1e-9 * np.abs(Z).max())

    def test_many_samples_go_in_parts(self, monkeypatch):
        source, target = domains(2)
        found = TransferComponentAnalysis(6).fit(source, target)
        whole = found.transform(target)
        monkeypatch.setattr("analysis.transfer.tca.ROWS", 7)
        assert_allclose(found.transform(target), whole, atol=1e-12)


class TestGamma:
    def test_median_of_all_pairs(self):
        source, target = domains(0)
        X = np.vstack([source, target])
        squared = [((X[i] - X[j]) ** 2).sum() for i in range(100) for j in range(i)]
        found = TransferComponentAnalysis(2).fit(source, target)
        assert found.gamma_ == pytest.approx(1 / (2 * np.median(squared)))

    def test_of_many_samples_some_are_drawn(self, monkeypatch):
        source, target = domains(1, (300, 300))
        exact = TransferComponentAnalysis(2).fit(source, target).gamma_
        monkeypatch.setattr("analysis.transfer.tca.MEDIAN_OF", 200)
        drawn = [TransferComponentAnalysis(2, seed=s).fit(source, target).gamma_ for s in (0, 0, 1)]
        assert drawn[0] == drawn[1] != drawn[2]
        assert drawn == pytest.approx([exact] * 3, rel=0.1)

    def test_samples_that_coincide(self):
        with pytest.raises(ValueError, match="half of the pairs coincide: give gamma"):
            TransferComponentAnalysis(2).fit(np.ones((5, 3)), np.ones((6, 3)))


class TestLandmarks:
    @pytest.mark.parametrize("name", KERNELS)
    def test_all_samples_as_landmarks_give_the_exact_components(self, name):
        source, target = domains(0)
        exact, landmarks = (
            TransferComponentAnalysis(5, name, mu=0.1, solver=solver).fit(source, target)
            for solver in ("exact", "nystrom")
        )
        assert_allclose(landmarks.eigenvalues_, exact.eigenvalues_, rtol=1e-6)
        Z = exact.transform(target)
        assert_allclose(landmarks.transform(target), Z, atol=1e-6 * np.abs(Z).max())

    def test_it_is_the_literal_approximation(self):
        source, target = domains(1, (120, 130))
        found = TransferComponentAnalysis(5, gamma=0.1, solver="nystrom", n_landmarks=40)
        found.fit(source, target)
        X = np.vstack([source, target])
        C = pairwise_kernels(X, found._references, metric="rbf", gamma=0.1)
        W = pairwise_kernels(found._references, metric="rbf", gamma=0.1)
        assert len(W) == 40
        values, vectors = literal(C @ np.linalg.solve(W, C.T), 120, 1.0, 5)
        assert_allclose(found.eigenvalues_, values, rtol=1e-7)
        assert subspace_angles(vectors, found.eigenvectors_).max() < 1e-6

    def test_error_falls_with_their_number(self):
        source, target = domains(2, (400, 400))
        exact = TransferComponentAnalysis(5, mu=0.1).fit(source, target)
        Z = np.vstack([exact.source_embedding_, exact.target_embedding_])
        errors = []
        for m in (20, 80, 320):
            found = TransferComponentAnalysis(5, mu=0.1, solver="nystrom", n_landmarks=m)
            found.fit(source, target)
            near = np.vstack([found.source_embedding_, found.target_embedding_])
            errors.append(np.linalg.norm(near @ near.T - Z @ Z.T) / np.linalg.norm(Z @ Z.T))
        assert errors[0] > errors[1] > errors[2]
        assert errors[2] < 0.05

    def test_draws_follow_the_seed(self):
        source, target = domains(3)
        method = TransferComponentAnalysis(5, solver="nystrom", n_landmarks=30)
        first, again, other = (
            clone(method).set_params(seed=seed).fit(source, target).eigenvalues_
            for seed in (0, 0, 1)
        )
        assert (first == again).all()
        assert (first != other).all()


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"kernel": "cosine"}, "kernel to be one of linear, rbf, got 'cos"),
            ({"scaling": "none"}, "scaling to be one of unit, variance"),
            ({"solver": "fast"}, "solver to be one of exact, nystrom"),
            ({"mu": 0.0}, "mu above 0, got 0.0"),
            ({"gamma": -1.0}, "gamma above 0, or None, got -1"),
            ({"n_components": 0}, "n_components from 1 to 99, fewer than the 100 samples"),
            ({"n_components": 100}, "n_components from 1 to 99"),
            ({"kernel": "linear", "n_components": 31}, "from 1 to 30, as many as rounding errors"),
            ({"solver": "nystrom", "n_landmarks": 0}, "at least one landmark, got 0"),
            ({"solver": "nystrom", "n_landmarks": 3}, "from 1 to 3, as many as rounding"),
        ],
    )
    def test_options(self, options, message):
        with pytest.raises(ValueError, match=message):
            TransferComponentAnalysis(**{"n_components": 5} | options).fit(*domains(0))

    def test_fewer_components_than_asked_for_only_where_that_is_allowed(self):
        source, target = domains(0)  # of 30 features, and so of at most 30 linear components
        asked = TransferComponentAnalysis(60, "linear", allow_fewer=True).fit(source, target)
        exact = TransferComponentAnalysis(30, "linear").fit(source, target)
        assert asked.source_embedding_.shape[1] == 30
        np.testing.assert_allclose(asked.eigenvalues_, exact.eigenvalues_, rtol=1e-8)

    def test_samples(self):
        source, target = domains(0)
        broken = np.where(source == source[0, 0], np.nan, source)
        method = TransferComponentAnalysis(2)
        for arguments, message in [
            ((broken, target), "finite source samples"),
            ((source, target[:, :5]), "expected 30 features .* target samples have 5"),
            ((source[:1], target), "two samples of each domain, got 1"),
        ]:
            with pytest.raises(ValueError, match=message):
                method.fit(*arguments)
        with pytest.raises(ValueError, match="expected 30 features"):
            method.fit(source, target).transform(target[:, :4])
