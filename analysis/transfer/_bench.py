"""One split of the images: every set of features fitted to one part, tested on the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import Pipeline, make_pipeline

from analysis.statistics import kept, noise_thresholds, rank_features, signed_ks
from analysis.transfer.candidates import BYTES, Candidate, LayerEmbedding
from analysis.transfer.classifiers import WideLinearSVC, linear_svm

Array = NDArray[Any]
Row = dict[str, Any]

ALL_LAYERS = "all layers"
DISCRETISED = "all layers, discretised"
BY_DISTANCE = "kept by distance"


def telling_features(X: Array, y: Array, *, n_shuffles: int, seed: int) -> NDArray[np.bool_]:
    """Tell which features any class keeps, by thresholds fitted to these images."""
    ranked = rank_features(X)
    thresholds = noise_thresholds(ranked, y, n_shuffles=n_shuffles, seed=seed)
    beyond: NDArray[np.bool_] = kept(np.asarray(signed_ks(ranked, y)), thresholds)
    return np.asarray(beyond.any(axis=0), dtype=np.bool_)


def worth_keeping(
    candidate: Candidate, layers: Array, telling: NDArray[np.bool_]
) -> NDArray[np.bool_]:
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
    telling: NDArray[np.bool_]
    known: dict[tuple[Any, ...], Row] = field(default_factory=dict)

    def alternatives(self) -> Iterator[Row]:
        """Measure single layers, and all of them in two kinds of values."""
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

    def measured(self, name: str, kind: str, each: Candidate, dropped: bool = False) -> Row:
        """Row of a set of features, without those that tell no class apart if they are dropped."""
        wanted = np.isin(self.layers, each.layers)
        if dropped:
            wanted = worth_keeping(each, self.layers, self.telling)
        key = (wanted.tobytes(), each.values, each.weights if len(each.layers) > 1 else "")
        if key not in self.known:
            step = LayerEmbedding(
                each.layers,
                self.layers,
                features=wanted,
                values=each.values,
                weights=each.weights,
            )
            self.known[key] = self.scored(make_pipeline(step, WideLinearSVC()), self.X)
        size = {"n_features": int(wanted.sum()), "bytes": int(wanted.sum()) * BYTES[each.values]}
        row = {"features": name, "kind": kind, **self.known[key], **size}
        return row | {"layers": " ".join(each.layers)}

    def by_distance(self) -> Row:
        """Row of the features that any class keeps, of all layers."""
        n = int(self.telling.sum())
        size = {"n_features": n, "bytes": n * BYTES["standardised"]}
        row = {"features": BY_DISTANCE, "kind": "chosen"}
        names = {"layers": " ".join(dict.fromkeys(self.layers[self.telling].tolist()))}
        if n == 0:  # any guess is as good
            scores = self.facts() | {"accuracy": self.facts()["chance"], "seconds": 0.0}
        else:
            scores = self.scored(linear_svm(), self.X[:, self.telling])
        return row | scores | size | names

    def scored(self, model: Pipeline, X: Array) -> Row:
        """Fit to the training images, test on the others."""
        begun = perf_counter()
        model.fit(X[self.train], self.y[self.train])
        seconds = perf_counter() - begun
        accuracy = balanced_accuracy_score(self.y[self.test], model.predict(X[self.test]))
        return self.facts() | {"accuracy": float(accuracy), "seconds": seconds}

    def facts(self) -> Row:
        """Sizes of the split, and chance."""
        chance = 1 / np.unique(self.y).size
        return {"train": self.train.size, "test": self.test.size, "chance": chance}
