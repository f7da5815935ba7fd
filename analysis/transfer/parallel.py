"""Independent fits side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from analysis.statistics.blocks import processors
from analysis.statistics.threads import one_blas_thread

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
    with one_blas_thread, ThreadPoolExecutor(processors()) as pool:
        return [*pool.map(task, items)]
