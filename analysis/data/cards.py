"""Dataset cards: what is known about every dataset that Layerbook can name.

The facts are in ``cards.toml`` beside this module. A cell that could not be established is ``None``
and stays so until somebody establishes it. Counts are those of the images that the loader gives
when the official archive is complete.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Literal

OverlapGroup = Literal["a", "b", "c"]


@dataclass(frozen=True)
class Source:
    """One published file of a dataset.

    Attributes
    ----------
    url : str
        Where the file is published.
    checksum : str or None
        ``"md5:..."`` or ``"sha256:..."``; ``None`` where none is published, and then the unpacked
        images and classes are counted instead.
    n_bytes : int or None
        Size of the file.
    nested : sequence of str
        Archives inside this archive, as paths within it, which are unpacked as well.
    """

    url: str
    checksum: str | None = None
    n_bytes: int | None = None
    nested: Sequence[str] = ()


@dataclass(frozen=True)
class Overlap:
    """How the classes of a dataset and of a source task overlap.

    Attributes
    ----------
    group : {"a", "b", "c"} or None
        "a": every class is a class of the source task, or a part of one; "b": some are; "c": none
        is. ``None`` where nobody has grouped it.
    reason : str
        Why, or why not; a sentence, or empty where there is nothing to say.
    """

    group: OverlapGroup | None = None
    reason: str = ""


@dataclass(frozen=True)
class DatasetCard:
    """What is known about one dataset.

    Attributes
    ----------
    name : str
        The name given to ``load_dataset``.
    reference, citation : str
        The publication in one line, and its key in the book's bibliography.
    layout : str
        Which reader understands the archive (see ``analysis.data.layouts``); ``"bundled"`` for
        datasets that come with the installed packages.
    classes, images : int or None
        How many the complete dataset has.
    overlap_group, overlap_reason
        Overlap with ``source_task``, see :class:`Overlap`.
    source_task : str
        The source task that the group is about: "imagenet", as in the papers, or "bundled", which
        is what the bundled network has learnt, photographs and drawn classes (``source_drawn``).
    overlap_elsewhere : mapping of str to Overlap
        Overlap with other source tasks.
    homepage, licence : str or None
        ``None`` where not established.
    sources : tuple of Source
        Files that can be downloaded without registration.
    obtain : str
        For datasets that cannot be downloaded directly: how to get them.
    note : str
        What a user should know: which part is read, what was decided.
    """

    name: str
    reference: str
    citation: str
    layout: str
    classes: int | None = None
    images: int | None = None
    overlap_group: OverlapGroup | None = None
    overlap_reason: str = ""
    source_task: str = "imagenet"
    overlap_elsewhere: Mapping[str, Overlap] = field(default_factory=dict)
    homepage: str | None = None
    licence: str | None = None
    sources: tuple[Source, ...] = ()
    obtain: str = ""
    note: str = ""

    @property
    def folder(self) -> str:
        """Name of the dataset's folder under a data root; the domains of one dataset share it."""
        return self.name.partition("/")[0]

    @property
    def domain(self) -> str:
        """Part of the name after the slash; empty for datasets of one domain."""
        return self.name.partition("/")[2]

    @property
    def n_bytes(self) -> int:
        """Size of its files, as far as it is known."""
        return sum(source.n_bytes or 0 for source in self.sources)

    def overlap_with(self, source_task: str | None) -> Overlap:
        """Overlap with a source task; of no group where nobody has compared them."""
        if source_task == self.source_task:
            return Overlap(self.overlap_group, self.overlap_reason)
        return self.overlap_elsewhere.get(source_task or "", Overlap())


def _cards() -> Iterator[DatasetCard]:
    table = tomllib.loads(files("analysis.data").joinpath("cards.toml").read_text("utf-8"))
    for name, fields in table.items():
        domains: dict[str, int | None] = fields.pop("domains", {})
        fields["sources"] = tuple(Source(**source) for source in fields.get("sources", ()))
        overlaps = fields.get("overlap_elsewhere", {})
        fields["overlap_elsewhere"] = {task: Overlap(**row) for task, row in overlaps.items()}
        if not domains:
            yield DatasetCard(name, **fields)
        for domain, images in domains.items():
            yield DatasetCard(f"{name}/{domain}", images=images, **fields)


CARDS: dict[str, DatasetCard] = {card.name: card for card in _cards()}


def card_of(name: str) -> DatasetCard:
    """Card of a dataset.

    Raises
    ------
    ValueError
        If no dataset has this name; the message lists the names, or the domains of a dataset
        that is loaded one domain at a time.
    """
    if name in CARDS:
        return CARDS[name]
    if domains := [known for known in CARDS if known.startswith(f"{name.rstrip('/')}/")]:
        raise ValueError(f"{name!r} is loaded one domain at a time: {', '.join(domains)}")
    raise ValueError(
        f"unknown dataset {name!r}; known: {', '.join(CARDS)}, or folder:/path/to/images "
        "with one sub-folder per class, or table:/path/to/labels.csv with columns path,label"
    )
