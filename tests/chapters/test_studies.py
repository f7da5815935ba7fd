"""A study names everything at once, computes once, and saves its tables whole."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.torch import save_file

from analysis.chapters import (
    PARAMETERS,
    Pair,
    Study,
    caveats,
    describe_datasets,
    describe_layers,
    describe_networks,
    describe_overlaps,
    read_study,
    refuse_unknown_parameters,
    split_network,
    write_csv,
)
from analysis.chapters.study import as_names, lacks, short_name
from analysis.data import CARDS, load_dataset
from analysis.networks import load_backbone
from analysis.statistics import signed_ks

STUDIES = sorted((Path(__file__).parents[2] / "book" / "studies").glob("*.yml"))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    from PIL import Image

    for name, low in (("dark", 0), ("light", 150)):
        (folder / name).mkdir()
        for number in range(4):
            pixels = rng.integers(low, low + 100, (80, 90, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return Study(
        title="Two greys",
        datasets=[f"folder:{folder}"],
        networks="minivgg16@random",
        crops="center",
        results=str(tmp_path_factory.mktemp("tables")),
        progress=False,
    )


def test_distances_are_those_of_the_features(study: Study) -> None:
    (pair,) = study.pairs
    X, labels = study.features(pair), study.data(pair.dataset).labels
    np.testing.assert_array_equal(study.distances(pair), signed_ks(X.to_numpy(), labels))
    assert study.distances(pair) is study.distances(pair)


def test_noise_has_the_same_shape_and_less_distance(study: Study) -> None:
    (pair,) = study.pairs
    noise = study.noise_distances(pair)
    assert noise.shape == study.distances(pair).shape
    assert abs(noise).mean() < abs(study.distances(pair)).mean()


def test_one_feature_is_a_column(study: Study) -> None:
    (pair,) = study.pairs
    X = study.features(pair)
    column = np.flatnonzero((X["layer"] == "fc6") & (X["unit"] == 7))
    np.testing.assert_array_equal(study.feature(pair, "fc6", 7), X.to_numpy()[:, column[0]])
    with pytest.raises(ValueError, match="no unit 9999 of a layer 'fc6'"):
        study.feature(pair, "fc6", 9999)


def test_tables_of_all_pairs_are_stacked(study: Study) -> None:
    table = study.each(lambda pair: pd.DataFrame({"length": [len(study.data(pair.dataset))]}))
    assert table.to_dict("list") == {
        "network": list(study.networks),
        "dataset": list(study.datasets),
        "length": [8],
    }


def test_saves_a_table_and_leaves_nothing_else(study: Study) -> None:
    path = study.save(pd.DataFrame({"a": [1, 2]}), "numbers")
    assert path.read_text() == "a\n1\n2\n"
    assert [other.name for other in path.parent.iterdir()] == ["numbers.csv"]


def test_a_table_that_cannot_be_written_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path = write_csv(pd.DataFrame({"a": [1]}), tmp_path / "numbers.csv")

    class Broken(pd.DataFrame):
        def to_csv(self, path, **_):  # type: ignore[override]
            Path(path).write_text("half")
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        write_csv(Broken({"a": [2]}), path)
    assert path.read_text() == "a\n1\n"
    assert list(tmp_path.iterdir()) == [path]


def test_says_that_random_weights_were_never_trained(study: Study) -> None:
    assert "`minivgg16@random` was never trained" in caveats(study)


def test_a_dataset_is_grouped_by_what_each_network_has_learnt() -> None:
    study = Study(
        title="Overlaps",
        datasets="digits,glyphs_clean",
        networks="minivgg16@bundled,minivgg16@bundled-living,minivgg16@random",
    )
    groups = {pair: study.overlap_group(pair) for pair in study.pairs}
    assert groups == {
        Pair("digits", "minivgg16@bundled"): "c",
        Pair("glyphs_clean", "minivgg16@bundled"): "b",
        Pair("digits", "minivgg16@bundled-living"): "c",
        Pair("glyphs_clean", "minivgg16@bundled-living"): "c",
        Pair("digits", "minivgg16@random"): None,
        Pair("glyphs_clean", "minivgg16@random"): None,
    }
    overlaps = describe_overlaps(study).set_index(["source task", "dataset"])
    assert len(overlaps) == 4
    assert overlaps["group"]["bundled", "glyphs_clean"] == "b"
    assert "Ten of the twenty" in overlaps["because"]["bundled", "glyphs_clean"]
    datasets = describe_datasets(study).set_index("dataset")
    assert datasets["overlap with bundled"].to_dict() == {"digits": "c", "glyphs_clean": "b"}
    assert datasets["images per class"]["glyphs_clean"] == "50 in every class"


def test_folders_have_no_overlap_group(study: Study) -> None:
    trained = replace(study, networks="minivgg16@bundled")
    assert [trained.overlap_group(pair) for pair in trained.pairs] == [None]
    assert describe_overlaps(trained)["because"].item() == "nobody has compared them"


def test_layers_add_up_to_the_embedding(study: Study) -> None:
    layers = describe_layers(study)
    assert layers["features"].sum() == describe_networks(study)["features"].item() == 2080
    assert layers.iloc[0].to_dict() == {
        "network": "minivgg16",
        "layer": "conv1_1",
        "kind": "convolutional",
        "positions": "64 × 64",
        "features": 16,
    }


def test_samples_of_a_class_are_spread_over_its_list(study: Study) -> None:
    dataset = study.datasets[0]
    images = list(study.data(dataset))
    assert study.class_samples(dataset, 1, 2) == [images[4], images[7]]
    assert study.class_samples(dataset, 0, 99) == images[:4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"datasets": "digits,dgits"}, "unknown dataset 'dgits'.*digits"),
        ({"networks": ["minvgg16@random"]}, "unknown network 'minvgg16'.*minivgg16"),
        ({"networks": ["minivgg16@nowhere.safetensors"]}, "nowhere.safetensors"),
        ({"datasets": " , "}, "at least one of datasets"),
        ({"datasets": "digits,digits"}, "named more than once: digits"),
        ({"reference_images": "photos"}, "unknown dataset 'photos'"),
    ],
)
def test_a_wrong_name_fails_at_once(change: dict[str, object], message: str) -> None:
    right = {"title": "t", "datasets": "digits", "networks": "minivgg16@random"}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        Study(**(right | change))  # type: ignore[arg-type]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_study_files_name_known_things(path: Path) -> None:
    study = read_study(path)
    assert set(study) <= set(PARAMETERS)
    references = as_names("reference images", study["reference_images"])
    assert {*study["datasets"], *references} <= set(CARDS)
    for spec in study["networks"]:
        assert all(split_network(spec))


def test_the_papers_study_has_its_eleven_datasets() -> None:
    paper = next(path for path in STUDIES if path.stem == "paper")
    assert len(set(read_study(paper)["datasets"])) == 11


def test_study_file_errors_say_what_is_known(tmp_path: Path) -> None:
    file = tmp_path / "mine.yml"
    file.write_text(yaml.safe_dump({"title": "Mine", "dataset": "digits"}))
    with pytest.raises(ValueError, match=r"unknown keys \['dataset'\]; known: title, datasets"):
        read_study(file)
    with pytest.raises(FileNotFoundError, match=r"known there: .*mine\.yml"):
        read_study(tmp_path / "yours.yml")


def test_overrides_replace_and_none_leaves(tmp_path: Path) -> None:
    file = tmp_path / "mine.yml"
    file.write_text("title: Mine\ndatasets: [digits]\n")
    assert read_study(file, datasets="wood", networks=None) == {"title": "Mine", "datasets": "wood"}


def test_network_without_weights_means_imagenet() -> None:
    assert split_network("vgg16") == ("vgg16", "imagenet")
    assert split_network("squeezenet1_0@a@b.pth") == ("squeezenet1_0", "a@b.pth")


def test_reference_images_come_from_every_dataset_named() -> None:
    study = Study("t", "digits", "minivgg16@random", reference_images="photographs,digits")
    chosen = study.reference(20)
    origins = [path.partition("/")[0] for path in chosen.paths]
    assert [origins.count(name) for name in ("photographs", "digits")] == [10, 10]
    assert study.reference(10**6).paths == (
        *(f"photographs/{path}" for path in study.data("photographs").paths),
        *(f"digits/{path}" for path in study.data("digits").paths),
    )


def test_a_limit_keeps_the_shares_of_classes_and_every_class() -> None:
    names = ["materials_unbalanced", "digits"]
    limited = Study("a", names, "minivgg16@random", reference_images="digits", max_images=90)
    for name in names:
        part, whole = limited.data(name), load_dataset(name)
        sizes, before = (np.bincount(data.labels) for data in (part, whole))
        assert np.abs(sizes - before * 90 / len(whole)).max() <= 1
        assert sizes.min() >= 1
        assert set(part.paths) < set(whole.paths)
        assert sorted(part.paths, key=whole.paths.index) == list(part.paths)
    everything = Study("a", "wood_grain", "minivgg16@random", max_images=511)
    assert len(everything.data("wood_grain")) == 511


def test_weights_of_a_file_have_a_short_name(tmp_path: Path) -> None:
    net = load_backbone("minivgg16", weights="bundled")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        save_file(net.module.state_dict(), tmp_path / folder / "mine.v2.safetensors")
    first, second = (f"minivgg16@{tmp_path / name / 'mine.v2.safetensors'}" for name in "ab")
    one = Study("a", "digits", [first, "minivgg16@random"], max_images=20, progress=False)
    assert one.networks == ["minivgg16@mine.v2", "minivgg16@random"]
    assert one.spec("minivgg16@mine.v2") == first
    assert one.backbone("minivgg16@mine.v2").weights_hash == net.weights_hash
    assert Study("a", "digits", [first, second], max_images=20).networks == [first, second]
    shutil.copy(tmp_path / "a" / "mine.v2.safetensors", tmp_path / "random.safetensors")
    other = f"minivgg16@{tmp_path / 'random.safetensors'}"
    assert Study("a", "digits", [other], max_images=20).networks == [other]


def test_chapters_say_what_a_study_lacks(study: Study) -> None:
    assert "with the same classes" in lacks(study, "04-tca-fusion")
    assert lacks(study, "01a-office-domains") == lacks(study, "04-tca-fusion")
    assert "have exactly the same names" in lacks(study, "04-tca-fusion")
    assert "networks that come along" in lacks(study, "06-bundled-networks")
    assert lacks(study, "02-dks-distributions") == ""
    whole = Study("a", ["glyphs_clean", "glyphs_cluttered"], "minivgg16@bundled", max_images=100)
    chapters = ("01a-office-domains", "04-tca-fusion", "06-bundled-networks")
    assert not any(lacks(whole, chapter) for chapter in chapters)


@pytest.mark.parametrize(
    ("name", "short"),
    [("folder:/a/my photos", "my photos"), ("table:/a/b.csv", "b.csv"), ("office31/dslr",) * 2],
)
def test_folders_are_called_by_their_last_part(name: str, short: str) -> None:
    assert short_name(name) == short


def test_pairs_go_network_by_network() -> None:
    study = Study("t", "digits,digits_rendered", "minivgg16@random")
    assert study.pairs == [
        Pair("digits", "minivgg16@random"),
        Pair("digits_rendered", "minivgg16@random"),
    ]


def test_a_notebook_refuses_parameters_that_it_does_not_declare() -> None:
    declared = 'title = "x"\nseed = 0'
    refuse_unknown_parameters(["", declared])
    refuse_unknown_parameters(["", declared, "# Parameters\nseed = 3\n", "import this"])
    with pytest.raises(ValueError, match="parameters sede; this notebook takes: title, seed"):
        refuse_unknown_parameters(["", declared, "# Parameters\nsede = 3\n"])
