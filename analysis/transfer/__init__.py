"""How well features carry over to a task or a domain: evaluation protocols, adaptation."""

from analysis.transfer.adaptation import (
    CorrelationAlignment,
    FeatureAugmentation,
    GeodesicFlowKernel,
    SubspaceAlignment,
)
from analysis.transfer.classifiers import (
    BatchedLinearSVC,
    BatchedLogisticRegression,
    WideLinearSVC,
    linear_svm,
)
from analysis.transfer.contrasts import (
    contrast,
    contrast_full_network,
    explain_losses,
    layers_kept,
    state_verdicts,
    summarise_contrasts,
    summarise_losses,
    tabulate_accuracies,
)
from analysis.transfer.descriptors import (
    bag_of_words,
    describe_dataset,
    gist,
    hog,
    learn_codebook,
    llc,
    raw_pixels,
)
from analysis.transfer.mmdt import MaxMarginDomainTransform
from analysis.transfer.office_protocol import (
    office_n_source,
    office_protocol,
    table_of_office,
)
from analysis.transfer.paired_tests import (
    compare_features,
    paired_differences,
    summarise_accuracies,
)
from analysis.transfer.protocols import (
    affordable_n_train,
    best_layer_over_pixels,
    caltech_protocol,
    one_shot_accuracy,
    one_shot_by_layer,
    protocol_on_splits,
    split_accuracies,
    summarise_protocol,
    training_size_curve,
)
from analysis.transfer.recommendation import (
    RECOMMENDED,
    Candidate,
    Recommendation,
    RecommendedEmbedding,
    candidate_embeddings,
    choose_smallest,
    judge_candidates,
    recommend,
)
from analysis.transfer.tca import TransferComponentAnalysis

__all__ = [
    "RECOMMENDED",
    "BatchedLinearSVC",
    "BatchedLogisticRegression",
    "Candidate",
    "CorrelationAlignment",
    "FeatureAugmentation",
    "GeodesicFlowKernel",
    "MaxMarginDomainTransform",
    "Recommendation",
    "RecommendedEmbedding",
    "SubspaceAlignment",
    "TransferComponentAnalysis",
    "WideLinearSVC",
    "affordable_n_train",
    "bag_of_words",
    "best_layer_over_pixels",
    "caltech_protocol",
    "candidate_embeddings",
    "choose_smallest",
    "compare_features",
    "contrast",
    "contrast_full_network",
    "describe_dataset",
    "explain_losses",
    "gist",
    "hog",
    "judge_candidates",
    "layers_kept",
    "learn_codebook",
    "linear_svm",
    "llc",
    "office_n_source",
    "office_protocol",
    "one_shot_accuracy",
    "one_shot_by_layer",
    "paired_differences",
    "protocol_on_splits",
    "raw_pixels",
    "recommend",
    "split_accuracies",
    "state_verdicts",
    "summarise_accuracies",
    "summarise_contrasts",
    "summarise_losses",
    "summarise_protocol",
    "table_of_office",
    "tabulate_accuracies",
    "training_size_curve",
]
