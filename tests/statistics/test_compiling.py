from __future__ import annotations

from types import SimpleNamespace

import numba

from analysis.statistics import _kernels


def double(x):
    return 2 * x


def test_without_a_folder_for_the_cache_kernels_compile_in_memory(monkeypatch):
    asked = []

    def no_cache(**options):
        asked.append(options)
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return numba.njit(**options)

    monkeypatch.setattr(_kernels, "numba", SimpleNamespace(njit=no_cache))
    assert _kernels.jit(double)(4) == 8
    assert asked == [{"nogil": True, "cache": True}, {"nogil": True}]
