"""Files without a head: what they have can be read, what they lack is not there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

from analysis.chapters import split_network
from analysis.data import ImageDataset
from analysis.networks import FineTuning, Preprocessing, fine_tune, load_backbone
from analysis.networks.loading import assemble
from analysis.networks.minivgg import minivgg16
from analysis.networks.weights import load_state, match_names

EDGES = "vgg16_features-edges.safetensors"
CONVOLUTIONS = [
    f"conv{stage}_{i + 1}" for stage, n in enumerate((2, 2, 3, 3, 3), 1) for i in range(n)
]


def weights_of(build, *, seed: int = 0, **options) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(**options).state_dict()


def without(state, *prefixes: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state.items() if not name.startswith(prefixes)}


@pytest.fixture
def load(tmp_path):
    def loaded(name, state, **options):
        save_file(dict(state), tmp_path / "part.safetensors")
        return load_backbone(name, weights=tmp_path / "part.safetensors", **options)

    return loaded


@pytest.fixture(scope="module")
def mini():
    return weights_of(minivgg16)


@pytest.mark.parametrize(
    ("lacking", "last", "gone"),
    [
        (("classifier",), "conv5_3", ["fc6", "fc7", "fc8"]),
        (("classifier", "features.28"), "conv5_2", ["conv5_3", "pool5", "fc6", "fc7", "fc8"]),
        (tuple(f"{part}." for part in ("classifier", *(f"features.{i}" for i in range(2, 29)))),
         "conv1_1", ["conv1_2", "pool1", "pool5", "fc8"]),
    ],
)  # fmt: skip
def test_what_comes_before_is_the_same_and_what_depends_is_gone(
    lacking, last, gone, mini, load, read_layers
):
    net, whole = load("minivgg16", without(mini, *lacking)), load("minivgg16", mini)
    assert net.layers[-1].name == last
    names = [layer.name for layer in net.layers]
    assert names == [layer.name for layer in whole.layers][: len(names)]
    x = torch.rand((2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    ours = read_layers(net, list(net.available.values()), "post", x)
    theirs = read_layers(whole, [whole.available[name] for name in net.available], "post", x)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert set(gone) <= set(net.refused) and not set(gone) & set(net.available)
    for name in gone:
        with pytest.raises(ValueError, match=rf"layer '{name}' .*part\.safetensors lacks weights"):
            net.select([name])
        with pytest.raises(ValueError, match="lacks"):
            load("minivgg16", without(mini, *lacking), layers=["conv1_1", name])
    path = "classifier.6"
    for choice in (path, whole.available["fc8"]):
        with pytest.raises(ValueError, match=r"depends on weights that part\.safetensors lacks"):
            load("minivgg16", without(mini, *lacking), layers=[choice])
    assert path in net.provenance["lacking"]
    assert "lacking" not in whole.provenance


@pytest.mark.parametrize(
    "hole",
    [("features.5.bias",), ("features.28", "classifier.6"), ("classifier.0", "classifier.3")],
)
def test_a_hole_is_refused(hole, mini, load):
    with pytest.raises(ValueError, match=rf"missing: {hole[0]}.* comes after what is missing"):
        load("minivgg16", without(mini, *hole))


def small_vit():
    return torchvision.models.VisionTransformer(16, 4, 2, 2, 8, 16, num_classes=5)


def small_swin():
    return torchvision.models.SwinTransformer([4, 4], 8, [1, 2], [2, 2], [2, 2], num_classes=5)


def resnet18():
    return torchvision.models.resnet18(num_classes=5)


def read_from(build, lacking: tuple[str, ...]):
    module, state = build(), without(weights_of(build), *lacking)
    missing = load_state(module, match_names(state, module, "part")[1], "part")
    provenance = {"lacking": ", ".join(missing)} if missing else {}
    return assemble("network", module, Preprocessing(16, 16), "part", provenance, None, None)


BLOCK = "encoder.layers.encoder_layer_"


@pytest.mark.parametrize(
    ("build", "lacking", "last"),
    [
        (resnet18, ("fc", "layer4.1", "layer4.0"), "layer3.1"),
        (resnet18, ("fc", "layer4.1.bn2"), "layer4.0"),
        (small_vit, ("heads", "encoder.ln", f"{BLOCK}1"), f"{BLOCK}0"),
        (small_swin, ("head", "norm", "features.3.1"), "features.3.0"),
    ],
)
def test_other_networks(build, lacking, last):
    net, whole = read_from(build, lacking), read_from(build, ())
    names = [layer.name for layer in net.layers]
    assert names == [layer.name for layer in whole.layers][: len(names)]
    assert names[-1] == last
    assert not {"fc", "classifier", "head", "heads.head"} & set(net.available)


@pytest.mark.parametrize(
    ("build", "hole"),
    [
        (resnet18, ("bn1.running_mean",)),
        (resnet18, ("layer4.1.bn2.bias", "fc")),
        (small_vit, (f"{BLOCK}1.self_attention.in_proj", "heads", "encoder.ln")),
        (small_swin, ("features.1.0.attn.relative_position_bias_table",)),
    ],
)
def test_holes_of_other_networks(build, hole):
    with pytest.raises(ValueError, match=r"do not fit .* missing: .* comes after what is missing"):
        read_from(build, hole)


def test_auxiliary_heads_may_be_missing(load):
    state = weights_of(torchvision.models.googlenet, init_weights=False)
    net = load("googlenet", without(state, "aux"))
    whole = load("googlenet", state)
    assert [layer.name for layer in net.layers] == [layer.name for layer in whole.layers]
    assert "fc" in net.available
    assert "aux1.conv.conv.weight" in net.provenance["lacking"]


def test_another_head_in_its_place_is_left_alone(load):
    head = {"fc.0.weight": torch.rand(99, 512), "fc.2.bias": torch.rand(9)}
    net = load("resnet18", without(weights_of(torchvision.models.resnet18), "fc") | head)
    assert net.layers[-1].name == "layer4.1"
    assert "fc" in net.refused


def test_a_head_without_content_counts_as_missing(mini, load):
    """As in the file of VGG16's features that torchvision publishes."""
    empty = {
        name: torch.full_like(v, torch.nan) for name, v in mini.items() if "classifier" in name
    }
    assert load("minivgg16", mini | empty).layers[-1].name == "conv5_3"


def small_task(seed: int) -> ImageDataset:
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(8)]
    return ImageDataset.from_arrays(images, ["a", "b"] * 4)


def test_fine_tuning_needs_all_but_the_class_layer(mini, load):
    recipe = FineTuning(epochs=1, crops="whole")
    net = load("minivgg16", without(mini, "classifier.6"))
    tuned = fine_tune(net, small_task(0), free=1, recipe=recipe, progress=False)
    assert tuned.available["fc8"].units == 2
    with pytest.raises(ValueError, match=r"part\.safetensors lacks weights .*classifier\.0"):
        fine_tune(load("minivgg16", without(mini, "classifier")), small_task(0), progress=False)


def plain_convolutions(folder):
    plain = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"])
    state = load_file(folder / EDGES)
    plain.load_state_dict({name.removeprefix("features."): v.float() for name, v in state.items()})
    return plain


def test_the_convolutions_of_vgg16(lent_weights, read_layers):
    name, weights = split_network(f"vgg16@{lent_weights / EDGES}")
    net = load_backbone(name, weights=weights)
    assert [layer.name for layer in net.layers] == CONVOLUTIONS
    assert net.n_features == 4_224
    assert {"pool1", "pool5"} <= set(net.available)
    for name in ("fc6", "fc7", "fc8"):
        with pytest.raises(ValueError, match=rf"layer '{name}' of vgg16 .*{EDGES} lacks weights"):
            net.select([name])
    plain = plain_convolutions(lent_weights)
    x = torch.rand((1, 3, 96, 96), generator=torch.Generator().manual_seed(0))
    ours = read_layers(net, list(net.layers), "post", x)
    positions = [i for i, part in enumerate(plain) if isinstance(part, torch.nn.ReLU)]
    with torch.no_grad():
        for name, position in zip(CONVOLUTIONS, positions, strict=True):
            torch.testing.assert_close(ours[name], plain[: position + 1](x))
