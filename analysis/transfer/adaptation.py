"""Domain adaptation: what is learnt on one domain, used on another.

Methods without target labels (``fit(X_source, X_target)``) give features of both domains,
``transform_source`` and ``transform_target``; methods with some target labels
(``fit(X_source, y_source, X_target, y_target)``) are classifiers of target samples.

Conventions
-----------
geodesic flow kernel
    Gong, Shi, Sha and Grauman, *Geodesic flow kernel for unsupervised domain adaptation*, CVPR
    2012, section 3. The subspaces of both domains are their principal components; the shortest way
    between them on the Grassmannian is followed from source to target, and the inner products of
    samples projected into every subspace on it are integrated. The paper's common factor 1/2 is
    left out, which changes neither neighbours nor, up to the scale of C, linear classifiers.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone

from analysis.data.images import checked_labels
from analysis.statistics.named import by_name, feature_names
from analysis.statistics.threads import one_blas_thread
from analysis.transfer._samples import Floats, KnownFeatures, checked_samples, whole_number
from analysis.transfer.classifiers import WideLinearSVC

Labels = NDArray[Any]


def two_domains(X_source: ArrayLike, X_target: ArrayLike) -> tuple[Floats, Floats]:
    """Take samples of both domains, at least two of each; target features in the source's order.

    Raises
    ------
    ValueError
        As :func:`~analysis.transfer._samples.checked_samples`; fewer than two samples, domains of
        different features, labels in the place of the target.
    """
    source = checked_samples(X_source, "source samples")
    if X_target is None or np.ndim(X_target) == 1:
        raise ValueError(
            "expected fit(X_source, X_target), target samples of shape (samples, features), got "
            f"{np.shape(X_target)}: a Pipeline gives labels in their place, so fit the adaptation "
            "before, and give the Pipeline what it transforms"
        )
    aligned = by_name(X_target, feature_names(X_source), "target samples")
    target = checked_samples(aligned, "target samples", source.shape[1])
    if min(len(source), len(target)) < 2:
        raise ValueError(
            f"expected at least two samples of each domain, got {len(source)} and {len(target)}"
        )
    return source, target


def labelled_domains(
    X_source: ArrayLike,
    y_source: ArrayLike,
    X_target: ArrayLike,
    y_target: ArrayLike,
    what: str = "samples",
) -> tuple[Floats, Labels, Floats, Labels]:
    """Take samples and labels of both domains, whose classes are named alike.

    Raises
    ------
    ValueError
        As :func:`two_domains`; labels that are missing (in the target also -1, where that is no
        class of the source), too few, or of another kind than the source's.
    """
    source, target = two_domains(X_source, X_target)
    ys = checked_labels(y_source, len(source), f"{{}} source {what}")
    yt = checked_labels(y_target, len(target), f"{{}} target {what}", like=ys)
    unlabelled = np.flatnonzero((yt == -1) & ~(ys == -1).any())
    if unlabelled.size:
        raise ValueError(
            f"expected labels of all target {what}, got {unlabelled.size} that are -1, which marks "
            f"what has no label, the first at position {unlabelled[0]}: leave these out, or take "
            "an adaptation without target labels"
        )
    return source, ys, target, yt


def principal_axes(X: Floats, number: Any, what: str) -> Floats:
    """Orthonormal axes of most variance of centred samples, (features, number).

    Raises
    ------
    ValueError
        If the samples span fewer, or it is no whole number.
    """
    number = whole_number("n_components", number)
    axes, variances = principal_components(X)
    rank = int((variances > 0).sum())
    if not 1 <= number <= rank:
        raise ValueError(
            f"expected n_components from 1 to {rank}, as many as {len(X)} {what} span, got {number}"
        )
    return np.ascontiguousarray(axes[:, :number])


def principal_components(X: Floats) -> tuple[Floats, Floats]:
    """Axes of most variance (features, k), and the variances (k,), n - 1 in the denominator.

    Of more samples than features the covariance is decomposed, in a third of the time; variances
    that rounding errors cannot be told from are 0.
    """
    centred = X - X.mean(axis=0)
    n, width = centred.shape
    if n > width:
        ascending, columns = np.linalg.eigh(centred.T @ centred)
        squares, axes = ascending[::-1], columns[:, ::-1]
        noise = np.finfo(np.float64).eps * n * squares[0]
    else:
        _, lengths, rows = np.linalg.svd(centred, full_matrices=False)
        squares, axes = lengths**2, rows.T
        noise = (np.finfo(np.float64).eps * width) ** 2 * squares[0]
    return axes, np.where(squares > noise, squares, 0.0) / (n - 1)


class CorrelationAlignment(KnownFeatures, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """CORAL: source samples are whitened, then given the covariance of the target.

    Source: Sun, Feng and Saenko, *Return of frustratingly easy domain adaptation*, AAAI 2016,
    algorithm 1: X C_S^(-1/2) C_T^(1/2), with C the covariance (n - 1) plus ``ridge`` on the
    diagonal. Means are left alone.

    Parameters
    ----------
    ridge : float
        Above 0; 1 in the paper.

    Notes
    -----
    C differs from a multiple of the identity in no more directions than there are samples, so
    its powers are taken from a thin singular value decomposition of the samples. With fewer samples
    than features this is the same at a fraction of the cost.
    """

    def __init__(self, ridge: float = 1.0) -> None:
        self.ridge = ridge

    @one_blas_thread
    def fit(self, X_source: ArrayLike, X_target: ArrayLike) -> Self:
        """Learn both covariances from samples (samples, features); no labels.

        Raises
        ------
        ValueError
            Samples that do not fit together, or a ridge that is not above 0.
        """
        if not self.ridge > 0:
            raise ValueError(f"expected a ridge above 0, got {self.ridge}")
        source, target = two_domains(X_source, X_target)
        self.whitening_ = _power(source, self.ridge, -0.5)
        self.colouring_ = _power(target, self.ridge, 0.5)
        self._remember(X_source, source.shape[1])
        return self

    def transform_source(self, X: ArrayLike) -> Floats:
        """Source samples with the target's covariance, shape (samples, features)."""
        moved = self._samples(X, "source samples")
        for axes, gains in (self.whitening_, self.colouring_):
            moved = moved + (moved @ axes) * gains @ axes.T
        return moved

    def transform_target(self, X: ArrayLike) -> Floats:
        """Target samples as they are."""
        return self._samples(X, "target samples")


class SubspaceAlignment(KnownFeatures, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Principal axes of the source, turned onto those of the target.

    Source: Fernando, Habrard, Sebban and Tuytelaars, *Unsupervised visual domain adaptation using
    subspace alignment*, ICCV 2013, algorithm 1: with principal axes P, X_S P_S P_Sᵀ P_T is
    compared with X_T P_T. Samples are centred for the axes only; standardise them before.

    Parameters
    ----------
    n_components : int
        Dimensions of both subspaces.
    """

    def __init__(self, n_components: int = 20) -> None:
        self.n_components = n_components

    @one_blas_thread
    def fit(self, X_source: ArrayLike, X_target: ArrayLike) -> Self:
        """Learn both subspaces from samples (samples, features); no labels.

        Raises
        ------
        ValueError
            Samples that do not fit together, or more components than they span.
        """
        source, target = two_domains(X_source, X_target)
        own = principal_axes(source, self.n_components, "source samples")
        self.target_axes_ = principal_axes(target, self.n_components, "target samples")
        self.source_axes_: Floats = own @ (own.T @ self.target_axes_)
        self._remember(X_source, source.shape[1])
        return self

    def transform_source(self, X: ArrayLike) -> Floats:
        """Source samples on the target's axes, shape (samples, n_components)."""
        return self._samples(X, "source samples") @ self.source_axes_

    def transform_target(self, X: ArrayLike) -> Floats:
        """Target samples on their own axes, shape (samples, n_components)."""
        return self._samples(X, "target samples") @ self.target_axes_


def _power(X: Floats, ridge: float, exponent: float) -> tuple[Floats, Floats]:
    """Power of (covariance + ridge · identity), up to its own factor ridge^exponent.

    Returns
    -------
    axes : ndarray, shape (features, k)
    gains : ndarray, shape (k,)
        The power is ridge^exponent (identity + axes diag(gains) axesᵀ); the factors of whitening
        and colouring cancel.
    """
    axes, variances = principal_components(X)
    return axes, (1 + variances / ridge) ** exponent - 1


class GeodesicFlowKernel(KnownFeatures, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Features whose inner product is the geodesic flow kernel.

    Parameters
    ----------
    n_components : int
        Dimensions of both subspaces, at most half of the features and as many as the samples of
        either domain span.

    Attributes
    ----------
    angles_ : ndarray of float64, shape (n_components,)
        Principal angles between the two subspaces, in radians, ascending.
    factor_ : ndarray of float64, shape (features, 2 * n_components)
        F with G = F Fᵀ.

    Notes
    -----
    G has rank 2 d: it is kept as a factor, and neither the orthogonal complement of a subspace nor
    a matrix of features × features is made.
    """

    def __init__(self, n_components: int = 20) -> None:
        self.n_components = n_components

    @one_blas_thread
    def fit(self, X_source: ArrayLike, X_target: ArrayLike) -> Self:
        """Learn the kernel from samples of both domains, (samples, features); no labels.

        Samples are centred for the subspaces only. Standardise them before, as a rule each domain
        by itself.

        Raises
        ------
        ValueError
            Samples that do not fit together, or more components than they span or than half of
            the features.
        """
        source, target = two_domains(X_source, X_target)
        d, width = whole_number("n_components", self.n_components), source.shape[1]
        if 2 * d > width:
            raise ValueError(
                f"expected n_components of at most half of {width} features, got {d}: two "
                "subspaces need as many dimensions to turn into each other"
            )
        axes = (
            principal_axes(source, d, "source samples"),
            principal_axes(target, d, "target samples"),
        )
        self.angles_, self.factor_ = _flow(*axes)
        self._remember(X_source, width)
        return self

    def transform(self, X: ArrayLike) -> Floats:
        """Features of samples of either domain, shape (samples, 2 * n_components)."""
        return self._samples(X) @ self.factor_

    transform_source = transform_target = transform


def _flow(source: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Principal angles and a factor of G, from orthonormal axes (features, d) of both domains.

    With the principal vectors p of the source and q of the target, q = p cos θ + w, where w is
    orthogonal to the source and of length sin θ. In (p, w), G consists of a block for each angle,
    [[1 + s, sin θ / θ], [sin θ / θ, (1 - s) / sin² θ]] with s = sin 2θ / 2θ, which stays finite
    and positive definite where θ goes to 0, where its limit is [[2, 1], [1, 2/3]].
    """
    left, cosines, right = np.linalg.svd(source.T @ target)
    p, q = source @ left, target @ right.T
    w = q - p * cosines
    w -= source @ (source.T @ w)
    sines = np.linalg.norm(w, axis=0)
    angles = np.arctan2(sines, cosines)
    a, b = 1 + np.sinc(2 * angles / np.pi), np.sinc(angles / np.pi)
    near = angles < 3e-3  # there the difference loses more digits than the series lacks
    t = np.where(near, 1.0, angles)
    direct = (1 - np.sinc(2 * t / np.pi)) / np.sin(t) ** 2
    c = np.where(near, 2 / 3 + 4 * angles**2 / 45, direct)
    first = np.sqrt(a)
    factor = np.hstack([p * first + w * (b / first), w * np.sqrt(c - b**2 / a)])
    return angles, factor


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
