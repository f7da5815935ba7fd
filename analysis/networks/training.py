"""Training: recipes, changes of images, checkpoints; pre-training and fine-tuning.

``minivgg16`` is trained from nothing. In fine-tuning, the last layers of a network learn the
classes of a dataset, the others stay. The frozen layers give the same answer in every epoch, since
images are not changed, so that it is computed once. An image goes through them alone: on a CPU a
convolution of a batch may differ in its last bits with the number of images in it. So what is kept
is what would be computed again, bit for bit, whatever batch an image comes in.

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
layer
    One function that a recorded forward pass applies: a convolution, a normalisation, an activation
    function, a pooling, a sum, a concatenation, a flattening, a linear layer. Keras counts so, in
    which dos Santos and Ponti (2019, section IV) leave "the last seven layers" free; dropout, which
    does nothing while features are taken, is not counted.
the last seven
    Of ResNet-50 the last convolution with its normalisation, and the class layer (``conv3``,
    ``bn3``, sum, ReLU, average pool, flatten, ``fc``); of VGG16 and ``minivgg16`` fc6, fc7 and fc8;
    of SqueezeNet the 3 × 3 filters of fire9, and conv10.
frozen
    Everything before: neither weights nor running statistics change, and dropout there is off. A
    module that is called more than once counts where it is called last; weights whose use a forward
    pass does not show (none in torchvision's networks but a transformer's class token) are frozen.
"""

from __future__ import annotations

import copy
import errno
import hashlib
import json
import logging
import math
import os
import tempfile
import zipfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from safetensors.torch import save
from torch import fx, nn
from torch.nn import functional
from tqdm.auto import tqdm

from analysis.networks.backbone import Backbone
from analysis.networks.cards import NETWORKS
from analysis.networks.discovery import class_layer
from analysis.networks.loading import assemble
from analysis.networks.minivgg import MINIVGG_PREPROCESSING, MiniVGG
from analysis.networks.preprocessing import CROPS, Preprocessing, cut_crops
from analysis.networks.trace import Trace, record
from analysis.networks.weights import load_restricted
from analysis.paths import written_whole

if TYPE_CHECKING:
    from analysis.data import ImageDataset
    from analysis.data.source_tasks import Part, SourceTask


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
        :mod:`analysis.networks.preprocessing`.
    """

    epochs: int = 100
    batch_size: int = 256
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    crops: str = "whole"

    def __post_init__(self) -> None:
        _check_descent(self)
        single = [name for name, number in CROPS.items() if number == 1]
        if self.crops not in single:
            raise ValueError(
                f"expected crops that give one per image ({', '.join(single)}), got {self.crops!r}"
            )


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
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"unknown precision {self.precision!r}; known: float32, bfloat16")


def _check_descent(recipe: Recipe | FineTuning) -> None:
    """Refuse numbers with which nothing descends."""
    given = asdict(recipe)
    if recipe.epochs < 1 or recipe.batch_size < 2:
        raise ValueError(
            f"expected epochs >= 1 and batch_size >= 2, got {recipe.epochs} and {recipe.batch_size}"
        )
    if not recipe.learning_rate > 0 or not recipe.weight_decay >= 0:
        raise ValueError(
            "expected learning_rate > 0 and weight_decay >= 0, got "
            f"{recipe.learning_rate} and {recipe.weight_decay}"
        )
    for name in {"momentum", "label_smoothing", "dropout"} & given.keys():
        if not 0 <= given[name] < 1:
            raise ValueError(f"expected 0 <= {name} < 1, got {given[name]}")


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
    return _erased((floats - mean) / std, generator)


def centre(images: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Give what the network's own preprocessing gives: enlarged by an eighth, cropped, normalised.

    Parameters and result are those of :func:`augment`. Features are taken through Pillow, which
    rounds to whole grey levels after each of its two passes; the two differ by one level at most.
    """
    enlarged = _enlarged(images.float().div_(255))
    start, side = _MARGIN // 2, images.shape[-1]
    return (enlarged[..., start : start + side, start : start + side] - mean) / std


def _channel_statistics(preprocessing: Preprocessing) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the channels, float32, each of shape (1, 3, 1, 1)."""
    values = (preprocessing.mean, preprocessing.std)
    mean, std = (torch.tensor(value).reshape(1, 3, 1, 1) for value in values)
    return mean, std


def normalised(pixels: npt.NDArray[np.uint8], preprocessing: Preprocessing) -> torch.Tensor:
    """Normalise crops (n, side, side, 3): what the network sees, (n, 3, side, side), float32."""
    mean, std = _channel_statistics(preprocessing)
    values = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float()
    return (values.div_(255) - mean) / std


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
    with written_whole(file) as partial, partial.open("wb") as stream:
        torch.save({"run": run, **state}, stream)


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
        state: State = load_restricted(file)
        with zipfile.ZipFile(file) as archive:
            if archive.testzip() is not None:  # PyTorch does not look at the checksums
                raise zipfile.BadZipFile
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


def _differences(theirs: State, ours: State) -> str:
    """Say what differs between two runs."""
    theirs, ours = (run | run.get("recipe", {}) | {"recipe": None} for run in (theirs, ours))
    keys = [k for k in sorted(theirs.keys() | ours.keys()) if theirs.get(k) != ours.get(k)]
    return "; ".join(
        "other images or classes there"
        if key == "task"
        else f"{key.replace('_', ' ')} {theirs.get(key)} there, {ours.get(key)} here"
        for key in keys
    )


def save_weights(file: Path, module: nn.Module, facts: dict[str, Any]) -> None:
    """Write the weights of a module, and beside them, as ``.json``, what is known of them.

    Parameters
    ----------
    file
        Ends in ``.safetensors``.
    module
        The network.
    facts
        What JSON can hold, NaN apart; written one line each, after ``sha256``, that of ``file``.
    """
    state = {key: value.contiguous() for key, value in module.state_dict().items()}
    content = save(state, metadata={"format": "pt"})  # of several entries the order is random
    facts = {"sha256": hashlib.sha256(content).hexdigest(), **facts}
    lines = [f'  "{key}": {json.dumps(value, ensure_ascii=False)}' for key, value in facts.items()]
    with written_whole(file) as partial:
        partial.write_bytes(content)
    with written_whole(file.with_suffix(".json")) as partial:
        partial.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


_LOG = logging.getLogger(__name__)
_LARGEST_SEED = 2**40  # epochs are counted in the 20 bits below the seed
_EVALUATION_BATCH = 250

#: What an epoch measured.
Row = dict[str, float]


class Trainer:
    """The state of a training between two epochs.

    A kind of training says how an epoch is cut into steps (:meth:`steps`), what the network gives
    for the images of one (:meth:`scores`), and what is measured after it (:meth:`measured`).

    Parameters
    ----------
    module
        The network, in its first state.
    parts
        Paths of the modules that learn or drop; all others stay in evaluation mode.
    groups
        Of parameters, with the weight decay of each.
    labels
        Of the images to learn from.
    recipe, seed
        How to train, and the seed of the order of the images, their changes and the dropout.
    nesterov
        Use Nesterov's momentum.
    """

    weights_key = "module"  # in a checkpoint
    smoothing = 0.0  # of labels
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None

    def __init__(
        self,
        module: nn.Module,
        parts: Collection[str],
        groups: list[dict[str, Any]],
        labels: torch.Tensor,
        recipe: Recipe | FineTuning,
        seed: int,
        *,
        nesterov: bool,
    ) -> None:
        self.module, self.labels, self.recipe, self.seed = module, labels, recipe, seed
        self.parts = [module.get_submodule(path) for path in parts]
        self.names = [name for name in module.state_dict() if name.rpartition(".")[0] in parts]
        self.optimiser = torch.optim.SGD(
            groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=nesterov
        )

    def steps(self, order: torch.Tensor) -> Sequence[torch.Tensor]:
        """Cut an order of the images into those of each step."""
        raise NotImplementedError

    def scores(self, chosen: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Give the class scores, float32, of images by position."""
        raise NotImplementedError

    def measured(self, loss: float, accuracy: float) -> Row:
        """Give the row of an epoch, from what was measured while it was trained."""
        raise NotImplementedError

    def epoch(self, number: int, progress: bool) -> Row:
        """Train one epoch; give its row of the history."""
        started, seed = perf_counter(), (self.seed << 20) + number
        generator = torch.Generator().manual_seed(seed)
        steps = self.steps(torch.randperm(len(self.labels), generator=generator))
        losses, hits = 0.0, 0
        self._set_training(True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # dropout draws from here
            for chosen in tqdm(steps, f"epoch {number + 1}", leave=False, disable=not progress):
                labels, scores = self.labels[chosen], self.scores(chosen, generator)
                loss = functional.cross_entropy(scores, labels, label_smoothing=self.smoothing)
                self.require_finite(float(loss.detach()))
                self.optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                self.optimiser.step()
                if self.schedule is not None:
                    self.schedule.step()
                losses += float(loss.detach()) * len(chosen)
                hits += int((scores.argmax(1) == labels).sum())
        self._set_training(False)
        seen = sum(map(len, steps))
        row = self.measured(losses / seen, hits / seen)
        return {"epoch": number + 1, **row, "seconds": round(perf_counter() - started, 3)}

    def weights(self) -> dict[str, torch.Tensor]:
        """Give the tensors of what learns, buffers included; they are not copied."""
        state = self.module.state_dict()
        return {name: state[name] for name in self.names}

    def state(self) -> State:
        """Give everything that the next epochs depend on: tensors and plain containers."""
        state = {self.weights_key: self.weights(), "optimiser": self.optimiser.state_dict()}
        return state if self.schedule is None else state | {"schedule": self.schedule.state_dict()}

    def load(self, state: State) -> None:
        """Take up a state."""
        weights = state[self.weights_key]
        if weights.keys() != set(self.names):  # it could change what is frozen
            raise ValueError(f"expected {len(self.names)} tensors, got {len(weights)}")
        self.module.load_state_dict(weights, strict=False)
        self.optimiser.load_state_dict(state["optimiser"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])

    def _set_training(self, on: bool) -> None:
        for part in self.parts:
            part.training = on

    def require_finite(self, loss: float) -> None:
        """Refuse a loss that is out of bounds."""
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss is no longer finite ({loss}); train with a learning rate below "
                f"{self.recipe.learning_rate}, in another folder"
            )


def _evaluate(
    forward: Callable[[torch.Tensor], torch.Tensor], labels: torch.Tensor
) -> tuple[float, torch.Tensor]:
    """Cross-entropy and class scores of all images, which are given to ``forward`` by position."""
    with torch.inference_mode():
        batches = torch.split(torch.arange(len(labels)), _EVALUATION_BATCH)
        scores = torch.cat([forward(chosen) for chosen in batches])
        return float(functional.cross_entropy(scores, labels)), scores


def run_epochs(
    trainer: Trainer,
    epochs: int,
    folder: Path | None,
    run: str,
    *,
    summary: Callable[[Row], str],
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
    summary
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
        for partial in folder.glob(".*.part"):  # of a run that was killed
            partial.unlink()
        history = _take_up(trainer, folder, run)
    numbers = tqdm(range(epochs), unit="epoch", disable=not progress)
    for number in numbers:
        if number < len(history):
            continue
        history.append(trainer.epoch(number, progress))
        if folder is not None:
            state = trainer.state() | {"history": history}
            write_checkpoint(folder / "checkpoint.pt", run, state)
            _write_history(folder, history)
        numbers.set_postfix_str(summary(history[-1]))
        _LOG.info("epoch %d of %d: %s", number + 1, epochs, history[-1])
    return history


def _take_up(trainer: Trainer, folder: Path, run: str) -> list[Row]:
    """Give a trainer what a checkpoint of its run holds, if there is one; return the history."""
    file = folder / "checkpoint.pt"
    state = read_checkpoint(file, run)
    if state is None:
        return []
    try:
        history: list[Row] = state.pop("history")
        if pd.DataFrame(history).astype(float).empty:
            raise TypeError("a history of numbers was expected")
        trainer.load(state)
    except MemoryError:
        raise
    except Exception as error:  # names, types and shapes may all be others
        raise ValueError(
            f"{file} does not hold what this run would have written ({type(error).__name__}: "
            f"{error!s:.300}). Remove it to start afresh, or choose another folder"
        ) from error
    _write_history(folder, history)  # it may have been killed between the two files
    return history


def _write_history(folder: Path, rows: list[Row]) -> None:
    with written_whole(folder / "history.csv") as partial:
        pd.DataFrame(rows).to_csv(partial, index=False, na_rep="nan")


_FEWEST_STEPS = 6  # a rise over a fifth of fewer steps is none


class Training(NamedTuple):
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
        If there are too few images or classes for the recipe, the seed is out of range, or the
        folder holds a damaged checkpoint or that of another run.
    FloatingPointError
        If the loss grows out of bounds; the checkpoint of the last good epoch stays.
    """
    # Activations on huge pages, as in load_backbone: the same bits, 1.1 to 1.4 times as fast.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    _check_steps(len(task.train.labels), recipe)
    _check_learnable(task.classes, seed)
    trainer = Pretraining(task, recipe, seed)
    described = {"task": task.fingerprint, "seed": seed, "recipe": asdict(recipe)}
    history = run_epochs(
        trainer,
        recipe.epochs,
        folder,
        json.dumps(described, sort_keys=True),
        summary=lambda row: f"val top-1 {row['val_top1']:.1%}",
        progress=progress,
    )
    return Training(trainer.module.eval(), history)


class Pretraining(Trainer):
    """Training of ``minivgg16`` from its first weights, on changed images."""

    module: MiniVGG

    def __init__(self, task: SourceTask, recipe: Recipe, seed: int) -> None:
        self.validation, self.smoothing = task.val, recipe.label_smoothing
        self.precision = recipe.precision
        self.images, labels = map(torch.from_numpy, (task.train.images, task.train.labels))
        self.n_steps = len(labels) // recipe.batch_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = MiniVGG(len(task.classes), batch_norm=True, dropout=recipe.dropout)
            for part in module.modules():
                if isinstance(part, nn.Conv2d):  # its input comes from a ReLU (He et al. 2015)
                    nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        module = module.to(memory_format=torch.channels_last)
        weights = list(module.parameters())
        groups = [  # matrices decay, biases and scales do not
            {"params": [p for p in weights if p.ndim > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in weights if p.ndim == 1], "weight_decay": 0.0},
        ]
        paths = dict(module.named_modules())
        super().__init__(module, paths, groups, labels, recipe, seed, nesterov=True)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            recipe.learning_rate,
            total_steps=recipe.epochs * self.n_steps,
            pct_start=0.2,
            cycle_momentum=False,
        )

    def steps(self, order: torch.Tensor) -> Sequence[torch.Tensor]:
        """Whole batches; what is left over is left out."""
        return torch.split(order, self.recipe.batch_size)[: self.n_steps]

    def scores(self, chosen: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Class scores of changed images."""
        mean, std = _channel_statistics(MINIVGG_PREPROCESSING)
        batch = augment(self.images[chosen], mean, std, generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bfloat16"):
            scores: torch.Tensor = self.module(batch.contiguous(memory_format=torch.channels_last))
        return scores.float()

    def measured(self, loss: float, accuracy: float) -> Row:
        """Loss and accuracy, of the training images and of the others."""
        assert self.schedule is not None
        val_loss, scores = measure(self.module, self.validation)
        self.require_finite(val_loss)
        top1, top5 = top_hits(scores, self.validation.labels)
        return {
            "learning_rate": float(self.schedule.get_last_lr()[0]),
            "train_loss": loss,
            "train_accuracy": accuracy,
            "val_loss": val_loss,
            "val_top1": float(top1.mean()),
            "val_top5": float(top5.mean()),
        }


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
    mean, std = _channel_statistics(MINIVGG_PREPROCESSING)
    images, labels = map(torch.from_numpy, (part.images, part.labels))
    return _evaluate(lambda chosen: module(centre(images[chosen], mean, std)), labels)


def top_hits(
    scores: torch.Tensor, labels: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Whether the class of each image has the best score, and whether one of the five best."""
    best = scores.topk(min(5, scores.shape[1])).indices.numpy()
    hits = best == labels[:, None]
    return hits[:, 0], hits.any(1)


def _check_steps(n_images: int, recipe: Recipe) -> None:
    """Refuse what cannot be trained on, before anything is written."""
    batches = n_images // recipe.batch_size
    if recipe.epochs * batches < _FEWEST_STEPS:
        raise ValueError(
            f"expected at least {_FEWEST_STEPS} steps, got {recipe.epochs * batches}: "
            f"{recipe.epochs} epochs of {batches} batches of {recipe.batch_size}, with "
            f"{n_images} training images; pass more epochs or a smaller batch size"
        )


def _check_learnable(classes: tuple[str, ...], seed: int) -> None:
    if len(classes) < 2:
        raise ValueError(f"expected at least two classes, got {', '.join(classes)} alone")
    if not 0 <= seed < _LARGEST_SEED:
        raise ValueError(f"expected a seed from 0 to 2**40 - 1, got {seed}")


def fine_tune(
    net: Backbone,
    data: ImageDataset,
    *,
    seed: int = 0,
    free: int | str = 7,
    recipe: FineTuning | None = None,
    rates: Sequence[float] = (),
    validation: ImageDataset | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> FineTuned:
    """Train the last layers of a network on the classes of a dataset.

    The class layer is replaced by a new one; it and the layers before it that are free learn by
    stochastic gradient descent (dos Santos and Ponti 2019, section IV). All others stay as they
    are, bit for bit, running statistics included.

    Parameters
    ----------
    net
        Any backbone; it is not changed.
    data
        Images with their classes, each class with at least one. An image is opened once.
    seed
        Of the new class layer, the order of the images and the dropout.
    free
        How many of the last layers learn, counted as at the top of this module (which says what
        the paper's seven are in each network), or the first layer that does, by name:
        ``free="fire8"``.
    recipe
        How to train; None for that of the paper, ``FineTuning()``.
    rates
        Learning rates to try for two epochs each, the greatest first, before the training starts
        afresh at the first one after which the loss is below that of saying all classes with the
        same probability, and at the last if none is. None are tried if there are fewer than two.
        They take the place of that of ``recipe``, and the one taken is in the provenance
        (``tuned_recipe``).
    validation
        Images of the same classes, measured after every epoch. Nothing is chosen by them.
    checkpoint
        Folder for ``checkpoint.pt`` and ``history.csv``, written after every epoch; a checkpoint of
        the same network, images, recipe and seed is taken up. None for no checkpoints.
    progress
        Show progress bars.

    Returns
    -------
    FineTuned
        A backbone to extract from, with :attr:`FineTuned.history`.

    Raises
    ------
    ValueError
        If a class has no images or there is only one, the class layer would not be free or is not
        found, weights in front of it are missing, a layer is unknown, or the folder holds a damaged
        checkpoint or that of another run.
    FloatingPointError
        If the loss grows out of bounds; the checkpoint of the last good epoch stays.

    Notes
    -----
    Where the forward pass depends on values, it cannot be cut in front of the free layers; then the
    whole network runs in every step.
    """
    recipe = FineTuning() if recipe is None else recipe
    _check_images(data, validation)
    _check_learnable(data.classes, seed)
    crop = net.preprocessing.crop
    module = copy.deepcopy(net.module).to(memory_format=torch.channels_last)
    n_before = replace_class_layer(module, len(data.classes), crop=crop, seed=seed)
    if any(value.isnan().any() for value in module.state_dict().values()):
        raise ValueError(
            f"{net.weights} lacks weights of {net.name} in front of its class layer, such as "
            f"{str(net.provenance.get('lacking')).partition(',')[0]}: there are features, but no "
            "class scores to learn. Take weights that have all but the class layer"
        )
    module.eval().requires_grad_(False)
    parts = free_parts(module, free if isinstance(free, int) else _path(net, free), crop=crop)
    folder = None if checkpoint is None else Path(checkpoint)
    probe = np.random.default_rng(0).integers(0, 256, (2, crop, crop, 3), dtype=np.uint8)
    cut = cut_before(module, parts, normalised(probe, net.preprocessing))
    front, tail = cut or (None, module)

    def examples(images: ImageDataset) -> Examples:
        return Examples(images, net.preprocessing, recipe.crops, front, folder, progress)

    sets = examples(data), None if validation is None else examples(validation)

    def trainer(rate: float) -> FreeLayers:
        return FreeLayers(module, tail, parts, *sets, replace(recipe, learning_rate=rate), seed)

    rate = _rate_that_learns(trainer, rates or [recipe.learning_rate], progress=progress)
    tuned_recipe = asdict(replace(recipe, learning_rate=rate))
    described: dict[str, Any] = {  # tells this run from others
        "network": net.name,
        "stem": net.provenance.get("stem"),
        "weights": net.weights_hash,
        "preprocessing": str(net.preprocessing),
        "task": data.fingerprint,
        "validation": None if validation is None else validation.fingerprint,
        "free": free,
        "seed": seed,
        "recipe": tuned_recipe,
    }
    history = run_epochs(
        trainer(rate),
        recipe.epochs,
        folder,
        json.dumps(described),
        summary=lambda row: f"loss {row['loss']:.3g}, accuracy {row['accuracy']:.1%}",
        progress=progress,
    )
    label = f"{net.weights} tuned on {data.name}"
    kept = {key: value for key, value in net.provenance.items() if key in ("network", "stem")}
    base = {f"base_{key}": net.provenance[key] for key in net.provenance.keys() - kept.keys()}
    provenance: dict[str, str | int] = {
        **kept,
        "weights": label,
        **dict(sorted(base.items())),
        "base_weights": net.weights,
        "base_weights_hash": net.weights_hash,
        "tuned_on": data.name,
        "tuned_fingerprint": data.fingerprint,
        "tuned_free": str(free),
        "tuned_recipe": json.dumps(tuned_recipe),
        "tuned_seed": seed,
        "tuned_torch": str(torch.__version__),
        "tuned_torchvision": version("torchvision"),
        "tuned_threads": torch.get_num_threads(),
    }
    module = module.to(memory_format=torch.contiguous_format)
    card = NETWORKS.get(net.name) if net.weights != "own" else None
    layers = [layer.name if layer.units == n_before else layer for layer in net.layers]
    tuned = assemble(net.name, module, net.preprocessing, label, provenance, layers, card)
    return FineTuned(
        **vars(tuned),
        classes=data.classes,
        free=parts,
        history=pd.DataFrame(history).astype({"epoch": int}),
    )


def _check_images(data: ImageDataset, validation: ImageDataset | None) -> None:
    """Refuse images from which nothing can be learnt."""
    counts = np.bincount(data.labels, minlength=len(data.classes))
    empty = [name for name, count in zip(data.classes, counts, strict=True) if not count]
    if empty:
        raise ValueError(
            f"no images of {', '.join(empty)} in {data.name!r}: a class without images cannot be "
            "learnt; leave it out of the classes"
        )
    if validation is not None and (validation.classes != data.classes or not len(validation)):
        raise ValueError(
            "expected validation images, of the same classes in the same order: "
            f"{', '.join(data.classes)}; got {len(validation)} of {', '.join(validation.classes)}"
        )


def _path(net: Backbone, name: str) -> str:
    """Path of the module of a layer that is given by name."""
    card = NETWORKS.get(net.name)
    path = card.modules.get(card.aliases.get(name, name), name) if card else name
    if path not in dict(net.module.named_modules()):
        (layer,) = net.select([name])  # says which are known
        path = (layer.pre or layer.post)[0].module
    return path


@dataclass(frozen=True, eq=False)
class FineTuned(Backbone):
    """A backbone whose last layers were trained on; made by ``fine_tune``.

    ``provenance`` says of the base its weights and their hash (``base_weights``,
    ``base_weights_hash``, ``base_file``), and of the training ``tuned_on``, ``tuned_fingerprint``,
    ``tuned_free``, ``tuned_recipe`` (JSON), ``tuned_seed`` and versions.

    Parameters
    ----------
    classes
        Names of the classes, in the order of the class scores.
    free
        Paths of the modules that were free to learn, or to drop.
    history
        A row per epoch: ``epoch`` (from 1), ``loss`` (cross-entropy, nats) and ``accuracy`` of the
        images as they were trained on, dropout on, ``val_loss`` and ``val_accuracy`` after the
        epoch (not a number without validation images), ``seconds``.
    """

    classes: tuple[str, ...] = ()
    free: tuple[str, ...] = ()
    history: pd.DataFrame = field(default_factory=pd.DataFrame)

    def save(self, file: str | Path) -> Path:
        """Write the weights, and beside them, as ``.json``, where they come from.

        Parameters
        ----------
        file
            Ends in ``.safetensors``; ``load_backbone(name, weights=file)`` reads it.

        Returns
        -------
        Path
            The file.
        """
        file = Path(file)
        if file.suffix != ".safetensors":
            raise ValueError(f"expected the name of a .safetensors file, got {file.name!r}")
        history = self.history.astype(object).where(self.history.notna(), None)  # JSON has no NaN
        facts = {
            "classes": list(self.classes),
            "free": list(self.free),
            **self.provenance,
            "history": history.to_dict("records"),
        }
        save_weights(file, self.module, facts)
        return file


class FreeLayers(Trainer):
    """Training of the last layers of a network, on images as they are."""

    weights_key = "free"

    def __init__(
        self,
        module: nn.Module,
        tail: nn.Module,
        parts: Sequence[str],
        train: Examples,
        validation: Examples | None,
        recipe: FineTuning,
        seed: int,
    ) -> None:
        self.tail, self.train, self.validation = tail, train, validation
        free = [module.get_submodule(path) for path in parts]
        weights = [weight for part in free for weight in part.parameters(recurse=False)]
        for weight in weights:
            weight.requires_grad_(True)
        groups = [{"params": weights, "weight_decay": recipe.weight_decay}]
        super().__init__(module, parts, groups, train.labels, recipe, seed, nesterov=False)

    def steps(self, order: torch.Tensor) -> Sequence[torch.Tensor]:
        """Cut into steps of equal size, none of a single image, which a batch cannot normalise."""
        n = len(order)
        return order.tensor_split(max(1, min(-(-n // self.recipe.batch_size), n // 2)))

    def scores(self, chosen: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Class scores."""
        scores: torch.Tensor = self.tail(*self.train.batch(chosen))
        return scores

    def measured(self, loss: float, accuracy: float) -> Row:
        """Loss and accuracy, of the training images and of the others, if there are any."""
        row = {"loss": loss, "accuracy": accuracy, "val_loss": math.nan, "val_accuracy": math.nan}
        if self.validation is not None:
            images, labels = self.validation, self.validation.labels
            row["val_loss"], scores = _evaluate(lambda i: self.tail(*images.batch(i)), labels)
            self.require_finite(row["val_loss"])
            row["val_accuracy"] = float((scores.argmax(1) == labels).double().mean())
        return row


_TRIED_EPOCHS = 2


def _rate_that_learns(
    trainer: Callable[[float], FreeLayers], rates: Sequence[float], *, progress: bool
) -> float:
    """Give the first rate at which two epochs are enough to learn something; the last if none is.

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
        if rows[-1]["loss"] < math.log(int(tried.labels.max()) + 1):
            return rate
    return rates[-1]


class Examples:
    """Images of a dataset as the layers that learn are given them.

    Parameters
    ----------
    data
        At least one image; each is opened once.
    preprocessing, crops
        How they are cut and normalised, see :mod:`analysis.networks.preprocessing`.
    front
        The frozen layers, see :func:`cut_before`, whose answers are kept; None to keep the pixels.
    folder
        Where they are kept, in a file without a name, which the system removes when the process
        ends, however it ends; None for that of temporary files.
    progress
        Show a progress bar.
    """

    def __init__(
        self,
        data: ImageDataset,
        preprocessing: Preprocessing,
        crops: str,
        front: nn.Module | None,
        folder: Path | None,
        progress: bool,
    ) -> None:
        self.labels = torch.from_numpy(np.array(data.labels))
        self._preprocessing, self._front = preprocessing, front
        self._kept: list[npt.NDArray[Any]] = []
        images = tqdm(data, data.name, unit="image", disable=not progress)
        for number, image in enumerate(images):
            pixels = cut_crops(image, crops, preprocessing)
            row = [pixels]
            if front is not None:
                with torch.no_grad():
                    row = [values.numpy() for values in front(normalised(pixels, preprocessing))]
            self._kept = self._kept or [_room(len(data), values, folder) for values in row]
            for kept, (values,) in zip(self._kept, row, strict=True):
                kept[number] = values

    def batch(self, chosen: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Give what the layers that learn are shown of some images, by position."""
        rows = [kept[chosen.numpy()] for kept in self._kept]
        if self._front is None:
            return (normalised(rows[0], self._preprocessing),)
        return tuple(torch.from_numpy(values) for values in rows)


def _room(n: int, row: npt.NDArray[Any], folder: Path | None) -> npt.NDArray[Any]:
    """Room for n such rows, as large as the disk."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:  # the array keeps it open, without a name
        return np.memmap(file, row.dtype, "w+", shape=(n, *row.shape[1:]))


_FIRST_SCORES_STD = 0.01  # as torchvision draws the class layers of VGG and SqueezeNet


def replace_class_layer(module: nn.Module, n_classes: int, *, crop: int, seed: int) -> int:
    """Put a new class layer into a network.

    Parameters
    ----------
    module
        Changed in place.
    n_classes
        Class scores of the new layer.
    crop
        Side of the network's input, in pixels.
    seed
        Of its weights: normal, standard deviation 0.01. Biases are zero.

    Returns
    -------
    int
        Class scores of the old one.

    Raises
    ------
    ValueError
        If there is no layer that convolves or connects, or the last does not give the result.
    """
    path, old = class_layer(module)
    trace = record(module, (2, 3, crop, crop))
    result = None if trace.result is None else trace.shapes[trace.result]
    if result != (2, old.weight.shape[0]):
        raise ValueError(
            f"expected {path!r}, the last layer of {type(module).__name__}, to give its class "
            f"scores ({old.weight.shape[0]} per image); it returns an array of shape {result} for "
            "2 images"
        )
    new = copy.deepcopy(old)
    generator = torch.Generator().manual_seed(seed)
    first = torch.empty(n_classes, *old.weight.shape[1:])
    first.normal_(0, _FIRST_SCORES_STD, generator=generator)
    new.weight, new.bias = nn.Parameter(first), nn.Parameter(torch.zeros(n_classes))
    setattr(new, "out_channels" if isinstance(new, nn.Conv2d) else "out_features", n_classes)
    module.set_submodule(path, new)
    return len(old.weight)


def free_parts(module: nn.Module, free: int | str, *, crop: int) -> tuple[str, ...]:
    """Paths of the modules that learn or drop when the last layers are free.

    Parameters
    ----------
    module
        The network.
    free
        How many of the last layers, counted as at the top of this module; or the path of a module,
        from which on everything is free.
    crop
        Side of the network's input, in pixels.

    Returns
    -------
    tuple of str
        Modules with weights of their own, and dropouts, in the order of the definition.

    Raises
    ------
    ValueError
        If the class layer would not be free.
    """
    trace = record(module, (2, 3, crop, crop))
    n_functions, positions = len(trace.operations), _positions(module, trace)
    if isinstance(free, str):
        inside = [at for path, at in positions.items() if f"{path}.".startswith(f"{free}.")]
        if not inside:
            raise ValueError(f"the forward pass does not call module {free!r}; free another layer")
        first = min(inside)
    elif free < 1:
        raise ValueError(f"expected at least 1 free layer, got {free}")
    else:
        first = n_functions - free if free < n_functions else -1

    def position(path: str) -> int:  # that of what holds it, where its own is not known
        if path in positions or not path:
            return positions.get(path, -1)
        return position(path.rpartition(".")[0])

    scores, _ = class_layer(module)
    if position(scores) < first:
        raise ValueError(
            f"free={free!r} leaves the class scores ({scores}), which are new, frozen; expected at "
            f"least {n_functions - position(scores)}, or a layer up to {scores}"
        )
    return tuple(
        path
        for path, part in module.named_modules()
        if (_is_dropout(part) or _has_own_tensors(part)) and position(path) >= first
    )


def _positions(module: nn.Module, trace: Trace) -> dict[str, int]:
    """Position, among the recorded functions, of the one in which each module does its work."""
    made = {value: at for at, op in enumerate(trace.operations) for value in op.outputs}
    made[trace.image] = -1
    taken: dict[int | None, int] = {}
    for at, op in enumerate(trace.operations):
        for value in op.inputs:
            taken.setdefault(value, at)
    positions = {}
    for path, part in module.named_modules():
        output, taken_in = trace.outputs.get(path), trace.inputs.get(path)
        if output in made and not list(part.children()):
            positions[path] = made[output]
        elif taken_in in taken:  # what has modules inside begins where its input is taken
            positions[path] = taken[taken_in]
    return positions


class Cut(NamedTuple):
    """A network in two pieces that share its modules.

    Attributes
    ----------
    front
        From images (n, 3, side, side) to a tuple of tensors, each of n rows.
    tail
        From these tensors to class scores (n, classes).
    """

    front: nn.Module
    tail: nn.Module


def cut_before(module: nn.Module, parts: Collection[str], images: torch.Tensor) -> Cut | None:
    """Cut a network in front of the first of some parts, if that gives the same bits.

    Parameters
    ----------
    module
        In evaluation mode.
    parts
        Paths of modules.
    images
        (n, 3, side, side), at least two: what the pieces give is compared with what the network
        gives.

    Returns
    -------
    Cut or None
        None where nothing is in front, the forward pass depends on values, or what passes the cut
        is not a row per image.
    """
    try:
        nodes = list(_Tracer().trace(module).nodes)
    except Exception:  # whatever a forward pass does that cannot be followed without values
        return None
    first = next((i for i, node in enumerate(nodes) if _calls(node, parts)), 0)
    if not any(node.op == "call_module" for node in nodes[:first]):
        return None
    cut = _cut(module, nodes[:first], nodes[first:])
    with torch.no_grad():
        passed = cut.front(images)
        rows = [len(one) if isinstance(one, torch.Tensor) and one.ndim else -1 for one in passed]
        if set(rows) != {len(images)} or not torch.equal(cut.tail(*passed), module(images)):
            return None
    return cut


def _is_dropout(part: nn.Module) -> bool:
    """Whether a module is dropout, or torchvision's stochastic depth."""
    named = type(part).__name__ == "StochasticDepth"
    return named or isinstance(part, nn.modules.dropout._DropoutNd)


def _has_own_tensors(part: nn.Module) -> bool:
    return any(True for _ in (*part.parameters(recurse=False), *part.buffers(recurse=False)))


class _Tracer(fx.Tracer):
    """Follows a forward pass, but not into what behaves otherwise in training."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return _is_dropout(m) or super().is_leaf_module(m, module_qualified_name)


def _calls(node: fx.Node, parts: Collection[str]) -> bool:
    """Whether a step of the forward pass uses one of the parts or something inside it."""
    if node.op == "get_attr":
        return str(node.target).rpartition(".")[0] in parts
    called = f"{node.target}."
    return node.op == "call_module" and any(f"{part}.".startswith(called) for part in parts)


def _cut(module: nn.Module, before: list[fx.Node], after: list[fx.Node]) -> Cut:
    later = set(after)
    wanted = [node for node in before if later & node.users.keys()]
    passed = [node for node in wanted if node.op != "get_attr"]
    front, tail = fx.Graph(), fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in before:
        copies[node] = front.node_copy(node, copies.__getitem__)
    front.output(tuple(copies[node] for node in passed))
    copies = {node: tail.placeholder(f"passed_{i}") for i, node in enumerate(passed)}
    for node in [*(node for node in wanted if node.op == "get_attr"), *after]:
        copies[node] = tail.node_copy(node, copies.__getitem__)
    return Cut(fx.GraphModule(module, front), fx.GraphModule(module, tail))
