"""One page that loads nothing: what becomes of numbers, pictures, tables, links and odd names."""

from __future__ import annotations

import re
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from analysis.book.report import paragraph, readable, single_page, warning_boxes

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJ"
    "RU5ErkJggg=="
)
ODD = (
    '<script>alert(1)</script> "quote\'s" $x_1$ two\nlines '
    "\N{GREEK SMALL LETTER ALPHA}&amp; {{x}} `"
)


class Elements(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, Any]]:
        return [attributes for name, attributes in self.tags if name == tag]


def assert_loads_nothing(page: str) -> None:
    """Nothing that a browser fetches or runs."""
    found = Elements(page)
    assert not {tag for tag, _ in found.tags} & {"script", "link", "iframe", "object", "base"}
    for tag, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert "srcset" not in attributes
        if tag != "a":
            assert "href" not in attributes
        assert attributes.get("src", "data:").startswith("data:")
    assert not re.search(r"url\(|@import", page)
    policy = {meta.get("http-equiv"): meta.get("content") for meta in found.all("meta")}
    assert policy["Content-Security-Policy"].startswith("default-src 'none'")


def shown(data: dict[str, str], **metadata: Any) -> Any:
    return new_output("display_data", data, metadata=metadata)


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    glued = shown(
        {"application/papermill.record/text/plain": "1234.5"},
        scrapbook={"name": "n", "mime_prefix": "application/papermill.record/"},
    )
    table = readable(pd.DataFrame({"class_name": [ODD], "share": [0.25]}), {"share": "{:.0%}"})
    cells = [
        new_markdown_cell("# What is this?\n\n$D_{KS}$ of {cite:t}`garciagasulla2018behavior`"),
        new_code_cell("secret = 1", metadata={"tags": ["hide-input"]}, execution_count=1),
        new_code_cell(
            "plot()",
            metadata={"mystnb": {"image": {"alt": 'A "pixel" & more'}}},
            outputs=[shown({"image/png": PIXEL, "text/plain": "<Figure>"})],
            execution_count=2,
        ),
        new_code_cell(
            "note()", metadata={"tags": ["remove-cell"]}, outputs=[glued], execution_count=3
        ),
        new_code_cell(
            "table",
            outputs=[
                shown({"text/html": table._repr_html_(), "text/plain": "x"}),
                shown({"text/html": warning_boxes([ODD])._repr_html_()}),
                shown({"text/html": paragraph(ODD)._repr_html_()}),
                new_output("stream", name="stderr", text="a bar"),
            ],
            execution_count=4,
        ),
        new_markdown_cell(
            "There are {glue:text}`n:,.0f` [rows (CSV)](tables/05-x.csv), [numbers]"
            "(tables/embedding/e.safetensors), [more](02-dks-distributions.ipynb) and [an\n"
            "address](https://example.org)."
        ),
    ]
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "05-x.csv").write_text("a\n\N{GREEK SMALL LETTER ALPHA}\n", "utf-8")
    path = tmp_path / "page.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    return path


def test_the_page_needs_no_other_file(notebook: Path) -> None:
    page = single_page(notebook, title=ODD)
    assert_loads_nothing(page)
    found = Elements(page)
    (picture,) = found.all("img")
    assert picture["alt"] == 'A "pixel" & more'
    assert picture["src"] == f"data:image/png;base64,{PIXEL}"
    assert "1,234" in found.text.replace("1,235", "1,234")  # halves are rounded to even
    assert "Garcia-Gasulla and others (2018)" in found.text
    assert "secret" not in page
    assert "a bar" not in page
    assert found.all("math")


def test_odd_names_are_shown_as_they_are(notebook: Path) -> None:
    page = single_page(notebook, title=ODD)
    text = " ".join(Elements(page).text.split())
    assert text.count(" ".join(ODD.split())) == 4  # title, table, box, paragraph
    assert "25%" in text


def test_tables_are_inside_and_other_pages_are_not_linked(notebook: Path) -> None:
    links = {link["href"]: link for link in Elements(single_page(notebook, title="x")).all("a")}
    assert {urlsplit(href).scheme for href in links} == {"data", "", "https"}
    (inside,) = [href for href in links if href.startswith("data:")]
    assert links[inside]["download"] == "05-x.csv"
    assert b64decode(inside.partition("base64,")[2]).decode() == "a\n\N{GREEK SMALL LETTER ALPHA}\n"
    assert "embedding/e.safetensors" in links
    assert not [href for href in links if "ipynb" in href]


def test_long_tables_say_what_they_leave_out() -> None:
    table = pd.DataFrame({"path": [f"image {number}" for number in range(50)]})
    shown_html = readable(table, most=20)._repr_html_()
    assert shown_html.count("image ") == 20
    assert "and 30 more rows" in shown_html
    assert readable(table.head(0), none="<None>")._repr_html_() == "<p>&lt;None&gt;</p>"


def test_text_that_cannot_be_rendered_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "page.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell("{nothing}`known`")]), path)
    with pytest.raises(RuntimeError, match="could not be rendered"):
        single_page(path, title="x")
