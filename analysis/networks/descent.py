"""Stochastic gradient descent of a network's free layers, and the learning rate that they bear."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from math import log
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm.auto import tqdm

from analysis.networks.epochs import Row, epoch_seed, require_finite
from analysis.networks.kept import Examples
from analysis.networks.recipes import FineTuning

__all__ = ["FreeLayers", "rate_that_learns"]

_EVALUATION_BATCH = 250
_TRIED_EPOCHS = 2


class FreeLayers:
    """The state of a run: the free layers and their optimiser."""

    def __init__(
        self,
        module: nn.Module,
        tail: nn.Module,
        parts: Sequence[str],
        sets: Sequence[Examples],
        recipe: FineTuning,
        seed: int,
    ) -> None:
        self.module, self.tail, self.recipe, self.seed = module, tail, recipe, seed
        self.train, self.validation = sets[0], sets[1:]
        self.free = [module.get_submodule(path) for path in parts]
        self.names = [name for name in module.state_dict() if name.rpartition(".")[0] in parts]
        weights = [weight for part in self.free for weight in part.parameters(recurse=False)]
        for weight in weights:
            weight.requires_grad_(True)
        self.optimiser = torch.optim.SGD(
            weights,
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )

    def epoch(self, number: int, progress: bool) -> Row:
        """Train one epoch; give its row of the history."""
        started = perf_counter()
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, number))
        order = torch.randperm(len(self.train), generator=generator)
        batches = torch.tensor_split(order, _n_steps(len(order), self.recipe.batch_size))
        self._learning(True)
        losses, hits = 0.0, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(epoch_seed(self.seed, number))  # dropout draws from here
            for chosen in tqdm(
                batches, desc=f"epoch {number + 1}", leave=False, disable=not progress
            ):
                loss, correct = self._step(chosen)
                losses, hits = losses + loss * len(chosen), hits + correct
        self._learning(False)
        val_loss, val_accuracy = self._measured() if self.validation else (np.nan, np.nan)
        return {
            "epoch": number + 1,
            "loss": losses / len(order),
            "accuracy": hits / len(order),
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "seconds": round(perf_counter() - started, 3),
        }

    def state(self) -> dict[str, Any]:
        """Give the free layers and the optimiser's momentum."""
        return {"free": self.weights(), "optimiser": self.optimiser.state_dict()}

    def weights(self) -> dict[str, torch.Tensor]:
        """Give the tensors of the free layers, buffers included; they are not copied."""
        held = self.module.state_dict()
        return {name: held[name] for name in self.names}

    def load(self, state: dict[str, Any]) -> None:
        """Take up a state."""
        if state["free"].keys() != set(self.names):  # it could change what is frozen
            raise ValueError(f"expected {len(self.names)} free tensors, got {len(state['free'])}")
        self.module.load_state_dict(state["free"], strict=False)
        self.optimiser.load_state_dict(state["optimiser"])

    def _step(self, chosen: torch.Tensor) -> tuple[float, int]:
        scores, labels = self.tail(*self.train.batch(chosen)), self.train.labels[chosen]
        loss = functional.cross_entropy(scores, labels)
        value = float(loss.detach())
        require_finite(value, self.recipe.learning_rate)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return value, int((scores.argmax(1) == labels).sum())

    def _learning(self, on: bool) -> None:
        """Free layers in training mode or not; all others, and what holds them, never are."""
        for part in self.free:
            part.training = on

    def _measured(self) -> tuple[float, float]:
        """Loss and accuracy of the validation images."""
        (held_out,) = self.validation
        positions = torch.split(torch.arange(len(held_out)), _EVALUATION_BATCH)
        with torch.no_grad():
            scores = torch.cat([self.tail(*held_out.batch(chosen)) for chosen in positions])
        loss = float(functional.cross_entropy(scores, held_out.labels))
        require_finite(loss, self.recipe.learning_rate)
        return loss, float((scores.argmax(1) == held_out.labels).double().mean())


def _n_steps(images: int, batch_size: int) -> int:
    """Count the steps of an epoch; none has a single image, which a batch cannot normalise."""
    return max(1, min(-(-images // batch_size), images // 2))


def rate_that_learns(
    trainer: Callable[[float], FreeLayers], rates: Sequence[float], *, progress: bool = False
) -> float:
    """Give the first rate at which two epochs are enough to learn something; the last if none is.

    Parameters
    ----------
    trainer
        Gives the trainer of a learning rate, in its first state.
    rates
        The greatest first.
    progress
        Show progress bars.

    Notes
    -----
    Something is learnt when the loss is below that of saying all classes with the same probability.
    The free layers are left as they were.
    """
    for rate in rates[:-1]:
        tried = trainer(rate)
        before = copy.deepcopy(tried.weights())
        try:
            rows = [tried.epoch(number, progress) for number in range(_TRIED_EPOCHS)]
        except FloatingPointError:
            continue
        finally:
            tried.module.load_state_dict(before, strict=False)
            tried.module.eval()  # whatever epoch was broken off
        if rows[-1]["loss"] < log(int(tried.train.labels.max()) + 1):
            return rate
    return rates[-1]
