"""Run the benchmarks, print a table, and write ``benchmarks/results.json`` for the book.

``python -m benchmarks extraction`` runs one module and writes nothing; with ``--update`` its rows
replace those in the file, if that is of the same machine and the same versions: the file never
mixes two.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pkgutil
import platform
import sys
import traceback
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import benchmarks

Row = dict[str, Any]
RESULTS = Path(__file__).with_name("results.json")
COLUMNS = ("name", "value", "unit", "target", "passed")
PACKAGES = ("torch", "torchvision", "numpy", "scipy", "numba", "scikit-learn", "zarr", "xarray")


def modules() -> dict[str, Callable[[], list[Row]]]:
    """The ``run`` functions of the modules of this folder, by module name."""
    names = [found.name for found in pkgutil.iter_modules(benchmarks.__path__)]
    loaded = {name: import_module(f"benchmarks.{name}") for name in names if name != "__main__"}
    return {name: module.run for name, module in loaded.items() if hasattr(module, "run")}


def machine_facts() -> dict[str, str | int]:
    """What a reader needs to judge a time: processor, memory, accelerator, versions."""
    import torch

    facts: dict[str, str | int] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        "system": f"{platform.system()} {platform.machine()}",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        facts["memory"] = f"{memory / 2**30:.0f} GiB"
    return facts | {package: version(package) for package in PACKAGES}


def processor() -> str:
    """Model name of the CPU, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def checked(rows: Iterable[Row], module: str) -> list[Row]:
    """The rows in plain Python types, if each holds exactly the agreed columns."""
    rows = list(rows)
    for row in rows:
        if set(row) != set(COLUMNS):
            raise ValueError(f"{module}: expected a row of {COLUMNS}, got {tuple(row)}")
    return [{column: plain(row[column]) for column in COLUMNS} for row in rows]


def plain(value: Any) -> Any:
    """A NumPy scalar as Python's own number or bool, which JSON knows."""
    return value.item() if isinstance(value, np.generic) else value


def table(rows: list[Row]) -> str:
    """Aligned plain text."""
    cells = [COLUMNS, *([shown(row[column]) for column in COLUMNS] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def shown(value: Any) -> str:
    """A cell: four significant digits, yes or no, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def others(wanted: list[str], facts: Row) -> list[Row]:
    """Rows of the file that stay when the modules named are measured again.

    Raises
    ------
    SystemExit
        If the file is of another machine or of other versions.
    """
    content = json.loads(RESULTS.read_text("utf-8"))
    before = content["machine"]
    changed = [name for name in facts if name != "date" and facts[name] != before.get(name)]
    if changed:
        raise SystemExit(
            f"expected the machine and the versions of benchmarks/{RESULTS.name}, but "
            f"{', '.join(changed)} changed: renew all of it with make bench"
        )
    return [row for row in content["results"] if row["benchmark"] not in wanted]


def main(wanted: list[str], *, update: bool = False) -> int:
    """Run the modules named, or all; return 0 when each ran and met its targets."""
    known = modules()
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise SystemExit(f"unknown benchmarks {unknown}; known: {', '.join(sorted(known))}")
    facts = machine_facts()
    kept = others(wanted, facts) if update and wanted else []
    rows: list[Row] = []
    broken = []
    for name in wanted or sorted(known):
        print(f"-- {name} --", flush=True)
        try:
            own = {"benchmark": name, "date": facts["date"]}
            rows += [row | own for row in checked(known[name](), name)]
        except Exception:
            traceback.print_exc()
            broken.append(name)
    print(table(rows))
    if broken:
        print(f"Broken, so nothing was written: {', '.join(broken)}", file=sys.stderr)
    elif rows and (update or not wanted):
        rows_by_benchmark = sorted(kept + rows, key=lambda row: row["benchmark"])
        content = {"machine": facts, "results": rows_by_benchmark}
        RESULTS.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
        print(f"Written: benchmarks/{RESULTS.name}")
    return int(bool(broken) or any(row["passed"] is False for row in rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("benchmarks", nargs="*", help="modules to run; all, if none is named")
    parser.add_argument("--update", action="store_true", help="replace their rows in the file")
    given = parser.parse_args()
    raise SystemExit(main(given.benchmarks, update=given.update))
