"""The notebooks in git: stripped, and alike in what a study can set."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import yaml

from analysis.chapters import PARAMETERS

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STUDIES = sorted((ROOT / "book" / "studies").glob("*.yml"))


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8"))


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def parameters(notebook: dict[str, Any]) -> dict[str, Any]:
    """Names and default values of the one cell tagged ``parameters``, in order."""
    tagged = [
        cell
        for cell in code_cells(notebook)
        if "parameters" in cell.get("metadata", {}).get("tags", [])
    ]
    assert len(tagged) == 1, f"{len(tagged)} cells are tagged 'parameters'; papermill wants one"
    values: dict[str, Any] = {}
    for node in ast.parse("".join(tagged[0]["source"])).body:
        assert isinstance(node, ast.Assign | ast.AnnAssign), f"no parameter: {ast.unparse(node)}"
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        values[ast.unparse(target)] = ast.literal_eval(node.value)
    return values


def test_no_notebook_in_git_holds_results():
    with_results = [  # run `nbstripout` on them
        path.name
        for path in NOTEBOOKS
        if "papermill" in read(path)["metadata"]
        or any(cell["outputs"] or cell["execution_count"] for cell in code_cells(read(path)))
    ]
    assert not with_results


def test_the_notebooks_take_every_parameter_of_a_study_and_default_to_the_same():
    assert NOTEBOOKS and STUDIES
    defaults = [list(parameters(read(path)).items())[: len(PARAMETERS)] for path in NOTEBOOKS]
    assert [key for key, _ in defaults[0]] == list(PARAMETERS)
    assert all(values == defaults[0] for values in defaults)


def test_a_study_sets_only_what_notebooks_take():
    unknown = {
        path.name: set(yaml.safe_load(path.read_text("utf-8"))) - set(PARAMETERS)
        for path in STUDIES
    }
    assert not any(unknown.values()), unknown
