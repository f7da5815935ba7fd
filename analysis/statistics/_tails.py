"""Compiled inner loops of the exact law of the Kolmogorov-Smirnov distance under ties.

Under the null hypothesis every choice of the n_c inner images among all N is equally likely. Read
in the order of the feature, a choice is a walk: after e images, k of them inner. Its scaled gap is
k N - n_c e, and only the ends of groups of equal values count. Given its end, the walk is one of N
independent steps that go up with probability n_c / N, so that e' - e images are passed at once by
convolution with a binomial law.

Of all ends of groups, few have to be looked at. k never falls, and the k allowed at e are those
from ``lowest(e)`` to ``highest(e)``, which never fall either. Where ``highest`` stays the same, its
last end of a group decides, and where ``lowest`` does, its first: some 2 n_c places in all, however
many images there are.

The walks that leave are added up, never those that stay, so all terms are positive and small
probabilities keep their digits. Only quantities below ``NEGLIGIBLE`` of what has left already are
dropped, a few N of them at most. Of the walks that leave upwards the first few are added: as all
laws here are log-concave, the ratio of two terms bounds the remaining ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.statistics._compiling import jit

Array = NDArray[Any]

NEGLIGIBLE = 1e-20
AT_ONCE = 8  # ways out upwards that are computed together


@jit
def _law(size: int, n_images: int, factorials: Array) -> Any:
    """Of a step: log factorials, probability of going up, its logarithm, and that of not."""
    up = size / n_images
    return factorials, up, np.log(up), np.log1p(-up)


@jit
def _binomial(n: int, k: int, law: Any) -> float:
    """Probability of k steps up out of n."""
    factorials, _, log_up, log_down = law
    ways = factorials[n] - factorials[k] - factorials[n - k]
    return float(np.exp(ways + k * log_up + (n - k) * log_down))


@jit
def _steps(n: int, most: int, negligible: float, law: Any, out: Array) -> int:
    """Probabilities of 0, 1, ... steps up out of n; returns the last of them, at most ``most``."""
    odds = law[1] / (1 - law[1])
    mode = min(int((n + 1) * law[1]), most)
    out[mode] = _binomial(n, mode, law)
    for j in range(mode, 0, -1):
        out[j - 1] = out[j] * (j / ((n - j + 1) * odds))
    for j in range(mode, most):
        if out[j] <= negligible:
            return j
        out[j + 1] = out[j] * ((n - j) * odds / (j + 1))
    return most


@jit
def _add(factor: float, terms: Array, total: Array) -> None:
    for i in range(total.size):
        total[i] += factor * terms[i]


@jit
def _convolve(
    now: Array, low: int, high: int, steps: Array, last: int, then: Array, first: int, end: int
) -> None:
    """Compute ``then[first:end]`` of ``now[low..high]`` and ``steps[0..last]``."""
    then[first:end] = 0.0
    if last < high - low:  # the longer of both is the inner loop
        for j in range(last + 1):
            a, b = max(first, low + j), min(end, high + 1 + j)
            if a < b:
                _add(steps[j], now[a - j : b - j], then[a:b])
    else:
        for k in range(low, high + 1):
            a, b = max(first, k), min(end, k + last + 1)
            if a < b:
                _add(now[k], steps[a - k : b - k], then[a:b])


@jit
def _trim(terms: Array, low: int, high: int, negligible: float) -> tuple[int, int]:
    """Leave out the ends of ``terms[low..high]`` that are negligible, but never all."""
    while low < high and terms[low] <= negligible:
        low += 1
    while low < high and terms[high] <= negligible:
        high -= 1
    return low, high


@jit
def _next_check(
    e: int, lowest: int, next_end: Array, last_end: Array, size: int, down: int, up: int
) -> int:
    """First end of a group after ``e`` that decides, or the number of images."""
    n_images = next_end.size - 1
    rises = (n_images * lowest + down - 1) // size + 1  # from here on, more than ``lowest``
    below = next_end[rises] if rises <= n_images else n_images
    highest = (size * next_end[e + 1] + up - 1) // n_images
    if highest >= size:
        return int(below)
    stays = (n_images * (highest + 1) - up) // size  # up to here, ``highest``
    return int(min(below, last_end[min(stays, n_images)]))


@jit
def _upwards(
    now: Array,
    low: int,
    high: int,
    steps: Array,
    last: int,
    then: Array,
    k: int,
    reach: int,
    rest: int,
    size: int,
    law: Any,
    left: float,
) -> float:
    """Add to ``left`` the walks that are now at ``k`` or above; overwrites ``then[k:]``."""
    end, term = k, 0.0
    back = _binomial(rest, size - k, law) if k <= reach else 0.0
    while k <= reach:
        if k == end:
            end = min(reach, k + AT_ONCE - 1) + 1
            _convolve(now, low, high, steps, last, then, k, end)
        before, term = term, then[k] * back
        left += term
        if term < before and term * term < 1e-16 * left * (before - term):
            break
        back *= (size - k) / ((rest - size + k + 1) * law[1] / (1 - law[1]))
        k += 1
    return left


@jit
def tail(
    next_end: Array,
    last_end: Array,
    size: int,
    down: int,
    up: int,
    factorials: Array,
    space: Array,
) -> float:
    """Probability that a scaled gap of ``up`` or above, or of -``down`` or below, occurs.

    Only the ends of groups count: ``next_end[e]`` is the least that is at least ``e``,
    ``last_end[e]`` the greatest that is at most ``e``, both of length N + 1. ``size`` is that of
    the class or, if smaller, of the rest, whose gaps have the other sign. ``space`` has shape
    (3, size + 1) or more.
    """
    if min(down, up) <= 0:
        return 1.0
    n_images = next_end.size - 1
    law = _law(size, n_images, factorials)
    now, then, steps = space[0], space[1], space[2]
    now[0] = 1.0
    e = low = high = lowest = 0
    left = 0.0
    while low <= high:
        check = _next_check(e, lowest, next_end, last_end, size, down, up)
        if check == n_images:
            break
        passed, rest, e = check - e, n_images - check, check
        lowest = max(0, -((down - 1 - size * e) // n_images))
        highest = min(size, (size * e + up - 1) // n_images)
        last = _steps(passed, min(passed, size - low), NEGLIGIBLE * left, law, steps)
        first, reach = max(low, size - rest), min(size, high + last)
        stay = min(highest, reach)
        _convolve(now, low, high, steps, last, then, first, stay + 1)
        for k in range(first, min(lowest, reach + 1)):
            left += then[k] * _binomial(rest, size - k, law)
        left = _upwards(
            now, low, high, steps, last, then, highest + 1, reach, rest, size, law, left
        )
        low, high = _trim(then, max(first, lowest), stay, NEGLIGIBLE * left)
        now, then = then, now
    return min(1.0, left / _binomial(n_images, size, law))


@jit
def _find_ends(codes: Array, below: int, next_end: Array, last_end: Array) -> int:
    """Find where the groups of one ranked feature end, as :func:`tail` takes it; count them."""
    n_images = next_end.size - 1
    one = codes.dtype.type(1)
    last_end[:] = 0
    for i in range(codes.size):
        if codes[i] & one:
            last_end[i + 1 if i < below else n_images - (i + 1 - below)] = 1
    last_end[0] = last_end[n_images] = 1
    groups = last_end.sum() - 1
    at = n_images
    for e in range(n_images, -1, -1):
        if last_end[e]:
            at = e
        next_end[e] = at
    for e in range(n_images + 1):
        at = e if last_end[e] else at
        last_end[e] = at
    return int(groups)


@jit
def groups_of_ranked(
    codes: Array, stops: Array, below: Array, first: int, last: int, n_images: int, out: Array
) -> None:
    """Count groups of equals, and the images in the lowest and the highest, into ``out`` (n, 3)."""
    next_end = np.empty(n_images + 1, np.int64)
    last_end = np.empty(n_images + 1, np.int64)
    for j in range(first, last):
        start = stops[j - 1] if j > 0 else 0
        out[j, 0] = _find_ends(codes[start : stops[j]], below[j], next_end, last_end)
        out[j, 1] = next_end[1]
        out[j, 2] = n_images - last_end[n_images - 1]


@jit
def tails(
    next_end: Array,
    last_end: Array,
    first: int,
    last: int,
    sizes: Array,
    down: Array,
    up: Array,
    factorials: Array,
    out: Array,
) -> None:
    """Probabilities ``out[first:last]`` for as many sizes and gaps under one pattern of ties."""
    space = np.empty((3, sizes[first:last].max() + 2))
    for i in range(first, last):
        out[i] = tail(next_end, last_end, sizes[i], down[i], up[i], factorials, space)


@jit
def tails_of_ranked(
    codes: Array,
    stops: Array,
    below: Array,
    first: int,
    last: int,
    sizes: Array,
    gaps: Array,
    factorials: Array,
    wanted: Array,
    out: Array,
) -> None:
    """Probabilities ``out[:, first:last]`` where ``wanted``, each feature under its own ties."""
    n_images = factorials.size - 1
    next_end = np.empty(n_images + 1, np.int64)
    last_end = np.empty(n_images + 1, np.int64)
    space = np.empty((3, sizes.max() + 2))
    for j in range(first, last):
        if not wanted[:, j].any():
            continue
        start = stops[j - 1] if j > 0 else 0
        _find_ends(codes[start : stops[j]], below[j], next_end, last_end)
        for c in range(sizes.size):
            if not wanted[c, j]:
                continue
            same = 0
            while sizes[same] != sizes[c] or gaps[same, j] != gaps[c, j]:
                same += 1
            if same < c:
                out[c, j] = out[same, j]
            else:
                gap = gaps[c, j]
                out[c, j] = tail(next_end, last_end, sizes[c], gap, gap, factorials, space)
