"""Variables of MATLAB files, read by SciPy.

A damaged file can end the process in which SciPy reads it: its reader does not check every type
that a file names. So a file is read here only if its checksum is the published one; a file of which
none is known is read by a process of its own, which sends the variables as JSON.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

from scipy.io import loadmat

_MOST = 1 << 28  # bytes of a file: labels and features of some thousand images
_MEMORY = 4 << 30  # bytes that the process may take, where the system has such limits
_SECONDS = 120


def read_matlab(file: Path, *names: str, sha256: str | None = None) -> list[Any]:
    """Read variables of a MATLAB file.

    Parameters
    ----------
    file : Path
        A file as MATLAB writes it with ``-v4``, ``-v6`` or ``-v7``.
    *names : str
        Which variables.
    sha256 : str, optional
        Checksum of the published file. Without it, reading takes about half a second longer.

    Returns
    -------
    list
        One for each name, without dimensions of size 1: numbers and text as scalars, arrays or
        nested lists, structures as dictionaries.

    Raises
    ------
    ValueError
        If it has another checksum, is no such file or damaged, lacks a variable, or holds more than
        256 MiB.
    OSError
        If it cannot be opened.
    """
    if (size := file.stat().st_size) > _MOST:
        raise ValueError(f"expected at most {_MOST} bytes in {file}, got {size}")
    content = file.read_bytes()
    try:
        if sha256 is None:
            command = [sys.executable, "-P", __file__, *names]
            env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # each takes its share of the memory
            done = subprocess.run(
                command, input=content, capture_output=True, check=True, timeout=_SECONDS, env=env
            )
            found: dict[str, Any] = json.loads(done.stdout)
        elif hashlib.sha256(content).hexdigest() == sha256:
            found = loadmat(BytesIO(content), variable_names=names, simplify_cells=True)
        else:
            raise ValueError(f"it is not the published file, whose sha256 is {sha256}")
    except (subprocess.SubprocessError, ValueError, RecursionError) as error:
        output = getattr(error, "stderr", None) or str(error).encode()
        reason = output.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise ValueError(
            f"{file} cannot be read as a MATLAB file; expected one that was saved with -v7, and "
            f"reading it fails: {reason}"
        ) from error
    if missing := sorted(set(names) - found.keys()):
        raise ValueError(f"expected {' and '.join(names)} in {file}, but {missing} is missing")
    return [found[name] for name in names]


if __name__ == "__main__":
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    buffer = BytesIO(sys.stdin.buffer.read())
    read = loadmat(buffer, variable_names=sys.argv[1:], simplify_cells=True)
    read = {name: read[name] for name in sys.argv[1:] if name in read}
    sys.stdout.write(json.dumps(read, default=lambda values: values.tolist()))
