"""What model cards say, as tables."""

from dataclasses import replace

import pytest

from analysis.networks import model_cards
from analysis.networks.model_cards import ModelCard
from analysis.networks.training import Recipe


@pytest.fixture
def card():
    """Three classes, one of them drawn; the second is taken for the third more often than not."""
    return ModelCard(
        network="minivgg16",
        name="own",
        classes=("n01", "n02", "material fur"),
        titles=("goldfish, Carassius auratus", "bullfrog", "material fur"),
        n_drawn=1,
        n_train=1500,
        n_val=24,
        source="a1" * 32,
        recipe=Recipe(epochs=2, batch_size=16),
        seed=3,
        history=[{"epoch": k, "train_loss": 2.0 - k, "seconds": 1800.0} for k in (1, 2)],
        accuracy={"top1": 0.5, "photographs_top1": 0.625, "photographs_top5": 1.0},
        confusion=[(0, 0, 8), (1, 0, 2), (1, 1, 2), (1, 2, 4), (2, 0, 2), (2, 2, 6)],
        sha256="b2" * 32,
        versions={"python": "3.12", "torch": "2.9"},
    )


def test_facts_stand_side_by_side(card):
    other = replace(card, n_drawn=0, accuracy={"top1": 0.25, "drawn_top1": 0.9})
    table = model_cards.describe_training({"bundled": card, "other": other})
    facts = table.set_index("fact")
    assert facts.loc["classes of photographs"].tolist() == ["2", "3"]
    assert facts.loc["training images", "bundled"] == "1,500"
    assert facts.loc["batch size", "bundled"] == "16"
    assert facts.loc["hours of training", "bundled"] == "1"
    assert facts.loc["top-1 accuracy, photographs"].tolist() == ["62.5%", "–"]
    assert facts.loc["top-1 accuracy, drawn images"].tolist() == ["–", "90.0%"]
    assert facts.loc["trained with", "other"] == "python 3.12, torch 2.9"


def test_accuracy_of_each_class(card):
    table = model_cards.class_accuracies({"a": card})
    assert table["title"].tolist() == ["goldfish", "bullfrog", "material fur"]
    assert table["origin"].tolist() == ["photographs", "photographs", "drawn"]
    assert table["images"].tolist() == [8, 8, 8]
    assert table["accuracy"].tolist() == [1.0, 0.25, 0.75]


def test_confusions_are_sorted_by_their_share(card):
    table = model_cards.frequent_confusions({"a": card, "b": card}, n=2)
    assert table["weights"].tolist() == ["a", "a", "b", "b"]
    assert table["class"].tolist()[:2] == ["bullfrog", "bullfrog"]
    assert table["taken for"].tolist()[:2] == ["material fur", "goldfish"]
    assert table["images"].tolist()[:2] == [4, 2]
    assert table["share"].tolist()[:2] == [0.5, 0.25]


def test_the_command_is_one_that_the_command_line_takes(card):
    from typer.testing import CliRunner

    from analysis.__main__ import app

    command = model_cards.training_command(card)
    assert command == (
        "layerbook pretrain FOLDER --out OUT --name own --drawn --epochs 2 --batch-size 16 "
        "--learning-rate 0.05 --precision float32 --seed 3"
    )
    taken = CliRunner().invoke(app, ["pretrain", "--help"], env={"COLUMNS": "200"}).output
    options = [word for word in command.split() if word.startswith("--")]
    assert all(option in taken for option in options)


def test_a_recipe_that_cannot_be_asked_for_has_no_command(card):
    with pytest.raises(ValueError, match="another momentum than"):
        model_cards.training_command(replace(card, recipe=Recipe(momentum=0.5)))
