"""The extraction stream against the fastest that the machine allows, and against torchvision's.

Everything is measured in one process, in turns, and compared round by round: the ratios hold on
a busy machine too. JPEG decoding, cropping, pooling and storing are part of every rate.

floor
    A bare forward loop (channels-last, both cores, the better of two batch sizes) over crops that
    are in memory already, plus a bare decode-and-crop loop over the same files.
extractor
    ``torchvision.models.feature_extraction.create_feature_extractor`` on the same layers in its
    default layout at batch 32, after torchvision's transforms; spatial means of what it returns.

``python -m benchmarks.extraction --out FILE.json`` runs this file alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn
from torchvision import transforms
from torchvision.models.feature_extraction import create_feature_extractor

from analysis.data import ImageDataset, load_dataset
from analysis.features import extract
from analysis.networks import Backbone, load_backbone
from analysis.networks.preprocessing import cut_crops
from analysis.paths import data_roots

Row = dict[str, Any]
BATCH = 32
#: network, crops, images, rounds, aim over the extractor
CASES = (
    ("squeezenet1_1", "center", 256, 5, 1.5),
    ("squeezenet1_1", "ten", 48, 3, 1.5),
    ("vgg16", "center", 64, 3, 1.15),
    ("vgg16", "ten", 8, 3, 1.15),
)
MEMORY_IMAGES = (100, 1000)


def run() -> list[Row]:
    """All rows; about ten minutes on two cores."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        data = photographs_on_disk(Path(folder))
        for case in CASES:
            rows += compare(data, *case, folder=Path(folder))
        rows += memory_rows(Path(folder))
    return rows


def photographs_on_disk(folder: Path, wanted: int = max(MEMORY_IMAGES)) -> ImageDataset:
    """Caltech-101 where it is at hand, else JPEG files cut from the bundled photographs."""
    if any((root / "caltech101").is_dir() for root in data_roots()):
        data = load_dataset("caltech101")
        return data.subset(np.linspace(0, len(data) - 1, wanted).astype(int))
    sources = list(load_dataset("photographs"))
    rng = np.random.default_rng(0)
    (folder / "jpeg" / "cut").mkdir(parents=True, exist_ok=True)
    for number in range(wanted):
        image = sources[number % len(sources)]
        width, height = min(300, image.width), min(250, image.height)
        left = int(rng.integers(image.width - width + 1))
        top = int(rng.integers(image.height - height + 1))
        cut = image.crop((left, top, left + width, top + height))
        cut.save(folder / "jpeg" / "cut" / f"{number:04d}.jpg", quality=90)
    return load_dataset(f"folder:{folder / 'jpeg'}")


def compare(
    data: ImageDataset,
    network: str,
    crops: str,
    images: int,
    rounds: int,
    aim: float,
    *,
    folder: Path,
) -> list[Row]:
    """Rates and ratios of one network with one way of cropping."""
    data = data.subset(np.linspace(0, len(data) - 1, images).astype(int))
    net = load_backbone(network, weights="random", seed=0)
    floor, extractor = Floor(data, net, crops), Extractor(data, net, crops)
    jobs = {
        "float32": lambda: stored(data, net, crops, "float32"),
        "forward": floor.forward,
        "decode": floor.decode,
        "extractor": extractor.run,
    }
    if has_bfloat16():
        jobs["bfloat16"] = lambda: stored(data, net, crops, "bfloat16")
    times: dict[str, list[float]] = {name: [] for name in jobs}
    results = {}
    for _ in range(rounds):
        for name, job in jobs.items():
            start = time.perf_counter()
            results[name] = job()
            times[name].append(time.perf_counter() - start)
    assert_same(results["float32"], results["extractor"])

    def ratio(slow: list[float], fast: list[float]) -> float:
        return median(s / f for s, f in zip(slow, fast, strict=True))

    floors = [f + d for f, d in zip(times["forward"], times["decode"], strict=True)]
    label = f"{network}, {crops} crops" if crops == "ten" else f"{network}, centre crop"
    ours = times["float32"]
    rows = [
        row(f"{label}: rate", images / median(ours), "images/s"),
        row(f"{label}: rate over the floor's", ratio(floors, ours), "x", at_least=0.9),
        row(f"{label}: rate over the extractor's", ratio(times["extractor"], ours), "x", aim),
    ]
    if "bfloat16" in jobs:
        half = ratio(times["extractor"], times["bfloat16"])
        mean, largest = relative_error(results["bfloat16"], results["float32"])
        rows += [
            row(f"{label}: bfloat16 rate over the extractor's float32", half, "x", 1.8),
            row(f"{label}: bfloat16 error, mean over features", mean, "of a feature's mean"),
            row(f"{label}: bfloat16 error, largest feature", largest, "of a feature's mean"),
        ]
    return rows


class Floor:
    """The two bare loops."""

    def __init__(self, data: ImageDataset, net: Backbone, crops: str) -> None:
        self.data, self.net, self.crops = data, net, crops
        self.module = channels_last_copy(net.module)
        number = min(len(data) * (10 if crops == "ten" else 1), 64)
        self.batches = {size: self._inputs(size, number) for size in (8, 16)}
        self.repeats = len(data) * (10 if crops == "ten" else 1) / number
        seconds = {size: self._seconds(inputs) for size, inputs in self.batches.items()}
        self.inputs = self.batches[min(seconds, key=seconds.__getitem__)]

    def forward(self) -> None:
        """Run the whole network over as many crops as the dataset gives."""
        total = int(len(self.inputs) * self.repeats)
        with torch.inference_mode():
            for number in range(total):
                self.module(self.inputs[number % len(self.inputs)])

    def decode(self) -> None:
        """Read, decode and crop every file."""
        for image in self.data:
            cut_crops(image, self.crops, self.net.preprocessing)

    def _inputs(self, size: int, number: int) -> list[torch.Tensor]:
        side = self.net.preprocessing.crop
        generator = torch.Generator().manual_seed(0)
        return [
            torch.randn(size, 3, side, side, generator=generator).contiguous(
                memory_format=torch.channels_last
            )
            for _ in range(number // size)
        ]

    def _seconds(self, inputs: list[torch.Tensor]) -> float:
        with torch.inference_mode():
            self.module(inputs[0])
            start = time.perf_counter()
            for _ in range(max(1, 16 // len(inputs[0]))):
                self.module(inputs[0])
        return time.perf_counter() - start


class Extractor:
    """torchvision's feature extractor, doing the same job."""

    def __init__(self, data: ImageDataset, net: Backbone, crops: str) -> None:
        self.data = data
        self.nodes = [tap.module for layer in net.layers for tap in layer.post]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that training and evaluation nodes differ
            self.module = create_feature_extractor(net.module, self.nodes).eval()
        p = net.preprocessing
        cut = transforms.TenCrop(p.crop) if crops == "ten" else transforms.CenterCrop(p.crop)
        self.cut = transforms.Compose([transforms.Resize(p.resize), cut])
        self.tensor = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize(p.mean, p.std)]
        )

    def run(self) -> np.ndarray:
        """Features, float32, shape (images, features)."""
        means, batch = [], []
        for crop in self._crops():
            batch.append(crop)
            if len(batch) == BATCH:
                means.append(self._means(batch))
                batch = []
        if batch:
            means.append(self._means(batch))
        values = torch.cat(means)
        return values.view(len(self.data), -1, values.shape[1]).mean(1).numpy()

    def _crops(self) -> Iterator[torch.Tensor]:
        for image in self.data:
            cut = self.cut(image)
            yield from map(self.tensor, cut if isinstance(cut, tuple) else (cut,))

    def _means(self, batch: list[torch.Tensor]) -> torch.Tensor:
        with torch.inference_mode():
            values = self.module(torch.stack(batch))
            means = [values[node] for node in self.nodes]
            return torch.cat([v.mean((2, 3)) if v.ndim == 4 else v for v in means], dim=1)


def stored(data: ImageDataset, net: Backbone, crops: str, dtype: str) -> np.ndarray:
    """Extract into an empty store; the values."""
    with tempfile.TemporaryDirectory() as store:
        features = extract(data, net, crops=crops, dtype=dtype, store=store, progress=False)
        return features.values


def channels_last_copy(module: nn.Module) -> nn.Module:
    """The module in the layout that is fastest on CPUs."""
    from copy import deepcopy

    return deepcopy(module).to(memory_format=torch.channels_last)


def has_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16 products."""
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and "bf16" in flags.read_text("utf-8")


def assert_same(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Refuse to compare rates of jobs that do not give the same features."""
    scale = np.abs(theirs).mean(0).max()
    worst = np.abs(ours - theirs).max()
    if ours.shape != theirs.shape or worst > 1e-4 * scale:
        raise ValueError(f"features differ by {worst:.2g}, their scale is {scale:.2g}")


def relative_error(values: np.ndarray, exact: np.ndarray) -> tuple[float, float]:
    """Mean absolute error of each feature over its mean: mean and largest over live features."""
    size = np.abs(exact).mean(0)
    live = size > 1e-3 * size.mean()
    errors = np.abs(values - exact).mean(0)[live] / size[live]
    return float(errors.mean()), float(errors.max())


def memory_rows(folder: Path) -> list[Row]:
    """Peak memory over the loaded network, in a process of its own for each number of images."""
    if not Path("/proc/self/clear_refs").exists():
        return []
    rows = []
    for images in MEMORY_IMAGES:
        command = [sys.executable, "-m", "benchmarks.extraction", "--memory", str(images)]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        name = f"vgg16, centre crop, {images} images: peak memory over the network"
        rows.append(row(name, float(text.split()[-1]), "GB", at_most=1.0))
    return rows


def peak_over_network(images: int) -> float:
    """Gigabytes that an extraction takes on top of a loaded VGG16."""
    with tempfile.TemporaryDirectory() as folder:
        data = photographs_on_disk(Path(folder), images)
        net = load_backbone("vgg16", weights="random", seed=0)
        Path("/proc/self/clear_refs").write_text("5", "utf-8")  # resets the peak
        before = _memory("VmRSS")
        extract(data, net, crops="center", store=folder, progress=False)
        return _memory("VmHWM") - before


def _memory(name: str) -> float:
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / 1e9


def row(
    name: str,
    value: float,
    unit: str,
    at_least: float | None = None,
    *,
    at_most: float | None = None,
) -> Row:
    """One measurement in the form that all benchmarks share."""
    target = at_least if at_most is None else at_most
    passed = None
    if target is not None:
        passed = value >= target if at_most is None else value <= target
    return {"name": name, "value": value, "unit": unit, "target": target, "passed": passed}


def main() -> None:
    """Run all, or measure memory for the parent process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="write the rows to this JSON file")
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        print(peak_over_network(arguments.memory))
        return
    rows = run()
    for line in rows:
        print(line)
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
