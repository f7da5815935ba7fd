"""Images that are the same byte by byte."""

from __future__ import annotations

import numpy as np
from PIL import Image

from analysis.data import load_dataset
from analysis.data.images import identical_images


def test_copies_are_grouped_within_and_across_classes(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a/1", "a/2", "b/1", "b/2"):
        file = tmp_path / f"{name}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(file)
    for copy in ("a/0", "b/9", "b/8"):
        (tmp_path / f"{copy}.png").write_bytes((tmp_path / "a/2.png").read_bytes())
    data = load_dataset(f"folder:{tmp_path}")
    (group,) = identical_images(data)
    assert [data.paths[at] for at in group] == ["a/0.png", "a/2.png", "b/8.png", "b/9.png"]


def test_arrays_are_compared_by_their_values():
    data = load_dataset("digits").subset([3, 8, 3])
    (group,) = identical_images(data)
    assert group.tolist() == [0, 2]
