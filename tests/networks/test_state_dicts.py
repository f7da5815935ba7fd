"""Checkpoints as trainings write them: the network's weights are found among all else."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from analysis.networks import load_backbone
from analysis.networks.minivgg import minivgg16
from analysis.networks.weights import load_state, match_names, read_state


def drawn(seed: int, n_classes: int = 5) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(value.shape, generator=generator) * 0.1
        for name, value in minivgg16(n_classes).state_dict().items()
    }


STATE, OTHER = drawn(5), drawn(6)


def prefixed(prefix: str, state: dict = STATE) -> dict:
    return {f"{prefix}{name}": value for name, value in state.items()}


def loaded(content: object, tmp_path: Path, name: str = "w.pth"):
    torch.save(content, tmp_path / name)
    return load_backbone("minivgg16", weights=tmp_path / name)


def holds(net, state) -> bool:
    own = net.module.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[name], state[name]) for name in own)


def trained() -> dict:
    """State of an optimiser after a step, as checkpoints hold it."""
    module = minivgg16(5)
    module.load_state_dict(STATE)
    optimiser = torch.optim.Adam(module.parameters())
    module.features(torch.rand(1, 3, 64, 64)).sum().backward()
    optimiser.step()
    return optimiser.state_dict()


CONTAINERS = ("net", "state_dict", "ema", "teacher", "module", "0", "network.backbone")
PREFIXES = ("module.", "model.", "_orig_mod.", "module._orig_mod.", "model.module.backbone.", "0.")


@pytest.mark.parametrize("container", CONTAINERS)
def test_whatever_the_container_is_called(container, tmp_path):
    net = loaded({"epoch": 3, "lr": [0.1, 0.2], container: STATE, "optimizer": trained()}, tmp_path)
    assert holds(net, STATE)
    assert net.provenance["part_of_file"] == container


@pytest.mark.parametrize("prefix", PREFIXES)
def test_whatever_the_prefix_is(prefix, tmp_path):
    extra = {"loss.weight": torch.rand(5), "criterion.centers": torch.rand(5, 512)}
    content = {"state_dict": prefixed(prefix) | extra, "optimizer_states": [trained()]}
    net = loaded(content, tmp_path)
    assert holds(net, STATE)
    assert net.provenance["part_of_file"] == f"state_dict.{prefix}".rstrip(".")


LIGHTNING = {
    "epoch": 2, "global_step": 10, "pytorch-lightning_version": "2.1.0", "loops": {"fit_loop": {}},
    "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
    "lr_schedulers": [{"base_lrs": [0.1]}], "hyper_parameters": {"lr": 0.1, "name": "vgg"},
}  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        {**LIGHTNING, "state_dict": prefixed("model.") | {"loss.weight": torch.rand(5)}},
        {"train": {"run": [{"best": {"net": prefixed("module.")}}]}, "loss": torch.rand(3)},
        {"args": argparse.Namespace(lr=0.1, arch="vgg"), "model": STATE},
        {name.replace("features.", "features.module."): value for name, value in STATE.items()},
        prefixed("_fsdp_wrapped_module."),
        {"n_averaged": torch.tensor(3), **prefixed("module.")},
        {**STATE, "num_updates": torch.tensor(7), "decay": torch.tensor(0.99)},
        {**STATE, "loss_fn.weight": torch.rand(5), "train_metric.sum": torch.rand(5)},
        {"backbone": STATE, "projector.0.weight": torch.rand(9, 9), "queue": torch.rand(9, 9)},
        {"last": STATE, "best": {name: value.clone() for name, value in STATE.items()}},
        {name: value.double() for name, value in STATE.items()},
    ],
)  # fmt: skip
def test_what_lies_beside_the_weights_is_left_alone(content, tmp_path):
    assert holds(loaded(content, tmp_path, "last.ckpt"), STATE)


@pytest.mark.parametrize(
    "name", ["last.ckpt", "pytorch_model.bin", "a.b.pth.tar", "model.safetensors"]
)
def test_suffixes(name, tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERBOOK_WEIGHTS", str(tmp_path))
    save = save_file if name.endswith(".safetensors") else torch.save
    save(STATE, tmp_path / name)
    assert holds(load_backbone("minivgg16", weights=name), STATE)
    with pytest.raises(FileNotFoundError, match=name):  # the files that are there are named
        load_backbone("minivgg16", weights="gone.pth")


@pytest.mark.parametrize(
    ("plain", "averaged"),
    [
        ("model", "model_ema"),
        ("student.backbone", "teacher.backbone"),
        ("state_dict.model", "state_dict.ema_model.module"),
        ("net", "swa_net"),
    ],
)
def test_averaged_weights_are_taken_and_named(plain, averaged, tmp_path):
    both = {**prefixed(f"{plain}."), **prefixed(f"{averaged}.", OTHER)}
    for content in (both, dict(reversed(both.items()))):
        net = loaded(content, tmp_path)
        assert holds(net, OTHER)
        assert net.provenance["part_of_file"] == averaged


@pytest.mark.parametrize("names", [("encoder_q", "encoder_k"), ("ema", "model_ema")])
def test_what_fits_equally_well_is_refused(names, tmp_path):
    content = {names[0]: STATE, names[1]: OTHER}
    with pytest.raises(ValueError, match=rf"several sets .* {names[0]}, {names[1]}\. Save the one"):
        loaded(content, tmp_path)


def test_the_part_with_most_of_the_names_is_taken(tmp_path):
    some = {name: value for name, value in OTHER.items() if name.startswith("features")}
    wide = {name: value for name, value in torchvision.models.vgg16().state_dict().items()
            if name.startswith("features")}  # fmt: skip
    net = loaded({"ema": some, "other": wide, "model": STATE}, tmp_path)
    assert holds(net, STATE)
    assert net.provenance["part_of_file"] == "model"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s: s | {"features.0.gamma": torch.rand(16)}, r"1 unexpected: features\.0\.gamma"),
        (lambda s: s | {"stem.weight": torch.rand(3, 3)}, r"1 unexpected: stem\.weight"),
        (lambda s: s | {"classifier.0.weight": torch.rand(512, 9)}, "1 of another shape"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "model."])
def test_what_may_change_the_network_is_refused(change, match, prefix, tmp_path):
    with pytest.raises(ValueError, match=match):
        loaded(prefixed(prefix, change(STATE)), tmp_path)


def test_running_statistics_are_weights_and_counters_are_not(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    state = {name: torch.ones_like(value) for name, value in module.state_dict().items()}
    del state["1.num_batches_tracked"]
    assert load_state(module, match_names(state, module, "f")[1], "f") == []
    del state["1.running_var"]
    assert load_state(module, match_names(state, module, "f")[1], "f") == ["1.running_var"]
    assert module[1].running_var.isnan().all()
    assert module[1].running_mean.eq(1).all()


def test_containers_that_hold_themselves_or_are_deep_end(tmp_path):
    ring: dict = {"weight": torch.ones(2)}
    ring["again"], ring["twice"] = ring, [ring, ring]
    deep: dict = {"weight": torch.ones(2)}
    for _ in range(100):
        deep = {"a": deep, "b": deep}
    torch.save({"ring": ring, "deep": deep}, tmp_path / "odd.pth")
    assert list(read_state(tmp_path / "odd.pth")) == ["ring.weight"]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"epoch": 3}, "holds no tensors"),
        ([], "holds no tensors"),
        ({"hyper_parameters": Path("x"), "state_dict": STATE}, r"\(pathlib\.[\w.]*PosixPath\)"),
        ({"hyper_parameters": argparse.ArgumentParser}, r"\(argparse\.ArgumentParser\)"),
        (minivgg16(5), r"\(analysis\.networks\.minivgg\.MiniVGG\)"),
    ],
)
def test_what_cannot_be_read_is_said(content, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        loaded(content, tmp_path, "last.ckpt")
