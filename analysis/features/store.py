"""The feature store: computed features on disk, found again by what they were computed from.

One Zarr group per extraction, named by its key. It holds one float32 array (image, unit) per layer,
``label`` and ``path`` of the images, and the provenance as attributes, so ``zarr.open_group`` or
``xarray.open_zarr`` read it anywhere.

A group is built under the name ``<key>.zarr.partial``. Blocks of images count as done only once
they are wholly written; a finished group is renamed. What a killed process leaves is therefore
either finished or continued at a block's edge.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array
import numpy as np
import xarray as xr
import zarr
from filelock import FileLock, Timeout
from zarr.codecs import BloscCodec

if TYPE_CHECKING:
    import numpy.typing as npt

    from analysis.data import ImageDataset

__all__ = ["Builder", "block_rows", "finished", "key_of", "locked", "open_features"]

_LOG = logging.getLogger(__name__)

FORMAT = 1
BLOCK_IMAGES = 256
BLOCK_BYTES = 64 * 2**20
CHUNK_BYTES = 8 * 2**20

_PROGRESS = "progress.json"


def key_of(identity: Mapping[str, Any]) -> str:
    """Hash (hex) of everything that determines which features are meant."""
    text = json.dumps({"format": FORMAT, **identity}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def block_rows(n_features: int, images_per_batch: int) -> int:
    """Images per block: whole batches, some hundred images, not too much memory."""
    wanted = min(BLOCK_IMAGES, BLOCK_BYTES // (4 * n_features))
    return max(1, wanted // images_per_batch) * images_per_batch


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


class Builder:
    """Writes one group, block by block; continues what an interrupted process has left.

    Hold the lock (:func:`locked`) while using it.

    Parameters
    ----------
    group
        The group's final path.
    data
        Labels and paths of the images.
    lengths
        Features of every layer, by name, in order.
    attributes
        Provenance, JSON-able. An unfinished group with another provenance is not continued.
    rows
        Images per block.

    Raises
    ------
    OSError
        If the disk has no room for the features.
    """

    def __init__(
        self,
        group: Path,
        data: ImageDataset,
        lengths: Mapping[str, int],
        attributes: Mapping[str, Any],
        rows: int,
    ) -> None:
        self._final = group
        self._partial = group.with_name(group.name + ".partial")
        self._lengths = dict(lengths)
        self.rows = rows
        description = {**attributes, "layers": list(lengths), "block_images": rows}
        self.images_done = self._images_done(description)
        self.bytes_left = 4 * sum(lengths.values()) * (len(data) - self.images_done)
        _require_space(group.parent, self.bytes_left)
        if self.images_done == 0:
            self._create(data, description)
        self._group = zarr.open_group(self._partial, mode="r+")

    def write(self, values: npt.NDArray[np.float32]) -> None:
        """Write the next block.

        Parameters
        ----------
        values : ndarray of float32, shape (images, features)
            ``rows`` images, or what is left of them; the layers side by side.
        """
        start, stop = self.images_done, self.images_done + len(values)
        at = 0
        for name, length in self._lengths.items():
            _array(self._group, name)[start:stop] = values[:, at : at + length]
            at += length
        _write_whole(self._partial / _PROGRESS, json.dumps({"images": stop}))
        self.images_done = stop

    def finish(self) -> None:
        """Give the group its final name."""
        self._partial.replace(self._final)
        (self._final / _PROGRESS).unlink(missing_ok=True)

    def _images_done(self, description: Mapping[str, Any]) -> int:
        """Images that an interrupted process has written, under the same provenance."""
        try:
            done = int(json.loads((self._partial / _PROGRESS).read_text("utf-8"))["images"])
            before = zarr.open_group(self._partial, mode="r").attrs.asdict()
        except (OSError, ValueError, KeyError):
            return 0
        changed = sorted(k for k in {*before, *description} if before.get(k) != description.get(k))
        if changed:
            _LOG.info("starting anew: an interrupted run differs in %s", ", ".join(changed))
            return 0
        for leftover in self._partial.rglob("*.partial"):  # of a chunk, when Zarr was killed
            leftover.unlink()
        _LOG.info("continuing after %d images: %s", done, self._final.name)
        return done

    def _create(self, data: ImageDataset, description: Mapping[str, Any]) -> None:
        if self._partial.exists():
            shutil.rmtree(self._partial)
        group = zarr.open_group(self._partial, mode="w", attributes=dict(description))
        images = len(data)
        label = group.create_array("label", data=data.labels, dimension_names=["image"])
        label.attrs["classes"] = list(data.classes)
        path = group.create_array(
            "path", shape=(images,), chunks=(images,), dtype=str, dimension_names=["image"]
        )
        path[:] = np.array(data.paths, dtype=object)
        for name, length in self._lengths.items():
            columns = max(1, CHUNK_BYTES // (4 * self.rows))
            group.create_array(
                name,
                shape=(images, length),
                chunks=(min(self.rows, images), min(length, columns)),
                dtype="float32",
                compressors=BloscCodec(cname="lz4", clevel=1, shuffle="shuffle"),
                dimension_names=["image", f"{name} unit"],
            )


def open_features(group: Path) -> xr.DataArray:
    """Open a finished group lazily.

    Returns
    -------
    DataArray of float32, dims (image, feature)
        Backed by Dask, one block per stored chunk. Coordinates ``label`` and ``path`` of images,
        ``layer`` and ``unit`` of features; the provenance in ``attrs``.
    """
    stored = zarr.open_group(group, mode="r")
    attributes: dict[str, Any] = stored.attrs.asdict()
    names = [str(name) for name in attributes.pop("layers")]
    arrays = [_array(stored, name) for name in names]
    lengths = [array.shape[1] for array in arrays]
    lazy: Any = dask.array  # its functions carry no types
    values = lazy.concatenate([lazy.from_zarr(array) for array in arrays], axis=1)
    return xr.DataArray(
        values,
        dims=("image", "feature"),
        coords={
            "label": ("image", _array(stored, "label")[:]),
            "path": ("image", np.array(_array(stored, "path")[:].tolist())),
            "layer": ("feature", np.repeat(names, lengths)),
            "unit": ("feature", np.concatenate([np.arange(length) for length in lengths])),
        },
        name="features",
        attrs=attributes,
    )


def _array(group: zarr.Group, name: str) -> Any:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise ValueError(f"expected an array {name!r} in {group.store_path}")
    return array


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"the features need up to {needed / 1e9:.1f} GB, {folder} has {free / 1e9:.1f} GB; "
            "free some, name fewer layers, or put the store elsewhere (store=, LAYERBOOK_HOME)"
        )


def _write_whole(path: Path, text: str) -> None:
    """Replace a small file in one step: readers see the old text or the new."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text, "utf-8")
    temporary.replace(path)
