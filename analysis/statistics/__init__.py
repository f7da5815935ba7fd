"""Arrays in, findings about features out: distances between classes, and how they distribute."""

from analysis.statistics.discoveries import false_discovery, significant_features
from analysis.statistics.distances import signed_ks
from analysis.statistics.distributions import (
    FeatureClassPair,
    edf_pair,
    layer_histograms,
    summarise_by_layer,
)
from analysis.statistics.divergences import bhattacharyya, kullback_leibler, mutual_information
from analysis.statistics.extremes import strongest_pairs
from analysis.statistics.invariance import change_by_layer, relative_change
from analysis.statistics.ranks import RankedBlock, RankedFeatures, rank_features
from analysis.statistics.significance import ks_p_values, ks_tail_probability

__all__ = [
    "FeatureClassPair",
    "RankedBlock",
    "RankedFeatures",
    "bhattacharyya",
    "change_by_layer",
    "edf_pair",
    "false_discovery",
    "ks_p_values",
    "ks_tail_probability",
    "kullback_leibler",
    "layer_histograms",
    "mutual_information",
    "rank_features",
    "relative_change",
    "signed_ks",
    "significant_features",
    "strongest_pairs",
    "summarise_by_layer",
]
