"""The Office protocol over a study: which features, which labels, and what is said of them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from analysis.chapters import office
from analysis.chapters.domains import DomainPair, domain_pairs, named_labels
from analysis.data import ImageDataset
from analysis.data.images import ImageArrays
from analysis.transfer import office_protocol
from analysis.transfer.office_protocol import OFFICE_METHODS
from analysis.transfer.published import published_office

AMAZON, DSLR, WEBCAM = (f"office_caltech10/{name}" for name in ("amazon", "dslr", "webcam"))
LAYERS = ("first", "middle", "last")


def dataset(name, seed, classes, per_class=6):
    n = per_class * len(classes)
    arrays = np.random.default_rng(seed).integers(0, 255, (n, 8, 8, 3), dtype=np.uint8)
    labels = np.repeat(np.arange(len(classes)), per_class)
    paths = tuple(f"{k}" for k in range(n))
    return ImageDataset(name, tuple(classes), labels, paths, ImageArrays(arrays))


class SmallStudy:
    """Two networks of three layers, three features each, that know more of classes by depth."""

    def __init__(self, names, classes=None):
        classes = classes or {}
        kept = [classes.get(name, ("bike", "mug", "pen")) for name in names]
        self.sets = {
            name: dataset(name, seed, own)
            for seed, (name, own) in enumerate(zip(names, kept, strict=True))
        }
        self.networks, self.seed = ["small@random", "large@random"], 0
        self.trained = self.networks

    def data(self, name):
        return self.sets[name]

    def backbone(self, spec):
        return SimpleNamespace(layers=[SimpleNamespace(name=name) for name in LAYERS])

    def features(self, pair):
        data = self.data(pair.dataset)
        rng = np.random.default_rng([len(pair.network), *pair.dataset.encode()])
        codes = pd.Series(named_labels(data)).map({"bike": 0, "mug": 1, "pen": 2}).to_numpy()
        parts = [depth * np.eye(3)[codes] + rng.normal(size=(len(data), 3)) for depth in (0, 1, 3)]
        return xr.DataArray(
            np.hstack(parts),
            dims=("image", "feature"),
            coords={"layer": ("feature", np.repeat(LAYERS, 3))},
        )


@pytest.fixture(scope="module")
def study():
    return SmallStudy([DSLR, WEBCAM, "shop"])


@pytest.fixture(scope="module")
def pairs(study):
    return domain_pairs(study.sets, n_target=2)


@pytest.fixture(scope="module")
def summary(study, pairs):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(office, "surf_features", no_surf)
        shown = [pair for pair in pairs if pair.target == WEBCAM]
        table = office.measure_office(study, shown, n_target=2, n_splits=2)
    return office.summarise_office(table)


def no_surf(domain):
    raise FileNotFoundError(domain)


def test_two_layers_for_the_paper_s_pairs_and_the_last_one_for_others(summary):
    layers = summary.groupby(["network", "pair"], sort=False)["features"].unique().map(list)
    assert layers.to_dict() == {
        (network, pair): own
        for network in ("small@random", "large@random")
        for pair, own in {
            "dslr → webcam": ["middle", "last"],
            "shop → office_caltech10/webcam": ["last"],
        }.items()
    }
    assert (summary["last"] == (summary["features"] == "last")).all()
    assert [*dict.fromkeys(zip(summary["training"], summary["method"], strict=True))] == [
        *OFFICE_METHODS
    ]


def test_a_cell_is_the_protocol_on_the_layer_with_classes_by_name(study, summary):
    from analysis.chapters import Pair

    both = []
    for name in (DSLR, WEBCAM):
        X = study.features(Pair(name, "large@random"))
        both += [X.values[:, 3:6], named_labels(study.data(name))]
    expected = office_protocol(*both, seed=0, n_source=6, n_target=2, n_splits=2)
    own = summary[(summary["network"] == "large@random") & (summary["features"] == "middle")]
    for key, part in expected.groupby(["training", "method"], sort=False):
        row = own[(own["training"] == key[0]) & (own["method"] == key[1])].iloc[0]
        assert row["mean"] == pytest.approx(part["accuracy"].mean())
        assert row["deviation"] == pytest.approx(part["accuracy"].std())


def test_classes_in_another_order_do_not_matter(monkeypatch):
    monkeypatch.setattr(office, "surf_features", no_surf)
    turned = SmallStudy(["a", "b"], {"b": ("pen", "mug", "bike")})
    table = office.measure_office(turned, [DomainPair("a", "b")], n_target=2, n_splits=2)
    right = table[(table["training"] == "ST") & (table["method"] == "SVM")]["accuracy"]
    assert right.min() > 0.6


def test_surf_comes_first_with_labels_of_its_own(study, monkeypatch):
    rng = np.random.default_rng(0)
    labels = np.repeat([2, 0, 1], 5)  # other images, in another order
    counts = np.eye(3)[labels].repeat(3, axis=1) * 9 + rng.integers(1, 4, (15, 9))
    monkeypatch.setattr(office, "surf_features", lambda domain: (counts, labels))
    table = office.measure_office(study, [DomainPair(DSLR, WEBCAM)], n_target=2, n_splits=1)
    assert [*dict.fromkeys(table["network"])] == ["SURF", *study.networks]
    surf = table[table["network"] == "SURF"]
    assert (surf["features"] == "SURF").all()
    assert (surf[surf["training"] == "ST"]["accuracy"] == 1).all()


def test_the_paper_s_pairs(pairs):
    assert office.published_pairs(pairs) == [(DSLR, WEBCAM)]
    assert office.pair_to_show(pairs) == (DSLR, WEBCAM)
    assert office.pair_to_show([DomainPair("a", "b"), DomainPair("b", "a")]) == ("a", "b")


def test_the_paper_s_table_has_its_numbers_beside_ours(summary):
    table = office.beside_paper(summary).set_index(["section", "training", "method"])
    assert [*table] == [
        "paper: SURF",
        "paper: DeCAF6",
        "paper: DeCAF7",
        "here: last but one",
        "here: last layer",
    ]
    sections = [*dict.fromkeys(table.index.get_level_values(0))]
    assert sections == [
        f"dslr → webcam: {name}@random (middle, last)" for name in ("small", "large")
    ]
    row = table.loc[(sections[0], "adapt", "Gong et al. (2012)")]
    assert row["paper: DeCAF6"] == "88.40 ± 1.0"
    assert table.loc[(sections[0], "adapt", "Sun et al. (2016)"), "paper: DeCAF6"] == "–"
    own = summary[
        (summary["network"] == "small@random")
        & (summary["features"] == "middle")
        & (summary["method"] == "Gong et al. (2012)")
        & (summary["training"] == "adapt")
    ].iloc[0]
    assert row["here: last but one"] == f"{100 * own['mean']:.2f} ± {100 * own['deviation']:.1f}"


def test_a_study_without_the_paper_s_pairs_shows_its_own(summary):
    others = summary[summary["source"] == "shop"]
    table = office.beside_paper(others)
    assert [*table][3:] == ["here: last layer"]
    assert len(table) == 2 * len(OFFICE_METHODS)


def test_means_by_pair_and_over_the_pairs(summary):
    table = office.office_by_pair(summary)
    assert table["section"].unique().tolist() == ["small@random, last", "large@random, last"]
    small = table[table["network"] == "small@random"]
    assert small["pair"].tolist()[-1] == "mean of 2"
    assert small["CORAL"].iloc[-1] == pytest.approx(small["CORAL"].iloc[:-1].mean())
    kept = summary[(summary["network"] == "small@random") & summary["last"]]
    kept = kept[(kept["training"] == "S") & (kept["method"] == "SVM")]
    np.testing.assert_allclose(small["S"].iloc[:-1], 100 * kept["mean"])


def test_the_best_is_named_with_its_distance():
    names = [*office.MEANS]
    rows = [
        {"section": "n, fc7", "network": "n", "pair": pair} | dict.fromkeys(names[1:], 50.0)
        for pair in ("a → b", "b → a", "mean of 2")
    ]
    table = pd.DataFrame(rows)
    table["GFK"] = [54.0, 52.0, 53.0]
    table["CORAL from S"] = [49.0, 55.0, 52.0]
    said = office.state_office(table, ["n"])
    assert "is GFK with 53.0 %, +3.0 ± 1.0 points against *ST*, more accurate on 2 of 2" in said
    assert "is CORAL with 52.0 %, +2.0 ± 3.0 points against *S, each*, more accurate on 1" in said


def test_neighbours_of_every_network_once_for_both_directions(study, pairs):
    table = office.measure_neighbours(study, pairs)
    assert len(table) == 2 * 3 * 2  # networks, pairs of domains, layers
    assert table["layer"].unique().tolist() == ["first", "last"]
    mean = table.groupby("layer")["same_class"].mean()
    assert mean["last"] > mean["first"] + 0.2
    assert "`first` to `last`" in office.state_neighbours(table)


def test_maps_show_the_images_of_their_places(study):
    maps = office.domain_maps(study, "large@random", DomainPair(DSLR, "shop"), n_images=5)
    assert [each.name for each in maps] == ["first", "last"]
    for each in maps:
        assert each.points.shape == (10, 2)
        assert each.domains.tolist() == 5 * [DSLR] + 5 * ["shop"]
    shown = [np.asarray(maps[0].picture(k)) for k in range(10)]
    own = [np.asarray(image) for image in study.data("shop")]
    assert all(any((image == other).all() for other in own) for image in shown[5:])
    with pytest.raises(IndexError):
        maps[0].picture(10)


def test_tasks_differ_from_the_paper_s():
    assert "31 classes, these have 10" in office.state_tasks([10, 10])
    assert "10 or 20" in office.state_tasks([20, 10])
    assert "31 classes:" in office.state_tasks([])


def test_published_numbers():
    table = published_office()
    assert len(table) == 9 * 6
    T = table[table["training"] == "T"].pivot_table(
        index=["method", "features"], columns="source", values="mean"
    )
    assert (T[AMAZON] == T[DSLR]).all()  # the source plays no part
    best = table[table["source"] == AMAZON].set_index(["method", "features"])["mean"]
    assert best.idxmax() == ("Daume III (2007)", "DeCAF6")
    assert {*zip(table["training"], table["method"], strict=True)} <= {*OFFICE_METHODS}
