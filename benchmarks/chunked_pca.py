"""Principal components of maps that do not fit into memory: 3,000 images × 774,400 values.

That is what the first residual blocks of a ResNet-50 give at 55 × 55 places. Fifty factors of
falling size and noise, float32, lie on disk in the chunks that the feature store would cut. The
components are found, and scores of 300 other images taken, by a process of its own, whose peak is
that of everything: Python, its packages and the data it holds. One thread.

``python -m benchmarks chunked_pca`` runs this file alone: about five minutes on an idle machine,
and 10 GB of disk, which are given back.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import zarr
from threadpoolctl import threadpool_limits

from benchmarks.extraction import _memory, row

IMAGES, OTHERS, VALUES = 3_000, 300, 774_400
FACTORS, COMPONENTS = 50, 256
CHUNK = (20, 104_857)
AT_MOST = 3.0  # GB


def write(folder: Path) -> None:
    """Images of both kinds, some rows at a time, in single precision throughout."""
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((FACTORS, VALUES), dtype=np.float32)
    factors *= np.arange(1, FACTORS + 1, dtype=np.float32)[:, None] ** -0.5
    for name, n in (("images", IMAGES), ("others", OTHERS)):
        stored = zarr.create_array(
            folder / name, shape=(n, VALUES), chunks=CHUNK, dtype="float32", compressors=None
        )
        for begin in range(0, n, CHUNK[0]):
            weights = rng.standard_normal((CHUNK[0], FACTORS), dtype=np.float32)
            noise = rng.standard_normal((CHUNK[0], VALUES), dtype=np.float32)
            stored[begin : begin + CHUNK[0]] = weights @ factors + noise


def measure(folder: Path) -> dict[str, float]:
    """Seconds by the clock, and gigabytes."""
    from analysis.transfer.pca import ChunkedPCA

    with threadpool_limits(1):
        images, others = (zarr.open_array(folder / name, mode="r") for name in ("images", "others"))
        begun = perf_counter()
        found = ChunkedPCA(COMPONENTS).fit(images)
        fitted = perf_counter()
        found.transform(others)
        return {
            "fit": fitted - begun,
            "transform": perf_counter() - fitted,
            "share": float(found.explained_variance_ratio_[:FACTORS].sum()),
            "peak": _memory("VmHWM"),
        }


def run() -> list[dict[str, Any]]:
    """Times and peak memory."""
    if not Path("/proc/self/status").exists():
        return []
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        command = [sys.executable, "-m", "benchmarks.chunked_pca", "--folder", folder]
        told = json.loads(subprocess.check_output(command, text=True).splitlines()[-1])
    name = f"PCA by blocks, {IMAGES:,} images × {VALUES:,} values, {COMPONENTS} components"
    return [
        row(f"{name}: peak memory of the process", told["peak"], "GB", at_most=AT_MOST),
        row("… time to fit", told["fit"], "s"),
        row(f"… time for scores of {OTHERS} other images", told["transform"], "s"),
        row(f"… share of the variance in the {FACTORS} factors", told["share"], ""),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path)
    folder = parser.parse_args().folder
    print(json.dumps(run() if folder is None else measure(folder)))
