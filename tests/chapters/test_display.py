"""Tables in sections."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.chapters import sectioned

TABLE = pd.DataFrame(
    {
        "network": ["a@b", "c", "a@b"],
        "dataset": ["x_y", "<b>", "folder:/z.1"],
        "mean": [0.25, float("nan"), 1],
        "n": [3, 1000, 2],
    }
)


def test_rows_stand_under_their_section_in_order_of_appearance():
    shown = sectioned(TABLE, {"of": "{dataset}", "mean ± n": "{mean:.1%} ± {n:,}"}).html
    assert shown == (
        '<table class="sectioned"><thead><tr><th>of</th><th>mean ± n</th></tr></thead><tbody>'
        '<tr><th class="section" colspan="2">a@<wbr>b</th></tr>'
        "<tr><td>x_<wbr>y</td><td>25.0% ± 3</td></tr>"
        "<tr><td>folder:/<wbr>z.1</td><td>100.0% ± 2</td></tr>"
        '<tr><th class="section" colspan="2">c</th></tr>'
        "<tr><td>&lt;b&gt;</td><td>– ± 1,000</td></tr></tbody></table>"
    )


def test_all_columns_as_they_are():
    shown = sectioned(TABLE.rename(columns={"mean": "folder:/z.1"}), by="dataset").html
    assert "<th>network</th><th>folder:/<wbr>z.1</th><th>n</th>" in shown
    assert "<td>c</td><td>–</td><td>1000</td>" in shown


def test_truths_in_words():
    shown = sectioned(TABLE.assign(few=TABLE["n"] < 10), {"few": "{few}"}).html
    assert shown.count("<td>yes</td>") == 2
    assert shown.count("<td>no</td>") == 1


def test_words_that_hold_nan_stay():
    shown = sectioned(TABLE.assign(dataset="banana nanny"), {"of": "{dataset}"}).html
    assert shown.count("<td>banana nanny</td>") == 3


def test_an_unknown_column_is_named():
    with pytest.raises(KeyError, match="accuracy"):
        sectioned(TABLE, {"accuracy": "{accuracy}"})
