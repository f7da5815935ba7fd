"""Weights that are shipped, by keyword."""

from __future__ import annotations

import hashlib

import pytest
import torch
from safetensors.torch import save_file

from analysis.chapters import split_network
from analysis.networks import load_backbone
from analysis.networks import weights as files
from analysis.networks.minivgg import minivgg16


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A folder of shipped weights with one set: ``bundled-living``, of five classes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(minivgg16(5).state_dict(), tmp_path / "minivgg16-bundled-living.safetensors")
    monkeypatch.setattr(files, "BUNDLED", tmp_path)
    return tmp_path


def test_a_study_can_name_shipped_weights(shipped):
    name, weights = split_network("minivgg16@bundled-living")
    net = load_backbone(name, weights=weights)
    assert net.weights == net.provenance["weights"] == "bundled-living"
    file = shipped / "minivgg16-bundled-living.safetensors"
    assert net.provenance["file"] == file.name
    assert net.provenance["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert net.available["fc8"].units == 5


def test_shipped_weights_that_are_not_there_are_told_with_those_that_are(shipped):
    with pytest.raises(FileNotFoundError, match=r"\. Shipped are minivgg16-bundled-living$"):
        load_backbone("minivgg16", weights="bundled")
    with pytest.raises(FileNotFoundError, match="no bundled-living weights of vgg16: "):
        load_backbone("vgg16", weights="bundled-living")


def test_keywords_are_told_to_those_who_misspell_them():
    with pytest.raises(ValueError, match=r"known: .*bundled, bundled-living, or a file"):
        load_backbone("minivgg16", weights="bundeld")
