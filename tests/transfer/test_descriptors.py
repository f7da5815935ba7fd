"""Descriptors without a network: fast routines beside loops, and what each must not see."""

from itertools import product
from math import atan2, exp, hypot, pi, remainder

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize

from analysis.data import ImageDataset
from analysis.data.images import ImageArrays
from analysis.transfer.descriptors import (
    Codebook,
    bag_of_words,
    describe_dataset,
    gist,
    hog,
    learn_codebook,
    llc,
    raw_pixels,
)
from analysis.transfer.descriptors.gradients import describe_gist
from analysis.transfer.descriptors.words import (
    FAINT,
    dense_sift,
    mixtures,
    nearest_words,
    pooled_weights,
)

RNG = np.random.default_rng


def dataset(arrays):
    n = len(arrays)
    paths = tuple(f"{k}.png" for k in range(n))
    return ImageDataset("made", ("a",), np.zeros(n, int), paths, ImageArrays(np.stack(arrays)))


def textured(seed, height=48, width=56):
    smooth = gaussian_filter(RNG(seed).standard_normal((height, width, 3)), (2, 2, 0))
    return np.clip(128 + 400 * smooth, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def images():
    return dataset([textured(seed) for seed in range(4)])


@pytest.fixture(scope="module")
def codebook(images):
    return learn_codebook(images, 12, seed=3)


# dense SIFT


def sift_by_loops(grey, patch, top, left):
    """One descriptor, pixel by pixel, from distances to the centres of its cells."""
    smooth = gaussian_filter(grey, 0.8, mode="nearest")
    down, right = np.gradient(smooth)
    cell = patch / 4
    histogram = np.zeros((4, 4, 8))
    for y, x in product(range(grey.shape[0]), range(grey.shape[1])):
        turn = np.arctan2(down[y, x], right[y, x]) / (np.pi / 4) % 8
        lower = int(turn) % 8
        for row, column in product(range(4), range(4)):
            # pixel y covers [y, y + 1): its centre is at y + 0.5
            far = abs(y + 0.5 - (top + (row + 0.5) * cell)) / cell
            wide = abs(x + 0.5 - (left + (column + 0.5) * cell)) / cell
            weight = max(0, 1 - far) * max(0, 1 - wide) * np.hypot(down[y, x], right[y, x])
            histogram[row, column, lower] += weight * (1 - turn % 1)
            histogram[row, column, (lower + 1) % 8] += weight * (turn % 1)
    unit = histogram.ravel() / np.linalg.norm(histogram)
    cut = np.minimum(unit, 0.2)
    return cut / np.linalg.norm(cut)


@pytest.mark.parametrize("patch", [4, 8, 12, 16])  # cells of 1 to 4 pixels, odd and even
def test_sift_agrees_with_a_loop_over_pixels(patch):
    grey = textured(1, 21, 18)[..., 0] / 255
    found, places = dense_sift(grey, patches=(patch,), step=3)
    starts = [range((n - patch) % 3 // 2, n - patch + 1, 3) for n in grey.shape]
    corners = list(product(*starts))
    assert len(found) == len(corners)
    for number in (0, len(corners) // 2, len(corners) - 1):
        top, left = corners[number]
        expected = sift_by_loops(grey, patch, top, left)
        np.testing.assert_allclose(found[number], expected, atol=2e-5)
        assert places[number] == pytest.approx([(top + patch / 2) / 21, (left + patch / 2) / 18])


@pytest.mark.parametrize("direction", range(8))
def test_sift_names_the_direction_in_which_grey_rises(direction):
    y, x = np.mgrid[:40, :40] / 40
    angle = direction * np.pi / 4
    ramp = 0.5 + 0.3 * (x * np.cos(angle) + y * np.sin(angle))
    found, _ = dense_sift(ramp, patches=(16,), step=12)
    middle = found[4]  # smoothing bends the ramp at the borders
    energy = middle.reshape(16, 8).sum(axis=0)
    assert energy.argmax() == direction
    assert energy[direction] > 0.99 * energy.sum()


def test_sift_has_unit_norm_and_leaves_plain_patches_at_zero():
    grey = np.full((32, 64), 0.5)
    grey[:, 40:] = textured(2, 32, 24)[..., 0] / 255
    found, places = dense_sift(grey)
    norms = np.linalg.norm(found, axis=1)
    plain = places[:, 1] < 0.4
    assert plain.any()
    assert not norms[plain].any()
    np.testing.assert_allclose(norms[places[:, 1] > 0.75], 1, atol=1e-6)


@pytest.mark.parametrize(("factor", "plain"), [(0.9, True), (1.1, False)])
def test_plain_is_a_patch_whose_mean_gradient_is_below_the_bound(factor, plain):
    ramp = np.tile(np.arange(64) * FAINT * factor, (64, 1))
    found, _ = dense_sift(ramp, patches=(16,), step=16)
    inner = found.reshape(4, 4, -1)[1:3, 1:3]
    assert (not inner.any()) is plain


def test_sizes_follow_one_another_and_those_that_do_not_fit_have_no_rows():
    grey = textured(3, 20, 30)[..., 0] / 255
    one, two, both = (dense_sift(grey, patches=p)[0] for p in [(8,), (16,), (8, 16, 24)])
    np.testing.assert_array_equal(both, np.concatenate([one, two]))
    found, places = dense_sift(grey, patches=(24,))
    assert found.shape == (0, 128)
    assert places.shape == (0, 2)


# words


def test_mixtures_are_the_constrained_least_squares_that_they_claim_to_be():
    rng = RNG(0)
    found = rng.random((5, 6)).astype(np.float32)
    words = rng.random((5, 3, 6)).astype(np.float32)
    for x, near, weights in zip(found, words, mixtures(found, words), strict=True):
        penalty = 1e-4 * ((near - x) ** 2).sum()

        def cost(c, x=x, near=near, penalty=penalty):
            return ((x - c @ near) ** 2).sum() + penalty * (c**2).sum()

        sums_to_one = {"type": "eq", "fun": lambda c: c.sum() - 1}
        solved = minimize(cost, np.full(3, 1 / 3), constraints=sums_to_one, tol=1e-14)
        np.testing.assert_allclose(weights, solved.x, atol=1e-4)
        assert weights.sum() == pytest.approx(1)


def test_nearest_words_agree_with_all_distances():
    found, words = RNG(2).random((2, 30, 128)).astype(np.float32)
    distances = np.linalg.norm(found[:, None] - words, axis=2)
    np.testing.assert_array_equal(nearest_words(found, words, 4), distances.argsort(axis=1)[:, :4])


def test_pooling_agrees_with_a_loop():
    rng = RNG(4)
    near = np.stack([rng.permutation(7)[:3] for _ in range(40)])
    weights = rng.normal(size=(40, 3))
    places = rng.random((40, 2))
    expected = np.zeros((5, 7))
    for (y, x), words, mixture in zip(places, near, weights, strict=True):
        part = 1 + 2 * (y >= 0.5) + (x >= 0.5)
        for word, weight in zip(words, mixture, strict=True):
            for cell in (0, part):
                expected[cell, word] = max(expected[cell, word], weight)
    np.testing.assert_array_equal(pooled_weights(near, weights, places, 7, (1, 2)), expected)


def test_codes_have_unit_norm_and_bags_sum_to_one(images, codebook):
    codes, bags = llc(images, codebook), bag_of_words(images, codebook)
    assert codes.shape == (4, 21 * 12)
    assert bags.shape == (4, 12)
    assert codes.dtype == bags.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(codes, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(bags.sum(axis=1), 1, atol=1e-6)


def test_an_image_is_described_alike_in_any_company(images, codebook):
    alone = images.subset([2])
    for describe in (gist, hog, raw_pixels):
        np.testing.assert_array_equal(describe(images)[2:3], describe(alone))
    np.testing.assert_allclose(llc(images, codebook)[2:3], llc(alone, codebook), atol=1e-6)


def test_a_codebook_follows_its_seed_and_looks_only_at_the_images_named(images):
    first, again, other = (learn_codebook(images, 5, seed=seed).words for seed in (0, 0, 1))
    np.testing.assert_allclose(first, again, atol=1e-6)
    assert np.abs(first - other).max() > 0.01
    changed = dataset([textured(0), textured(1), textured(8), textured(9)])
    some = [learn_codebook(data.subset([0, 1]), 5, seed=0).words for data in (images, changed)]
    np.testing.assert_allclose(*some, atol=1e-6)


def test_kept_descriptors_are_found_again_by_their_images(images, tmp_path):
    other = dataset([textured(seed) for seed in (7, 8)])
    for data in (images, other, images):
        kept = describe_dataset(data, images, names=("raw pixels", "HOG"), store=tmp_path)
        np.testing.assert_array_equal(kept["raw pixels"], raw_pixels(data))
        np.testing.assert_array_equal(kept["HOG"], hog(data))
    assert len([*tmp_path.iterdir()]) == 4


def test_what_makes_no_sense_is_refused(images, codebook):
    plain = dataset([np.full((40, 40, 3), 9, np.uint8)])
    for message, describe in [
        ("1 of 1 images for 2 words", lambda: learn_codebook(plain, 2, seed=0)),
        ("got none", lambda: learn_codebook(images.subset([]), 2, seed=0)),
        ("got 13", lambda: llc(images, codebook, neighbours=13)),
        ("got 0", lambda: llc(images, codebook, neighbours=0)),
        ("at least one cell", lambda: llc(images, codebook, pyramid=())),
        ("expected cells of 1 to 64 pixels", lambda: hog(images, cell=0)),
        ("expected cells of 1 to 64 pixels", lambda: hog(images, cell=65)),
        ("expected patches", lambda: dense_sift(np.zeros((20, 20)), patches=(10,))),
        ("expected patches", lambda: dense_sift(np.zeros((20, 20)), patches=())),
        ("a step from 1", lambda: dense_sift(np.zeros((20, 20)), step=0)),
    ]:
        with pytest.raises(ValueError, match=message):
            describe()


@pytest.mark.parametrize("size", [(3, 5), (1, 40), (31, 31)])
def test_images_smaller_than_a_patch_are_enlarged(codebook, size):
    height, width = size
    data = dataset([textured(5, height, width)])
    found, _ = codebook.describe(data[0])
    assert len(found)
    assert bag_of_words(data, codebook).sum() == pytest.approx(1)


def test_large_images_are_shrunk(codebook):
    large = Image.fromarray(textured(6, 90, 120))
    small = Codebook(codebook.words, longest=60)
    expected, _ = dense_sift(np.zeros((45, 60)), patches=small.patches)
    assert len(small.describe(large)[0]) == len(expected)


# all of them


@pytest.mark.parametrize("value", [0, 255])
def test_constant_images_give_finite_numbers(codebook, value):
    data = dataset([np.full((40, 50, 3), value, np.uint8)])
    codes = [describe(data) for describe in (gist, hog, raw_pixels)]
    codes += [llc(data, codebook), bag_of_words(data, codebook)]
    assert all(np.isfinite(code).all() for code in codes)
    assert np.abs(codes[0]).max() < 1e-5
    assert not codes[1].any()


def test_hog_has_as_many_numbers_as_it_says(images):
    assert hog(images).shape == (4, 8100)
    assert hog(images, side=64, cell=16).shape == (4, 9 * 36)


# GIST


def grating(turns, cycles):
    """Waves that run ``turns`` half turns anticlockwise from left to right, ``cycles`` per px."""
    y, x = np.mgrid[:256, :256]
    along = x * np.cos(turns * np.pi) - y * np.sin(turns * np.pi)  # rows run downwards
    return 128 + 60 * np.sin(2 * np.pi * cycles * along)


@pytest.mark.parametrize("orientation", range(8))
def test_gist_finds_the_orientation_of_a_grating(orientation):
    energy = describe_gist(grating(orientation / 8, 0.15)).reshape(4, 8, 16).mean(axis=2)
    assert energy.sum(axis=0).argmax() == orientation


@pytest.mark.parametrize("scale", range(4))
def test_gist_finds_the_scale_of_a_grating(scale):
    energy = describe_gist(grating(0, 0.3 / 1.85**scale)).reshape(4, 8, 16).mean(axis=2)
    assert np.unravel_index(energy.argmax(), energy.shape) == (scale, 0)


def test_gist_finds_the_part_of_the_image():
    image = np.full((256, 256), 128.0)
    image[64:128, 192:] = grating(0, 0.15)[64:128, 192:]
    energy = describe_gist(image).reshape(32, 4, 4).sum(axis=0)
    assert np.unravel_index(energy.argmax(), energy.shape) == (1, 3)


def test_gist_agrees_with_a_filter_written_as_a_sum_over_frequencies():
    """One filter of one image, from the formulas, without the routines' own arrays."""
    grey = textured(8, 256, 256)[..., 0].astype(float)

    def filtered(image, gain):
        frequencies = np.fft.fftfreq(len(image))
        gains = [[gain(fy, fx) for fx in frequencies] for fy in frequencies]
        return np.fft.ifft2(np.fft.fft2(image) * gains)

    def low_pass(fy, fx):
        return 0.5 ** ((fy**2 + fx**2) * 266**2 / 16)

    def gabor(fy, fx, scale=1, orientation=3):
        centre = 0.3 / 1.85**scale
        angle = remainder(atan2(fy, fx) + orientation * pi / 8, 2 * pi)
        return exp(-3.5 * (hypot(fy, fx) / centre - 1) ** 2 - 2 * pi * angle**2)

    stretched = (grey - grey.min()) * 255 / (grey.max() - grey.min())
    wide = np.pad(np.log(1 + stretched), 5, mode="symmetric")
    high = wide - filtered(wide, low_pass).real
    whitened = high / (0.2 + np.sqrt(np.abs(filtered(high**2, low_pass).real)))
    answer = np.abs(filtered(np.pad(whitened[5:-5, 5:-5], 32, mode="symmetric"), gabor))
    part = answer[32 + 64 : 32 + 128, 32 : 32 + 64].mean()  # second row, first column
    described = describe_gist(grey).reshape(4, 8, 4, 4)
    assert described[1, 3, 1, 0] == pytest.approx(part, rel=1e-4)
