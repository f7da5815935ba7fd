from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes that it forks")


@needs_fork
@pytest.mark.long
def test_neither_ten_kills_at_random_moments_nor_a_race_change_a_bit(tmp_path, withstood):
    script = Path(__file__).with_name("killed_runs.py")
    run = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert all(found["identical"])
    assert len(found["progress"]) == 10
    assert 0 < max(found["progress"]) <= found["images"]  # some died in the middle of their work
    for folder in ("killed", "raced"):
        assert sorted(path.suffix for path in (tmp_path / folder).iterdir()) == [".lock", ".zarr"]
    withstood("fault", "A process is killed while it extracts features", tried=10)
    withstood("fault", "Two processes extract the same features into one store", tried=1)
