"""What goes wrong while a report is made: nothing half-written is left in its folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

TESTS = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes that it forks"),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disturbed")
    run = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("disturbed_reports.py")), str(folder)],
        capture_output=True,
        text=True,
        timeout=1800,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])},
    )
    assert run.returncode == 0, run.stderr
    return SimpleNamespace(**json.loads(run.stdout.splitlines()[-1]))


def test_ctrl_c_leaves_nothing_and_says_how_to_go_on(found, withstood):
    assert found.stopped == 130
    assert found.after_stop == []
    assert found.said.splitlines()[-1] == (
        "Stopped. Nothing half-written stays; the same command goes on with what is finished."
    )
    withstood("fault", "Ctrl-C while a report is made", tried=1)


def test_what_a_killed_report_left_is_removed_by_the_next(found, withstood):
    assert found.killed == -9
    assert [name[:12] for name in found.after_kill] == [".unfinished-"]
    assert found.last == 0
    assert found.whole == ["embedding", "report.html"]
    assert found.embedding == "crops center, whole"
    withstood("fault", "The making of a report is killed (SIGKILL)", tried=1)


def test_two_reports_into_one_folder_do_not_mix(found, withstood):
    assert found.codes == [0, 0]
    assert found.raced == ["embedding", "report.html"]
    assert len(found.made_by) == 2
    page, embedding = found.made_by.values()
    assert page == embedding
    assert len(page) == 1
    withstood("fault", "Two processes make a report into one folder", tried=1)
