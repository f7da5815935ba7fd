from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import transforms

from analysis.data import ImageDataset, load_dataset
from analysis.features import extract
from analysis.features.stream import Forward
from analysis.networks import Layer, Preprocessing, Tap, load_backbone

SMALL = Preprocessing(72, 64)


@pytest.fixture(scope="module")
def data() -> ImageDataset:
    """Eleven photographs of several sizes: more than one batch, the last one not full."""
    photographs = load_dataset("photographs")
    return photographs.subset(list(range(11)))


@pytest.fixture(scope="module")
def minivgg():
    return load_backbone("minivgg16", weights="random", seed=0)


class Counted(nn.Module):
    """Two convolutions, of which only the first is needed for some features."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(4, 4, 3)

    def forward(self, x):
        return self.second(self.relu(self.first(x)))


def counted_backbone():
    torch.manual_seed(0)
    return load_backbone(Counted(), layers=["first"], preprocess=SMALL)


def naive(data, net, layers, crops, pooling, activation):
    """One crop at a time, nothing in place, default layout, torchvision's transforms."""
    p = net.preprocessing
    module = copy.deepcopy(net.module)
    for part in module.modules():
        if hasattr(part, "inplace"):
            part.inplace = False
    cut = {
        "center": [transforms.Resize(p.resize), transforms.CenterCrop(p.crop)],
        "ten": [transforms.Resize(p.resize), transforms.TenCrop(p.crop)],
        "warp": [transforms.Resize((p.resize, p.resize)), transforms.CenterCrop(p.crop)],
        "whole": [transforms.Resize((p.crop, p.crop))],
    }[crops]
    tensor = transforms.Compose([transforms.ToTensor(), transforms.Normalize(p.mean, p.std)])
    seen = {}
    for layer in layers:
        for tap in layer.taps(activation):
            part = module.get_submodule(tap.module)
            if tap.side == "output":
                part.register_forward_hook(lambda m, i, o, tap=tap: seen.update({tap: o}))
            else:
                part.register_forward_pre_hook(lambda m, i, tap=tap: seen.update({tap: i[0]}))

    def features(crop):
        module(tensor(crop)[None])
        rows = []
        for layer in layers:
            values = torch.cat([seen[tap] for tap in layer.taps(activation)], 1)[0].numpy()
            rows.append(pool(values, pooling))
        return np.concatenate(rows)

    with torch.no_grad():
        cuts = [transforms.Compose(cut)(image) for image in data]
        cuts = [crop if isinstance(crop, tuple) else (crop,) for crop in cuts]
        return np.array([np.mean([features(c) for c in crop], 0) for crop in cuts])


def pool(values, pooling):
    mode, _, size = pooling.partition(":")
    if values.ndim == 1 or mode == "none":
        return values.ravel()
    if mode == "mean":
        return values.mean((1, 2))
    if mode == "grid":
        pooled = nn.functional.adaptive_avg_pool2d(torch.from_numpy(values), int(size))
        return pooled.numpy().ravel()
    starts = range(0, values.size, int(size))
    return np.array([values.ravel()[at : at + int(size)].mean() for at in starts])


def assert_close(ours, theirs):
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5 * np.abs(theirs).max())


@pytest.mark.parametrize(
    "network",
    ["minivgg16", "squeezenet1_0", "resnet18", pytest.param("alexnet", marks=pytest.mark.long)],
)
def test_features_are_those_of_a_naive_forward_pass(data, network, tmp_path):
    net = load_backbone(network, weights="random", seed=1, preprocess=SMALL)
    few = data.subset([5, 9])
    for activation in ("post", "pre"):
        options = {"activation": activation, "batch_size": 12, "progress": False}
        found = extract(few, net, crops="ten", store=tmp_path, **options).values
        assert_close(found, naive(few, net, net.layers, "ten", "mean", activation))
    assert found.min() < 0


@pytest.mark.parametrize(
    ("crops", "pooling"),
    [("center", "none"), ("ten", "flatten:100"), ("warp", "grid:2"), ("whole", "mean")],
)
def test_every_pooling_and_every_way_to_crop(data, minivgg, pooling, crops, tmp_path):
    names = ["conv3_1", "conv5_3", "fc6"]
    options = {"crops": crops, "layers": names, "pooling": pooling, "progress": False}
    found = extract(data, minivgg, store=tmp_path, **options)
    assert_close(found.values, naive(data, minivgg, minivgg.select(names), crops, pooling, "post"))


def test_several_taps_are_one_map_for_segments(data, tmp_path):
    net = load_backbone("squeezenet1_1", weights="random", seed=0, preprocess=SMALL)
    layer = net.select(["fire2"])[0]
    assert len(layer.pre) == 2
    found = extract(
        data, net, crops="center", layers=["fire2"], pooling="flatten:100", activation="pre",
        store=tmp_path, progress=False,
    )  # fmt: skip
    assert_close(found.values, naive(data, net, (layer,), "center", "flatten:100", "pre"))


def test_coordinates_and_provenance(data, minivgg, tmp_path):
    found = extract(data, minivgg, crops="center", store=tmp_path, progress=False)
    assert found.dims == ("image", "feature")
    assert found.dtype == np.float32
    assert found.chunks is not None
    np.testing.assert_array_equal(found.label, data.labels)
    np.testing.assert_array_equal(found.path, data.paths)
    expected = [(layer.name, unit) for layer in minivgg.layers for unit in range(layer.units)]
    assert list(zip(found.layer.values, found.unit.values, strict=True)) == expected
    attrs = found.attrs
    assert attrs["fingerprint"] == data.fingerprint
    assert attrs["weights_hash"] == minivgg.weights_hash
    assert (attrs["crops"], attrs["pooling"], attrs["activation"]) == ("center", "mean", "post")
    assert (attrs["device"], attrs["batch_size"], attrs["threads"]) == ("cpu", 49, 1)
    assert attrs["version_torch"] == torch.__version__
    assert all(isinstance(value, str | int | float | list) for value in attrs.values())


def test_a_second_call_decodes_nothing_and_computes_one_picture(
    data, minivgg, tmp_path, monkeypatch
):
    first = extract(data, minivgg, crops="center", store=tmp_path, progress=False).values
    crops = []
    run = Forward.__call__
    monkeypatch.setattr(
        Forward, "__call__", lambda self, x: (crops.append(len(x)), run(self, x))[1]
    )
    monkeypatch.setattr(ImageDataset, "__getitem__", None)
    again = extract(data, minivgg, crops="center", batch_size=3, store=tmp_path, progress=False)
    np.testing.assert_array_equal(again.values, first)
    assert crops == [1]


def test_what_changes_features_changes_the_key(data, minivgg, tmp_path):
    few = data.subset([0, 1])
    usual = {"data": few, "net": minivgg, "crops": "center", "layers": "conv1_1"}
    changes = [
        {},
        {"data": data.subset([1, 0])},
        {"net": load_backbone("minivgg16", weights="random", seed=5)},
        {"net": load_backbone("minivgg16", weights="random", preprocess=Preprocessing(80, 64))},
        *({"crops": "warp"}, {"crops": "whole"}, {"layers": "conv1_2"}, {"pooling": "grid:2"}),
        *({"activation": "pre"}, {"dtype": "bfloat16"}),
    ]
    keys = {
        extract(**(usual | change), store=tmp_path, progress=False).attrs["key"]
        for change in changes
    }
    assert len(keys) == len(list(tmp_path.glob("*.zarr"))) == len(changes)
    assert not list(tmp_path.glob("*.partial"))


def test_bits_do_not_depend_on_how_many_passes_run_at_once(data, minivgg, tmp_path):
    data, found = data.subset(range(4)), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        store = tmp_path / str(threads)
        found.append(extract(data, minivgg, batch_size=10, store=store, progress=False).values)
        assert torch.get_num_threads() == threads  # extraction leaves it as it was
    np.testing.assert_array_equal(*found)


def test_the_module_is_left_as_it_was(data, tmp_path):
    net = load_backbone("squeezenet1_1", weights="random", preprocess=SMALL)
    tensors = {name: (t, t.clone(), t.stride()) for name, t in net.module.state_dict().items()}
    for dtype in ("float32", "bfloat16"):
        extract(data, net, crops="center", dtype=dtype, store=tmp_path, progress=False)
    for name, tensor in net.module.state_dict().items():
        before, values, stride = tensors[name]
        assert tensor.data_ptr() == before.data_ptr()
        assert tensor.dtype == torch.float32
        assert tensor.stride() == stride
        assert torch.equal(tensor, values)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.module.modules())


def test_the_pass_ends_after_the_last_layer_needed(data, tmp_path):
    net = counted_backbone()
    calls = []
    net.module.second.register_forward_pre_hook(lambda m, i: calls.append(len(i[0])))
    extract(data, net, crops="center", batch_size=2, store=tmp_path, progress=False)
    # Recorded on two images, then the probe; of six batches only the first pass goes on to the end.
    assert calls == [2, 1, 2], "probes after the first end where the layer is read"


def test_bfloat16_is_close(data, minivgg, tmp_path):
    full, half = (
        extract(data, minivgg, crops="center", dtype=dtype, store=tmp_path, progress=False).values
        for dtype in ("float32", "bfloat16")
    )
    assert half.dtype == np.float32
    error = np.abs(half - full).mean(0) / np.abs(full).mean(0).mean()
    assert 0 < error.mean() < 0.02


def test_what_a_network_cannot_give_is_told(data, tmp_path):
    net = counted_backbone()
    with torch.no_grad():
        net.module.first.weight[2, 0, 1, 1] = float("inf")
    with pytest.raises(ValueError, match=rf"layer 'first'.*{data.paths[0]}"):
        extract(data, net, crops="center", store=tmp_path, progress=False)
    net.module.add_module("unused", nn.Conv2d(3, 4, 3))
    layer = Layer("unused", "conv", 4, (62, 62), "nchw", (Tap("unused"),), (Tap("unused"),))
    net = dataclasses.replace(net, layers=(layer,))
    with pytest.raises(ValueError, match=r"'unused'.*did not call"):
        extract(data, net, crops="center", store=tmp_path, progress=False)
    assert not list(tmp_path.glob("*.zarr"))


def test_wrong_arguments_are_refused_before_anything_is_computed(data, minivgg, tmp_path):
    usual = {"data": data, "net": minivgg, "store": tmp_path / "store", "progress": False}
    for arguments, message in [
        ({"crops": "nine"}, "unknown crops 'nine'"),
        ({"layers": ["conv9"]}, "unknown layer 'conv9'"),
        ({"pooling": "max"}, "unknown pooling 'max'"),
        ({"activation": "both"}, "unknown activation 'both'"),
        ({"dtype": "float16"}, "unknown dtype 'float16'"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"device": "cuda:97"}, "PyTorch sees"),
        ({"batch_size": 0}, "at least 1"),
        ({"data": data.subset([])}, "no images"),
    ]:
        with pytest.raises(ValueError, match=message):
            extract(**(usual | arguments))
    assert not (tmp_path / "store").exists()


@pytest.mark.long
def test_real_weights_classify_real_images(lent_data, lent_weights, tmp_path):
    data = load_dataset("imagenet_sample")
    net = load_backbone(
        "squeezenet1_0", weights=lent_weights / "squeezenet1_0-imagenet.safetensors"
    )
    torch.set_num_threads(2)
    scores = extract(data, net, crops="center", layers=["conv10"], store=tmp_path, progress=False)
    accuracy = (scores.values.argmax(1) == data.labels).mean()
    assert abs(accuracy - 0.617) <= 0.003
