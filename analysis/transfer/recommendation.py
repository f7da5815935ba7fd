"""Which layers to keep, and how well that advice would have done.

Conventions
-----------
nested
    Every split draws training images, equally many per class. All that is fitted or chosen sees
    them alone: means and deviations, thresholds on distances, and which layers to keep
    (:mod:`analysis.transfer.candidates`). Test images are looked at once, so the accuracy of
    "recommended" is that of the whole procedure; it may keep other layers in every split. The
    layers it finally names are chosen by the same rule from images of the whole dataset.
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
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import balanced_accuracy_score

from analysis.data import stratified_splits
from analysis.data.labels import checked_labels
from analysis.statistics import (
    false_discovery,
    kept,
    ks_p_values,
    noise_thresholds,
    rank_features,
    signed_ks,
)
from analysis.statistics.blocks import dense
from analysis.statistics.threads import one_blas_thread
from analysis.transfer.candidates import (
    BYTES,
    Candidate,
    LeftOut,
    ScaledImages,
    candidate_embeddings,
    choose_smallest,
    judge_candidates,
    judge_scaled,
    scale_images,
)
from analysis.transfer.classifiers import WideLinearSVC
from analysis.transfer.comparison import paired_differences

Array = NDArray[Any]
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
        names, counts = np.unique(self.layers, return_counts=True)
        sizes = dict(zip(names.tolist(), counts.tolist(), strict=True))
        ordered = tuple(dict.fromkeys(self.layers.tolist()))
        for name in ordered:
            one = Candidate((name,), "standardised", "features", (sizes[name],))
            yield self.measured(name, "single layer", one)
        every = tuple(sizes[name] for name in ordered)
        plain = Candidate(ordered, "standardised", "features", every)
        yield self.measured(ALL_LAYERS, "all layers", plain)
        discrete = Candidate(ordered, "discretised", "features", every)
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
        machine, seconds = self._fitted(each, wanted)
        predicted = machine.predict(_columns(self.tested[each.values], wanted))
        accuracy = float(balanced_accuracy_score(self.y[self.test], predicted))
        return facts | {"accuracy": accuracy, "seconds": seconds}

    def _fitted(self, each: Candidate, wanted: Mask) -> tuple[WideLinearSVC, float]:
        """Machine for features as they are scaled, and what it takes to fit it alone."""
        shared = self.images.scaling[each.values] * wanted.sum()
        begun = perf_counter()
        rows, y = _columns(self.images.rows[each.values], wanted), self.y[self.train]
        weights = _weights(each, self.layers[wanted])
        rows, machine = rows if weights is None else rows * weights, WideLinearSVC()
        if each.n_features == rows.shape[1] >= rows.shape[0]:
            shared += sum(self.images.multiplying[each.values, name] for name in each.layers)
            machine.fit_products(rows, self.images.inner(each.values, each.shares), y)
        else:
            machine.fit(rows, y)
        if weights is not None:
            machine.coef_ = machine.coef_ * weights
        return machine, shared + perf_counter() - begun


def _columns(rows: Array, wanted: Mask) -> Array:
    return rows if wanted.all() else rows[:, wanted]


def _weights(each: Candidate, layers: Array) -> NDArray[np.float64] | None:
    """Weight of each feature such that every layer counts alike, if that is wanted."""
    if each.weights == "features" or len(each.layers) == 1:
        return None
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
        ``layers`` (which). Seconds are those of scaling the features and fitting the machine, as
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
    values, y, layers = _checked(X, labels, feature_layers, n_splits)
    classes, sizes = np.unique(y, return_counts=True)
    per_class = max(2, int(min(n_train, MOST_IMAGES // classes.size, sizes.min() // 2)))
    candidates = candidate_embeddings(layers)
    tables = []
    drawn = stratified_splits(y, n_train=per_class, n_splits=n_splits, seed=seed)
    for number, (train, test) in enumerate(drawn):
        telling = telling_features(values[train], y[train], n_shuffles=n_shuffles, seed=seed)
        split = Bench(values, y, layers, train, test, telling)
        chosen = _chosen_within(split, candidates, tolerance, seed)
        rows = [*split.alternatives()]
        rows += [split.measured(name, *what) for name, what in chosen.items()]
        tables.append(pd.DataFrame(rows).assign(split=number))
    splits = pd.concat(tables, ignore_index=True)
    at = _balanced(y, seed)
    judged = choose_smallest(
        candidates, judge_candidates(values[at], y[at], layers, candidates), tolerance=tolerance
    )
    chosen_layers = candidates[int(judged["chosen"].to_numpy().argmax())]
    telling = telling_features(values, y, n_shuffles=n_shuffles, seed=seed)
    return Recommendation(
        chosen_layers,
        worth_keeping(chosen_layers, layers, telling[BY_DISTANCE]),
        judged,
        splits,
        _summary(splits),
        _differences(splits),
        _statement(sizes, per_class, n_splits),
    )


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


def _summary(splits: pd.DataFrame) -> pd.DataFrame:
    """Means over the splits and the errors of the mean accuracy."""
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


def _differences(splits: pd.DataFrame) -> pd.DataFrame:
    others = [name for name in splits["features"].unique() if name != RECOMMENDED]
    table = splits.assign(dataset="")
    return paired_differences(table, RECOMMENDED, others, margin=0.0, errors=1.0).drop(
        columns="dataset"
    )


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
