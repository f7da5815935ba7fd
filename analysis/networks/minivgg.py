"""A small VGG16: the same topology at a quarter of the width, for images of 64 × 64 pixels."""

from __future__ import annotations

import torch
from torch import nn

from analysis.networks.preprocessing import Preprocessing

__all__ = ["MINIVGG_PREPROCESSING", "MiniVGG", "fold_batch_norm", "minivgg16"]

#: Shorter side 72, crop 64: the same proportion as 256 and 224 (8 pixels of margin for ten crops).
MINIVGG_PREPROCESSING = Preprocessing(resize=72, crop=64)

_WIDTHS = ((16, 16), (32, 32), (64, 64, 64), (128, 128, 128), (128, 128, 128))
_DROPOUT = 0.5


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
        self, num_classes: int = 226, *, batch_norm: bool = False, dropout: float = _DROPOUT
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
    sources = _weighted(trained)
    last = sources[-1]
    if not isinstance(last, nn.Linear):
        raise ValueError(f"expected the network to end in a linear layer, not {last}")
    norms = [
        part for part in trained.modules() if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d))
    ]
    if len(norms) != len(sources) - 1:
        raise ValueError(
            f"expected a batch normalisation after each of {len(sources) - 1} layers, found "
            f"{len(norms)}"
        )
    with torch.random.fork_rng(devices=[]):
        plain = MiniVGG(last.out_features).eval()
    with torch.no_grad():
        for target, source, norm in zip(_weighted(plain), sources, [*norms, None], strict=True):
            weight, bias = _folded(source, norm)
            target.weight.copy_(weight)
            assert target.bias is not None
            target.bias.copy_(bias)
    return plain


def _weighted(module: MiniVGG) -> list[nn.Conv2d | nn.Linear]:
    return [part for part in module.modules() if isinstance(part, (nn.Conv2d, nn.Linear))]


def _folded(
    source: nn.Conv2d | nn.Linear, norm: nn.BatchNorm1d | nn.BatchNorm2d | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of a layer and the normalisation that follows it, in float64."""
    weight = source.weight.double()
    bias = weight.new_zeros(len(weight)) if source.bias is None else source.bias.double()
    if norm is None:
        return weight, bias
    assert norm.running_var is not None and norm.running_mean is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    bias = (bias - norm.running_mean.double()) * scale + norm.bias.double()
    return weight * scale.reshape(-1, *[1] * (weight.ndim - 1)), bias


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
