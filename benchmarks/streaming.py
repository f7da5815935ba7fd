"""All distances of one dataset, streamed from the store: 9,000 images of VGG16 in 102 classes.

The size of Caltech-101 seen by VGG16. A store is written as an extraction writes it, of features
that are like a rectifier's: convolutional layers are spatial means without ties, fully connected
ones are zero for 70 % of the images. The unit is the time that ``numpy.argsort`` takes for the same
blocks, already in memory and laid out feature by feature; ``signed_ks`` has to read, decompress and
turn them first. Rounds alternate, so that a busy spell of the machine meets both.

``python -m benchmarks.streaming`` prints the rows; ``--memory STORE`` is the child process whose
memory is measured.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

from analysis.data import ImageDataset
from analysis.data.images import ImageArrays
from analysis.features.store import Builder, block_rows, open_features
from analysis.statistics import signed_ks
from analysis.statistics.blocks import blocks_of, conform
from benchmarks.extraction import _memory

N_IMAGES, N_CLASSES = 9_000, 102
ROUNDS = 3
LAYERS = {
    **{f"conv{stage}_{i}": units for stage, units, n in (
        (1, 64, 2), (2, 128, 2), (3, 256, 3), (4, 512, 3), (5, 512, 3)
    ) for i in range(1, n + 1)},
    "fc6": 4096,
    "fc7": 4096,
}  # fmt: skip


def write_store(folder: Path) -> Path:
    """A finished group of random features."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(N_IMAGES) % N_CLASSES)
    data = ImageDataset(
        name="random",
        classes=tuple(map(str, range(N_CLASSES))),
        labels=labels,
        paths=tuple(map(str, range(N_IMAGES))),
        source=ImageArrays(np.zeros((N_IMAGES, 1, 1, 3), np.uint8)),
    )
    n_features = sum(LAYERS.values())
    n_dense = n_features - LAYERS["fc6"] - LAYERS["fc7"]
    group = folder / "random.zarr"
    builder = Builder(group, data, LAYERS, {}, block_rows(n_features, 10))
    for block in builder.missing:
        values = rng.gamma(2.0, size=(len(block), n_features)).astype(np.float32)
        silent = rng.random((len(block), n_features - n_dense)) < 0.7
        values[:, n_dense:][silent] = 0
        builder.writer.write(block, values)
    builder.finish()
    return group


def distances(group: Path, threads: int | None) -> None:
    X = open_features(group)
    signed_ks(X, X["label"].to_numpy(), threads=threads)


def seconds_of_argsort(group: Path) -> float:
    """Sorting alone; reading and turning are not counted."""
    spent = 0.0
    for _, block in blocks_of(conform(open_features(group))):
        by_feature = np.ascontiguousarray(block.T)
        start = perf_counter()
        np.argsort(by_feature, axis=1)
        spent += perf_counter() - start
    return spent


def largest_block(group: Path) -> float:
    return max(block.nbytes for _, block in blocks_of(conform(open_features(group)))) / 1e9


def memory_beyond_a_block(group: Path) -> float:
    """Gigabytes that the distances take on top of the largest block, in this process."""
    block = largest_block(group)
    small = np.zeros((100, 64), np.float32)
    signed_ks(small, np.arange(100) % 2)  # loads what is compiled
    Path("/proc/self/clear_refs").write_text("5", "utf-8")  # resets the peak
    before = _memory("VmRSS")
    distances(group, None)
    return _memory("VmHWM") - before - block


def row(name: str, value: float, unit: str, at_most: float | None = None) -> dict:
    """A result, with the most it may be."""
    met = None if at_most is None else bool(value <= at_most)
    return {"name": name, "value": value, "unit": unit, "target": at_most, "passed": met}


def run() -> list[dict]:
    """Seconds, ratios and memory."""
    with tempfile.TemporaryDirectory() as folder:
        group = write_store(Path(folder))
        distances(group, 1)  # compiles, and brings the store into the system's memory
        spent = {"argsort": [], "one": [], "all": []}
        for _ in range(ROUNDS):
            spent["argsort"].append(seconds_of_argsort(group))
            for name, threads in (("one", 1), ("all", None)):
                start = perf_counter()
                distances(group, threads)
                spent[name].append(perf_counter() - start)
        argsort, one, every = (np.array(spent[name]) for name in ("argsort", "one", "all"))
        child = [sys.executable, "-m", "benchmarks.streaming", "--memory", str(group)]
        memory = float(subprocess.check_output(child, text=True).split()[-1])
    size = f"{N_IMAGES:,} × {sum(LAYERS.values()):,}, {N_CLASSES} classes, from the store"
    return [
        row(f"argsort of the blocks of {size}", float(np.median(argsort)), "s"),
        row(f"signed_ks of {size}", float(np.median(every)), "s"),
        row("… one thread, reading included", float(np.median(one / argsort)), "argsorts", 1.5),
        row("… all threads, reading included", float(np.median(every / argsort)), "argsorts"),
        row("… peak memory beyond the largest block", memory, "GB", 1.0),
    ]


def main() -> None:
    """Print the rows, or one process's memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", type=Path, help="measure the memory over this store")
    store = parser.parse_args().memory
    if store:
        print(memory_beyond_a_block(store))
        return
    for line in run():
        print(line)


if __name__ == "__main__":
    main()
