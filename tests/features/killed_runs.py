"""Extractions that are killed at random moments or race, for ``test_stopping.py``.

Run as a script: it imports everything once and forks a process per extraction, so that ten
deaths do not cost ten imports. Nothing is slowed down to be hit more easily.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import torch

from analysis.data import load_dataset
from analysis.features import extract
from analysis.features import store as feature_store
from analysis.networks import load_backbone


def start(folder: Path) -> int:
    """Begin an extraction in a process of its own; its id."""
    child = os.fork()
    if child:
        return child
    torch.set_num_threads(2)
    options = {"crops": "center", "batch_size": 8, "layers": ["conv1_1", "conv2_1"]}
    extract(DATA, NET, store=folder, progress=False, **options)
    os._exit(0)


def contents(root: Path) -> dict[Path, bytes]:
    """Every file of the finished groups of a store."""
    files = (path for path in root.glob("*.zarr/**/*") if path.is_file())
    return {path.relative_to(root): path.read_bytes() for path in files}


def main(folder: Path, n_kills: int) -> dict[str, object]:
    """Kill some times, race two; compare with a run that nobody disturbed."""
    whole, killed, raced = folder / "whole", folder / "killed", folder / "raced"
    begun = time.monotonic()
    assert os.waitpid(start(whole), 0)[1] == 0
    duration = time.monotonic() - begun
    moments = random.Random(0)
    n_done: list[int] = []
    while len(n_done) < n_kills:
        child = start(killed)
        time.sleep(moments.uniform(0.2, 0.8) * duration)
        os.kill(child, signal.SIGKILL)
        if os.waitpid(child, 0)[1] == signal.SIGKILL and not list(killed.glob("*.zarr")):
            n_done.append(len(list(killed.glob("*.partial/done/*"))))
        else:  # it was faster than the signal
            assert contents(killed) == contents(whole)
            shutil.rmtree(killed)
    assert os.waitpid(start(killed), 0)[1] == 0
    racers = [start(raced), start(raced)]
    assert [os.waitpid(racer, 0)[1] for racer in racers] == [0, 0]
    same = [contents(folder) == contents(whole) for folder in (killed, raced)]
    return {"same": same, "n_done": n_done}


if __name__ == "__main__":
    torch.set_num_threads(1)  # a pool of threads would not survive a fork
    feature_store.BLOCK_IMAGES = 16
    DATA = load_dataset("digits").subset(range(240))
    NET = load_backbone("minivgg16", weights="random", seed=0)
    DATA.fingerprint  # noqa: B018 - computed once, here
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
