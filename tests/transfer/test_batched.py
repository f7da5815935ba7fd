"""Solvers for all classes at once against scikit-learn's, which go class by class."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from analysis.transfer.classifiers import (
    BatchedLinearSVC,
    BatchedLogisticRegression,
    principal_basis,
    solve_softmax,
    solve_squared_hinge,
)

SHAPES = {  # images, features, classes
    "tall": (60, 8, 3),
    "wide": (30, 80, 4),
    "two classes": (50, 6, 2),
    "wide, two classes": (40, 90, 2),
    "many classes": (80, 20, 20),
}


def problem(n, d, k):
    rng = np.random.default_rng(n + d)
    labels = np.arange(n) % k * 3 + 1
    X = rng.standard_normal((n, d)) + rng.standard_normal((3 * k + 1, d))[labels]
    X[:, 2], X[:, 3] = 0.0, 1.5
    return X, labels, rng.standard_normal((25, d))


@pytest.mark.parametrize("C", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_linear_svm_decides_as_scikit_learns(shape, C):
    X, y, others = problem(*shape)
    ours = BatchedLinearSVC(C, tol=1e-11).fit(X, y)
    theirs = LinearSVC(C=C, tol=1e-12, dual=False, max_iter=100_000).fit(X, y)
    np.testing.assert_allclose(
        ours.decision_function(others), theirs.decision_function(others), atol=3e-5
    )
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=3e-5)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=3e-5)
    np.testing.assert_array_equal(ours.predict(others), theirs.predict(others))


@pytest.mark.parametrize("C", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_logistic_regression_decides_as_scikit_learns(shape, C):
    X, y, others = problem(*shape)
    ours = BatchedLogisticRegression(C, tol=1e-9).fit(X, y)
    theirs = LogisticRegression(C=C, tol=1e-9, max_iter=1000, solver="newton-cg").fit(X, y)
    expected = theirs.decision_function(others)
    if expected.ndim == 2:  # only differences between classes are determined
        expected = expected - theirs.intercept_.mean()
    np.testing.assert_allclose(ours.decision_function(others), expected, atol=2e-5)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=2e-5)


def test_starting_elsewhere_leads_to_the_same_weights():
    X, y, _ = problem(60, 8, 3)
    members = np.unique(y, return_inverse=True)[1]
    for solve in (solve_squared_hinge, solve_softmax):
        cold = solve(X, members, 3, C=10.0, tol=1e-10)
        begun = solve(X, members, 3, C=0.1)
        warm = solve(X, members, 3, C=10.0, tol=1e-10, start=begun)
        np.testing.assert_allclose(warm[:-1], cold[:-1], atol=1e-6)
        np.testing.assert_array_equal(begun, solve(X, members, 3, C=0.1))


@pytest.mark.parametrize("shape", [(30, 12), (12, 30)])
def test_the_basis_keeps_inner_products_and_finds_other_images(shape):
    rng = np.random.default_rng(0)
    X = rng.standard_normal(shape)
    X[:, 5] = X[:, 4]
    basis = principal_basis(X)
    np.testing.assert_allclose(basis.rows @ basis.rows.T, X @ X.T, atol=1e-10)
    assert basis.rows.shape[1] == min(shape[0], shape[1] - 1)
    other = rng.standard_normal((3, shape[1]))
    seen = (other @ X.T if basis.dual else other) @ basis.vectors
    np.testing.assert_allclose(seen @ basis.rows.T, other @ X.T, atol=1e-10)


def test_too_few_steps_are_an_error_not_a_worse_machine():
    X, y, _ = problem(60, 8, 3)
    for machine in (BatchedLinearSVC, BatchedLogisticRegression):
        with pytest.raises(RuntimeError, match="1 steps; raise max_iter"):
            machine(tol=1e-12, max_iter=1).fit(X, y)


@pytest.mark.parametrize("machine", [BatchedLinearSVC, BatchedLogisticRegression])
def test_what_cannot_be_learnt_from_is_refused(machine):
    X, y, _ = problem(60, 8, 3)
    with pytest.raises(ValueError, match=r"one label per image, got \(60, 8\) and \(59,\)"):
        machine().fit(X, y[1:])
    with pytest.raises(ValueError, match="two classes, got only"):
        machine().fit(X, np.ones(60))
    X[3, 3] = np.nan
    with pytest.raises(ValueError, match="finite features, got 1 that are not"):
        machine().fit(X, y)
    with pytest.raises(ValueError, match="features or their inner products"):
        principal_basis()


def test_constant_images_give_a_machine_of_intercepts():
    X, y = np.zeros((9, 4)), np.arange(9) % 3
    for machine in (BatchedLinearSVC, BatchedLogisticRegression):
        fitted = machine().fit(X, y)
        assert not fitted.coef_.any()
        assert fitted.predict(X).shape == (9,)
