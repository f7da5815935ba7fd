"""Feature augmentation: what both domains share, and what each has of its own."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone

from analysis.statistics.threads import one_blas_thread
from analysis.transfer._samples import KnownFeatures
from analysis.transfer.adaptation._domains import Floats, labelled_domains
from analysis.transfer.classifiers import WideLinearSVC

__all__ = ["FeatureAugmentation"]


class FeatureAugmentation(KnownFeatures, ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # no types
    """A classifier of samples in three copies: common, of the source, of the target.

    Source: Daumé III, *Frustratingly easy domain adaptation*, ACL 2007, section 3.1: a source
    sample x becomes (x, x, 0), a target sample (x, 0, x). Inner products are thus twice as large
    within a domain as across.

    Parameters
    ----------
    classifier : scikit-learn classifier, optional
        Cloned and fitted to the augmented samples of both domains. By default
        :class:`analysis.transfer.WideLinearSVC`, which works with inner products where there are
        more features than samples, and divides them by the number of features, here of all three
        copies.

    Attributes
    ----------
    classifier_
        The fitted classifier.
    classes_ : ndarray
        Its classes.
    """

    def __init__(self, classifier: BaseEstimator | None = None) -> None:
        self.classifier = classifier

    @one_blas_thread
    def fit(
        self, X_source: ArrayLike, y_source: ArrayLike, X_target: ArrayLike, y_target: ArrayLike
    ) -> Self:
        """Fit to labelled samples of both domains.

        Raises
        ------
        ValueError
            Samples and labels that do not fit together.
        """
        source, ys, target, yt = labelled_domains(X_source, y_source, X_target, y_target)
        rows = np.vstack([augment_source(source), augment_target(target)])
        base = WideLinearSVC() if self.classifier is None else self.classifier
        self.classifier_ = clone(base).fit(rows, np.concatenate([ys, yt]))
        self.classes_ = self.classifier_.classes_
        self._remember(X_source, source.shape[1])
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Classes of target samples, shape (samples,)."""
        rows = self._target(X)  # refuses before there is a classifier
        predicted: NDArray[Any] = self.classifier_.predict(rows)
        return predicted

    def decision_function(self, X: ArrayLike) -> Floats:
        """Scores of target samples, as the classifier gives them."""
        rows = self._target(X)
        scores: Floats = self.classifier_.decision_function(rows)
        return scores

    def _target(self, X: ArrayLike) -> Floats:
        return augment_target(self._samples(X, "target samples"))


def augment_source(X: Floats) -> Floats:
    """(x, x, 0) for each row x."""
    return np.hstack([X, X, np.zeros_like(X)])


def augment_target(X: Floats) -> Floats:
    """(x, 0, x) for each row x."""
    return np.hstack([X, np.zeros_like(X), X])
