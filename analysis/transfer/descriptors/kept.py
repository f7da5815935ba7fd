"""All descriptors of a dataset, kept on disk beside the features of networks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis import paths
from analysis.data import ImageDataset
from analysis.transfer.descriptors.gradients import gist, hog
from analysis.transfer.descriptors.reading import raw_pixels
from analysis.transfer.descriptors.words import Codebook, bag_of_words, learn_codebook, llc

__all__ = ["DESCRIPTORS", "describe_dataset"]

DESCRIPTORS = ("raw pixels", "HOG", "GIST", "bag of visual words", "LLC")
"""Names, from the plainest on."""


def describe_dataset(
    data: ImageDataset,
    words_from: ImageDataset,
    *,
    names: tuple[str, ...] = DESCRIPTORS,
    n_words: int = 1024,
    seed: int = 0,
    store: Path | str | None = None,
    progress: bool = False,
) -> dict[str, NDArray[np.float32]]:
    """Compute classical descriptors of images, or open them if they were computed before.

    Parameters
    ----------
    data : ImageDataset
        Images to describe.
    words_from : ImageDataset
        Images that visual words are learnt from. Take others than those of ``data``, so that no
        image that is classified has had a part in its own description.
    names : tuple of str
        Some of :data:`DESCRIPTORS`.
    n_words : int
        Visual words.
    seed : int
        Seed of the words.
    store : path, optional
        Folder to keep descriptors in; by default beside the features of networks.
    progress : bool
        Show progress bars.

    Returns
    -------
    dict of str to ndarray of float32, shape (images, any)
        In the order of ``names``; read-only views of files.

    Raises
    ------
    ValueError
        A name that is not known, or too few patches for so many words.
    BrokenImageError
        If an image cannot be read.

    Notes
    -----
    Found again by the fingerprint of the images, of those that words come from, by ``n_words``,
    ``seed``, and by the program text of this package of descriptors.
    """
    if unknown := sorted(set(names) - set(DESCRIPTORS)):
        raise ValueError(f"expected descriptors among {', '.join(DESCRIPTORS)}, got {unknown}")
    folder = Path(store) if store is not None else paths.store_root()

    @cache
    def codebook() -> Codebook:
        return learn_codebook(words_from, n_words, seed=seed, progress=progress)

    compute: Mapping[str, Callable[[], NDArray[np.float32]]] = {
        "raw pixels": lambda: raw_pixels(data, progress=progress),
        "HOG": lambda: hog(data, progress=progress),
        "GIST": lambda: gist(data, progress=progress),
        "bag of visual words": lambda: bag_of_words(data, codebook(), progress=progress),
        "LLC": lambda: llc(data, codebook(), progress=progress),
    }
    found = {}
    for name in names:
        meant = [name, data.fingerprint, _program()]
        if name in ("bag of visual words", "LLC"):
            meant += [words_from.fingerprint, str(n_words), str(seed)]
        key = hashlib.sha256("\n".join(meant).encode()).hexdigest()[:20]
        path = folder / f"descriptor-{name.replace(' ', '-').lower()}-{key}.npy"
        if not path.exists():
            values = compute[name]()
            with paths.written_whole(path) as partial, partial.open("wb") as file:
                np.save(file, values)
        found[name] = np.load(path, mmap_mode="r", allow_pickle=False)
    return found


def _program() -> str:
    """Hash of the modules of this package, so that a change of any of them is a change of key."""
    texts = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in texts)).hexdigest()
