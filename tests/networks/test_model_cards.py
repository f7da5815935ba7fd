"""What is shipped: half precision, no normalisation, and a card that tells the truth about it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from small_tasks import small_task

from analysis.data.source_tasks import Part
from analysis.networks import load_backbone, model_cards
from analysis.networks.minivgg import MiniVGG, fold_batch_norm
from analysis.networks.model_cards import export, read_model_card, weights_name
from analysis.networks.training import Recipe, Training, measure, pretrain

TASK = replace(small_task(7, train=4, val=3), n_drawn=2)
RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=0.01)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return pretrain(TASK, tmp_path_factory.mktemp("trained"), RECIPE)


@pytest.fixture
def exported(trained, tmp_path):
    card = export(trained, TASK, tmp_path, name="toy", recipe=RECIPE, seed=0)
    return tmp_path / "minivgg16-toy.safetensors", card


def scores_of(seed: int, n: int, classes: int) -> torch.Tensor:
    return torch.randn((n, classes), generator=torch.Generator().manual_seed(seed))


def part_of(labels: list[int]) -> Part:
    return Part(np.zeros((len(labels), 3, 1, 1), np.uint8), np.array(labels))


def test_accuracies_are_those_of_counting():
    classes, n_folder = 9, 6
    labels = np.random.default_rng(0).integers(0, classes, 40)
    scores = scores_of(0, 40, classes)
    ranks = (scores.numpy() > scores.numpy()[range(40), labels][:, None]).sum(1)
    photographs = labels < n_folder
    assert model_cards._accuracy(scores, part_of(labels), n_folder) == {
        "top1": round((ranks < 1).mean(), 4),
        "top5": round((ranks < 5).mean(), 4),
        "photographs_top1": round((ranks < 1)[photographs].mean(), 4),
        "photographs_top5": round((ranks < 5)[photographs].mean(), 4),
        "drawn_top1": round((ranks < 1)[~photographs].mean(), 4),
    }
    assert "drawn_top1" not in model_cards._accuracy(scores, part_of(labels), classes)


def test_the_confusion_counts_every_image_once():
    labels = np.random.default_rng(0).integers(0, 4, 60).tolist()
    scores = scores_of(1, 60, 4)
    pairs = zip(labels, scores.argmax(1).tolist(), strict=True)
    counted = sorted((*pair, n) for pair, n in Counter(pairs).items())
    assert model_cards._confusion(scores, part_of(labels)) == counted


def test_the_file_holds_the_folded_network_in_half_precision(exported, trained):
    file, _ = exported
    held, folded = load_file(file), fold_batch_norm(trained.module).state_dict()
    assert list(held) == sorted(folded)
    assert {value.dtype for value in held.values()} == {torch.float16}
    assert all(torch.equal(held[name], value.half()) for name, value in folded.items())
    with safe_open(file, "pt") as opened:
        assert opened.metadata() == {"format": "pt"}


def test_the_same_weights_give_the_same_bytes(exported, trained, tmp_path):
    file, card = exported
    (tmp_path / "again").mkdir()
    again = export(trained, TASK, tmp_path / "again", name="toy", recipe=RECIPE, seed=0)
    assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()
    assert again == card


def test_the_weights_have_the_stated_accuracy_where_they_are_loaded(exported):
    file, card = exported
    net = load_backbone("minivgg16", weights=file)
    assert net.available["fc8"].units == len(card.classes) == 7
    assert net.provenance["sha256"] == card.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    _, scores = measure(net.module, TASK.val)
    right = [
        row.index(max(row)) == label
        for row, label in zip(scores.tolist(), TASK.val.labels, strict=True)
    ]
    assert card.accuracy["top1"] == pytest.approx(np.mean(right), abs=5e-5)
    assert card.accuracy["drawn_top1"] == pytest.approx(np.mean(right[5 * 3 :]), abs=5e-5)
    assert sum(n for _, _, n in card.confusion) == card.n_val == 21
    assert sum(n for true, best, n in card.confusion if true == best) == sum(right)


def test_a_network_of_the_shipped_size_takes_less_than_four_megabytes(trained, tmp_path):
    names = tuple(f"class {label}" for label in range(226))
    task = replace(TASK, classes=names, titles=names, n_drawn=26)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        untrained = Training(MiniVGG(226, batch_norm=True).eval(), trained.history)
    export(untrained, task, tmp_path, name="large", recipe=RECIPE, seed=0)
    assert 3e6 < (tmp_path / "minivgg16-large.safetensors").stat().st_size < 4e6


def test_a_card_is_read_as_it_was_written(exported, trained, monkeypatch):
    file, card = exported
    assert read_model_card(file) == read_model_card(file.with_suffix(".json")) == card
    assert card.recipe == RECIPE and card.history == trained.history and card.n_train == 28
    assert card.classes == TASK.classes and card.source == TASK.fingerprint
    assert file.with_suffix(".json").read_text("utf-8").count("\n") < 30  # can be read and compared
    monkeypatch.setenv("LAYERBOOK_WEIGHTS", str(file.parent))
    assert read_model_card(file.name) == card
    for end in (".safetensors", ".json"):
        file.with_suffix(end).rename(file.with_name(f"minivgg16-bundled{end}"))
    monkeypatch.setattr(model_cards, "BUNDLED", file.parent)
    assert read_model_card("bundled") == card


def test_a_card_that_is_missing_damaged_or_of_other_weights_is_refused(exported):
    file, _ = exported
    text = file.with_suffix(".json").read_text("utf-8")
    file.write_bytes(file.read_bytes()[:-2] + b"\0\0")
    with pytest.raises(
        ValueError, match=r"toy\.json is the card of other weights than minivgg16-t"
    ):
        read_model_card(file)
    held = json.loads(text)
    for broken in (text[:-3], "[]", json.dumps({k: v for k, v in held.items() if k != "recipe"})):
        file.with_suffix(".json").write_text(broken, "utf-8")
        with pytest.raises(ValueError, match=r"toy\.json is no model card .*layerbook pretrain"):
            read_model_card(file)
    file.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no model card of .*toy.*: expected .*toy\.json"):
        read_model_card(file)


def test_weights_too_large_for_half_precision_are_not_written(trained, tmp_path):
    with torch.random.fork_rng(devices=[]):
        module = MiniVGG(7, batch_norm=True).eval()
    module.features[1].weight.data.fill_(1e9)
    large = Training(module, trained.history)
    with pytest.raises(ValueError, match=r"weights of features\.0\.weight are too large for float"):
        export(large, TASK, tmp_path, name="large", recipe=RECIPE, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_no_part_of_a_file_name_are_refused():
    for name in ("", "a/b", "..", "two words"):
        with pytest.raises(ValueError, match="a name of letters, digits, - and _"):
            weights_name(name)
    assert weights_name("bundled-living") == "bundled-living"
