"""Layerbook measures what every layer of a CNN knows about your images.

The names below are the everyday entry points; each room of the package (``analysis.data``,
``analysis.networks``, ``analysis.features``, ``analysis.statistics``, ``analysis.transfer``,
``analysis.figures``) offers the rest. Rooms are imported on first use, so ``import analysis``
does not load PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.chapters import Study
    from analysis.data import ImageDataset, load_dataset
    from analysis.features import extract, strongest_crops
    from analysis.networks import Backbone, Preprocessing, load_backbone
    from analysis.statistics import rank_features, signed_ks

__all__ = [
    "Backbone",
    "ImageDataset",
    "Preprocessing",
    "Study",
    "extract",
    "load_backbone",
    "load_dataset",
    "rank_features",
    "signed_ks",
    "strongest_crops",
]

_ROOM_OF = {
    "Backbone": "networks",
    "ImageDataset": "data",
    "Preprocessing": "networks",
    "Study": "chapters",
    "extract": "features",
    "load_backbone": "networks",
    "load_dataset": "data",
    "rank_features": "statistics",
    "signed_ks": "statistics",
    "strongest_crops": "features",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}; it offers {__all__}")
    return getattr(import_module(f"analysis.{_ROOM_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
