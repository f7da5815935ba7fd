"""From a folder of images to a page that explains them, and an embedding to reuse."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from analysis import paths
from analysis.book.dataset_report.advice import EMBEDDING
from analysis.book.dataset_report.page import single_page
from analysis.book.dataset_report.study import refuse_unusable, write_broken
from analysis.book.execution import NotebookError, run_notebook
from analysis.book.places import one_at_a_time, remove_leftovers
from analysis.book.sources import find_sources
from analysis.chapters import slug, split_network
from analysis.data import load_dataset
from analysis.data.readers import absolute_name, left_out_by_reason, own_path

__all__ = ["NOTEBOOK", "Report", "report_dataset"]

_LOG = logging.getLogger(__name__)

NOTEBOOK = "05-your-dataset"
PAGE = "report.html"
_UNFINISHED = ".unfinished-"
_TELLING = ("ValueError", "FileNotFoundError", "BrokenImageError", "OSError", "MemoryError")


class Report(NamedTuple):
    """Files of a report, the page and the folder of the fitted embedding; and what it lacks.

    ``left_out`` says how many images for which reason, a line each.
    """

    page: Path
    embedding: Path
    left_out: tuple[str, ...]


def report_dataset(
    dataset: str,
    network: str = "minivgg16@bundled",
    *,
    weights: str | None = None,
    crops: str = "ten",
    seed: int = 0,
    out: Path | str | None = None,
    progress: bool = True,
) -> Report:
    """Write a report on a dataset: one page of HTML, and the recommended embedding.

    Parameters
    ----------
    dataset
        Any name of :func:`analysis.load_dataset`, such as ``folder:/path/to/images`` or
        ``table:/path/to/labels.csv``.
    network, weights
        ``NAME`` or ``NAME@WEIGHTS``; ``weights`` replaces what stands after the ``@``.
    crops, seed
        As in a study.
    out
        Folder of the report; by default ``report-DATASET-NETWORK`` in the current one. What a
        report consists of is replaced there, at the end; anything else is left alone.
    progress
        Show bars: reading, extraction, and the cells of the report.

    Returns
    -------
    Report
        ``out/report.html``, ``out/embedding``, and what was left out.

    Raises
    ------
    ValueError
        For unknown names, and datasets with fewer than two classes or two images in a class.
    FileNotFoundError
        If the images or the weights are not there.
    OSError
        If the folder cannot be written.
    NotebookError
        If a cell of the report fails for another reason.
    """
    from analysis.features import extract  # loads PyTorch
    from analysis.networks import load_backbone

    name, named = split_network(network)
    dataset, spec = absolute_name(dataset), f"{name}@{_absolute_weights(weights or named)}"
    folder = Path(out) if out is not None else Path(f"report-{_short(dataset)}-{slug(name)}")
    folder = folder.expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; name another folder for the report")
    net = load_backbone(name, weights=split_network(spec)[1], seed=seed, progress=progress)
    refuse_unusable(load_dataset(dataset))  # before every image is read
    data = load_dataset(dataset, on_error="skip", progress=progress)
    refuse_unusable(data)
    with _workplace(folder, progress=progress) as work:
        extract(data, net, crops=crops, progress=progress)
        parameters = {
            "title": f"Report on {_short(dataset)}",
            "datasets": [dataset],
            "networks": [spec],
            "crops": crops,
            "seed": seed,
            "reference_images": [dataset],
            "results": "tables",
            "broken": str(write_broken(data, work / "broken.json")),
        }
        executed = _executed(parameters, work, progress=progress)
        page = single_page(executed / f"{NOTEBOOK}.ipynb", title=f"{data.name}, seen by {net.name}")
        (work / PAGE).write_text(page, encoding="utf-8")
        made = _publish(executed / "tables" / EMBEDDING, work / PAGE, folder)
        return Report(*made, tuple(left_out_by_reason(data)))


@contextmanager
def _workplace(folder: Path, *, progress: bool) -> Iterator[Path]:
    """Make a folder inside the report's for what is unfinished, and remove it in the end.

    Reports into one folder wait for each other, so that no page stands beside the embedding of
    another report; what one that was killed left behind is removed.
    """
    lock = (
        paths.home()
        / "locks"
        / hashlib.sha256(str(folder).encode(errors="surrogateescape")).hexdigest()[:16]
    )
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    with one_at_a_time(lock, folder, progress=progress):
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder, _UNFINISHED)
        work = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder))
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
            for parent in made:
                _remove_if_empty(parent)


def _executed(parameters: dict[str, Any], work: Path, *, progress: bool) -> Path:
    """Run the notebook; what it refuses is told without the cell that did."""
    notebook = find_sources().root / "notebooks" / f"{NOTEBOOK}.ipynb"
    try:
        return run_notebook(notebook, parameters, key="report-0-0", cache=work, progress=progress)
    except NotebookError as error:
        cause = error.__cause__
        if getattr(cause, "ename", None) in _TELLING:
            raise ValueError(cause.evalue) from error  # type: ignore[union-attr]
        raise


def _publish(embedding: Path, page: Path, folder: Path) -> tuple[Path, Path]:
    """Move what is finished to its place, file by file, the page last."""
    target = folder / EMBEDDING
    files = sorted(embedding.iterdir(), reverse=True)  # the numbers, then what describes them
    target.mkdir(exist_ok=True)
    for file in files:
        file.replace(target / file.name)
    return page.replace(folder / PAGE), target


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        _LOG.debug("%s is not empty and stays", folder)


def _absolute_weights(weights: str) -> str:
    file = Path(weights).expanduser()
    return file.absolute().as_posix() if file.is_file() else weights


def _short(dataset: str) -> str:
    own = own_path(dataset)
    return slug(dataset if own is None else own.path.stem if own.kind == "table" else own.path.name)
