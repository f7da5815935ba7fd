"""Kernels of notebooks that run side by side: forked from one process, ended at once.

To import PyTorch, SciPy and their like costs every kernel seconds and hundreds of megabytes. On
Linux one process imports them for all, without any module of this package, and each kernel begins
as a copy of it. Run as a module, this file is that process::

    python -P -m analysis.book.kernels NUMBER    # of an inherited socket

It reads lines of JSON (``argv``, ``env``, ``cwd``), answers each with the number of a new process,
and ends, and its kernels with it, when the socket is closed.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

Result = TypeVar("Result")

LIBRARIES = (
    *(
        "ipykernel.kernelapp",
        "matplotlib.backends.backend_agg",
        "myst_nb",
        "torch",
        "torch._dynamo",
    ),
    *("dask.array", "numba", "pandas", "scipy.stats", "sklearn.svm", "xarray", "zarr"),
)
"""What nearly every notebook imports."""


class _Forked:
    """A forked kernel, with what jupyter_client asks of a ``subprocess.Popen``."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def poll(self) -> int | None:
        """None while it runs. How it ended, its parent alone could tell."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return -signal.SIGKILL
        return None

    wait = poll

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class Kernels:
    """The kernels of some notebooks that run, which can all be ended at once.

    In the main thread nbclient takes Ctrl-C for itself and then says that a kernel died; in other
    threads nobody tells a kernel to stop, and its notebook is awaited to its end.

    Parameters
    ----------
    forked
        Whether to fork kernels where that works, on Linux. The first takes as long as any other.
    """

    def __init__(self, *, forked: bool = False) -> None:
        self._forked = forked and sys.platform == "linux"
        self._managers: list[Any] = []
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._channel: socket.socket | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Kernels:
        return self

    def __exit__(self, *_: object) -> None:
        if self._channel is not None and self._server is not None:
            self._channel.close()
            self._server.wait()

    @property
    def ended(self) -> bool:
        """Whether :meth:`end` was called: no notebook should begin any more."""
        return self._ended.is_set()

    def manager_class(self) -> type:
        """Class for nbclient's ``kernel_manager_class``, whose kernels belong to these."""
        from jupyter_client.manager import AsyncKernelManager
        from jupyter_client.provisioning.local_provisioner import LocalProvisioner

        kernels = self

        class Forking(LocalProvisioner):
            process: Any
            pid = pgid = 0

            async def launch_kernel(self, cmd: list[str], **options: Any) -> Any:
                arguments = cmd[cmd.index("ipykernel_launcher") + 1 :]
                self.process = kernels._fork(arguments, options["env"], options["cwd"])
                self.pid = self.pgid = self.process.pid
                return self.connection_info

        class Remembered(AsyncKernelManager):
            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **options)
                if kernels._forked:
                    about = {"kernel_id": self.kernel_id, "kernel_spec": self.kernel_spec}
                    self.provisioner = Forking(**about, parent=self)
                kernels._managers.append(self)

        return Remembered

    def _fork(self, arguments: list[str], env: dict[str, str], cwd: str) -> _Forked:
        with self._lock:
            if self._channel is None:
                self._channel, other = socket.socketpair()
                with other:
                    self._server = subprocess.Popen(
                        [sys.executable, "-P", "-m", __name__, str(other.fileno())],
                        stdin=subprocess.DEVNULL,
                        pass_fds=[other.fileno()],
                        start_new_session=True,  # Ctrl-C is for the process that builds
                    )
            order = json.dumps({"argv": arguments, "env": env, "cwd": str(cwd)})
            self._channel.sendall(f"{order}\n".encode())
            answer = self._channel.recv(64)
        if not answer:
            raise OSError("the process that starts kernels was killed; rerun the command")
        return _Forked(int(answer))

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
    each_done: Callable[[Result], object],
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
        Called in this thread with the result of each task.

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
    with kernels, ThreadPoolExecutor(at_once) as pool:
        running = [pool.submit(task) for task in tasks]
        try:
            for finished in as_completed(running):
                each_done(finished.result())
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


def _serve(channel: socket.socket) -> NoReturn:
    """Fork a kernel for each line until there are no more; then end those that are left."""
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # read at import
    for library in LIBRARIES:
        with suppress(ImportError):
            importlib.import_module(library)
    gc.collect()
    gc.freeze()  # else the first collection of every kernel copies all of it
    kernels: set[int] = set()

    def reap(*_: object) -> None:
        with suppress(ChildProcessError):
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                kernels.discard(pid)

    signal.signal(signal.SIGCHLD, reap)
    for line in channel.makefile():
        pid = os.fork()
        if not pid:
            os.close(channel.fileno())
            _become_kernel(**json.loads(line))
        kernels.add(pid)
        channel.sendall(str(pid).encode())
    for pid in [*kernels]:
        _Forked(pid).kill()
    with suppress(ChildProcessError):
        while os.waitpid(-1, 0):
            pass
    os._exit(0)  # libraries that are taken apart at exit complain


def _become_kernel(argv: list[str], env: dict[str, str], cwd: str) -> NoReturn:
    from ipykernel.kernelapp import IPKernelApp

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    # A kernel ends with this parent.
    IPKernelApp.launch_instance([*argv, f"--IPKernelApp.parent_handle={os.getppid()}"])
    os._exit(0)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
