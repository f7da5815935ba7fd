"""``layerbook report``: from a folder of images to a page and an embedding, or to a clear error."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from notebook_shell import run_here
from PIL import Image
from typer.testing import CliRunner

from analysis import load_dataset
from analysis.__main__ import app
from analysis.book import report as report_module
from analysis.book.execution import NotebookError
from analysis.book.report import (
    DatasetStudy,
    broken_files,
    identical_files,
    report_dataset,
    warnings_of,
)
from analysis.data.decoding import FORMATS
from analysis.data.listing import composed

ODD = [
    "<script>alert(1)",
    "quote\"s 'n' ticks`",
    "5 $ a_{b}^c$",
    "two\nlines",
    "\N{GREEK SMALL LETTER ALPHA}\N{COMBINING ACUTE ACCENT} \N{CAT FACE} &amp; {{x}} | *b*",
]


def draw(root: Path, classes: list[str], n: int, *, side: int = 40, seed: int = 0) -> str:
    """Folder of classes that differ in the direction of their stripes."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    for number, name in enumerate(classes):
        angle = np.pi * number / len(classes)
        (root / name).mkdir(parents=True)
        for image in range(n):
            wave = np.sin(0.6 * (x * np.cos(angle) + y * np.sin(angle)) + rng.uniform(0, 6))
            pixels = 127 + 80 * wave[..., None] + rng.normal(0, 25, (side, side, 3))
            file = root / name / f"{image:02d}.png"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)
    return f"folder:{root}"


def report(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["report", *arguments])


def refused(*arguments: str) -> str:
    """Error message of a command that must not start a notebook."""
    result = report(*arguments)
    assert result.exit_code == 1
    message = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert len(message) == 1
    return message[0]


@pytest.fixture
def no_notebook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise AssertionError("a notebook was started")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report_module, "run_notebook", run)


@pytest.fixture
def cells_run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the kernel: one report of this file has one, and so has that of the small book."""
    monkeypatch.setattr(report_module, "run_notebook", run_here)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the notebook fail in a given way."""

    def fail(error: BaseException) -> None:
        def run(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr(report_module, "run_notebook", run)

    return fail


@pytest.mark.usefixtures("no_notebook")
def test_what_cannot_be_reported_on_is_told_before_a_notebook_runs(tmp_path: Path) -> None:
    def folder(name: str, **classes: int) -> str:
        for which, n in classes.items():
            draw(tmp_path / name, [which], n)
        return f"folder:{tmp_path / name}"

    pair = folder("pair", a=2, b=2)
    folder("empty", some=3)
    (tmp_path / "empty" / "nothing").mkdir()
    folder("torn", whole=3, broken=3)
    for file in (tmp_path / "torn" / "broken").iterdir():
        file.write_bytes(b"no image")
    (tmp_path / "mine").write_text("mine")
    before = sorted(file.name for file in tmp_path.iterdir())
    small = "two readable images or more.*'lonely'; add images, or move these folders away"
    for arguments, told in (
        ((folder("small", many=3, other=3, lonely=1),), small),
        ((f"folder:{tmp_path / 'empty'}",), r"no images in class folder\(s\) nothing"),
        ((folder("one", only=3), "--out", str(tmp_path / "new" / "x")), "one class, 'only'"),
        ((f"folder:{tmp_path / 'torn'}",), r"\(3 images left out\).*'broken'"),
        (("folder:missing",), "no such folder"),
        ((pair, "--network", "minivgg61@random"), "unknown network"),
        ((pair, "--out", "mine"), "name another folder"),
    ):
        assert re.search(told, refused(*arguments)), told
    assert (tmp_path / "mine").read_text() == "mine"
    left = sorted(file.name for file in tmp_path.iterdir())
    assert left == sorted([*before, "one", "small"])


@pytest.mark.parametrize("error", [NotebookError("a cell"), KeyboardInterrupt()])
def test_a_failure_leaves_the_report_of_before(
    error: BaseException, failing: Any, tmp_path: Path
) -> None:
    failing(error)
    images, out = draw(tmp_path / "images", ["a", "b"], 3), tmp_path / "out"
    (out / "embedding").mkdir(parents=True)
    for file in ("report.html", "embedding/embedding.json", "notes.txt"):
        (out / file).write_text("before")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(type(error)):
        report_dataset(images, "minivgg16@random", crops="center", out=out, progress=False)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    with pytest.raises(type(error)):
        report_dataset(
            images, "minivgg16@random", crops="center", out=tmp_path / "new" / "x", progress=False
        )
    assert not (tmp_path / "new").exists()


def test_what_the_notebook_refuses_is_told_without_its_cell(failing: Any, tmp_path: Path) -> None:
    class CauseError(Exception):
        ename, evalue = "ValueError", "too few images"

    error = NotebookError("05-your-dataset.ipynb failed in cell [3]: ...")
    error.__cause__ = CauseError()
    failing(error)
    result = report(
        draw(tmp_path / "images", ["a", "b"], 3),
        *("--network", "minivgg16@random", "--crops", "center", "--out", str(tmp_path / "out")),
    )
    assert result.output.splitlines()[-1] == "error: too few images"


def test_the_study_looks_at_one_dataset_and_leaves_out_what_it_is_told(tmp_path: Path) -> None:
    images = draw(tmp_path / "images", ["a", "b"], 3)
    (tmp_path / "images" / "a" / "01.png").write_bytes(b"no image")
    read = load_dataset(images, on_error="skip")
    broken = report_module.write_broken(read, tmp_path / "broken.json")
    for how in (str(broken), ""):
        study = DatasetStudy(
            "T",
            [images, "digits"],
            ["minivgg16@random", "vgg16"],
            reference_images=images,
            progress=False,
            broken=how,
        )
        assert [(pair.dataset, pair.network) for pair in study.pairs] == [
            (images, "minivgg16@random")
        ]
        assert study.images.paths == read.paths
        assert study.images.skipped == read.skipped
    broken.write_text(json.dumps({"a/99.png": "gone"}))
    with pytest.raises(ValueError, match="has changed"):
        DatasetStudy("T", images, "minivgg16@random", reference_images=images, broken=str(broken))


def test_broken_and_identical_files_are_named(tmp_path: Path) -> None:
    images = draw(tmp_path / "images", ODD[:2], 11)
    first, second = (tmp_path / "images" / name for name in ODD[:2])
    (first / "03.png").write_bytes(b"no image")
    (second / "07.png").write_bytes((first / "00.png").read_bytes())
    data = load_dataset(images, on_error="skip")
    assert broken_files(data).to_numpy().tolist() == [
        [
            f"{ODD[0]}/03.png",
            f"it is in none of the formats {', '.join(FORMATS)}, or damaged",
        ]
    ]
    assert identical_files(data)[["class", "classes"]].to_numpy().tolist() == [
        [ODD[0], 2],
        [ODD[1], 2],
    ]
    (said,) = warnings_of(data)
    assert "1 of 22 images (4.5%) are left out" in said
    assert f"1 (such as {ODD[0]}/03.png): it is in none of the formats" in said


@pytest.mark.usefixtures("cells_run_here")
def test_what_is_left_out_is_on_the_page_and_in_the_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = draw(tmp_path / "images", ["a", "b"], 4)
    root = tmp_path / "images"
    (root / "a" / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(200))
    (root / "a" / "IMG_2.CR3").write_bytes(b"?")
    (root / "b" / "older" / "deep").mkdir(parents=True)
    for place in ("older/1.png", "older/deep/2.png"):
        (root / "b" / place).write_bytes((root / "b" / "00.png").read_bytes())
    made = report_dataset(
        images, "minivgg16@random", crops="center", out=tmp_path / "out", progress=False
    )
    page = text_of(made.page.read_text(encoding="utf-8"))
    reasons = ("1 (such as a/IMG_1.HEIC): ", "files that end in .cr3", "as b/older is; move it")
    for reason in reasons:
        assert reason in page
        assert any(reason in line for line in made.left_out)
    assert len(made.left_out) == 4
    assert "4 of 12 images (33.3%) are left out" in page
    assert all(path in page for path in ("a/IMG_2.CR3", "b/older/1.png", "b/older/deep/2.png"))
    monkeypatch.setattr("analysis.book.report.report_dataset", lambda *_, **__: made)
    assert report(images).output.splitlines()[2:] == [f"Left out: {each}" for each in made.left_out]


@pytest.mark.usefixtures("cells_run_here")
def test_a_report_on_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(tmp_path / "images", ["a", "b"], 4)
    files = sorted((tmp_path / "images").rglob("*.png"))
    rows = [f"{file.relative_to(tmp_path).as_posix()},{file.parent.name * 3}" for file in files]
    table = tmp_path / "my, labels.csv"
    monkeypatch.chdir(tmp_path)
    table.write_text("\n".join(["path,label", *rows, "gone.png,aaa"]))
    assert "1 of 9 files" in refused(f"table:{table.name}", "--network", "minivgg16@random")
    table.write_text("\n".join(["path,label", *rows]))
    made = report_dataset(f"table:{table.name}", "minivgg16@random", crops="center", progress=False)
    assert made.page == tmp_path / "report-my-labels-minivgg16/report.html"
    page = text_of(made.page.read_text("utf-8"))
    assert f"table:{table}" in page and "aaa" in page and made.left_out == ()


def text_of(page: str) -> str:
    from html.parser import HTMLParser

    parts: list[str] = []
    parser = HTMLParser()
    parser.handle_data = parts.append  # type: ignore[method-assign]
    parser.feed(page)
    return " ".join(" ".join(parts).split())


def test_a_report_on_odd_names_and_three_percent_of_broken_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = draw(tmp_path / "images", ODD, 20)
    for name in ODD[:3]:
        broken = tmp_path / "images" / name / "04.png"
        broken.write_bytes(broken.read_bytes()[:60])
    out = tmp_path / "<out> $1"
    result = report(
        images, "--network", "minivgg16", "--weights", "random", "--crops", "center",
        "--out", str(out),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert str(out / "report.html") in result.output
    assert str(out / "embedding") in result.output
    assert sorted(path.name for path in out.iterdir()) == ["embedding", "report.html"]

    page = (out / "report.html").read_text("utf-8")
    assert "<script" not in page.lower()
    assert ' src="http' not in page
    assert page.count("<img ") == page.count("<img alt=") == 7
    text = text_of(page)
    for name in ODD:
        assert " ".join(composed(name).split()) in text
    assert "3 of 100 images (3.0%) are left out" in text
    assert "images 97 classes 5 images per class, mean 19.4" in text
    for name in ODD[:3]:
        assert " ".join(composed(f"{name}/04.png").split()) in text

    assert {path.suffix for path in (out / "embedding").iterdir()} == {".json", ".safetensors"}
    others = draw(tmp_path / "others", ["x", "y"], 3, seed=1)
    lines = page.partition("<pre>")[2].partition("</pre>")[0]
    given = html.unescape(lines).replace("folder:/path/to/others", others)
    assert given.count(others) == 1
    names: dict[str, Any] = {}
    monkeypatch.chdir(out)
    exec(given, names)
    kept = json.loads((out / "embedding" / "embedding.json").read_text("utf-8"))
    assert names["features"].shape == (6, names["embedding"].embedding_.kept_.size)
    assert list(dict.fromkeys(names["features"]["layer"].values)) == kept["kept_layers"]
    assert np.isfinite(names["features"]).all()
    assert names["features"].std() > 0


@pytest.mark.long
def test_a_report_on_two_classes_of_ten(tmp_path: Path, cells_run_here: None) -> None:
    images = draw(tmp_path / "images", ["flat", "steep"], 10)
    original = tmp_path / "images" / "flat" / "00.png"
    original.with_name("05.png").write_bytes(original.read_bytes())
    with Image.open(original) as image:  # the same picture, other bytes
        image.save(tmp_path / "images" / "steep" / "05.png", compress_level=1)
    made = report_dataset(
        images, "minivgg16@random", crops="center", out=tmp_path / "out", progress=False
    )
    text = text_of(made.page.read_text("utf-8"))
    assert "images 20 classes 2 class sizes 10 images in every class" in text
    assert "fewer than ten images" not in text
    assert "5 splits with 5 training images of each of 2 classes" in text
    assert "Every class leaves 5 to test on" in text
    assert "smallest class" not in text and "largest class" not in text
    for copy in ("flat/05.png", "flat/00.png"):
        assert f"1 {copy} flat 1" in text  # the same file twice, in one class
    assert "flat steep 2 0.000" in text  # nearly the same as either, across classes
    assert "Images that are the same as another: 2 ;" in text


@pytest.mark.long
def test_a_report_on_three_hundred_tiny_classes(tmp_path: Path, cells_run_here: None) -> None:
    classes = [f"class {number:03d}" for number in range(300)]
    images = draw(tmp_path / "images", classes, 2, side=16)
    made = report_dataset(
        images, "minivgg16@random", crops="center", out=tmp_path / "out", progress=False
    )
    page = made.page.read_text("utf-8")
    text = text_of(page)
    assert "images 600 classes 300 class sizes 2 images in every class" in text
    assert "300 of 300 classes have fewer than ten images" in text
    assert "There is no recommendation" in text
    assert "a third to test on, and every class has fewer" in text
    assert "(not shown: 270 )" in text  # bars
    assert "(not shown: 288 )" in text  # crops
    assert "… and 280 more rows" in text
    assert max(table.count("<tr") for table in page.split("<table")) < 45
    assert (made.embedding / "embedding.safetensors").is_file()
