"""The book of a dataset whose names mean harm: built without a warning, and shown as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile_names import NAMES, draw_folder

from analysis.book import build_book
from analysis.book.sources import find_sources
from analysis.data.listing import composed

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
]
WORST = tuple(
    name
    for name in NAMES
    if name.startswith(("<scr", "$$", "\\(", "{glue", "$\\frac", "two", "`ti", "=cmd"))
)
FOLDER = "$\\frac{$ <b>{x}"

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"needs Chromium as {CHROMIUM}"),
]


@pytest.fixture(scope="session")
def browser_type_launch_args():
    return {"executable_path": str(CHROMIUM), "args": FLAGS}


@pytest.fixture(scope="module")
def html(tmp_path_factory) -> Path:
    """Pages of the book; a warning of Sphinx would be an error."""
    base = tmp_path_factory.mktemp("hostile-book")
    spelled = draw_folder(base / FOLDER, WORST, each=8)
    return build_book("bundled", datasets=spelled, output=base / "_build", progress=False).parent


def test_every_page_of_the_book_shows_hostile_names_and_runs_none(html, page, withstood):
    wrong = []
    page.on("dialog", lambda dialog: (wrong.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda r: r.url.startswith(("file:", "data:")) or wrong.append(r.url))
    assert len(WORST) == 8
    shown: set[str] = set()
    for name in find_sources().pages():
        page.goto((html / f"{name}.html").as_uri(), wait_until="networkidle")
        page.wait_for_timeout(500)  # formulas are set meanwhile
        links = page.evaluate("[...document.querySelectorAll('a')].map(a => a.getAttribute('href')"
                              " ?? a.getAttribute('xlink:href') ?? '')")  # fmt: skip
        assert [link for link in links if "javascript" in link] == [], name
        inner = "[...document.querySelectorAll('article *')].flatMap(e => e.getAttributeNames())"
        assert [at for at in page.evaluate(inner) if at.startswith("on")] == [], name
        assert page.locator("article script:not([type])").count() == 0, name
        shown |= set(page.eval_on_selector_all("td, em", "all => all.map(one => one.textContent)"))
    assert [name for name in map(composed, WORST) if name not in shown] == []
    assert wrong == []
    withstood("attack", "Names of classes that are HTML, TeX, Markdown, paths or formulas: book",
              tried=len(WORST))  # fmt: skip
