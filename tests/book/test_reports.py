"""Assembling a book: what is refused, what is executed again, what is left after a failure."""

import base64
import json
import os
import re
import shutil
from functools import partial
from pathlib import Path

import nbformat
import pytest
import yaml
from PIL import Image
from small_root import PARAMETERS, write_notebook, write_root

from analysis import book as reports
from analysis.book import build as book_module
from analysis.book import execution, pages, sources
from analysis.chapters import Study
from analysis.data import CARDS

ROOT = Path(__file__).parents[2]


def build(root, study="tiny", **overrides):
    return reports.build_book(study, output=root.parent / "_build", progress=False, **overrides)


def runs(root):
    return len((root / "runs.txt").read_text()) if (root / "runs.txt").exists() else 0


@pytest.fixture
def no_pages(monkeypatch):
    """Leave Sphinx out where only what comes before it is tested."""

    def build(assembled, sources, output, *, progress):
        return assembled

    monkeypatch.setattr(book_module, "_build_pages", build)


def test_nothing_is_done_twice_and_what_changed_is_done_again(root, monkeypatch):
    built = []

    def pretend(assembled, sources, into, *, progress):
        html = into / "_build" / "html"
        html.mkdir(parents=True)
        (html / "index.html").write_text((assembled / "intro.md").read_text())
        built.append(html)

    monkeypatch.setattr(book_module, "_run_jupyter_book", pretend)
    index = build(root)
    assert index == root.parent / "_build" / "html" / "index.html"
    assert (runs(root), len(built)) == (1, 1)
    build(root)
    assert (runs(root), len(built)) == (1, 1)
    (root / "book" / "intro.md").write_text("# A book\n\nOther words.\n")
    build(root)
    assert (runs(root), len(built)) == (1, 2)
    assert "Other words" in index.read_text()


def test_a_page_with_a_warning_is_no_page_and_leaves_the_old_book(root):
    old = root.parent / "_build" / "html" / "index.html"
    old.parent.mkdir(parents=True)
    old.write_text("the old book")
    (root / "book" / "intro.md").write_text("# A book\n\n[nowhere](missing.md)\n")
    with pytest.raises(reports.BookError, match=r"intro\.md:3: WARNING.*missing"):
        build(root)
    assert old.read_text() == "the old book"
    assert not list(old.parents[1].glob(".partial-*"))


def test_published_notebooks_and_tables(root, no_pages):
    assembled = build(root)
    text = (assembled / "01-question.ipynb").read_text()
    notebook = json.loads(text)
    assert "papermill" not in notebook["metadata"]
    assert all("papermill" not in cell["metadata"] for cell in notebook["cells"])
    assert "_build" not in text
    injected = notebook["cells"][2]
    assert injected["metadata"]["tags"] == ["injected-parameters"]
    assert (assembled / "tables" / "01-x.csv").read_text() == "a,b\n1,2\n"
    study = yaml.safe_load((assembled / "study.yml").read_text())
    assert study["networks"] == ["minivgg16@random"]
    assert "results" not in study
    assert re.search(
        r"\| \[\]\(<01-question.ipynb>\) \| \d+\.\d \|", (assembled / "benchmarks.md").read_text()
    )


def test_images_parameters_and_text_each_cause_a_run(root, no_pages):
    build(root)
    Image.new("RGB", (40, 40), "red").save(root / "images" / "dark" / "0.png")
    build(root)
    assert runs(root) == 2
    build(root, datasets="digits")
    assert runs(root) == 3
    notebook = root / "notebooks" / "01-question.ipynb"
    notebook.write_text(notebook.read_text().replace("1,2", "3,4"))
    (root / "benchmarks").mkdir()
    (root / "benchmarks" / "rates.json").write_text("{}")
    assembled = build(root)
    assert runs(root) == 4
    (root / "benchmarks" / "rates.json").write_text("[]")
    build(root)
    assert runs(root) == 5
    assert "3,4" in (assembled / "tables" / "01-x.csv").read_text()
    # One execution is kept for each set of parameters.
    assert len(list((root.parent / "_build" / "executed").iterdir())) == 2


def test_a_parameter_that_a_notebook_lacks_is_refused_before_anything_runs(root):
    few = {name: value for name, value in PARAMETERS.items() if name != "crops"}
    write_notebook(root / "notebooks" / "01-question.ipynb", "1", parameters=few)
    with pytest.raises(
        ValueError, match=r"01-question\.ipynb has no parameter 'crops'; it has: .*seed"
    ):
        build(root)
    assert not (root.parent / "_build").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"datasets": "digit"}, "unknown dataset 'digit'"),
        ({"networks": "vgg61"}, "unknown network 'vgg61'"),
        ({"weights": "nowhere.pth"}, r"nowhere\.pth"),
        ({"study": "tyny"}, r"no study file 'tyny'.*one of: tiny"),
    ],
)
def test_wrong_names_are_told_before_anything_runs(root, overrides, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        build(root, **overrides)
    assert runs(root) == 0
    assert not (root.parent / "_build").exists()


def test_a_failed_notebook_shows_its_cell_and_leaves_nothing(root):
    write_notebook(
        root / "notebooks" / "01-question.ipynb",
        "from pathlib import Path\nPath('half.csv').write_text('1')",
        "units = 3\nraise ValueError(f'{units} units are too few')",
    )
    with pytest.raises(reports.NotebookError) as caught:
        build(root)
    told = str(caught.value)
    assert "01-question.ipynb failed" in told
    assert "    raise ValueError(f'{units} units are too few')" in told
    assert "ValueError: 3 units are too few" in told
    assert "\x1b" not in told
    assert list((root.parent / "_build" / "executed").iterdir()) == []
    assert not (root.parent / "_build" / "html").exists()


def test_two_notebooks_may_not_write_the_same_table(root, no_pages):
    shutil.copy(root / "notebooks" / "01-question.ipynb", root / "notebooks" / "02-again.ipynb")
    with (root / "book" / "_toc.yml").open("a") as toc:
        toc.write("- file: 02-again\n")
    with pytest.raises(reports.BookError, match=r"02-again.* wrote tables/01-x\.csv"):
        build(root)


def test_a_chapter_without_a_subject_is_one_paragraph_and_is_not_run(root, no_pages):
    (root / "notebooks" / "01-question.ipynb").rename(root / "notebooks" / "04-tca-fusion.ipynb")
    toc = root / "book" / "_toc.yml"
    toc.write_text(toc.read_text().replace("01-question", "04-tca-fusion"))
    shutil.copy(root / "notebooks" / "04-tca-fusion.ipynb", root / "notebooks" / "00-first.ipynb")
    with toc.open("a") as contents:
        contents.write("- file: 00-first\n")
    (cell,) = execution.read_json(build(root) / "04-tca-fusion.ipynb")["cells"]
    assert cell["source"].startswith("# What is asked?\n\nThis chapter learns from one dataset")
    assert runs(root) == 1


def test_overrides(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.pth").touch()
    file = tmp_path / "study.yml"
    file.write_text("datasets: [digits, photographs]\nnetworks: [vgg16@imagenet, alexnet]\n")

    def names(**overrides):
        parameters = book_module.study_parameters(file, **overrides)
        return parameters["datasets"], parameters["networks"]

    absolute = tmp_path.as_posix()
    assert names() == (["digits", "photographs"], ["vgg16@imagenet", "alexnet@imagenet"])
    assert names(weights="random")[1] == ["vgg16@random", "alexnet@random"]
    assert names(networks="resnet50")[1] == ["resnet50@imagenet"]
    assert names(networks="resnet50,vgg16@x", weights="random")[1] == [
        "resnet50@random",
        "vgg16@random",
    ]
    assert names(datasets=" a , folder:b c")[0] == ["a", f"folder:{absolute}/b c"]
    assert names(weights="mine.pth")[1][0] == f"vgg16@{absolute}/mine.pth"
    assert book_module.study_parameters(file)["results"] == "tables"


def test_execution_key_names_the_notebook_and_its_parameters(tmp_path):
    notebook = tmp_path / "01-x.ipynb"
    write_notebook(notebook, "1")
    key = execution.execution_key(notebook, {"seed": 0}, ["images", "weights"])
    assert re.fullmatch(r"01-x-[0-9a-f]{8}-[0-9a-f]{16}", key)
    assert key == execution.execution_key(notebook, {"seed": 0}, ["images", "weights"])
    other_weights = execution.execution_key(notebook, {"seed": 0}, ["images", "others"])
    other_seed = execution.execution_key(notebook, {"seed": 1}, ["images", "weights"])
    assert other_weights != key
    assert other_weights[:13] == key[:13]
    assert other_seed[:13] != key[:13]


def test_widgets_are_left_out_but_for_the_picture_that_stands_in(tmp_path):
    notebook = tmp_path / "widgets.ipynb"
    write_notebook(
        notebook,
        "from IPython.display import display\n"
        "from ipywidgets import IntSlider\n"
        "display(IntSlider())",
        "data = IntSlider()._repr_mimebundle_() | {'image/png': 'AAAA'}\ndisplay(data, raw=True)",
    )
    done = execution.run_notebook(notebook, {}, key="w-1-1", cache=tmp_path / "c", progress=False)
    executed = nbformat.read(done / notebook.name, as_version=4)
    outputs = [cell.outputs for cell in executed.cells if cell.cell_type == "code"]
    assert outputs[1] == []
    assert [dict(output.data) for output in outputs[2]] == [{"image/png": "AAAA"}]
    assert "widgets" not in executed.metadata


def test_notebooks_side_by_side_have_their_own_folders_and_one_thread_each(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    notebooks = [tmp_path / f"{number}.ipynb" for number in range(3)]
    asks = "import os, pathlib; n = os.environ.get('OMP_NUM_THREADS', 'all')"
    for number, notebook in enumerate(notebooks):
        writes = f"pathlib.Path('here').write_text({notebook.stem!r} + n)"
        write_notebook(notebook, asks, f"import time; time.sleep({number % 2})", writes)
    keys = {notebook: f"{notebook.stem}-1-1" for notebook in notebooks}
    done = execution.run_notebooks(keys, {}, cache=tmp_path / "cache", progress=True)
    assert [folder.name.rpartition("-")[0] for folder in done] == list(keys.values())
    assert [(folder / "here").read_text() for folder in done] == ["0all", "11", "21"]
    assert Path.cwd() == tmp_path
    assert "OMP_NUM_THREADS" not in os.environ
    told = capsys.readouterr().err
    assert "[1/3] 0, about" in told and ", about 0.0 min left" in told
    assert told.splitlines()[-1].endswith("min  2")


def test_of_notebooks_side_by_side_the_broken_one_is_named(tmp_path):
    notebooks = [tmp_path / f"{number}.ipynb" for number in range(3)]
    for notebook in notebooks:
        write_notebook(notebook, f"assert {notebook.stem} != 1")
    keys = {notebook: f"{notebook.stem}-1-1" for notebook in notebooks}
    with pytest.raises(reports.NotebookError, match=r"1\.ipynb failed in cell"):
        execution.run_notebooks(keys, {}, cache=tmp_path / "cache", progress=False)
    assert not list((tmp_path / "cache").glob(".partial-*"))


def test_environment_follows_the_data_of_the_package(tmp_path):
    (tmp_path / "cards.toml").write_text("1")
    before = execution.environment_hash(tmp_path)
    (tmp_path / "module.py").write_text("its notebooks are found by their closures")
    assert execution.environment_hash(tmp_path) == before
    rates = tmp_path / "rates"
    assert execution.environment_hash(tmp_path, rates) == before
    rates.write_text("measured anew")
    assert execution.environment_hash(tmp_path, rates) != before
    (tmp_path / "cards.toml").write_text("2")
    assert execution.environment_hash(tmp_path) != before


def test_a_notebook_runs_again_when_a_module_that_it_loaded_has_changed(tmp_path, monkeypatch):
    eager, lazy, none = (tmp_path / f"{name}.ipynb" for name in ("eager", "lazy", "none"))
    write_notebook(eager, "import analysis.paths")
    write_notebook(lazy, "from analysis.data import stratified_splits\nstratified_splits")
    write_notebook(none, "1")
    keys = {notebook: f"{notebook.stem}-1-1" for notebook in (eager, lazy, none)}

    def run() -> list[Path]:
        return execution.run_notebooks(keys, {}, cache=tmp_path / "cache", progress=False)

    first, usual = run(), execution.module_hashes
    assert run() == first
    for changed, again in (
        ("analysis.paths", [True, False, False]),
        ("analysis.data.splits", [False, True, False]),
        ("analysis.figures.scale", [False, False, False]),
    ):
        before = run()
        monkeypatch.setattr(execution, "module_hashes", partial(dict, usual() | {changed: "new"}))
        assert [now != then for now, then in zip(run(), before, strict=True)] == again
        assert len([*(tmp_path / "cache").iterdir()]) == len(keys)
        monkeypatch.undo()
        assert len(run()) == len(keys)


def test_an_installed_package_brings_its_sources_along(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "analysis"
    monkeypatch.setattr(sources, "_PACKAGE", package)
    with pytest.raises(FileNotFoundError, match="install layerbook again"):
        sources.find_sources()
    write_root(package / "_book")
    found = sources.find_sources()
    assert found.root == package / "_book"
    assert found.study("tiny") == package / "_book" / "book" / "studies" / "tiny.yml"
    assert found.study("book/studies/tiny.yml") == found.study("tiny")
    assert [notebook.name for notebook in found.notebooks()] == ["01-question.ipynb"]


def test_a_page_without_source_is_named(root):
    (root / "notebooks" / "01-question.ipynb").unlink()
    with pytest.raises(FileNotFoundError, match="01-question"):
        build(root)


def test_every_notebook_and_prose_page_of_the_project_is_in_the_table_of_contents():
    found = sources.BookSources(ROOT)
    written = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    written |= {path.stem for path in (ROOT / "book").glob("[!_]*.md")}
    assert written == set(found.pages()) - set(sources.GENERATED_PAGES)


def test_every_citation_of_a_dataset_is_in_the_bibliography():
    keys = re.findall(r"^@\w+\{(.+),$", (ROOT / "book" / "references.bib").read_text(), re.M)
    assert len(keys) == len(set(keys))
    assert {card.citation for card in CARDS.values()} <= set(keys)


def test_datasets_page_says_why_a_dataset_is_in_its_group():
    study = Study("x", "digits,photographs", "minivgg16@bundled,minivgg16@bundled-living")
    page = pages.datasets_page(study)
    for task in ("bundled", "bundled-living"):
        overlap = CARDS["digits"].overlap_with(task)
        assert f"| `{task}` | `digits` | c | {overlap.reason} |" in page
        assert f"| `{task}` | `photographs` | – | nobody has compared them |" in page
    table = page.partition("by name")[2].partition("to know before")[2]
    for name, card in CARDS.items():
        entry = table.partition(f"\n`{name}`\n: ")[2].partition("\n\n")[0]
        assert entry.endswith(card.overlap_reason), name
        assert (f"Overlap {card.overlap_group}: " in entry) is bool(card.overlap_group), name


def test_datasets_page_of_a_study_of_untrained_networks_compares_nothing():
    page = pages.datasets_page(Study("x", "digits", "minivgg16@random"))
    assert "No network of this study is known to have learnt a task" in page


def test_benchmarks_page(tmp_path):
    file = tmp_path / "results.json"
    assert "came without measurements" in pages.benchmarks_page(file)
    file.write_text(
        json.dumps(
            [
                {"name": "a|b", "value": 1234.5, "unit": "s", "target": 2000, "passed": True},
                {"name": "c", "value": 3, "unit": "images/s", "target": 4, "passed": False},
                {"name": "d", "value": 0.00123, "unit": "s"},
            ]
        )
    )
    page = pages.benchmarks_page(file)
    assert r"| a\|b | 1,234 | s | ≤ 2,000 | yes |" in page
    assert "| c | 3 | images/s | ≥ 4 | **no** |" in page
    assert "| d | 0.00123 | s | – | – |" in page


def test_page_of_what_was_withstood(tmp_path):
    file = tmp_path / "withstood.json"
    assert "`make check` in a checkout makes one" in pages.faults_page(file)
    rows = [
        {
            "kind": "fault",
            "what": "A <b>kill</b> | of *all*",
            "tried": 990,
            "test": "tests/x.py::a",
        },
        {"kind": "fault", "what": "A disk that is full", "tried": 1, "test": "tests/z.py::a[1]"},
        {"kind": "fault", "what": "A <b>kill</b> | of *all*", "tried": 10, "test": "tests/y.py::b"},
    ]
    file.write_text(json.dumps(rows))
    page = pages.faults_page(file)
    assert "on purpose, 1,001 times" in page
    assert (
        r"| A \<b\>kill\</b\> \| of \*all\* | 1,000 | nothing | `tests/x.py`, `tests/y.py` |"
        in page
    )
    assert "| A disk that is full | 1 | nothing | `tests/z.py` |" in page
    assert "Attacks" not in page
    file.write_text(json.dumps([*rows, rows[0] | {"kind": "attack", "what": "A bomb"}]))
    faults, _, attacks = pages.faults_page(file).partition("## Attacks")
    assert "A bomb" in attacks
    assert "A bomb" not in faults


def test_the_landing_page_says_what_this_run_found(tmp_path):
    def glued(name, value):
        data = {"application/papermill.record/text/plain": repr(value)}
        return {"data": data, "metadata": {"scrapbook": {"name": name}}}

    values = {"share": 0.654, "noise_share": 0.12, "r_squared": float("nan"), "flat": "a_b*"}
    picture = {"data": {"image/png": "AAAA"}, "metadata": {}}
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": "# Noise"},
        {"metadata": {}, "outputs": [glued(*pair) for pair in values.items()]},
        {
            "metadata": {"tags": ["landing-picture"], "mystnb": {"image": {"alt": "Ridges"}}},
            "outputs": [picture],
        },
    ]
    for name, own in (("03-noise-thresholds", cells), ("07-scale", cells[:1])):
        (tmp_path / name).mkdir()
        content = json.dumps({"cells": own, "metadata": {}})
        (tmp_path / name / f"{name}.ipynb").write_text(content, "utf-8")
    said = pages.findings([tmp_path / "03-noise-thresholds", tmp_path / "07-scale"], tmp_path)
    assert "- **65% of the embedding**" in said and "the same thresholds keep 12%" in said
    assert "![Ridges](_landing.png)" in said
    assert (tmp_path / "_landing.png").read_bytes() == base64.b64decode("AAAA")
    assert said.count("[More](<") == 1
    assert pages.findings([tmp_path / "07-scale"], tmp_path) == ""
