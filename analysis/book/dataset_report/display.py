"""Tables and sentences with names that anybody may have chosen, as safe HTML."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.chapters import SafeHtml

__all__ = ["code_block", "paragraph", "readable", "warning_boxes"]

_MOST = 20  # rows


def readable(
    table: pd.DataFrame,
    formats: Mapping[str, Any] | None = None,
    *,
    most: int = _MOST,
    none: str = "None.",
) -> SafeHtml:
    """Table as HTML in which every text is shown as it is.

    Parameters
    ----------
    table
        Column names are shown with spaces for underscores, and not at all if they are blank.
    formats
        Column → how to write its values: a format such as ``"{:.2f}"``, or a function.
    most
        Rows to show; the rest are counted.
    none
        What to say where there are no rows.

    Returns
    -------
    SafeHtml
    """
    if table.empty:
        return SafeHtml(f"<p>{html.escape(none)}</p>")
    shown = table.head(most)
    given = {column: how for column, how in (formats or {}).items() if column in shown}
    booleans = {name: _yes for name in shown.columns if shown[name].dtype == bool}
    styled = shown.style.hide(axis="index").format(
        booleans | given, escape="html", na_rep="–", thousands=",", precision=3
    )
    styled = styled.relabel_index([str(name).replace("_", " ") for name in shown], axis="columns")
    if not any(str(name).strip() for name in shown):
        styled = styled.hide(axis="columns")
    left = len(table) - len(shown)
    more = f"<p>… and {left:,} more rows, in the table as a file.</p>" if left else ""
    return SafeHtml(styled.set_uuid("report").to_html() + more)


def warning_boxes(sentences: Sequence[str]) -> SafeHtml:
    """Sentences that stand out; nothing where there are none."""
    boxes = (
        f'<div class="warning admonition"><p>{html.escape(said)}</p></div>' for said in sentences
    )
    return SafeHtml("".join(boxes))


def paragraph(text: str) -> SafeHtml:
    """Text that was not known when the page was written."""
    return SafeHtml(f"<p>{html.escape(text)}</p>")


def code_block(source: str) -> SafeHtml:
    """Code to copy."""
    return SafeHtml(f"<pre>{html.escape(source)}</pre>")


def _yes(value: bool) -> str:
    return "yes" if value else "no"
