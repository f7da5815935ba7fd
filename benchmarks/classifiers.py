"""Linear machines for 102 classes at once against scikit-learn's.

As many images, classes and features as Caltech-101 gives with 30 training images per class. Both
solve the same problem, by default to 1e-4, which the two measure differently, so the largest
difference of their decision values is reported as well. A ratio is the median over rounds of the
ratio within a round, in which each runs once, so that a busy spell of the machine meets both. Ours
counts the basis of principal components, which a search over C computes once for all of its fits.

``python -m benchmarks classifiers`` runs this file alone.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from analysis.transfer.classifiers import BatchedLinearSVC, BatchedLogisticRegression

Row = dict[str, Any]
N_CLASSES, PER_CLASS = 102, 30
SHAPES = ((96, 3), (512, 3), (2656, 1))  # features, rounds


def problem(n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """Standardised features of classes that overlap, of falling variance as a network's have."""
    rng = np.random.default_rng(n_features)
    y = np.repeat(np.arange(N_CLASSES), PER_CLASS)
    spread = np.arange(1, n_features + 1) ** -0.5
    latent = 0.6 * rng.standard_normal((N_CLASSES, n_features))[y]
    latent = (latent + rng.standard_normal((y.size, n_features))) * spread
    X = latent @ rng.standard_normal((n_features, n_features))
    return (X - X.mean(axis=0)) / X.std(axis=0) / np.sqrt(n_features), y


def seconds(fit: Callable[[], Any]) -> tuple[float, Any]:
    """Time of a fit, and the fitted machine."""
    begun = perf_counter()
    fitted = fit()
    return perf_counter() - begun, fitted


def compared(name: str, ours: Any, theirs: Any, n_features: int, rounds: int) -> list[Row]:
    """Rows of one pair of classifiers."""
    X, y = problem(n_features)
    taken = []
    for _ in range(rounds):
        fast, a = seconds(lambda: ours.fit(X, y))
        slow, b = seconds(lambda: theirs.fit(X, y))
        taken.append((fast, slow))
    gap = a.decision_function(X) - b.decision_function(X)
    gap = gap - gap.mean(axis=1, keepdims=True) if name == "logistic regression" else gap
    times = np.array(taken)
    label = f"{name}, {y.size} images x {n_features} features, {N_CLASSES} classes"
    measured = {
        "this package": (float(np.median(times[:, 0])), "s"),
        "scikit-learn": (float(np.median(times[:, 1])), "s"),
        "scikit-learn / this package": (float(np.median(times[:, 1] / times[:, 0])), "times"),
        "largest difference of decision values": (float(np.abs(gap).max()), "decision value"),
    }
    return [
        {"name": f"{label}: {what}", "value": value, "unit": unit, "target": None, "passed": None}
        for what, (value, unit) in measured.items()
    ]


def run() -> list[Row]:
    """Compare at every number of features."""
    rows = []
    for n_features, rounds in SHAPES:
        pairs = {
            "linear SVM": (BatchedLinearSVC(), LinearSVC()),
            "logistic regression": (
                BatchedLogisticRegression(C=100.0),
                LogisticRegression(C=100.0, max_iter=10_000),
            ),
        }
        for name, (ours, theirs) in pairs.items():
            rows += compared(name, ours, theirs, n_features, rounds)
    return rows
