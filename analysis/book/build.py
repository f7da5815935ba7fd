"""From a study file to a book of HTML pages."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import yaml
from tqdm.auto import tqdm

import analysis
from analysis.book import pages
from analysis.book.execution import (
    EXECUTION,
    check_parameters,
    environment_hash,
    execution_key,
    find_execution,
    one_at_a_time,
    read_json,
    remove_leftovers,
    run_notebooks,
)
from analysis.book.sources import BookSources, find_sources
from analysis.chapters import Study, read_study, split_network
from analysis.chapters.study import as_names, lacks, short_name
from analysis.data.readers import absolute_name

Result = TypeVar("Result")

logger = logging.getLogger(__name__)

_TABLES = "tables"
_PARTIAL = ".partial-"


class BookError(RuntimeError):
    """The pages could not be built; the message shows Sphinx's warnings."""


def build_book(
    study: Path | str = "bundled",
    *,
    datasets: Sequence[str] | str | None = None,
    networks: Sequence[str] | str | None = None,
    weights: str | None = None,
    output: Path | str = "_build",
    progress: bool = True,
) -> Path:
    """Execute the notebooks for a study and build the book.

    A notebook is executed again only when its result could differ, and pages are built again only
    when a source of theirs differs. A book that was there is replaced once the new one is whole.
    A build that was stopped, or killed, is taken up by the next one; two builds into one folder
    wait for each other.

    Parameters
    ----------
    study
        Path of a study file, or the name of one that comes along (``"bundled"``).
    datasets, networks
        Replace those of the study file: a list, or one string with commas. A study of other
        datasets is called by their names; all of their images are taken, in ten crops, and units
        are shown with those that they answer to among them.
    weights
        Replaces the weights of all networks, whether from the study file or from ``networks``.
    output
        Folder for everything that is built.
    progress
        Whether to show what is being done, and about how long it will take.

    Returns
    -------
    Path
        ``output/html/index.html``.

    Raises
    ------
    ValueError
        If a dataset, network or parameter is unknown. No notebook has run then.
    FileNotFoundError
        If the study file, a dataset or a weights file is missing. No notebook has run then.
    NotebookError
        If a notebook fails.
    BookError
        If building the pages fails or warns, or if images or weights changed meanwhile.
    OSError
        If the disk is full. What was finished is kept, also by this error and the others.
    """
    sources, output = find_sources(), Path(output).absolute()
    parameters = study_parameters(
        sources.study(study), datasets=datasets, networks=networks, weights=weights
    )
    notebooks = sources.notebooks()
    for notebook in notebooks:
        check_parameters(notebook, parameters)
    stems = [path.stem for path in notebooks]
    lacking, inputs = _aside(_look, parameters, stems, progress)
    environment = environment_hash(Path(analysis.__file__).parent, sources.rates)
    hashes = [environment, *inputs.values()]
    cache = output / "executed"
    keys = {
        notebook: execution_key(notebook, parameters, hashes)
        for notebook in notebooks
        if not lacking[notebook.stem]
    }
    with one_at_a_time(output / ".lock", output, progress=progress):
        remove_leftovers(output, _PARTIAL)
        remove_leftovers(cache, _PARTIAL)
        before = [find_execution(cache, key) for key in keys.values()]
        executed = run_notebooks(keys, parameters, cache=cache, progress=progress)
        generated, inputs_after = _aside(_describe, parameters)
        _refuse_changes(inputs, inputs_after, [one for one in executed if one not in before])
        assembled = output / "book-sources"
        _assemble(assembled, sources, generated, parameters, executed)
        for notebook in notebooks:
            if lacking[notebook.stem]:
                _write_placeholder(notebook, lacking[notebook.stem], assembled)
        return _build_pages(assembled, sources, output, progress=progress)


def _aside(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function in a process of its own, so that PyTorch is not held while notebooks run."""
    if sys.platform != "linux" or "torch" in sys.modules:  # a fork of its threads would be lame
        return function(*arguments)
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        return pool.submit(function, *arguments).result()


def _look(
    parameters: dict[str, Any], chapters: Sequence[str], progress: bool
) -> tuple[dict[str, str], dict[str, str]]:
    """Say what each chapter lacks, and give the hashes of images and weights."""
    study = Study(**parameters, progress=progress)
    return {chapter: lacks(study, chapter) for chapter in chapters}, _inputs(study)


def _describe(parameters: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Write the pages on what a study looked at, and hash its images and weights again."""
    study = Study(**parameters, progress=False)
    generated = {
        "_study.md": pages.study_facts(study),
        "datasets.md": pages.datasets_page(study),
        "networks.md": pages.networks_page(study),
    }
    return generated, _inputs(study)


def _inputs(study: Study) -> dict[str, str]:
    """Hashes of the images and weights that a study looks at, by name."""
    names = (*study.datasets, *study.reference_images)
    return {
        **{f"images of {name}": study.data(name).fingerprint for name in names},
        **{f"weights of {spec}": study.backbone(spec).weights_hash for spec in study.networks},
    }


def _refuse_changes(
    before: Mapping[str, str], after: Mapping[str, str], executions: Sequence[Path]
) -> None:
    """Remove executions that may have looked at other images or weights than they are named for."""
    changed = [name for name in before if after.get(name) != before[name]]
    if changed:
        for execution in executions:
            shutil.rmtree(execution)
        raise BookError(
            f"while the notebooks ran, these changed: {'; '.join(changed)}. Nothing that was "
            "computed from them is kept; build the book again when they no longer change"
        )


def study_parameters(
    study_file: Path,
    *,
    datasets: Sequence[str] | str | None = None,
    networks: Sequence[str] | str | None = None,
    weights: str | None = None,
) -> dict[str, Any]:
    """Parameters for the notebooks: those of the study file, with replacements.

    Relative paths of image folders and weights files are made absolute, because notebooks run in
    another folder.

    Parameters
    ----------
    study_file, datasets, networks, weights
        As for :func:`build_book`.

    Returns
    -------
    dict
        By name, as papermill injects them; lists are lists of strings.
    """
    parameters = read_study(study_file, datasets=datasets, networks=networks)
    if datasets is not None:  # the rest of the file was chosen for its own datasets
        for key in ("crops", "max_images"):
            parameters.pop(key, None)
        own = [absolute_name(name) for name in as_names("datasets", datasets)]
        parameters["title"] = ", ".join(map(short_name, own))
        parameters["reference_images"] = own
    for key in ("datasets", "networks", "reference_images"):
        if key == "reference_images" and not parameters.get(key):
            parameters.pop(key, None)
        else:
            parameters[key] = as_names(key, parameters.get(key, []))
    if weights is not None:
        named = (split_network(spec)[0] for spec in parameters["networks"])
        parameters["networks"] = [f"{name}@{weights}" for name in named]
    for key in parameters.keys() & {"datasets", "reference_images"}:
        parameters[key] = [absolute_name(name) for name in parameters[key]]
    parameters["networks"] = [_absolute_weights(spec) for spec in parameters["networks"]]
    return parameters | {"results": _TABLES}


def _absolute_weights(spec: str) -> str:
    name, weights = split_network(spec)
    file = Path(weights).expanduser()
    return f"{name}@{file.absolute().as_posix() if file.is_file() else weights}"


def _assemble(
    folder: Path,
    sources: BookSources,
    described: Mapping[str, str],
    parameters: Mapping[str, Any],
    executed: Sequence[Path],
) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    try:
        shutil.copytree(sources.prose, folder, ignore=shutil.ignore_patterns("studies"))
    except shutil.Error as error:  # holds what befell each file
        raise OSError(error.args[0][0][2]) from error
    generated = {
        "_findings.md": pages.findings(executed, folder),
        **described,
        "benchmarks.md": pages.benchmarks_page(sources.benchmark_results)
        + f"\n\n{pages.minutes_by_notebook(executed)}",
        "faults.md": pages.faults_page(sources.withstood),
        "study.yml": yaml.safe_dump(
            {key: value for key, value in parameters.items() if key != "results"},
            sort_keys=False,
            allow_unicode=True,
        ),
    }
    for name, text in generated.items():
        (folder / name).write_text(text + "\n", encoding="utf-8")
    for execution in executed:
        files = (path for path in execution.rglob("*") if path.is_file())
        for file in sorted(path for path in files if path.name != EXECUTION):
            target = folder / file.relative_to(execution)
            if target.exists():
                raise BookError(
                    f"{execution.name} wrote {file.relative_to(execution)}, which another page "
                    "has as well; start the names of a notebook's tables with its number"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)


def _write_placeholder(notebook: Path, reason: str, folder: Path) -> None:
    """Write a page of one paragraph in the place of a chapter that the study cannot fill."""
    content = read_json(notebook)
    heading = "".join(content["cells"][0]["source"]).splitlines()[0]
    cell = {"cell_type": "markdown", "id": "lacking", "metadata": {}}
    content["cells"] = [{**cell, "source": f"{heading}\n\n{reason}"}]
    (folder / notebook.name).write_text(json.dumps(content), encoding="utf-8")


def _build_pages(assembled: Path, sources: BookSources, output: Path, *, progress: bool) -> Path:
    html, stamp = output / "html", output / "html.built-from"
    built_from = _hash_of(assembled, sources.config)
    index = html / "index.html"
    if index.is_file() and stamp.is_file() and stamp.read_text(encoding="utf-8") == built_from:
        logger.info("%s is up to date", html)
        return index
    with tempfile.TemporaryDirectory(prefix=_PARTIAL, dir=output) as partial:
        _run_jupyter_book(assembled, sources, Path(partial), progress=progress)
        stamp.unlink(missing_ok=True)
        if html.exists():
            html.rename(Path(partial) / "old")
        (Path(partial) / "_build" / "html").rename(html)
    stamp.write_text(built_from, encoding="utf-8")
    return index


def _hash_of(assembled: Path, config: Path) -> str:
    digest = hashlib.sha256(metadata.version("jupyter-book").encode())
    for file in (config, *sorted(path for path in assembled.rglob("*") if path.is_file())):
        digest.update(
            file.name.encode() if file == config else str(file.relative_to(assembled)).encode()
        )
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _run_jupyter_book(assembled: Path, sources: BookSources, into: Path, *, progress: bool) -> None:
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build"]
    command += [str(assembled), "--config", str(sources.config), "--path-output", str(into)]
    command += ["--all", "-W", "-n", "--keep-going"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None  # PIPE was asked for
        try:
            lines = list(_shown(process.stdout, len(sources.pages()), progress))
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        if any(os.strerror(errno.ENOSPC) in line for line in lines):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(into.parent))
        told = [line for line in lines if "WARNING" in line or "ERROR" in line]
        raise BookError(
            "jupyter-book could not build the pages without warnings:\n"
            + "\n".join(told or lines[-15:])
        )


def _shown(output: Iterator[str], n_pages: int, progress: bool) -> Iterator[str]:
    """Pass lines on, without colours, while a bar counts the pages that were written."""
    with tqdm(desc="pages", total=n_pages, unit="page", disable=not progress) as bar:
        for line in output:
            plain = re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip()
            if plain.startswith("writing output... ["):
                bar.update()
            yield plain
