"""Empty places for data, so that no test reads or writes another's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for layout_writers


@pytest.fixture
def data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data root: the only one that is searched."""
    monkeypatch.setenv("LAYERBOOK_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LAYERBOOK_DATA", raising=False)
    root = tmp_path / "home" / "data"
    root.mkdir(parents=True)
    return root
