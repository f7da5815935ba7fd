"""How well features carry over to a task: evaluation protocols."""

from analysis.transfer.protocols import one_shot_accuracy

__all__ = ["one_shot_accuracy"]
