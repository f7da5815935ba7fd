"""Features: crops, pooled layers from one forward pass, and the store that keeps them."""

from __future__ import annotations

from analysis.features.atlas import UnitAtlas, unit_atlas
from analysis.features.extraction import extract
from analysis.features.integrity import DamagedStoreError
from analysis.features.pooling import Pooling
from analysis.features.store import open_features
from analysis.features.strongest import StrongCrop, strongest_crops
from analysis.networks.crops import CROPS, cut_crops

__all__ = [
    "CROPS",
    "DamagedStoreError",
    "Pooling",
    "StrongCrop",
    "UnitAtlas",
    "cut_crops",
    "extract",
    "open_features",
    "strongest_crops",
    "unit_atlas",
]
