"""Every notebook keeps the house order, and runs end to end on a small study."""

import ast
import json
import re
from pathlib import Path

import nbformat
import papermill
import pytest
from notebook_shell import run_here

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("[0-9]*.ipynb"))
SHARED = ["title", "datasets", "networks", "crops", "seed", "reference_images", "results"]
MAX_CODE_LINES, MAX_FUNCTION_LINES = 65, 6  # code: apart from parameters and imports
N_TRAINED = 1  # of the networks of the small book
WITHOUT_SUBJECT = ("01a-office-domains", "04-tca-fusion")  # it has one dataset

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def cells(notebook, kind):
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def tags(cell):
    return cell.metadata.get("tags", [])


def prose(notebook):
    return "\n\n".join(cell.source for cell in cells(notebook, "markdown"))


def code(notebook):
    return "\n".join(cell.source for cell in cells(notebook, "code"))


def draws(cell):
    """Whether a cell shows a picture: it plots, or browses a study."""
    return re.search(r"\.plot_\w+\(|^Explorer\(", cell.source, re.MULTILINE) is not None


def saved_tables(notebook):
    """Names given to ``study.save(table, name)``, or without a study to ``save_table``."""
    calls = [node for node in ast.walk(ast.parse(code(notebook))) if isinstance(node, ast.Call)]
    saves = [call for call in calls if ast.unparse(call.func) in {"study.save", "save_table"}]
    return [ast.literal_eval(call.args[1]) for call in saves]


def glued(notebook):
    """Names of numbers that the prose takes from the run."""
    return set(re.findall(r"\{glue:(?:text)?\}`([^`:]+)", prose(notebook)))


def test_there_are_notebooks():
    assert NOTEBOOKS


@each_notebook
def test_order_is_question_parameters_imports_sections_summary_next(path):
    notebook = read(path)
    question, parameters, imports = notebook.cells[:3]
    assert question.cell_type == "markdown"
    assert re.match(r"# .+\?$", question.source.splitlines()[0])
    assert "parameters" in tags(parameters)
    assert {"Import", "ImportFrom"} >= {
        type(node).__name__ for node in ast.parse(imports.source).body[:2]
    }
    headings = re.findall(r"^(#+) (.+)$", prose(notebook), re.MULTILINE)
    assert [level for level, _ in headings].count("#") == 1
    assert [name for level, name in headings if level == "##"][-2:] == [
        "What was found",
        "What is next",
    ]


@each_notebook
def test_imports_stand_in_one_cell(path):
    with_imports = [
        cell.source
        for cell in cells(read(path), "code")
        if any(
            isinstance(node, ast.Import | ast.ImportFrom)
            for node in ast.walk(ast.parse(cell.source))
        )
    ]
    assert len(with_imports) == 1


@each_notebook
def test_parameters_are_those_of_a_study_then_its_own(path):
    notebook = read(path)
    assert [i for i, cell in enumerate(notebook.cells) if "parameters" in tags(cell)] == [1]
    names = [node.targets[0].id for node in ast.parse(notebook.cells[1].source).body]
    assert names[: len(SHARED)] == SHARED
    assert set(papermill.inspect_notebook(str(path))) == set(names)


@each_notebook
def test_a_misspelt_parameter_stops_it_at_once(path, tmp_path):
    with pytest.raises(ValueError, match="unknown parameters sede; this"):
        run_here(path, {"sede": 1}, key="misspelt", cache=tmp_path, progress=False)


def test_a_misspelt_parameter_stops_papermill(tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match="unknown parameters sede; this"):
        papermill.execute_notebook(
            NOTEBOOKS[0],
            tmp_path / "out.ipynb",
            {"sede": 1},
            progress_bar=False,
            kernel_name="python3",
        )


@each_notebook
def test_code_is_thin(path):
    notebook = read(path)
    working = [cell.source for cell in cells(notebook, "code")[2:]]
    lines = [line for line in "\n".join(working).splitlines() if line.strip()]
    assert len(lines) <= MAX_CODE_LINES
    for node in ast.walk(ast.parse(code(notebook))):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < MAX_FUNCTION_LINES, node.name


@each_notebook
def test_nothing_of_a_run_is_stored(path):
    notebook = read(path)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in cells(notebook, "code"):
        assert not cell.outputs
        assert cell.execution_count is None


@each_notebook
def test_figures_have_a_text_in_their_place(path):
    for cell in cells(read(path), "code"):
        if draws(cell):
            assert len(cell.metadata["mystnb"]["image"]["alt"]) > 20


@each_notebook
def test_every_table_has_a_link_and_every_link_a_table(path):
    notebook = read(path)
    number = path.stem[:2]
    names = saved_tables(notebook)
    assert all(name.startswith(f"{number}-") for name in names)
    assert len(set(names)) == len(names)
    linked = re.findall(r"\]\(tables/([^)]+)\.csv\)", json.dumps(notebook))
    assert set(linked) == set(names)


def warnings(notebook):
    """Lines that warn, apart from tqdm's wish for widgets."""
    streams = [
        out.text
        for cell in cells(notebook, "code")
        for out in cell.outputs
        if out.output_type == "stream"
    ]
    lines = "\n".join(streams).splitlines()
    return [line for line in lines if "Warning:" in line and "TqdmWarning" not in line]


@each_notebook
def test_it_runs_and_keeps_its_promises(path, small_book, may_be_empty):
    if path.stem in WITHOUT_SUBJECT:
        page = (small_book / "book-sources" / path.name).read_text("utf-8")
        assert "This study has no two such datasets" in page
        return
    (folder,) = (small_book / "executed").glob(f"{path.stem}-????????-*")
    notebook = read(folder / path.name)
    for name in saved_tables(notebook):
        (table,) = folder.rglob(f"{name}.csv")
        assert len(table.read_text().splitlines()) > (name not in may_be_empty), name
    stored = set()
    for cell in cells(notebook, "code"):
        pictures = [out for out in cell.outputs if "image/png" in out.get("data", {})]
        per_network = "in study.trained" in cell.source
        wanted = draws(cell) * (N_TRAINED if per_network else 1)
        assert len(pictures) == wanted, "one figure per alternative text, or one per network"
        stored |= {out.get("metadata", {}).get("scrapbook", {}).get("name") for out in cell.outputs}
    assert glued(notebook) <= stored
    assert warnings(notebook) == []
