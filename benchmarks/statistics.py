"""The signed Kolmogorov-Smirnov distance against NumPy's sort and SciPy's test.

Everything is timed in this process, on one thread unless said, in rounds that run each contender
once, so that a busy spell of the machine meets all of them. A ratio is the median over rounds of
the ratio within a round. The unit is one ``numpy.argsort`` of the Gaussian matrix, already laid out
feature by feature, which suits it best; ``signed_ks`` gets the matrix as images × features.

A busy machine has no second processor to give, so two threads are compared with what they gain for
a loop that shares nothing.

``python -m benchmarks.statistics --out FILE.json`` writes the rows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import numba
import numpy as np
from scipy.stats import ks_2samp

from analysis.statistics import rank_features, signed_ks
from analysis.statistics.blocks import processors

N_IMAGES, N_FEATURES, N_CLASSES = 5_000, 2_000, 100
ROUNDS = 11
SCIPY_PAIRS = 60


def matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gaussian features, features at zero for 70 % of the images, and labels."""
    rng = np.random.default_rng(0)
    gaussian = rng.standard_normal((N_IMAGES, N_FEATURES)).astype(np.float32)
    silent = rng.random(gaussian.shape) < 0.7
    rectified = np.where(silent, 0, np.abs(gaussian)).astype(np.float32)
    return gaussian, rectified, rng.permutation(np.arange(N_IMAGES) % N_CLASSES)


@numba.njit(nogil=True)
def spin(turns: int) -> float:
    total = 0.0
    for turn in range(turns):
        total += np.sin(turn)
    return total


def loop_on(threads: int) -> None:
    """About as much work as one ``signed_ks``, in as many tasks."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(spin, [500_000] * 16))


def timed(contenders: dict[str, Callable[[], object]]) -> dict[str, np.ndarray]:
    """Seconds of each contender in each round; a first, untimed round compiles and warms up."""
    for contender in contenders.values():
        contender()
    seconds = {name: np.empty(ROUNDS) for name in contenders}
    for turn in range(ROUNDS):
        for name, contender in contenders.items():
            start = perf_counter()
            contender()
            seconds[name][turn] = perf_counter() - start
    return seconds


def row(name: str, value: float, unit: str, target: float | None = None, *, least: bool = False):
    """A result; ``target`` is the most allowed, or the least."""
    met = None if target is None else bool(value >= target if least else value <= target)
    return {"name": name, "value": float(value), "unit": unit, "target": target, "passed": met}


def against_scipy(X: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Seconds of SciPy per pair, and the largest difference from it on some pairs."""
    rng = np.random.default_rng(1)
    D = signed_ks(X, labels, threads=1)
    spent, difference = [], 0.0
    for c, j in zip(
        rng.integers(0, N_CLASSES, SCIPY_PAIRS), rng.integers(0, N_FEATURES, SCIPY_PAIRS),
        strict=True,
    ):  # fmt: skip
        start = perf_counter()
        inner = labels == c
        found = ks_2samp(X[inner, j], X[~inner, j], method="asymp")
        spent.append(perf_counter() - start)
        difference = max(difference, abs(D[c, j] + found.statistic_sign * found.statistic))
    return float(np.median(spent)), difference


def run() -> list[dict]:
    """Ratios, most of them with a target."""
    gaussian, rectified, labels = matrices()
    doubles = np.random.default_rng(3).standard_normal(gaussian.shape)
    by_feature = np.ascontiguousarray(gaussian.T)
    shuffled = np.random.default_rng(2).permutation(labels)
    ranks = {"Gaussian": rank_features(gaussian), "70 % zeros": rank_features(rectified)}
    seconds = timed(
        {
            "argsort by feature": lambda: np.argsort(by_feature, axis=1),
            "argsort as given": lambda: np.argsort(gaussian, axis=0),
            "Gaussian": lambda: signed_ks(gaussian, labels, threads=1),
            "70 % zeros": lambda: signed_ks(rectified, labels, threads=1),
            "shuffle, Gaussian": lambda: signed_ks(ranks["Gaussian"], shuffled, threads=1),
            "shuffle, 70 % zeros": lambda: signed_ks(ranks["70 % zeros"], shuffled, threads=1),
            "ranking, Gaussian": lambda: rank_features(gaussian, threads=1),
            "100 bins, Gaussian": lambda: signed_ks(gaussian, labels, bins=100, threads=1),
            "Gaussian float64": lambda: signed_ks(doubles, labels, threads=1),
            "two threads": lambda: signed_ks(gaussian, labels, threads=2),
            "loop": lambda: loop_on(1),
            "loop, two threads": lambda: loop_on(2),
        }
    )
    layouts = ("argsort by feature", "argsort as given")
    peer = seconds[min(layouts, key=lambda name: np.median(seconds[name]))]

    def relative(name: str) -> float:
        return float(np.median(seconds[name] / peer))

    rows = [
        row("argsort of 5,000 × 2,000 float32", np.median(peer), "s"),
        *(
            row(f"signed_ks, 100 classes, {name}", relative(name), "argsorts", 1.5)
            for name in ("Gaussian", "70 % zeros")
        ),
        *(
            row(f"signed_ks of ranks, one more {name}", relative(name), "argsorts", 0.3)
            for name in ("shuffle, Gaussian", "shuffle, 70 % zeros")
        ),
        row("signed_ks, float64 Gaussian", relative("Gaussian float64"), "argsorts"),
        row("rank_features, Gaussian", relative("ranking, Gaussian"), "argsorts"),
        row("signed_ks, 100 bins, Gaussian", relative("100 bins, Gaussian"), "argsorts"),
        row("argsort along images as given", relative("argsort as given"), "argsorts"),
    ]
    if processors() > 1:
        fastest = {name: spent.min() for name, spent in seconds.items()}
        possible = fastest["loop"] / fastest["loop, two threads"]
        reached = fastest["Gaussian"] / fastest["two threads"]
        rows += [
            row("a loop, two threads for one", possible, "times faster"),
            row("signed_ks, two threads for one", reached, "times faster"),
            row("signed_ks, of what a loop gains", reached / possible, "share", 0.85, least=True),
        ]
    for name, X in (("Gaussian", gaussian), ("70 % zeros", rectified)):
        per_pair, difference = against_scipy(X, labels)
        gain = per_pair * N_CLASSES * N_FEATURES / np.median(seconds[name])
        rows.append(
            row(f"signed_ks for a loop over SciPy, {name}", gain, "times faster", 250, least=True)
        )
        rows.append(row(f"largest difference from SciPy, {name}", difference, "D", 1e-12))
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file to write the rows to")
    out = parser.parse_args().out
    results = run()
    for result in results:
        print(result)
    if out:
        out.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
