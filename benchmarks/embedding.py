"""The full-network embedding against scikit-learn's scaler followed by numpy.digitize.

Features as many as VGG16's on some thousand images, rectified, float32. Both are timed in this
process, in rounds that run each contender once; a ratio is the median over rounds of the ratio
within a round. Memory is what is allocated on top of the array itself, as tracemalloc sees it.
``python -m benchmarks.embedding`` runs this file alone.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.preprocessing import StandardScaler

from analysis.statistics import FullNetworkEmbedding

Row = dict[str, Any]
N_IMAGES, N_FEATURES, ROUNDS = 3_000, 12_416, 5
MOST_TIME, MOST_MEMORY = 1.0, 1.0


def run() -> list[Row]:
    """All rows; about half a minute."""
    rng = np.random.default_rng(0)
    X = np.maximum(rng.standard_normal((N_IMAGES, N_FEATURES), dtype=np.float32) - 0.5, 0)
    contenders = {"layerbook": embedded, "scikit-learn": digitised}
    same = (embedded(X) == digitised(X)).mean()
    seconds = {name: np.empty(ROUNDS) for name in contenders}
    for turn in range(ROUNDS):
        for name, contender in contenders.items():
            begun = perf_counter()
            contender(X)
            seconds[name][turn] = perf_counter() - begun
    ratio = float(np.median(seconds["layerbook"] / seconds["scikit-learn"]))
    memory = {name: allocated(contender, X) for name, contender in contenders.items()}
    what = f"embedding of {N_IMAGES:,} images × {N_FEATURES:,} features, fitted and applied"
    return [
        row(f"{what}", np.median(seconds["layerbook"]), "s"),
        row(f"{what}: StandardScaler and digitize", np.median(seconds["scikit-learn"]), "s"),
        row(f"{what}, over StandardScaler and digitize", ratio, "times", MOST_TIME),
        row(f"{what}: equal values", 100 * same, "%"),
        row(f"{what}: allocated", memory["layerbook"] / X.nbytes, "times X", MOST_MEMORY),
        row(f"{what}: allocated by the two", memory["scikit-learn"] / X.nbytes, "times X"),
    ]


def embedded(X: np.ndarray) -> np.ndarray:
    return FullNetworkEmbedding().fit(X).transform(X)


def digitised(X: np.ndarray) -> np.ndarray:
    """The same by two well-known steps; digitize has no both-ways open interval."""
    scaled = StandardScaler().fit_transform(X)
    return (np.digitize(scaled, [-0.25, 0.15]) - 1).astype(np.int8)


def allocated(contender: Callable[[np.ndarray], object], X: np.ndarray) -> int:
    """Most bytes held at a time besides X."""
    tracemalloc.start()
    contender(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def row(name: str, value: float, unit: str, target: float | None = None) -> Row:
    """One measurement in the form that all benchmarks share; ``target`` is the most."""
    passed = None if target is None else bool(value <= target)
    return {"name": name, "value": float(value), "unit": unit, "target": target, "passed": passed}


if __name__ == "__main__":
    for measured in run():
        print(measured)
