"""Features: crops, pooled layers from one forward pass, and the store that keeps them."""

from __future__ import annotations

from analysis.features.extraction import extract
from analysis.features.pooling import Pooling
from analysis.features.store import DamagedStoreError, open_features
from analysis.features.units import StrongCrop, UnitAtlas, strongest_crops, unit_atlas
from analysis.networks.preprocessing import CROPS, cut_crops

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
