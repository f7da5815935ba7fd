"""Tables behind figures, as files."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Literal

import pandas as pd

from analysis import paths
from analysis.paths import written_whole

__all__ = ["save_table", "slug", "write_csv"]


_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def save_table(table: pd.DataFrame, name: str, *, results: str, title: str) -> Path:
    """Write the table behind a figure as CSV, whole or not at all.

    Parameters
    ----------
    table
        Tidy table.
    name
        File name without ending.
    results, title
        Of the study, as for :class:`analysis.chapters.Study`.

    Returns
    -------
    Path
        The file.
    """
    folder = Path(results) if results else paths.results_root() / slug(title)
    return write_csv(table, folder / f"{name}.csv")


def write_csv(table: pd.DataFrame, path: Path) -> Path:
    """Write a table as CSV, whole or not at all, replacing a file of that name.

    Texts that a spreadsheet would take for a formula (they begin with =, +, -, @, a tab or a
    return, and are no number) get an apostrophe in front, as spreadsheets write texts themselves:
    a class called ``=cmd|...`` could otherwise start a program.
    """
    texts = [str(name) for name in table if not pd.api.types.is_numeric_dtype(table[name].dtype)]
    if texts:
        table = table.assign(**{name: table[name].map(_no_formula) for name in texts})
    returns = any("\r" in str(value) for name in texts for value in table[name])
    # Else a return in a name, which is not quoted by itself, would begin another row.
    quoting: Literal[0, 1] = csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL
    with written_whole(path) as partial:
        table.to_csv(partial, index=False, float_format="%.6g", quoting=quoting)
    return path


def _no_formula(value: object) -> object:
    if not isinstance(value, str) or not value.startswith(_FORMULA) or _is_number(value):
        return value
    return f"'{value}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def slug(title: str) -> str:
    """File-name form of a title: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "study"
