"""Running a notebook for a study: checked beforehand, whole or not at all, and only when needed.

Notebooks run in threads that Ctrl-C can end, their kernels with them, in folders that one process
at a time builds in and that are cleared of what a dead one left. What readers get is an executed
notebook without what its widgets and errors leave behind.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import typer
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

import analysis
from analysis.book.kernels import Kernels, in_stoppable_threads
from analysis.statistics.blocks import processors

_WIDGET = "application/vnd.jupyter.widget-view+json"


def read_json(notebook: Path) -> dict[str, Any]:
    """Content of a notebook's file, as it is."""
    content: dict[str, Any] = json.loads(notebook.read_text(encoding="utf-8"))
    return content


def make_publishable(executed: Path) -> None:
    """Take out what readers have no use for: paths and times of this run, and dead widgets.

    What is left is the same, byte for byte, in every run that shows the same.
    """
    content = read_json(executed)
    for key in ("papermill", "widgets"):
        content["metadata"].pop(key, None)
    content["cells"] = [cell for cell in content["cells"] if cell.get("id") != _CLOSURE]
    for cell in content["cells"]:
        for key in ("papermill", "execution"):
            cell["metadata"].pop(key, None)
        if "injected-parameters" in cell["metadata"].get("tags", ()):
            cell["id"] = "injected-parameters"  # papermill draws one
        if cell["cell_type"] == "code":
            outputs = [out for out in map(_without_widget, cell["outputs"]) if out]
            cell["outputs"] = [_with_stable_ids(output) for output in outputs]
    executed.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _without_widget(output: dict[str, Any]) -> dict[str, Any] | None:
    """Leave the picture that stands in for a widget; nothing where there is none."""
    data = output.get("data", {})
    if _WIDGET not in data:
        return output
    pictures = {kind: content for kind, content in data.items() if kind.startswith("image/")}
    return {**output, "data": pictures} if pictures else None


def _with_stable_ids(output: dict[str, Any]) -> dict[str, Any]:
    """Name styled tables by what they show, and objects without their place in memory.

    pandas draws the names of styled tables anew in every run.
    """
    data = {kind: _joined(content) for kind, content in output.get("data", {}).items()}
    if "text/plain" in data:
        data["text/plain"] = re.sub(r" at 0x[0-9a-fA-F]+>", ">", data["text/plain"])
    for name in re.findall(r'<table id="T_([0-9a-f]{5})"', data.get("text/html", "")):
        shown = data["text/html"].replace(f"T_{name}", "T_")
        digest = hashlib.sha256(shown.encode()).hexdigest()[:8]
        data["text/html"] = data["text/html"].replace(f"T_{name}", f"T_{digest}")
    return {**output, "data": data} if data else output


def _joined(content: Any) -> Any:
    """Lines of a text as one, as nbformat allows as well; other content as it is."""
    if isinstance(content, list) and all(isinstance(line, str) for line in content):
        return "".join(content)
    return content


_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_DATA = ("toml", "csv", "json")
EXECUTION = "execution.json"
_CLOSURE = "closure"
# What ran a notebook: all modules that are loaded when it ends.
_CLOSURE_SOURCE = f"""import json, pathlib, sys
loaded = [name for name in sys.modules if name.partition(".")[0] == "analysis"]
pathlib.Path("{EXECUTION}").write_text(json.dumps(loaded))
"""
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


def environment_hash(package: Path, *others: Path) -> str:
    """Hash of what every notebook depends on, apart from code: data files and versions.

    It covers the package's cards and tables, Python and the versions of the package's dependencies.

    Parameters
    ----------
    package
        Folder of the ``analysis`` package.
    *others
        Files outside it that notebooks read; they may be missing.
    """
    digest = hashlib.sha256(platform.python_version().encode())
    for file in sorted(path for ending in _DATA for path in package.rglob(f"*.{ending}")):
        if "_book" not in file.parts:
            digest.update(file.relative_to(package).as_posix().encode())
            digest.update(file.read_bytes())
    for file in filter(Path.is_file, others):
        digest.update(file.read_bytes())
    for requirement in sorted(metadata.requires("layerbook") or ()):
        match = re.match(r"[A-Za-z0-9._-]+", requirement)
        if match and "extra ==" not in requirement:
            digest.update(f"{match[0]}=={metadata.version(match[0])}".encode())
    return digest.hexdigest()


def module_hashes() -> dict[str, str]:
    """Hash (hex) of the source of every module of the package, by its dotted name."""
    root = Path(analysis.__file__).parents[1]
    return {
        ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): (
            hashlib.sha256(file.read_bytes()).hexdigest()
        )
        for file in Path(analysis.__file__).parent.rglob("*.py")
    }


def find_execution(cache: Path, key: str) -> Path | None:
    """Folder of an execution all of whose modules are as they were; None where there is none."""
    now = module_hashes()
    for folder in sorted(cache.glob(f"{key}-*")):
        then = read_json(folder / EXECUTION)["modules"]
        if all(now.get(name) == digest for name, digest in then.items()):
            return folder
    return None


def execution_key(notebook: Path, parameters: Mapping[str, Any], inputs: Sequence[str]) -> str:
    """Name of an execution, the same when its result would be, but for the package's code.

    Which modules that is made of is known after a run (:func:`find_execution`).

    Parameters
    ----------
    notebook
        The notebook; only its cells count, not its metadata.
    parameters
        What papermill injects.
    inputs
        Hashes of what else the result depends on: environment, datasets, weights.

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
    expected = {n: _expected_seconds(n, cache, key) for n, key in keys.items()}
    clock = _Clock(expected, shown=progress)
    first, *others = keys
    kernels = Kernels(forked=sum(expected[notebook] > 0 for notebook in others) >= _WORTH_A_FORK)
    others.sort(key=lambda notebook: -expected[notebook])  # a long one last would run alone
    with _absolute_locations():
        done = [run_notebook(first, parameters, key=keys[first], cache=cache, progress=progress)]
        clock.tell(done[0])
        tasks = [
            partial(_execute, notebook, parameters, keys[notebook], cache, False, kernels)
            for notebook in others
        ]
        with _single_thread():
            done += in_stoppable_threads(tasks, kernels, at_once=processors(), each_done=clock.tell)
    folders = dict(zip([first, *others], done, strict=True))
    clock.tell_all([folders[notebook] for notebook in keys])
    return [folders[notebook] for notebook in keys]


_WORTH_A_FORK = 3  # notebooks; for fewer, the process that kernels are forked from costs as much


class _Clock:
    """Tells what is done, about how long the rest will take, and at the end what each took."""

    def __init__(self, expected: Mapping[Path, float], *, shown: bool) -> None:
        self._left = {notebook.stem: seconds for notebook, seconds in expected.items()}
        self._n, self._shown = len(expected), shown

    def tell(self, done: Path) -> None:
        """Write a line about an execution that is done."""
        name = next(path.stem for path in done.glob("*.ipynb"))
        self._left.pop(name, None)
        left = sum(self._left.values()) / processors()
        n_done = self._n - len(self._left)
        self._say(f"[{n_done}/{self._n}] {name}, about {_minutes(left)} left")

    def tell_all(self, done: Sequence[Path]) -> None:
        """Write the table of minutes."""
        for folder in done:
            name = next(path.stem for path in folder.glob("*.ipynb"))
            self._say(f"{_minutes(read_json(folder / EXECUTION)['seconds']):>8}  {name}")

    def _say(self, line: str) -> None:
        if self._shown:
            typer.echo(line, err=True)


def _expected_seconds(notebook: Path, cache: Path, key: str) -> float:
    """How long an execution took; for a new one what the notebook's metadata say, or a minute."""
    if find_execution(cache, key) is not None:
        return 0.0
    if earlier := [*cache.glob(f"{key.rpartition('-')[0]}-*/{EXECUTION}")]:
        return float(read_json(earlier[0])["seconds"])
    about: dict[str, float] = read_json(notebook)["metadata"].get("layerbook", {})
    return 60 * about.get("minutes", 1.0)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min"


def run_notebook(
    notebook: Path,
    parameters: Mapping[str, Any],
    *,
    key: str,
    cache: Path,
    progress: bool = True,
) -> Path:
    """Execute a notebook into a folder of its own, unless one is there whose result would be equal.

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
        The folder ``cache/key-MODULES``, with the executed notebook and what it wrote.

    Raises
    ------
    NotebookError
        If a cell raised, or the notebook's kernel died. Nothing is left then.
    KeyboardInterrupt
        If the user stopped the program. Nothing is left then.
    """
    kernels = Kernels()
    task = partial(_execute, notebook, parameters, key, cache, progress, kernels)
    return in_stoppable_threads([task], kernels, at_once=1, each_done=lambda folder: None)[0]


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

    found = find_execution(cache, key)
    if found is not None or kernels.ended:
        return found or cache / key
    cache.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".partial-", dir=cache))
    executed = folder / notebook.name
    begun, hashes = time.monotonic(), module_hashes()
    try:
        with _absolute_locations():
            papermill.execute_notebook(
                str(_with_closure(notebook, folder)),
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
        (folder / f".{notebook.name}").unlink()
        make_publishable(executed)
        loaded = sorted(set(read_json(folder / EXECUTION)) & set(hashes))
        modules = {name: hashes[name] for name in loaded}
        described = {"modules": modules, "seconds": round(time.monotonic() - begun, 1)}
        (folder / EXECUTION).write_text(json.dumps(described, indent=1), encoding="utf-8")
        older = [*cache.glob(f"{key.rpartition('-')[0]}-*")]
        done = cache / f"{key}-{_hash(modules)[:8]}"
        folder.rename(done)
        for execution in set(older) - {done}:
            shutil.rmtree(execution)
    except PapermillExecutionError as error:
        raise NotebookError(_explain(notebook, error)) from error
    except DeadKernelError as error:
        raise NotebookError(
            f"{notebook.name}: the process that ran it was killed, as the system does when memory "
            "runs out. Other notebooks that were finished are kept; rerun the command with more "
            "memory, or with fewer datasets or networks"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return done


def _with_closure(notebook: Path, folder: Path) -> Path:
    """Copy a notebook, with a last cell that writes which modules are loaded."""
    content = read_json(notebook)
    content["cells"].append(
        {
            "cell_type": "code",
            "execution_count": None,
            "id": _CLOSURE,
            "metadata": {},
            "outputs": [],
            "source": _CLOSURE_SOURCE,
        }
    )
    copy = folder / f".{notebook.name}"
    copy.write_text(json.dumps(content), encoding="utf-8")
    return copy


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


_LOG = logging.getLogger(__name__)


@contextmanager
def one_at_a_time(lock: Path, folder: Path, *, progress: bool = True) -> Iterator[None]:
    """Wait until no other process builds into a folder, then keep others waiting.

    Parameters
    ----------
    lock
        File that stands for the folder; the system frees it when a process dies.
    folder
        What to call it, should it be taken.
    progress
        Whether to say that it is taken.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        if progress:
            tqdm.write(f"Another process builds into {folder}; waiting until it has finished.")
        held.acquire()
    try:
        yield
    finally:
        held.release()


def remove_leftovers(folder: Path, prefix: str) -> None:
    """Remove sub-folders of unfinished work, while their lock is held: their process is dead."""
    for leftover in folder.glob(f"{prefix}*"):
        _LOG.info("removing %s, left by a process that was killed", leftover)
        shutil.rmtree(leftover, ignore_errors=True)
