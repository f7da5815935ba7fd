"""A cluster of Dask workers: to connect to one, and to have it work through a list in order.

Workers are processes, on this machine or on others, that run the same Python and the same
versions. They read and write files by the paths that the caller has: they must see the same file
system.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError
from operator import call
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

if TYPE_CHECKING:
    from distributed import Client, Future

T = TypeVar("T")
R = TypeVar("R")

_LOG = logging.getLogger(__name__)

_SECONDS_TO_ANSWER = 10
_SECONDS_WITHOUT_NEWS = 30
_SECONDS_WITHOUT_WORKERS = 300
_TASKS_PER_THREAD = 3  # one runs, one is on its way, one result waits
_GONE = "the cluster is gone, or has dropped what it was given; what was finished is kept"
_PACKAGES = ["numpy", "torch", "zarr", "layerbook"]


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

    if not re.fullmatch(r"\w+://.+[:/]\d+", address):
        raise ValueError(
            f"expected a scheduler's address such as 'tcp://10.0.0.1:8786', got {address!r}"
        )
    try:
        client = Client(address, timeout=_SECONDS_TO_ANSWER, set_as_default=False)
    except OSError as error:
        raise ConnectionError(
            f"no scheduler answers at {address!r} within {_SECONDS_TO_ANSWER} s ({error}); start "
            "one with `dask scheduler`, and its workers with `dask worker ADDRESS`"
        ) from error
    try:
        client.wait_for_workers(1, timeout=_SECONDS_TO_ANSWER)
        _require_same_versions(client)
    except TimeoutError as error:
        client.close()
        raise ConnectionError(
            f"the scheduler at {address} has no workers; start some with `dask worker {address}`"
        ) from error
    except BaseException:
        client.close()
        raise
    return client


def _require_same_versions(client: Client) -> None:
    versions: Any = client.get_versions(packages=_PACKAGES)
    here = versions["client"]["packages"]
    for address, worker in versions["workers"].items():
        for name in ("python", *_PACKAGES):
            theirs, ours = worker["packages"][name], here[name]
            if name == "python":
                theirs, ours = (".".join(version.split(".")[:2]) for version in (theirs, ours))
            if theirs != ours:
                raise ValueError(
                    f"worker {address} has {name} {theirs}, here it is {ours}; install the same "
                    "versions on all machines (requirements.lock)"
                )


def map_in_order(client: Client, function: Callable[[T], R], items: Iterable[T]) -> Generator[R]:
    """Like ``map``, on a cluster.

    Parameters
    ----------
    client
        The cluster, see :func:`connect`.
    function
        Called with one item at a time, on some worker, perhaps twice: what it does must not depend
        on how often it is done. It travels once to every worker that calls it, with what it holds,
        not with every item: large things that all items need belong here.
    items
        Its arguments; taken as they are needed, three for each thread of the workers. Each travels
        with its task.

    Yields
    ------
    What ``function`` returns, in the order of ``items``. What is left unfinished when the caller
    stops asking, or is interrupted, is cancelled.

    Raises
    ------
    RuntimeError
        If more workers died on the same item than Dask allows (its setting
        ``distributed.scheduler.allowed-failures``, usually 3).
    ConnectionError
        If the cluster is gone, or has no workers for five minutes. Dask's ``LocalCluster`` gives up
        a worker that is not back fifteen seconds after its process died: raise its setting
        ``distributed.deploy.lost-worker-timeout``.
    Exception
        Whatever ``function`` raises, as it is.
    """
    import dask
    from dask.utils import funcname
    from distributed.protocol.pickle import dumps, loads

    waiting: deque[Future] = deque()
    name = f"{funcname(function)}-{uuid4()}"  # its own: nothing is kept from earlier
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}):
        # The scheduler keeps the bytes. Whenever the workers that held the function are lost, Dask
        # makes it again, as it does with every result that others need.
        shared = client.submit(loads, dumps(function), key=f"function-{uuid4()}")
    try:
        for number, item in enumerate(items):
            # As parts of one group, tasks go to whoever is free, not to whoever has the function.
            waiting.append(client.submit(call, shared, item, key=(name, number)))
            while len(waiting) >= max(1, _TASKS_PER_THREAD * _n_threads(client)):
                yield _next_result(client, waiting)
        while waiting:
            yield _next_result(client, waiting)
    finally:
        if waiting:
            client.cancel(list(waiting))


def _n_threads(client: Client) -> int:
    try:
        return sum(client.nthreads().values())
    except OSError as error:
        raise ConnectionError(_GONE) from error


def _next_result(client: Client, waiting: deque[Future]) -> Any:
    """Wait for a result as long as there are workers, or may be some again."""
    from distributed import KilledWorker

    seconds = 0.0
    while seconds <= _SECONDS_WITHOUT_WORKERS:
        try:
            result = waiting[0].result(timeout=_SECONDS_WITHOUT_NEWS)
            waiting.popleft()
            return result
        except TimeoutError:
            if waiting[0].status == "error":  # the function's own
                raise
            seconds = 0 if _n_threads(client) else seconds + _SECONDS_WITHOUT_NEWS
            if seconds:
                _LOG.warning("the cluster has no workers; waiting for some")
        except KilledWorker as error:
            raise RuntimeError(
                f"gave up after {error.allowed_failures + 1} workers died on the same task "
                f"({error.task}); has each enough memory? The workers' logs tell why they died"
            ) from error
        except CancelledError as error:
            raise ConnectionError(_GONE) from error
    raise ConnectionError(
        f"the cluster has had no workers for {_SECONDS_WITHOUT_WORKERS} s; start some again, with "
        "more memory if that is why they died, and rerun the command: what was finished is kept"
    )
