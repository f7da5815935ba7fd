"""Pre-training of ``minivgg16`` from images in memory, with checkpoints and resume.

Every epoch draws from the seed and its own number, and a checkpoint is written whole after every
epoch, so that a run that was killed goes on to the same weights, bit by bit on the same machine.
"""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional
from tqdm.auto import tqdm

from analysis.data.source_tasks import Part, SourceTask
from analysis.networks.augmentation import augment, centre
from analysis.networks.minivgg import MINIVGG_PREPROCESSING, MiniVGG

__all__ = ["Recipe", "Training", "measure", "pretrain", "write_whole"]

_LOG = logging.getLogger(__name__)
_EVALUATION_BATCH = 250
State = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

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
        which is faster where the processor has instructions for it and far slower elsewhere.
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
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"unknown precision {self.precision!r}; known: float32, bfloat16")


@dataclass(frozen=True)
class Training:
    """What a run of training gave.

    Attributes
    ----------
    module
        The trained network, with batch normalisation, in evaluation mode.
    history
        One row per epoch: ``epoch``, ``learning_rate`` (at its end), ``train_loss``,
        ``train_accuracy`` (of changed images, dropout on), ``val_loss``, ``val_top1``,
        ``val_top5``, ``seconds``.
    """

    module: MiniVGG
    history: list[dict[str, float]]


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
        the same task, recipe and seed is resumed.
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
        If the folder holds a checkpoint of another run.
    """
    if len(task.train.labels) < recipe.batch_size:
        raise ValueError(
            f"expected at least one batch of {recipe.batch_size} training images, got "
            f"{len(task.train.labels)}; pass a smaller batch size"
        )
    folder.mkdir(parents=True, exist_ok=True)
    run = json.dumps(
        {"task": task.fingerprint, "seed": seed, "recipe": asdict(recipe)}, sort_keys=True
    )
    trainer = _Trainer(task, recipe, seed)
    history = trainer.resume(folder / "checkpoint.pt", run)
    epochs = tqdm(
        range(len(history), recipe.epochs),
        initial=len(history),
        total=recipe.epochs,
        unit="epoch",
        disable=not progress,
    )
    for epoch in epochs:
        history.append(trainer.epoch(epoch, progress))
        trainer.save(folder / "checkpoint.pt", run, history)
        write_whole(folder / "history.csv", _csv(history).encode())
        epochs.set_postfix_str(f"val top-1 {history[-1]['val_top1']:.1%}")
        _LOG.info("epoch %d of %d: %s", epoch + 1, recipe.epochs, history[-1])
    return Training(trainer.module.eval(), history)


def measure(module: nn.Module, part: Part) -> tuple[float, torch.Tensor]:
    """Loss and class scores of images, as the network's preprocessing shows them.

    Returns
    -------
    loss
        Mean cross-entropy, in nats.
    scores
        (n, classes), float32.
    """
    module.eval()
    mean, std = _statistics()
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

    def epoch(self, number: int, progress: bool) -> dict[str, float]:
        """Train one epoch; give its row of the history."""
        started = perf_counter()
        generator = torch.Generator().manual_seed((self.seed << 20) + number)
        self.module.train()
        losses, hits, seen = 0.0, 0, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed((self.seed << 20) + number)  # dropout draws from here
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
        mean, std = _statistics()
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
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.schedule.step()
        if not torch.isfinite(loss):
            raise FloatingPointError(
                "the loss is no longer finite; train with a smaller learning rate"
            )
        return float(loss.detach()), int((scores.argmax(1) == labels).sum())

    def save(self, file: Path, run: str, history: list[dict[str, float]]) -> None:
        """Write a checkpoint whole."""
        held = {
            "run": run,
            "module": self.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "history": history,
        }
        buffer = io.BytesIO()
        torch.save(held, buffer)
        write_whole(file, buffer.getvalue())

    def resume(self, file: Path, run: str) -> list[dict[str, float]]:
        """Take up a checkpoint, if there is one; give the history so far."""
        if not file.exists():
            return []
        held = torch.load(file, weights_only=True)
        if held["run"] != run:
            raise ValueError(
                f"{file} belongs to another run: {held['run']}, and this one is {run}. Choose "
                "another folder, or remove the file to start afresh"
            )
        self.module.load_state_dict(held["module"])
        self.optimiser.load_state_dict(held["optimiser"])
        self.schedule.load_state_dict(held["schedule"])
        history: list[dict[str, float]] = held["history"]
        return history


def _statistics() -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the preprocessing, (1, 3, 1, 1)."""
    values = (MINIVGG_PREPROCESSING.mean, MINIVGG_PREPROCESSING.std)
    mean, std = (torch.tensor(value).reshape(1, 3, 1, 1) for value in values)
    return mean, std


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


def _csv(rows: list[dict[str, float]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_whole(file: Path, content: bytes) -> None:
    """Write a file so that it is there whole or, if interrupted, as it was before."""
    partial = file.with_name(file.name + ".part")
    partial.write_bytes(content)
    partial.replace(file)
