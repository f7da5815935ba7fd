"""What the front page tells people to type and to open is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from analysis.__main__ import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = sorted(ROOT.glob("*.md"))


@pytest.mark.parametrize("document", PAGES, ids=lambda path: path.name)
def test_local_links_lead_somewhere(document: Path):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text("utf-8"))
    local = [link for link in links if not link.startswith(("https://", "http://"))]
    assert [link for link in local if not (ROOT / link).exists()] == []


def test_every_make_target_that_is_named_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^ {4}|`)make ([a-z]+)", README, re.MULTILINE))
    assert named
    assert named <= targets


def test_every_command_that_is_named_exists():
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    named = set(re.findall(r"(?:bin/|run |`)layerbook ([a-z]+)", README))
    assert named
    assert named <= known


def test_every_file_of_the_project_that_is_named_exists():
    named = set(re.findall(r"\b(?:book|notebooks)/[\w./-]+\.(?:yml|ipynb|svg)", README))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
