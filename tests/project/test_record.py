"""The record of faults and attacks, from which the book makes a page."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from analysis.book.pages import faults_page
from analysis.book.sources import BookSources

ROOT = Path(__file__).parents[2]
TESTS = """
def test_b(withstood):
    withstood("fault", "B", tried=2)

def test_a(withstood):
    withstood("attack", "A", tried=3)
"""


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:playwright",
        "-p",
        "no:cacheprovider",
    ]
    command += ["--withstood=record.json", "--rootdir", str(folder)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_it_is_written_by_a_run_in_which_every_test_passed(tmp_path):
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_good.py").write_text(TESTS)
    (tmp_path / "test_bad.py").write_text("def test_bad():\n    assert False\n")
    record = tmp_path / "record.json"
    assert "1 failed, 2 passed" in run(tmp_path).stdout
    assert not record.exists()
    (tmp_path / "test_bad.py").unlink()
    assert "2 passed" in run(tmp_path).stdout
    rows = json.loads(record.read_text("utf-8"))
    assert [(row["kind"], row["what"], row["tried"]) for row in rows] == [
        ("attack", "A", 3),
        ("fault", "B", 2),
    ]
    assert faults_page(record).count("`test_good.py`") == 2


def test_it_goes_into_the_wheel_to_where_the_book_looks_for_it():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wheel = settings["tool"]["hatch"]["build"]["targets"]["wheel"]
    place = BookSources(ROOT / "analysis" / "_book").withstood.relative_to(ROOT)
    assert "benchmarks/withstood.json" in wheel["only-include"]
    assert place.as_posix() == f"{wheel['sources']['benchmarks']}/withstood.json"
