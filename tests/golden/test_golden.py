"""The numbers of the book stay what they are, or a change of theirs is meant."""

from __future__ import annotations

from golden.numbers import FILE, Golden, measure, moved, read


def test_no_golden_number_moved():
    lines = moved(read(), measure())
    assert not lines, (
        f"{len(lines)} golden number(s) moved:\n  "
        + "\n  ".join(lines)
        + f"\nIf you meant that, run `python -m tests.golden`, which renews {FILE.name}, and say "
        "in CHANGELOG.md what changes in the book. If not, the change at hand has an effect that "
        "you did not see."
    )


def test_there_are_a_few_dozen_of_every_room():
    golden = read()
    assert len(golden) > 60
    rooms = {"data", "networks", "features", "statistics", "transfer", "chapters", "book"}
    assert {name.partition(":")[0] for name in golden} == {*rooms, "published"}


def test_what_moved_too_far_is_named_with_both_values():
    for golden, same, other in (
        (Golden(3), 3, 4),
        (Golden("a1"), "a1", "a2"),
        (Golden(0.5, absolute=0.02), 0.519, 0.521),
        (Golden(-200.0, relative=1e-3), -200.19, -200.21),
    ):
        assert golden.allows(same)
        assert not golden.allows(other)
        assert not golden.allows(float("nan"))
    golden = {"t+": Golden(0.35, absolute=0.02), "gone": Golden(1), "kept": Golden("abc")}
    found = {"t+": Golden(0.4), "kept": Golden("abc"), "new": Golden(2)}
    assert moved(golden, found) == [
        "t+: was Golden(value=0.35, absolute=0.02, relative=0.0), is 0.4",
        "gone: was 1, is no longer measured",
        "new: is not in the file yet",
    ]
    assert moved(found, found) == []
