"""SURF features of Office-Caltech-10, as published with the dataset.

Conventions
-----------
Each image is a histogram of 800 visual words, clusters of SURF descriptors, as in Saenko, Kulis,
Fritz and Darrell, *Adapting visual category models to new domains*, ECCV 2010; Gong, Shi, Sha and
Grauman, CVPR 2012, added Caltech-256. One MATLAB file per domain holds the counts, ``fts`` (images,
800), and ``labels`` from 1 to 10. Label k is the k-th class in the order of the names: in all four
domains the classes have as many histograms as they have images. Which histogram is of which image
the files do not say.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis import paths
from analysis.data.cards import CARDS
from analysis.data.matlab import read_matlab

__all__ = ["surf_features"]

_FOLDER = "office_caltech10_surf"
_DATASET = "office_caltech10"
_WORDS, _CLASSES = 800, 10


def surf_features(
    domain: str, roots: tuple[Path, ...] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read the published SURF features of a domain of Office-Caltech-10.

    Parameters
    ----------
    domain : {"amazon", "caltech10", "dslr", "webcam"}
        Which domain.
    roots : tuple of Path, optional
        Folders in which ``office_caltech10_surf/DOMAIN.mat`` is looked for, in order;
        ``paths.data_roots()`` if not given.

    Returns
    -------
    counts : ndarray of float64, shape (images, 800)
        How often each visual word occurs in an image. Adaptation methods are usually given shares,
        ``counts / counts.sum(axis=1, keepdims=True)``.
    labels : ndarray of int64, shape (images,)
        Positions in ``load_dataset("office_caltech10/DOMAIN").classes``.

    Raises
    ------
    FileNotFoundError
        If the file is in none of the folders.
    ValueError
        For another domain, or a file that holds something else.
    """
    domains = [card.domain for card in CARDS.values() if card.folder == _DATASET]
    if domain not in domains:
        raise ValueError(f"expected one of the domains {', '.join(domains)}, got {domain!r}")
    places = [
        root / _FOLDER / f"{domain}.mat"
        for root in (paths.data_roots() if roots is None else roots)
    ]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise FileNotFoundError(
            f"the SURF features of {domain} are not on disk: expected "
            f"{' or '.join(map(str, places))}; they are published with Office-Caltech-10"
        )
    return _read(file)


def _read(file: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    fts, numbers = read_matlab(file, "fts", "labels")
    numbers = numbers.ravel()
    if not all(np.issubdtype(values.dtype, np.number) for values in (fts, numbers)):
        raise ValueError(f"expected numbers in {file}, got {fts.dtype} and {numbers.dtype}")
    counts = np.asarray(fts, np.float64)
    if counts.ndim != 2 or counts.shape[1] != _WORDS or numbers.size != len(counts):
        raise ValueError(
            f"expected fts (images, {_WORDS}) and a label for each image in {file}, got "
            f"{counts.shape} and {numbers.size} labels"
        )
    if not np.isin(numbers, np.arange(1, _CLASSES + 1)).all():
        raise ValueError(
            f"expected labels from 1 to {_CLASSES} in {file}, got {np.unique(numbers)}"
        )
    if not np.isfinite(counts).all() or counts.min(initial=0) < 0:
        raise ValueError(f"expected counts from 0 in {file}, got others")
    return counts, numbers.astype(np.int64) - 1
