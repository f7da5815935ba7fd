"""Tables of images: files anywhere, with one label each."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from analysis.data.listing import is_there

__all__ = ["Table", "read_table"]

_COLUMNS = ("path", "label")
_MISSING = ("", "nan", "NaN", "NaT", "<NA>")  # as pandas and NumPy write what is missing


class Table(NamedTuple):
    """Files as their paths are spelled (slashes for backslashes), and a label for each."""

    files: list[Path]
    labels: list[str]


def read_table(file: Path, *, need_files: bool = True) -> Table:
    """Read which files have which label.

    Parameters
    ----------
    file : Path
        CSV in UTF-8 with a header, whose values are separated by commas, semicolons or tabs. The
        column ``path`` is relative to the table's folder, or absolute; ``label`` is any text. Other
        columns and empty lines are ignored.
    need_files : bool
        Refuse a table that lists files that are not there.

    Returns
    -------
    Table
        Full paths.

    Raises
    ------
    ValueError
        If it is no such table, has no rows, or a row has no path or no label. The message names
        the row, counted from 1 without the header.
    FileNotFoundError
        If the table is not there, or files that it lists.
    """
    if not is_there(file):
        raise FileNotFoundError(f"no such table: {file} (from {Path.cwd()})")
    try:
        rows = _rows(file.read_text("utf-8-sig"))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"expected {file} to be CSV in UTF-8, but {error}") from error
    names = [name.strip().lower() for name in rows[0]] if rows else []
    if wrong := [name for name in _COLUMNS if names.count(name) != 1]:
        raise ValueError(
            f"expected the columns {','.join(_COLUMNS)} in {file}, each once, but of {wrong[0]!r} "
            f"there are {names.count(wrong[0])}; its header is {', '.join(map(repr, names))}"
        )
    if len(rows) == 1:
        raise ValueError(f"expected rows below the header of {file}, but there are none")
    files, labels = [], []
    for number, row in enumerate(rows[1:], start=1):
        path, label = (
            row[at].strip() if (at := names.index(name)) < len(row) else "" for name in _COLUMNS
        )
        if not path or label in _MISSING:
            what = "label" if path else "path"
            raise ValueError(f"row {number} of {file} has no {what}: {', '.join(map(repr, row))}")
        files.append(_found(file.parent.absolute(), path))
        labels.append(label)
    absent = [str(path) for path in files if not is_there(path)]
    if absent and (need_files or len(absent) == len(files)):
        raise FileNotFoundError(
            f"{len(absent)} of {len(files)} files that {file} lists are not there, the first being "
            f"{absent[0]}; paths are relative to the table's folder"
        )
    return Table(files, labels)


def _rows(text: str) -> list[list[str]]:
    """Rows of a table, the header first; the separator is what the header has most of."""
    counts = Counter(text.lstrip().partition("\n")[0])
    separator = max(",;\t", key=lambda character: counts[character])
    reader = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True, strict=True)
    return [row for row in reader if any(value.strip() for value in row)]


def _found(folder: Path, path: str) -> Path:
    """Place of a file; backslashes are those of Windows where no file is spelled with them."""
    place = folder / path
    return place if "\\" not in path or is_there(place) else folder / path.replace("\\", "/")
