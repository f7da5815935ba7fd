"""Every location that Layerbook reads or writes, and how a file is written whole.

Three environment variables are honoured, each read at the time of the call:

``LAYERBOOK_HOME``
    The folder that holds downloads, drawn images, the feature store and result tables. Default:
    the user's cache folder.
``LAYERBOOK_DATA``, ``LAYERBOOK_WEIGHTS``
    Folders of datasets and of weights that are only read. They are searched before those under
    the home folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pooch


def home() -> Path:
    """Folder of everything that Layerbook keeps between runs."""
    return Path(os.environ.get("LAYERBOOK_HOME") or pooch.os_cache("layerbook")).expanduser()


def data_download_root() -> Path:
    """Folder into which datasets are downloaded."""
    return home() / "data"


def weights_download_root() -> Path:
    """Folder into which network weights are downloaded."""
    return home() / "weights"


def data_roots() -> tuple[Path, ...]:
    """Folders in which datasets are looked for, in order."""
    return (*_read_only("LAYERBOOK_DATA"), data_download_root())


def weights_roots() -> tuple[Path, ...]:
    """Folders in which weights files are looked for, in order."""
    return (*_read_only("LAYERBOOK_WEIGHTS"), weights_download_root())


def drawn_root() -> Path:
    """Folder of the images that Layerbook has drawn; what is missing there is drawn again."""
    return home() / "drawn"


def store_root() -> Path:
    """Folder of the feature store."""
    return home() / "store"


def results_root() -> Path:
    """Folder of result tables of notebooks that run outside a book."""
    return home() / "results"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Write a file whole or not at all, whoever else writes it at the same time.

    Parameters
    ----------
    path
        Of the file, which is replaced; its folder is made.

    Yields
    ------
    Path
        Where to write, in the same folder. What is there takes the place of ``path`` when the block
        ends, unless an error ends it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _read_only(variable: str) -> tuple[Path, ...]:
    value = os.environ.get(variable)
    return (Path(value).expanduser(),) if value else ()
