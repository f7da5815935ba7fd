"""Sources of a book of one prose page, one notebook and the study ``tiny``."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import numpy as np
import yaml
from PIL import Image

ROOT = Path(__file__).parents[1]
PARAMETERS = {
    "title": "A tiny study",
    "datasets": [],
    "networks": ["minivgg16@random"],
    "crops": "center",
    "seed": 0,
    "reference_images": "photographs",
    "results": "",
}


def write_images(folder, *, seed=0):
    rng = np.random.default_rng(seed)
    for name in ("dark", "light"):
        (folder / name).mkdir(parents=True)
        for number in range(2):
            pixels = rng.integers(0, 120, (40, 40, 3)) + (120 if name == "light" else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")


def write_notebook(path, *code, parameters=PARAMETERS):
    declared = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    tagged = nbformat.v4.new_code_cell(declared, metadata={"tags": ["parameters", "remove-cell"]})
    cells = [
        nbformat.v4.new_markdown_cell("# What is asked?\n\n[Table (CSV)](tables/01-x.csv)"),
        tagged,
        *map(nbformat.v4.new_code_cell, code),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, path)


def write_root(root):
    (root / "notebooks").mkdir(parents=True)
    (root / "book" / "studies").mkdir(parents=True)
    shutil.copy(ROOT / "_config.yml", root)
    for name in ("_static", "_extra"):
        shutil.copytree(ROOT / "book" / name, root / "book" / name)
    shutil.copy(ROOT / "book" / "references.bib", root / "book")
    (root / "book" / "intro.md").write_text("# A book\n\nHow far does $x$ carry?\n")
    (root / "book" / "_toc.yml").write_text(
        "format: jb-book\nroot: intro\nchapters:\n- file: 01-question\n"
    )
    write_images(root / "images")
    study = PARAMETERS | {"datasets": [f"folder:{root / 'images'}"]}
    del study["results"]
    (root / "book" / "studies" / "tiny.yml").write_text(yaml.safe_dump(study))
    write_notebook(
        root / "notebooks" / "01-question.ipynb",
        "from pathlib import Path\n"
        f"with open({str(root / 'runs.txt')!r}, 'a') as log:\n    log.write('x')\n"
        "Path(results).mkdir()\n"
        "(Path(results) / '01-x.csv').write_text('a,b\\n1,2\\n');",
    )
