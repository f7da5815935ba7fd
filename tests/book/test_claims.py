"""Each claim holds on numbers made so, and fails on others; what is lacking is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from analysis.book.claims import (
    CLAIMS,
    PAPER_DATASETS,
    check_claims,
    lacking_table,
    verdict_counts,
    verdict_table,
)
from analysis.book.evidence import (
    ALL,
    CONV,
    FC,
    Evidence,
    gather_evidence,
    table_of_measures,
)
from analysis.chapters import Pair
from analysis.data import shuffle_labels
from analysis.statistics import (
    kept,
    measure_behaviour,
    noise_thresholds,
    shuffled_distances,
    signed_ks,
    summarise_thresholds,
    thresholds_between,
)

GROUPS = {
    **dict.fromkeys(("imagenet", "stanforddogs", "catsdogs", "caltech101", "caltech256"), "a"),
    **dict.fromkeys(("cub200", "flowers102", "food101"), "b"),
    **dict.fromkeys(("wood", "mit67", "textures"), "c"),
}
CONVS = [
    f"conv{block}_{layer}"
    for block, layers in enumerate((2, 2, 3, 3, 3), start=1)
    for layer in range(1, layers + 1)
]
FCS = ["fc6", "fc7"]
PARTS = [
    *(("layer", name, CONV) for name in CONVS),
    *(("layer", name, FC) for name in FCS),
    *((scope, name, name) for scope, name in (("kind", CONV), ("kind", FC), ("all", ALL))),
]
UNITS = {CONV: 4224, FC: 8192, ALL: 12416}
EXPECTED = {"caltech101": 9146, "caltech256": 30607, "food101": 25250}
CLASSES = {"caltech101": 101, "caltech256": 256, "food101": 101}
EVERY = ("*",)
COLUMNS = measure_behaviour(
    xr.DataArray(np.zeros((2, 1)), dims=("class", "feature"), coords={"layer": ("feature", ["x"])}),
    {"x": "conv"},
).columns.drop(["scope", "name", "kind", "units", "classes", "pairs"])


def table(names=PAPER_DATASETS, changes: Mapping = {}):
    """Measures that are all 0.2, but for changes: (datasets, parts, measure) → value."""
    rows = [
        dict.fromkeys(COLUMNS, 0.2)
        | {"dataset": dataset, "scope": scope, "name": name, "kind": kind}
        | {"units": UNITS.get(name, 64), "classes": 20, "pairs": 1280}
        for dataset in names
        for scope, name, kind in PARTS
    ]
    found = pd.DataFrame(rows)
    for (datasets, parts, measure), value in changes.items():
        chosen = found["dataset"].isin(datasets) | (datasets == EVERY)
        found.loc[chosen & (found["name"].isin(parts) | (parts == EVERY)), measure] = value
    return found


def limits(names=PAPER_DATASETS, changes: Mapping = {}):
    """Noise thresholds as the paper has them; changes: (dataset or "*", column) → value."""
    sizes = pd.Series({name: 50.0 * (k + 1) for k, name in enumerate(names)})
    falling = 0.5 - 0.07 * np.log(sizes)
    found = pd.DataFrame({"images_per_class": sizes, "t_plus": falling, "t_minus": -falling})
    found = found.assign(features=12416, kept_plus=4000.0, kept_minus=3300.0, kept=7300.0)
    found = found.assign(kept_shuffled=500.0, least_plus=0, least_minus=0, least=1)
    found[["reach_low_plus", "reach_low_minus"]] = 0.11
    found[["reach_high_plus", "reach_high_minus"]] = 0.29
    found[["lead_plus", "lead_minus"]] = 1
    found[[f"pruned_{CONV}", f"pruned_{FC}"]] = 0.4
    for (name, column), value in changes.items():
        found.loc[list(names) if name == "*" else [name], column] = value
    return found


def differences(names, value=0.05, changes: Mapping = {}):
    """Differences of each two datasets; changes: layer or (layer, dataset, other) → value."""
    rows = [
        (layer, *pair, changes.get((layer, *pair), changes.get(layer, value)))
        for layer in [*CONVS, *FCS, CONV, FC]
        for pair in combinations(names, 2)
    ]
    return pd.DataFrame(rows, columns=["layer", "dataset", "other", "difference"])


def evidence(
    changes=None,
    *,
    names=PAPER_DATASETS,
    chance=None,
    apart=None,
    datasets=None,
    noise=None,
    **more,
):
    """Evidence of VGG16 on the paper's datasets, all alike but for the changes."""
    images = {name: EXPECTED.get(name, 2000) for name in names}
    described = pd.DataFrame(
        {
            "images": pd.Series(images),
            "classes": pd.Series({name: CLASSES.get(name, 20) for name in names}),
            "smallest": 14,
            "expected_images": pd.Series(images, dtype=float),
        }
    )
    for (name, column), value in (datasets or {}).items():
        described.loc[name, column] = value
    nothing = {(EVERY, EVERY, measure): 0.0 for measure in COLUMNS}
    given = {"network": "vgg16@imagenet", "groups": {n: GROUPS.get(n) for n in names}} | more
    return Evidence(
        measures=table(names, changes or {}),
        chance=table(names, nothing | (chance or {})),
        differences=differences(names, changes=apart or {}),
        datasets=described,
        thresholds=limits(names, noise or {}),
        **given,
    )


def second(changes=None, *, first=None, between=0.01, **more):
    """Evidence of the same network after another source task."""
    first = first or evidence()
    names = list(first.datasets.index)
    rows = [(layer, name, between) for layer in [*CONVS, *FCS, CONV, FC] for name in names]
    apart = pd.DataFrame(rows, columns=["layer", "dataset", "difference"])
    given = {"network": "vgg16@places365", "first": first, "source_differences": apart} | more
    return evidence(changes, **given)


def finding(name, given):
    claim = next(claim for claim in CLAIMS if claim.id == name)
    return check_claims({given.network: given}, [claim]).iloc[0]


def one(datasets, part, measure, value):
    as_tuple = (datasets,) if isinstance(datasets, str) and datasets != "*" else tuple(datasets)
    parts = (part,) if isinstance(part, str) and part != "*" else tuple(part)
    return {(as_tuple, parts, measure): value}


WOOD_BARS = {
    **one("wood", CONVS[:4], "presence_spread", 0.6),
    **one("flowers102", CONVS[:4], "presence_spread", 0.4),
}
LAWS = {
    (EVERY, EVERY, f"{side}_{law}"): gap
    for side in ("presence", "absence")
    for law, gap in (("lognormal", 0.05), ("normal", 0.1), ("exponential", 0.2))
}
NEAR = [name for name, group in GROUPS.items() if group in "ab"]
FAR = [name for name, group in GROUPS.items() if group == "c"]
DOGS = ("stanforddogs", "catsdogs")
PLACES = {**GROUPS, "mit67": "a", **dict.fromkeys(DOGS, "c")}
SMALL_TO_LARGE = {(name, "images"): 400 + 100 * k for k, name in enumerate(PAPER_DATASETS)}
SHRINKING = {
    (((name,)), (CONV,), "mean_size"): 0.4 - 0.01 * k for k, name in enumerate(PAPER_DATASETS)
}

REVERSED = {
    (name, f"t_{side}"): sign * (0.1 + 0.01 * k)
    for k, name in enumerate(PAPER_DATASETS)
    for side, sign in (("plus", 1), ("minus", -1))
}
JAGGED = {
    (name, f"t_{side}"): sign * (0.2 - 0.01 * k + 0.1 * (k % 2))
    for k, name in enumerate(PAPER_DATASETS)
    for side, sign in (("plus", 1), ("minus", -1))
}


def far_from_even(*groups, part, share):
    return {(n, f"pruned_{part}"): share for n, group in GROUPS.items() if group in groups}


# Of each claim: evidence on which it holds, and on which it fails.
CASES = {
    "C02": (
        evidence(one("cub200", FC, "shared_lowest", 4)),
        evidence(one("cub200", FC, "shared_lowest", 3)),
        evidence(
            one("cub200", FC, "shared_lowest", 4), chance=one("cub200", FC, "shared_lowest", 4)
        ),
    ),
    "C04": (
        evidence(one(["cub200", "flowers102"], ALL, "below_0.5", 0.3)),
        evidence(one(["imagenet", "mit67"], ALL, "below_0.5", 0.3)),
    ),
    "C05": (
        evidence(one(EVERY, ALL, "absent_share", 0.25)),
        evidence(one("wood", ALL, "absent_share", 0.26)),
    ),
    "C06a": (
        evidence(one("wood", EVERY, "valley_ratio", 0.9)),
        evidence(one(["wood", "mit67"], EVERY, "valley_ratio", 0.51)),
    ),
    "C06b": (evidence(LAWS), evidence(LAWS | one(EVERY, CONVS, "presence_normal", 0.01))),
    "C07": (evidence(apart={CONV: 0.04}), evidence(apart={CONV: 0.06})),
    "C08": (
        evidence(one("wood", CONV, "presence", 0.24)),
        evidence(one("wood", CONV, "presence", 0.26)),
        evidence(one("wood", CONV, "absence_size", 0.15)),
    ),
    "C09": (
        evidence(one(EVERY, CONV, "mean_size", 0.21)),
        evidence(one(PAPER_DATASETS[1:], CONV, "mean_size", 0.21)),
    ),
    "C10": (
        evidence(one("wood", FC, "above_0.5", 0.3) | one("wood", FC, "highest", 0.9)),
        evidence(one("wood", FC, "above_0.5", 0.3) | one("mit67", FC, "highest", 0.9)),
    ),
    "C11": (
        evidence(one(["wood", "flowers102"], CONV, "below_0.5", 0.3)),
        evidence(one("wood", CONV, "below_0.5", 0.3)),
    ),
    "C38": (
        evidence(one(EVERY, [CONVS[-1], *FCS], "above_0.25", 0.1)),
        evidence(one(EVERY, CONVS[:-1], "above_0.25", 0.1)),
    ),
    "C13": (
        evidence(WOOD_BARS),
        evidence(WOOD_BARS | one("mit67", CONVS[:4], "presence_spread", 0.7)),
        evidence(WOOD_BARS | one("flowers102", CONVS[:4], "presence_spread", 0.1)),
        evidence(WOOD_BARS | one("wood", CONVS[-4:], "presence_spread", 0.6)),
        evidence(WOOD_BARS | one("wood", CONVS[:4], "absence_spread", 0.9)),
    ),
    "C15": (
        evidence(one("textures", "conv3_2", "among_widest", 0.3)),
        evidence(one("textures", "conv3_1", "among_widest", 0.3)),
        evidence(one("textures", "fc7", "among_widest", 0.3)),
    ),
    "C16": (
        evidence(one("wood", CONVS[:4], "above_0.5", 0.41)),
        evidence(one("wood", CONVS[:4], "above_0.5", 0.39)),
        evidence(one("wood", CONVS[4:], "above_0.5", 0.41)),
    ),
    "C17": (
        evidence(one(["flowers102", "caltech101"], CONV, "above_0.5", 0.3)),
        evidence(one("flowers102", CONV, "above_0.5", 0.3)),
    ),
    "C19": (
        evidence(one("food101", FC, "near_zero", 0.08)),
        evidence(one("food101", FC, "near_zero", 0.11)),
    ),
    "C20": (
        evidence(one("food101", FC, "above_0.5", 0.1)),
        evidence(one("wood", FC, "above_0.5", 0.1)),
    ),
    "C22": (
        evidence(apart={(FC, "caltech101", "caltech256"): 0.02}),
        evidence(apart={(FC, "caltech101", "caltech256"): 0.021}),
    ),
    "C32": (
        evidence(one(["imagenet", "caltech101", "caltech256"], FC, "near_zero_ratio", 0.05)),
        evidence(one(["imagenet", "caltech101"], FC, "near_zero_ratio", 0.05)),
    ),
    "C33": (evidence(), evidence(one("catsdogs", FC, "near_zero_ratio", 0.05))),
    "C34": (
        evidence(
            one(["imagenet", "caltech101", "caltech256"], FC, "near_zero", 0.01)
            | one("textures", FC, "near_zero", 0.02)
        ),
        evidence(one("textures", FC, "near_zero", 0.02)),
    ),
    "C35": (
        evidence(one(NEAR, FC, "absence", 0.25)),
        evidence(one(NEAR[1:], FC, "absence", 0.25)),
    ),
    "C36": (
        evidence(one(NEAR, FC, "absence", 0.9)),
        evidence(one("wood", FC, "absence", 0.26)),
    ),
    "C37": (
        evidence(one(NEAR, FC, "above_0.5", 0.3)),
        evidence(one(FAR, FC, "above_0.5", 0.3)),
    ),
    "C39": (
        evidence(),
        evidence(noise={("wood", "reach_high_plus"): 0.31}),
        evidence(noise={("wood", "reach_low_minus"): 0.09}),
    ),
    "C40": (
        evidence(),
        evidence(noise={("wood", "lead_plus"): 0}),
        evidence(noise={("wood", "lead_minus"): -3}),
    ),
    "C42": (evidence(), evidence(noise=REVERSED), evidence(noise=JAGGED)),
    "C43": (evidence(), evidence(noise=REVERSED), evidence(noise=JAGGED)),
    "C44": (
        evidence(noise={("imagenet", "t_plus"): 0.9}),
        evidence(noise=REVERSED),
        evidence(noise={key: t for key, t in REVERSED.items() if key[1] == "t_minus"}),
    ),
    "C45": (
        evidence(noise={("*", "kept_minus"): 4100.0}),
        evidence(noise={("*", "kept_minus"): 4150.0}),
        evidence(noise={("*", "kept_minus"): 2600.0}),
    ),
    "C46": (
        evidence(noise={("*", "kept_plus"): 4990.0}),
        evidence(noise={("*", "kept_plus"): 5010.0}),
        evidence(noise={("*", "kept_plus"): 3190.0}),
    ),
    "C47": (evidence(), evidence(noise={("*", "kept"): 6200.0})),
    "C48": (evidence(), evidence(noise={("wood", "least"): 0})),
    "C49": (
        evidence(noise=far_from_even("a", part=FC, share=0.49)),
        evidence(noise=far_from_even("a", part=FC, share=0.51)),
        evidence(noise=far_from_even("a", part=CONV, share=0.51)),
    ),
    "C50": (
        evidence(noise=far_from_even("b", "c", part=FC, share=0.51)),
        evidence(noise=far_from_even("b", part=FC, share=0.51)),
    ),
    "C52": (second(between=0.04), second(between=0.06)),
    "C54": (
        second(apart=dict.fromkeys(CONVS[:7], 0.02)),
        second(apart=dict.fromkeys(CONVS[:6], 0.02)),
    ),
    "C55": (
        second(one("mit67", FC, "absence", 0.25), groups=PLACES),
        second(groups=PLACES),
    ),
    "C56": (
        second(groups=PLACES),
        second(one("catsdogs", FC, "absence", 0.26), groups=PLACES),
    ),
    "C57": (
        second(one(EVERY, "fc6", "mean_size", 0.16)),
        second(one(PAPER_DATASETS[1:], "fc6", "mean_size", 0.1)),
        second(one(EVERY, "fc7", "mean_size", 0.1)),
    ),
    "C58a": (second(WOOD_BARS, first=evidence(WOOD_BARS)), second(first=evidence(WOOD_BARS))),
    "C58b": (
        second(
            SHRINKING,
            first=evidence(SHRINKING, datasets=SMALL_TO_LARGE),
            datasets=SMALL_TO_LARGE | {(n, "classes"): 20 for n in PAPER_DATASETS},
        ),
    ),
    "C14": (evidence(), evidence(datasets={("wood", "smallest"): 13})),
    "C21": (evidence(), evidence(datasets={("food101", "classes"): 100})),
    "C23": (evidence(), evidence(datasets={("caltech101", "classes"): 80})),
    "C24": (evidence(), evidence(datasets={("caltech256", "classes"): 300})),
    "C25": (
        evidence(),
        evidence(
            datasets={("caltech101", "images"): 9144, ("caltech101", "expected_images"): 9144}
        ),
    ),
    "C26": (
        evidence(),
        evidence(datasets={("caltech256", c): 30000 for c in ("images", "expected_images")}),
    ),
    "C27": (evidence(), evidence(datasets={("caltech101", "classes"): 102})),
    "C28": (evidence(), evidence(datasets={("caltech256", "classes"): 257})),
    "E01": (evidence(), evidence(one(EVERY, ALL, "units", 12417))),
    "E02": (evidence(), evidence(one(EVERY, CONV, "units", 4223))),
    "E03": (evidence(), evidence(one(EVERY, FC, "units", 8193))),
}
NO_NUMBERS = {"C01", "C03", "C12", "C18", "C53"}


@pytest.mark.parametrize("name", CASES)
def test_a_claim_holds_where_it_should_and_only_there(name):
    holding, *failing = CASES[name]
    found = finding(name, holding)
    assert found["verdict"] == "holds", found["here"] + found["why"]
    assert found["here"]
    for case in failing:
        assert finding(name, case)["verdict"] == "fails", name


@pytest.mark.parametrize("name", sorted(NO_NUMBERS))
def test_what_no_number_decides_is_not_decided(name):
    found = finding(name, second())
    assert found["verdict"] == "cannot be tested"
    assert found["why"]


def test_every_claim_is_tried_above_and_named_once():
    names = [claim.id for claim in CLAIMS]
    assert len(set(names)) == len(names)
    assert set(names) == set(CASES) | NO_NUMBERS


def test_the_correlation_with_the_size_of_classes_can_fail():
    given = CASES["C58b"][0]
    growing = {key: 0.8 - value for key, value in SHRINKING.items()}
    assert finding("C58b", replace(given, measures=table(changes=growing)))["verdict"] == "fails"
    assert finding("C58b", replace(given, first=evidence(growing)))["verdict"] == "fails"


@pytest.mark.parametrize(
    ("name", "given", "why"),
    [
        ("C09", evidence(datasets={(n, "classes"): 5000 for n in PAPER_DATASETS}), "images per"),
        ("C13", evidence(names=["mit67", "food101"]), "the study has no wood, nor wood_grain"),
        ("C07", evidence(names=["mit67"]), "needs 2 datasets with 10 images per class"),
        ("C25", evidence(datasets={("caltech101", "images"): 900}), "not complete here: 900"),
        ("E01", evidence(network="minivgg16@bundled"), "the network is minivgg16, not vgg16"),
        ("C35", evidence(groups={}), "no dataset of group a or b"),
        ("C35", evidence(network="vgg16@random", groups={}), "no source task"),
        ("C52", evidence(), "no second trained network"),
        ("C55", second(), "no dataset changed its group like that: mit67 c → c"),
        ("C58a", second(), "C13 fails with the first source task"),
        ("C05", evidence(one(EVERY, ALL, "absent_share", np.nan)), "no feature has D < −0.5"),
        ("C42", evidence(names=list(PAPER_DATASETS[:4])), "needs 5 datasets"),
        ("C43", evidence(noise={("*", "images_per_class"): 9.0}), "three different numbers"),
        ("C44", evidence(noise={("*", "images_per_class"): 9.0}), "the same number of images"),
        ("C49", evidence(groups=dict.fromkeys(PAPER_DATASETS, "c")), "no dataset of group a"),
        ("C50", evidence(network="vgg16@random", groups={}), "no source task"),
        ("C34", evidence(names=["textures", "imagenet"]), "lacks caltech101, caltech256"),
    ],
)
def test_what_is_lacking_is_said(name, given, why):
    found = finding(name, given)
    assert found["verdict"] == "cannot be tested"
    assert why in found["why"]


def test_networks_without_fully_connected_layers_are_told():
    given = evidence()
    rows = given.measures["kind"] != FC
    given = replace(given, measures=given.measures[rows], chance=given.chance[rows])
    for name in ("C02", "C07", "C09", "C19", "C35", "C49", "C50"):
        assert "no fully connected layer" in finding(name, given)["why"]


def test_stand_ins_are_never_passed_off_as_the_papers():
    names = ["wood_grain", "materials", "mit67"]
    found = finding("C16", evidence(names=names))
    assert found["tested_on"] == "all 3 datasets of the study, the paper's: mit67"
    assert finding("C15", evidence(names=names))["tested_on"] == "not the paper's: materials"
    assert finding("C15", evidence(names=[*names, "textures"]))["tested_on"] == "textures"


def test_exceptions_are_named():
    found = finding("C09", CASES["C09"][1])
    assert found["why"] == f"not on {PAPER_DATASETS[0]}"
    assert "in 10 of 11 datasets" in found["here"]


@dataclass
class SmallData:
    labels: np.ndarray
    classes: tuple[str, ...]

    def __len__(self):
        return len(self.labels)


@dataclass
class SmallStudy:
    """As much of a study as claims ask for."""

    datasets: tuple[str, ...]
    networks: tuple[str, ...]
    n_classes: int = 8
    seed = 0
    layers = ("conv1", "block1", "fc6", "fc7")

    @property
    def pairs(self):
        return [Pair(dataset, network) for network in self.networks for dataset in self.datasets]

    def data(self, name):
        labels = np.arange(20 * self.n_classes) % self.n_classes
        return SmallData(labels, tuple(map(str, range(self.n_classes))))

    def overlap_group(self, pair):
        return None if pair.network.endswith("@random") else "a"

    def kinds(self, spec):
        return dict(zip(self.layers, ("conv", "block", "fc", "fc"), strict=True))

    def features(self, pair):
        """Features whose means differ from class to class."""
        rng = np.random.default_rng([*map(ord, pair.dataset + pair.network)])
        labels = self.data(pair.dataset).labels
        values = rng.normal(size=(self.n_classes, 48))[labels] + rng.normal(size=(labels.size, 48))
        return xr.DataArray(
            values.astype(np.float32),
            dims=("image", "feature"),
            coords={"layer": ("feature", np.repeat(self.layers, 12))},
        )


NETWORKS = ("small@one", "small@two", "other@one", "small@random")


@pytest.fixture(scope="module")
def gathered():
    return gather_evidence(SmallStudy(("digits", "materials"), NETWORKS))


def test_evidence_is_gathered_of_every_network(gathered):
    assert tuple(gathered) == NETWORKS
    one, two, other, random = gathered.values()
    assert (one.trained, random.trained) == (True, False)
    assert one.layers(CONV) == ["conv1", "block1"]
    assert two.first.network == "small@one"
    assert one.first is None and other.first is None and random.first is None
    assert "looked at under small@two" in one.alone
    assert one.groups == {"digits": "a", "materials": "a"}
    study, pair = SmallStudy((), ()), Pair("digits", "small@two")
    X, labels = study.features(pair), study.data("digits").labels
    kinds = dict(zip(SmallStudy.layers, (CONV, CONV, FC, FC), strict=True))
    real, chance = (
        measure_behaviour(signed_ks(X, y), kinds).set_index("name")
        for y in (labels, shuffle_labels(labels, seed=0))
    )
    for part in (CONV, FC, ALL, "fc6"):
        assert two.of(part, "mean_size")["digits"] == real["mean_size"][part]
        assert two.of(part, "mean_size", by_chance=True)["digits"] == chance["mean_size"][part]
        assert two.shuffled.of(part, "mean_size")["digits"] == chance["mean_size"][part]
    assert two.of(["fc6", "fc7"], "widest")["digits"] == real["widest"][["fc6", "fc7"]].mean()
    assert set(two.source_differences["dataset"]) == {"digits", "materials"}
    assert (two.source_differences["difference"] > 0).all()


def test_evidence_has_the_noise_thresholds_of_real_and_of_shuffled_labels(gathered):
    study, pair = SmallStudy((), ()), Pair("materials", "other@one")
    X, labels = study.features(pair), study.data("materials").labels
    one = gathered["other@one"]
    row, wanted = one.thresholds.loc["materials"], noise_thresholds(X, labels)
    assert (row["t_plus"], row["t_minus"]) == (wanted.t_plus, wanted.t_minus)
    beyond = kept(signed_ks(X, labels), wanted)
    assert row["kept"] == beyond.sum("feature").mean()
    assert row[f"pruned_{FC}"] == pytest.approx(1 - beyond[:, -24:].mean())
    assert row["lead_plus"] > 0
    shuffled = shuffled_distances(X, labels)
    by_chance = one.shuffled.thresholds.loc["materials"]
    first = signed_ks(X, labels).copy(data=shuffled[0])
    limits_by_chance = thresholds_between(first, shuffled[1:])
    expected = summarise_thresholds(first, shuffled[1:], limits_by_chance, labels).iloc[0]
    assert by_chance[expected.index].equals(expected.rename("materials"))
    assert by_chance["kept"] < row["kept"]


def test_groups_can_be_given():
    study = SmallStudy(("digits",), ("small@one",))
    found = gather_evidence(study, {Pair("digits", "small@one"): "c"})
    assert found["small@one"].groups == {"digits": "c"}


def test_measures_are_stacked(gathered):
    found = table_of_measures(gathered)
    assert found.columns[:3].tolist() == ["network", "dataset", "labels"]
    assert len(found) == 4 * 2 * 2 * 7
    assert not found.duplicated(["network", "dataset", "labels", "scope", "name"]).any()


def test_verdicts_come_in_order_with_those_under_shuffled_labels(gathered):
    found = check_claims(gathered)
    assert found["claim"].tolist() == [claim.id for claim in CLAIMS] * 4
    assert set(found["verdict"]) == {"holds", "fails", "cannot be tested"}
    counts = found["claim"].str.startswith("E") | found["section"].eq("6")
    counts |= found["claim"].eq("C39")  # which is about shuffled labels
    assert (found["shuffled"].eq("") == counts).all()
    assert (found["why"].ne("") | found["verdict"].ne("cannot be tested")).all()
    for network in gathered:
        pages = verdict_table(found, network).to_html(), lacking_table(found, network).to_html()
        for claim in CLAIMS:
            assert sum(f">{claim.id}<br>" in page for page in pages) == 1


def test_pages_show_verdicts_in_words_and_escape_names():
    farther = one("mit67", CONV, "mean_size", 0.3)
    given = evidence(farther, names=["mit67", "folder:<b>"])
    found = check_claims({given.network: given})
    page = verdict_table(found, "vgg16@imagenet").to_html()
    assert "✓ holds" in page and "✗ fails" in page
    assert "folder:&lt;b&gt;" in page and "<b>" not in page


def test_verdicts_are_counted_and_named():
    rows = [
        ("a@x", True, "C1", "holds", "holds"),
        ("a@x", True, "C2", "holds", "fails"),
        ("a@x", True, "C3", "fails", "fails"),
        ("a@x", True, "C4", "holds", "cannot be tested"),
        ("b@x", True, "C1", "holds", "holds"),
        ("b@x", True, "C2", "cannot be tested", "cannot be tested"),
        ("b@x", True, "C4", "fails", "fails"),
        ("a@random", False, "C1", "holds", "holds"),
        ("a@random", False, "C2", "fails", "fails"),
    ]
    columns = ["network", "trained", "claim", "verdict", "shuffled"]
    assert verdict_counts(pd.DataFrame(rows, columns=columns)) == {
        "n_networks": 2,
        "n_holds": 4,
        "n_fails": 2,
        "n_untested": 1,
        "holds": "C1, C2",
        "fails": "C3",
        "by_chance": "C1",
        "learnt": "C2",
    }
    control = pd.DataFrame(rows[-2:], columns=columns)
    assert verdict_counts(control)["holds"] == "none"
