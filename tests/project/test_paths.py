"""Files are written whole or not at all."""

from __future__ import annotations

import pytest

from analysis.paths import written_whole


def contents(folder):
    return {path.name: path.read_text("utf-8") for path in folder.iterdir()}


def test_a_file_is_replaced_when_the_block_ends_and_its_folder_is_made(tmp_path):
    file = tmp_path / "new" / "a.csv"
    for text in ("old", "newer"):
        with written_whole(file) as partial:
            partial.write_text(text, "utf-8")
            assert partial.parent == file.parent
            assert not file.exists() or file.read_text("utf-8") == "old"
        assert contents(file.parent) == {"a.csv": text}


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, ValueError])
def test_an_error_leaves_the_file_of_before_and_nothing_else(tmp_path, error):
    (tmp_path / "a").write_text("before", "utf-8")
    with pytest.raises(error), written_whole(tmp_path / "a") as partial:
        partial.write_text("half", "utf-8")
        raise error
    assert contents(tmp_path) == {"a": "before"}


def test_two_writers_at_once_do_not_meet(tmp_path):
    with written_whole(tmp_path / "a") as first, written_whole(tmp_path / "a") as second:
        first.write_text("first", "utf-8")
        second.write_text("second", "utf-8")
    assert contents(tmp_path) == {"a": "first"}  # the inner one was done before
