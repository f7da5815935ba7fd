"""The shipped weights are what their cards say, on the photographs that these were measured on."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pytest

from analysis import extract, load_backbone, load_dataset
from analysis.networks import weights as files
from analysis.networks.model_cards import ModelCard, read_model_card

ARCHIVE = "tiny_imagenet.tar.gz"


@pytest.fixture(scope="module")
def photographs(lent_data, tmp_path_factory) -> Path:
    """Validation images of the source task, unpacked."""
    if not (lent_data / ARCHIVE).is_file():
        pytest.skip(f"{ARCHIVE} is not in LAYERBOOK_DATA")
    folder = tmp_path_factory.mktemp("photographs")
    with tarfile.open(lent_data / ARCHIVE, "r|gz") as tar:  # one pass, in the archive's order
        tar.extractall(folder, (m for m in tar if "val" in Path(m.name).parts), filter="data")
    return folder / "tiny_imagenet" / "val"


@pytest.fixture(scope="module", params=files.SHIPPED)
def card(request) -> ModelCard:
    if not (files.BUNDLED / f"minivgg16-{request.param}.safetensors").is_file():
        pytest.skip(f"weights {request.param!r} are not shipped yet")
    return read_model_card(request.param)


def test_a_card_is_that_of_its_file(card):
    file = files.BUNDLED / f"minivgg16-{card.name}.safetensors"
    assert card.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert file.stat().st_size <= 4e6
    assert len(card.history) == card.recipe.epochs
    assert load_backbone("minivgg16", weights=card.name).available["fc8"].units == len(card.classes)


@pytest.mark.long
def test_the_stated_accuracy_is_reached_through_the_feature_stream(card, photographs, tmp_path):
    known = card.classes[: len(card.classes) - card.n_drawn]
    data = load_dataset(f"folder:{photographs}")
    data = data.subset(np.isin(np.array(data.classes)[data.labels], known))
    assert len(data) == sum(n for true, _, n in card.confusion if true < len(known))
    net = load_backbone("minivgg16", weights=card.name)
    scores = extract(data, net, layers="fc8", crops="center", store=tmp_path, progress=False)
    truth = np.array([known.index(data.classes[label]) for label in data.labels])
    top1 = (scores.values.argmax(1) == truth).mean()
    assert top1 == pytest.approx(card.accuracy["photographs_top1"], abs=0.005)
