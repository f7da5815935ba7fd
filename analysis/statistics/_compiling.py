"""How the inner loops of this room are compiled, and the sizes that suit caches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

LINE = 64
"""Bytes of a cache line. Features are packed as many together as one line of a row holds: twice as
many have taken ten times as long."""

TILE = 16
"""That many of float32, by which the work is divided."""

PADDING = 80
"""Keeps the rows of a work space off the same cache sets when their length is a power of two."""


def jit(function: Function) -> Function:
    """Compile without the interpreter's lock, cached on disk where a folder can be written."""
    try:
        return cast(Function, numba.njit(nogil=True, cache=True)(function))
    except RuntimeError:  # numba found no writable folder for its cache
        return cast(Function, numba.njit(nogil=True)(function))
