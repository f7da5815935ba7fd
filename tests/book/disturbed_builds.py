"""Builds of a small book that are killed, interrupted, or race, for ``test_faults.py``.

Run as a script ``disturbed_builds.py KIND FOLDER``: it prints what it found as JSON. The pages are
written by a stand-in that takes its time, so that half of them is there long enough to be hit.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import nbclient  # noqa: F401 - imported here, so that no build has to
import papermill.execute  # noqa: F401
import torch
from forked import disturb, ended, files, start
from small_root import write_notebook, write_root

import analysis.chapters  # noqa: F401
from analysis.book import build, sources
from analysis.book.execution import EXECUTION

RANDOM_KILLS = 25
SLOW_CELL = """
import time
from pathlib import Path
with open({runs!r}, "a") as log:
    log.write("x")
Path(results).mkdir()
with open(Path(results) / "01-x.csv", "w") as table:
    table.write("a,")
    table.flush()
    time.sleep(0.5)
    table.write("b\\n1,2\\n")
"""


def pages_slowly(assembled, sources, into, *, progress):
    """Write every source as a page, in two halves."""
    html = into / "_build" / "html"
    html.mkdir(parents=True)
    for source in [*sorted(assembled.glob("*.md")), *sorted(assembled.glob("*.ipynb"))]:
        with (html / source.name).open("wb") as page:
            content = source.read_bytes()
            page.write(content[: len(content) // 2])
            page.flush()
            time.sleep(0.1)
            page.write(content[len(content) // 2 :])
    (html / "index.html").write_text("all of it")


class Place:
    """An output folder, with what can be seen of its build from outside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def build(self) -> int:
        log = self.folder.with_suffix(".log")
        return start(["book", "tiny", "--output", str(self.folder)], log)

    def said(self) -> str:
        return self.folder.with_suffix(".log").read_text("utf-8")

    def in_notebook(self) -> bool:
        return any(self.folder.glob("executed/*/tables/01-x.csv"))

    def in_sources(self) -> bool:
        return (self.folder / "book-sources" / "_static").exists()

    def in_pages(self) -> bool:
        return any(self.folder.glob("**/html/*.md"))

    def finished(self) -> dict[str, dict[str, bytes]]:
        """What a next build, or a reader, would take for finished, but for the seconds it took."""
        parts = [*self.folder.glob("executed/[!.]*"), *self.folder.glob("html")]
        found = {part.name: files(part) for part in parts}
        for content in found.values():
            if EXECUTION in content:
                content[EXECUTION] = content[EXECUTION].partition(b'"seconds"')[0]
        return found

    def partial(self) -> list[str]:
        return sorted(path.name for path in self.folder.rglob(".partial-*"))


def runs() -> int:
    log = ROOT / "runs.txt"
    return len(log.read_text()) if log.exists() else 0


def subset(some: Place, whole: Place) -> bool:
    finished = whole.finished()
    return all(finished.get(name) == part for name, part in some.finished().items())


def killed(folder: Path, whole: Place) -> dict[str, object]:
    """Kill a build in each of its stages, then let one end."""
    place = Place(folder / "killed")
    codes, honest = [], []
    for stage in (place.in_notebook, place.in_sources, place.in_pages):
        codes.append(disturb(place.build(), stage, signal.SIGKILL))
        honest.append(subset(place, whole))
    left = place.partial()
    before = runs()
    last = ended(place.build())
    return {
        "codes": codes, "honest": honest, "left": left, "last": last, "runs": runs() - before,
        "same": place.finished() == whole.finished(), "partial": place.partial(),
    }  # fmt: skip


def killed_at_random(folder: Path, whole: Place) -> dict[str, object]:
    """Kill builds at random moments; go on with each until one ends."""
    moments = random.Random(0)
    place = Place(folder / "random")
    begun = time.monotonic()
    assert ended(place.build()) == 0
    duration = time.monotonic() - begun
    shutil.rmtree(place.folder)
    kills, honest = 0, []
    while kills < RANDOM_KILLS:
        until = time.monotonic() + moments.uniform(0, duration)
        child = place.build()
        try:
            disturb(child, lambda: time.monotonic() > until, signal.SIGKILL)  # noqa: B023
            kills += 1
        except AssertionError:  # it was faster
            honest.append(place.finished() == whole.finished())
            shutil.rmtree(place.folder)
            continue
        honest.append(subset(place, whole))
    last = ended(place.build())
    return {
        "kills": kills, "honest": honest, "last": last, "partial": place.partial(),
        "same": place.finished() == whole.finished(),
    }  # fmt: skip


def interrupted(folder: Path, whole: Place) -> dict[str, object]:
    """Press Ctrl-C while a notebook runs, and while pages are written."""
    place = Place(folder / "interrupted")
    codes, said, partial, finished = [], [], [], []
    for stage in (place.in_notebook, place.in_pages):
        codes.append(disturb(place.build(), stage, signal.SIGINT))
        said.append(place.said())
        partial += place.partial()
        finished.append(sorted(part[:11] for part in place.finished()))
    before = runs()
    last = ended(place.build())
    return {
        "codes": codes, "said": said, "partial": partial, "finished": finished, "last": last,
        "runs": runs() - before, "same": place.finished() == whole.finished(),
    }  # fmt: skip


def raced(folder: Path, whole: Place) -> dict[str, object]:
    """Two builds into one folder at once."""
    place = Place(folder / "raced")
    before = runs()
    racers = [place.build(), place.build()]
    codes = [ended(racer) for racer in racers]
    return {
        "codes": codes, "runs": runs() - before, "partial": place.partial(),
        "same": place.finished() == whole.finished(),
    }  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)  # a pool of threads would not survive a fork
    FOLDER = Path(sys.argv[2])
    ROOT = FOLDER / "root"
    write_root(ROOT)
    cell = SLOW_CELL.format(runs=str(ROOT / "runs.txt"))
    write_notebook(ROOT / "notebooks" / "01-question.ipynb", cell)
    build.find_sources = lambda: sources.BookSources(ROOT)
    build._run_jupyter_book = pages_slowly
    build.pages.minutes_by_notebook = lambda executed: ""
    WHOLE = Place(FOLDER / "whole")
    assert ended(WHOLE.build()) == 0, WHOLE.said()
    kinds = {each.__name__: each for each in (killed, killed_at_random, interrupted, raced)}
    found = {kind: kinds[kind](FOLDER, WHOLE) for kind in sys.argv[1].split(",")}
    sys.stdout.write(json.dumps(found))
