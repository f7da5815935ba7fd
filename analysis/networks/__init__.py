"""Networks: backbones with named layers, bound to their weights and preprocessing."""

from __future__ import annotations

from analysis.networks.backbone import Backbone, Layer, Tap
from analysis.networks.cards import NETWORKS, NetworkCard
from analysis.networks.loading import load_backbone
from analysis.networks.preprocessing import Preprocessing
from analysis.networks.timing import time_by_layer
from analysis.networks.trace import receptive_field
from analysis.networks.training import FineTuned, FineTuning, fine_tune

__all__ = [
    "NETWORKS",
    "Backbone",
    "FineTuned",
    "FineTuning",
    "Layer",
    "NetworkCard",
    "Preprocessing",
    "Tap",
    "fine_tune",
    "load_backbone",
    "receptive_field",
    "time_by_layer",
]
