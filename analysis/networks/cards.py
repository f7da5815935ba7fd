"""Network cards: the papers' layer names for the modules of each network.

A card only names modules; where the values of a layer are read, its units and its size come from
the network itself (:mod:`analysis.networks.discovery`). Networks without a card, such as every
other classifier of torchvision, keep the module paths as names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class NetworkCard:
    """What is known about a network before it is built.

    Parameters
    ----------
    name
        As in ``load_backbone(name)``.
    title, citation
        For readers.
    embedding
        Layer name → module path of the default embedding, in the order of the forward pass.
    others
        Pools, average pool and class scores: extracted only when named.
    features
        Length of the default embedding.
    crop
        Side of the input, in pixels.
    aliases
        Other names of layers.
    places365
        Address of published Places365 weights for this definition, or "".
    """

    name: str
    title: str
    citation: str
    embedding: Mapping[str, str]
    others: Mapping[str, str]
    features: int
    crop: int = 224
    aliases: Mapping[str, str] = field(default_factory=dict)
    places365: str = ""

    @property
    def modules(self) -> dict[str, str]:
        """Layer name → module path of everything that the card names."""
        return {**self.embedding, **self.others}


_PLACES = "http://places2.csail.mit.edu/models_places365"
_VGG = "Simonyan and Zisserman, Very deep convolutional networks, ICLR 2015, arXiv:1409.1556"
_SQUEEZENET = "Iandola et al., SqueezeNet, 2016, arXiv:1602.07360"


def _vgg(
    name: str, title: str, convolutions: tuple[int, ...], features: int, **options: Any
) -> NetworkCard:
    """Card of a VGG without batch normalisation, of so many convolutions before each pool."""
    embedding, pools, position = {}, {}, 0
    for stage, count in enumerate(convolutions, start=1):
        for i in range(1, count + 1):
            embedding[f"conv{stage}_{i}"] = f"features.{position}"
            position += 2  # a convolution and its ReLU
        pools[f"pool{stage}"] = f"features.{position}"
        position += 1
    embedding |= {"fc6": "classifier.0", "fc7": "classifier.3"}
    others = {**pools, "fc8": "classifier.6"}
    citation = options.pop("citation", _VGG)
    return NetworkCard(name, title, citation, embedding, others, features, **options)


def _resnet50() -> NetworkCard:
    blocks = [f"layer{stage}.{i}" for stage, n in enumerate((3, 4, 6, 3), 1) for i in range(n)]
    return NetworkCard(
        "resnet50",
        "ResNet-50",
        "He et al., Deep residual learning, CVPR 2016, arXiv:1512.03385",
        {"conv1": "conv1"} | {f"block{i}": path for i, path in enumerate(blocks, start=1)},
        {"pool1": "maxpool", "avgpool": "avgpool", "fc": "fc"},
        15_168,
        places365=f"{_PLACES}/resnet50_places365.pth.tar",
    )


def _squeezenet(name: str, title: str, features: int, order: str) -> NetworkCard:
    """``order``: modules of ``features`` as letters; c convolution, r ReLU, p pool, f fire."""
    names: dict[str, str] = {}
    n_fires = 0
    for position, part in enumerate(order):
        # Pools are named after the layer before them, as in the paper: pool1, pool4, pool8.
        n_fires += part == "f"
        label = {"c": "conv1", "f": f"fire{n_fires + 1}", "p": f"pool{n_fires + 1}"}.get(part)
        if label:
            names[label] = f"features.{position}"
    embedding = {name: path for name, path in names.items() if not name.startswith("pool")}
    pools = {name: path for name, path in names.items() if name.startswith("pool")}
    others = {**pools, "conv10": "classifier.1", "avgpool": "classifier.3"}
    return NetworkCard(name, title, _SQUEEZENET, embedding, others, features)


_ALEXNET = NetworkCard(
    "alexnet",
    "AlexNet",
    "Krizhevsky, One weird trick for parallelizing convolutional networks, 2014, arXiv:1404.5997",
    {
        **{f"conv{i}": f"features.{at}" for i, at in enumerate((0, 3, 6, 8, 10), start=1)},
        **{"fc6": "classifier.1", "fc7": "classifier.4"},
    },
    {"pool1": "features.2", "pool2": "features.5", "pool5": "features.12", "fc8": "classifier.6"},
    9_344,
    aliases={"decaf1": "pool1", "decaf5": "pool5", "decaf6": "fc6", "decaf7": "fc7"},
    places365=f"{_PLACES}/alexnet_places365.pth.tar",
)

_CARDS = (
    _vgg("vgg16", "VGG16", (2, 2, 3, 3, 3), 12_416),
    _vgg("vgg19", "VGG19", (2, 2, 4, 4, 4), 13_696),
    _ALEXNET,
    _resnet50(),
    _squeezenet("squeezenet1_0", "SqueezeNet 1.0", 2_656, "crpfffpffffpf"),
    _squeezenet("squeezenet1_1", "SqueezeNet 1.1", 2_624, "crpffpffpffff"),
    _vgg(
        "minivgg16",
        "MiniVGG16",
        (2, 2, 3, 3, 3),
        2_080,
        citation="Layerbook; topology of VGG16, arXiv:1409.1556",
        crop=64,
    ),
)

#: Networks with the papers' layer names, by name.
NETWORKS: Mapping[str, NetworkCard] = {card.name: card for card in _CARDS}

#: What published weights that are kept as files have learnt, by ``Backbone.weights_hash``.
SOURCE_TASKS: Mapping[str, str] = {
    # SqueezeNet 1.0 as published with Deep Compression (Iandola et al. 2016), decoded.
    "0ee47388a0adad751e058aa70c3fd8f2245773e60fc4bc3329f3123d7668c3db": "imagenet",
}
