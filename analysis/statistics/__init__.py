"""Arrays in, findings about features out: distances between classes, and how they distribute."""

from analysis.statistics.distances import signed_ks
from analysis.statistics.distributions import (
    FeatureClassPair,
    edf_pair,
    layer_histograms,
    summarise_by_layer,
)
from analysis.statistics.extremes import strongest_pairs
from analysis.statistics.invariance import change_by_layer, relative_change
from analysis.statistics.ranks import RankedBlock, RankedFeatures, rank_features

__all__ = [
    "FeatureClassPair",
    "RankedBlock",
    "RankedFeatures",
    "change_by_layer",
    "edf_pair",
    "layer_histograms",
    "rank_features",
    "relative_change",
    "signed_ks",
    "strongest_pairs",
    "summarise_by_layer",
]
