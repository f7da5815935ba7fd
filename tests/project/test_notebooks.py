"""The notebooks in git: stripped, and alike in what a study can set."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.chapters import PARAMETERS

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STUDIES = sorted((ROOT / "book" / "studies").glob("*.yml"))

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


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
        if isinstance(node, ast.Assign):
            (target,) = node.targets
            value = node.value
        else:
            assert isinstance(node, ast.AnnAssign), f"not a parameter: {ast.unparse(node)}"
            target, value = node.target, node.value
        values[ast.unparse(target)] = ast.literal_eval(value)
    return values


def test_there_are_notebooks_and_studies():
    assert NOTEBOOKS
    assert STUDIES


@every_notebook
def test_a_notebook_in_git_holds_no_results(path: Path):
    notebook = read(path)
    for cell in code_cells(notebook):
        assert not cell["outputs"], "run `nbstripout` on it"
        assert cell["execution_count"] is None, "run `nbstripout` on it"
    assert "papermill" not in notebook["metadata"]


@every_notebook
def test_a_notebook_takes_every_parameter_of_a_study(path: Path):
    assert list(parameters(read(path)))[: len(PARAMETERS)] == list(PARAMETERS)


def test_the_notebooks_default_to_the_same_study():
    defaults = [{key: parameters(read(path))[key] for key in PARAMETERS} for path in NOTEBOOKS]
    assert all(values == defaults[0] for values in defaults)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_sets_only_what_notebooks_take(path: Path):
    assert set(yaml.safe_load(path.read_text("utf-8"))) <= set(PARAMETERS)
