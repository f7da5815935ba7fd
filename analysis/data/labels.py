"""Labels as a vector, one for each image: none missing, all of one kind.

Conventions
-----------
missing
    NaN, NaT, None, what pandas calls missing, and what a masked array hides, in any container.
kinds
    Numbers (truth values among them), text, dates. 1 and ``"1"`` are not the same class, so kinds
    are never mixed, neither within a dataset nor between two.
"""

from __future__ import annotations

from datetime import date
from numbers import Number
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["checked_labels"]

Array = npt.NDArray[Any]

_KINDS = dict(zip("biufUTSM", ["numbers"] * 4 + ["text"] * 2 + ["bytes", "dates"], strict=True))
_TYPES = {str: "text", bytes: "bytes", Number: "numbers", np.bool_: "numbers", date: "dates"}


def checked_labels(
    labels: npt.ArrayLike,
    n: int | None = None,
    of: str = "the {} images",
    *,
    like: Array | None = None,
) -> Array:
    """Take labels as a vector.

    Parameters
    ----------
    labels : array_like, shape (n,)
        Class of each image: any values that NumPy can sort.
    n : int, optional
        How many images there are; by default as many as labels, at least one.
    of : str
        What the labels belong to, for the message; ``{}`` stands for ``n``.
    like : ndarray, optional
        Checked labels of other images, whose classes these are to be compared with.

    Returns
    -------
    ndarray, shape (n,)
        As ``numpy.asarray`` gives them.

    Raises
    ------
    ValueError
        Labels of another shape, missing ones (the message says where), or kinds that are mixed.
    """
    # From a list, NumPy would make text of numbers among text, and of what is missing there.
    given: Any = np.ma.asarray(labels, None if hasattr(labels, "dtype") else object)
    values = given.data
    if values.ndim != 1 or (values.size != n if n is not None else not values.size):
        wanted = "a vector of labels" if n is None else f"one label for each of {of.format(n)}"
        raise ValueError(f"expected {wanted}, got labels of shape {values.shape}")
    missing = np.flatnonzero(pd.isna(values) | np.ma.getmaskarray(given))
    if missing.size:
        raise ValueError(
            f"expected a label for every image, got {missing.size} NaN, None or otherwise missing, "
            f"the first at position {missing[0]}: leave these images out"
        )
    kinds = _kinds(values) if like is None else _kinds(like) | _kinds(values)
    if len(kinds) > 1:
        examples = " and ".join(f"{kind} such as {example!r}" for kind, example in kinds.items())
        raise ValueError(f"expected labels of one kind, got {examples}: name classes in one way")
    return np.asarray(labels)


def _kinds(values: Array) -> dict[str, Any]:
    """Kinds of labels, and an example of each."""
    if values.dtype != object:
        kind = _KINDS.get(values.dtype.kind, str(values.dtype))
        return dict(zip([kind], values[:1].tolist(), strict=False))
    found: dict[str, Any] = {}
    for value in values:
        names = (name for known, name in _TYPES.items() if isinstance(value, known))
        found.setdefault(next(names, type(value).__name__), value)
    return found
