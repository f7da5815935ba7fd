"""A source task of few images in memory, for tests that train on it in a blink."""

from __future__ import annotations

import numpy as np

from analysis.data.source_tasks import Part, SourceTask


def small_task(
    classes: int = 3, *, train: int = 4, val: int = 2, fingerprint: str = ""
) -> SourceTask:
    """Noise whose mean brightness tells the class; ``train`` and ``val`` images per class."""
    names = tuple(f"class {label}" for label in range(classes))
    rng = np.random.default_rng(0)
    return SourceTask(
        classes=names,
        titles=names,
        train=_part(rng, classes, train),
        val=_part(rng, classes, val),
        n_drawn=0,
        fingerprint=fingerprint or f"{classes} {train} {val}",
    )


def _part(rng: np.random.Generator, classes: int, per_class: int) -> Part:
    labels = np.repeat(np.arange(classes), per_class)
    noise = rng.integers(0, 100, (len(labels), 3, 64, 64))
    brightness = 155 * labels[:, None, None, None] // max(1, classes - 1)
    return Part((noise + brightness).astype(np.uint8), labels.astype(np.int64))
