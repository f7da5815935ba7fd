"""What can be named, as rows for the command line."""

from __future__ import annotations

from analysis.data import CARDS

__all__ = ["dataset_rows", "network_rows"]


def dataset_rows() -> list[tuple[str, str, str, str, str]]:
    """Name, images, classes, overlap group with ImageNet, and how to get it, per dataset."""
    return [
        (
            card.name,
            "?" if card.images is None else f"{card.images:,}",
            "?" if card.classes is None else f"{card.classes:,}",
            card.overlap_group or "-",
            _how_to_get(card.name),
        )
        for card in CARDS.values()
    ]


def network_rows() -> list[tuple[str, ...]]:
    """Name, layers, features, weights and a remark, per network."""
    raise NotImplementedError


def _how_to_get(name: str) -> str:
    card = CARDS[name]
    if card.layout == "bundled":
        return "comes along"
    if card.sources:
        return f"layerbook fetch {name}"
    return card.obtain or "not established"
