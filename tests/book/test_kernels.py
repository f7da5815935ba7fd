"""Notebooks that run side by side have kernels forked from one process."""

from __future__ import annotations

import json
import os
import sys

import pytest

from analysis.book.execution import read_json, run_notebooks

SOURCE = """import json, os, sys
loaded = [name for name in sys.modules if name.startswith("analysis.")]
print(json.dumps([os.getppid(), "torch" in sys.modules, loaded, os.environ["OMP_NUM_THREADS"]]))"""


def notebook(path):
    source = [("parameters", "x = 1"), ("", SOURCE)]
    cells = [
        {"cell_type": "code", "id": str(k), "metadata": {"tags": [tag] if tag else []}}
        | {"source": text, "outputs": [], "execution_count": None}
        for k, (tag, text) in enumerate(source)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content = {"cells": cells, "metadata": {"kernelspec": kernel}}
    path.write_text(json.dumps(content | {"nbformat": 4, "nbformat_minor": 5}))
    return path


def printed(folder):
    (executed,) = folder.glob("*.ipynb")
    (cell,) = [each for each in read_json(executed)["cells"] if "".join(each["source"]) == SOURCE]
    return json.loads("".join(cell["outputs"][0]["text"]))


@pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux alone")
def test_they_share_libraries_and_no_module_of_the_package(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    notebooks = [notebook(tmp_path / f"{k}.ipynb") for k in range(4)]
    keys = {path: f"{path.stem}-0-{path.stem}" for path in notebooks}
    first, *others = run_notebooks(keys, {}, cache=tmp_path / "cache", progress=False)
    parent, has_torch, *_ = printed(first)
    assert (parent, has_torch) == (os.getpid(), False)
    parents = set()
    for folder in others:
        parent, has_torch, modules, threads = printed(folder)
        parents.add(parent)
        assert has_torch
        assert set(modules) <= {"analysis.book"}
        assert threads == "2"
    (server,) = parents
    assert server != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)
