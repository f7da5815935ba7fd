"""A function on its way to the workers of a cluster: once to each of them, not with every task.

Imported only where there is a cluster: ``distributed`` takes long to load.
"""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from distributed import WorkerPlugin, get_worker
from distributed.protocol.pickle import dumps, loads

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["at_workers", "call"]

_LOG = logging.getLogger(__name__)

_ATTEMPTS = 5
_ONE_UNPACKS = threading.Lock()


class _Travelling(WorkerPlugin):  # type: ignore[misc] # carries no types
    """A function as bytes, which the first task on a worker makes a function again."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.name = f"layerbook-{uuid4()}"
        self._content = dumps(function)
        self._function: Callable[[Any], Any] | None = None

    def function(self) -> Callable[[Any], Any]:
        with _ONE_UNPACKS:
            if self._function is None:
                self._function = loads(self._content)
                self._content = b""
            return self._function


@contextmanager
def at_workers(client: Client, function: Callable[[Any], Any]) -> Iterator[str]:
    """Have a function at all workers, also at those that come while this lasts.

    Parameters
    ----------
    client
        The cluster.
    function
        At most 2 GiB when pickled.

    Yields
    ------
    str
        What to :func:`call` it by.

    Raises
    ------
    ConnectionError
        If some worker cannot be reached, and stays among those of the cluster.
    """
    travelling = _Travelling(function)
    try:
        _send(client, travelling)
        yield travelling.name
    finally:
        try:
            if client.status == "running":
                client.unregister_worker_plugin(travelling.name)
        except Exception as error:  # a worker or the cluster is gone, and the function with it
            _LOG.debug("some worker may keep a function that is done with: %s", error)


def _send(client: Client, travelling: _Travelling) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            client.register_plugin(travelling)
        except OSError as error:  # a worker has died that the scheduler still counts
            if attempt == _ATTEMPTS:
                raise ConnectionError(
                    f"a worker of the cluster cannot be reached ({error}); end it, or the cluster, "
                    "and run the same again: what was finished is kept"
                ) from error
            time.sleep(1)
        else:
            return


def call(name: str, item: Any) -> Any:
    """On a worker: call the function of that name."""
    _keep_memory()
    travelling = get_worker().plugins[name]
    assert isinstance(travelling, _Travelling)
    return travelling.function()(item)


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
