"""The feature store: computed features on disk, found again by what they were computed from.

One Zarr group per extraction, named by its key. It holds one float32 array (image, unit) per layer,
``label`` and ``path`` of the images, and the provenance as attributes, so ``zarr.open_group`` or
``xarray.open_zarr`` read it anywhere.

Conventions
-----------
damage
    Is noticed when a group is read. Every chunk ends in its CRC-32C, and every chunk is there.
    ``metadata_sha256`` among a group's attributes has hashes of all other attributes (under ``.``)
    and of the metadata of each array. ``format`` tells how the group is written.
blocks
    A group is built inside ``<key>.zarr.partial``, in blocks of images that cover whole chunks, so
    that they can be written in any order, from several processes, and again. A block counts as done
    once a marker of its own stands beside the group; a finished group is moved to its final name,
    which only finished ones bear. What a killed process leaves is therefore either finished or
    continued at a block's edge.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array
import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr
from dask.base import tokenize
from filelock import FileLock, Timeout
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

if TYPE_CHECKING:
    from analysis.data import ImageDataset

#: Attributes of a group that tell which network made it, see :mod:`analysis.features.probe`.
PROBE = ("probe", "probe_scales")

_LOG = logging.getLogger(__name__)

#: Of what keys mean; FORMAT counts how groups are written.
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
        held = lock.acquire(timeout=0)
    except Timeout:
        _LOG.info("waiting for another process that computes the same features: %s", group.name)
        held = lock.acquire()
    with held:
        yield


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
    stored = {name: _opened(group, name) for name in ("label", "path", *attributes["layers"])}
    label, path = (_read(stored.pop(name), (slice(None),)) for name in ("label", "path"))
    if labels is not None and not np.array_equal(label, labels):
        raise damaged(group, "its labels are not the dataset's")
    lengths = [array.shape[1] for array in stored.values()]
    lazy: Any = dask.array  # its functions carry no types
    parts = [
        lazy.from_array(array, array.chunks, f"{name}-{tokenize(str(group), name)}", getitem=_read)
        for name, array in stored.items()
    ]
    return xr.DataArray(
        lazy.concatenate(parts, axis=1),
        dims=("image", "feature"),
        coords={
            "label": ("image", label.astype(np.int64)),
            "path": ("image", np.array(path.tolist())),
            "layer": ("feature", np.repeat(list(stored), lengths)),
            "unit": ("feature", np.concatenate([np.arange(length) for length in lengths])),
        },
        name="features",
        attrs={k: v for k, v in attributes.items() if k not in (*PROBE, "layers")},
    )


FORMAT = 1

_SEAL = "metadata_sha256"


class DamagedStoreError(OSError):
    """What the store holds is not what was written; the message says what to delete."""


def read_metadata(group: Path) -> dict[str, Any]:
    """Attributes of a group, all of whose metadata is checked, as :class:`Builder` was given them.

    Raises
    ------
    DamagedStoreError
        If metadata is missing or not what was written.
    ValueError
        If a newer Layerbook wrote the group.
    """
    with _damage_told(group, "its metadata cannot be read"):
        attributes: dict[str, Any] = dict(zarr.open_group(group, mode="r").attrs)
        names = ["label", "path", *attributes["layers"]]
    number = attributes.pop("format", None)
    sealed = attributes.pop(_SEAL, None)
    if isinstance(number, int) and number > FORMAT:
        raise ValueError(
            f"{group} is of format {number}; this Layerbook knows formats up to {FORMAT}. Update "
            "Layerbook, or use another store (store=, LAYERBOOK_HOME)"
        )
    for name, written in _metadata_hashes(group, attributes, names).items():
        if number != FORMAT or not isinstance(sealed, dict) or sealed.get(name) != written:
            what = "its metadata" if name == "." else f"the metadata of {name!r}"
            raise damaged(group, f"{what} is not what was written")
    return attributes


def _metadata_hashes(
    group: Path, attributes: Mapping[str, Any], arrays: Iterable[str]
) -> dict[str, str]:
    """SHA-256 (hex) of attributes, under ``.``, and of the metadata of arrays, by their names."""
    contents = {".": json.dumps({**attributes, "format": FORMAT}, sort_keys=True).encode()}
    for name in arrays:
        with _damage_told(group, f"the metadata of {name!r} cannot be read"):
            contents[name] = (group / name / "zarr.json").read_bytes()
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def _opened(group: Path, name: str) -> Any:
    with _damage_told(group, f"the metadata of {name!r} cannot be read"):
        return zarr.open_array(group / name, mode="r")


def _read(array: Any, box: tuple[slice, ...]) -> npt.NDArray[Any]:
    """Values of a box of an array that :func:`_opened` has opened.

    Raises
    ------
    DamagedStoreError
        If a chunk is missing, truncated, or not what was written.
    FileNotFoundError
        If there is no such group: it was moved, or this is a worker that does not see it.
    """
    folder = Path(array.store.root)
    group, name = folder.parent, folder.name
    if not group.is_dir():
        raise FileNotFoundError(
            f"expected the features in {group} on this machine; workers of a cluster read "
            "the store by the path that the caller has, so share that folder with them"
        )
    touched = []
    for cut, length, chunk in zip(box, array.shape, array.chunks, strict=True):
        start, stop, _ = cut.indices(length)
        touched.append(range(start // chunk, -(-stop // chunk)))
    for place in product(*touched):
        chunk_name = array.metadata.encode_chunk_key(place)
        if not (folder / chunk_name).is_file():  # Zarr would fill it
            raise damaged(group, f"{name!r} lacks its part {chunk_name}")
    with _damage_told(group, f"{name!r} cannot be read"):
        return np.asarray(array[box])


@contextmanager
def _damage_told(group: Path, what: str) -> Iterator[None]:
    """Tell damage, of which Zarr and its codecs raise nearly anything, from other trouble."""
    try:
        yield
    except (MemoryError, DamagedStoreError):
        raise
    except Exception as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
        if isinstance(error, OSError) and error.errno is not None and not missing:
            raise
        raise damaged(group, f"{what} ({error})" if str(error) else what) from error


def damaged(group: Path, what: str) -> DamagedStoreError:
    """Error for a group in which something is not what was written."""
    return DamagedStoreError(
        f"the features in {group} are damaged: {what}; delete this folder, and they are computed "
        "anew"
    )


BLOCK_IMAGES = 256
BLOCK_BYTES = 64 * 2**20
CHUNK_BYTES = 8 * 2**20


def block_rows(n_features: int, images_per_batch: int) -> int:
    """Images per block: whole batches, some hundred images, not too much memory."""
    wanted = min(BLOCK_IMAGES, BLOCK_BYTES // (4 * n_features))
    return max(1, wanted // images_per_batch) * images_per_batch


@dataclass(frozen=True)
class BlockWriter:
    """Writes blocks of an unfinished group, from any process that sees the same files.

    Parameters
    ----------
    folder
        Of the unfinished group and its markers.
    lengths
        Features of every layer, by name, in order.
    attributes
        Of the group: blocks of other provenance are not written.
    """

    folder: Path
    lengths: Mapping[str, int]
    attributes: Mapping[str, Any]

    @property
    def group(self) -> Path:
        """Folder of the unfinished group."""
        return self.folder / "group"

    def write(self, block: range, values: npt.NDArray[np.float32]) -> None:
        """Write a block, and mark it as done.

        Parameters
        ----------
        block
            Positions of its images.
        values : ndarray of float32, shape (images, features)
            The layers side by side.

        Raises
        ------
        OSError
            If the disk is full.
        """
        if self.changed():
            raise RuntimeError(f"another run has begun {self.folder} anew; run this again")
        try:
            first = 0
            for name, length in self.lengths.items():
                array: Any = zarr.open_array(self.group / name, mode="r+")
                array[block.start : block.stop] = values[:, first : first + length]
                first += length
            self._marker(block).touch()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise OSError(
                f"{os.strerror(error.errno)}: {self.folder.parent}. Images up to here are kept: "
                "make some room and run this again; it continues where it stopped"
            ) from error

    def is_done(self, block: range) -> bool:
        """Whether a block is wholly written."""
        return self._marker(block).is_file()

    def changed(self) -> list[str]:
        """Names of the attributes in which the group that is there differs."""
        try:
            found = read_metadata(self.group)
        except DamagedStoreError:
            return ["metadata"]
        both = {*found, *self.attributes}
        return sorted(name for name in both if found.get(name) != self.attributes.get(name))

    def _marker(self, block: range) -> Path:
        return self.folder / "done" / f"{block.start:010d}"


class Builder:
    """Builds one group, block by block; continues what an interrupted process has left.

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

    Attributes
    ----------
    writer : BlockWriter
        Writes the blocks.
    missing : list of range
        The blocks that were not done when the builder was made, in order.

    Raises
    ------
    OSError
        If the disk has no room for the features.
    ValueError
        If a newer Layerbook has begun the group.
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
        self.rows = rows
        self.n_images = len(data)
        self.writer = BlockWriter(
            group.with_name(group.name + ".partial"),
            lengths,
            {**attributes, "layers": list(lengths), "block_images": rows},
        )
        blocks = [range(at, min(at + rows, self.n_images)) for at in range(0, self.n_images, rows)]
        changed = self.writer.changed() if self.writer.folder.exists() else []
        if changed:
            _LOG.info("starting anew: an interrupted run differs in %s", ", ".join(changed))
        anew = bool(changed) or not self.writer.folder.exists()
        self.missing = [block for block in blocks if anew or not self.writer.is_done(block)]
        images = sum(map(len, self.missing))
        needed = 4 * sum(lengths.values()) * images
        free = shutil.disk_usage(group.parent).free
        if needed > free:
            raise OSError(
                f"the features need up to {needed / 1e9:.1f} GB, {group.parent} has "
                f"{free / 1e9:.1f} GB; free some, name fewer layers, or put the store elsewhere "
                "(store=, LAYERBOOK_HOME)"
            )
        if anew:
            self._create(data)
        else:
            self._clear_leftovers()
            _LOG.info("continuing after %d images: %s", self.n_images - images, group.name)

    def finish(self) -> None:
        """Give the group its final name.

        Raises
        ------
        RuntimeError
            If a block is not done.
        """
        undone = [block for block in self.missing if not self.writer.is_done(block)]
        if undone:
            raise RuntimeError(f"{len(undone)} blocks of {self._final.name} are not done")
        self._clear_leftovers()
        self.writer.group.replace(self._final)
        shutil.rmtree(self.writer.folder, ignore_errors=True)

    def _clear_leftovers(self) -> None:
        """Delete what Zarr had begun to write of a chunk when its process was killed."""
        for leftover in self.writer.group.rglob("*.partial"):
            leftover.unlink(missing_ok=True)

    def _create(self, data: ImageDataset) -> None:
        shutil.rmtree(self.writer.folder, ignore_errors=True)
        (self.writer.folder / "done").mkdir(parents=True)
        group = zarr.open_group(self.writer.group, mode="w")
        n = len(data)
        whole: Any = {
            "compressors": [ZstdCodec(), Crc32cCodec()],
            "config": {"write_empty_chunks": True},
            "dimension_names": ["image"],
        }
        label = group.create_array("label", data=data.labels, **whole)
        label.attrs["classes"] = list(data.classes)
        path = group.create_array("path", shape=(n,), chunks=(n,), dtype=str, **whole)
        path[:] = np.array(data.paths, dtype=object)
        columns = max(1, CHUNK_BYTES // (4 * self.rows))
        for name, length in self.writer.lengths.items():
            group.create_array(
                name,
                shape=(n, length),
                chunks=(min(self.rows, n), min(length, columns)),
                dtype="float32",
                fill_value=np.nan,  # zeros are written then, and what is lost is no number
                compressors=[BloscCodec(cname="lz4", clevel=1, shuffle="shuffle"), Crc32cCodec()],
                dimension_names=["image", f"{name} unit"],
            )
        names = ["label", "path", *self.writer.lengths]
        hashes = _metadata_hashes(self.writer.group, self.writer.attributes, names)
        group.update_attributes({**self.writer.attributes, "format": FORMAT, _SEAL: hashes})
