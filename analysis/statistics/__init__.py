"""Arrays in, findings about features out: distances between classes, and how they distribute."""

from analysis.statistics.agreement import (
    chance_by_measure,
    compare_measures,
    rank_correlations,
    sample_by_layer,
    widest_disagreements,
)
from analysis.statistics.behaviour import distribution_differences, measure_behaviour
from analysis.statistics.distances import signed_ks
from analysis.statistics.distributions import (
    FeatureClassPair,
    edf_pair,
    kind_histograms,
    layer_histograms,
    summarise_by_layer,
)
from analysis.statistics.divergences import bhattacharyya, kullback_leibler, mutual_information
from analysis.statistics.embedding import FullNetworkEmbedding
from analysis.statistics.expected import (
    ExpectedThresholds,
    compare_thresholds,
    costs_by_law,
    expected_threshold,
)
from analysis.statistics.extremes import (
    extreme_units,
    shared_absences,
    strongest_by_depth,
    strongest_pairs,
)
from analysis.statistics.histograms import ClassHistograms, FeatureRanges
from analysis.statistics.invariance import change_by_layer, relative_change
from analysis.statistics.noise import (
    MeasuredNoise,
    NoiseThresholds,
    measure_noise,
    noise_facts,
    noise_thresholds,
    shuffled_distances,
    thresholds_between,
)
from analysis.statistics.pruning import (
    beyond_by_class,
    compare_with_discoveries,
    kept,
    kept_by_part,
    stand_out,
    summarise_thresholds,
)
from analysis.statistics.ranks import RankedBlock, RankedFeatures, rank_features
from analysis.statistics.resolution import binning_bound, summarise_binning
from analysis.statistics.shards import shards_of, signed_ks_of_shards
from analysis.statistics.significance import (
    false_discovery,
    ks_p_values,
    rejection_by_zeros,
    rejection_shares,
    rejections_by,
    significant_features,
    tie_counts,
)
from analysis.statistics.size_fit import (
    fit_threshold_to_size,
    fits_by_network,
    subsample_classes,
    thresholds_by_size,
)

__all__ = [
    "ClassHistograms",
    "ExpectedThresholds",
    "FeatureClassPair",
    "FeatureRanges",
    "FullNetworkEmbedding",
    "MeasuredNoise",
    "NoiseThresholds",
    "RankedBlock",
    "RankedFeatures",
    "beyond_by_class",
    "bhattacharyya",
    "binning_bound",
    "chance_by_measure",
    "change_by_layer",
    "compare_measures",
    "compare_thresholds",
    "compare_with_discoveries",
    "costs_by_law",
    "distribution_differences",
    "edf_pair",
    "expected_threshold",
    "extreme_units",
    "false_discovery",
    "fit_threshold_to_size",
    "fits_by_network",
    "kept",
    "kept_by_part",
    "kind_histograms",
    "ks_p_values",
    "kullback_leibler",
    "layer_histograms",
    "measure_behaviour",
    "measure_noise",
    "mutual_information",
    "noise_facts",
    "noise_thresholds",
    "rank_correlations",
    "rank_features",
    "rejection_by_zeros",
    "rejection_shares",
    "rejections_by",
    "relative_change",
    "sample_by_layer",
    "shards_of",
    "shared_absences",
    "shuffled_distances",
    "signed_ks",
    "signed_ks_of_shards",
    "significant_features",
    "stand_out",
    "strongest_by_depth",
    "strongest_pairs",
    "subsample_classes",
    "summarise_binning",
    "summarise_by_layer",
    "summarise_thresholds",
    "thresholds_between",
    "thresholds_by_size",
    "tie_counts",
    "widest_disagreements",
]
