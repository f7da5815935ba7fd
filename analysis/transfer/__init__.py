"""How well features carry over to a task: evaluation protocols."""

from analysis.transfer.protocols import one_shot_accuracy, one_shot_by_layer

__all__ = ["one_shot_accuracy", "one_shot_by_layer"]
