"""Memory of the report's beginning: 5,000 photographs, SqueezeNet's features, noise thresholds.

JPEG files of 300 × 250 pixels are cut from the bundled photographs into 50 classes. Their features
are extracted into an empty store and then thresholded, by a process of its own, whose peak is that
of everything: Python, its packages, the network, the compiled kernels and the data.

``python -m benchmarks.report_memory --images 5000 --crops ten`` is that process by itself.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from analysis.data import ImageDataset, load_dataset
from benchmarks.extraction import _memory, row

N_IMAGES, N_CLASSES = 5_000, 50
AT_MOST = 1.5  # GB


def run() -> list[dict[str, Any]]:
    """Peak memory; about two minutes on two cores."""
    if not Path("/proc/self/clear_refs").exists():
        return []
    command = [sys.executable, "-m", "benchmarks.report_memory"]
    told = json.loads(subprocess.check_output(command, text=True).splitlines()[-1])
    name = f"squeezenet1_0, {N_IMAGES:,} images, centre crop, features and thresholds"
    return [
        row(f"{name}: peak memory of the process", told["peak"], "GB", at_most=AT_MOST),
        row("… beyond the imports", told["peak"] - told["imports"], "GB"),
        row("… of the thresholds, beyond the imports", told["late"] - told["imports"], "GB"),
    ]


def cut_photographs(folder: Path, n_images: int) -> ImageDataset:
    """Dataset of JPEG files, each another part of one of the bundled photographs."""
    sources = list(load_dataset("photographs"))
    rng = np.random.default_rng(0)
    for number in range(n_images):
        image = sources[number % len(sources)]
        width, height = min(300, image.width), min(250, image.height)
        left = int(rng.integers(image.width - width + 1))
        top = int(rng.integers(image.height - height + 1))
        home = folder / f"class {number % N_CLASSES:02d}"
        home.mkdir(parents=True, exist_ok=True)
        cut = image.crop((left, top, left + width, top + height))
        cut.save(home / f"{number:05d}.jpg", quality=90)
    return load_dataset(f"folder:{folder}")


def measure(n_images: int, crops: str) -> dict[str, float]:
    """Gigabytes: after the imports, at the peak of the thresholds, and at the peak of all."""
    from analysis.features import extract
    from analysis.networks import load_backbone
    from analysis.statistics import noise_thresholds

    imports = _memory("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        data = cut_photographs(Path(folder) / "images", n_images)
        net = load_backbone("squeezenet1_0", weights="random", seed=0)
        _reset_peak()
        begun = time.perf_counter()
        X = extract(data, net, crops=crops, store=Path(folder) / "store", progress=False)
        extracted, seconds = _memory("VmHWM"), time.perf_counter() - begun
        _reset_peak()
        begun = time.perf_counter()
        noise_thresholds(X, data.labels)
        late = _memory("VmHWM")
    return {
        "imports": imports,
        "extraction": extracted,
        "late": late,
        "peak": max(extracted, late),
        "seconds_of_extraction": seconds,
        "seconds_of_thresholds": time.perf_counter() - begun,
    }


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", "utf-8")


def main() -> None:
    """Measure this process, and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=N_IMAGES)
    parser.add_argument("--crops", default="center")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.images, arguments.crops)))


if __name__ == "__main__":
    main()
