"""Reports that are interrupted, killed, or race, for ``test_report_faults.py``.

Run as a script with a folder: it prints what it found as JSON. A short notebook stands in for that
of the report, and takes its time in the middle of writing the embedding.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import nbclient  # noqa: F401 - imported here, so that no report has to
import papermill.execute  # noqa: F401
import torch
from forked import disturb, ended, files, start
from small_root import PARAMETERS, write_images, write_notebook

import analysis.chapters  # noqa: F401
from analysis.book import report as report_module
from analysis.book.sources import BookSources

SLOW = """
import time
from pathlib import Path
folder = Path(results) / "embedding"
folder.mkdir(parents=True)
(Path(results) / "01-x.csv").write_text("a,b\\n1,2\\n")
with open(folder / "embedding.json", "w") as description:
    description.write(f'crops {crops}, ')
    description.flush()
    time.sleep(0.5)
    description.write("whole")
print("crops", crops)
"""


def report(out: Path, crops: str = "center") -> int:
    options = ["--network", "minivgg16@random", "--crops", crops, "--out", str(out)]
    arguments = ["report", f"folder:{FOLDER / 'images'}", *options]
    return start(arguments, FOLDER / f"{out.name}-{crops}.log")


def half(out: Path) -> bool:
    return any(out.glob(".unfinished-*/.partial-*/tables/embedding/embedding.json"))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def main() -> dict[str, object]:
    out, raced = FOLDER / "out", FOLDER / "raced"
    stopped = disturb(report(out), lambda: half(out), signal.SIGINT)
    after_stop, said = names(out), (FOLDER / "out-center.log").read_text("utf-8")
    killed = disturb(report(out), lambda: half(out), signal.SIGKILL)
    after_kill = names(out)
    last = ended(report(out))
    racers = [report(raced, crops) for crops in ("center", "warp")]
    codes = [ended(racer) for racer in racers]
    made_by = {
        name: [crops for crops in ("center", "warp") if f"crops {crops}".encode() in content]
        for name, content in files(raced).items()
    }
    return {
        "stopped": stopped, "after_stop": after_stop, "said": said, "killed": killed,
        "after_kill": after_kill, "last": last, "whole": names(out), "codes": codes,
        "embedding": (out / "embedding" / "embedding.json").read_text("utf-8"),
        "raced": names(raced), "made_by": made_by,
    }  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)  # a pool of threads would not survive a fork
    FOLDER = Path(sys.argv[1])
    write_images(FOLDER / "images")
    (FOLDER / "root" / "notebooks").mkdir(parents=True)
    notebook = FOLDER / "root" / "notebooks" / f"{report_module.NOTEBOOK}.ipynb"
    write_notebook(notebook, SLOW, parameters=PARAMETERS | {"broken": ""})
    report_module.find_sources = lambda: BookSources(FOLDER / "root")
    sys.stdout.write(json.dumps(main()))
