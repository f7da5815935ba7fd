"""Faults made by hand, each of which some test must find: ``python -m tests.mutants [ROOM ...]``.

Each file ``ROOM.toml`` lists mutants: a file, a text that occurs in it once, what replaces it, and
the tests that must fail then. They are tried on a copy, so nobody's files change. A mutant whose
text is gone has to be rewritten together with the code it was made for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("analysis", "book", "notebooks", "benchmarks", "tests", "pyproject.toml", "_config.yml")


def copy(folder: Path) -> None:
    """Copy the project, without its environment and what was built."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)


def outcome(folder: Path, mutant: dict[str, str]) -> str:
    """``"caught"``, or what went wrong."""
    file = folder / mutant["file"]
    before = file.read_text("utf-8") if file.is_file() else ""
    if before.count(mutant["old"]) != 1:
        return f"its text occurs {before.count(mutant['old'])} times in {mutant['file']}"
    file.write_text(before.replace(mutant["old"], mutant["new"]), "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*command, *mutant["tests"]], cwd=folder, env=environment, capture_output=True, text=True
    )
    file.write_text(before, "utf-8")
    if done.returncode == 1:  # tests were collected and failed
        return "caught"
    return "SURVIVED" if done.returncode == 0 else f"its tests did not run: {done.stdout[-300:]}"


def main(rooms: list[str]) -> int:
    """Try all mutants of some rooms; the exit status counts those that were not caught."""
    missed = 0
    with tempfile.TemporaryDirectory() as name:
        copy(Path(name))
        for table in sorted(Path(__file__).parent.glob("*.toml")):
            if rooms and table.stem not in rooms:
                continue
            for mutant in tomllib.loads(table.read_text("utf-8"))["mutant"]:
                found = outcome(Path(name), mutant)
                missed += found != "caught"
                print(f"{table.stem}: {mutant['name']}: {found}", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
