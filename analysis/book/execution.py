"""Running a notebook for a study: checked beforehand, whole or not at all, and only when needed."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from analysis.book.published import make_publishable, read_json
from analysis.book.stopping import Kernels, in_stoppable_threads
from analysis.statistics.blocks import processors

__all__ = [
    "NotebookError",
    "check_parameters",
    "environment_hash",
    "execution_key",
    "run_notebook",
    "run_notebooks",
]

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_LOCATIONS = ("LAYERBOOK_HOME", "LAYERBOOK_DATA", "LAYERBOOK_WEIGHTS")


class NotebookError(RuntimeError):
    """A notebook's cell raised; the message shows the cell and its error."""


def check_parameters(notebook: Path, parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that a notebook does not declare; papermill would only warn.

    Raises
    ------
    ValueError
        If the notebook has no parameter of that name; the message lists those it has.
    """
    import papermill  # a second to import

    known = set(papermill.inspect_notebook(str(notebook)))
    unknown = sorted(set(parameters) - known)
    if unknown:
        raise ValueError(
            f"{notebook.name} has no parameter {', '.join(map(repr, unknown))}; "
            f"it has: {', '.join(sorted(known)) or 'none (no cell is tagged parameters)'}"
        )


def environment_hash(package: Path) -> str:
    """Hash of what runs a notebook, apart from the notebook.

    It covers the package's modules and cards, Python and the versions of the package's
    dependencies. The command line is left out: it runs nothing inside a notebook.

    Parameters
    ----------
    package
        Folder of the ``analysis`` package.
    """
    digest = hashlib.sha256(platform.python_version().encode())
    command_line = {package / "__main__.py", package / "commands.py"}
    for module in sorted(
        path for ending in ("py", "toml") for path in package.rglob(f"*.{ending}")
    ):
        if module not in command_line and "_book" not in module.parts:
            digest.update(module.relative_to(package).as_posix().encode())
            digest.update(module.read_bytes())
    for requirement in sorted(metadata.requires("layerbook") or ()):
        match = re.match(r"[A-Za-z0-9._-]+", requirement)
        if match and "extra ==" not in requirement:
            digest.update(f"{match[0]}=={metadata.version(match[0])}".encode())
    return digest.hexdigest()


def execution_key(notebook: Path, parameters: Mapping[str, Any], inputs: Sequence[str]) -> str:
    """Name of an execution, the same exactly when its result would be.

    Parameters
    ----------
    notebook
        The notebook; only its cells count, not its metadata.
    parameters
        What papermill injects.
    inputs
        Hashes of all else that the result depends on: environment, datasets, weights.

    Returns
    -------
    str
        ``<notebook>-<8 digits for the parameters>-<16 digits for everything>``.
    """
    cells = read_json(notebook)["cells"]
    source = [[cell["cell_type"], "".join(cell["source"]), cell["metadata"]] for cell in cells]
    asked = _hash([notebook.stem, dict(parameters)])
    return f"{notebook.stem}-{asked[:8]}-{_hash([source, asked, list(inputs)])[:16]}"


def run_notebooks(
    keys: Mapping[Path, str], parameters: Mapping[str, Any], *, cache: Path, progress: bool = True
) -> list[Path]:
    """Execute notebooks, each as :func:`run_notebook` does.

    The first runs alone, as it takes the features, with every processor. The others find these in
    the store and run side by side, each with one thread for its arithmetic unless the environment
    says otherwise: threads that wait for a processor which another notebook has cost both time.

    Parameters
    ----------
    keys
        Notebook → name of its execution.
    parameters, cache, progress
        As for :func:`run_notebook`.

    Returns
    -------
    list of Path
        Folders of the executions, in the order of the notebooks.

    Raises
    ------
    NotebookError
        If a cell raised. Notebooks that have not begun are left out; the others end.
    KeyboardInterrupt
        If the user stopped the program. Notebooks that were finished stay.
    """
    from tqdm.auto import tqdm

    kernels = Kernels()
    first, *others = keys
    with _absolute_locations():
        done = [run_notebook(first, parameters, key=keys[first], cache=cache, progress=progress)]
        tasks = [
            partial(_execute, notebook, parameters, keys[notebook], cache, False, kernels)
            for notebook in others
        ]
        bar = tqdm(total=len(tasks), desc="notebooks", unit="notebook", disable=not progress)
        with _single_thread(), bar:
            return done + in_stoppable_threads(
                tasks, kernels, at_once=processors(), each_done=bar.update
            )


def run_notebook(
    notebook: Path,
    parameters: Mapping[str, Any],
    *,
    key: str,
    cache: Path,
    progress: bool = True,
) -> Path:
    """Execute a notebook into a folder of its own, unless that folder is there already.

    The notebook runs inside the folder, so the tables it writes lie beside it. Older executions
    for the same parameters are removed.

    Parameters
    ----------
    notebook, parameters
        What to run, and with which values.
    key
        Name of the execution, from :func:`execution_key`.
    cache
        Folder of all executions.
    progress
        Whether to show a bar that counts cells.

    Returns
    -------
    Path
        The folder ``cache/key``, with the executed notebook and what it wrote.

    Raises
    ------
    NotebookError
        If a cell raised, or the notebook's kernel died. Nothing is left then.
    KeyboardInterrupt
        If the user stopped the program. Nothing is left then.
    """
    kernels = Kernels()
    task = partial(_execute, notebook, parameters, key, cache, progress, kernels)
    return in_stoppable_threads([task], kernels, at_once=1, each_done=lambda: None)[0]


def _execute(
    notebook: Path,
    parameters: Mapping[str, Any],
    key: str,
    cache: Path,
    progress: bool,
    kernels: Kernels,
) -> Path:
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    done = cache / key
    if done.is_dir() or kernels.ended:
        return done
    cache.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".partial-", dir=cache))
    executed = folder / notebook.name
    try:
        with _absolute_locations():
            papermill.execute_notebook(
                str(notebook),
                str(executed),
                parameters=dict(parameters),
                # Papermill's own cwd= would change that of this process, which other runs share.
                resources={"metadata": {"path": str(folder)}},
                kernel_name="python3",
                progress_bar={"desc": notebook.stem, "unit": "cell"} if progress else False,
                kernel_manager_class=kernels.manager_class(),
                # Newer kernels warn of plain TCP to localhost.
                extra_arguments=["--log-level=ERROR"],
            )
        make_publishable(executed)
        older = [*cache.glob(f"{key.rpartition('-')[0]}-*")]
        folder.rename(done)
        for execution in older:
            shutil.rmtree(execution)
    except PapermillExecutionError as error:
        raise NotebookError(_explain(notebook, error)) from error
    except DeadKernelError as error:
        raise NotebookError(
            f"{notebook.name}: the process that ran it was killed, as the system does when memory "
            "runs out. Other notebooks that were finished are kept; run the same again with more "
            "memory, or with fewer datasets or networks"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return done


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@contextmanager
def _absolute_locations() -> Iterator[None]:
    """Make relative locations absolute for the kernel, which runs in another folder."""
    before = {name: os.environ[name] for name in _LOCATIONS if os.environ.get(name)}
    os.environ.update(
        {name: str(Path(value).expanduser().absolute()) for name, value in before.items()}
    )
    try:
        yield
    finally:
        os.environ.update(before)


@contextmanager
def _single_thread() -> Iterator[None]:
    """Give kernels that begin meanwhile one thread each, for matrix products and all of OpenMP."""
    unset = [name for name in _THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(unset, "1"))
    try:
        yield
    finally:
        for name in unset:
            os.environ.pop(name, None)


def _explain(notebook: Path, error: Any) -> str:
    source = "\n".join(f"    {line}" for line in error.source.strip().splitlines())
    return (
        f"{notebook.name} failed in cell [{error.exec_count}]:\n{source}\n"
        f"{error.ename}: {error.evalue}"
    )
