"""Building a group of the feature store in blocks of images.

A group is built inside ``<key>.zarr.partial``. Its blocks cover whole chunks, so that they can be
written in any order, from several processes, and again. A block counts as done once a marker of
its own stands beside the group; a finished group is moved to its final name. What a killed process
leaves is therefore either finished or continued at a block's edge.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from analysis.features.integrity import DamagedStoreError, read_metadata, seal

if TYPE_CHECKING:
    import numpy.typing as npt

    from analysis.data import ImageDataset

__all__ = ["BlockWriter", "Builder", "block_rows"]

_LOG = logging.getLogger(__name__)

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
        Name and number of features of every layer, in order.
    attributes
        Of the group: blocks of other provenance are not written.
    """

    folder: Path
    lengths: tuple[tuple[str, int], ...]
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
            raise RuntimeError(f"another run has begun {self.folder} anew; say the same again")
        group = zarr.open_group(self.group, mode="r+")
        try:
            at = 0
            for name, length in self.lengths:
                _array(group, name)[block.start : block.stop] = values[:, at : at + length]
                at += length
            self._marker(block).touch()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise OSError(
                f"{os.strerror(error.errno)}: {self.folder.parent}. Images up to here are kept: "
                "make some room and say the same again, it goes on where it stopped"
            ) from error

    def is_done(self, block: range) -> bool:
        """Whether a block is wholly written."""
        return self._marker(block).is_file()

    def changed(self) -> list[str]:
        """Names of the attributes in which the group that is there differs."""
        found = self._found()
        if not found:
            return ["metadata"]
        both = {*found, *self.attributes}
        return sorted(name for name in both if found.get(name) != self.attributes.get(name))

    def _found(self) -> dict[str, Any]:
        try:
            return read_metadata(self.group)
        except DamagedStoreError:
            return {}

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
            tuple(lengths.items()),
            {**attributes, "layers": list(lengths), "block_images": rows},
        )
        blocks = [range(at, min(at + rows, self.n_images)) for at in range(0, self.n_images, rows)]
        anew = not self._continues()
        self.missing = [block for block in blocks if anew or not self.writer.is_done(block)]
        images = sum(map(len, self.missing))
        self.bytes_left = 4 * sum(lengths.values()) * images
        _require_space(group.parent, self.bytes_left)
        if anew:
            self._create(data)
        elif images < self.n_images:
            _LOG.info("continuing after %d images: %s", self.n_images - images, group.name)

    def finish(self) -> None:
        """Give the group its final name.

        Raises
        ------
        RuntimeError
            If a block is not done.
        """
        left = [block for block in self.missing if not self.writer.is_done(block)]
        if left:
            raise RuntimeError(f"{len(left)} blocks of {self._final.name} are not done")
        self._clear_leftovers()
        self.writer.group.replace(self._final)
        shutil.rmtree(self.writer.folder, ignore_errors=True)

    def _continues(self) -> bool:
        """Whether an interrupted process has left a group of the same provenance."""
        if not self.writer.folder.exists():
            return False
        changed = self.writer.changed()
        if changed:
            _LOG.info("starting anew: an interrupted run differs in %s", ", ".join(changed))
            return False
        self._clear_leftovers()
        return True

    def _clear_leftovers(self) -> None:
        """Delete what Zarr had begun to write of a chunk when its process was killed."""
        for leftover in self.writer.group.rglob("*.partial"):
            leftover.unlink(missing_ok=True)

    def _create(self, data: ImageDataset) -> None:
        if self.writer.folder.exists():
            shutil.rmtree(self.writer.folder)
        (self.writer.folder / "done").mkdir(parents=True)
        group = zarr.open_group(self.writer.group, mode="w")
        checked: dict[str, Any] = {"compressors": [ZstdCodec(), Crc32cCodec()]}
        whole: Any = {"write_empty_chunks": True}
        label = group.create_array(
            "label", data=data.labels, dimension_names=["image"], config=whole, **checked
        )
        label.attrs["classes"] = list(data.classes)
        path = group.create_array(
            "path",
            shape=(len(data),),
            chunks=(len(data),),
            dtype=str,
            dimension_names=["image"],
            config=whole,
            **checked,
        )
        path[:] = np.array(data.paths, dtype=object)
        for name, length in self.writer.lengths:
            columns = max(1, CHUNK_BYTES // (4 * self.rows))
            group.create_array(
                name,
                shape=(len(data), length),
                chunks=(min(self.rows, len(data)), min(length, columns)),
                dtype="float32",
                fill_value=np.nan,  # zeros are written then, and what is lost is no number
                compressors=[BloscCodec(cname="lz4", clevel=1, shuffle="shuffle"), Crc32cCodec()],
                dimension_names=["image", f"{name} unit"],
            )
        names = ["label", "path", *(name for name, _ in self.writer.lengths)]
        seal(self.writer.group, self.writer.attributes, names)


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
