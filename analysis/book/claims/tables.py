"""Verdicts laid out for a page."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler
    from pandas.io.formats.style_render import CSSDict

__all__ = ["lacking_table", "verdict_table"]

MARKS = {"holds": "✓ holds", "fails": "✗ fails", "cannot be tested": "– cannot be tested"}
_WRAPPED: list[CSSDict] = [
    {"selector": "", "props": "table-layout: fixed; width: 100%"},
    {
        "selector": "td, th",
        "props": "text-align: left; vertical-align: top; padding: 0.35rem 0.45rem",
    },
    {"selector": "td", "props": "overflow-wrap: anywhere; white-space: normal"},
]


def verdict_table(claims: pd.DataFrame, network: str) -> Styler:
    """Claims that one network's results decide: what is claimed, by which test, what was found.

    Parameters
    ----------
    claims
        As of :func:`check_claims`.
    network
        Whose rows to show.

    Returns
    -------
    Styler
        Fits a page's width. Under each verdict, the one under shuffled labels.
    """
    rows = claims[(claims["network"] == network) & (claims["verdict"] != "cannot be tested")]
    shown = pd.DataFrame(
        {
            "claim": _stacked(rows, "claim", "section"),
            "what is claimed, and the test": _stacked(rows, "statement", "criterion"),
            "paper": _stacked(rows, "paper"),
            "here": _stacked(rows, "here", "tested_on", "why"),
            "verdict": [
                _verdict(*pair) for pair in zip(rows["verdict"], rows["shuffled"], strict=True)
            ],
        }
    )
    return _laid_out(shown, (11, 34, 13, 27, 15))


def lacking_table(claims: pd.DataFrame, network: str) -> Styler:
    """Claims that one network's results cannot decide, and what is lacking."""
    rows = claims[(claims["network"] == network) & (claims["verdict"] == "cannot be tested")]
    shown = pd.DataFrame(
        {
            "claim": _stacked(rows, "claim", "section"),
            "what is claimed": _stacked(rows, "statement"),
            "paper": _stacked(rows, "paper"),
            "cannot be tested, because": _stacked(rows, "why"),
        }
    )
    return _laid_out(shown, (12, 43, 13, 32))


def _verdict(verdict: str, shuffled: str) -> str:
    small = f"<br><small>shuffled: {shuffled}</small>" if shuffled else ""
    return f"<strong>{MARKS[verdict]}</strong>{small}"


def _stacked(rows: pd.DataFrame, first: str, *below: str) -> list[str]:
    """Text of one column, and small under it that of the others."""
    cells = []
    for row in rows[[first, *below]].to_dict("records"):
        small = [f"<br><small>{escape(row[name])}</small>" for name in below if row[name]]
        cells.append(escape(row[first]) + "".join(small))
    return cells


def _laid_out(shown: pd.DataFrame, widths: tuple[int, ...]) -> Styler:
    columns: list[CSSDict] = [
        {"selector": f"th.col{number}", "props": f"width: {width}%"}
        for number, width in enumerate(widths)
    ]
    return shown.style.hide().set_table_styles([*_WRAPPED, *columns])
