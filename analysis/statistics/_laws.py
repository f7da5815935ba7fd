"""The law of the widest gap between two distribution functions, exact and as a Brownian bridge.

A *gap* is the integer n_in n_out |D|; ``half`` is the smaller of n_in and n_out, on which alone,
beside the number N of images, the two-sided law depends. *Hidden* images share the lowest or the
highest value of a feature.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, ndtr

from analysis.statistics._tails import groups_of_ranked, tails, tails_of_ranked
from analysis.statistics.blocks import run_in_threads
from analysis.statistics.ranks import RankedBlock

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Method = Literal["auto", "exact", "asymp"]

EXACT_UP_TO = 2_500
"""The exact law is preferred where at most so many images of the class, or of the rest if that is
smaller, are expected outside the hidden ones."""


def prefers_exact(half: Integers, hidden: Integers, n_images: int) -> Any:
    """Tell where the exact law is quick, or the bridge too coarse; arguments broadcast."""
    return half * (n_images - hidden) <= EXACT_UP_TO * n_images


def hidden_of(groups: Integers) -> Integers:
    """Images in the larger of the lowest and the highest group of equals, 0 where both are single.

    ``groups`` (..., 3) holds the count of groups and the images in the lowest and the highest.
    """
    end = groups[..., 1:].max(axis=-1)
    return np.where(end > 1, end, 0)


def scaled_gaps(distances: Floats, n_inner: int | Integers, n_images: int) -> Integers:
    """Least gap that sizes allow, a multiple of their divisor, at least as wide as each distance.

    Exact for distances (>= 0) that occur.
    """
    step = np.gcd(n_inner, n_images)
    steps = distances * (n_inner * (n_images - n_inner) // step)
    return np.asarray(np.ceil(steps * (1 - 4 * np.finfo(np.float64).eps)), np.int64) * step


def log_factorials(n: int) -> Floats:
    """Logarithms of 0!, 1!, ..., n!."""
    return np.asarray(gammaln(np.arange(n + 1) + 1.0))


def exact_tail(
    half: Integers,
    gaps: Integers,
    next_end: Integers,
    last_end: Integers,
    threads: int | None = 1,
) -> Floats:
    """Probability of a gap at least as wide under one pattern of ties, each distinct pair once.

    ``half`` and ``gaps`` have one shape; ``next_end`` and ``last_end`` are as for ``_tails.tail``.
    """
    n_images = next_end.size - 1
    if gaps.size == 0:
        return np.empty(gaps.shape)
    stride = int(gaps.max()) + 1
    found, place = np.unique(half * stride + gaps, return_inverse=True)
    sizes, wanted = np.divmod(found, stride)
    factorials, out = log_factorials(n_images), np.empty(found.size)

    def task(first: int, last: int) -> None:
        tails(next_end, last_end, first, last, sizes, wanted, wanted, factorials, out)

    run_in_threads(task, n_images, found.size, threads)
    return out[place].reshape(gaps.shape)


def bridge_tail(half: Integers, gaps: Integers, hidden: Integers, n_images: int) -> Floats:
    """Probability of a gap at least as wide, of the bridge; arguments broadcast."""
    rest = n_images - half
    b = hidden / n_images
    shift = (rest + 2 * half) / 6 - np.gcd(half, rest) / 2
    x = (gaps + shift) / np.sqrt(half * rest * float(n_images))
    x = np.maximum(x, np.sqrt(0.03 * (1 - b)))  # nearer to 0 the probability is 1 to the last digit
    with np.errstate(divide="ignore", invalid="ignore"):  # b = 0, and b = 1 where gaps are 0
        unit = x / np.sqrt(b * (1 - b))
    total = 2 * ndtr(-unit)
    for j in range(1, 60):
        within = ndtr((1 - 2 * j * b) * unit) - ndtr(-(1 + 2 * j * b) * unit)
        term = 2 * np.exp(-2 * (j * x) ** 2) * within
        total += term if j % 2 else -term
        if (term < 1e-17).all():
            break
    return np.where(gaps > 0, np.clip(total, 0, 1), 1.0)


def tails_of_block(
    block: RankedBlock,
    gaps: Integers,
    sizes: Integers,
    *,
    method: Method,
    threads: int | None,
) -> Floats:
    """Probability of a gap at least as wide, each feature under its own ties.

    ``gaps`` and the result have shape (classes, features), ``sizes`` (classes,). NaN where the
    exact law of a feature without ties is due, which all blocks share.
    """
    n_images = int(sizes.sum())
    small = np.minimum(sizes, n_images - sizes)
    half = np.broadcast_to(small[:, None], gaps.shape)
    groups = groups_of_block(block, n_images, threads)
    hidden = np.broadcast_to(hidden_of(groups), gaps.shape)
    exact = np.full(gaps.shape, method == "exact")
    if method == "auto":
        exact = prefers_exact(half, hidden, n_images)
    P = np.full(gaps.shape, np.nan)
    P[~exact] = bridge_tail(half[~exact], gaps[~exact], hidden[~exact], n_images)
    tied, factorials = exact & (groups[:, 0] < n_images), log_factorials(n_images)

    def task(first: int, last: int) -> None:
        tails_of_ranked(
            block.codes, block.stops, block.below, first, last, small, gaps, factorials, tied, P
        )

    run_in_threads(task, n_images * sizes.size, block.stops.size, threads)
    return P


def groups_of_block(block: RankedBlock, n_images: int, threads: int | None) -> Integers:
    """How many groups of equals each feature has, images in the lowest and in the highest."""
    groups = np.empty((block.stops.size, 3), np.int64)

    def task(first: int, last: int) -> None:
        groups_of_ranked(block.codes, block.stops, block.below, first, last, n_images, groups)

    run_in_threads(task, n_images, block.stops.size, threads)
    return groups
