"""Epochs of a training: a seed for each, a checkpoint after each, and the curves so far."""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from tqdm.auto import tqdm

from analysis.networks.checkpoints import read_checkpoint, write_checkpoint, write_whole

__all__ = ["Row", "Trainer", "check_seed", "epoch_seed", "require_finite", "run_epochs"]

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
