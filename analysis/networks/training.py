"""Training: recipes, changes of images, checkpoints, and the pre-training of ``minivgg16``.

Conventions
-----------
epochs
    Every epoch draws from the seed and its own number, and a checkpoint is written whole after
    every epoch, so that a run that was killed goes on to the same weights: bit by bit on the same
    machine, with as many threads and the same versions. A checkpoint is taken up only by the run
    that it belongs to.
changes
    Are drawn anew for every batch. The scale of an image stays near what it will be when features
    are taken (72 pixels, of which 64 are seen): a network that was trained on enlarged images is
    lost on plain ones.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import logging
import math
import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import nn
from torch.nn import functional
from tqdm.auto import tqdm

from analysis.networks.crops import CROPS
from analysis.networks.minivgg import MINIVGG_PREPROCESSING, MiniVGG
from analysis.networks.preprocessing import Preprocessing

if TYPE_CHECKING:
    from analysis.data.source_tasks import Part, SourceTask

__all__ = [
    "FineTuning",
    "Recipe",
    "Row",
    "Training",
    "augment",
    "centre",
    "channel_statistics",
    "check_seed",
    "epoch_seed",
    "measure",
    "pretrain",
    "read_checkpoint",
    "require_finite",
    "run_epochs",
    "write_checkpoint",
    "write_whole",
]


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    First weights are He's normal ones in the convolutions (``fan_out``) and PyTorch's own in the
    linear layers; weight decay is for matrices and filters alone. The changes of the images are
    those of :func:`augment`.

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


_MARGIN = 8  # pixels that a crop leaves of the enlarged image
_BRIGHTNESS, _CONTRAST, _SATURATION = 0.2, 0.2, 0.2
_ERASED = 0.15  # share of the images that lose a square
_GREY = 0.05  # share of the images that lose their colour


def augment(
    images: torch.Tensor, mean: torch.Tensor, std: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Shift, mirror, recolour and partly erase a batch of training images.

    A batch is, by even chance, enlarged by an eighth before it is cropped, or it keeps its scale
    and is shifted by up to 4 pixels over mirrored borders.

    Parameters
    ----------
    images
        (n, 3, side, side), uint8.
    mean, std
        (1, 3, 1, 1), of the network's preprocessing, for values in [0, 1].
    generator
        Where the draws come from.

    Returns
    -------
    Tensor
        (n, 3, side, side), float32, normalised.
    """
    side = images.shape[-1]
    floats = images.float().div_(255)
    if torch.rand((), generator=generator) < 0.5:
        floats = _enlarged(floats)
    else:
        floats = functional.pad(floats, [_MARGIN // 2] * 4, mode="reflect")
    floats = _cropped(floats, side, generator)
    floats = _recoloured(floats, generator)
    normalised = (floats - mean) / std
    return _erased(normalised, generator)


def centre(images: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Give what the network's own preprocessing gives: enlarged by an eighth, cropped, normalised.

    Parameters and result are those of :func:`augment`. Features are taken through Pillow, which
    rounds to whole grey levels after each of its two passes; the two differ by one level at most.
    """
    enlarged = _enlarged(images.float().div_(255))
    start, side = _MARGIN // 2, images.shape[-1]
    return (enlarged[..., start : start + side, start : start + side] - mean) / std


def channel_statistics(preprocessing: Preprocessing) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the channels, float32, each of shape (1, 3, 1, 1)."""
    values = (preprocessing.mean, preprocessing.std)
    mean, std = (torch.tensor(value).reshape(1, 3, 1, 1) for value in values)
    return mean, std


def _enlarged(images: torch.Tensor) -> torch.Tensor:
    side = images.shape[-1] + _MARGIN
    return functional.interpolate(images, size=side, mode="bilinear", align_corners=False)


def _cropped(images: torch.Tensor, side: int, generator: torch.Generator) -> torch.Tensor:
    """Crop every image at its own place, and mirror half of them."""
    n, channels = images.shape[:2]
    top, left = torch.randint(0, images.shape[-1] - side + 1, (2, n, 1), generator=generator)
    mirrored = torch.rand((n, 1), generator=generator) < 0.5
    steps = torch.arange(side)
    rows, columns = top + steps, left + torch.where(mirrored, steps.flip(0), steps)
    pixel = rows[:, :, None] * images.shape[-1] + columns[:, None, :]
    index = pixel.reshape(n, 1, -1).expand(n, channels, -1)
    return images.flatten(2).gather(2, index).reshape(n, channels, side, side)


def _recoloured(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Change brightness, contrast and saturation of every image."""
    n = len(images)
    draws = 2 * torch.rand((3, n, 1, 1, 1), generator=generator) - 1
    saturation = 1 + _SATURATION * draws[2]
    saturation[torch.rand((n,), generator=generator) < _GREY] = 0
    grey = images.mean(1, keepdim=True)
    images = grey + saturation * (images - grey)
    level = images.mean((1, 2, 3), keepdim=True)
    images = level + (1 + _CONTRAST * draws[1]) * (images - level)
    return (images * (1 + _BRIGHTNESS * draws[0])).clamp_(0, 1)


def _erased(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Set a square of some images to zero, the mean colour."""
    n, _, side, _ = images.shape
    size = torch.randint(side // 8, side // 2 + 1, (n, 1), generator=generator)
    size[torch.rand((n, 1), generator=generator) >= _ERASED] = 0
    starts = torch.rand((2, n, 1), generator=generator) * (side - size)
    steps = torch.arange(side)
    inside = [(steps >= start) & (steps < start + size) for start in starts]
    return images.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0)


State = dict[str, Any]


def write_checkpoint(file: Path, run: str, state: State) -> None:
    """Write a checkpoint.

    Parameters
    ----------
    file
        Replaced, once the new one is whole.
    run
        JSON of an object: what tells this run from others.
    state
        Tensors and plain containers.
    """
    buffer = io.BytesIO()
    torch.save({"run": run, **state}, buffer)
    write_whole(file, buffer.getvalue())


def read_checkpoint(file: Path, run: str) -> State | None:
    """Read a checkpoint; None where there is none. Nothing in the file is executed.

    Parameters
    ----------
    file
        Where it may be.
    run
        What :func:`write_checkpoint` was given.

    Raises
    ------
    ValueError
        If the file is damaged, or belongs to another run; the message says what differs.
    """
    if not file.exists():
        return None
    try:
        with zipfile.ZipFile(file) as archive:  # PyTorch does not look at the checksums
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError  # PyTorch does not compress; what is could fill the memory
            if archive.testzip() is not None:
                raise zipfile.BadZipFile
        state: State = torch.load(file, map_location="cpu", weights_only=True)
        theirs, ours = json.loads(state.pop("run")), json.loads(run)
        if not isinstance(theirs, dict) or not isinstance(theirs.get("recipe", {}), dict):
            raise TypeError
    except Exception as error:  # the restricted unpickler has no error class of its own
        # A damaged file may lead to a place before its start, which is invalid.
        if isinstance(error, MemoryError) or getattr(error, "errno", errno.EINVAL) != errno.EINVAL:
            raise
        raise ValueError(
            f"{file} is damaged, or no checkpoint of a training ({type(error).__name__}). Remove "
            "it to start afresh, or choose another folder"
        ) from None
    if theirs != ours:
        raise ValueError(
            f"{file} belongs to another run: {_differences(theirs, ours)}. Choose another folder, "
            "or remove the file to start afresh"
        )
    return state


def write_whole(file: Path, content: bytes) -> None:
    """Write a file so that it is there whole or, if interrupted, as it was before."""
    partial = file.with_name(file.name + ".part")
    try:
        partial.write_bytes(content)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def _differences(theirs: State, ours: State) -> str:
    """Say what differs between two runs."""
    theirs, ours = (run | run.get("recipe", {}) | {"recipe": None} for run in (theirs, ours))
    found = [
        f"{key.replace('_', ' ')} {theirs.get(key)} there, {ours.get(key)} here"
        for key in sorted(theirs.keys() | ours.keys())
        if key != "task" and theirs.get(key) != ours.get(key)
    ]
    if theirs.get("task") != ours.get("task"):
        found.append("other images or classes there")
    return "; ".join(found)


_LOG = logging.getLogger(__name__)
_LARGEST_SEED = 2**40  # epochs are counted in the 20 bits below the seed

#: What an epoch measured.
Row = dict[str, float]


class Trainer(Protocol):
    """The state of a training between two epochs."""

    def epoch(self, number: int, progress: bool) -> Row:
        """Train one epoch; give its row of the history."""

    def state(self) -> dict[str, Any]:
        """Everything that the next epochs depend on: tensors and plain containers."""

    def load(self, state: dict[str, Any]) -> None:
        """Take up a state."""


def run_epochs(
    trainer: Trainer,
    epochs: int,
    folder: Path | None,
    run: str,
    *,
    told: Callable[[Row], str],
    progress: bool = False,
) -> list[Row]:
    """Train, from where a checkpoint left off if there is one.

    Parameters
    ----------
    trainer
        In its first state; it is left in the last.
    epochs
        How many there are in all.
    folder
        Where ``checkpoint.pt`` and ``history.csv`` are written after every epoch; None for nowhere.
    run
        JSON of an object: what tells this run from others.
    told
        What the progress bar says of an epoch.
    progress
        Show progress bars.

    Returns
    -------
    list of Row
        One per epoch.

    Raises
    ------
    ValueError
        If the folder holds a damaged checkpoint, that of another run, or one that does not fit.
    """
    history: list[Row] = []
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        held = read_checkpoint(folder / "checkpoint.pt", run)
        if held is not None:
            history = _take_up(trainer, held, folder / "checkpoint.pt")
            _write_history(folder, history)  # it may have been killed between the two files
    numbers = tqdm(
        range(len(history), epochs),
        initial=len(history),
        total=epochs,
        unit="epoch",
        disable=not progress,
    )
    for number in numbers:
        history.append(trainer.epoch(number, progress))
        if folder is not None:
            held = {**trainer.state(), "history": history}
            write_checkpoint(folder / "checkpoint.pt", run, held)
            _write_history(folder, history)
        numbers.set_postfix_str(told(history[-1]))
        _LOG.info("epoch %d of %d: %s", number + 1, epochs, history[-1])
    return history


def _take_up(trainer: Trainer, held: dict[str, Any], file: Path) -> list[Row]:
    """Give a trainer what a checkpoint of its run holds, and return the history."""
    try:
        history: list[Row] = held.pop("history")
        if not history or not all(
            isinstance(name, str) and isinstance(value, int | float)
            for row in history
            for name, value in row.items()
        ):
            raise TypeError("a history of numbers was expected")
        trainer.load(held)
    except MemoryError:
        raise
    except Exception as error:  # names, types and shapes may all be others
        raise ValueError(
            f"{file} does not hold what this run would have written ({type(error).__name__}: "
            f"{error!s:.300}). Remove it to start afresh, or choose another folder"
        ) from error
    return history


def check_seed(seed: int) -> None:
    """Refuse a seed from which :func:`epoch_seed` cannot be made."""
    if not 0 <= seed < _LARGEST_SEED:
        raise ValueError(f"expected a seed from 0 to 2**40 - 1, got {seed}")


def epoch_seed(seed: int, number: int) -> int:
    """Seed of an epoch: of the run's seed and its own number alone, from 0."""
    return (seed << 20) + number


def require_finite(loss: float, learning_rate: float) -> None:
    """Refuse a loss that is out of bounds.

    Raises
    ------
    FloatingPointError
        If the loss is infinite or not a number.
    """
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the loss is no longer finite ({loss}); train with a learning rate below "
            f"{learning_rate}, in another folder"
        )


def _write_history(folder: Path, rows: list[Row]) -> None:
    text = io.StringIO()
    names = dict.fromkeys(name for row in rows for name in row)  # a checkpoint may hold others
    writer = csv.DictWriter(text, list(names))
    writer.writeheader()
    writer.writerows(rows)
    write_whole(folder / "history.csv", text.getvalue().encode())


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
            for part in module.modules():
                if isinstance(part, nn.Conv2d):  # its input comes from a ReLU (He et al. 2015)
                    nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
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


def _grouped(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters with and without weight decay: matrices decay, biases and scales do not."""
    parameters = list(module.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
    ]
