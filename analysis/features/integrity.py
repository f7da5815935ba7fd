"""Groups of the store whose damage is noticed when they are read.

Every chunk ends in its CRC-32C, and every chunk is there. ``metadata_sha256`` among a group's
attributes has hashes of all other attributes (under ``.``) and of the metadata of each array.
``format`` tells how the group is written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

__all__ = [
    "FORMAT",
    "DamagedStoreError",
    "StoredArray",
    "damaged",
    "read_metadata",
    "seal",
]

FORMAT = 1

_SEAL = "metadata_sha256"


class DamagedStoreError(OSError):
    """What the store holds is not what was written; the message says what to delete."""


def seal(group: Path, attributes: Mapping[str, Any], arrays: Iterable[str]) -> None:
    """Give a group its attributes, with hashes of them and of the metadata of its arrays.

    Parameters
    ----------
    group
        Folder of the group. Its arrays are there already.
    attributes
        JSON-able.
    arrays
        Names of all arrays.
    """
    described = {**attributes, "format": FORMAT}
    described[_SEAL] = _metadata_hashes(group, described, arrays)
    zarr.open_group(group, mode="r+").update_attributes(described)


def read_metadata(group: Path) -> dict[str, Any]:
    """Attributes of a group, all of whose metadata is checked, as :func:`seal` was given them.

    Raises
    ------
    DamagedStoreError
        If metadata is missing or not what was written.
    ValueError
        If a newer Layerbook wrote the group.
    """
    try:
        attributes: dict[str, Any] = dict(zarr.open_group(group, mode="r").attrs)
        names = ["label", "path", *attributes["layers"]]
    except Exception as error:
        raise _explained(error, group, "its metadata cannot be read") from error
    number = attributes.pop("format", None)
    sealed = attributes.pop(_SEAL, None)
    if isinstance(number, int) and number > FORMAT:
        raise ValueError(
            f"{group} is of format {number}; this Layerbook knows formats up to {FORMAT}. Update "
            "Layerbook, or use another store (store=, LAYERBOOK_HOME)"
        )
    if number != FORMAT or not isinstance(sealed, dict):
        raise damaged(group, "its metadata is not what was written")
    for name, found in _metadata_hashes(group, attributes | {"format": number}, names).items():
        if sealed.get(name) != found:
            what = "its metadata" if name == "." else f"the metadata of {name!r}"
            raise damaged(group, f"{what} is not what was written")
    return attributes


def _metadata_hashes(
    group: Path, attributes: Mapping[str, Any], arrays: Iterable[str]
) -> dict[str, str]:
    """SHA-256 (hex) of attributes, under ``.``, and of the metadata of arrays, by their names."""
    contents = {".": json.dumps(attributes, sort_keys=True).encode()}
    for name in arrays:
        try:
            contents[name] = (group / name / "zarr.json").read_bytes()
        except OSError as error:
            raise _explained(error, group, f"the metadata of {name!r} cannot be read") from error
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


@dataclass(frozen=True, eq=False)
class StoredArray:
    """An array of a group, which is read only if it is whole; Dask can take it for an array.

    Parameters
    ----------
    group
        Folder of the group.
    name
        Of the array.
    array
        Zarr's array.
    """

    group: Path
    name: str
    array: zarr.Array[Any]

    @classmethod
    def open(cls, group: Path, name: str) -> StoredArray:
        """Open an array; raises :class:`DamagedStoreError` if it cannot be opened."""
        try:
            array = zarr.open_array(group / name, mode="r")
        except Exception as error:
            raise _explained(error, group, f"the metadata of {name!r} cannot be read") from error
        return cls(group, name, array)

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of every axis."""
        return self.array.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.array.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(self.array.dtype)

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of a chunk."""
        return self.array.chunks

    def __dask_tokenize__(self) -> tuple[str, ...]:
        return (type(self).__name__, str(self.group), self.name)

    def __getitem__(self, key: slice | tuple[slice, ...]) -> npt.NDArray[Any]:
        """Values of a box.

        Raises
        ------
        DamagedStoreError
            If a chunk is missing, truncated, or not what was written.
        """
        lacking = self._lacks(key)
        if lacking:  # Zarr would fill it
            raise damaged(self.group, f"{self.name!r} lacks its part {lacking[0]}")
        try:
            return np.asarray(self.array[key])
        except Exception as error:
            raise _explained(error, self.group, f"{self.name!r} cannot be read") from error

    def _lacks(self, key: slice | tuple[slice, ...]) -> list[str]:
        """Missing files among those of the chunks that a box touches."""
        slices = key if isinstance(key, tuple) else (key,)
        slices += (slice(None),) * (self.ndim - len(slices))
        touched = []
        for cut, length, chunk in zip(slices, self.shape, self.chunks, strict=True):
            start, stop, _ = cut.indices(length)
            touched.append(range(start // chunk, -(-stop // chunk)))
        names = [self.array.metadata.encode_chunk_key(place) for place in product(*touched)]
        return [name for name in names if not (self.group / self.name / name).is_file()]


def _explained(error: Exception, group: Path, what: str) -> Exception:
    """Tell damage, of which Zarr and its codecs raise nearly anything, from other trouble."""
    missing = isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
    system = isinstance(error, OSError) and error.errno is not None and not missing
    if system or isinstance(error, MemoryError | DamagedStoreError):
        return error
    return damaged(group, f"{what} ({error})" if str(error) else what)


def damaged(group: Path, what: str) -> DamagedStoreError:
    """Error for a group in which something is not what was written."""
    return DamagedStoreError(
        f"the features in {group} are damaged: {what}; delete this folder, and they are computed "
        "anew"
    )
