"""To work through a list on a cluster, in order, whichever workers are lost on the way."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["map_in_order"]

T = TypeVar("T")
R = TypeVar("R")

_LOG = logging.getLogger(__name__)

_TASKS_PER_THREAD = 3  # one runs, one is on its way, one result waits
_SECONDS_BETWEEN_COUNTS = 5
_SECONDS_WITHOUT_NEWS = 30
_SECONDS_WITHOUT_WORKERS = 300


def map_in_order(
    client: Client,
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    ahead: int | None = None,
    retries: int = 3,
) -> Generator[R]:
    """Like ``map``, on a cluster.

    Parameters
    ----------
    client
        The cluster, see :func:`connect`.
    function
        Called with one item at a time, on some worker, perhaps twice: what it does must not depend
        on how often it is done. It travels once to every worker, with what it holds (at most 2
        GiB): large things that all items need belong here.
    items
        Its arguments; taken as they are needed. Each travels with its task.
    ahead
        How many items may be under way or wait for their turn; None for three per thread of the
        workers.
    retries
        How often an item may lose its worker, and be given to another, before this gives up.

    Yields
    ------
    What ``function`` returns, in the order of ``items``. What is left unfinished when the caller
    stops asking, or is interrupted, is cancelled.

    Raises
    ------
    RuntimeError
        If an item has lost more than ``retries`` workers.
    ConnectionError
        If the cluster is gone, or has no workers for five minutes. Dask's ``LocalCluster`` gives up
        a worker that is not back fifteen seconds after its process died: raise its setting
        ``distributed.deploy.lost-worker-timeout``.
    Exception
        Whatever ``function`` raises, as it is.
    """
    from dask.utils import funcname

    from analysis.cluster.travelling import at_workers, call

    waiting: deque[tuple[T, Future]] = deque()
    room = _Room(client, ahead)
    prefix = funcname(function)

    with at_workers(client, function) as name:

        def submit(item: T) -> Future:
            # A key of its own: equal items are not one task, and nothing is kept from earlier.
            return client.submit(call, name, item, key=f"{prefix}-{uuid4()}")

        try:
            for item in items:
                waiting.append((item, submit(item)))
                while len(waiting) >= room.tasks():
                    yield _result(client, submit, *waiting[0], retries)
                    waiting.popleft()
            while waiting:
                yield _result(client, submit, *waiting[0], retries)
                waiting.popleft()
        finally:
            if waiting:
                client.cancel([future for _, future in waiting])


class _Room:
    """How many tasks may be under way: a number, or some for each thread that is there now."""

    def __init__(self, client: Client, tasks: int | None) -> None:
        if tasks is not None and tasks < 1:
            raise ValueError(f"expected to be at least 1 ahead, got {tasks}")
        self._client = client
        self._given = tasks
        self._counted = 1
        self._next_count = -1.0

    def tasks(self) -> int:
        if self._given is not None:
            return self._given
        if time.monotonic() > self._next_count:
            self._counted = max(1, _TASKS_PER_THREAD * sum(self._client.nthreads().values()))
            self._next_count = time.monotonic() + _SECONDS_BETWEEN_COUNTS
        return self._counted


def _result(
    client: Client, submit: Callable[[T], Future], item: T, future: Future, retries: int
) -> Any:
    """Wait for the result of an item; give it anew while it only lost its workers."""
    from distributed import KilledWorker

    lost = 0
    while True:
        try:
            return _awaited(client, future)
        except KilledWorker as error:
            lost += error.allowed_failures + 1  # the scheduler has tried so often by itself
            if lost > retries:
                raise RuntimeError(
                    f"gave up after {lost} workers died on the same task ({item!r:.100}); has each "
                    "enough memory? The workers' logs tell why they died"
                ) from error
            future.release()
            future = submit(item)
        except CancelledError as error:
            raise ConnectionError(
                "the cluster is gone, or has dropped what it was given; what was finished is kept"
            ) from error
        finally:
            if future.done():
                future.release()


def _awaited(client: Client, future: Future) -> Any:
    """Wait for a result as long as there are workers, or may be some again."""
    last_seen = time.monotonic()
    while True:
        try:
            return future.result(timeout=_SECONDS_WITHOUT_NEWS)
        except TimeoutError:
            if future.status == "error":  # the function's own
                raise
        if client.status != "running" or client.nthreads():
            last_seen = time.monotonic()
        elif time.monotonic() - last_seen > _SECONDS_WITHOUT_WORKERS:
            raise ConnectionError(
                f"the cluster has had no workers for {_SECONDS_WITHOUT_WORKERS} s; start some "
                "again, with more memory if that is why they died, and run the same again: what "
                "was finished is kept"
            )
        else:
            _LOG.warning("the cluster has no workers; waiting for some")
