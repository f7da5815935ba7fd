"""The same study gives the same pictures, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from golden.pictures import TIMED, all_pictures, differing, pictures
from nbformat.v4 import new_code_cell, new_notebook, new_output, writes
from small_root import write_notebook

from analysis import figures
from analysis.book.build import study_parameters
from analysis.book.execution import run_notebook, run_notebooks
from analysis.book.sources import find_sources

DRAWING = """
import numpy as np
from matplotlib import pyplot as plt
from analysis.figures.style import use_style
use_style()
rng = np.random.default_rng(seed)
fig, (left, right) = plt.subplots(1, 2)
left.hexbin(rng.normal(size=500), rng.normal(size=500), gridsize=20)
right.plot(rng.normal(size=50), label="$x_1$", marker="o")
right.fill_between(range(50), rng.normal(size=50), alpha=0.3)
right.legend();
"""


def test_a_notebook_executed_twice_is_the_same_file(tmp_path):
    path = tmp_path / "01-x.ipynb"
    table = "import pandas as pd\npd.DataFrame({'x': [seed]}).style.hide()"
    write_notebook(path, DRAWING, "plt.imshow(rng.random((20, 20)), cmap='magma');", table)
    files = []
    for folder in ("one", "other"):
        done = run_notebook(
            path, {"seed": 3}, key="01-x-1-1", cache=tmp_path / folder, progress=False
        )
        files.append(done / path.name)
    assert len(pictures(files[0])) == 2
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.long
def test_every_picture_of_the_small_book_is_the_same_in_a_second_execution(small_book, tmp_path):
    executed = sorted((small_book / "executed").glob("*/*.ipynb"))
    first = all_pictures(executed)
    sources = find_sources()
    images = small_book.parent / "images"
    parameters = study_parameters(sources.study("bundled"), datasets=f"folder:{images}")
    keys = {path: f"{path.stem}-1-1" for path in sources.notebooks()}
    done = run_notebooks(keys, parameters, cache=tmp_path, progress=False)
    second = all_pictures(
        folder / f"{notebook.stem}.ipynb" for folder, notebook in zip(done, keys, strict=True)
    )
    assert len(first) > 30
    assert differing(first, second) == []


def test_pictures_are_compared_but_for_those_of_times(tmp_path):
    def shown(source: str, content: str):
        output = new_output("display_data", {"image/png": content, "text/plain": "x"})
        return new_code_cell(source, outputs=[output])

    def written(*contents: str):
        sources = ["figures.plot_a(x)", "figures.plot_module_times(x)", "figures.plot_b(x)"]
        notebook = new_notebook(cells=[*map(shown, sources, contents)])
        (tmp_path / "01-x.ipynb").write_text(writes(notebook))
        return pictures(tmp_path / "01-x.ipynb")

    one, later, other = (
        written("AAAA", "AAAA", "AAAA"),
        written("AAAA", "BBBB", "AAAA"),
        written("AAAA", "AAAA", "CCCC"),
    )
    assert len(one) == 2
    assert differing(one, later) == []
    assert differing(one, other) == ["01-x, cell 2, picture 2"]
    assert differing(one, {}) == sorted(one)


def test_the_pictures_that_may_differ_exist():
    modules = Path(figures.__file__).parent.glob("*.py")
    source = "\n".join(module.read_text("utf-8") for module in modules)
    assert [name for name in TIMED if f"def {name}(" not in source] == []
