"""Fine-tuning against the usual loop, which sends every image through the whole network each epoch.

In both the last seven layers learn, all others are frozen and need no gradient, pixels are cropped
beforehand, and a step has up to 256 images. One thread; seconds are of processor time, so that
other work on the machine does not count. Images of ``glyphs_clean``, fewer for the larger network.

``python -m benchmarks fine_tuning`` runs this file alone; about two minutes.
"""

from __future__ import annotations

import copy
from time import process_time
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from analysis.data import ImageDataset, load_dataset
from analysis.networks import Backbone, FineTuning, fine_tune, load_backbone
from analysis.networks.preprocessing import cut_crops
from analysis.networks.training import free_parts, normalised, replace_class_layer
from benchmarks.extraction import row

Row = dict[str, Any]
#: network, weights, images, epochs of ours and of the usual loop, how many times as fast at least
CASES = (("minivgg16", "bundled", 1000, 11, 2, 5.0), ("squeezenet1_1", "random", 64, 11, 1, 3.0))
EPOCHS = 100  # of the paper
RATE = 0.001


def run() -> list[Row]:
    """Measure each network."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [line for case in CASES for line in measured(*case)]
    finally:
        torch.set_num_threads(threads)


def measured(
    network: str, weights: str, images: int, epochs: int, usual_epochs: int, at_least: float
) -> list[Row]:
    """Seconds of an epoch and of what is computed once, and how many times as fast."""
    data = load_dataset("glyphs_clean")
    data = data.subset(np.linspace(0, len(data) - 1, images).astype(int))
    net = load_backbone(network, weights=weights)
    tuned(net, data, 1)  # whatever the first use of a function costs
    once = tuned(net, data, 1)
    epoch = (tuned(net, data, epochs) - once) / (epochs - 1)
    usual = plain(net, data, usual_epochs)
    ratio = EPOCHS * usual / (once + (EPOCHS - 1) * epoch)
    name = f"{network}, fine-tuning of the last seven layers, {images} images"
    return [
        row(f"{name}: computed once, and the first epoch", once, "s"),
        row(f"{name}: an epoch", epoch, "s"),
        row(f"{name}: an epoch of the usual loop", usual, "s"),
        row(f"{name}: {EPOCHS} epochs, usual loop / ours", ratio, "×", at_least),
    ]


def tuned(net: Backbone, data: ImageDataset, epochs: int) -> float:
    """Seconds of our fine-tuning."""
    started = process_time()
    fine_tune(net, data, recipe=FineTuning(epochs, learning_rate=RATE), progress=False)
    return process_time() - started


def plain(net: Backbone, data: ImageDataset, epochs: int) -> float:
    """Seconds of an epoch of the usual loop."""
    crop = net.preprocessing.crop
    module = copy.deepcopy(net.module).to(memory_format=torch.channels_last)
    replace_class_layer(module, len(data.classes), crop=crop, seed=0)
    module.requires_grad_(False)
    parts = [module.get_submodule(path) for path in free_parts(module, 7, crop=crop)]
    for part in parts:
        part.train().requires_grad_(True)
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    optimiser = torch.optim.SGD(weights, RATE, momentum=0.9, weight_decay=1e-4)
    pixels = np.concatenate([cut_crops(image, "whole", net.preprocessing) for image in data])
    labels = torch.from_numpy(np.array(data.labels))
    started = process_time()
    for _ in range(epochs):
        for chosen in torch.randperm(len(data)).split(256):
            images = normalised(pixels[chosen.numpy()], net.preprocessing)
            loss = functional.cross_entropy(module(images), labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return (process_time() - started) / epochs
