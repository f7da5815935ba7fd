"""Transfer component analysis against adapt's and skada's, and by landmarks on many samples.

Two domains of ten classes, 512 features, the second moved; RBF kernel with gamma = 1/512 (skada's,
which cannot be set), μ = 0.01, for which the others are given 100; 64 components. One thread;
seconds are of processor time, so that other work on the machine does not count. A ratio is within
one process, where each of the others runs between two of ours. Each gives the components of the
samples it was fitted to. The others are not among the dependencies (adapt brings TensorFlow along);
where they are not installed, they are not measured.

``python -m benchmarks tca`` runs this file alone; five minutes where the others are installed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from importlib.util import find_spec
from time import perf_counter, process_time
from typing import Any

import numpy as np
from scipy.linalg import eigh, subspace_angles
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits

from analysis.transfer import TransferComponentAnalysis
from benchmarks.extraction import _memory, row

Row = dict[str, Any]
Array = np.ndarray
K, WIDTH, CLASSES, MU = 64, 512, 10, 0.01
GAMMA = 1 / WIDTH
FASTER = {500: {"adapt": 1, "skada": 1}, 2000: {"adapt": 10, "skada": 5}}
FASTER[4000] = {"adapt": 25, "skada": 12}
ROUNDS = {500: 5, 2000: 1, 4000: 1}
DRAWS = {500: 40, 2000: 3, 4000: 1}  # of few samples, one decides over 0.4 points of accuracy
MANY, LANDMARKS = 50_000, (250, 1000, 2000)
SECONDS, GIGABYTES, RADIANS = 120.0, 4.0, 1e-6


def problem(n: int, draw: int = 0) -> tuple[Array, Array, Array, Array]:
    """Samples and labels of both domains, standardised together."""
    rng = np.random.default_rng([n, draw])
    spread = np.arange(1, WIDTH + 1) ** -0.5
    y = rng.integers(CLASSES, size=n)
    X = rng.standard_normal((CLASSES, WIDTH))[y] * 0.45 + rng.standard_normal((n, WIDTH))
    X = X * spread @ np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]
    X[n // 2 :] += 0.3 * rng.standard_normal(WIDTH) * X.std(axis=0)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    return X[: n // 2], y[: n // 2], X[n // 2 :], y[n // 2 :]


def ours(Xs: Array, Xt: Array, **options: Any) -> TransferComponentAnalysis:
    return TransferComponentAnalysis(K, "rbf", GAMMA, **({"mu": MU} | options)).fit(Xs, Xt)


def by_us(Xs: Array, Xt: Array) -> tuple[Array, Array]:
    found = ours(Xs, Xt)
    return found.source_embedding_, found.target_embedding_


def by_adapt(Xs: Array, Xt: Array) -> tuple[Array, Array]:
    from adapt.feature_based import TCA

    method = TCA(None, Xt, n_components=K, mu=1 / MU, kernel="rbf", gamma=GAMMA, verbose=0)
    return method.fit_transform(Xs, Xt), method.transform(Xt)


def by_skada(Xs: Array, Xt: Array) -> tuple[Array, Array]:
    from skada import TransferComponentAnalysisAdapter

    domain = np.repeat([1, -2], [len(Xs), len(Xt)])
    method = TransferComponentAnalysisAdapter("rbf", n_components=K, mu=1 / MU)
    Z = method.fit_transform(np.vstack([Xs, Xt]), sample_domain=domain)
    return Z[: len(Xs)], Z[len(Xs) :]


OTHERS = {"adapt": by_adapt, "skada": by_skada}


def timed(embed: Callable[[Array, Array], Any], Xs: Array, Xt: Array) -> tuple[float, Any]:
    """Seconds of processor time, and the result."""
    begun = process_time()
    result = embed(Xs, Xt)
    return process_time() - begun, result


def nearest(Z: tuple[Array, Array], ys: Array, yt: Array) -> float:
    """Accuracy in percent of the nearest neighbour."""
    neighbour = KNeighborsClassifier(1, algorithm="brute").fit(Z[0], ys)
    return 100 * float(np.mean(neighbour.predict(Z[1]) == yt))


def against_others(n: int) -> list[Row]:
    """Times and accuracies at one size."""
    Xs, ys, Xt, yt = problem(n)
    own, name, rows = [], f"TCA, {n:,} samples, {K} components", []
    timed(by_us, Xs[:50], Xt[:50])
    for other, embed in OTHERS.items():
        if find_spec(other) is None:
            print(f"{other}: not installed, so not measured")
            continue
        taken, ratios = [], []
        for _ in range(ROUNDS[n]):
            before, Z = timed(by_us, Xs, Xt)
            theirs, Z_other = timed(embed, Xs, Xt)
            after, _ = timed(by_us, Xs, Xt)
            own += [before, after]
            taken.append(theirs)
            ratios.append(2 * theirs / (before + after))
        gains = [nearest(Z, ys, yt) - nearest(Z_other, ys, yt)]
        gains += [gain_over(embed, n, draw) for draw in range(1, DRAWS[n])]
        label = f"ours over {other}, draws: {len(gains)}"
        rows += [
            row(f"{name}: {other}", float(np.median(taken)), "s"),
            row(f"… over ours, {other}", float(np.median(ratios)), "x", FASTER[n][other]),
            row(f"… nearest neighbour, {label}", float(np.mean(gains)), "points", 0.0),
        ]
    own = own or [timed(by_us, Xs, Xt)[0] for _ in range(ROUNDS[n])]
    return [row(f"{name}: ours", float(np.median(own)), "s"), *rows]


def gain_over(embed: Callable[[Array, Array], tuple[Array, Array]], n: int, draw: int) -> float:
    """Accuracy of the nearest neighbour in our components minus that in another's, in points."""
    Xs, ys, Xt, yt = problem(n, draw)
    return nearest(by_us(Xs, Xt), ys, yt) - nearest(embed(Xs, Xt), ys, yt)


def exactness(n: int) -> list[Row]:
    """Angles to a dense generalised eigensolver's components."""
    Xs, _, Xt, _ = problem(n)
    X, e = np.vstack([Xs, Xt]), np.repeat([2 / n, -2 / n], n // 2)
    kernel = ours(Xs, Xt)._kernel.within(X)
    B = kernel @ (kernel - kernel.mean(axis=0))
    rows = []
    for mu in (0.01, 1.0, 100.0):
        A = np.outer(kernel @ e, kernel @ e) + mu * np.eye(n)
        _, W = eigh(B, A, subset_by_index=[n - K, n - 1])
        angle = subspace_angles(W, ours(Xs, Xt, mu=mu).eigenvectors_).max()
        label = f"TCA, {n:,} samples, μ = {mu:g}: largest angle to a dense eigensolver's"
        rows.append(row(label, float(angle), "rad", at_most=RADIANS))
    return rows


def memory(n: int) -> Row:
    """Peak beyond the kernel, in numbers per sample and component."""
    Xs, _, Xt, _ = problem(n)
    tracemalloc.start()
    ours(Xs, Xt)
    peak = tracemalloc.get_traced_memory()[1] / 8
    tracemalloc.stop()
    label = f"TCA, {n:,} samples: peak beyond the kernel, numbers per sample and component"
    return row(label, (peak - n**2) / n / K, "numbers")


def landmarks(n: int) -> list[Row]:
    """Errors of the approximation against the exact components."""
    Xs, ys, Xt, yt = problem(n)
    exact = np.vstack(by_us(Xs, Xt))
    products = exact.T @ exact
    rows = []
    for m in LANDMARKS:
        seconds, found = timed(lambda s, t: ours(s, t, solver="nystrom", n_landmarks=m), Xs, Xt)  # noqa: B023
        near = np.vstack([found.source_embedding_, found.target_embedding_])
        across, own = near.T @ exact, near.T @ near
        squared = (products**2).sum() + (own**2).sum() - 2 * (across**2).sum()
        label = f"TCA, {n:,} samples, {m:,} landmarks"
        halves = found.source_embedding_, found.target_embedding_
        error = 100 * float(np.sqrt(squared / (products**2).sum()))
        rows += [
            row(f"{label}: error of the components' inner products", error, "%"),
            row("… nearest neighbour", nearest(halves, ys, yt), "% accuracy"),
            row("… time", seconds, "s"),
        ]
    halves = exact[: len(Xs)], exact[len(Xs) :]
    rows.append(row("… nearest neighbour, exact", nearest(halves, ys, yt), "% accuracy"))
    return rows


def many() -> list[Row]:
    """Landmarks on many samples, in a process of its own."""
    told = json.loads(
        subprocess.check_output([sys.executable, "-m", "benchmarks.tca", "--many"], text=True)
    )
    label = f"TCA, {MANY:,} samples, 1,000 landmarks"
    return [
        row(f"{label}: time", told["seconds"], "s", at_most=SECONDS),
        row("… peak memory of the process", told["peak"], "GB", at_most=GIGABYTES),
    ]


def measure_many() -> dict[str, float]:
    """Seconds by the clock, and gigabytes; the samples, and Python, are part of these."""
    with threadpool_limits(1):
        Xs, _, Xt, _ = problem(MANY)
        begun = perf_counter()
        ours(Xs, Xt, solver="nystrom", n_landmarks=1000)
    return {"seconds": perf_counter() - begun, "peak": _memory("VmHWM")}


def run() -> list[Row]:
    """All rows."""
    with threadpool_limits(1):
        rows = [each for n in FASTER for each in against_others(n)]
        rows += [each for n in (500, 2000) for each in exactness(n)]
        return [*rows, memory(4000), *landmarks(4000), *many()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--many", action="store_true")
    print(json.dumps(measure_many() if parser.parse_args().many else run()))
