"""Names from datasets: shown as they are in pages, figures and tables, and nothing else."""

from __future__ import annotations

import csv
import html
import io
import logging
import re
import sys
from base64 import b64decode
from contextlib import chdir
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hostile_folders import fill
from hostile_names import NAMES, draw_folder
from matplotlib import pyplot as plt
from matplotlib.text import Text
from typer.testing import CliRunner

from analysis import figures
from analysis.__main__ import app
from analysis.book import report as report_module
from analysis.book.pages import _code, _plain, _table
from analysis.book.report import report_dataset
from analysis.chapters import sectioned, slug, write_csv
from analysis.cli import printable
from analysis.data.listing import composed
from analysis.figures import (
    dataset_report,
    distances,
    evidence,
    features,
    fusion,
    networks,
    panels,
    recommendation,
)

sys.path.insert(0, str(Path(__file__).parents[1]))
from notebook_shell import run_here

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
]


@pytest.fixture(scope="session")
def browser_type_launch_args():
    return {"executable_path": str(CHROMIUM), "args": FLAGS}


def written(page: Path) -> list[list[str]]:
    """Cells of the tables (CSV) inside of a page, row by row."""
    tables = re.findall(r"data:text/csv;charset=utf-8;base64,([^\"]+)", page.read_text("utf-8"))
    texts = [b64decode(table).decode("utf-8") for table in tables]
    return [row for text in texts for row in csv.reader(io.StringIO(text, newline=""))]


FOLDER = "\"'); $\\frac{$ {{7*7}} <b>"


@pytest.fixture(scope="module")
def names(pytestconfig):
    """All of the names in the long run, every other one in the short."""
    return NAMES if pytestconfig.getoption("--long") else NAMES[::2]


@pytest.fixture(scope="module")
def report(tmp_path_factory, names):
    """Report on hostile names and files, in a folder of a hostile name; and what is broken."""
    base = tmp_path_factory.mktemp("hostile")
    (base / "here").mkdir()
    spelled = draw_folder(base / FOLDER, names, each=2)
    bad = fill(base / FOLDER, base / "secrets")
    with pytest.MonkeyPatch.context() as patch, chdir(base / "here"):
        patch.setattr(report_module, "run_notebook", run_here)
        made = report_dataset(spelled, crops="center", out="out", progress=False)
    return made, base, bad


def test_a_report_on_hostile_names_holds_no_script_and_writes_no_more(report, names, withstood):
    made, base, bad = report
    text = made.page.read_text("utf-8")
    assert "<script" not in text.lower()
    assert not re.search(r"<[^>]+\son\w+\s*=", text)
    assert not re.search(r"(href|src)=.?javascript", text, re.IGNORECASE)
    files = sorted(str(path.relative_to(base / "here")) for path in (base / "here").rglob("*"))
    assert [path for path in files if not re.fullmatch(r"out(/[a-z]+(\.[a-z]+)?)*", path)] == []
    assert {path.name for path in base.iterdir()} == {"here", "secrets", FOLDER}
    rows = written(made.page)
    cells = {cell for row in rows for cell in row}
    for name in map(composed, names):
        formula = name.startswith(("=", "+", "-", "@"))
        assert (f"'{name}" if formula else name) in cells
        assert not formula or name not in cells
    assert set(bad) <= cells
    withstood("attack", "Names of classes that are HTML, TeX, Markdown, paths or formulas: report",
              tried=len(names))  # fmt: skip


@pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"needs Chromium as {CHROMIUM}")
def test_a_browser_shows_hostile_names_as_they_are(report, names, page, withstood):
    made = report[0]
    wrong = []
    page.on("dialog", lambda dialog: (wrong.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda m: m.type != "error" or wrong.append(m.text))
    page.on("request", lambda r: r.url.startswith(("file:", "data:")) or wrong.append(r.url))
    page.goto(made.page.as_uri(), wait_until="networkidle")
    assert page.evaluate("document.scripts.length") == 0
    attributes = "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())"
    assert [name for name in page.evaluate(attributes) if name.startswith("on")] == []
    schemes = page.evaluate("[...new Set([...document.links].map(link => link.protocol))]")
    assert set(schemes) <= {"data:", "file:", "https:"}
    cells = set(page.eval_on_selector_all("td", "all => all.map(one => one.textContent)"))
    shown = [name for name in map(composed, names) if name in cells]
    most = min(18, len(names))  # a table of the page has 20 rows; the rest are in its file
    assert len(shown) >= most
    first = "[...document.querySelectorAll('tr')].map(row => row.querySelector('td')?.textContent)"
    left = page.evaluate(first)
    assert len([name for name in left if name in shown]) >= most
    page.evaluate("document.querySelectorAll('td').forEach(one => one.click())")
    assert wrong == []
    withstood("attack", "Names of classes that are HTML, TeX, Markdown, paths or formulas: browser",
              tried=len(shown))  # fmt: skip


def drawn_by(name: str) -> list[plt.Figure]:
    """Figures with a name in every place where one can stand."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    kept = {"class_name": [name], "presence": [3], "absence": [2], "by_chance": [1.0]}
    pair = dataset_report.ImagePair(pixels, pixels, (name, name), 0.1)
    marked = evidence.MarkedClass("conv1", 3, name, 0.5, [], [pixels], dataset=name)
    share = {"dataset": [name], "layer": ["conv1"], "share": [0.5], "network": [name]}
    accurate = {"dataset": [name], "features": [name], "mean": [0.5], "std": [0.1], "chance": [0.1]}
    found = {"network": [name], "dataset": [name], "layer": ["a"], "discovered": [0.5]}
    found |= {"discovered_shuffled": [0.1]}
    choice = {"pair": [name], "rule": ["kernel"], "regret": [0.1], "mean_regret": [0.2]}
    run = {"run": [name] * 2, "epoch": [1, 2], "loss": [1.0, 0.5], "accuracy": [0.5, 0.6]}
    legend = plt.figure(layout="constrained")
    panels.dataset_legend(legend, panels.dataset_looks([name]))
    return [
        dataset_report.plot_kept_by_class(pd.DataFrame(kept)),
        dataset_report.plot_image_pairs([pair]),
        evidence.plot_marked_classes([marked, marked]),
        recommendation.plot_kept_layers(pd.DataFrame(share)),
        networks.plot_accuracies(pd.DataFrame(accurate)),
        distances.plot_discoveries(pd.DataFrame(found)),
        fusion.plot_choices(pd.DataFrame(choice)),
        fusion.plot_runs(pd.DataFrame(run)),
        features.plot_pictures({name: pixels}),
        features.plot_samples({name: [pixels]}),
        panels.plot_nothing(name),
        legend,
    ]


OURS = ("D_{KS}", "mathdefault", "$x$", "$t^")


def read(fig: plt.Figure) -> list[str]:
    """Texts as they are drawn; formulas other than ours fail."""
    fig.draw_without_rendering()
    drawn = []
    for text in fig.findobj(Text):
        said, is_formula = text._preprocess_math(text.get_text())
        assert not is_formula or any(formula in said for formula in OURS), said
        drawn.append(said)
    return drawn


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize(
    "name", ["$x^2$", r"$$\href{javascript:alert(5)}{x}$$", r"a$b \$5$ \alpha"]
)
def test_figures_read_no_formula_in_a_name(name, withstood):
    with mpl.rc_context():
        figures.style.use_style()
        shown = drawn_by(name)
    for fig in shown:
        ends = ("".join(name.split())[:6], "".join(name.split())[-6:])  # long ones are shortened
        said = ["".join(text.split()) for text in read(fig)]
        assert any(ends[0] in text and ends[1] in text for text in said)
        plt.close(fig)
    what = "Names with dollars, which figures could read as formulas"
    withstood("attack", what, tried=len(shown))


def test_tables_hold_no_formula_for_a_spreadsheet(tmp_path, withstood):
    formulas = ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1", "\r=1"]
    names = [*formulas, "-1.5", "plain", "nan"]
    table = pd.DataFrame({"class": names, "d": [-0.5] * len(names), "=1": range(len(names))})
    file = write_csv(table, tmp_path / "x.csv")
    with file.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.reader(opened))[1:]
    assert [row[0] for row in rows] == [f"'{name}" for name in formulas] + names[6:]
    assert {row[1] for row in rows} == {"-0.5"}
    assert table["class"].tolist() == names  # what is written, not what it is written from
    withstood("attack", "Names that a spreadsheet would run as formulas", tried=6)


def test_sections_show_names_as_they_are(withstood):
    table = pd.DataFrame({"network": NAMES, "class": NAMES, "mean": [float("nan")] * len(NAMES)})
    made = sectioned(table, {"class": "{class}", "mean": "{mean:.1f}"}).html
    cells = re.findall("<td>(.*?)</td>", made, re.S)
    cells = [html.unescape(cell).replace("<wbr>", "") for cell in cells]
    assert cells[::2] == list(NAMES)
    assert set(cells[1::2]) == {"–"}
    assert not re.search("<(?!/?(table|thead|tbody|tr|th|td|wbr))", made)
    withstood("attack", "Names in tables of the book", tried=len(NAMES))


def test_markdown_of_generated_pages_shows_names_as_they_are(withstood):
    """By the parser of the book: text and code come out as they went in."""
    from docutils.core import publish_doctree
    from myst_parser.docutils_ import Parser

    for name in NAMES:
        line = " ".join(name.split())
        page = f"x {_plain(name)} y\n\nx {_code(name)} y\n\n" + _table(
            ("A", "B"), [(_plain(name), _code(name))]
        )
        tree = publish_doctree(page, parser=Parser(), settings_overrides={
            "myst_enable_extensions": {"attrs_inline", "colon_fence", "deflist", "dollarmath"},
            "report_level": 2, "halt_level": 2,
        })  # fmt: skip
        shown = (node.astext() for node in tree.findall() if node.tagname == "paragraph")
        texts = [" ".join(text.split()) for text in shown]
        assert texts[:2] == [f"x {line} y"] * 2
        assert texts[-2:] == [line, line]
        tags = {node.tagname for node in tree.findall()}
        assert not tags & {"raw", "math", "math_block", "reference", "image", "problematic"}
    withstood("attack", "Names in generated pages", tried=2 * len(NAMES))


def test_names_make_harmless_file_names(withstood):
    made = {slug(name) for name in (*NAMES, "", "..", "../../etc/passwd", "\0")}
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in made)
    withstood("attack", "Names of folders that become names of files", tried=len(NAMES) + 4)


ORDERS = ("\x1b]0;owned\x07", "\x1b[2J\x1b[H", "\x9b31m", "a\rb", "\x08\x08", "\u202ex")


def test_a_terminal_is_given_no_orders(tmp_path, caplog, withstood):
    """Errors and warnings that quote names spell out what a terminal would obey."""
    for number, name in enumerate(ORDERS):
        (tmp_path / str(number) / name).mkdir(parents=True)
        told = CliRunner().invoke(app, ["report", f"folder:{tmp_path / str(number)}"]).output
        assert "error: " in told
        assert all(character.isprintable() for line in told.split("\n") for character in line)
    assert logging.lastResort is not None
    record = logging.LogRecord("x", logging.WARNING, "x", 1, "%s", (ORDERS[0],), None)
    assert logging.lastResort.format(record) == r"\x1b]0;owned\x07"
    assert printable("caf\xe9 \N{CAT FACE}\n") == "caf\xe9 \N{CAT FACE}\n"
    withstood("attack", "Names that a terminal would take for orders", tried=len(ORDERS))
