"""How the inner loops of this room are compiled, and the sizes that suit caches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

TILE = 16
"""Features handled together: a row's 16 float32 values fill one cache line."""

PADDING = 80
"""Keeps the rows of a work space off the same cache sets when their length is a power of two."""


def jit(function: Function) -> Function:
    """Compile without the interpreter's lock, cached on disk where a folder can be written."""
    try:
        return cast(Function, numba.njit(nogil=True, cache=True)(function))
    except RuntimeError:  # numba found no writable folder for its cache
        return cast(Function, numba.njit(nogil=True)(function))
