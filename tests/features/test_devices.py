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


CPU = ("cpu", "CPU", "cpu:0", torch.device("cpu"), torch.device("cpu", 0))
ACCELERATORS = {
    "cuda": ("auto", "cuda", torch.device("cuda")),
    "cuda:0": (0,),
    "cuda:1": ("CUDA:1", 1, np.int64(1), torch.device("cuda:1")),
}
MISSING = ("cuda:2", 2, torch.device("cuda:2"), np.int8(99), "cuda:9999")
UNKNOWN = (
    "mps", "gpu", "", "cpu:1", "cuda:", "cuda:-1", "cuda:1.0", "cuda:²", "cuda:١", "cuda: 1", -1,
    True, 1.0, None, (), torch.device("mps"), torch.device("meta"), torch.float32,
    "cuda:" + "9" * 5000, "cuda:01",
)  # fmt: skip


def test_devices_by_name_number_and_as_pytorchs_own(cudas):
    cudas(0)
    for device in ("auto", *CPU):
        assert choose_device(device) == torch.device("cpu")
    with pytest.raises(ValueError, match="PyTorch sees 0 CUDA device"):
        choose_device("cuda")
    cudas(2)
    for chosen, devices in {**ACCELERATORS, "cpu": CPU}.items():
        for device in devices:
            assert choose_device(device) == torch.device(chosen)
    for devices, told in (
        (MISSING, r"^device .* is not there: PyTorch sees 2 CUDA device"),
        (UNKNOWN, r"^unknown device .*; known: auto, cpu, cuda, cuda:<num"),
    ):
        for device in devices:
            with pytest.raises(ValueError, match=told):
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
