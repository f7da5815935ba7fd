"""An executed notebook as one HTML file that loads nothing from anywhere."""

from __future__ import annotations

import html
import json
import re
import tempfile
from base64 import b64encode
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any

from analysis.book.sources import find_sources

__all__ = ["single_page"]

_CITED = re.compile(r"\{cite:([pt])\}`([^`]+)`")
_LINK = re.compile(r"\[([^]]*)\]\(([^):]+)\)")
_HERE = "https://beside.invalid/"  # stands before links that are not to leave the page
_TABLES = "tables/"
_EXTENSIONS = {"attrs_inline", "colon_fence", "deflist", "dollarmath"}

_SETTINGS: dict[str, Any] = {
    "doctitle_xform": False,
    "embed_stylesheet": False,
    "file_insertion_enabled": False,
    "image_loading": "embed",
    "initial_header_level": 1,
    "math_output": "MathML",
    "myst_disable_syntax": ["html_block", "html_inline"],
    "myst_enable_extensions": _EXTENSIONS,
    "nb_append_css": False,
    "nb_builder_name": "html",
    "nb_execution_mode": "off",
    "nb_output_stderr": "remove",
    "nb_remove_code_source": True,
    "stylesheet_path": None,
    "syntax_highlight": "none",
}


def single_page(notebook: Path, *, title: str) -> str:
    """Render an executed notebook without its code.

    The Markdown is rendered by the parser that the book uses, so that numbers are glued in and
    formulas shown (as MathML). Pictures with their texts, and the tables (CSV) that the prose
    links, are put into the page. Links to other files among the tables expect them beside the page;
    links to other pages of the book become plain text.

    Parameters
    ----------
    notebook
        Executed; the tables that it links lie beside it.
    title
        Title of the browser's window; any text.

    Returns
    -------
    str
        HTML 5. Its policy lets browsers load nothing and run no script.

    Raises
    ------
    RuntimeError
        If the Markdown cannot be rendered without warnings.
    """
    content = json.loads(notebook.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        if cell["cell_type"] == "markdown":
            cited = _CITED.sub(lambda role: _author_year(*role.groups()), "".join(cell["source"]))
            cell["source"] = _LINK.sub(_relink, cited)
    body = _to_html(json.dumps(content))
    body = re.sub(
        rf'<a class="[^"]*" href="{re.escape(_HERE)}([^"]+)"',
        lambda link: _open(html.unescape(link[1]), notebook.parent),
        body,
    )
    style = (files("analysis.book.dataset_report") / "page.css").read_text("utf-8")
    return _PAGE.format(title=html.escape(title), style=style, body=body)


def _author_year(form: str, key: str) -> str:
    """Write what a citation says where there is no list of references: an author and a year."""
    bibliography = (find_sources().prose / "references.bib").read_text(encoding="utf-8")
    entry = bibliography[bibliography.index(f"{{{key},") :]
    first, *others = re.findall(r"author = \{(.*)\},?\n", entry)[0].split(" and ")
    names = " and ".join([first.partition(",")[0], *["others"][: len(others)]])
    year = re.findall(r"year = \{?(\d+)", entry)[0]
    return f"{names} ({year})" if form == "t" else f"({names}, {year})"


def _relink(link: re.Match[str]) -> str:
    """Mark links into the folder of tables; unlink other pages of the book."""
    words, target = link.groups()
    return f"[{words}]({_HERE}{target})" if target.startswith(_TABLES) else words


def _open(target: str, folder: Path) -> str:
    """Begin a link that needs no other file, or one that lies beside the page."""
    if not target.endswith(".csv"):
        return f'<a href="{html.escape(target.removeprefix(_TABLES))}"'
    table = b64encode((folder / target).read_bytes()).decode()
    name = html.escape(Path(target).name)
    return f'<a download="{name}" href="data:text/csv;charset=utf-8;base64,{table}"'


def _to_html(notebook: str) -> str:
    from docutils.core import publish_parts  # all this takes seconds to import
    from myst_nb.docutils_ import Parser

    told = StringIO()
    with tempfile.TemporaryDirectory() as folder:
        parts = publish_parts(
            notebook,
            parser=Parser(),
            writer_name="html5",
            settings_overrides=_SETTINGS | {"nb_output_folder": folder, "warning_stream": told},
        )
    if told.getvalue().strip():
        raise RuntimeError(f"the report's text could not be rendered:\n{told.getvalue()}")
    return str(parts["html_body"])


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
