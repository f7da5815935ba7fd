"""Devices by name, by number and as PyTorch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from analysis.data import ImageDataset
from analysis.features import extract
from analysis.features.stream import choose_device
from analysis.networks import load_backbone


@pytest.fixture
def cudas(monkeypatch):
    """A machine with two CUDA devices, as far as PyTorch says."""

    def pretend(number):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: number)

    return pretend


@pytest.mark.parametrize(
    "device", ["auto", "cpu", "CPU", "Cpu", "cpu:0", torch.device("cpu"), torch.device("cpu", 0)]
)
def test_the_processor(device, cudas):
    cudas(0)
    assert choose_device(device) == torch.device("cpu")


@pytest.mark.parametrize(
    ("device", "chosen"),
    [
        ("auto", "cuda"), ("cuda", "cuda"), ("CUDA:1", "cuda:1"), (0, "cuda:0"), (1, "cuda:1"),
        (np.int64(1), "cuda:1"), (torch.device("cuda"), "cuda"), (torch.device("cuda:1"), "cuda:1"),
        ("cpu", "cpu"),
    ],
)  # fmt: skip
def test_accelerators(device, chosen, cudas):
    cudas(2)
    assert choose_device(device) == torch.device(chosen)


@pytest.mark.parametrize("device", ["cuda:2", 2, torch.device("cuda:2"), np.int8(99), "cuda:9999"])
def test_what_is_not_there(device, cudas):
    cudas(2)
    with pytest.raises(ValueError, match=r"^device .* is not there: PyTorch sees 2 CUDA device"):
        choose_device(device)
    cudas(0)
    with pytest.raises(ValueError, match="PyTorch sees 0 CUDA device"):
        choose_device("cuda")


@pytest.mark.parametrize(
    "device",
    ["mps", "gpu", "", "cpu:1", "cuda:", "cuda:-1", "cuda:1.0", "cuda:²", "cuda:١", "cuda: 1", -1,
     True, 1.0, None, (), torch.device("mps"), torch.device("meta"), torch.float32,
     "cuda:" + "9" * 5000, "cuda:01"],
)  # fmt: skip
def test_what_is_not_known(device, cudas):
    cudas(2)
    with pytest.raises(ValueError, match=r"^unknown device .*; known: auto, cpu, cuda, cuda:<num"):
        choose_device(device)


def test_extraction(tmp_path):
    images = [np.full((64, 64, 3), 40 * i, np.uint8) for i in range(4)]
    data = ImageDataset.from_arrays(images, ["a", "b"] * 2)
    net = load_backbone("minivgg16", weights="bundled")
    options = {"layers": "conv5_3", "progress": False}
    as_name = extract(data, net, device="cpu", store=tmp_path / "a", **options)
    as_device = extract(data, net, device=torch.device("cpu"), store=tmp_path / "b", **options)
    assert np.array_equal(as_name, as_device)
    assert as_name.attrs == as_device.attrs
    missing = torch.device(f"cuda:{torch.cuda.device_count()}")
    with pytest.raises(ValueError, match=r"^device device\(type='cuda', index=\d\) is not there"):
        extract(data, net, device=missing, store=tmp_path, **options)
