"""Pre-training of ``minivgg16`` from images in memory, with checkpoints and resume.

Every epoch draws from the seed and its own number, and a checkpoint is written whole after every
epoch, so that a run that was killed goes on to the same weights: bit by bit on the same machine,
with as many threads and the same versions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from tqdm.auto import tqdm

from analysis.data.source_tasks import Part, SourceTask
from analysis.networks.augmentation import augment, centre, channel_statistics
from analysis.networks.epochs import Row, check_seed, epoch_seed, require_finite, run_epochs
from analysis.networks.minivgg import MINIVGG_PREPROCESSING, MiniVGG
from analysis.networks.recipes import Recipe

__all__ = ["Training", "measure", "pretrain"]

_EVALUATION_BATCH = 250
_FEWEST_STEPS = 6  # a rise over a fifth of fewer steps is none


@dataclass(frozen=True)
class Training:
    """What a run of training gave.

    Attributes
    ----------
    module
        The trained network, with batch normalisation, in evaluation mode.
    history
        One row per epoch: ``epoch`` (from 1), ``learning_rate`` (that the schedule has for the step
        after it), ``train_loss`` (with smoothed labels) and ``train_accuracy`` (both of changed
        images, dropout on), ``val_loss``, ``val_top1`` and ``val_top5`` (plain), ``seconds``.
    """

    module: MiniVGG
    history: list[Row]


def pretrain(
    task: SourceTask, folder: Path, recipe: Recipe, *, seed: int = 0, progress: bool = False
) -> Training:
    """Train ``minivgg16`` with batch normalisation on a source task.

    Parameters
    ----------
    task
        Images of 64 × 64 pixels.
    folder
        Where ``checkpoint.pt`` and ``history.csv`` are written after every epoch; a checkpoint of
        the same task, recipe and seed is taken up.
    recipe
        How to train.
    seed
        Seed of the first weights, of the order of the images, their changes and the dropout.
    progress
        Show a progress bar.

    Returns
    -------
    Training

    Raises
    ------
    ValueError
        If the images are of another size, there are too few of them or of classes for the recipe,
        the seed is out of range, or the folder holds a damaged checkpoint or that of another run.
    FloatingPointError
        If the loss grows out of bounds; the checkpoint of the last good epoch stays.
    """
    # Activations on huge pages, as in load_backbone: the same bits, 1.1 to 1.4 times as fast.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    _check(task, recipe, seed)
    run = json.dumps(
        {"task": task.fingerprint, "seed": seed, "recipe": asdict(recipe)}, sort_keys=True
    )
    trainer = _Trainer(task, recipe, seed)
    history = run_epochs(
        trainer,
        recipe.epochs,
        folder,
        run,
        told=lambda row: f"val top-1 {row['val_top1']:.1%}",
        progress=progress,
    )
    return Training(trainer.module.eval(), history)


def measure(module: nn.Module, part: Part) -> tuple[float, torch.Tensor]:
    """Loss and class scores of images, as the network's preprocessing shows them.

    Parameters
    ----------
    module
        It is left in evaluation mode.
    part
        n images.

    Returns
    -------
    loss
        Mean cross-entropy, in nats.
    scores
        (n, classes), float32.
    """
    module.eval()
    mean, std = channel_statistics(MINIVGG_PREPROCESSING)
    batches = torch.split(torch.from_numpy(part.images), _EVALUATION_BATCH)
    with torch.inference_mode():
        scores = torch.cat([module(centre(batch, mean, std)) for batch in batches])
    return float(functional.cross_entropy(scores, torch.from_numpy(part.labels))), scores


class _Trainer:
    """The state of a run: network, optimiser and schedule."""

    def __init__(self, task: SourceTask, recipe: Recipe, seed: int) -> None:
        self.task, self.recipe, self.seed = task, recipe, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = MiniVGG(len(task.classes), batch_norm=True, dropout=recipe.dropout)
            _initialise(module)
        self.module = module.to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.SGD(
            _grouped(self.module, recipe.weight_decay),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=True,
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            recipe.learning_rate,
            total_steps=recipe.epochs * (len(task.train.labels) // recipe.batch_size),
            pct_start=0.2,
            cycle_momentum=False,
        )

    def epoch(self, number: int, progress: bool) -> Row:
        """Train one epoch; give its row of the history."""
        started = perf_counter()
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, number))
        self.module.train()
        losses, hits, seen = 0.0, 0, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(epoch_seed(self.seed, number))  # dropout draws from here
            for images, labels in tqdm(
                self._batches(generator),
                total=len(self.task.train.labels) // self.recipe.batch_size,
                desc=f"epoch {number + 1}",
                leave=False,
                disable=not progress,
            ):
                loss, correct = self._step(images, labels)
                losses, hits, seen = losses + loss * len(labels), hits + correct, seen + len(labels)
        val_loss, scores = measure(self.module, self.task.val)
        require_finite(val_loss, self.recipe.learning_rate)
        best = scores.topk(min(5, scores.shape[1])).indices.numpy()
        right = best == self.task.val.labels[:, None]
        return {
            "epoch": number + 1,
            "learning_rate": float(self.schedule.get_last_lr()[0]),
            "train_loss": losses / seen,
            "train_accuracy": hits / seen,
            "val_loss": val_loss,
            "val_top1": float(right[:, 0].mean()),
            "val_top5": float(right.any(1).mean()),
            "seconds": round(perf_counter() - started, 1),
        }

    def _batches(self, generator: torch.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Give changed images and labels in a new order; an incomplete last batch is left out."""
        mean, std = channel_statistics(MINIVGG_PREPROCESSING)
        images, labels = map(torch.from_numpy, (self.task.train.images, self.task.train.labels))
        order = torch.randperm(len(labels), generator=generator)
        for chosen in torch.split(order, self.recipe.batch_size):
            if len(chosen) == self.recipe.batch_size:
                batch = augment(images[chosen], mean, std, generator)
                yield batch.contiguous(memory_format=torch.channels_last), labels[chosen]

    def _step(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[float, int]:
        half = self.recipe.precision == "bfloat16"
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            scores = self.module(images)
        loss = functional.cross_entropy(
            scores.float(), labels, label_smoothing=self.recipe.label_smoothing
        )
        value = float(loss.detach())
        require_finite(value, self.recipe.learning_rate)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.schedule.step()
        return value, int((scores.argmax(1) == labels).sum())

    def state(self) -> dict[str, Any]:
        """Everything that the next epochs depend on."""
        return {
            "module": self.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take up a state."""
        self.module.load_state_dict(state["module"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])


def _check(task: SourceTask, recipe: Recipe, seed: int) -> None:
    """Refuse what cannot be trained, before anything is written."""
    side, n = MINIVGG_PREPROCESSING.crop, len(task.train.labels)
    if task.train.images.shape[1:] != (3, side, side):
        raise ValueError(
            f"expected images of shape (3, {side}, {side}), got {task.train.images.shape[1:]}"
        )
    if len(task.classes) < 2:
        raise ValueError(f"expected at least two classes, got {', '.join(task.classes)} alone")
    if n < recipe.batch_size:
        raise ValueError(
            f"expected at least one batch of {recipe.batch_size} training images, got {n}; pass a "
            "smaller batch size"
        )
    steps = recipe.epochs * (n // recipe.batch_size)
    if steps < _FEWEST_STEPS:
        raise ValueError(
            f"expected at least {_FEWEST_STEPS} steps, got {steps}: {recipe.epochs} epochs of "
            f"{n // recipe.batch_size} batches; pass more epochs or a smaller batch size"
        )
    check_seed(seed)


def _initialise(module: MiniVGG) -> None:
    """He's normal initialisation of convolutions, whose inputs come from a ReLU."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")


def _grouped(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters with and without weight decay: matrices decay, biases and scales do not."""
    parameters = list(module.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
    ]
