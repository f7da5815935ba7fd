"""What the front page tells people to type and to open is there."""

from __future__ import annotations

import re
from pathlib import Path

from analysis.__main__ import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = sorted(ROOT.glob("*.md"))


def test_local_links_lead_somewhere():
    for document in PAGES:
        links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text("utf-8"))
        local = [link for link in links if not link.startswith(("https://", "http://"))]
        assert [link for link in local if not (ROOT / link).exists()] == [], document.name


def test_what_the_front_page_names_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    for known, pattern in (
        (targets, r"(?:^ {4}|`)make ([a-z]+)"),
        (commands, r"(?:bin/|run |`)layerbook ([a-z]+)"),
    ):
        named = set(re.findall(pattern, README, re.MULTILINE))
        assert named
        assert named <= known
    named = set(re.findall(r"\b(?:book|notebooks)/[\w./-]+\.(?:yml|ipynb|svg)", README))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
