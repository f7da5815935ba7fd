"""What is known of weights that Layerbook trained: data, recipe, history, accuracy, hash.

A card lies beside its weights; the tables set several side by side, class by class.
"""

from __future__ import annotations

import copy
import json
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from analysis.data.source_tasks import Part, SourceTask
from analysis.networks.minivgg import fold_batch_norm
from analysis.networks.training import Recipe, Training, measure, save_weights, top_hits
from analysis.networks.weights import BUNDLED, SHIPPED, find_file, sha256_of

_NETWORK = "minivgg16"


@dataclass(frozen=True)
class ModelCard:
    """Everything that a reader of results should know of the weights behind them.

    Attributes
    ----------
    network, name
        Which network, and what its weights are called.
    classes, titles
        Names of the source task's classes, in the order of the class scores, and readable names.
        The images' own labels follow the same order.
    n_drawn
        How many of the classes, at the end, are drawn by Layerbook.
    n_train, n_val
        Images of each part.
    source
        Fingerprint of the source task.
    recipe, seed
        How the network was trained.
    history
        One row per epoch, see :class:`Training`.
    accuracy
        Of the shipped weights on the validation images, seen through the network's preprocessing:
        ``top1`` and ``top5`` of all, ``photographs_top1`` and ``photographs_top5`` of the images
        of the folder (all class scores compete), ``drawn_top1`` of the drawn ones (absent where
        there are none). Shares of 1, to four digits.
    confusion
        Triples (true class, predicted class, images), as positions in ``classes``; those without
        images are left out.
    sha256
        Hash of the weights' file.
    versions
        Of what trained it.
    """

    network: str
    name: str
    classes: tuple[str, ...]
    titles: tuple[str, ...]
    n_drawn: int
    n_train: int
    n_val: int
    source: str
    recipe: Recipe
    seed: int
    history: list[dict[str, float]]
    accuracy: dict[str, float]
    confusion: list[tuple[int, int, int]]
    sha256: str
    versions: dict[str, str]


def export(
    training: Training, task: SourceTask, folder: Path, *, name: str, recipe: Recipe, seed: int
) -> ModelCard:
    """Write ``minivgg16-NAME.safetensors`` (float16, no batch normalisation) and its card.

    The card is ``minivgg16-NAME.json``; its accuracies are those of the weights as they are
    written.

    Parameters
    ----------
    training
        The trained network.
    task
        What it was trained on.
    folder
        Where the two files are written.
    name
        What the weights are called.
    recipe, seed
        How it was trained.

    Raises
    ------
    ValueError
        If the name cannot be part of a file name, or weights are too large for float16.
    """
    file = folder / f"{_NETWORK}-{weights_name(name)}.safetensors"
    halved = fold_batch_norm(training.module).half()
    too_large = [key for key, value in halved.state_dict().items() if not value.isfinite().all()]
    if too_large:
        raise ValueError(f"weights of {', '.join(too_large)} are too large for float16")
    _, scores = measure(copy.deepcopy(halved).float(), task.val)
    facts: dict[str, Any] = {
        "network": _NETWORK,
        "name": name,
        "classes": task.classes,
        "titles": task.titles,
        "n_drawn": task.n_drawn,
        "n_train": len(task.train.labels),
        "n_val": len(task.val.labels),
        "source": task.fingerprint,
        "recipe": asdict(recipe),
        "seed": seed,
        "history": training.history,
        "accuracy": _accuracy(scores, task.val, len(task.classes) - task.n_drawn),
        "confusion": _confusion(scores, task.val),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": version("torchvision"),
            "numpy": np.__version__,
        },
    }
    save_weights(file, halved, facts)
    return read_model_card(file)


def weights_name(name: str) -> str:
    """Give a name of weights back, if it can be part of a file name.

    Raises
    ------
    ValueError
        If it is empty, or has other characters than letters, digits, ``-`` and ``_``.
    """
    if not re.fullmatch(r"[\w-]+", name):
        raise ValueError(f"expected a name of letters, digits, - and _ for the weights: {name!r}")
    return name


def read_model_card(weights: str | Path) -> ModelCard:
    """Read the card of bundled weights (``"bundled"``, ``"bundled-living"``) or of a file.

    Parameters
    ----------
    weights
        As for ``load_backbone("minivgg16", weights=...)``. The card lies beside the weights, under
        the same name, as ``.json``.

    Raises
    ------
    FileNotFoundError
        If there is no such card.
    ValueError
        If the file is no model card, or the one of other weights than those beside it.
    """
    if str(weights) in SHIPPED:
        file = BUNDLED / f"{_NETWORK}-{weights}.safetensors"
    else:
        file = find_file(weights) or Path(weights)
    written = file.with_suffix(".json")
    if not written.is_file():
        raise FileNotFoundError(
            f"no model card of {weights}: expected {written}; `layerbook pretrain` writes one "
            "beside the weights"
        )
    try:
        facts = json.loads(written.read_text("utf-8"))
        held = {field.name: facts[field.name] for field in fields(ModelCard)}
        held["recipe"] = Recipe(**held["recipe"])
        held |= {name: tuple(held[name]) for name in ("classes", "titles")}
        held["confusion"] = [(true, predicted, n) for true, predicted, n in held["confusion"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{written} is no model card ({type(error).__name__}: {error}); `layerbook pretrain` "
            "writes one beside the weights"
        ) from None
    card = ModelCard(**held)
    if file != written and file.is_file() and sha256_of(file) != card.sha256:
        raise ValueError(
            f"{written} is the card of other weights than {file.name}, whose SHA-256 is not the "
            f"card's {card.sha256}; `layerbook pretrain` writes both anew"
        )
    return card


def _accuracy(scores: torch.Tensor, part: Part, n_folder: int) -> dict[str, float]:
    top1, top5 = top_hits(scores, part.labels)
    drawn = part.labels >= n_folder
    accuracy = {
        "top1": top1.mean(),
        "top5": top5.mean(),
        "photographs_top1": top1[~drawn].mean(),
        "photographs_top5": top5[~drawn].mean(),
    }
    if drawn.any():
        accuracy["drawn_top1"] = top1[drawn].mean()
    return {key: round(float(value), 4) for key, value in accuracy.items()}


def _confusion(scores: torch.Tensor, part: Part) -> list[tuple[int, int, int]]:
    pairs = np.stack([part.labels, scores.argmax(1).numpy()], axis=1)
    unique, counts = np.unique(pairs, axis=0, return_counts=True)
    return [(int(t), int(p), int(n)) for (t, p), n in zip(unique, counts, strict=True)]


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
    return _stacked({name: pd.DataFrame(card.history) for name, card in cards.items()})


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
    parts = {}
    for name, card in cards.items():
        counts, n_photographs = _confusions(card), len(card.classes) - card.n_drawn
        images = counts.groupby("class")["images"].sum().reindex(range(len(card.classes)))
        hits = counts[counts["class"] == counts["taken for"]].set_index("class")["images"]
        origins = np.where(images.index < n_photographs, "photographs", "drawn")
        accuracy = hits.reindex(images.index, fill_value=0) / images
        columns = (
            card.classes,
            _short_titles(card),
            origins,
            images.fillna(0).astype(int),
            accuracy,
        )
        names = ("class", "title", "origin", "images", "accuracy")
        parts[name] = pd.DataFrame(dict(zip(names, columns, strict=True)))
    return _stacked(parts)


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
    parts = {}
    for name, card in cards.items():
        counts = _confusions(card)
        counts["share"] = counts["images"] / counts.groupby("class")["images"].transform("sum")
        wrong = counts[counts["class"] != counts["taken for"]]
        worst = wrong.sort_values("share", ascending=False, kind="stable").head(n)
        titles = dict(enumerate(_short_titles(card)))
        parts[name] = worst.assign(**{c: worst[c].map(titles) for c in ("class", "taken for")})
    return _stacked(parts)


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


def _confusions(card: ModelCard) -> pd.DataFrame:
    return pd.DataFrame(card.confusion, columns=["class", "taken for", "images"])


def _short_titles(card: ModelCard) -> list[str]:
    return [title.partition(",")[0] for title in card.titles]


def _stacked(parts: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One table of several, with the column ``weights`` in front."""
    return pd.concat(parts, names=["weights"]).reset_index("weights").reset_index(drop=True)
