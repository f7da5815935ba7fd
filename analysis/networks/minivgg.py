"""A small VGG16: the same topology at a quarter of the width, for images of 64 × 64 pixels."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from analysis.networks.preprocessing import Preprocessing

#: Shorter side 72, crop 64: the same proportion as 256 and 224 (8 pixels of margin for ten crops).
MINIVGG_PREPROCESSING = Preprocessing(resize=72, crop=64)

_WIDTHS = ((16, 16), (32, 32), (64, 64, 64), (128, 128, 128), (128, 128, 128))


class MiniVGG(nn.Module):
    """VGG16's thirteen convolutions and three linear layers at a quarter of the width.

    Modules are numbered as in torchvision's VGG16, so that ``features.0`` is conv1_1 and
    ``classifier.6`` is fc8 in both. After the fifth pool 2 × 2 positions are left (7 × 7 in VGG16),
    and fc6 and fc7 have 512 neurons (4,096). There is no batch normalisation, unless it is asked
    for; then modules are numbered otherwise, and :func:`fold_batch_norm` gives the network without.

    Parameters
    ----------
    num_classes
        Class scores of fc8.
    batch_norm
        Normalise after every convolution and after fc6 and fc7, for training.
    dropout
        Share of fc6 and fc7 that is dropped in training.
    """

    def __init__(
        self, num_classes: int = 226, *, batch_norm: bool = False, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(*_convolutions(batch_norm))
        self.classifier = nn.Sequential(
            *_linear(128 * 2 * 2, batch_norm, dropout),
            *_linear(512, batch_norm, dropout),
            nn.Linear(512, num_classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Class scores (n, num_classes) of images (n, 3, 64, 64)."""
        scores: torch.Tensor = self.classifier(torch.flatten(self.features(x), 1))
        return scores


def minivgg16(num_classes: int = 226) -> MiniVGG:
    """Build a MiniVGG with PyTorch's default initialisation."""
    return MiniVGG(num_classes)


def fold_batch_norm(trained: MiniVGG) -> MiniVGG:
    """Fold batch normalisation into the weights before it.

    Parameters
    ----------
    trained
        A network with batch normalisation; it is not changed.

    Returns
    -------
    MiniVGG
        Without batch normalisation, in evaluation mode: the same scores as ``trained.eval()``, up
        to rounding. Computed in float64, kept in float32.

    Raises
    ------
    ValueError
        If there is not one normalisation after each layer but the last.
    """
    weighted: list[Any] = []
    n_norms = 0
    for part in copy.deepcopy(trained).double().eval().modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            weighted.append(part)
        elif isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            fuse = fuse_conv_bn_eval if isinstance(part, nn.BatchNorm2d) else fuse_linear_bn_eval
            weighted[-1] = fuse(weighted[-1], part)
            n_norms += 1
    if n_norms != len(weighted) - 1:
        raise ValueError(
            f"expected a batch normalisation after each of {len(weighted) - 1} layers, found "
            f"{n_norms}"
        )
    with torch.random.fork_rng(devices=[]):
        plain = MiniVGG(len(weighted[-1].weight)).eval()
    tensors = [tensor for part in weighted for tensor in (part.weight, part.bias)]
    state = dict(zip(plain.state_dict(), tensors, strict=True))
    plain.load_state_dict(state)
    return plain


def _convolutions(batch_norm: bool) -> list[nn.Module]:
    parts: list[nn.Module] = []
    channels = 3
    for stage in _WIDTHS:
        for width in stage:
            parts.append(nn.Conv2d(channels, width, 3, padding=1, bias=not batch_norm))
            parts += [nn.BatchNorm2d(width)] if batch_norm else []
            parts.append(nn.ReLU(inplace=True))
            channels = width
        parts.append(nn.MaxPool2d(2))
    return parts


def _linear(inputs: int, batch_norm: bool, dropout: float) -> list[nn.Module]:
    norm = [nn.BatchNorm1d(512)] if batch_norm else []
    return [nn.Linear(inputs, 512), *norm, nn.ReLU(inplace=True), nn.Dropout(dropout)]
