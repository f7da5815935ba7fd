"""Backbones with random weights, built once, and a plain way to read their layers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from analysis.networks import Backbone, Layer, load_backbone
from analysis.networks.trace import reading

CLASSES = ("blue", "dark", "green", "light blue", "red")

sys.path.insert(0, str(Path(__file__).parent))  # for small_tasks, killed_trainings

Reader = Callable[[Backbone, list[Layer], str, torch.Tensor], dict[str, torch.Tensor]]


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def random_backbone() -> Callable[[str], Backbone]:
    return cache(lambda name: load_backbone(name, weights="random", seed=0))


@pytest.fixture(scope="package")
def images(tmp_path_factory) -> Path:
    """Make a folder of five classes, eleven images of each."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    colours = ((0, 0, 150), (0, 0, 0), (0, 150, 0), (150, 150, 150), (150, 0, 0))
    for name, colour in zip(CLASSES, colours, strict=True):
        (folder / name).mkdir()
        for number in range(11):  # two of them are held out
            pixels = rng.integers(0, 105, (66, 70, 3)) + np.array(colour)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="session")
def read_layers() -> Reader:
    return _read_layers


def _read_layers(
    net: Backbone, layers: list[Layer], activation: str, images: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Values of layers as their taps ask for: copied inside, the last call wins."""
    places = [
        (layer.name, i, tap) for layer in layers for i, tap in enumerate(layer.taps(activation))
    ]
    parts: dict[tuple[str, int], torch.Tensor] = {}

    def keep(number: int, value: torch.Tensor) -> None:
        parts[places[number][:2]] = value.clone()

    with torch.no_grad(), reading(net.module, [tap for *_, tap in places], keep):
        net.module(images)
    return {
        layer.name: torch.cat(
            [parts[layer.name, i] for i in range(len(layer.taps(activation)))], layer.unit_axis
        )
        for layer in layers
    }
