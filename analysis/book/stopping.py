"""Work in threads that Ctrl-C can end: the kernels of running notebooks are ended with it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from typing import Any, TypeVar

__all__ = ["Kernels", "in_stoppable_threads"]

Result = TypeVar("Result")


class Kernels:
    """The kernels of some notebooks that run, which can all be ended at once.

    In the main thread nbclient takes Ctrl-C for itself and then says that a kernel died; in other
    threads nobody tells a kernel to stop, and its notebook is awaited to its end.
    """

    def __init__(self) -> None:
        self._managers: list[Any] = []
        self._ended = threading.Event()

    @property
    def ended(self) -> bool:
        """Whether :meth:`end` was called: no notebook should begin any more."""
        return self._ended.is_set()

    def manager_class(self) -> type:
        """Class for nbclient's ``kernel_manager_class``, whose kernels belong to these."""
        from jupyter_client.manager import AsyncKernelManager

        managers = self._managers

        class Remembered(AsyncKernelManager):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                managers.append(self)

        return Remembered

    def end(self) -> None:
        """Kill the kernels that run."""
        self._ended.set()
        for manager in self._managers:
            process = getattr(manager.provisioner, "process", None)
            if process is not None and process.poll() is None:
                process.kill()


def in_stoppable_threads(
    tasks: Sequence[Callable[[], Result]],
    kernels: Kernels,
    *,
    at_once: int,
    each_done: Callable[[], object],
) -> list[Result]:
    """Do tasks side by side, in threads; the main thread stays free for Ctrl-C.

    Parameters
    ----------
    tasks
        What to do. A task may start kernels that belong to ``kernels``.
    kernels
        Ended when the user stops the program, so that the tasks fail at once.
    at_once
        Number of threads.
    each_done
        Called in this thread after each task.

    Returns
    -------
    list
        Results in the order of the tasks.

    Raises
    ------
    Exception
        The first that a task raised. Tasks that have not begun are left out; the others end.
    KeyboardInterrupt
        If the user stopped the program. No task is left running.
    """
    with ThreadPoolExecutor(at_once) as pool:
        running = [pool.submit(task) for task in tasks]
        try:
            for finished in as_completed(running):
                finished.result()
                each_done()
        except BaseException as error:
            for future in running:
                future.cancel()
            if not isinstance(error, Exception):
                _end(running, kernels)
            raise
    return [future.result() for future in running]


def _end(running: Sequence[Future[Any]], kernels: Kernels) -> None:
    """Kill kernels until no task runs: one may be about to start its own."""
    unfinished = set(running)
    while unfinished:
        kernels.end()
        unfinished = wait(unfinished, timeout=0.1).not_done
