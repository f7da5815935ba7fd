"""Changed copies of images: what changes, what stays, and what they are known by."""

import pickle

import numpy as np
import pytest
from PIL import Image

from analysis.data.images import CHANGES, UNCHANGED, ImageArrays, ImageDataset, change_images

SIDE = 64


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    small = rng.integers(40, 200, (3, 8, 12, 3), dtype=np.uint8)
    arrays = np.stack([np.asarray(Image.fromarray(a).resize((120, 80))) for a in small])
    paths = ("a/0", "a/1", "b/0")
    return ImageDataset("memory", ("a", "b"), np.array([0, 0, 1]), paths, ImageArrays(arrays))


def central(image):
    """What a network sees of an image of shorter side ``SIDE``: 7/8 of it."""
    crop, (width, height) = SIDE * 7 // 8, image.size
    left, top = (width - crop) // 2, (height - crop) // 2
    return np.asarray(image.crop((left, top, left + crop, top + crop))).astype(int)


@pytest.mark.parametrize("change", CHANGES)
def test_copies_differ_from_the_original_but_keep_size_labels_and_paths(data, change):
    changed = change_images(data, change, side=SIDE)
    plain = change_images(data, UNCHANGED, side=SIDE)
    assert changed[0].size == plain[0].size == (96, 64)
    assert changed[0].mode == "RGB"
    assert changed.paths == data.paths
    assert np.array_equal(changed.labels, data.labels)
    assert np.abs(central(changed[0]) - central(plain[0])).mean() > 1


@pytest.mark.parametrize("change", [name for name in CHANGES if not name.startswith("noise")])
def test_a_central_crop_sees_no_black_edge(data, change):
    changed = change_images(data, change, side=SIDE)
    assert min(central(image).min() for image in changed) > 20  # the images have none below 40


def test_the_mirror_and_the_shift_do_what_they_say(data):
    plain = np.asarray(change_images(data, UNCHANGED, side=SIDE)[1])
    mirrored = np.asarray(change_images(data, "mirrored", side=SIDE)[1])
    shifted = np.asarray(change_images(data, "shifted by 1/16", side=SIDE)[1])
    assert np.array_equal(mirrored, plain[:, ::-1])
    assert np.array_equal(shifted[:, SIDE // 16 :], plain[:, : -SIDE // 16])


def test_noise_belongs_to_the_image_and_the_seed(data):
    noise = next(name for name in CHANGES if name.startswith("noise"))
    whole = change_images(data, noise, side=SIDE)
    assert np.array_equal(whole[2], whole.subset([2])[0])
    assert not np.array_equal(whole[2], change_images(data, noise, side=SIDE, seed=1)[2])


def test_every_change_has_its_own_fingerprint_and_survives_pickling(data):
    copies = [change_images(data, name, side=SIDE) for name in (UNCHANGED, *CHANGES)]
    copies.append(change_images(data, UNCHANGED, side=SIDE + 1))
    prints = {copy.fingerprint for copy in [*copies, data]}
    assert len(prints) == len(copies) + 1
    again = pickle.loads(pickle.dumps(copies[1]))
    assert np.array_equal(again[0], copies[1][0])


def test_unknown_changes_and_sizes_are_refused(data):
    with pytest.raises(ValueError, match="unknown change 'mirror'; known: unchanged, mirrored"):
        change_images(data, "mirror", side=SIDE)
    with pytest.raises(ValueError, match="positive side"):
        change_images(data, "mirrored", side=0)
