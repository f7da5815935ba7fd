"""``layerbook pretrain`` on a folder of five classes, at toy size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from killed_trainings import needs_fork, run_killed
from safetensors.torch import load_file
from typer.testing import CliRunner

from analysis.__main__ import app
from analysis.networks import load_backbone
from analysis.networks.model_cards import read_model_card


def pretrain(images: Path, out: Path, *options: str):
    return CliRunner().invoke(app, ["pretrain", str(images), "--out", str(out), *options])


@needs_fork
@pytest.mark.long
def test_a_training_that_was_killed_goes_on_to_the_same_bits(images, tmp_path, withstood):
    whole, killed = run_killed("pretrain", images, tmp_path)
    assert killed.read_bytes() == whole.read_bytes()
    cards = [read_model_card(file) for file in (whole, killed)]
    for card in cards:
        for row in card.history:
            row.pop("seconds")
    assert cards[0] == cards[1]
    assert sorted(path.name for path in killed.parent.iterdir()) == [
        "checkpoint.pt",
        "history.csv",
        "minivgg16-toy.json",
        "minivgg16-toy.safetensors",
    ]
    withstood("fault", "A training is killed (SIGKILL), files half-written beside it", tried=1)


def test_what_it_writes_can_be_named_and_other_recipes_need_another_folder(images, tmp_path):
    keep = tmp_path / "keep.txt"
    keep.write_text("red\n\nlight blue\n", "utf-8")
    asked = ["--classes", str(keep), "--epochs", "6", "--batch-size", "16"]
    done = pretrain(images, tmp_path / "out", *asked)
    assert done.exit_code == 0, done.output
    assert "top1: " in done.output
    file = tmp_path / "out" / "minivgg16-own.safetensors"
    assert f"written to {file}" in done.output.replace("\n", "")
    card = read_model_card(file)
    assert card.classes == ("light blue", "red")
    assert (card.n_train, card.n_val) == (18, 4)
    net = load_backbone("minivgg16", weights=file)
    assert all(
        torch.equal(net.module.state_dict()[name], value.float())
        for name, value in load_file(file).items()
    )

    refused = pretrain(images, tmp_path / "out", *asked, "--learning-rate", "0.1")
    assert refused.exit_code == 1
    (message,) = (line for line in refused.output.splitlines() if line.startswith("error: "))
    assert "belongs to another run: learning rate 0.05 there, 0.1 here. Choose another" in message
    assert json.loads(file.with_suffix(".json").read_text("utf-8"))["sha256"] == card.sha256


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--name", "a/b"], "error: expected a name of letters, digits, - and _"),
        (["--epochs", "0"], "error: expected epochs >= 1"),
        (["--precision", "half"], "error: unknown precision 'half'; known: float32, bfloat16"),
        (
            ["--batch-size", "64"],
            "error: expected at least 6 steps, got 0: 40 epochs of 0 batches of 64",
        ),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_written(options, told, images, tmp_path):
    result = pretrain(images, tmp_path / "out", *options)
    assert result.exit_code == 1
    assert any(line.startswith(told) for line in result.output.splitlines()), result.output
    assert not (tmp_path / "out").exists()
