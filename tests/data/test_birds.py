"""Birds and scenes in miniatures of the official layouts: crops, regions and splits."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.data import load_dataset, stratified_splits
from analysis.data.annotations import (
    concatenate_regions,
    crop_birds,
    crop_regions,
    read_bird_annotations,
    read_partitions,
    scene_splits,
)
from analysis.data.images import cut_boxes

FILES = ("001.Albatross/A_1.png", "001.Albatross/A_2.png", "002.Wren/W_1.png")
PARTS = ("back", "beak", "left wing", "right wing", "tail")
REGIONS = {"head": ("beak",), "wing": ("left wing", "right wing"), "tail": ("tail",)}
WIDTH, HEIGHT = 60, 40


def coordinates():
    """An image whose red is the column and whose green is the row."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([columns, rows, np.zeros_like(rows)], axis=-1).astype(np.uint8)


@pytest.fixture
def birds(data_root: Path):
    """Three images; numbers do not follow the order of the list, nor parts that of the images."""
    root = data_root / "cub200" / "CUB_200_2011"
    for file in FILES:
        (root / "images" / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coordinates()).save(root / "images" / file)
    (root / "parts").mkdir()
    texts = {
        "images.txt": "".join(f"{n} {file}\n" for n, file in zip((3, 1, 2), FILES, strict=True)),
        "image_class_labels.txt": "1 1\n2 2\n3 1\n",
        "classes.txt": "1 001.Albatross\n2 002.Wren\n",
        "bounding_boxes.txt": "1 20.0 10.0 20.0 10.0\n2 0.0 0.0 40.0 20.0\n3 10.0 10.0 16.0 16.0\n",
        "train_test_split.txt": "1 0\n2 1\n3 1\n",
        "parts/parts.txt": "".join(f"{n} {name}\n" for n, name in enumerate(PARTS, 1)),
        "parts/part_locs.txt": "".join(
            f"{image} {part} {at}\n"
            for image, places in LOCATED.items()
            for part, at in enumerate(places, 1)
        ),
    }
    for name, text in texts.items():
        (root / name).write_text(text)
    return load_dataset("cub200")


HIDDEN = "0.0 0.0 0"
LOCATED = {
    3: ("12.0 14.0 1", "20.0 12.0 1", "14.0 16.0 1", "20.0 18.0 1", HIDDEN),
    1: (HIDDEN, HIDDEN, "30.0 15.0 1", HIDDEN, "38.0 18.0 1"),
    2: (HIDDEN, HIDDEN, HIDDEN, HIDDEN, HIDDEN),
}


def corners(image):
    """First and last column and row of what is left of :func:`coordinates`."""
    values = np.asarray(image)
    return [*values[0, 0, :2], *values[-1, -1, :2]]


def test_annotations_follow_the_images_and_not_the_order_of_the_files(birds):
    found = read_bird_annotations(birds)
    assert [path.removeprefix("images/") for path in birds.paths] == list(FILES)
    np.testing.assert_array_equal(found.boxes, [[10, 10, 16, 16], [20, 10, 20, 10], [0, 0, 40, 20]])
    assert found.parts == PARTS
    np.testing.assert_array_equal(found.places[0, :2], [[12, 14], [20, 12]])
    assert np.isnan(found.places[0, 4]).all()
    assert np.isnan(found.places[2]).all()
    train, test = found.split
    assert (train.tolist(), test.tolist()) == ([0, 2], [1])


def test_annotations_of_a_subset(birds):
    found = read_bird_annotations(birds.subset([2, 0]))
    np.testing.assert_array_equal(found.boxes[:, 2], [40, 16])
    np.testing.assert_array_equal(found.training, [True, True])
    assert read_bird_annotations(birds.subset([])).places.shape == (0, 5, 2)


def test_a_bird_is_cut_around_the_centre_of_its_box_and_clipped_at_the_border(birds):
    crops = crop_birds(birds, read_bird_annotations(birds))
    assert corners(crops[0]) == [6, 6, 29, 29]  # 16 px from 10 become 24 px from 6
    assert corners(crops[1]) == [15, 7, 44, 22]  # 7.5 to 22.5, rounded outwards
    assert corners(crops[2]) == [0, 0, 49, 24]  # begins at -10, -5
    np.testing.assert_array_equal(crops.labels, birds.labels)
    assert crops.paths == birds.paths


def test_crops_are_fingerprinted_by_their_boxes_and_can_be_restricted(birds):
    found = read_bird_annotations(birds)
    crops = [crop_birds(birds, found, factor=factor) for factor in (1.5, 1.5, 1.2)]
    prints = [data.fingerprint for data in (birds, *crops)]
    assert prints[1] == prints[2]
    assert len(set(prints)) == 3
    assert corners(crops[0].subset([1])[0]) == corners(crops[0][1])


def test_regions_are_squares_around_visible_parts(birds):
    data, present = crop_regions(birds, read_bird_annotations(birds), regions=REGIONS, margin=0.25)
    expected = [[True, True, False], [False, True, True], [False, False, False]]
    np.testing.assert_array_equal(present, expected)
    assert [path.split("/")[-1] for path in data.paths] == [
        "A_1.png#head",
        "A_1.png#wing",
        "A_2.png#wing",
        "A_2.png#tail",
    ]
    assert data.labels.tolist() == [0, 0, 0, 0]
    # a margin of a quarter of 16 px around the beak at (20, 12)
    assert corners(data[0]) == [16, 8, 23, 15]
    # wings at (14, 16) and (20, 18): centre (17, 17), half of 6 px and the margin
    assert corners(data[1]) == [10, 10, 23, 23]


def test_features_of_regions_stand_side_by_side_and_missing_ones_are_zero():
    present = np.array([[True, False], [False, False], [True, True]])
    features = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    placed = concatenate_regions(features, present)
    np.testing.assert_array_equal(placed, [[1, 2, 0, 0], [0, 0, 0, 0], [3, 4, 5, 6]])
    assert placed.dtype == np.float32
    with pytest.raises(ValueError, match="expected 3 rows"):
        concatenate_regions(features[:2], present)


def test_what_cannot_be_cut(birds):
    found, first = read_bird_annotations(birds), read_bird_annotations(birds.subset([0]))
    last = birds.subset([2])
    for data, annotations, options, message in (
        (birds, found, {"regions": {"foot": ("claw",)}}, "claw"),
        (birds, found, {"regions": {}}, "regions of"),
        (birds, found, {"margin": 0}, "margin above 0"),
        (last, read_bird_annotations(last), {}, "expected visible parts"),
        (birds, first, {}, "annotations of 3 images"),
    ):
        with pytest.raises(ValueError, match=message):
            crop_regions(data, annotations, **{"regions": REGIONS} | options)
    with pytest.raises(ValueError, match=r"\(3, 4\)"):
        crop_birds(birds, first)
    for factor in (0, -1, np.nan):
        with pytest.raises(ValueError, match="factor above 0"):
            crop_birds(birds, found, factor=factor)
    for box in ((5, 5, 5, 9), (0, 0, np.nan, 4), (9, 0, 3, 4)):
        with pytest.raises(ValueError, match="left < right"):
            cut_boxes(birds.subset([0]), [box], name="cut")
    outside = cut_boxes(birds.subset([0]), [(WIDTH, 0, WIDTH + 9, 9)], name="cut")
    with pytest.raises(ValueError, match="60 x 40"):
        outside[0]


def test_annotations_that_do_not_fit_are_refused(birds, data_root):
    with pytest.raises(ValueError, match="does not fit digits"):
        read_bird_annotations(load_dataset("digits").subset([0]))
    file = data_root / "cub200/CUB_200_2011/parts/part_locs.txt"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ValueError, match=r"'2', '5'"):
        read_bird_annotations(birds)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"part_locs\.txt"):
        read_bird_annotations(birds)


# scenes

SCENES = ("a/abbey", "a/apartment_building/outdoor", "b/bar")


@pytest.fixture
def scenes(data_root: Path):
    root = data_root / "sun397" / "SUN397"
    for name in SCENES:
        (root / name).mkdir(parents=True)
        for number in range(9):
            Image.new("RGB", (8, 6), (number, 0, 0)).save(root / name / f"sun_{number}.jpg")
    (root / "ClassName.txt").write_text("".join(f"/{name}\n" for name in SCENES))
    return load_dataset("sun397")


def test_scenes_are_split_evenly_and_validated_within_the_training_images(scenes):
    splits = scene_splits(scenes.labels, n_train=4, n_validation=1, n_test=3, n_splits=3, seed=5)
    plain = stratified_splits(scenes.labels, n_train=4, n_test=3, n_splits=3, seed=5)
    for (train, validation, test), split in zip(splits, plain, strict=True):
        np.testing.assert_array_equal(train, split.train)
        np.testing.assert_array_equal(test, split.test)
        assert set(validation.tolist()) < set(train.tolist())
        assert not set(train.tolist()) & set(test.tolist())
        for positions, size in ((train, 4), (validation, 1), (test, 3)):
            assert np.bincount(scenes.labels[positions]).tolist() == [size] * 3
    assert len({split.validation.tobytes() for split in splits}) > 1


def test_five_splits_of_fifty_and_fifty_with_eight_to_validate_by():
    labels = np.repeat([0, 1], [100, 130])
    splits, again, other = (scene_splits(labels, seed=seed) for seed in (0, 0, 1))
    assert len(splits) == 5
    sizes = {tuple(len(positions) for positions in split) for split in splits}
    assert sizes == {(100, 16, 100)}
    np.testing.assert_array_equal(splits[0].validation, again[0].validation)
    assert (splits[0].train != other[0].train).any()
    with pytest.raises(ValueError, match="has 99"):
        scene_splits(labels[1:], seed=0)
    for n_validation in (0, 50):
        with pytest.raises(ValueError, match="expected 1 to 49"):
            scene_splits(labels, n_validation=n_validation, seed=0)


@pytest.mark.parametrize("where", ["SUN397/Partitions", "Partitions"])
def test_published_partitions(scenes, data_root, where):
    folder = data_root / "sun397" / where
    folder.mkdir()
    (folder / "Training_01.txt").write_text("/b/bar/sun_3.jpg\n/a/abbey/sun_0.jpg\n")
    (folder / "Testing_01.txt").write_text("/a/apartment_building/outdoor/sun_8.jpg\n")
    ((train, test),) = read_partitions(scenes, n_splits=1)
    assert [scenes.paths[k] for k in train] == ["a/abbey/sun_0.jpg", "b/bar/sun_3.jpg"]
    assert [scenes.paths[k] for k in test] == ["a/apartment_building/outdoor/sun_8.jpg"]
    with pytest.raises(ValueError, match="not in sun397"):
        read_partitions(scenes.subset([1]), n_splits=1)


def test_absent_partitions_say_where_they_go(scenes):
    with pytest.raises(FileNotFoundError, match=r"Partitions\.zip"):
        read_partitions(scenes)
