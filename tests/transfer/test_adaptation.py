"""Adaptation of one domain to another: against literal references and published accuracies."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.linalg import null_space, sqrtm
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from analysis.transfer import (
    CorrelationAlignment,
    FeatureAugmentation,
    GeodesicFlowKernel,
    MaxMarginDomainTransform,
    SubspaceAlignment,
)
from analysis.transfer.adaptation import principal_axes
from analysis.transfer.mmdt import dual_weights


def domains(seed, n=(12, 15), width=9):
    rng = np.random.default_rng(seed)
    source = rng.normal(size=(n[0], width)) @ rng.normal(size=(width, width))
    return source, 1 + rng.normal(size=(n[1], width)) @ rng.normal(size=(width, width))


def labelled(seed, n=30, width=6, classes=3):
    """Two domains of the same classes, the second turned and moved."""
    rng = np.random.default_rng(seed)
    centres = 2 * rng.normal(size=(classes, width))
    ys, yt = np.arange(n) % classes, np.arange(n) % classes
    turn, _ = np.linalg.qr(rng.normal(size=(width, width)))
    Xs = centres[ys] + rng.normal(size=(n, width))
    return Xs, ys, (centres[yt] + rng.normal(size=(n, width))) @ turn + 1, yt


class TestGeodesicFlowKernel:
    @staticmethod
    def literal(source, target, d):
        """The closed form, with the orthogonal complement and the full matrix."""
        PS, PT = (principal_axes(X, d, "samples") for X in (source, target))
        RS = null_space(PS.T)
        U1, cosines, VT = np.linalg.svd(PS.T @ PT)
        theta = np.arccos(np.clip(cosines, -1, 1))
        U2 = -(RS.T @ PT @ VT.T) / np.sin(theta)
        sinc = np.sin(2 * theta) / (2 * theta)
        mixed = np.diag((np.cos(2 * theta) - 1) / (2 * theta))
        middle = np.block([[np.diag(1 + sinc), mixed], [mixed, np.diag(1 - sinc)]])
        both = np.hstack([PS @ U1, RS @ U2])
        return both @ middle @ both.T

    @given(st.integers(0, 10_000), st.integers(1, 4))
    @settings(max_examples=40, deadline=None)
    def test_it_is_the_closed_form(self, seed, d):
        source, target = domains(seed)
        found = GeodesicFlowKernel(d).fit(source, target)
        assert_allclose(found.factor_ @ found.factor_.T, self.literal(source, target, d), atol=1e-9)

    def test_it_is_the_integral_of_the_flow(self):
        """Twice the mean of the projections onto the subspaces between both domains."""
        source, target = domains(1)
        p, q = (principal_axes(X, 1, "samples") for X in (source, target))
        if p.T @ q < 0:
            q = -q
        theta = np.arccos(p.T @ q).item()
        w = (q - p * np.cos(theta)) / np.sin(theta)
        t = (np.arange(20_000) + 0.5) / 20_000
        points = p * np.cos(t * theta) + w * np.sin(t * theta)
        found = GeodesicFlowKernel(1).fit(source, target).factor_
        assert_allclose(found @ found.T, 2 * points @ points.T / t.size, atol=1e-8)

    @pytest.mark.parametrize("angle", [1e-9, 1e-5, 2.9e-3, 3.1e-3, 0.1])
    def test_small_angles_lose_no_digits(self, angle):
        line, turned = np.zeros((3, 2)), np.zeros((3, 2))
        line[:, 0] = turned[:, 0] = [-1, 0, 1]
        turned[:, 1] = np.tan(angle) * turned[:, 0]
        wide = np.zeros((3, 4))
        found = GeodesicFlowKernel(1).fit(np.hstack([line, wide]), np.hstack([turned, wide]))
        G = found.factor_ @ found.factor_.T
        expected = [1 + np.sinc(2 * angle / np.pi), np.sin(angle) ** 2 / angle]
        assert_allclose([G[0, 0], abs(G[0, 1])], expected, rtol=1e-7)
        assert_allclose(G[1, 1], 2 * angle**2 / 3 - 2 * angle**4 / 15, rtol=1e-4)


class TestAlignments:
    @given(st.integers(0, 10_000), st.sampled_from([(12, 15), (40, 6)]))
    @settings(max_examples=30, deadline=None)
    def test_coral_is_the_literal_formula(self, seed, n):
        source, target = domains(seed, n)
        CS, CT = (np.cov(X, rowvar=False) + np.eye(X.shape[1]) for X in (source, target))
        literal = source @ np.real(np.linalg.inv(sqrtm(CS)) @ sqrtm(CT))
        found = CorrelationAlignment().fit(source, target)
        assert_allclose(found.transform_source(source), literal, atol=1e-7)
        assert_allclose(found.transform_target(target), target)

    def test_subspace_alignment_is_the_literal_formula(self):
        source, target = domains(5)
        PS, PT = (principal_axes(X, 3, "samples") for X in (source, target))
        found = SubspaceAlignment(3).fit(source, target)
        assert_allclose(found.transform_source(source), source @ PS @ PS.T @ PT)
        assert_allclose(found.transform_target(target), target @ PT)


class TestFeatureAugmentation:
    @pytest.mark.parametrize("width", [4, 200])
    def test_it_is_the_explicit_threefold_machine(self, width):
        Xs, ys, Xt, yt = labelled(0, width=width)
        rows = np.block([[Xs, Xs, 0 * Xs], [Xt, 0 * Xt, Xt]])
        plain = LogisticRegression(max_iter=2000).fit(rows, np.concatenate([ys, yt]))
        found = FeatureAugmentation(LogisticRegression(max_iter=2000)).fit(Xs, ys, Xt, yt)
        tested = np.hstack([Xt, 0 * Xt, Xt])
        assert_allclose(found.decision_function(Xt), plain.decision_function(tested))
        assert (found.predict(Xt) == plain.predict(tested)).all()


class TestMaxMarginDomainTransform:
    @staticmethod
    def literal(planes, W, Xs, ys, Xt, yt, C_source, C_target):
        """The objective, term by term."""
        total = (W**2).sum() / 2 + (planes**2).sum() / 2
        for k, plane in enumerate(planes):
            for x, label in zip(Xs, ys, strict=True):
                y = 1 if label == k else -1
                total += C_source * max(0, 1 - y * plane @ [*x, 1])
            for z, label in zip(Xt, yt, strict=True):
                y = 1 if label == k else -1
                total += C_target * max(0, 1 - y * plane @ W @ [*z, 1])
        return total

    @pytest.mark.parametrize("C", [(0.01, 0.02), (0.1, 1.0), (1.0, 0.1), (10.0, 10.0)])
    @pytest.mark.parametrize("seed", range(3))
    def test_objective_never_rises_and_falls_in_the_end(self, C, seed):
        Xs, ys, Xt, yt = labelled(seed)
        found = MaxMarginDomainTransform(*C, tol=1e-9, max_iter=10).fit(Xs, ys, Xt[:12], yt[:12])
        path = found.objective_
        assert path.size == 2 * found.n_iter_ - 1 >= 3
        assert (np.diff(path) <= 1e-8 * path[:-1]).all()
        if min(C) < 1:  # where classes are told apart perfectly, the first turn is the last
            assert path[-1] < path[0] - 1e-6

    def test_objective_is_the_literal_one(self):
        Xs, ys, Xt, yt = labelled(5, n=12, width=3)
        found = MaxMarginDomainTransform(0.3, 0.7).fit(Xs, ys, Xt, yt)
        W = found.transform_matrix()
        value = self.literal(found.coef_, W, Xs, ys, Xt, yt, 0.3, 0.7)
        assert found.objective_[-1] == pytest.approx(value, rel=1e-9)
        scores = np.hstack([Xt, np.ones((len(Xt), 1))]) @ W.T @ found.coef_.T
        assert_allclose(found.decision_function(Xt), scores, atol=1e-9)

    def test_each_half_turn_equals_a_literal_quadratic_programme(self):
        """One turn, with slacks and inequalities by a general solver."""
        Xs, ys, Xt, yt = labelled(6, n=6, width=2, classes=2)
        found = MaxMarginDomainTransform(0.5, 0.8, max_iter=1).fit(Xs, ys, Xt, yt)
        signs = np.where(ys == 0, 1.0, -1.0)
        x, z = (np.hstack([X, np.ones((len(X), 1))]) for X in (Xs, Xt))
        plane = quadratic_programme(x * signs[:, None], 0.5)
        assert_allclose(found.coef_[0], plane, atol=1e-5)
        assert_allclose(found.coef_[1], -plane, atol=1e-5)
        signs = np.where(yt == 0, 1.0, -1.0)
        rows = [s * np.outer(plane, row).ravel() for s, row in zip(signs, z, strict=True)]
        W = quadratic_programme(np.array(rows + rows), 0.8).reshape(3, 3)
        assert_allclose(found.transform_matrix(), W, atol=1e-5)

    def test_it_learns_a_turned_domain_from_few_labels(self):
        """Where the classifier of the source fails and few target labels do not suffice."""
        Xs, ys, Xt, yt = labelled(7, n=240, width=20)
        few = slice(0, 9)
        found = MaxMarginDomainTransform().fit(Xs, ys, Xt[few], yt[few])
        alone = SVC(kernel="linear").fit(Xs, ys)
        right = np.mean(found.predict(Xt[9:]) == yt[9:])
        assert right > np.mean(alone.predict(Xt[9:]) == yt[9:])
        assert right > 0.6

    def test_labels_of_any_kind(self):
        Xs, ys, Xt, yt = labelled(8)
        names = np.array(["mug", "bike", "pen"])
        found = MaxMarginDomainTransform().fit(Xs, names[ys], Xt, names[yt])
        numbers = MaxMarginDomainTransform().fit(Xs, ys, Xt, yt)
        assert found.classes_.tolist() == ["bike", "mug", "pen"]
        assert (found.predict(Xt) == names[numbers.predict(Xt)]).all()

    def test_refusals(self):
        Xs, ys, Xt, yt = labelled(9)
        with pytest.raises(ValueError, match=r"all of the target's among them.*\[7\]"):
            MaxMarginDomainTransform().fit(Xs, ys, Xt, np.where(yt == 0, 7, yt))
        with pytest.raises(ValueError, match="weights above 0"):
            MaxMarginDomainTransform(C_target=0.0).fit(Xs, ys, Xt, yt)
        with pytest.raises(ValueError, match="one label for each of 30 target samples"):
            MaxMarginDomainTransform().fit(Xs, ys, Xt, yt[:5])


def quadratic_programme(rows, C):
    """Normal w of min ½‖w‖² + C Σ slack, with rows·w >= 1 - slack and slack >= 0."""
    n, width = rows.shape
    inequalities = {"type": "ineq", "fun": lambda v: rows @ v[:width] - 1 + v[width:]}
    solved = minimize(
        lambda v: v[:width] @ v[:width] / 2 + C * v[width:].sum(),
        np.ones(width + n),
        jac=lambda v: np.concatenate([v[:width], np.full(n, C)]),
        constraints=[inequalities],
        bounds=[(None, None)] * width + [(0, None)] * n,
        method="SLSQP",
        options={"maxiter": 1000, "ftol": 1e-14},
    )
    assert solved.success
    return solved.x[:width]


class TestDualWeights:
    @given(st.integers(0, 10_000), st.sampled_from([0.01, 1.0, 100.0]))
    @settings(max_examples=40, deadline=None)
    def test_conditions_of_the_optimum(self, seed, C):
        """Also for repeated samples and those on the margin."""
        rng = np.random.default_rng(seed)
        rows = rng.normal(size=(14, 4))
        rows[7:9] = rows[5]
        signs, most = np.where(rng.random(14) < 0.5, 1.0, -1.0), np.full(14, C)
        a = dual_weights(rows @ rows.T, signs, most)
        margins = signs * (rows @ ((a * signs) @ rows))
        assert ((a >= 0) & (a <= C)).all()
        assert (margins[a < 1e-6 * C] >= 1 - 1e-5).all()
        assert (margins[a > C * (1 - 1e-6)] <= 1 + 1e-5).all()
        between = (a > 1e-3 * C) & (a < C * (1 - 1e-3))
        assert_allclose(margins[between], 1, atol=1e-5)

    def test_large_samples_that_repeat(self):
        rng = np.random.default_rng(0)
        rows = np.repeat(100 * rng.normal(size=(6, 3)), 4, axis=0)
        signs = np.where(np.arange(24) % 8 < 4, 1.0, -1.0)
        signs[0] = -1  # against its copies
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            a = dual_weights(rows @ rows.T, signs, np.ones(24))
        margins = signs * (rows @ ((a * signs) @ rows))
        assert (margins[a < 1e-7] >= 1 - 1e-3).all()
        assert (margins[a > 1 - 1e-7] <= 1 + 1e-3).all()

    def test_says_when_it_is_not_solved(self, monkeypatch):
        monkeypatch.setattr("analysis.transfer.mmdt._STEPS", 2)
        with pytest.warns(ConvergenceWarning, match="of 3 samples was not solved"):
            dual_weights(np.eye(3), np.ones(3), np.full(3, 5.0))


WITHOUT_LABELS = [GeodesicFlowKernel(2), CorrelationAlignment(), SubspaceAlignment(2)]


@pytest.mark.parametrize("method", WITHOUT_LABELS, ids=lambda each: type(each).__name__)
class TestEveryAlignment:
    def test_clones_and_repeats(self, method):
        source, target = domains(0)
        first, second = (clone(method).fit(source, target) for _ in range(2))
        assert_allclose(first.transform_source(source), second.transform_source(source))
        assert_allclose(first.transform_target(target), second.transform_target(target))

    def test_refusals(self, method):
        source, target = domains(1)
        broken = source.copy()
        broken[0, 0] = np.nan
        for arguments, message in [
            ((broken, target), "finite source samples"),
            ((source, target[:, :5]), "expected 9 features .* target samples have 5"),
            ((source[:1], target), "two samples of each domain, got 1"),
            ((source[0], target), "source samples of shape"),
        ]:
            with pytest.raises(ValueError, match=message):
                clone(method).fit(*arguments)
        with pytest.raises(ValueError, match="expected 9 features"):
            clone(method).fit(source, target).transform_target(target[:, :4])


@pytest.mark.parametrize("method", [GeodesicFlowKernel, SubspaceAlignment])
@pytest.mark.parametrize("number", [0, 4])
def test_components_are_as_many_as_samples_span(method, number):
    source, target = domains(2, n=(4, 15))
    with pytest.raises(ValueError, match="n_components from 1 to 3, as many as 4 source"):
        method(number).fit(source, target)
