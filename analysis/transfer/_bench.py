"""One split of the images: every set of features fitted to one part, tested on the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score

from analysis.statistics import (
    false_discovery,
    kept,
    ks_p_values,
    noise_thresholds,
    rank_features,
    signed_ks,
)
from analysis.transfer._products import ScaledImages, scale_images
from analysis.transfer.candidates import BYTES, Candidate
from analysis.transfer.classifiers import WideLinearSVC

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
