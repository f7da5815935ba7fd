"""Files changed at random, as a fuzzer does: flips, cuts, splices, inserted and repeated blocks."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

__all__ = ["damaged"]

_TELLING = (b"\0", b"\xff" * 4, b"\0" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"../", b"\n")


@st.composite
def _changed(draw: st.DrawFn, content: bytes, others: Sequence[bytes]) -> bytes:
    """One change at a random place."""
    at = draw(st.integers(0, len(content)))
    to = min(len(content), at + draw(st.integers(0, 64)))
    how = draw(st.sampled_from(["flip", "cut", "drop", "insert", "overwrite", "repeat", "splice"]))
    if how == "flip" and at < len(content):
        return (
            content[:at] + bytes([content[at] ^ 1 << draw(st.integers(0, 7))]) + content[at + 1 :]
        )
    if how == "cut":
        return content[:at]
    if how == "drop":
        return content[:at] + content[to:]
    if how == "repeat":
        return content[:to] + content[at:to] * draw(st.integers(1, 40)) + content[to:]
    if how == "splice":
        other = draw(st.sampled_from(others))
        return content[:at] + other[draw(st.integers(0, len(other))) :]
    block = draw(st.one_of(st.sampled_from(_TELLING), st.binary(min_size=1, max_size=64)))
    return content[:at] + block + content[at + (len(block) if how == "overwrite" else 0) :]


@st.composite
def damaged(draw: st.DrawFn, whole: Sequence[bytes]) -> bytes:
    """A whole file with one to six changes, or any bytes at all.

    Parameters
    ----------
    draw
        Given by Hypothesis.
    whole
        Files that can be read; parts of one may end up in another.
    """
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=2000))
    content = draw(st.sampled_from(whole))
    for _ in range(draw(st.integers(1, 6))):
        content = draw(_changed(content, whole))
    return content
