"""Pre-training: what it measures, what it draws from, what it refuses."""

from __future__ import annotations

import csv
import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from small_tasks import small_task
from torch import nn

from analysis.networks import training
from analysis.networks.minivgg import MINIVGG_PREPROCESSING
from analysis.networks.training import FineTuning, Recipe, centre, measure, pretrain

TASK = small_task()
RECIPE = Recipe(epochs=2, batch_size=4)  # six steps, the fewest


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return folder, pretrain(TASK, folder, RECIPE, seed=3)


def same(one: nn.Module, other: nn.Module) -> bool:
    state = other.state_dict()
    return all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


def test_loss_and_scores_are_those_of_the_images_one_by_one(monkeypatch):
    monkeypatch.setattr(training, "_EVALUATION_BATCH", 4)  # of six images
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 3), nn.Dropout(0.9))
    loss, scores = measure(module, TASK.val)
    mean, std = training._channel_statistics(MINIVGG_PREPROCESSING)
    surprises = []
    for image, label, found in zip(TASK.val.images, TASK.val.labels, scores, strict=True):
        (expected,) = module(centre(torch.from_numpy(image)[None], mean, std))
        torch.testing.assert_close(found, expected)
        odds = [math.exp(score) for score in expected.tolist()]
        surprises.append(-math.log(odds[label] / sum(odds)))
    assert loss == pytest.approx(sum(surprises) / len(surprises), rel=1e-5)


def test_the_history_has_a_row_per_epoch_and_says_what_the_network_does(trained):
    folder, run = trained
    assert [row["epoch"] for row in run.history] == [1, 2]
    loss, scores = measure(run.module, TASK.val)
    last = run.history[-1]
    assert last["val_loss"] == pytest.approx(loss, rel=1e-5)
    hits = sum(
        int(np.argmax(row)) == label
        for row, label in zip(scores.numpy(), TASK.val.labels, strict=True)
    )
    assert last["val_top1"] == pytest.approx(hits / len(scores))
    assert last["val_top5"] == 1  # of three classes
    assert all(row["train_accuracy"] in {k / 12 for k in range(13)} for row in run.history)
    with (folder / "history.csv").open(encoding="utf-8") as stream:
        kept = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(stream)]
    assert kept == run.history
    assert not run.module.training


def test_everything_is_drawn_from_the_seed_and_nothing_else(trained, tmp_path):
    torch.manual_seed(99)
    state = torch.get_rng_state()
    again = pretrain(TASK, tmp_path / "a", RECIPE, seed=3)
    assert same(again.module, trained[1].module)
    assert torch.equal(state, torch.get_rng_state())
    assert not same(pretrain(TASK, tmp_path / "b", RECIPE, seed=4).module, again.module)


def test_a_finished_run_is_taken_up_as_it_is(trained, monkeypatch):
    folder, run = trained
    (folder / "history.csv").unlink()  # as if killed between the two files
    monkeypatch.setattr(training.Pretraining, "epoch", None)
    again = pretrain(TASK, folder, RECIPE, seed=3)
    assert same(again.module, run.module)
    assert again.history == run.history
    assert (folder / "history.csv").is_file()


def test_a_folder_with_another_run_is_refused(trained):
    folder, _ = trained
    before = (folder / "checkpoint.pt").read_bytes()
    for task, recipe, seed, told in [
        (TASK, replace(RECIPE, dropout=0.5), 3, "dropout 0.2 there, 0.5 here"),
        (TASK, RECIPE, 4, "seed 3 there, 4 here"),
        (replace(TASK, fingerprint="other"), RECIPE, 3, "other images or classes there"),
    ]:
        with pytest.raises(ValueError, match=f"belongs to another run: {told}"):
            pretrain(task, folder, recipe, seed=seed)
    assert (folder / "checkpoint.pt").read_bytes() == before


def test_only_matrices_and_filters_decay(tmp_path):
    trainer = training.Pretraining(TASK, RECIPE, 0)
    decay = {
        id(parameter): group["weight_decay"]
        for group in trainer.optimiser.param_groups
        for parameter in group["params"]
    }
    for name, parameter in trainer.module.named_parameters():
        assert decay[id(parameter)] == (RECIPE.weight_decay if parameter.ndim > 1 else 0), name


def test_bfloat16_keeps_weights_and_scores_in_float32():
    trainer = training.Pretraining(TASK, replace(RECIPE, precision="bfloat16"), 0)
    assert trainer.scores(torch.arange(2), torch.Generator()).dtype == torch.float32
    assert {value.dtype for value in trainer.module.parameters()} == {torch.float32}


def test_a_loss_out_of_bounds_ends_the_run_and_leaves_no_half_of_anything(tmp_path):
    with pytest.raises(FloatingPointError, match=r"no longer finite .*rate below 1e\+30, in anoth"):
        pretrain(TASK, tmp_path, replace(RECIPE, learning_rate=1e30))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("task", "recipe", "seed", "told"),
    [
        (TASK, Recipe(epochs=1, batch_size=16), 0, "steps, got 0: 1 epochs of 0 batches of 16, wi"),
        (TASK, Recipe(epochs=1, batch_size=4), 0, "at least 6 steps, got 3: 1 epochs of 3 batches"),
        (small_task(1, train=20), RECIPE, 0, "at least two classes, got class 0 alone"),
        (TASK, RECIPE, -1, r"a seed from 0 to 2\*\*40 - 1, got -1"),
        (TASK, RECIPE, 2**40, "a seed from 0"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    task, recipe, seed, told, tmp_path
):
    with pytest.raises(ValueError, match=told):
        pretrain(task, tmp_path / "out", recipe, seed=seed)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 0}, "epochs >= 1 and batch_size >= 2, got 0 and"),
        ({"batch_size": 1}, "epochs >= 1 and batch_size >= 2, got .* and 1"),
        ({"learning_rate": math.nan}, "learning_rate > 0"),
        ({"weight_decay": -1}, "weight_decay >= 0, got .* and -1"),
        ({"momentum": 1}, "expected 0 <= momentum < 1, got 1"),
        ({"label_smoothing": -0.1}, "expected 0 <= label_smoothing < 1, got -0.1"),
        ({"dropout": 1}, "expected 0 <= dropout < 1, got 1"),
        ({"precision": "float16"}, "unknown precision 'float16'; known: float32, bfloat16"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(given, message):
    for recipe in (Recipe, FineTuning):
        if given.keys() <= {field.name for field in fields(recipe)}:
            with pytest.raises(ValueError, match=message):
                recipe(**given)
