"""What the Office protocol compares: machines without adaptation, and adaptive methods.

Conventions
-----------
Donahue et al. (DeCAF, ICML 2014, section 4.2) do not say how features are scaled nor how C was
chosen. Here:

scaling, seen labels only
    Features are standardised by the labelled images that a method learns from, of both domains
    together where it learns from both.
scaling, each domain by itself
    For methods that use target images without labels (column ``unlabelled``), the test images among
    them: the labelled source images standardise the source, all target images the target. A machine
    without adaptation on the same features stands beside these methods, because this scaling alone
    moves one domain towards the other.
size
    What a machine is fitted to is divided by its root mean squared norm, after the features are
    augmented or mapped, so that C means the same for every method.
machines
    C is 100 for multinomial logistic regression and 1 for linear support vector machines with
    squared hinge loss, one class against the rest; none is chosen by accuracy. Adaptive methods use
    the support vector machine, but for the max-margin domain transform, which has its own hinge
    losses, with C_S = C_T = 1. All labelled images count alike, whichever their domain.
dimensions
    Geodesic flow and subspace alignment use 20 components, or as many as both domains span, or half
    of the features where those are fewer.

Methods past the paper are CORAL (Sun et al.), subspace alignment (Fernando et al.), and the machine
on domains standardised by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from analysis.transfer._sized import linear_machine, logistic_regression, mean_norm, standardise
from analysis.transfer.adaptation import (
    CorrelationAlignment,
    FeatureAugmentation,
    GeodesicFlowKernel,
    MaxMarginDomainTransform,
    SubspaceAlignment,
)
from analysis.transfer.adaptation._domains import Floats

__all__ = ["OFFICE_METHODS", "Method", "Task"]

Labels = NDArray[Any]


class Task(NamedTuple):
    """All that a method is given; labels of test images are not among it.

    Attributes
    ----------
    source, y_source
        Labelled images of the source.
    few, y_few
        Labelled images of the target.
    target
        All images of the target.
    test
        Positions in ``target`` of the images to classify.
    n_components
        Dimensions of subspaces, at most.
    """

    source: Floats
    y_source: Labels
    few: Floats
    y_few: Labels
    target: Floats
    test: NDArray[np.int64]
    n_components: int


class Method(NamedTuple):
    """A way to classify test images.

    Attributes
    ----------
    predict : callable
        Takes a :class:`Task` and gives the classes of its test images.
    unlabelled : bool
        Whether it uses target images without labels, those to be classified among them.
    """

    predict: Callable[[Task], Labels]
    unlabelled: bool = False


def _machine_on(training: str, build: Callable[[], BaseEstimator]) -> Callable[[Task], Labels]:
    """No adaptation: a machine on the source (S), the labelled target (T), or both."""

    def predict(task: Task) -> Labels:
        X, y = {
            "S": (task.source, task.y_source),
            "T": (task.few, task.y_few),
            "ST": (np.vstack([task.source, task.few]), np.append(task.y_source, task.y_few)),
        }[training]
        scaled = standardise(X)
        fitted = build().fit(scaled(X), y)
        found: Labels = fitted.predict(scaled(task.target[task.test]))
        return found

    return predict


def _with_few_labels(task: Task, build: Callable[[], BaseEstimator]) -> Labels:
    """Adaptation by the labelled images of both domains."""
    labelled = np.vstack([task.source, task.few])
    scaled = standardise(labelled)
    size = mean_norm(scaled(labelled))
    source, few, test = (scaled(X) / size for X in (task.source, task.few, task.target[task.test]))
    found: Labels = build().fit(source, task.y_source, few, task.y_few).predict(test)
    return found


def _with_all_images(task: Task, build: Callable[[Floats, Floats], BaseEstimator | None]) -> Labels:
    """Adaptation by all images of the target, then a machine on the labelled ones of both."""
    source, target = (standardise(X)(X) for X in (task.source, task.target))
    few = standardise(task.target)(task.few)
    adapted = build(source, target)
    if adapted is not None:
        adapted.fit(source, target)
        source = adapted.transform_source(source)
        few, target = (adapted.transform_target(X) for X in (few, target))
    rows, y = np.vstack([source, few]), np.append(task.y_source, task.y_few)
    found: Labels = linear_machine().fit(rows, y).predict(target[task.test])
    return found


def _spanned(n_components: int, source: Floats, target: Floats) -> int:
    """Components that both domains span, at most half of the features and ``n_components``."""
    ranks = (int(np.linalg.matrix_rank(X - X.mean(axis=0))) for X in (source, target))
    return max(1, min(n_components, int(source.shape[1]) // 2, *ranks))


OFFICE_METHODS: Mapping[tuple[str, str], Method] = {
    ("S", "Logistic Reg."): Method(_machine_on("S", logistic_regression)),
    ("S", "SVM"): Method(_machine_on("S", linear_machine)),
    ("T", "Logistic Reg."): Method(_machine_on("T", logistic_regression)),
    ("T", "SVM"): Method(_machine_on("T", linear_machine)),
    ("ST", "Logistic Reg."): Method(_machine_on("ST", logistic_regression)),
    ("ST", "SVM"): Method(_machine_on("ST", linear_machine)),
    ("ST", "SVM, each domain standardised"): Method(
        lambda task: _with_all_images(task, lambda source, target: None), unlabelled=True
    ),
    ("adapt", "Daume III (2007)"): Method(
        lambda task: _with_few_labels(task, lambda: FeatureAugmentation(linear_machine()))
    ),
    ("adapt", "Hoffman et al. (2013)"): Method(
        lambda task: _with_few_labels(task, MaxMarginDomainTransform)
    ),
    ("adapt", "Gong et al. (2012)"): Method(
        lambda task: _with_all_images(
            task, lambda *both: GeodesicFlowKernel(_spanned(task.n_components, *both))
        ),
        unlabelled=True,
    ),
    ("adapt", "Sun et al. (2016)"): Method(
        lambda task: _with_all_images(task, lambda *both: CorrelationAlignment()), unlabelled=True
    ),
    ("adapt", "Fernando et al. (2013)"): Method(
        lambda task: _with_all_images(
            task, lambda *both: SubspaceAlignment(_spanned(task.n_components, *both))
        ),
        unlabelled=True,
    ),
}
"""Training and name → method, in the order and by the names of the paper's table, ours after."""
