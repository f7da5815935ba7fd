"""How well features carry over to a task: evaluation protocols."""

from analysis.transfer.classifiers import WideLinearSVC, linear_svm
from analysis.transfer.comparison import (
    compare_features,
    paired_differences,
    summarise_accuracies,
)
from analysis.transfer.descriptors import raw_pixels
from analysis.transfer.protocols import (
    affordable_n_train,
    best_layer_over_pixels,
    one_shot_accuracy,
    one_shot_by_layer,
    split_accuracies,
)

__all__ = [
    "WideLinearSVC",
    "affordable_n_train",
    "best_layer_over_pixels",
    "compare_features",
    "linear_svm",
    "one_shot_accuracy",
    "one_shot_by_layer",
    "paired_differences",
    "raw_pixels",
    "split_accuracies",
    "summarise_accuracies",
]
