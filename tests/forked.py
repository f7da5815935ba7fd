"""Commands in processes of their own, to be killed or interrupted at a chosen moment.

For scripts that import everything once and fork for every command: a death then costs no import.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from analysis.__main__ import app


def start(arguments: list[str], log: Path) -> int:
    """Begin ``layerbook ARGUMENTS`` as a terminal does, in a process group; its id."""
    child = os.fork()
    if child:
        return child
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what "&" has begun
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    try:
        app(arguments)
    except SystemExit as ended:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended.code if isinstance(ended.code, int) else 1)
    os._exit(70)


def ended(child: int) -> int:
    """Exit code of a process, or minus the signal it died of."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def disturb(
    child: int, when: Callable[[], bool], how: signal.Signals, *, limit: float = 240
) -> int:
    """Send a signal at a moment; the exit code. Ctrl-C reaches the whole group, as from a terminal.

    Raises
    ------
    AssertionError
        If the process ended before that moment.
    """
    until = time.monotonic() + limit
    while not when():
        assert time.monotonic() < until, "the moment never came"
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "it ended before that moment"
        time.sleep(0.001)
    if how == signal.SIGINT:
        os.killpg(child, how)
    else:
        os.kill(child, how)
    return ended(child)


def files(folder: Path) -> dict[str, bytes]:
    """Content of all files below a folder, by path."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
