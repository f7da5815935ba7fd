"""Recipes: the numbers that say how a network is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Recipe"]


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
        if self.epochs < 1 or self.batch_size < 2:
            raise ValueError(
                f"expected epochs >= 1 and batch_size >= 2, got {self.epochs} and {self.batch_size}"
            )
        if not self.learning_rate > 0 or not self.weight_decay >= 0:
            raise ValueError(
                "expected learning_rate > 0 and weight_decay >= 0, got "
                f"{self.learning_rate} and {self.weight_decay}"
            )
        for name in ("momentum", "label_smoothing", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"expected 0 <= {name} < 1, got {getattr(self, name)}")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"unknown precision {self.precision!r}; known: float32, bfloat16")
