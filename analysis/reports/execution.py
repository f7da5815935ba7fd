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
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from analysis.statistics.blocks import processors

__all__ = [
    "NotebookError",
    "check_parameters",
    "environment_hash",
    "execution_key",
    "run_notebook",
    "run_notebooks",
]

_WIDGET = "application/vnd.jupyter.widget-view+json"
_BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
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
    cells = _read(notebook)["cells"]
    source = [[cell["cell_type"], "".join(cell["source"]), cell["metadata"]] for cell in cells]
    asked = _hash([notebook.stem, dict(parameters)])
    return f"{notebook.stem}-{asked[:8]}-{_hash([source, asked, list(inputs)])[:16]}"


def run_notebooks(
    keys: Mapping[Path, str], parameters: Mapping[str, Any], *, cache: Path, progress: bool = True
) -> list[Path]:
    """Execute notebooks, each as :func:`run_notebook` does.

    The first runs alone, as it takes the features, with every processor. The others find these in
    the store and run side by side, each with one thread for matrix products unless the environment
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
    """
    from tqdm.auto import tqdm

    first, *others = keys
    with _absolute_locations():
        done = [run_notebook(first, parameters, key=keys[first], cache=cache, progress=progress)]
        with _single_blas_thread(), ThreadPoolExecutor(processors()) as pool:
            running = [
                pool.submit(
                    run_notebook, notebook, parameters, key=keys[notebook], cache=cache,
                    progress=False,
                )
                for notebook in others
            ]  # fmt: skip
            bar = tqdm(total=len(running), desc="notebooks", unit="notebook", disable=not progress)
            try:
                with bar:
                    for finished in as_completed(running):
                        finished.result()
                        bar.update()
            finally:
                for future in running:
                    future.cancel()
        return done + [future.result() for future in running]


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
        If a cell raised. Nothing is left then.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    done = cache / key
    if done.is_dir():
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
                extra_arguments=[
                    "--log-level=ERROR"
                ],  # newer kernels warn of plain TCP to localhost
            )
        _publishable(executed)
        for older in cache.glob(f"{key.rpartition('-')[0]}-*"):
            shutil.rmtree(older)
        folder.rename(done)
    except PapermillExecutionError as error:
        raise NotebookError(_explain(notebook, error)) from error
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
def _single_blas_thread() -> Iterator[None]:
    """Give kernels that begin meanwhile one thread for NumPy's matrix products."""
    unset = [name for name in _BLAS_THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(unset, "1"))
    try:
        yield
    finally:
        for name in unset:
            os.environ.pop(name, None)


def _publishable(executed: Path) -> None:
    """Take out what readers have no use for: paths and times of this run, and dead widgets."""
    content = _read(executed)
    for key in ("papermill", "widgets"):
        content["metadata"].pop(key, None)
    for cell in content["cells"]:
        for key in ("papermill", "execution"):
            cell["metadata"].pop(key, None)
        if cell["cell_type"] == "code":
            cell["outputs"] = [out for out in map(_without_widget, cell["outputs"]) if out]
    executed.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _without_widget(output: dict[str, Any]) -> dict[str, Any] | None:
    """Leave the picture that stands in for a widget; nothing where there is none."""
    data = output.get("data", {})
    if _WIDGET not in data:
        return output
    pictures = {kind: content for kind, content in data.items() if kind.startswith("image/")}
    return {**output, "data": pictures} if pictures else None


def _read(notebook: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(notebook.read_text(encoding="utf-8"))
    return content


def _explain(notebook: Path, error: Any) -> str:
    source = "\n".join(f"    {line}" for line in error.source.strip().splitlines())
    return (
        f"{notebook.name} failed in cell [{error.exec_count}]:\n{source}\n"
        f"{error.ename}: {error.evalue}"
    )
