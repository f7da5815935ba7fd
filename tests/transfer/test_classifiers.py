"""The linear support vector machine is scikit-learn's, whichever way it is computed."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from analysis.transfer import WideLinearSVC, linear_svm

EXACT = {"tol": 1e-10, "max_iter": 100_000}


def problem(n_images, n_features, *, n_classes=4, separation=0.4, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n_images) % n_classes + 3
    centres = separation * rng.standard_normal((n_classes, n_features))
    X = centres[labels - 3] + rng.standard_normal((n_images, n_features))
    return X * np.geomspace(0.1, 10, n_features) + 2, labels


@pytest.mark.parametrize("n_features", [10, 60, 400])
@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("C", [0.1, 10.0])
def test_equals_scikit_learn_on_scaled_features(n_features, n_classes, C):
    X, y = problem(60, n_features, n_classes=n_classes)
    X = StandardScaler().fit_transform(X)
    scaled = X / np.sqrt(n_features)
    expected = LinearSVC(C=C, dual=False, **EXACT).fit(scaled, y)
    found = WideLinearSVC(C=C, dual=False, **EXACT).fit(X, y)
    assert found.coef_.shape == expected.coef_.shape
    np.testing.assert_allclose(
        found.coef_ * np.sqrt(n_features), expected.coef_, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(found.intercept_, expected.intercept_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        found.decision_function(X), expected.decision_function(scaled), rtol=1e-4, atol=1e-4
    )


def test_repeated_images_and_constant_features_do_no_harm():
    X, y = problem(30, 100, separation=3.0)
    X, y = np.vstack([X, X, X[:3]]), np.concatenate([y, y, y[:3]])
    X[:, 7] = 1.5
    assert (linear_svm().fit(X, y).predict(X) == y).all()
    flat = linear_svm().fit(np.ones((4, 9)), [0, 0, 1, 1])
    assert np.isfinite(flat.decision_function(np.ones((1, 9)))).all()


def test_known_products_give_the_same_machine():
    X, y = problem(40, 90)
    X = StandardScaler().fit_transform(X)
    expected, found = WideLinearSVC().fit(X, y), WideLinearSVC()
    found.fit_products(X, X[:, :30] @ X[:, :30].T / 90 + X[:, 30:] @ X[:, 30:].T / 90, y)
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.intercept_, expected.intercept_, rtol=1e-6, atol=1e-9)
    assert found.n_features_in_ == 90
