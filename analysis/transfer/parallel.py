"""Independent fits side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

from analysis.statistics.blocks import processors

__all__ = ["in_threads"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(task: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Apply a function to every item, as many at once as there are processors.

    Each has a single BLAS thread: matrices of some thousand rows keep one processor busy, the
    steps between products use one anyway, and the bits do not depend on the machine's processors.

    Parameters
    ----------
    task : callable
        Spends its time in NumPy, which lets other threads run meanwhile.
    items : iterable
        What it is applied to.

    Returns
    -------
    list
        Results in the order of the items.
    """
    with (
        threadpool_limits(limits=1, user_api="blas"),
        ThreadPoolExecutor(processors()) as pool,
    ):
        return [*pool.map(task, items)]
