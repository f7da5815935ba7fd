"""Changes of training images, against slow references that know nothing of the draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from analysis import extract, load_backbone
from analysis.data.images import ImageArrays, ImageDataset
from analysis.networks import training
from analysis.networks.minivgg import MINIVGG_PREPROCESSING
from analysis.networks.training import augment, centre

MARGIN = 8
ZERO, ONE = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
MEAN, STD = (
    torch.tensor(values).reshape(1, 3, 1, 1)
    for values in (MINIVGG_PREPROCESSING.mean, MINIVGG_PREPROCESSING.std)
)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(n: int, side: int) -> torch.Tensor:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 3, side, side), dtype=np.uint8)
    return torch.from_numpy(pixels)


@pytest.fixture
def switch(monkeypatch):
    """Switch parts of the changes off, or fully on."""

    def apply(**values: float) -> None:
        off = {"_BRIGHTNESS": 0, "_CONTRAST": 0, "_SATURATION": 0, "_ERASED": 0, "_GREY": 0}
        for name, value in {**off, **values}.items():
            monkeypatch.setattr(training, name, value)

    return apply


def naive_enlarged(image: np.ndarray) -> np.ndarray:
    """Bilinear interpolation, pixel by pixel, with pixel centres at halves."""
    side = image.shape[-1]
    larger = np.empty((3, side + MARGIN, side + MARGIN))
    for row in range(side + MARGIN):
        for column in range(side + MARGIN):
            y, x = (
                min(max((at + 0.5) * side / (side + MARGIN) - 0.5, 0), side - 1)
                for at in (row, column)
            )
            top, left = int(y), int(x)
            bottom, right = min(top + 1, side - 1), min(left + 1, side - 1)
            upper = image[:, top, left] * (1 - (x - left)) + image[:, top, right] * (x - left)
            lower = image[:, bottom, left] * (1 - (x - left)) + image[:, bottom, right] * (x - left)
            larger[:, row, column] = upper * (1 - (y - top)) + lower * (y - top)
    return larger


def places(crop: np.ndarray, larger: np.ndarray) -> list[tuple[int, int, bool]]:
    """Every place, with and without mirroring, where a crop can have been taken."""
    side = crop.shape[-1]
    return [
        (top, left, mirrored)
        for top in range(MARGIN + 1)
        for left in range(MARGIN + 1)
        for mirrored in (False, True)
        if np.allclose(
            crop[..., ::-1] if mirrored else crop,
            larger[:, top : top + side, left : left + side],
            atol=1e-4,
        )
    ]


def test_same_draws_same_images_in_the_form_that_the_network_takes():
    images = noise(6, 64)
    before = images.clone()
    first, again, other = (augment(images, MEAN, STD, draws(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert first.shape == images.shape and first.dtype == torch.float32
    assert torch.equal(images, before)


def test_every_image_is_a_crop_of_its_own_at_either_scale(switch):
    switch()
    images = noise(5, 16)
    scales, found = set(), set()
    for seed in range(8):
        changed = augment(images, MEAN, STD, draws(seed)).mul(STD).add(MEAN).numpy()
        for image, crop in zip(images.numpy() / 255, changed, strict=True):
            padded = np.pad(image, ((0, 0), (4, 4), (4, 4)), mode="reflect")
            at = {"kept": places(crop, padded), "enlarged": places(crop, naive_enlarged(image))}
            ((scale, (place,)),) = ((name, where) for name, where in at.items() if where)
            scales.add((seed, scale))
            found.add(place)
    assert len(scales) == 8  # one scale for the whole of a batch
    assert {scale for _, scale in scales} == {"kept", "enlarged"}
    assert len(found) > 30  # of 162 places, in 40 draws


def test_crops_are_spread_evenly_and_half_of_them_mirrored():
    n, side = 2000, 4
    numbered = torch.arange((side + MARGIN) ** 2).reshape(1, 1, side + MARGIN, side + MARGIN)
    crops = training._cropped(numbered.expand(n, 3, -1, -1), side, draws())
    assert torch.equal(crops[:, 0], crops[:, 2])
    first = crops[:, 0, :, 0] % (side + MARGIN)
    mirrored = crops[:, 0, 0, 1] < crops[:, 0, 0, 0]
    left = torch.minimum(first[:, 0], crops[:, 0, 0, -1] % (side + MARGIN))
    top = crops[:, 0, 0, 0] // (side + MARGIN)
    assert 0.45 < mirrored.float().mean() < 0.55
    for offset in (top, left):
        counts = torch.bincount(offset, minlength=MARGIN + 1)
        assert len(counts) == MARGIN + 1
        assert counts.min() > 0.7 * n / (MARGIN + 1)


def test_colour_changes_stay_within_their_bounds(switch):
    grey = torch.full((400, 3, 16, 16), 127, dtype=torch.uint8)
    switch(_BRIGHTNESS=0.2)
    level = augment(grey, ZERO, ONE, draws()).amax((1, 2, 3)) / (127 / 255)
    assert 0.8 <= level.min() < 0.82 and 1.18 < level.max() <= 1.2 + 1e-5

    switch(_CONTRAST=0.2, _SATURATION=0.2)  # neither changes an image of one grey
    assert torch.allclose(augment(grey, ZERO, ONE, draws()), torch.tensor(127 / 255), atol=1e-5)

    two = grey.clone()
    two[:, :, :8] = 27
    switch(_CONTRAST=0.2)
    span = augment(two, ZERO, ONE, draws()).flatten(1)
    ratio = (span.amax(1) - span.amin(1)) / (100 / 255)
    assert 0.8 <= ratio.min() < 0.82 and 1.18 < ratio.max() <= 1.2 + 1e-5

    red = grey.clone()
    red[:, 0] = 187
    switch(_SATURATION=0.2)
    changed = augment(red, ZERO, ONE, draws())[:, :, 8, 8]
    assert torch.allclose(changed.mean(1), torch.tensor((127 * 2 + 187) / 3 / 255), atol=1e-5)
    ratio = (changed[:, 0] - changed[:, 1]) / (60 / 255)
    assert 0.8 <= ratio.min() < 0.82 and 1.18 < ratio.max() <= 1.2 + 1e-5

    switch(_BRIGHTNESS=0.9)
    assert augment(red, ZERO, ONE, draws()).max() == 1  # no colour that a screen could not show


def test_some_images_lose_their_colour(switch):
    switch(_GREY=0.25)
    changed = augment(noise(400, 16), ZERO, ONE, draws())
    colourless = ((changed - changed.mean(1, keepdim=True)).abs() < 1e-5).flatten(1).all(1)
    assert 0.15 < colourless.float().mean() < 0.35


def test_some_images_lose_a_square(switch):
    switch(_ERASED=0.25)
    side = 32
    white = torch.full((400, 3, side, side), 255, dtype=torch.uint8)
    gone = augment(white, ZERO, ONE, draws()) == 0
    assert torch.equal(gone[:, 0], gone[:, 1]) and torch.equal(gone[:, 0], gone[:, 2])
    erased = gone[gone.any((1, 2, 3)), 0]
    assert 0.15 < len(erased) / len(white) < 0.35
    sizes = set()
    for square in erased:
        rows, columns = torch.nonzero(square, as_tuple=True)
        height, width = (int(at.max() - at.min()) + 1 for at in (rows, columns))
        assert height == width and len(rows) == height * width
        sizes.add(height)
    assert min(sizes) == side // 8 and max(sizes) == side // 2


def test_centre_is_what_the_network_sees_up_to_one_grey_level(tmp_path):
    """Pillow rounds to whole levels after either pass: half a level each, one together."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    arrays = rng.integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    arrays[0] = ramp[:, None, None]
    mirror = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False))  # gives its input
    nn.init.eye_(mirror[0].weight.data.view(3, 3))
    data = ImageDataset("noise", ("a",), np.zeros(4), tuple("0123"), ImageArrays(arrays))
    net = load_backbone(mirror, layers=["0"], preprocess=MINIVGG_PREPROCESSING)
    seen = extract(data, net, crops="center", pooling="none", store=tmp_path, progress=False)

    ours = centre(torch.from_numpy(arrays.transpose(0, 3, 1, 2).copy()), MEAN, STD)
    difference = (torch.from_numpy(seen.values).reshape(ours.shape) - ours) * STD * 255
    assert difference.abs().max() <= 1.001
    assert difference.abs().mean() < 0.35
    assert difference.mean().abs() < 0.1  # no loss of light
