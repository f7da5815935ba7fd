"""Trainings through the command line that are killed, for the tests of these commands.

Run as a script: it imports everything once and forks a process per training.
"""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from analysis.__main__ import app

ROOT = Path(__file__).parents[2]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes that it forks")
#: Epochs of each command, enough for a signal to come in between, and what it is told.
TRAININGS = {
    "pretrain": (3, ["{images}", "--batch-size", "16", "--name", "toy"]),
    "fine-tune": (25, ["folder:{images}", "--learning-rate", "0.01", "--name", "toy"]),
}


def start(command: str, images: Path, out: Path) -> int:
    """Begin a training in a process of its own; its id."""
    child = os.fork()
    if child:
        return child
    epochs, told = TRAININGS[command]
    options = [one.format(images=images) for one in told]
    result = CliRunner().invoke(
        app, [command, *options, "--epochs", str(epochs), "--seed", "1", "--out", str(out)]
    )
    if result.exit_code:
        sys.stderr.write(result.output)
        sys.stderr.flush()
    os._exit(result.exit_code)


def ended(child: int) -> int:
    """How a child ended: 0 when all was well, else its signal or a larger number."""
    return os.waitpid(child, 0)[1]


def main(command: str, images: Path, folder: Path) -> None:
    """Train undisturbed; train again, killed after its first checkpoint, and take it up."""
    assert ended(start(command, images, folder / "whole")) == 0
    killed = folder / "killed"
    child = start(command, images, killed)
    while not (killed / "checkpoint.pt").exists():
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "it ended without a checkpoint"
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    assert ended(child) == signal.SIGKILL
    assert not list(killed.glob("*.safetensors")), "it was faster than the signal"
    kept = torch.load(killed / "checkpoint.pt", weights_only=True)["history"]
    for name in ("checkpoint.pt", "minivgg16-toy.json"):  # as if killed while it wrote them
        (killed / f".{name}.12345678.part").write_bytes(b"half of")
    assert ended(start(command, images, killed)) == 0
    with (killed / "history.csv").open(encoding="utf-8") as stream:
        seconds = [float(row["seconds"]) for row in csv.DictReader(stream)]
    assert len(seconds) == TRAININGS[command][0]
    assert seconds[: len(kept)] == [row["seconds"] for row in kept], "it was begun again"


def run_killed(command: str, images: Path, folder: Path) -> tuple[Path, Path]:
    """Run :func:`main` in a process of its own; the weights of both trainings."""
    run = subprocess.run(
        [sys.executable, __file__, command, images, folder],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert run.returncode == 0, run.stderr
    whole, killed = (folder / name / "minivgg16-toy.safetensors" for name in ("whole", "killed"))
    return whole, killed


if __name__ == "__main__":
    torch.set_num_threads(1)  # a pool of threads would not survive a fork
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
