"""A small VGG16: the same topology at a quarter of the width, for images of 64 × 64 pixels."""

from __future__ import annotations

import torch
from torch import nn

from analysis.networks.preprocessing import Preprocessing

__all__ = ["MINIVGG_PREPROCESSING", "MiniVGG", "minivgg16"]

#: Shorter side 72, crop 64: the same proportion as 256 and 224 (8 pixels of margin for ten crops).
MINIVGG_PREPROCESSING = Preprocessing(resize=72, crop=64)

_WIDTHS = ((16, 16), (32, 32), (64, 64, 64), (128, 128, 128), (128, 128, 128))


class MiniVGG(nn.Module):
    """VGG16's thirteen convolutions and three linear layers at a quarter of the width.

    Modules are numbered as in torchvision's VGG16, so that ``features.0`` is conv1_1 and
    ``classifier.6`` is fc8 in both. After the fifth pool 2 × 2 positions are left (7 × 7 in VGG16),
    and fc6 and fc7 have 512 neurons (4,096). There is no batch normalisation.

    Parameters
    ----------
    num_classes
        Class scores of fc8.
    """

    def __init__(self, num_classes: int = 220) -> None:
        super().__init__()
        self.features = nn.Sequential(*_convolutions())
        self.classifier = nn.Sequential(
            nn.Linear(128 * 2 * 2, 512),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(512, 512),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(512, num_classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Class scores (n, num_classes) of images (n, 3, 64, 64)."""
        scores: torch.Tensor = self.classifier(torch.flatten(self.features(x), 1))
        return scores


def minivgg16(num_classes: int = 220) -> MiniVGG:
    """Build a MiniVGG with PyTorch's default initialisation."""
    return MiniVGG(num_classes)


def _convolutions() -> list[nn.Module]:
    parts: list[nn.Module] = []
    channels = 3
    for stage in _WIDTHS:
        for width in stage:
            parts += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        parts.append(nn.MaxPool2d(2))
    return parts
