"""What goes wrong while a book is built: nothing is lost, and nothing half-written is believed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from PIL import Image
from small_root import write_notebook
from typer.testing import CliRunner

from analysis import book as reports
from analysis.__main__ import app
from analysis.book import build as book_module
from analysis.book import sources
from analysis.chapters import write_csv

TESTS = Path(__file__).parents[1]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes that it forks")


def disturbed(kinds: str, folder: Path):
    """What the script of that name found."""
    run = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("disturbed_builds.py")), kinds, str(folder)],
        capture_output=True,
        text=True,
        timeout=1800,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])},
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1], object_hook=lambda d: SimpleNamespace(**d))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return disturbed("killed,interrupted,raced", tmp_path_factory.mktemp("disturbed"))


@pytest.mark.long
@needs_fork
def test_a_build_that_was_killed_goes_on_to_the_same_book(found, withstood):
    killed = found.killed
    assert killed.codes == [-9, -9, -9]
    assert killed.honest == [True, True, True]
    assert killed.left  # so the dead left something to clear
    assert (killed.last, killed.same, killed.partial) == (0, True, [])
    assert killed.runs == 0  # the notebook had been finished before
    withstood("fault", "The build of a book is killed (SIGKILL)", tried=3)


@pytest.mark.long
@needs_fork
def test_builds_killed_at_random_moments_go_on_to_the_same_book(tmp_path, withstood):
    found = disturbed("killed_at_random", tmp_path).killed_at_random
    assert all(found.honest)
    assert (found.last, found.same, found.partial) == (0, True, [])
    withstood("fault", "The build of a book is killed (SIGKILL)", tried=found.kills)


@pytest.mark.long
@needs_fork
def test_ctrl_c_leaves_nothing_half_written_and_says_how_to_go_on(found, withstood):
    stopped = found.interrupted
    assert stopped.codes == [130, 130]
    for said in stopped.said:
        assert said.splitlines()[-1] == (
            "Stopped. Nothing half-written stays; the same command goes on with what is finished."
        )
        assert "Traceback" not in said
    assert stopped.partial == []
    assert stopped.finished == [[], ["01-question"]]
    assert (stopped.last, stopped.same, stopped.runs) == (0, True, 0)
    withstood("fault", "Ctrl-C while a book is built", tried=2)


@pytest.mark.long
@needs_fork
def test_two_builds_into_one_folder_wait_for_each_other(found, withstood):
    raced = found.raced
    assert raced.codes == [0, 0]
    assert (raced.same, raced.partial, raced.runs) == (True, [], 1)
    withstood("fault", "Two processes build a book into one folder", tried=1)


@pytest.fixture
def built(monkeypatch):
    """Leave kernels and Sphinx out; the names of the executions that were asked for."""
    asked = []

    def run(keys, parameters, *, cache, progress):
        for key in keys.values():
            if not (cache / key).is_dir():
                (cache / key).mkdir(parents=True)
                asked.append(key)
        return [cache / key for key in keys.values()]

    monkeypatch.setattr(book_module, "run_notebooks", run)
    for name in ("_assemble", "_build_pages"):
        monkeypatch.setattr(book_module, name, lambda assembled, *_, **__: assembled)
    return asked


def build(root):
    return reports.build_book("tiny", output=root.parent / "_build", progress=False)


def test_images_that_changed_between_two_builds_are_looked_at_again(root, built, withstood):
    build(root)
    build(root)
    assert len(built) == 1
    images = root / "images"
    one = images / "dark" / "0.png"

    def change_a_pixel() -> None:
        """Such that neither size nor time of the file tell."""
        stat = one.stat()
        with Image.open(one) as image:
            changed = image.convert("RGB")
        changed.putpixel((3, 3), tuple(value ^ 1 for value in changed.getpixel((3, 3))))
        changed.save(one)
        one.write_bytes(one.read_bytes().ljust(stat.st_size, b"\0"))
        os.utime(one, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    changes = (
        change_a_pixel,
        lambda: shutil.copy(one, images / "dark" / "9.png"),
        lambda: (images / "dark" / "9.png").rename(images / "light" / "9.png"),
        lambda: (images / "light" / "9.png").rename(images / "light" / "8.png"),
        lambda: (images / "dark" / "1.png").unlink(),
        lambda: (images / "light").rename(images / "pale"),
    )
    for number, change in enumerate(changes, 2):
        change()
        build(root)
        assert len(built) == number
        build(root)
        assert len(built) == number
    withstood("fault", "A dataset changes between two builds of a book", tried=len(changes))


def test_images_that_change_while_notebooks_run_are_told(root, built, monkeypatch, withstood):
    one, stand_in = root / "images" / "dark" / "0.png", book_module.run_notebooks

    def run(*args, **kwargs):
        Image.new("RGB", (40, 40), "red").save(one)
        return stand_in(*args, **kwargs)

    before = one.read_bytes()
    monkeypatch.setattr(book_module, "run_notebooks", run)
    with pytest.raises(
        reports.BookError, match=r"these changed: images of folder:.*build the book"
    ):
        build(root)
    monkeypatch.setattr(book_module, "run_notebooks", stand_in)
    one.write_bytes(before)  # what was computed from the red image is not taken for this one's
    build(root)
    assert len(built) == 2
    withstood("fault", "A dataset changes while a book is built", tried=1)


def test_a_kernel_that_is_killed_is_told_and_the_next_build_goes_on(root, monkeypatch, withstood):
    monkeypatch.setattr(book_module, "_build_pages", lambda assembled, *_, **__: assembled)
    write_notebook(
        root / "notebooks" / "01-question.ipynb",
        "import os, signal\nfrom pathlib import Path\n"
        "Path(results).mkdir()\n(Path(results) / '01-x.csv').write_text('half')\n"
        f"again = Path({str(root / 'again')!r})\n"
        "if not again.exists():\n    again.touch()\n    os.kill(os.getpid(), 9)",
        "(Path(results) / '01-x.csv').write_text('whole');",
    )
    with pytest.raises(reports.NotebookError, match=r"01-question.*was killed.*memory runs out"):
        build(root)
    assert list((root.parent / "_build" / "executed").iterdir()) == []
    assert (build(root) / "tables" / "01-x.csv").read_text() == "whole"
    withstood("fault", "The process of a notebook is killed, as when memory runs out", tried=1)


@needs_fork
def test_ctrl_c_does_not_wait_for_the_cell_that_runs(root, withstood):
    begun, ended = root / "begun", root / "ended"
    write_notebook(
        root / "notebooks" / "01-question.ipynb",
        "import time\nfrom pathlib import Path\n"
        f"Path({str(begun)!r}).touch()\ntime.sleep(45)\nPath({str(ended)!r}).touch()",
    )

    def press() -> None:
        while not begun.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=press, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            build(root)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not ended.exists()
    assert list((root.parent / "_build" / "executed").iterdir()) == []
    withstood("fault", "Ctrl-C while a book is built", tried=1)


def test_nobody_is_left_writing_pages_when_the_build_is_stopped(root, monkeypatch, tmp_path):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho $$ > {tmp_path / 'pid'}\necho begun\nexec sleep 600\n")
    python.chmod(0o755)
    monkeypatch.setattr(book_module, "sys", SimpleNamespace(executable=str(python)))

    def stop(output, n_pages, progress):
        next(output)
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(book_module, "_shown", stop)
    with pytest.raises(KeyboardInterrupt):
        book_module._run_jupyter_book(root, sources.BookSources(root), tmp_path, progress=False)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 12 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=12m", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root on Linux only")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def leave_free(disk: Path, size: int) -> None:
    """Fill a disk up to so many bytes."""
    (disk / "ballast").unlink(missing_ok=True)
    with (disk / "ballast").open("wb") as ballast:
        ballast.write(bytes(shutil.disk_usage(disk).free - size))


def test_a_full_disk_is_told_and_costs_nothing_that_was_finished(
    root, small_disk, monkeypatch, withstood
):
    def pages(assembled, sources, into, *, progress):
        html = into / "_build" / "html"
        html.mkdir(parents=True)
        (html / "index.html").write_bytes(bytes(3_000_000))

    monkeypatch.setattr(book_module, "_run_jupyter_book", pages)
    write_notebook(
        root / "notebooks" / "01-question.ipynb",
        f"with open({str(root / 'runs.txt')!r}, 'a') as log:\n    log.write('x')",
        "from pathlib import Path\nPath(results).mkdir()\n"
        "(Path(results) / '01-x.csv').write_text('a,b\\n' + 50_000 * '1,2\\n');",
    )
    output = small_disk / "_build"

    def book(free: int) -> str:
        leave_free(small_disk, free)
        result = CliRunner().invoke(app, ["book", "tiny", "--output", str(output)])
        partial = [path for path in output.rglob(".partial-*")] if output.exists() else []
        assert partial == []
        return "" if result.exit_code == 0 else result.output

    executed = output / "executed"
    for free, finished in ((100_000, 0), (1_000_000, 1), (4_000_000, 1)):
        told = book(free)
        assert "No space left on device" in told
        assert told.splitlines()[-1].startswith("Make room on the disk and run the command again")
        assert len([*executed.iterdir()]) == finished
        assert not (output / "html").exists()
    assert book(9_000_000) == ""
    assert (output / "html" / "index.html").stat().st_size == 3_000_000
    assert (root / "runs.txt").read_text() == "xx"  # once on the full disk, once for all
    # A full disk while the next book is written leaves the one that is there.
    (root / "book" / "intro.md").write_text("# A book\n\nOther words.\n")
    assert "No space left on device" in book(1_000_000)
    assert (output / "html" / "index.html").stat().st_size == 3_000_000
    withstood("fault", "The disk is full while a book is built", tried=4)


def test_a_full_disk_is_recognised_in_what_jupyter_book_says(root, monkeypatch, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'OSError: [Errno 28] No space left on device'\nexit 2\n")
    python.chmod(0o755)
    monkeypatch.setattr(book_module, "sys", SimpleNamespace(executable=str(python)))
    with pytest.raises(OSError, match="No space left") as caught:
        book_module._run_jupyter_book(root, sources.BookSources(root), tmp_path, progress=False)
    assert caught.value.errno == errno.ENOSPC


def test_a_full_disk_leaves_the_table_of_before(tmp_path, monkeypatch, withstood):
    def half(table, path, **_):
        path.write_text("a,b\n1,")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pd.DataFrame, "to_csv", half)
    (tmp_path / "x.csv").write_text("before")
    with pytest.raises(OSError, match="No space left"):
        write_csv(pd.DataFrame({"a": [1]}), tmp_path / "x.csv")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("x.csv", "before")]
    withstood("fault", "The disk is full while a table is written", tried=1)
