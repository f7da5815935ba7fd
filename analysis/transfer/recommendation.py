"""Which layers to keep, and how well that advice would have done.

They are chosen from training images alone; what was chosen is saved, and used on other images.

Conventions
-----------
nested
    Every split draws training images, equally many per class. All that is fitted or chosen sees
    them alone: means and deviations, thresholds on distances, and which layers to keep. Test images
    are looked at once, so the accuracy of "recommended" is that of the whole procedure; it may keep
    other layers in every split. The layers it finally names are chosen by the same rule from images
    of the whole dataset.
kept by distance
    Features that at least one class keeps: D_KS beyond t+ or t- (:func:`noise_thresholds`). Of the
    chosen layers, the others are dropped from what is recommended; a layer that has no such feature
    stays whole. The candidates are judged before that.
kept by false discovery
    Features that at least one class keeps at a false-discovery rate of 0.05 over all features, by
    p-values given their ties (:func:`ks_p_values`, :func:`false_discovery`). An alternative only.
    Where no class keeps any, its accuracy is chance.
best alternative
    The set of features with the highest mean accuracy on the test images. It is known only in
    hindsight, as the highest of many noisy numbers. ``foreseen`` is what one gets who takes, in
    every split, the alternative that was best in the other splits.

The procedure itself (which candidates, which criterion, dropping features that no class keeps) was
settled by comparing some 70 variants by test accuracy on ``minivgg16`` and the drawn tasks. There,
each run's accuracies are nested, but the choice of the procedure is not independent of them. The
tolerance, one standard error at first, became 0 by comparing 29 variants on twenty fresh tasks,
which are in no study: no study's images had a part in that change.
candidates
    Every run of consecutive layers (networks of many layers: of neighbouring groups of them), in
    two kinds of values, *standardised* and *discretised* (the full-network embedding), weighted in
    two ways: every feature alike, or every layer alike, where a feature counts one over the number
    of features in its layer.
left out
    A candidate is judged by images that a classifier was not fitted to, one at a time. The
    classifier is the linear classifier of :func:`analysis.transfer.linear_svm`, fitted by squared
    errors, because then all images can be left out in closed form: with inner products K (plus 1
    for the intercept) and A = K + I / 2C, the output for image i without it is
    y_i - (A⁻¹y)_i / (A⁻¹)_ii. What is compared is the classifier's own loss for the image left out,
    the squared hinge, summed over its classes; with few images it tells candidates apart where
    shares of right answers, in steps of one image, do not. Means and deviations of features are
    those of all training images.
plausible
    With many classes and few images of each, the summed loss mostly tells how well a classifier
    says that an image is not of a class, which features that tell little do well. So a candidate is
    passed over if fewer of the images left out are classified correctly than by the candidate that
    does best there, by more than two standard errors of that difference.
tolerance
    Of the plausible candidates whose mean loss exceeds the least one by at most ``tolerance``
    standard errors of that difference, taken image by image, the one with the fewest features is
    chosen (of equals: fewer bytes, then the lesser loss). By default only equals are that close:
    one standard error cost 0.4 points on fresh tasks.
products
    A linear classifier on some layers needs of the training images nothing but their inner
    products, and those of several layers are sums of those of each. So images are scaled once, and
    multiplied layer by layer, for every set of features.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, NamedTuple, Self, get_args

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import blas, lapack
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from analysis.data import stratified_splits
from analysis.data.images import checked_labels
from analysis.paths import written_whole
from analysis.statistics import (
    FullNetworkEmbedding,
    false_discovery,
    kept,
    ks_p_values,
    noise_thresholds,
    rank_features,
    signed_ks,
)
from analysis.statistics.blocks import dense
from analysis.statistics.named import NamedFeatures
from analysis.statistics.threads import one_blas_thread
from analysis.transfer.classifiers import WideLinearSVC
from analysis.transfer.paired_tests import paired_differences

Array = NDArray[Any]
Values = Literal["standardised", "discretised"]


@dataclass(frozen=True, eq=False)
class ScaledImages:
    """Training images in both kinds of values.

    Attributes
    ----------
    scalers : mapping of str to transformer
        ``standardised`` and ``discretised``, fitted to the training images.
    rows : mapping of str to ndarray of float64, shape (images, features)
        The training images so scaled.
    products : mapping of (str, str) to ndarray of float64, shape (images, images)
        Inner products by kind of values and layer, divided by the layer's number of features.
    scaling : mapping of str to float
        Seconds that scaling took, per feature.
    multiplying : mapping of (str, str) to float
        Seconds that the products took.
    """

    scalers: Mapping[Values, Any]
    rows: Mapping[Values, NDArray[np.float64]]
    products: Mapping[tuple[Values, str], NDArray[np.float64]]
    scaling: Mapping[Values, float]
    multiplying: Mapping[tuple[Values, str], float]

    def inner(self, values: Values, shares: Mapping[str, float]) -> NDArray[np.float64]:
        """Inner products by several layers, each with its share."""
        parts = [self.products[values, layer] for layer in shares]
        total: NDArray[np.float64] = np.zeros(parts[0].size)
        for part, share in zip(parts, shares.values(), strict=True):
            total = blas.daxpy(part.ravel(), total, a=share)
        return total.reshape(parts[0].shape)


def scale_images(X: Array, layers: Array) -> ScaledImages:
    """Scale training images (images, features), whose features belong to these layers."""
    scalers: dict[Values, Any] = {
        "standardised": StandardScaler(),
        "discretised": FullNetworkEmbedding(),
    }
    wide = X.astype(np.float64)
    rows, products, scaling, multiplying = {}, {}, {}, {}
    for values in scalers:
        begun = perf_counter()
        rows[values] = scalers[values].fit_transform(wide).astype(np.float64, copy=False)
        scaling[values] = (perf_counter() - begun) / layers.size
        for layer in dict.fromkeys(layers.tolist()):
            begun = perf_counter()
            part = rows[values][:, layers == layer]
            products[values, layer] = part @ part.T / part.shape[1]
            multiplying[values, layer] = perf_counter() - begun
    return ScaledImages(scalers, rows, products, scaling, multiplying)


Weights = Literal["features", "layers"]

GROUPS = 8
"""Most groups of layers whose runs are candidates."""

BYTES: Mapping[str, int] = {"standardised": 4, "discretised": 1}
"""Per feature."""

_RIDGE = 0.5  # 1 / 2C of the linear classifier


@dataclass(frozen=True)
class Candidate:
    """Layers to keep, and what becomes of their features.

    Attributes
    ----------
    layers : tuple of str
        In order.
    values : {"standardised", "discretised"}
        Real numbers, or -1, 0 and 1.
    weights : {"features", "layers"}
        What counts alike.
    sizes : tuple of int
        Features of each layer.
    """

    layers: tuple[str, ...]
    values: Values
    weights: Weights
    sizes: tuple[int, ...]

    @property
    def n_features(self) -> int:
        """Features of all its layers."""
        return sum(self.sizes)

    @property
    def n_bytes(self) -> int:
        """Bytes per image."""
        return self.n_features * BYTES[self.values]

    @property
    def shares(self) -> dict[str, float]:
        """Weight of each layer in the inner products of images, with the sum 1."""
        alike = self.weights == "layers"
        weights = [1 / len(self.layers) if alike else n / self.n_features for n in self.sizes]
        return dict(zip(self.layers, weights, strict=True))

    def __str__(self) -> str:
        first, last = self.layers[0], self.layers[-1]
        return f"{first if first == last else f'{first} to {last}'}, {self.values}"


class LeftOut(NamedTuple):
    """Images left out one at a time, by candidate.

    Attributes
    ----------
    loss : ndarray of float64, shape (candidates, images)
        Squared hinge loss, summed over the classes.
    right : ndarray of bool, shape (candidates, images)
        Whether the image got its class.
    """

    loss: NDArray[np.float64]
    right: NDArray[np.bool_]


def candidate_embeddings(
    feature_layers: ArrayLike, *, groups: int = GROUPS
) -> tuple[Candidate, ...]:
    """List every embedding that can be chosen.

    Parameters
    ----------
    feature_layers : array_like of str, shape (features,)
        Layer of each feature.
    groups : int
        Networks of more layers are cut into so many groups of neighbours, of which runs are made;
        single layers are candidates in any case.

    Returns
    -------
    tuple of Candidate
        Of a single layer, both weights are the same, and only ``"features"`` is there.
    """
    sizes = _sizes(np.asarray(feature_layers))
    names = list(sizes)
    edges = np.unique(np.linspace(0, len(names), min(groups, len(names)) + 1).round().astype(int))
    runs = {tuple(names[a:b]) for a in edges.tolist() for b in edges.tolist() if a < b}
    runs |= {(name,) for name in names}
    ordered = sorted(runs, key=lambda run: (names.index(run[0]), len(run)))
    return tuple(
        Candidate(run, value, weight, tuple(sizes[name] for name in run))
        for run in ordered
        for value in get_args(Values)
        for weight in get_args(Weights)[: 1 if len(run) == 1 else 2]
    )


@one_blas_thread
def judge_candidates(
    X: ArrayLike, labels: ArrayLike, feature_layers: ArrayLike, candidates: Sequence[Candidate]
) -> LeftOut:
    """Leave out every image once, for every candidate.

    Parameters
    ----------
    X : array_like, shape (images, features)
        Features of the training images; nothing else is looked at.
    labels : array_like, shape (images,)
        Class of each.
    feature_layers : array_like of str, shape (features,)
        Layer of each feature.
    candidates : sequence of Candidate
        As :func:`candidate_embeddings` lists them.

    Returns
    -------
    LeftOut
        Losses, and which images were classified rightly.
    """
    return judge_scaled(
        scale_images(np.asarray(dense(X)), np.asarray(feature_layers)), labels, candidates
    )


def judge_scaled(
    images: ScaledImages, labels: ArrayLike, candidates: Sequence[Candidate]
) -> LeftOut:
    """As :func:`judge_candidates`, of training images that are scaled already."""
    classes, members = np.unique(checked_labels(labels), return_inverse=True)
    targets = np.where(members[:, None] == np.arange(classes.size), 1.0, -1.0)
    outputs = [_left_out(images.inner(k.values, k.shares), targets) for k in candidates]
    loss = [(np.maximum(0, 1 - targets * each) ** 2).sum(axis=1) for each in outputs]
    right = [each.argmax(axis=1) == members for each in outputs]
    return LeftOut(np.array(loss), np.array(right))


def choose_smallest(
    candidates: Sequence[Candidate], judged: LeftOut, *, tolerance: float = 0.0
) -> pd.DataFrame:
    """Choose the smallest candidate among those about as good as the best.

    Parameters
    ----------
    candidates : sequence of Candidate
        At least one.
    judged : LeftOut
        From :func:`judge_candidates`, on equally many images per class.
    tolerance : float
        Standard errors (see the conventions); 0 chooses the best, and the smallest of equals.

    Returns
    -------
    DataFrame
        A row per candidate: ``candidate``, ``layers`` (how many), ``values``, ``weights``,
        ``n_features``, ``bytes``, ``accuracy`` and ``loss`` (of images left out), ``behind`` (by
        how much its loss exceeds the least of plausible ones), ``standard_error`` (of that),
        ``plausible``, ``near`` (plausible and within the tolerance), ``best`` and ``chosen`` (true
        in one row each).
    """
    table = pd.DataFrame(
        {
            "candidate": [str(each) for each in candidates],
            "layers": [len(each.layers) for each in candidates],
            "values": [each.values for each in candidates],
            "weights": [each.weights for each in candidates],
            "n_features": [each.n_features for each in candidates],
            "bytes": [each.n_bytes for each in candidates],
            "accuracy": judged.right.mean(axis=1),
            "loss": judged.loss.mean(axis=1),
        }
    )
    small = [table["bytes"], table["n_features"]]  # the last key counts first
    table["plausible"] = _plausible(judged.right)
    best = np.lexsort([*small, table["loss"], ~table["plausible"]])[0]
    excess = judged.loss - judged.loss[best]
    table["behind"] = excess.mean(axis=1)
    table["standard_error"] = excess.std(axis=1) / np.sqrt(excess.shape[1])
    table["near"] = table["plausible"] & (table["behind"] <= tolerance * table["standard_error"])
    chosen = np.lexsort([table["behind"], *small, ~table["near"]])[0]
    table["best"] = table.index == best
    table["chosen"] = table.index == chosen
    return table


def _plausible(right: NDArray[np.bool_], errors: float = 2.0) -> NDArray[np.bool_]:
    """Tell which candidates are not clearly less accurate than the most accurate one."""
    lost = right[right.mean(axis=1).argmax()].astype(float) - right
    near: NDArray[np.bool_] = lost.mean(axis=1) <= errors * lost.std(axis=1) / lost.shape[1] ** 0.5
    return near


def _sizes(layers: Array) -> dict[str, int]:
    """Layers in order, and the number of features of each."""
    counts = Counter(layers.tolist())
    return {str(name): count for name, count in counts.items()}


def _left_out(K: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give outputs (images, classes), each image's by a classifier fitted to all the others."""
    A = K + 1
    A.flat[:: len(A) + 1] += _RIDGE
    factor, _ = lapack.dpotrf(A.T, lower=1, overwrite_a=1)
    inverse, _ = lapack.dtrtri(factor, lower=1, overwrite_c=1)  # of A = L L^T, L⁻¹
    diagonal = np.einsum("ij,ij->j", inverse, inverse)
    fitted = blas.dtrmm(
        1.0, inverse, blas.dtrmm(1.0, inverse, targets, lower=1), lower=1, trans_a=1
    )
    outputs: NDArray[np.float64] = targets - fitted / diagonal[:, None]
    return outputs


Mask = NDArray[np.bool_]
Row = dict[str, Any]

ALL_LAYERS = "all layers"
DISCRETISED = "all layers, discretised"
BY_DISTANCE = "kept by distance"
BY_DISCOVERY = "kept by false discovery"
RATE = 0.05
"""False-discovery rate of each class."""


def telling_features(X: Array, y: Array, *, n_shuffles: int, seed: int) -> dict[str, Mask]:
    """Tell which features any class keeps, by thresholds and by discoveries in these images."""
    ranked = rank_features(X)
    thresholds = noise_thresholds(ranked, y, n_shuffles=n_shuffles, seed=seed)
    pairs = {
        BY_DISTANCE: kept(np.asarray(signed_ks(ranked, y)), thresholds),
        BY_DISCOVERY: false_discovery(np.asarray(ks_p_values(ranked, y))) <= RATE,
    }
    return {name: np.asarray(each.any(axis=0), np.bool_) for name, each in pairs.items()}


def worth_keeping(candidate: Candidate, layers: Array, telling: Mask) -> Mask:
    """Tell which features to keep of a candidate's layers; of a layer without any, all."""
    wanted = np.zeros(layers.size, bool)
    for layer in candidate.layers:
        among = layers == layer
        wanted |= among & telling if (among & telling).any() else among
    return wanted


@dataclass
class Bench:
    """One split; each embedding is fitted and tested once, under however many names."""

    X: Array
    y: Array
    layers: Array
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    telling: dict[str, Mask]
    known: dict[tuple[Any, ...], Row] = field(default_factory=dict)

    @cached_property
    def images(self) -> ScaledImages:
        """Training images, scaled."""
        return scale_images(self.X[self.train], self.layers)

    @cached_property
    def tested(self) -> dict[str, Array]:
        """Test images in both kinds of values, scaled as the training images are."""
        test = self.X[self.test]
        scaled = {name: each.transform(test) for name, each in self.images.scalers.items()}
        real = np.result_type(self.X.dtype, np.float32)
        return {name: np.asarray(each, dtype=real) for name, each in scaled.items()}

    def alternatives(self) -> Iterator[Row]:
        """Measure single layers, all of them in two kinds of values, and features of them all."""
        sizes = _sizes(self.layers)
        for name, size in sizes.items():
            one = Candidate((name,), "standardised", "features", (size,))
            yield self.measured(name, "single layer", one)
        every = tuple(sizes), tuple(sizes.values())
        plain, discrete = (
            Candidate(every[0], kind, "features", every[1]) for kind in get_args(Values)
        )
        yield self.measured(ALL_LAYERS, "all layers", plain)
        yield self.measured(DISCRETISED, "all layers", discrete)
        for name, telling in self.telling.items():
            yield self.measured(name, "chosen", plain, telling)

    def measured(self, name: str, kind: str, each: Candidate, wanted: Mask | None = None) -> Row:
        """Row of a set of features: those of a candidate's layers, or some of them."""
        if wanted is None:
            wanted = np.isin(self.layers, each.layers)
        key = (wanted.tobytes(), each.values, each.weights if len(each.layers) > 1 else "")
        if key not in self.known:
            self.known[key] = self._scored(each, wanted)
        n = int(wanted.sum())
        names = " ".join(dict.fromkeys(self.layers[wanted].tolist()))
        size = {"n_features": n, "bytes": n * BYTES[each.values], "layers": names}
        return {"features": name, "kind": kind, **self.known[key], **size}

    def _scored(self, each: Candidate, wanted: Mask) -> Row:
        """Fit to the training images, test on the others."""
        chance = 1 / np.unique(self.y).size
        facts = {"train": self.train.size, "test": self.test.size, "chance": chance}
        if not wanted.any():  # any guess is as good
            return facts | {"accuracy": chance, "seconds": 0.0}
        shared = self.images.scaling[each.values] * wanted.sum()
        begun = perf_counter()
        rows, y = _columns(self.images.rows[each.values], wanted), self.y[self.train]
        weights: Any = 1.0
        if each.weights == "layers" and len(each.layers) > 1:
            weights = _weights_by_layer(self.layers[wanted])
        rows, classifier = rows * weights, WideLinearSVC()
        if each.n_features == rows.shape[1] >= rows.shape[0]:
            shared += sum(self.images.multiplying[each.values, name] for name in each.layers)
            classifier.fit_products(rows, self.images.inner(each.values, each.shares), y)
        else:
            classifier.fit(rows, y)
        classifier.coef_ = classifier.coef_ * weights
        seconds = shared + perf_counter() - begun
        predicted = classifier.predict(_columns(self.tested[each.values], wanted))
        accuracy = float(balanced_accuracy_score(self.y[self.test], predicted))
        return facts | {"accuracy": accuracy, "seconds": seconds}


def _columns(rows: Array, wanted: Mask) -> Array:
    return rows if wanted.all() else rows[:, wanted]


def _weights_by_layer(layers: Array) -> NDArray[np.float64]:
    """Weight of each feature such that every layer counts alike."""
    _, member, sizes = np.unique(layers, return_inverse=True, return_counts=True)
    alike: NDArray[np.float64] = np.sqrt(layers.size / sizes.size / sizes[member])
    return alike


RECOMMENDED = "recommended"
BEST_CANDIDATE = "best candidate"
CHOSEN_DISCRETISED = "chosen layers, discretised"

MOST_IMAGES, MOST_JUDGED = 1000, 500
"""Training images per split, and how many of them the choice of layers looks at."""

LEAST_JUDGED = 5
"""Of each class, if there are so many: with two of each of 200 classes no choice can be made."""


@dataclass(frozen=True, eq=False)
class Recommendation:
    """Layers to keep of one network for one dataset, beside every alternative.

    Attributes
    ----------
    chosen : Candidate
        Layers, values and weights, chosen from images of the whole dataset.
    features : ndarray of bool, shape (features,)
        The features to keep: those of these layers that some class keeps, over all images.
    candidates : DataFrame
        How each candidate was judged in that choice, see :func:`choose_smallest`.
    splits : DataFrame
        A row per split and set of features: ``features``, ``kind`` ("single layer", "all layers",
        "chosen" or "diagnostic"), ``split``, ``train`` and ``test`` (images), ``accuracy`` (mean
        over classes), ``chance``, ``n_features``, ``bytes`` (per image), ``seconds``, and
        ``layers`` (which). Seconds are those of scaling the features and fitting the classifier, as
        if this set were the only one; what sets share is counted for each. Choosing layers or
        features, and testing, are not in them.
    summary : DataFrame
        A row per set: ``features``, ``kind``, ``mean``, ``std``, ``standard_error`` (s/√k) and
        ``corrected_error`` of the accuracy, ``n_features``, ``bytes`` and ``seconds`` (means), and
        ``chance``.
    differences : DataFrame
        Recommended against each other set, see :func:`paired_differences`.
    statement : str
        What so many images can tell.
    """

    chosen: Candidate
    features: NDArray[np.bool_]
    candidates: pd.DataFrame
    splits: pd.DataFrame
    summary: pd.DataFrame
    differences: pd.DataFrame
    statement: str


@one_blas_thread
def recommend(
    X: ArrayLike | xr.DataArray,
    labels: ArrayLike,
    *,
    seed: int,
    feature_layers: ArrayLike | None = None,
    n_train: int = 20,
    n_splits: int = 5,
    tolerance: float = 0.0,
    n_shuffles: int = 5,
) -> Recommendation:
    """Recommend layers, and compare that with what else could be done.

    Parameters
    ----------
    X : array_like or DataArray, shape (images, features)
        Finite features of all layers. A DataArray names them by its coordinate ``layer``.
    labels : array_like, shape (images,)
        Class of each image; at least three images of each class.
    seed : int
        Seed of splits, label shuffles and draws.
    feature_layers : array_like of str, shape (features,), optional
        Layer of each feature, for an X without coordinates.
    n_train : int
        Training images per class at most; half of the smallest class where that is less, and so
        few that a split has no more than ``MOST_IMAGES`` of them.
    n_splits : int
        At least two.
    tolerance : float
        Standard errors by which a smaller embedding may be worse, as the training images tell.
    n_shuffles : int
        Label shuffles behind the thresholds on distances.

    Returns
    -------
    Recommendation
        The layers, and the tables behind them.

    Raises
    ------
    ValueError
        Shapes that do not fit, features that are not finite, no layers, fewer than two classes, a
        class with fewer than three images (the message names it), fewer than two splits.
    """
    splits = nested_accuracies(
        X, labels, seed=seed, feature_layers=feature_layers, n_train=n_train, n_splits=n_splits,
        tolerance=tolerance, n_shuffles=n_shuffles,
    )  # fmt: skip
    values, y, layers = _checked(X, labels, feature_layers, n_splits)
    sizes = np.unique(y, return_counts=True)[1]
    candidates = candidate_embeddings(layers)
    at = _balanced(y, seed)
    judged = choose_smallest(
        candidates, judge_candidates(values[at], y[at], layers, candidates), tolerance=tolerance
    )
    chosen_layers = candidates[int(judged["chosen"].to_numpy().argmax())]
    telling = telling_features(values, y, n_shuffles=n_shuffles, seed=seed)
    others = [name for name in splits["features"].unique() if name != RECOMMENDED]
    differences = paired_differences(
        splits.assign(dataset=""), RECOMMENDED, others, margin=0.0, errors=1.0
    )
    return Recommendation(
        chosen_layers,
        worth_keeping(chosen_layers, layers, telling[BY_DISTANCE]),
        judged,
        splits,
        summarise_sets(splits),
        differences.drop(columns="dataset"),
        _statement(sizes, _per_class(sizes, n_train), n_splits),
    )


@one_blas_thread
def nested_accuracies(
    X: ArrayLike | xr.DataArray,
    labels: ArrayLike,
    *,
    seed: int,
    feature_layers: ArrayLike | None = None,
    n_train: int = 20,
    n_splits: int = 5,
    tolerance: float = 0.0,
    n_shuffles: int = 5,
) -> pd.DataFrame:
    """Compare what is recommended within each split with what else could be done.

    Parameters and errors are those of :func:`recommend`, which goes on to choose from all images.

    Returns
    -------
    DataFrame
        As :attr:`Recommendation.splits`.
    """
    values, y, layers = _checked(X, labels, feature_layers, n_splits)
    sizes = np.unique(y, return_counts=True)[1]
    candidates = candidate_embeddings(layers)
    tables = []
    drawn = stratified_splits(y, n_train=_per_class(sizes, n_train), n_splits=n_splits, seed=seed)
    for number, (train, test) in enumerate(drawn):
        telling = telling_features(values[train], y[train], n_shuffles=n_shuffles, seed=seed)
        split = Bench(values, y, layers, train, test, telling)
        chosen = _chosen_within(split, candidates, tolerance, seed)
        rows = [*split.alternatives()]
        rows += [split.measured(name, *what) for name, what in chosen.items()]
        tables.append(pd.DataFrame(rows).assign(split=number))
    return pd.concat(tables, ignore_index=True)


def _per_class(sizes: NDArray[np.int64], n_train: int) -> int:
    return max(2, int(min(n_train, MOST_IMAGES // sizes.size, sizes.min() // 2)))


def _chosen_within(
    split: Bench, candidates: tuple[Candidate, ...], tolerance: float, seed: int
) -> dict[str, tuple[str, Candidate, NDArray[np.bool_] | None]]:
    """Name, kind, candidate and features of what the training images of a split choose."""
    X, y, layers = split.X[split.train], split.y[split.train], split.layers
    at = _balanced(y, seed)
    if at.size == y.size:
        left_out = judge_scaled(split.images, y, candidates)
    else:
        left_out = judge_candidates(X[at], y[at], layers, candidates)
    judged = choose_smallest(candidates, left_out, tolerance=tolerance)
    plain = [
        k
        for k, each in enumerate(candidates)
        if each.values == "discretised" and each.weights == "features"
    ]
    part = LeftOut(left_out.loss[plain], left_out.right[plain])
    among = choose_smallest([candidates[k] for k in plain], part, tolerance=tolerance)
    best, smallest = (candidates[int(judged[name].argmax())] for name in ("best", "chosen"))
    telling = split.telling[BY_DISTANCE]
    return {
        CHOSEN_DISCRETISED: ("chosen", candidates[plain[int(among["chosen"].argmax())]], None),
        BEST_CANDIDATE: ("diagnostic", best, None),
        RECOMMENDED: ("chosen", smallest, worth_keeping(smallest, layers, telling)),
    }


def _balanced(y: Array, seed: int) -> NDArray[np.int64]:
    """Positions of equally many images of each class, ascending, as many as are worth judging."""
    members = np.unique(y, return_inverse=True)[1]
    sizes = np.bincount(members)
    n = min(int(sizes.min()), max(LEAST_JUDGED, MOST_JUDGED // sizes.size))
    rng = np.random.default_rng([seed, 0])
    drawn = [rng.permutation(np.flatnonzero(members == k))[:n] for k in range(sizes.size)]
    return np.sort(np.concatenate(drawn))


def summarise_sets(splits: pd.DataFrame) -> pd.DataFrame:
    """Means over the splits of :func:`nested_accuracies`, and the errors of the mean accuracy.

    The columns are those of :attr:`Recommendation.summary`.
    """
    means = splits.groupby(["features", "kind"], sort=False).agg(
        mean=("accuracy", "mean"),
        std=("accuracy", "std"),
        k=("accuracy", "size"),
        ratio=("test", "first"),
        train=("train", "first"),
        n_features=("n_features", "mean"),
        bytes=("bytes", "mean"),
        seconds=("seconds", "mean"),
        chance=("chance", "first"),
    )
    ratio = means.pop("ratio") / means.pop("train")
    k = means.pop("k")
    means.insert(2, "standard_error", means["std"] / np.sqrt(k))
    means.insert(3, "corrected_error", means["std"] * np.sqrt(1 / k + ratio))
    return means.reset_index()


def _statement(sizes: NDArray[np.int64], n_train: int, n_splits: int) -> str:
    """Say what so many images can tell."""
    test = int(sizes.min()) - n_train
    step, known = 100 / sizes.size / test, 50 / np.sqrt(sizes.sum())
    fewest = "Every class" if sizes.min() == sizes.max() else "The smallest class"
    return (
        f"{n_splits} splits with {n_train} training images of each of {sizes.size} classes. "
        f"{fewest} leaves {test} to test on: one of them moves the accuracy by {step:.1f} "
        f"points. More splits do not make up for few images: from {sizes.sum():,} images an "
        f"accuracy near 50 % is known to ± {known:.1f} points at best."
    )


def _checked(
    X: ArrayLike | xr.DataArray, labels: ArrayLike, feature_layers: ArrayLike | None, n_splits: int
) -> tuple[Array, Array, Array]:
    """Values, labels and layers as arrays, if they fit together."""
    if feature_layers is None:
        if not isinstance(X, xr.DataArray) or "layer" not in X.coords:
            raise ValueError(
                "which layer a feature belongs to is not known: give a DataArray with the "
                "coordinate 'layer', or feature_layers"
            )
        feature_layers = X["layer"].to_numpy()
    values, layers = np.asarray(dense(X)), np.asarray(feature_layers, dtype=object)
    shape = np.shape(labels)
    if values.ndim != 2 or shape != values.shape[:1] or layers.shape != values.shape[1:]:
        raise ValueError(
            "expected features (images, features), a label per image and a layer per feature, got "
            f"{values.shape}, {shape} and {layers.shape}"
        )
    y = checked_labels(labels)
    if not np.isfinite(values).all():
        raise ValueError(f"expected finite features, got {(~np.isfinite(values)).sum()} others")
    if n_splits < 2:
        raise ValueError(f"expected at least two splits, got n_splits={n_splits}")
    classes, sizes = np.unique(y, return_counts=True)
    if classes.size < 2:
        raise ValueError(f"expected at least two classes, got only {classes.tolist()}")
    if sizes.min() < 3:
        few = {str(k): int(n) for k, n in zip(classes, sizes, strict=True) if n < 3}
        named = ", ".join(f"{k} ({n})" for k, n in [*few.items()][:10])
        raise ValueError(
            "two images of a class are needed to choose layers by and a third to test on; classes "
            f"with fewer: {named}. Leave these classes out, or add images"
        )
    return values, y, layers


_CHOICE = "recommended.json"


class RecommendedEmbedding(NamedFeatures, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Some layers of labelled features, standardised or discretised, and weighted.

    For features of :func:`analysis.extract`, which know their layers. A fitted one can be saved.

    Parameters
    ----------
    layers : sequence of str, optional
        Those to keep; all by default.
    features : array_like of bool, shape (features,), optional
        Keep only these features of the layers, as they stand in what ``fit`` is given.
    values, weights
        As in :class:`analysis.transfer.recommendation.Candidate`.

    Attributes
    ----------
    embedding_ : FullNetworkEmbedding
        Means, deviations and names of the kept features.
    layers_ : list of str
        The layers kept: ``extract(..., layers=embedding.layers_)`` is enough for them.
    """

    def __init__(
        self,
        layers: Sequence[str] | None = None,
        *,
        features: ArrayLike | None = None,
        values: Values = "standardised",
        weights: Weights = "features",
    ) -> None:
        self.layers = layers
        self.features = features
        self.values = values
        self.weights = weights

    @classmethod
    def of(cls, candidate: Candidate, features: ArrayLike | None = None) -> Self:
        """Embedding of a candidate, or of some of its features, not fitted yet."""
        how: dict[str, Any] = {"values": candidate.values, "weights": candidate.weights}
        return cls(candidate.layers, features=features, **how)

    def fit(self, X: xr.DataArray, y: object = None) -> Self:
        """Learn the moments of features (image, feature) with the coordinates layer and unit.

        Raises
        ------
        ValueError
            Unknown values, weights or layers, no feature to keep, features without names, and what
            :meth:`analysis.statistics.FullNetworkEmbedding.fit` refuses.
        """
        for given, known in ((self.values, Values), (self.weights, Weights)):
            if given not in get_args(known):
                raise ValueError(f"expected one of {', '.join(get_args(known))}, got {given!r}")
        _require_names(X)
        X = X.transpose("image", "feature")
        kept = self._kept(X["layer"].to_numpy())
        self.embedding_ = FullNetworkEmbedding().fit(X.isel(feature=kept))
        self.layers_ = list(self.embedding_.layers_ or ())
        self._remember(X, X.shape[1])
        return self

    def transform(self, X: xr.DataArray) -> xr.DataArray:
        """Embed images.

        Parameters
        ----------
        X : DataArray (image, feature)
            Features of the same network; those that are kept are enough.

        Returns
        -------
        DataArray of float32, (image, kept)
            With the coordinates of X, and lazy if it is.

        Raises
        ------
        ValueError
            Features of another network, or some missing.
        """
        check_is_fitted(self)
        _require_names(X)
        discrete = self.embedding_.transform(X)
        if self.values == "discretised":
            values = discrete.astype(np.float32)
        else:
            named, kept = _units(X), _units(discrete)
            scale = np.where(self.embedding_.scale_ > 0, self.embedding_.scale_, np.inf)
            chosen = X.transpose("image", "feature").isel(feature=named.get_indexer(kept))
            values = (chosen - self._by_feature(self.embedding_.mean_)) / self._by_feature(scale)
        weights = np.ones(discrete.sizes["feature"])
        if self.weights == "layers":
            weights = _weights_by_layer(discrete["layer"].to_numpy())
        weighted: xr.DataArray = values * self._by_feature(weights)
        return weighted.astype(np.float32).assign_attrs(X.attrs)

    def save(self, folder: str | Path, *, classes: Iterable[str] = ()) -> Path:
        """Write a fitted embedding into a folder, as JSON and safetensors.

        Parameters
        ----------
        folder : path
            Holds what :meth:`analysis.statistics.FullNetworkEmbedding.save` writes, and
            ``recommended.json``; files of these names are replaced.
        classes : iterable of str
            Names of the classes, for the reader.

        Returns
        -------
        Path
            The folder.
        """
        check_is_fitted(self)
        written = self.embedding_.save(folder, classes=classes)
        choice = {"values": self.values, "weights": self.weights}
        with written_whole(written / _CHOICE) as partial:
            partial.write_text(json.dumps(choice) + "\n", encoding="utf-8")
        return written

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what :meth:`save` wrote; nothing in it is executed.

        Raises
        ------
        FileNotFoundError
            If a file is missing.
        ValueError
            If they hold anything else than what was saved.
        """
        path = Path(folder) / _CHOICE
        if not path.is_file():
            raise FileNotFoundError(f"{folder} is no saved recommendation: it lacks {_CHOICE}")
        try:
            choice = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or too deep
            raise ValueError(f"{path} is not JSON ({error})") from error
        known = {"values": get_args(Values), "weights": get_args(Weights)}
        if not isinstance(choice, dict) or any(choice.get(k) not in known[k] for k in known):
            raise ValueError(f"{path}: expected values and weights among {known}, got {choice!r}")
        embedding = FullNetworkEmbedding.load(folder)
        layers = list(embedding.layers_ or ())
        read = cls(layers, values=choice["values"], weights=choice["weights"])
        read.embedding_, read.layers_ = embedding, layers
        return read

    def _kept(self, layers: NDArray[Any]) -> NDArray[np.int64]:
        """Positions of the features to keep."""
        unknown = [name for name in self.layers or () if name not in set(layers.tolist())]
        if unknown:
            raise ValueError(f"expected layers among {list(dict.fromkeys(layers))}, got {unknown}")
        of_layers = layers == layers if self.layers is None else np.isin(layers, list(self.layers))
        among = np.asarray(of_layers if self.features is None else self.features, bool)
        if among.shape != layers.shape or not (of_layers & among).any():
            raise ValueError(
                f"expected for each of {layers.size} features whether it is kept, at least one of "
                f"them, got {int(among.sum())} of {among.size}"
            )
        return np.flatnonzero(of_layers & among)

    @staticmethod
    def _by_feature(values: NDArray[np.float64]) -> xr.DataArray:
        return xr.DataArray(values, dims="feature")


def _require_names(X: Any) -> None:
    if not isinstance(X, xr.DataArray) or not {"layer", "unit"} <= set(X.coords):
        raise ValueError(
            "expected features with the coordinates 'layer' and 'unit', as extract gives them"
        )


def _units(X: xr.DataArray) -> Any:
    return pd.MultiIndex.from_arrays([X["layer"].to_numpy(), X["unit"].to_numpy()])
