"""Features: crops, pooled layers from one forward pass, and the store that keeps them."""

from __future__ import annotations

from analysis.features.crops import CROPS, cut_crops
from analysis.features.extraction import extract
from analysis.features.pooling import Pooling
from analysis.features.store import open_features

__all__ = ["CROPS", "Pooling", "cut_crops", "extract", "open_features"]
