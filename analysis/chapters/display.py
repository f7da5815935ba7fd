"""Tables of several networks, narrow enough for a page."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

__all__ = ["SafeHtml", "sectioned"]


_WORDS = {True: "yes", False: "no"}


@dataclass(frozen=True)
class SafeHtml:
    """HTML whose texts are escaped already; Jupyter shows it as the last line of a cell."""

    html: str

    def _repr_html_(self) -> str:
        return self.html


def sectioned(
    table: pd.DataFrame, columns: Mapping[str, str] | None = None, *, by: str = "network"
) -> SafeHtml:
    """Lay a table out in sections, each under a row that bears its name.

    Parameters
    ----------
    table
        Rows of a section need not be neighbours; sections come in order of appearance.
    columns
        Heading → what to write below it: a format of the row's values, such as
        ``"{mean:.2f} ± {error:.2f}"``. Values that are missing are written as "–", truths as "yes"
        and "no". By default all other columns as they are.
    by
        Column that names the section.

    Returns
    -------
    SafeHtml

    Raises
    ------
    KeyError
        If a format names a column that the table lacks.
    """
    headings = [name for name in table if name != by] if columns is None else [*columns]
    body = []
    for name, rows in table.groupby(by, sort=False):
        title = f'<th class="section" colspan="{len(headings)}">{_text(name)}</th>'
        body.append(f"<tr>{title}</tr>")
        for values in rows.to_dict("records"):
            row = {key: _shown(value) for key, value in values.items()}
            if columns is None:
                written = [row[heading] for heading in headings]
            else:
                written = [each.format_map(row) for each in columns.values()]
            body.append(_row("td", written))
    head = _row("th", headings)
    return SafeHtml(
        f'<table class="sectioned"><thead>{head}</thead><tbody>{"".join(body)}</tbody></table>'
    )


def _row(cell: str, texts: Iterable[object]) -> str:
    return "<tr>" + "".join(f"<{cell}>{_text(text)}</{cell}>" for text in texts) + "</tr>"


def _text(value: object) -> str:
    """Escaped text that may be broken after an underscore, an @ or a slash."""
    missing = re.sub(r"(?<=± )nan\b", "–", str(value))
    return re.sub(r"([_@/])", r"\1<wbr>", html.escape(missing))


class _Missing:
    """What is written where a number is missing, in whatever format."""

    def __format__(self, _: str) -> str:
        return "–"

    __str__ = __repr__ = lambda self: "–"


def _shown(value: object) -> object:
    if isinstance(value, bool):
        return _WORDS[value]
    # A class may be called "nan": only numbers are missing.
    return _Missing() if value is None or value != value else value
