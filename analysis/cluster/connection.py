"""To find a cluster of Dask workers, and to refuse one whose workers are unlike this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["connect"]

_SECONDS_TO_ANSWER = 10
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
