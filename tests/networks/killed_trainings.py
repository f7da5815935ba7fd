"""Trainings through the command line that are killed, for ``test_pretrain_command.py``.

Run as a script: it imports everything once and forks a process per training.
"""

from __future__ import annotations

import csv
import os
import signal
import sys
import time
from pathlib import Path

import torch
from typer.testing import CliRunner

import analysis.networks.model_cards  # noqa: F401 - imported here, so that no child has to
from analysis.__main__ import app

EPOCHS = 3
COMMAND = ["--epochs", str(EPOCHS), "--batch-size", "16", "--seed", "1", "--name", "toy"]


def start(images: Path, out: Path) -> int:
    """Begin a training in a process of its own; its id."""
    child = os.fork()
    if child:
        return child
    result = CliRunner().invoke(app, ["pretrain", str(images), "--out", str(out), *COMMAND])
    if result.exit_code:
        sys.stderr.write(result.output)
        sys.stderr.flush()
    os._exit(result.exit_code)


def ended(child: int) -> int:
    """How a child ended: 0 when all was well, else its signal or a larger number."""
    return os.waitpid(child, 0)[1]


def main(images: Path, folder: Path) -> None:
    """Train undisturbed; train again, killed after its first checkpoint, and take it up."""
    assert ended(start(images, folder / "whole")) == 0
    killed = folder / "killed"
    child = start(images, killed)
    while not (killed / "checkpoint.pt").exists():
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "it ended without a checkpoint"
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    assert ended(child) == signal.SIGKILL
    assert not list(killed.glob("*.safetensors")), "it was faster than the signal"
    for name in ("checkpoint.pt", "minivgg16-toy.json"):  # as if killed while it wrote them
        (killed / f"{name}.part").write_bytes(b"half of")
    assert ended(start(images, killed)) == 0
    with (killed / "history.csv").open(encoding="utf-8") as stream:
        assert len(list(csv.DictReader(stream))) == EPOCHS


if __name__ == "__main__":
    torch.set_num_threads(1)  # a pool of threads would not survive a fork
    main(Path(sys.argv[1]), Path(sys.argv[2]))
