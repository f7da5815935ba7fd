"""Extractions that are killed at random moments or race, for ``test_interruption.py``.

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

KILLS = 10


def start(folder: Path) -> int:
    """Begin an extraction in a process of its own; its id."""
    child = os.fork()
    if child:
        return child
    torch.set_num_threads(2)
    extract(DATA, NET, crops="center", batch_size=8, store=folder, progress=False)
    os._exit(0)


def images_done(folder: Path) -> int:
    """Images that an unfinished store counts as done."""
    return feature_store.BLOCK_IMAGES * len(list(folder.glob("*.partial/done/*")))


def same(one: Path, other: Path) -> bool:
    """Whether two stores hold the same files, byte for byte."""
    contents = [
        {
            path.relative_to(root): path.read_bytes()
            for path in root.glob("*.zarr/**/*")
            if path.is_file()
        }
        for root in (one, other)
    ]
    return contents[0] == contents[1]


def main(folder: Path) -> dict[str, object]:
    """Kill ten times, race two; compare with a run that nobody disturbed."""
    whole, killed, raced = folder / "whole", folder / "killed", folder / "raced"
    begun = time.monotonic()
    assert os.waitpid(start(whole), 0)[1] == 0
    duration = time.monotonic() - begun
    moments = random.Random(0)
    progress: list[int] = []
    identical = []
    while len(progress) < KILLS:
        child = start(killed)
        time.sleep(moments.uniform(0, duration / 5))
        os.kill(child, signal.SIGKILL)
        if os.waitpid(child, 0)[1] == signal.SIGKILL and not list(killed.glob("*.zarr")):
            progress.append(images_done(killed))
        else:  # it was faster than the signal
            identical.append(same(whole, killed))
            shutil.rmtree(killed)
    assert os.waitpid(start(killed), 0)[1] == 0
    identical.append(same(whole, killed))
    racers = [start(raced), start(raced)]
    assert [os.waitpid(racer, 0)[1] for racer in racers] == [0, 0]
    identical.append(same(whole, raced))
    return {"identical": identical, "progress": progress, "images": len(DATA)}


if __name__ == "__main__":
    torch.set_num_threads(1)  # a pool of threads would not survive a fork
    feature_store.BLOCK_IMAGES = 16
    DATA = load_dataset("digits").subset(range(700))
    NET = load_backbone("minivgg16", weights="random", seed=0)
    DATA.fingerprint  # noqa: B018 - computed once, here
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))))
