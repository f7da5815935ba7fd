"""Where datasets lie: the folders that are searched, and paths to images of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from analysis import paths
from analysis.data.cards import DatasetCard
from analysis.data.layouts import LAYOUTS
from analysis.data.listing import Listing

__all__ = ["OWN", "OwnPath", "absolute_name", "find_dataset", "own_path", "read_listing"]

OWN = {"folder": "folder:/path/to/images", "table": "table:/path/to/labels.csv"}
"""How images of one's own are spelled, by kind."""


class OwnPath(NamedTuple):
    """A dataset of one's own: a key of :data:`OWN`, and where it lies."""

    kind: str
    path: Path


def own_path(name: str) -> OwnPath | None:
    """Take ``folder:PATH`` or ``table:PATH`` apart; None for the name of a card.

    Raises
    ------
    ValueError
        If there is no path.
    """
    kind, colon, path = name.partition(":")
    if kind not in OWN or not colon:
        return None
    if not path.strip():
        raise ValueError(f"expected a path after '{kind}:', such as {OWN[kind]}")
    return OwnPath(kind, Path(path).expanduser())


def absolute_name(name: str) -> str:
    """Spell the path of a dataset of one's own in full; other names stay."""
    own = own_path(name)
    return name if own is None else f"{own.kind}:{own.path.absolute().as_posix()}"


def find_dataset(card: DatasetCard, roots: tuple[Path, ...] | None = None) -> Path | None:
    """Find the base folder of a dataset in the official layout; ``None`` if it is in no root.

    Parameters
    ----------
    card : DatasetCard
        Which dataset.
    roots : tuple of Path, optional
        Where to search; ``paths.data_roots()`` if not given.
    """
    layout = LAYOUTS[card.layout]
    bases = (
        layout.base(root / card.folder, card.domain)
        for root in (paths.data_roots() if roots is None else roots)
    )
    return next((base for base in bases if base is not None), None)


def read_listing(card: DatasetCard, roots: tuple[Path, ...] | None = None) -> Listing:
    """Files and labels of a dataset that is on disk.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    ValueError
        If what is there is not what the archive unpacks to; the message names the folder.
    """
    base = find_dataset(card, roots)
    if base is None:
        raise FileNotFoundError(f"dataset {card.name!r} is not on disk")
    try:
        return LAYOUTS[card.layout].read(base)
    except OSError:
        raise
    except Exception as error:  # a damaged index can be anything: short lines, no numbers, a list
        told = str(error) or type(error).__name__
        raise ValueError(f"dataset {card.name!r} in {base} cannot be read: {told}") from error
