"""The paper's tables: averages and stars agree with the numbers, but for known misprints."""

from __future__ import annotations

import pytest

from analysis.transfer.published import published_fusion

COLUMN = ["table", "weights", "block", "selection"]


@pytest.fixture(scope="module")
def printed():
    return published_fusion()


def test_every_cell_is_there_once(printed):
    assert len(printed) == 4 * 2 * 6 * 10
    assert not printed.duplicated([*COLUMN, "n_components"]).any()
    dashes = printed[printed["accuracy"].isna()]
    assert set(dashes["table"]) == {"III", "IV"}
    assert set(dashes["selection"]) == {"PCA"}
    assert set(dashes["n_components"]) == {"256", "192"}
    assert len(dashes) == 2 * 2 * 2 * 3


def test_averages_are_those_of_the_column_but_for_three(printed):
    averages = printed[printed["n_components"] == "Avg."].set_index(COLUMN)["accuracy"]
    own = printed[printed["n_components"] != "Avg."].groupby(COLUMN)["accuracy"].mean()
    wrong = (averages - own)[lambda gap: gap.abs() > 0.0051]
    assert sorted(wrong.index) == [
        ("III", "finetuned", 1, "flatten"),
        ("III", "finetuned", 3, "PCA"),
        ("III", "imagenet", 3, "flatten"),
    ]
    assert own.loc[[("III", "imagenet", 3, "flatten"), ("III", "finetuned", 1, "flatten")]].round(
        2
    ).tolist() == [86.7, 87.2]


def test_stars_mark_gains_but_for_eight(printed):
    keys = ["table", "block", "selection", "n_components"]
    before, after = (
        printed[printed["weights"] == name].set_index(keys) for name in ("imagenet", "finetuned")
    )
    assert not before["starred"].any()
    gain = after["accuracy"] > before["accuracy"]
    assert (gain & ~after["starred"]).sum() == 7
    assert (~gain & after["starred"]).sum() == 1
