"""The feature store: computed features on disk, found again by what they were computed from.

One Zarr group per extraction, named by its key. It holds one float32 array (image, unit) per layer,
``label`` and ``path`` of the images, and the provenance as attributes, so ``zarr.open_group`` or
``xarray.open_zarr`` read it anywhere.

Groups are built by :mod:`analysis.features.building`; only finished ones bear their final name.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array
import numpy as np
import xarray as xr
from filelock import FileLock, Timeout

from analysis.features.integrity import StoredArray, damaged, read_metadata

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["PROBE", "finished", "key_of", "locked", "open_features"]

#: Attributes of a group that tell which network made it, see :mod:`analysis.features.probe`.
PROBE = ("probe", "probe_scales")

_LOG = logging.getLogger(__name__)

#: Of what keys mean. How groups are written is counted in :mod:`analysis.features.integrity`.
_KEY_FORMAT = 1


def key_of(identity: Mapping[str, Any]) -> str:
    """Hash (hex) of everything that determines which features are meant."""
    text = json.dumps({"format": _KEY_FORMAT, **identity}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def locked(group: Path) -> Iterator[None]:
    """Let one process at a time build a group; others wait. The lock dies with its process."""
    group.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(group.with_name(group.name + ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _LOG.info("waiting for another process that computes the same features: %s", group.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def finished(group: Path) -> bool:
    """Whether a group is complete: only complete ones bear their final name."""
    return group.is_dir()


def open_features(group: Path, labels: npt.ArrayLike | None = None) -> xr.DataArray:
    """Open a finished group lazily.

    Parameters
    ----------
    group
        Folder of the group.
    labels
        What the images' labels must be, where that is known.

    Returns
    -------
    DataArray of float32, dims (image, feature)
        Backed by Dask, one block per stored chunk. Coordinates ``label`` and ``path`` of images,
        ``layer`` and ``unit`` of features; the provenance in ``attrs``.

    Raises
    ------
    DamagedStoreError
        If the group is not what was written; of the features' values, when they are computed.
    ValueError
        If a newer Layerbook wrote the group.
    """
    attributes = read_metadata(group)
    for name in PROBE:
        attributes.pop(name, None)
    names = [str(name) for name in attributes.pop("layers")]
    arrays = [StoredArray.open(group, name) for name in names]
    lengths = [array.shape[1] for array in arrays]
    lazy: Any = dask.array  # its functions carry no types
    parts = [lazy.from_array(array, chunks=array.chunks) for array in arrays]
    return xr.DataArray(
        lazy.concatenate(parts, axis=1),
        dims=("image", "feature"),
        coords={
            "label": ("image", _labels(group, labels)),
            "path": ("image", np.array(StoredArray.open(group, "path")[:].tolist())),
            "layer": ("feature", np.repeat(names, lengths)),
            "unit": ("feature", np.concatenate([np.arange(length) for length in lengths])),
        },
        name="features",
        attrs=attributes,
    )


def _labels(group: Path, expected: npt.ArrayLike | None) -> npt.NDArray[np.int64]:
    labels = np.asarray(StoredArray.open(group, "label")[:], dtype=np.int64)
    if expected is not None and not np.array_equal(labels, expected):
        raise damaged(group, "its labels are not the dataset's")
    return labels
