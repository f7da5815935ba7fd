"""Every classifier of torchvision: it loads, and its layers give what plain hooks on them give."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn
from torchvision.ops.misc import Conv2dNormActivation

from analysis.networks import load_backbone
from analysis.networks.weights import find_network

NAMES = torchvision.models.list_models(module=torchvision.models)
FOLLOWING = (nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU, nn.Tanh)


def ends_in(module: nn.Module, path: str) -> str | None:
    """Module whose output is that of a layer after its activation; None if none is in sight."""
    part = module.get_submodule(path)
    if not isinstance(part, nn.Conv2d | nn.Linear):
        return path
    above, _, number = path.rpartition(".")
    parent = module.get_submodule(above)
    if not isinstance(parent, nn.Sequential) or not number.isdigit():
        return None
    at = int(number)
    while at + 1 < len(parent) and isinstance(parent[at + 1], FOLLOWING):
        at += 1
    is_whole = isinstance(parent, Conv2dNormActivation) or at + 1 < len(parent)
    return f"{above}.{at}" if is_whole else None


def plain_outputs(module: nn.Module, paths: set[str], x: torch.Tensor) -> dict[str, torch.Tensor]:
    found = {}
    hooks = [
        module.get_submodule(path).register_forward_hook(
            lambda _, __, output, path=path: found.update({path: output.clone()})
        )
        for path in paths
    ]
    with torch.no_grad():
        module(x)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_every_classifier(name, read_layers):
    net = load_backbone(name, weights="random")
    paths = {layer.name: layer.name for layer in net.layers}
    paths |= dict(find_network(name).card.embedding) if find_network(name).card else {}
    expected = {layer: ends_in(net.module, path) for layer, path in paths.items()}
    known = [layer for layer in net.layers if expected[layer.name] is not None]
    sample = list(dict.fromkeys([known[0], known[len(known) // 2], known[-2], known[-1]]))
    assert len(sample) >= 3
    side = net.preprocessing.crop
    x = torch.rand((1, 3, side, side), generator=torch.Generator().manual_seed(0))
    read = read_layers(net, sample, "post", x.clone())
    plain = plain_outputs(net.module, {expected[layer.name] for layer in sample}, x.clone())
    for layer in sample:
        values = plain[expected[layer.name]]
        assert values.shape[layer.unit_axis] == layer.units
        assert values.abs().max() > 0
        torch.testing.assert_close(read[layer.name], values, rtol=1e-5, atol=1e-6, msg=layer.name)


@pytest.mark.parametrize(
    ("name", "file", "side", "resize"),
    [
        ("vit_b_16", "vit_b_16_swag-9ac1b537.pth", 384, 384),
        ("vit_b_16", "folder/vit_b_16_lc_swag-4e70ced5.pth", 224, 224),
        ("resnet50", "resnet50-11ad3fa6.pth", 224, 232),
        ("resnet50", "resnet50-0676ba61.pth", 224, 256),
        ("resnet50", "mine.pth", 224, 256),
        ("vit_b_16", "imagenet", 224, 256),
    ],
)
def test_published_files_bring_their_preprocessing(name, file, side, resize):
    network = find_network(name, file)
    assert (network.preprocessing.crop, network.preprocessing.resize) == (side, resize)
    published = [entry for entry in torchvision.models.get_model_weights(name)
                 if entry.url.endswith(file.rpartition("/")[2])]  # fmt: skip
    if name.startswith("vit") and published:
        with torch.device("meta"):
            parameters = sum(p.numel() for p in network.build().parameters())
        assert parameters == published[0].meta["num_params"]


def test_weights_of_another_source_are_not_called_imagenet(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERBOOK_WEIGHTS", str(tmp_path))
    for name in ("vit_h_14", "regnet_y_128gf"):
        with pytest.raises(ValueError, match=rf"more than ImageNet: https://.*{name}_lc"):
            load_backbone(name)
