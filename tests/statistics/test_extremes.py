"""Extreme distances, against searches by hand."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from analysis.statistics import (
    distributions,
    extreme_units,
    shared_absences,
    strongest_by_depth,
    strongest_pairs,
)


def distances(values: np.ndarray, layers: list[str], units: list[int]) -> xr.DataArray:
    return xr.DataArray(
        values,
        dims=("class", "feature"),
        coords={
            "class": np.arange(len(values)) + 5,
            "layer": ("feature", layers),
            "unit": ("feature", units),
        },
    )


def test_equals_a_search_over_all_pairs() -> None:
    rng = np.random.default_rng(0)
    layers = np.repeat(["a", "b", "c"], [4, 1, 7])
    D = distances(rng.uniform(-1, 1, (5, 12)), layers.tolist(), [*range(4), 0, *range(7)])
    for row in strongest_pairs(D).itertuples():
        everything = D.to_numpy()[:, layers == row.layer]
        wanted = everything.max() if row.sign == "presence" else everything.min()
        assert row.distance == pytest.approx(wanted, abs=0)


def test_a_side_without_any_distance_has_no_row() -> None:
    D = distances(np.array([[0.1, 0.0], [0.2, 0.0]]), ["a", "b"], [0, 0])
    assert strongest_pairs(D)[["layer", "sign"]].to_numpy().tolist() == [["a", "presence"]]


def naive_runs(names: list[str], parts: int) -> list[list[str]]:
    """Cut a list into runs, one name at a time, the first runs a name longer."""
    runs: list[list[str]] = []
    rest = list(names)
    while rest:
        length = -(-len(rest) // (parts - len(runs)))
        runs.append(rest[:length])
        rest = rest[length:]
    return runs


@pytest.mark.parametrize("n_layers", [1, 2, 3, 4, 5, 9, 15])
def test_depth_is_cut_into_runs_as_a_search_by_hand_does(n_layers: int) -> None:
    rng = np.random.default_rng(n_layers)
    names = [f"layer{n_layers - i}" for i in range(n_layers)]  # order of appearance, not of name
    layers = np.repeat(names, rng.integers(1, 5, n_layers)).tolist()
    D = distances(rng.uniform(-1, 1, (4, len(layers))), layers, list(range(len(layers))))
    found = strongest_by_depth(D).set_index(["part", "sign"])
    runs = naive_runs(names, 3)
    assert found.index.get_level_values("part").max() == len(runs) == min(3, n_layers)
    for part, run in enumerate(runs, start=1):
        everything = [
            (float(D[row, column]), int(D["class"][row]), layers[column], column)
            for row in range(4)
            for column in range(len(layers))
            if layers[column] in run
        ]
        for sign, best in (("presence", max(everything)), ("absence", min(everything))):
            if (sign == "presence") == (best[0] > 0):
                row = found.loc[(part, sign)]
                assert (row["distance"], row["class"], row["layer"], row["unit"]) == best
            else:
                assert (part, sign) not in found.index


def test_equal_pairs_give_the_first_class_and_unit() -> None:
    D = distances(np.array([[0.0, 0.5, 0.5], [0.5, 0.5, 0.0]]), ["a", "a", "a"], [0, 1, 2])
    row = strongest_by_depth(D).iloc[0]
    assert row[["layer", "unit", "class"]].tolist() == ["a", 1, 5]


def naive_shared(D: xr.DataArray, lowest: int) -> list[tuple[object, ...]]:
    values = D.to_numpy()
    rows = []
    for column in range(values.shape[1]):
        found = []
        for row in range(values.shape[0]):
            lower = sum(other < values[row, column] for other in values[row])
            if lower < lowest and values[row, column] < 0:
                found.append((values[row, column], int(D["class"][row])))
        if len(found) > 1:
            mean = sum(value for value, _ in found) / len(found)
            classes = tuple(number for _, number in sorted(found))
            rows.append((-len(found), mean, str(D["layer"][column].item()), column, classes))
    return sorted(rows, key=lambda row: row[:2])


@pytest.mark.parametrize("lowest", [1, 2, 10, 40])
@pytest.mark.parametrize("rounding", [1, 8])
def test_shared_absences_are_those_found_by_counting(lowest, rounding, monkeypatch) -> None:
    monkeypatch.setattr(distributions, "LOWEST", lowest)
    rng = np.random.default_rng(lowest)
    values = (rng.uniform(-1, 1, (6, 30)) - rng.uniform(0, 1, 30)).clip(-1, 1).round(rounding)
    D = distances(values, ["a"] * 10 + ["b"] * 20, list(range(30)))
    found, wanted = shared_absences(D), naive_shared(D, lowest)
    assert len(wanted) > 0
    assert found["n_classes"].tolist() == [-row[0] for row in wanted]
    assert found["mean_distance"].to_numpy() == pytest.approx([row[1] for row in wanted])
    got = {(r.layer, r.unit, r.classes) for r in found.itertuples()}
    assert got == {row[2:] for row in wanted}


def test_classes_of_a_shared_absence_stand_lowest_first() -> None:
    values = np.array([[-0.3, -0.1, 0.2], [-0.9, 0.1, 0.3], [-0.6, -0.2, 0.1], [0.5, -0.2, 0.1]])
    table = shared_absences(distances(values, ["a", "b", "b"], [0, 0, 1])).iloc[:1]
    (row,) = table.itertuples()
    assert (row.layer, row.unit, row.n_classes, row.classes) == ("a", 0, 3, (6, 7, 5))
    assert row.distances == (-0.9, -0.6, -0.3)
    assert row.mean_distance == pytest.approx(-0.6)


def test_nothing_shared_gives_a_table_without_rows() -> None:
    D = distances(np.array([[0.1, 0.4], [0.2, 0.3]]), ["a", "b"], [0, 0])
    table = shared_absences(D)
    assert table.empty
    assert list(table) == ["layer", "unit", "n_classes", "classes", "distances", "mean_distance"]
    none = strongest_pairs(D * 0)
    assert none.empty
    assert list(none) == ["layer", "sign", "unit", "class", "distance"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda D: shared_absences(D.drop_vars("unit")), "'unit'"),
        (lambda D: strongest_pairs(D.rename(feature="unit")), "expected distances"),
    ],
)
def test_what_cannot_be_searched_is_refused(call, message: str) -> None:
    D = distances(np.array([[0.1, -0.4]]), ["a", "b"], [0, 0])
    if "expected distances" in message:
        D = D.drop_vars("unit")
    with pytest.raises(ValueError, match=message):
        call(D)


@pytest.mark.parametrize("n", [1, 3, 50])
@pytest.mark.parametrize("rounding", [1, 8])
def test_extreme_units_are_those_found_by_sorting(n: int, rounding: int) -> None:
    values = np.random.default_rng(n).uniform(-1, 1, (4, 30)).round(rounding)
    D = distances(values, ["a"] * 10 + ["b"] * 20, [*range(10), *range(20)])
    found = extreme_units(D, "b", 6, n=n)
    of_layer = list(enumerate(values[1, 10:].tolist()))
    high = sorted((pair for pair in of_layer if pair[1] > 0), key=lambda pair: (-pair[1], pair[0]))
    low = sorted((pair for pair in of_layer if pair[1] < 0), key=lambda pair: (pair[1], pair[0]))
    wanted = [(*pair, "presence") for pair in high[:n]] + [(*pair, "absence") for pair in low[:n]]
    assert list(zip(found["unit"], found["distance"], found["sign"], strict=True)) == wanted
    assert set(found["layer"]) == {"b"}
    assert set(found["class"]) == {6}


def test_extreme_units_of_an_unknown_layer_or_class_are_refused() -> None:
    D = distances(np.array([[0.1, -0.4]]), ["a", "b"], [0, 0])
    for layer, label in (("c", 5), ("a", 6)):
        message = rf"layer '{layer}' to class {label}; known: .*\['a', 'b'\], 'class': \[5\]"
        with pytest.raises(ValueError, match=message):
            extreme_units(D, layer, label)
