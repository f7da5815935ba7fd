"""One thread of linear algebra, while many small systems are solved.

OpenBLAS cuts every product and every factorisation among its threads. Of matrices of some thousand
rows that gains little on an idle machine. On a busy one, each waits for a thread that does not get
its turn: the whole takes 2 to 10 times as long, at worst 100 times. Independent fits run side by
side instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ContextDecorator
from threading import Lock
from typing import Any, TypeVar

import threadpoolctl

from analysis.statistics.blocks import processors


class _OneThread(ContextDecorator):
    """The limit is the process's, so the first to enter sets it and the last to leave lifts it.

    Any number may be inside, one within another or side by side.
    """

    def __init__(self) -> None:
        self._lock, self._inside = Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                _let_any_thread_set()
                self._limits = threadpoolctl.threadpool_limits(1, user_api="blas")
            self._inside += 1

    def __exit__(self, *_: Any) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                _let_any_thread_set()
                self._limits.restore_original_limits()
                _let_any_thread_set()


def _let_any_thread_set() -> None:
    """Take the limit from the thread that set it last, which newer versions leave it to."""
    controller = threadpoolctl.OpenBLASController
    getattr(controller, "clear_controlling_thread", lambda **_: None)(force=True)


one_blas_thread = _OneThread()
"""``with one_blas_thread:``, or ``@one_blas_thread`` above a function that is no generator."""


Item = TypeVar("Item")
Found = TypeVar("Found")


def in_threads(task: Callable[[Item], Found], items: Iterable[Item]) -> list[Found]:
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
