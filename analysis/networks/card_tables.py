"""What model cards say, as tables: data, recipe and accuracy, class by class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import pandas as pd

from analysis.networks.model_cards import ModelCard
from analysis.networks.recipes import Recipe
from analysis.networks.sources import BUNDLED

__all__ = [
    "class_accuracies",
    "describe_training",
    "frequent_confusions",
    "training_command",
    "training_history",
]

# What `layerbook pretrain` takes; the rest of a recipe is fixed.
_OPTIONS = ("epochs", "batch_size", "learning_rate", "precision")
_ACCURACIES = {
    "top1": "top-1 accuracy, all classes",
    "top5": "top-5 accuracy, all classes",
    "photographs_top1": "top-1 accuracy, photographs",
    "photographs_top5": "top-5 accuracy, photographs",
    "drawn_top1": "top-1 accuracy, drawn images",
}


def describe_training(cards: Mapping[str, ModelCard]) -> pd.DataFrame:
    """Facts of several sets of weights side by side: data, recipe, accuracy, hash, versions.

    Parameters
    ----------
    cards
        What to call the weights → their card.

    Returns
    -------
    DataFrame
        One row per fact: the column ``fact``, and a column of text per set of weights.
    """
    facts = {name: _facts(card) for name, card in cards.items()}
    names = dict.fromkeys(fact for of_card in facts.values() for fact in of_card)
    rows = [(name, *(of_card.get(name, "–") for of_card in facts.values())) for name in names]
    return pd.DataFrame(rows, columns=["fact", *facts])


def training_command(card: ModelCard) -> str:
    """Build the command that trains these weights again.

    ``FOLDER`` in it stands for the source task's photographs, ``OUT`` for where to write. A file
    of class names is meant that comes along with the bundled weights.

    Raises
    ------
    ValueError
        If the command line cannot ask for this recipe.
    """
    recipe, default = asdict(card.recipe), asdict(Recipe())
    other = [name for name in recipe if name not in _OPTIONS and recipe[name] != default[name]]
    if other:
        raise ValueError(
            f"{card.name} was trained with another {', '.join(other)} than `layerbook pretrain` "
            "trains with"
        )
    parts = ["layerbook pretrain FOLDER --out OUT", f"--name {card.name}"]
    kept = BUNDLED / f"{card.name.removeprefix('bundled-')}-classes.txt"
    if kept.is_file():
        parts.append(f"--classes {kept.name}")
    if card.n_drawn:
        parts.append("--drawn")
    parts += [f"--{name.replace('_', '-')} {recipe[name]}" for name in _OPTIONS]
    return " ".join([*parts, f"--seed {card.seed}"])


def training_history(cards: Mapping[str, ModelCard]) -> pd.DataFrame:
    """Histories of several sets of weights, stacked: ``weights``, then the columns of a history."""
    parts = []
    for name, card in cards.items():
        part = pd.DataFrame(card.history)
        part.insert(0, "weights", name)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def class_accuracies(cards: Mapping[str, ModelCard]) -> pd.DataFrame:
    """Accuracy of every class on the validation images.

    Parameters
    ----------
    cards
        What to call the weights → their card.

    Returns
    -------
    DataFrame
        One row per set of weights and class, in the order of the class scores: ``weights``,
        ``class``, ``title`` (up to its first comma), ``origin`` (``"photographs"`` or
        ``"drawn"``), ``images`` and ``accuracy``.
    """
    rows = []
    for name, card in cards.items():
        counts = _counts(card)
        images = counts.groupby("true")["images"].sum()
        right = counts[counts["true"] == counts["predicted"]].set_index("true")["images"]
        n_photographs = len(card.classes) - card.n_drawn
        for number, each in enumerate(card.classes):
            origin = "photographs" if number < n_photographs else "drawn"
            seen = int(images.get(number, 0))
            share = int(right.get(number, 0)) / seen if seen else float("nan")
            rows.append((name, each, _short(card.titles[number]), origin, seen, share))
    columns = ["weights", "class", "title", "origin", "images", "accuracy"]
    return pd.DataFrame(rows, columns=columns)


def frequent_confusions(cards: Mapping[str, ModelCard], n: int = 8) -> pd.DataFrame:
    """List the classes that are most often taken for a certain other one.

    Parameters
    ----------
    cards
        What to call the weights → their card.
    n
        How many pairs per set of weights.

    Returns
    -------
    DataFrame
        ``weights``, ``class`` and ``taken for`` (titles up to their first comma), ``images``, and
        ``share`` of the class's validation images, the greatest share first; equal ones in the
        order of the classes.
    """
    parts = []
    for name, card in cards.items():
        counts = _counts(card)
        counts["share"] = counts["images"] / counts.groupby("true")["images"].transform("sum")
        wrong = counts[counts["true"] != counts["predicted"]]
        worst = wrong.sort_values("share", ascending=False, kind="stable").head(n)
        titles = [_short(title) for title in card.titles]
        parts.append(
            pd.DataFrame(
                {
                    "weights": name,
                    "class": [titles[number] for number in worst["true"]],
                    "taken for": [titles[number] for number in worst["predicted"]],
                    "images": worst["images"],
                    "share": worst["share"],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _facts(card: ModelCard) -> dict[str, str]:
    hours = sum(row["seconds"] for row in card.history) / 3600
    return {
        "network": card.network,
        "classes of photographs": f"{len(card.classes) - card.n_drawn}",
        "drawn classes": f"{card.n_drawn}",
        "training images": f"{card.n_train:,}",
        "validation images": f"{card.n_val:,}",
        "fingerprint of the images": card.source[:12],
        **{name.replace("_", " "): f"{value}" for name, value in asdict(card.recipe).items()},
        "seed": f"{card.seed}",
        "hours of training": f"{hours:.2g}",
        **{
            text: f"{card.accuracy[name]:.1%}"
            for name, text in _ACCURACIES.items()
            if name in card.accuracy
        },
        "SHA-256 of the weights": card.sha256[:12],
        "trained with": ", ".join(f"{name} {of}" for name, of in card.versions.items()),
    }


def _counts(card: ModelCard) -> pd.DataFrame:
    return pd.DataFrame(card.confusion, columns=["true", "predicted", "images"])


def _short(title: str) -> str:
    return title.partition(",")[0]
