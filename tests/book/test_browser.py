"""The built book in a real browser: complete, self-contained, and usable without the internet."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urldefrag, urljoin

import pytest

from analysis.book.sources import find_sources

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PAGES = find_sources().pages()
NOTEBOOKS = [path.stem for path in find_sources().notebooks()]

pytestmark = pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"needs Chromium as {CHROMIUM}")


@pytest.fixture(scope="session")
def browser_type_launch_args():
    return {"executable_path": str(CHROMIUM), "args": FLAGS}


@pytest.fixture(scope="session")
def html(small_book):
    return small_book / "html"


@pytest.fixture(scope="session")
def site(html):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=html))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture
def opened(page, site):
    """Open pages, and keep what went wrong: foreign or failed requests, errors of scripts."""
    wrong = []
    page.on("request", lambda r: r.url.startswith((site, "data:")) or wrong.append(r.url))
    page.on("response", lambda r: r.status < 400 or wrong.append(f"{r.status} {r.url}"))
    page.on("requestfailed", lambda r: wrong.append(f"failed {r.url}"))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda m: m.type != "error" or wrong.append(m.text))

    def goto(name):
        page.goto(urljoin(site, name), wait_until="networkidle")
        return page

    goto.wrong = wrong
    return goto


@pytest.fixture
def chapter(name, opened, small_book):
    """Open the page of a notebook, unless the small book lacks what it is about."""
    if not [*(small_book / "executed").glob(f"{name}-????????-*")]:
        text = opened(f"{name}.html").locator("article").inner_text()
        assert "This study has" in text
        assert len(text.split()) < 100
        pytest.skip("the small book has no subject for it, and its page says so")
    return opened(f"{name}.html")


def targets(page, selector, attribute):
    """Addresses that a page's elements point to, absolute and without fragments."""
    found = page.eval_on_selector_all(selector, f"all => all.map(one => one.{attribute})")
    return {urldefrag(address).url for address in found if address.startswith("http")}


_STRETCHED = """all => all.filter(
    one => one.width &&
        Math.abs(one.width * one.naturalHeight / (one.height * one.naturalWidth) - 1) > 0.02
).map(one => one.currentSrc)"""


@pytest.mark.parametrize("name", PAGES)
def test_page_is_complete_and_self_contained(opened, site, name):
    page = opened(f"{name}.html")
    assert page.locator("article h1").count() == 1
    page.evaluate("document.querySelectorAll('img').forEach(one => one.loading = 'eager')")
    page.wait_for_function("[...document.images].every(one => one.complete)")
    images = page.eval_on_selector_all(
        "img", "all => all.map(one => [one.currentSrc, one.naturalWidth, one.alt.trim()])"
    )
    assert images  # the logo at least
    assert [image for image in images if image[1] == 0 or not image[2]] == []
    assert page.eval_on_selector_all("article img", _STRETCHED) == []
    loaded = targets(page, "script[src], img, iframe", "src") | targets(page, "head link", "href")
    assert [address for address in loaded if not address.startswith(site)] == []
    for address in targets(page, "a[href]", "href"):
        if address.startswith(site):
            assert page.request.get(address).ok, address
    assert opened.wrong == []


def test_every_fragment_that_a_page_points_to_exists(opened, site):
    ids = {}
    pointed = set()
    for name in PAGES:
        page = opened(f"{name}.html")
        ids[urljoin(site, f"{name}.html")] = set(
            page.eval_on_selector_all("[id]", "all => all.map(one => one.id)")
        )
        pointed |= set(page.eval_on_selector_all("a[href*='#']", "all => all.map(one => one.href)"))
    fragments = [urldefrag(address) for address in pointed if address.startswith(site)]
    missing = [at for at in fragments if at.fragment and at.fragment not in ids.get(at.url, ())]
    assert fragments
    assert missing == []


def test_mathematics_is_drawn(opened):
    page = opened("conventions.html")
    page.wait_for_selector("mjx-container svg")
    asked = page.locator(".math").count()
    assert asked > 3
    assert page.locator("mjx-container").count() == asked
    assert page.locator("mjx-container [data-mjx-error]").count() == 0
    assert page.locator("mjx-container svg").first.bounding_box()["width"] > 5
    assert opened.wrong == []


def test_search_finds_a_page(opened):
    page = opened("search.html?q=shuffled")
    page.wait_for_selector("#search-results li a")
    found = page.locator("#search-results li a").all_inner_texts()
    assert "Conventions and departures" in found
    assert opened.wrong == []


def test_search_field_leads_to_results(opened):
    page = opened("intro.html")
    page.keyboard.press("Control+k")
    page.keyboard.type("orchids")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li a")
    assert "Your images, your network" in page.locator("#search-results").inner_text()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_page_offers_its_notebook_and_its_tables(chapter, may_be_empty, name):
    offered = targets(chapter, "a.btn-download-source-button", "href")
    (notebook,) = (address for address in offered if address.endswith(".ipynb"))
    content = chapter.request.get(notebook).json()
    assert any("injected-parameters" in c["metadata"].get("tags", []) for c in content["cells"])
    tables = {at for at in targets(chapter, "a.download", "href") if at.endswith(".csv")}
    assert tables
    for address in tables:
        answer = chapter.request.get(address)
        assert answer.ok
        assert len(answer.text().splitlines()) > (Path(address).stem not in may_be_empty)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_numbers_in_prose_came_from_the_run(chapter, name):
    pasted = chapter.locator(".pasted-text").all_inner_texts()
    assert pasted
    assert all(text.strip() for text in pasted)
    assert "{glue" not in chapter.locator("article").inner_text()


def test_the_landing_page_tells_this_study(opened):
    text = opened("index.html").locator("article").inner_text()
    assert "minivgg16" in text
    assert "24" in text
    assert "never trained" in text


def test_a_narrow_screen_does_not_scroll_sideways(opened, page):
    page.set_viewport_size({"width": 390, "height": 844})
    too_wide = []
    for name in PAGES:
        opened(f"{name}.html")
        if page.evaluate("document.documentElement.scrollWidth > window.innerWidth + 1"):
            too_wide.append(name)
    assert too_wide == []
