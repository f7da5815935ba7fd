"""Memory: of every chapter of a folder's book, and of the beginning of a report.

JPEG files of 300 × 250 pixels are cut from the bundled photographs into 50 classes. SqueezeNet,
with random weights, looks at them. A peak is that of a process of its own, with everything in it:
Python, its packages, the network, the compiled kernels and the data.

``python -m benchmarks.memory --images 5000 --crops ten`` is the process that begins a report, by
itself; ``python -m benchmarks.memory --images 10000 --chapters`` prints the chapters' peaks.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from analysis.data import ImageDataset, load_dataset
from benchmarks.extraction import _memory, row

N_IMAGES, N_CLASSES = 5_000, 50
AT_MOST = 1.5  # GB
NETWORK = "squeezenet1_0"
CHAPTERS_AT_MOST = {1_000: 2.5, 10_000: 4.0}  # images: GB


def run() -> list[dict[str, Any]]:
    """Peak memory; about an hour on two cores."""
    if not Path("/proc/self/clear_refs").exists():
        return []
    rows = []
    for n_images, at_most in CHAPTERS_AT_MOST.items():
        for chapter, peak in measure_chapters(n_images).items():
            name = f"{NETWORK}, a folder of {n_images:,} images, chapter {chapter}: peak memory"
            rows.append(row(name, peak, "GB", at_most=at_most))
    command = [sys.executable, "-m", "benchmarks.memory"]
    told = json.loads(subprocess.check_output(command, text=True).splitlines()[-1])
    name = f"{NETWORK}, {N_IMAGES:,} images, centre crop, features and thresholds"
    return [
        *rows,
        row(f"{name}: peak memory of the process", told["peak"], "GB", at_most=AT_MOST),
        row("… beyond the imports", told["peak"] - told["imports"], "GB"),
        row("… of the thresholds, beyond the imports", told["late"] - told["imports"], "GB"),
    ]


def measure_chapters(n_images: int) -> dict[str, float]:
    """Peak of the kernel of every chapter that has a subject, in gigabytes, one after the other."""
    from analysis.book.build import study_parameters
    from analysis.book.execution import execution_key, run_notebook
    from analysis.book.sources import find_sources
    from analysis.chapters import Study
    from analysis.chapters.study import lacks

    before, sources = os.environ.get("LAYERBOOK_HOME"), find_sources()
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LAYERBOOK_HOME"] = f"{folder}/home"
        data = cut_photographs(Path(folder) / "images", n_images)
        parameters = study_parameters(
            sources.study("bundled"), datasets=data.name, networks=f"{NETWORK}@random"
        )
        parameters["crops"] = "center"
        study = Study(**parameters, progress=False)
        for notebook in sources.notebooks():
            if lacks(study, notebook.stem):
                continue
            key = execution_key(notebook, parameters, [])
            with _PeakOfChildren() as children:
                run_notebook(notebook, parameters, key=key, cache=Path(folder) / "cache")
            peaks[notebook.stem] = children.peak
            print(f"{children.peak:.2f} GB  {notebook.stem}", flush=True)
    if before is None:
        del os.environ["LAYERBOOK_HOME"]
    else:
        os.environ["LAYERBOOK_HOME"] = before
    return peaks


class _PeakOfChildren:
    """The largest resident set that a child of this process has had meanwhile, in gigabytes."""

    def __enter__(self) -> _PeakOfChildren:
        self.peak = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            for child in _children():
                with suppress(OSError):  # it has ended
                    text = Path(f"/proc/{child}/status").read_text("utf-8")
                    (found,) = (line for line in text.splitlines() if line.startswith("VmHWM:"))
                    self.peak = max(self.peak, int(found.split()[1]) / 1e6)


def _children() -> list[str]:
    """Numbers of the processes that the threads of this one have started."""
    found: list[str] = []
    for file in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended
            found += file.read_text("utf-8").split()
    return found


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
        net = load_backbone(NETWORK, weights="random", seed=0)
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
    parser.add_argument("--chapters", action="store_true")
    arguments = parser.parse_args()
    if arguments.chapters:
        measure_chapters(arguments.images)
        return
    print(json.dumps(measure(arguments.images, arguments.crops)))


if __name__ == "__main__":
    main()
