"""Recipes: the numbers that say how a network is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from analysis.networks.crops import CROPS

__all__ = ["FineTuning", "Recipe"]


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    First weights are He's normal ones in the convolutions (``fan_out``) and PyTorch's own in the
    linear layers; weight decay is for matrices and filters alone. The changes of the images are
    those of :func:`analysis.networks.augmentation.augment`.

    Attributes
    ----------
    epochs, batch_size
        Passes over the images, and images in a step.
    learning_rate
        The largest; it rises over the first fifth of the steps and falls to nearly zero
        (``OneCycleLR``, cosine).
    momentum, weight_decay
        Of stochastic gradient descent, Nesterov's.
    label_smoothing
        Share of the target that is spread over all classes.
    dropout
        Share of fc6 and fc7 that is dropped.
    precision
        Of the forward and backward pass: ``"float32"``, or ``"bfloat16"`` (weights stay float32),
        which is faster where the processor has instructions for it (``avx512_bf16``, ``amx_bf16``)
        and many times slower elsewhere.
    """

    epochs: int = 40
    batch_size: int = 128
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    dropout: float = 0.2
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        _check_descent(self)
        _check_shares(self, "momentum", "label_smoothing", "dropout")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"unknown precision {self.precision!r}; known: float32, bfloat16")


@dataclass(frozen=True)
class FineTuning:
    """How the last layers of a network are trained on.

    The defaults are those of dos Santos and Ponti (2019, section IV). They give neither a schedule
    of the learning rate nor changes of the images; here there are none. Weight decay is for all
    weights that are free, biases included.

    Attributes
    ----------
    epochs
        Passes over the images.
    batch_size
        Images in a step, at most: an epoch takes ``ceil(images / batch_size)`` steps of as equal
        size as can be, so that no image is left out and no step has a handful.
    learning_rate
        The same from the first step to the last.
    momentum, weight_decay
        Of stochastic gradient descent, without Nesterov's.
    crops
        What is seen of an image: ``"whole"``, as in that paper, ``"center"`` or ``"warp"``, see
        :mod:`analysis.networks.crops`.
    """

    epochs: int = 100
    batch_size: int = 256
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    crops: str = "whole"

    def __post_init__(self) -> None:
        _check_descent(self)
        _check_shares(self, "momentum")
        single = [name for name, number in CROPS.items() if number == 1]
        if self.crops not in single:
            raise ValueError(
                f"expected crops that give one per image ({', '.join(single)}), got {self.crops!r}"
            )


def _check_descent(recipe: Recipe | FineTuning) -> None:
    """Refuse numbers with which nothing descends."""
    if recipe.epochs < 1 or recipe.batch_size < 2:
        raise ValueError(
            f"expected epochs >= 1 and batch_size >= 2, got {recipe.epochs} and {recipe.batch_size}"
        )
    if not recipe.learning_rate > 0 or not recipe.weight_decay >= 0:
        raise ValueError(
            "expected learning_rate > 0 and weight_decay >= 0, got "
            f"{recipe.learning_rate} and {recipe.weight_decay}"
        )


def _check_shares(recipe: Recipe | FineTuning, *names: str) -> None:
    """Refuse values outside of [0, 1)."""
    for name in names:
        if not 0 <= getattr(recipe, name) < 1:
            raise ValueError(f"expected 0 <= {name} < 1, got {getattr(recipe, name)}")
