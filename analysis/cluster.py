"""A cluster of Dask workers: to find one, and to have it work through a list in order.

Workers are processes, on this machine or on others, that run the same Python and the same
versions. They read and write files by the paths that the caller has: they must see the same file
system.
"""

from __future__ import annotations

import ctypes
import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from dask.utils import funcname

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["connect", "map_in_order"]

T = TypeVar("T")
R = TypeVar("R")

_LOG = logging.getLogger(__name__)

_SECONDS_TO_ANSWER = 10
_TASKS_PER_THREAD = 3  # one runs, one is on its way, one result waits
_SECONDS_BETWEEN_COUNTS = 5
_SECONDS_WITHOUT_NEWS = 30
_SECONDS_WITHOUT_WORKERS = 300
_PACKAGES = ("numpy", "torch", "zarr", "layerbook")


def connect(address: str) -> Client:
    """Connect to the scheduler of a running cluster.

    Parameters
    ----------
    address
        Of the scheduler, such as ``tcp://10.0.0.1:8786``.

    Returns
    -------
    distributed.Client
        Not made Dask's default: only what is given to it runs there. To be closed by the caller
        (it is a context manager).

    Raises
    ------
    ConnectionError
        If no scheduler answers within ten seconds, or it has no workers.
    ValueError
        If the address is none, or a worker has another Python (major.minor) or another version of
        NumPy, PyTorch, Zarr or Layerbook than this process. Workers that join later are not asked.
    """
    from distributed import Client
    from distributed.comm import get_address_host

    try:
        get_address_host(address)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"expected a scheduler's address such as 'tcp://10.0.0.1:8786', got {address!r}"
        ) from error
    try:
        client = Client(address, timeout=_SECONDS_TO_ANSWER, set_as_default=False)
    except OSError as error:
        raise ConnectionError(
            f"no scheduler answers at {address!r} within {_SECONDS_TO_ANSWER} s ({error}); start "
            "one with `dask scheduler`, and its workers with `dask worker ADDRESS`"
        ) from error
    try:
        _require_same_versions(client)
    except BaseException:
        client.close()
        raise
    return client


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
        on how often it is done.
    items
        Its arguments; taken as they are needed. Function and item travel with every task: let
        large things travel once, by ``client.scatter`` or a file.
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
    waiting: deque[tuple[T, Future]] = deque()
    room = _Room(client, ahead)
    name = funcname(function)

    def submit(item: T) -> Future:
        # A key of its own: equal items are not one task, and nothing is kept from an earlier call.
        return client.submit(_on_worker, function, item, key=f"{name}-{uuid4()}")

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


def _on_worker(function: Callable[[T], R], item: T) -> R:
    _keep_memory()
    return function(item)


@cache
def _keep_memory() -> None:
    """Let this process keep what it frees, as far as others do, to use it again.

    Dask starts workers with an environment (``MALLOC_TRIM_THRESHOLD_``) in which glibc gives every
    array of some size back to the system, and the next one is made of pages that have to be zeroed.
    These are the thresholds that glibc comes to by itself.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(-3, 32 * 2**20)  # M_MMAP_THRESHOLD
        mallopt(-1, 64 * 2**20)  # M_TRIM_THRESHOLD


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


def _require_same_versions(client: Client) -> None:
    from distributed import TimeoutError as NoWorkersError

    try:
        client.wait_for_workers(1, timeout=_SECONDS_TO_ANSWER)
    except NoWorkersError as error:
        raise ConnectionError(
            f"the scheduler at {client.scheduler.address} has no workers; start some with "
            f"`dask worker {client.scheduler.address}`"
        ) from error

    def versions(packages: tuple[str, ...]) -> dict[str, str]:
        # A closure that imports what it needs: a worker without this package can run it.
        import sys
        from importlib.metadata import PackageNotFoundError, version

        found = {"Python": f"{sys.version_info.major}.{sys.version_info.minor}"}
        for package in packages:
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                found[package] = "(not installed)"
        return found

    expected = versions(_PACKAGES)
    for worker, theirs in client.run(versions, _PACKAGES).items():
        for name, here in expected.items():
            if theirs[name] != here:
                raise ValueError(
                    f"worker {worker} has {name} {theirs[name]}, here it is {here}; install the "
                    "same versions on all machines (requirements.lock)"
                )
