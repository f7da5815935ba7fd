"""Execute a study twice and compare its pictures, byte for byte.

``python -m tests.golden.pictures [STUDY]``; ``bundled`` by default.

The first execution finds the features in the store or puts them there; the second runs from what
is stored, in another folder. Pictures of measured times are the only ones that may differ.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from base64 import b64decode
from collections.abc import Iterable
from pathlib import Path

from analysis.book.build import study_parameters
from analysis.book.execution import run_notebooks
from analysis.book.sources import find_sources

TIMED = {
    "plot_module_times": "how long each module of a network takes, on this machine",
    "plot_core_hours": "plans from rates that the notebook measures",
    "plot_time_by_workers": "plans from rates that the notebook measures",
}
"""Functions whose pictures show measured times, and what they show."""


def pictures(notebook: Path) -> dict[str, bytes]:
    """Pictures of an executed notebook, by cell, but for those of measured times."""
    found = {}
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    for number, cell in enumerate(cells):
        source = "".join(cell["source"])
        if cell["cell_type"] != "code" or any(f".{name}(" in source for name in TIMED):
            continue
        for output in cell["outputs"]:
            for kind, content in output.get("data", {}).items():
                if kind.startswith("image/"):
                    name = f"{notebook.stem}, cell {number}, picture {len(found) + 1}"
                    found[name] = as_bytes(content, kind)
    return found


def as_bytes(content: str | list[str], kind: str) -> bytes:
    """Content of a picture in a notebook: text for SVG, base 64 for others."""
    text = content if isinstance(content, str) else "".join(content)
    return text.encode() if kind == "image/svg+xml" else b64decode(text)


def all_pictures(notebooks: Iterable[Path]) -> dict[str, bytes]:
    """Pictures of several executed notebooks."""
    return {name: one for notebook in sorted(notebooks) for name, one in pictures(notebook).items()}


def execute(study: str, folder: Path) -> dict[str, bytes]:
    """Execute all notebooks for a study; their pictures."""
    sources = find_sources()
    keys = {path: f"{path.stem}-1-1" for path in sources.notebooks()}
    done = run_notebooks(keys, study_parameters(sources.study(study)), cache=folder)
    return all_pictures(
        path / f"{notebook.stem}.ipynb" for path, notebook in zip(done, keys, strict=True)
    )


def differing(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """Names of pictures that are not the same in both."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def main(study: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        first, second = (execute(study, Path(folder) / name) for name in ("first", "second"))
    different = differing(first, second)
    digest = hashlib.sha256(b"".join(first[name] for name in sorted(first))).hexdigest()
    print(
        f"{len(first)} pictures of {study!r} compared, {len(different)} differ (all: {digest[:16]})"
    )
    print("\n".join(different))
    return int(bool(different) or not first)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:] or ["bundled"]))
