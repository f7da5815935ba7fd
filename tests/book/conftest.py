"""What tests of books share: a small folder to build one from."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_root import write_root

from analysis.book import build, sources


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sources of a book of one short notebook, which ``build_book`` takes for its own."""
    root = tmp_path / "root"
    write_root(root)
    monkeypatch.setattr(build, "find_sources", lambda: sources.BookSources(root))
    return root
