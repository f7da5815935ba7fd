"""Checkpoints: whole or not at all, and of this run or refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from analysis.networks.training import read_checkpoint, write_checkpoint

RUN = {"task": "abc", "seed": 1, "recipe": {"epochs": 3, "learning_rate": 0.1}}


def as_run(**recipe: object) -> str:
    return json.dumps({**RUN, "recipe": {**RUN["recipe"], **recipe}})


@pytest.fixture
def file(tmp_path) -> Path:
    write_checkpoint(tmp_path / "c.pt", as_run(), {"weights": torch.arange(5000.0), "epoch": 2})
    return tmp_path / "c.pt"


def test_what_was_written_is_read(file):
    held = read_checkpoint(file, as_run())
    assert held is not None and sorted(held) == ["epoch", "weights"]
    assert torch.equal(held["weights"], torch.arange(5000.0)) and held["epoch"] == 2
    assert os.listdir(file.parent) == ["c.pt"]  # noqa: PTH208
    assert read_checkpoint(file.with_name("none.pt"), as_run()) is None


def test_the_checkpoint_of_another_run_is_refused_and_kept(file):
    before = file.read_bytes()
    for run, differs in [
        (as_run(epochs=9, learning_rate=1), "epochs 3 there, 9 here; learning rate 0.1 there, 1 h"),
        (as_run(decay=2), "run: decay None there, 2 here. Choose another folder, or remove the fi"),
        (json.dumps(RUN | {"seed": 5}), "run: seed 1 there, 5 here. "),
        (json.dumps(RUN | {"task": "xyz"}), "run: other images or classes there. "),
    ]:
        with pytest.raises(ValueError) as refused:
            read_checkpoint(file, run)
        assert str(refused.value).startswith(f"{file} belongs to another run: ")
        assert differs in str(refused.value)
    assert file.read_bytes() == before


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def test_a_damaged_checkpoint_is_refused_by_name_with_what_to_do(file):
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], flipped(whole), b"", b"a text", whole[:-1]):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"c\.pt is damaged, .* Remove it to start afresh, or"):
            read_checkpoint(file, as_run())
        assert file.read_bytes() == content
