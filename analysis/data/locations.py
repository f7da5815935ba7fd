"""Where datasets lie: the folders that are searched, and reading what is found there."""

from __future__ import annotations

from pathlib import Path

from analysis import paths
from analysis.data.cards import DatasetCard
from analysis.data.layouts import LAYOUTS
from analysis.data.listing import Listing

__all__ = ["find_dataset", "read_listing"]


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
