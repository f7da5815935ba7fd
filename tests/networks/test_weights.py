"""Where weights come from, and what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pooch
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from analysis.networks import Preprocessing, load_backbone
from analysis.networks.minivgg import minivgg16
from analysis.networks.weights import match_names, retrieve, weights_hash


@pytest.fixture
def state():
    """State dict of a small network with five classes, not the default number."""
    generator = torch.Generator().manual_seed(5)
    return {
        name: torch.rand(value.shape, generator=generator)
        for name, value in minivgg16(5).state_dict().items()
    }


@pytest.fixture
def roots(tmp_path, monkeypatch):
    """A read-only weights folder and an empty home."""
    monkeypatch.setenv("LAYERBOOK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LAYERBOOK_WEIGHTS", str(tmp_path / "lent"))
    (tmp_path / "lent").mkdir()
    return tmp_path


@pytest.fixture
def no_network(monkeypatch):
    def refuse(self, url, output_file, *_, **__):
        Path(output_file).write_bytes(b"half")
        raise ConnectionError("no route to host")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", refuse)


def same(net, state) -> bool:
    return all(torch.equal(net.module.state_dict()[name], state[name]) for name in state)


def test_random_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = load_backbone("minivgg16", weights="random", seed=3)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert load_backbone("minivgg16", weights="random", seed=3).weights_hash == first.weights_hash
    assert load_backbone("minivgg16", weights="random", seed=4).weights_hash != first.weights_hash
    assert first.provenance["seed"] == 3


def test_random_weights_leave_nothing_undrawn(random_backbone):
    name = "swin_t"
    module = random_backbone(name).module
    again = load_backbone(name, weights="random", seed=0)
    assert again.weights_hash == random_backbone(name).weights_hash
    assert all(torch.isfinite(p).all() for p in module.parameters())
    zeros = [
        name
        for name, p in module.named_parameters()
        if p.dim() > 1 and not p.any() and not name.endswith("class_token")
    ]
    assert zeros == []


def test_random_weights_keep_the_variance_of_activations(random_backbone, read_layers):
    net = random_backbone("minivgg16")
    x = torch.randn((8, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    values = read_layers(net, list(net.layers), "post", x)
    mean_squares = [float(value.square().mean()) for value in values.values()]
    assert min(mean_squares) > 0.1 and max(mean_squares) < 10


def test_weights_hash_sees_names_types_shapes_and_bytes():
    def digest(**values):
        module = torch.nn.Module()
        for name, value in values.items():
            module.register_buffer(name, value)
        return weights_hash(module)

    ones = torch.ones(4)
    variants = [
        digest(a=ones), digest(b=ones), digest(a=ones.reshape(2, 2)), digest(a=ones.bfloat16()),
        digest(a=ones * 2), digest(a=torch.tensor(1.0)),
    ]  # fmt: skip
    assert len(set(variants)) == len(variants)
    assert digest(a=ones.bfloat16()) == digest(a=ones.bfloat16().clone())
    expected = hashlib.sha256(b"a torch.float32 (4,)\n" + ones.numpy().tobytes()).hexdigest()
    assert digest(a=ones) == expected


def test_local_files_by_path_by_working_folder_and_by_weights_folder(state, roots, monkeypatch):
    file = roots / "lent" / "mine.pth"
    torch.save(state, file)
    nets = [load_backbone("minivgg16", weights=weights) for weights in (file, str(file), file.name)]
    monkeypatch.chdir(file.parent)
    nets.append(load_backbone("minivgg16", weights=f"./{file.name}"))
    for net in nets:
        assert same(net, state)
        assert net.weights == net.provenance["file"] == file.name
        assert net.available["fc8"].units == 5


def test_old_densenet_names(random_backbone):
    module = random_backbone("densenet121").module
    new = module.state_dict()
    old = {
        name.replace("norm1", "norm.1").replace("conv2", "conv.2")
        if "denselayer" in name
        else name: v
        for name, v in new.items()
    }
    assert old.keys() != new.keys()
    assert match_names(old, module, "f")[1].keys() == new.keys()


def test_files_that_do_not_fit_are_refused(tmp_path, state):
    def refused(match, content, name="w.pth"):
        file = tmp_path / name
        file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
        with pytest.raises(ValueError, match=match):
            load_backbone("minivgg16", weights=file)

    renamed = dict(state)
    renamed["stem.weight"] = renamed.pop("features.0.weight")
    refused(r"1 missing: features\.0\.weight; 1 unexpected: stem\.weight", renamed)
    reshaped = {**state, "features.2.weight": torch.zeros(16, 16, 5, 5)}
    refused(r"1 of another shape: features\.2\.weight \(16, 16, 5, 5\) instead of", reshaped)
    refused(r"features\.0\.weight.* and \d+ more", {"x": torch.zeros(1)})
    refused("holds no tensors", {"epoch": 3})
    refused("1 unexpected: 0", [torch.zeros(1)])
    refused("was refused", b"")
    refused("was refused", b"PK\x03\x04 truncated")
    refused("not a readable safetensors file", b"\x00" * 20, "w.safetensors")
    refused("was refused", minivgg16())  # a pickled module is code, not weights


def test_unknown_names_fail_at_once(roots):
    with pytest.raises(ValueError, match=r"unknown network 'vgg61' \(did you mean .*vgg16.*known:"):
        load_backbone("vgg61", weights="random")
    with pytest.raises(ValueError, match=r"unknown weights 'imagnet'; known: imagenet, places365"):
        load_backbone("vgg16", weights="imagnet")
    with pytest.raises(FileNotFoundError, match=r"no gone\.pth weights of vgg16: looked for"):
        load_backbone("vgg16", weights="gone.pth")
    with pytest.raises(
        FileNotFoundError, match=r"no bundled weights of vgg16: .* Shipped are minivgg16-bundled, "
    ):
        load_backbone("vgg16", weights="bundled")
    with pytest.raises(ValueError, match=r"no ImageNet weights .* of minivgg16"):
        load_backbone("minivgg16", weights="imagenet")


def test_without_a_network_the_error_says_what_to_do(roots, no_network):
    with pytest.raises(OSError, match=r"could not download .*vgg16-397923af\.pth.*put it into"):
        load_backbone("vgg16")
    left = [path for path in (roots / "home").rglob("*") if path.is_file()]
    assert left == []


def test_imagenet_weights_come_from_the_weights_folders(roots, no_network, random_backbone):
    random = random_backbone("squeezenet1_1")
    save_file(random.module.state_dict(), roots / "lent" / "squeezenet1_1-imagenet.safetensors")
    net = load_backbone("squeezenet1_1")
    assert net.weights == "imagenet"
    assert net.provenance["file"] == "squeezenet1_1-imagenet.safetensors"
    assert net.weights_hash == random.weights_hash


def test_a_file_under_torchvisions_name_has_to_have_its_hash(roots, no_network):
    (roots / "lent" / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"something else")
    with pytest.raises(ValueError, match="expected a SHA-256 that begins with b8a52dc0"):
        load_backbone("squeezenet1_1")


def test_downloads_are_checked_and_kept_only_when_right(roots, monkeypatch):
    def serve(self, url, output_file, *_, **__):
        with Path(output_file).open("wb") as stream:
            stream.write(b"weights")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", serve)
    folder = roots / "home" / "weights"
    good = hashlib.sha256(b"weights").hexdigest()[:8]
    with pytest.raises(ValueError, match="begins with 00000000"):
        retrieve("https://example.org/a-00000000.pth", sha256_prefix="00000000")
    assert list(folder.iterdir()) == []
    file = retrieve(f"https://example.org/a-{good}.pth", sha256_prefix=good)
    assert file == folder / f"a-{good}.pth"
    assert file.read_bytes() == b"weights"
    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", None)
    assert retrieve(f"https://example.org/a-{good}.pth", sha256_prefix=good) == file


def test_places365_checkpoints_are_taken_from_the_weights_folders(roots, random_backbone):
    with pytest.raises(FileNotFoundError, match=r"resnet50_places365\.pth\.tar .* publish it at h"):
        load_backbone("resnet50", weights="places365")
    with pytest.raises(FileNotFoundError, match="publish none for PyTorch"):
        load_backbone("vgg16", weights="places365")
    state = dict(random_backbone("alexnet").module.state_dict())
    state["classifier.6.weight"] = torch.zeros(365, 4096)
    state["classifier.6.bias"] = torch.zeros(365)
    checkpoint = {"state_dict": {f"module.{name}": value for name, value in state.items()}}
    torch.save(checkpoint, roots / "lent" / "alexnet_places365.pth.tar")
    net = load_backbone("alexnet", weights="places365")
    assert net.weights == "places365"
    assert net.available["fc8"].units == 365


def test_real_squeezenet_weights(lent_weights):
    net = load_backbone("squeezenet1_0", weights="squeezenet1_0-imagenet.safetensors")
    assert net.n_features == 2_656
    assert net.weights == "squeezenet1_0-imagenet.safetensors"
    assert load_backbone("squeezenet1_0").weights_hash == net.weights_hash
    with pytest.raises(ValueError, match=r"do not fit SqueezeNet: .*features"):
        load_backbone("squeezenet1_1", weights="squeezenet1_0-imagenet.safetensors")


def test_preprocessing_goes_with_the_weights(random_backbone):
    vgg = load_backbone("minivgg16", weights="random", preprocess=Preprocessing(80, 64))
    assert vgg.preprocessing == Preprocessing(80, 64)
    efficient = torchvision.models.EfficientNet_B0_Weights.IMAGENET1K_V1.transforms()
    expected = Preprocessing.from_torchvision(efficient)
    assert (expected.resize, expected.crop, expected.interpolation) == (256, 224, "bicubic")
    assert random_backbone("efficientnet_b0").preprocessing == expected
