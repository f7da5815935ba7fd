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
from analysis.data.matlab import read_matlab

__all__ = ["surf_features"]

_FOLDER = "office_caltech10_surf"
_WORDS, _CLASSES = 800, 10
_SHA256 = {
    "amazon": "df32548b994e18d364c99e1f317e1fae100597259f0423a41b90f4f68187bb1f",
    "caltech10": "4f9334c8ced489d5054de97a5fd51a61f017f3bcd1f38c9a85c6d78cb9d7bda5",
    "dslr": "44d673c68e1d07b837893aa74dba3b986e4a6cc3fd66f0dd357683bdef059216",
    "webcam": "a6a9c78b4b7181dfbb58bcfd351d4ebd737f171c31247b8884948aa156d3f700",
}


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
    if domain not in _SHA256:
        raise ValueError(f"expected one of the domains {', '.join(_SHA256)}, got {domain!r}")
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
    fts, numbers = read_matlab(file, "fts", "labels", sha256=_SHA256[file.stem])
    counts, numbers = np.atleast_2d(fts), np.ravel(numbers)
    if not (
        all(np.issubdtype(values.dtype, np.number) for values in (counts, numbers))
        and counts.shape == (numbers.size, _WORDS)
        and np.isin(numbers, np.arange(1, _CLASSES + 1)).all()
        and np.isfinite(counts).all()
        and counts.min(initial=0) >= 0
    ):
        raise ValueError(
            f"expected counts from 0, fts (images, {_WORDS}), and a label from 1 to {_CLASSES} for "
            f"each image in {file}, got {counts.shape} and {numbers.size} labels such as "
            f"{np.unique(numbers)[:20]}"
        )
    return counts.astype(np.float64), numbers.astype(np.int64) - 1
