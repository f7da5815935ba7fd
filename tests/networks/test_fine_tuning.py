"""Fine-tuning: what learns, what stays, and that shortcuts change no bit."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from killed_trainings import needs_fork, run_killed
from torch import nn
from typer.testing import CliRunner

from analysis.__main__ import app
from analysis.data import load_dataset
from analysis.data.images import ImageArrays, ImageDataset
from analysis.features import extract
from analysis.networks import FineTuning, Preprocessing, fine_tune, load_backbone, training
from analysis.networks.preprocessing import cut_crops
from analysis.networks.training import (
    FreeLayers,
    cut_before,
    free_parts,
    replace_class_layer,
)

RECIPE = FineTuning(epochs=2, batch_size=5, learning_rate=0.05)


class Tiny(nn.Module):
    """Two convolutions with normalisation, joined by a sum, for images of 16 × 16 pixels."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.drop = nn.Dropout(0.5)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(6, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.drop(self.relu(self.bn1(self.conv1(x))))
        x = self.relu(self.bn2(self.conv2(x)) + x)
        return self.fc(torch.flatten(self.pool(x), 1))


class Undecided(Tiny):
    """As Tiny; the way of an image depends on its values."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x if x.mean() < 1e9 else -x)


class Unlike(nn.Module):
    """Its last layer does not give its result."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x).mean((2, 3)))[:, :2]


def noise(per_class: int = 4, classes: int = 3, seed: int = 0) -> ImageDataset:
    """Noise whose mean brightness tells the class."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    grain = rng.integers(0, 100, (len(labels), 20, 24, 3))
    pixels = (grain + 155 * labels[:, None, None, None] // max(1, classes - 1)).astype(np.uint8)
    names = tuple(f"class {label}" for label in range(classes))
    return ImageDataset(
        f"noise {seed}", names, labels, tuple(map(str, range(len(labels)))), ImageArrays(pixels)
    )


DATA = noise()


def tiny(kind: type[Tiny] = Tiny):
    torch.manual_seed(0)
    module = kind()
    with torch.no_grad():  # statistics that a batch would not give
        for name, buffer in module.named_buffers():
            if name.endswith(("mean", "var")):
                buffer.uniform_(0.5, 1.5)
    return load_backbone(module, preprocess=Preprocessing(resize=18, crop=16))


def tune(net=None, data=DATA, **options):
    given = {"recipe": RECIPE, "free": 7, "seed": 3, "progress": False} | options
    return fine_tune(net or tiny(), data, **given)


@pytest.fixture(scope="module")
def tuned():
    return tune()


@pytest.mark.parametrize(
    ("network", "free", "expected"),
    [
        ("minivgg16", 7, "classifier.0 classifier.2 classifier.3 classifier.5 classifier.6"),
        ("minivgg16", "fc7", "classifier.3 classifier.5 classifier.6"),
        ("squeezenet1_0", 7, "features.12.expand3x3 classifier.0 classifier.1"),
        ("resnet50", 7, "layer4.2.conv3 layer4.2.bn3 fc"),
    ],
)
def test_the_last_layers_are_counted_as_keras_counts_them(network, free, expected, random_backbone):
    net = random_backbone(network)
    path = training._path(net, free) if isinstance(free, str) else free
    crop = net.preprocessing.crop
    parts = free_parts(net.module, path, crop=crop)
    assert " ".join(parts) == expected
    images = torch.rand(2, 3, crop, crop, generator=torch.Generator().manual_seed(0))
    cut = cut_before(net.module, parts, images)
    with torch.no_grad():
        assert torch.equal(cut.tail(*cut.front(images)), net.module(images))


def test_everything_is_free_where_there_are_no_more_layers():
    net = tiny()
    parts = free_parts(net.module, 99, crop=16)
    assert parts == ("conv1", "bn1", "drop", "conv2", "bn2", "fc")
    assert cut_before(net.module, parts, torch.rand(2, 3, 16, 16)) is None
    assert tune(net, free=99).free == parts


def test_free_layers_learn_and_frozen_ones_stay_bit_by_bit(tuned):
    net = tiny()
    before, after = net.module.state_dict(), tuned.module.state_dict()
    assert tuned.free == ("conv2", "bn2", "fc")
    for name, value in before.items():
        is_free = name.rpartition(".")[0] in tuned.free
        assert torch.equal(value, after[name]) != is_free, name
    assert int(after["bn2.num_batches_tracked"]) == RECIPE.epochs * 3
    assert not any(weight.requires_grad for weight in tuned.module.parameters())
    assert not any(part.training for part in tuned.module.modules())


def test_it_is_what_a_plain_loop_gives(tuned):
    module = Tiny(3)
    module.load_state_dict(
        {k: v for k, v in tiny().module.state_dict().items() if k[:3] != "fc."}, strict=False
    )
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        module.fc.weight.copy_(torch.empty(3, 6).normal_(0, 0.01, generator=generator))
        module.fc.bias.zero_()
    learning = [*module.conv2.parameters(), *module.bn2.parameters(), *module.fc.parameters()]
    speeds = [torch.zeros_like(weight) for weight in learning]
    mean, std = (
        torch.tensor(values).reshape(3, 1, 1)
        for values in (Preprocessing().mean, Preprocessing().std)
    )
    pixels = [cut_crops(image, "whole", Preprocessing(18, 16))[0] for image in DATA]
    x = torch.stack([(torch.tensor(p).permute(2, 0, 1) / 255 - mean) / std for p in pixels])
    y = torch.from_numpy(np.array(DATA.labels))
    module.eval()
    module.bn2.train()
    losses = []
    for epoch in range(2):
        order = torch.randperm(12, generator=torch.Generator().manual_seed((3 << 20) + epoch))
        for chosen in (order[:4], order[4:8], order[8:]):
            loss = nn.functional.cross_entropy(module(x[chosen]), y[chosen])
            losses.append(loss.item())
            slopes = torch.autograd.grad(loss, learning)
            with torch.no_grad():
                for weight, speed, slope in zip(learning, speeds, slopes, strict=True):
                    speed.mul_(0.9).add_(slope + 1e-4 * weight)
                    weight -= 0.05 * speed
    for name, value in module.state_dict().items():
        torch.testing.assert_close(tuned.module.state_dict()[name], value, rtol=1e-4, atol=1e-5)
    assert tuned.history["loss"].tolist() == pytest.approx(
        [np.mean(losses[:3]), np.mean(losses[3:])], rel=1e-4
    )


def test_a_network_that_cannot_be_cut_learns_whole(tuned):
    parts = ("conv2", "bn2", "fc")
    net = tiny(Undecided)
    assert cut_before(net.module, parts, torch.rand(2, 3, 16, 16)) is None
    again = tune(net)
    for name, value in tuned.module.state_dict().items():
        torch.testing.assert_close(again.module.state_dict()[name], value, rtol=1e-4, atol=1e-5)
        if name.rpartition(".")[0] not in parts:
            assert torch.equal(again.module.state_dict()[name], value)


def test_everything_is_drawn_from_the_seed_and_nothing_else(tuned):
    net = tiny()
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert tune(net, free=99).weights_hash == tune(net, free=99).weights_hash
    assert torch.equal(state, torch.get_rng_state())
    assert tune(seed=4).weights_hash != tuned.weights_hash


def test_the_history_says_what_the_network_does(tuned):
    held_out = noise(per_class=2, seed=1)
    run = tune(validation=held_out)
    assert run.weights_hash == tuned.weights_hash
    assert run.history["epoch"].tolist() == [1, 2]
    preprocessing = run.preprocessing
    pixels = np.concatenate([cut_crops(image, "whole", preprocessing) for image in held_out]) / 255
    images = (pixels - preprocessing.mean) / np.array(preprocessing.std)
    scores = run.module(torch.from_numpy(images).permute(0, 3, 1, 2).float()).detach().numpy()
    surprises = np.log(np.exp(scores).sum(1)) - scores[range(len(scores)), held_out.labels]
    last = run.history.iloc[-1]
    assert last["val_loss"] == pytest.approx(np.mean(surprises), rel=1e-4)
    hits = scores.argmax(axis=1) == held_out.labels
    assert last["val_accuracy"] == pytest.approx(hits.mean())
    assert tuned.history[["val_loss", "val_accuracy"]].isna().all(axis=None)


@pytest.mark.long
def test_it_learns():
    digits = load_dataset("digits_rendered")
    first = np.concatenate([np.flatnonzero(digits.labels == label)[:12] for label in range(10)])
    data, net = digits.subset(first), load_backbone("minivgg16", weights="bundled")
    recipe = FineTuning(epochs=8, batch_size=24, learning_rate=0.01)
    run = tune(net, data, recipe=recipe, validation=data)
    assert run.history["val_accuracy"].iloc[-1] > 0.6  # chance is 0.1


def test_a_folder_with_another_run_is_refused(tmp_path):
    tune(checkpoint=tmp_path)
    for options, differs in [
        ({"free": "fc"}, "free 7 there, fc here"),
        ({"seed": 4}, "seed 3 there, 4 here"),
        ({"data": noise(seed=1)}, "other images or classes there"),
        ({"validation": noise(seed=1)}, "validation None there"),
    ]:
        with pytest.raises(ValueError, match=f"belongs to another run: {differs}"):
            tune(**options, checkpoint=tmp_path)


def test_dropout_is_on_where_it_is_free_and_nowhere_else():
    recipe = replace(RECIPE, learning_rate=1e-30, momentum=0)
    frozen, free = tune(recipe=recipe).history, tune(recipe=recipe, free=99).history
    assert frozen["accuracy"].nunique() == 1  # nothing moves, so only draws can change anything
    assert free["loss"].nunique() == 2


@needs_fork
@pytest.mark.long
def test_a_run_that_was_killed_goes_on_to_the_same_bits(images, tmp_path, withstood):
    whole, killed = run_killed("fine-tune", images, tmp_path)
    assert killed.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in killed.parent.iterdir()) == [
        "checkpoint.pt",
        "history.csv",
        "minivgg16-toy.json",
        "minivgg16-toy.safetensors",
    ]
    withstood("fault", "A fine-tuning is killed (SIGKILL), files half-written beside it", tried=1)


def test_saved_weights_are_a_backbone_again(random_backbone, tmp_path):
    network, scores = "squeezenet1_0", "conv10"
    net = random_backbone(network)
    data = noise(per_class=1)
    run = tune(net, data, recipe=replace(RECIPE, epochs=1, learning_rate=0.01))
    file = run.save(tmp_path / "weights" / f"{network}.safetensors")
    again = load_backbone(network, weights=file)
    assert again.weights_hash == run.weights_hash
    assert again.n_features == run.n_features == net.n_features
    assert again.select(scores)[0].units == run.select(scores)[0].units == 3
    found = [
        extract(data, one, layers=scores, crops="center", progress=False) for one in (run, again)
    ]
    assert found[0].equals(found[1])
    card = json.loads(file.with_suffix(".json").read_text("utf-8"))
    assert card["base_weights_hash"] == net.weights_hash
    assert card["tuned_fingerprint"] == data.fingerprint
    assert card["classes"] == list(data.classes)
    assert [row["loss"] for row in card["history"]] == run.history["loss"].tolist()
    assert json.loads(card["tuned_recipe"])["learning_rate"] == 0.01


def test_layers_that_were_chosen_stay_chosen():
    net = load_backbone(Tiny(), preprocess=Preprocessing(18, 16), layers=["conv1", "fc"])
    assert [(layer.name, layer.units) for layer in tune(net).layers] == [("conv1", 6), ("fc", 3)]


def test_a_network_without_class_scores_is_refused():
    with pytest.raises(ValueError, match=r"expected 'fc', .* returns an array of shape \(2, 2\)"):
        tune(load_backbone(Unlike(), preprocess=Preprocessing(18, 16)))
    with pytest.raises(ValueError, match="neither convolutions nor linear"):
        replace_class_layer(nn.Sequential(nn.ReLU()), 2, crop=16, seed=0)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"free": 0}, "at least 1 free layer, got 0"),
        ({"free": "conv9"}, "unknown layer 'conv9' of Tiny"),
        ({"seed": -1}, r"a seed from 0 to 2\*\*40 - 1, got -1"),
        ({"data": DATA.subset(range(8))}, "no images of class 2 in 'noise 0': a class without"),
        ({"data": noise(classes=1)}, "at least two classes, got class 0 alone"),
        ({"validation": noise(classes=4)}, "validation images, of the same classes .*class 3"),
        ({"validation": DATA.subset([])}, "expected validation images, .*; got 0 of"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(options, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        tune(**options, checkpoint=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_class_scores_that_would_stay_frozen_are_refused(random_backbone):
    net = random_backbone("squeezenet1_0")
    with pytest.raises(ValueError, match=r"\(classifier.1\), which are new, frozen; .* least 4"):
        free_parts(net.module, 3, crop=224)


def test_rates_are_tried_before_and_leave_no_trace(tmp_path, monkeypatch):
    taken = 0.02

    def epoch(self, number, progress, epoch=FreeLayers.epoch):
        row = epoch(self, number, progress)
        tried.append(self.recipe.learning_rate)
        return row | {"loss": 2.0 if self.recipe.learning_rate > taken else 1.0}  # log(3) = 1.1

    tried: list[float] = []
    plain = tune(recipe=replace(RECIPE, learning_rate=taken))
    monkeypatch.setattr(FreeLayers, "epoch", epoch)
    rates = [1e30, 0.05, 0.02, 0.01]  # the first grows out of bounds in its first epoch
    found = tune(rates=rates, checkpoint=tmp_path)
    assert list(dict.fromkeys(tried)) == [0.05, taken]
    assert json.loads(found.provenance["tuned_recipe"])["learning_rate"] == taken
    assert found.weights_hash == plain.weights_hash
    assert not any(part.training for part in found.module.modules())
    again = tune(rates=rates, checkpoint=tmp_path)
    assert again.weights_hash == plain.weights_hash
    assert not any(part.training for part in again.module.modules())


def test_steps_of_equal_size_and_none_of_one_image():
    trainer = object.__new__(FreeLayers)
    for images, batch_size, expected in [
        (800, 256, 4), (512, 256, 2), (10, 256, 1), (3, 2, 1), (5, 2, 2), (2, 2, 1), (1, 2, 1)
    ]:  # fmt: skip
        trainer.recipe = FineTuning(batch_size=batch_size)
        sizes = [len(part) for part in trainer.steps(torch.arange(images))]
        assert len(sizes) == expected and sum(sizes) == images
        assert min(sizes) > 1 or images == 1
        assert max(sizes) - min(sizes) <= 1


def test_a_recipe_sees_one_crop_of_an_image():
    with pytest.raises(ValueError, match=r"one per image \(center, warp, whole\), got 'ten'"):
        FineTuning(crops="ten")


def test_the_command_tells_what_it_did_and_what_it_cannot(images, tmp_path):
    asked = ["fine-tune", f"folder:{images}", "--out", str(tmp_path), "--free", "fc8"]
    done = CliRunner().invoke(app, [*asked, "--epochs", "2", "--validation", f"folder:{images}"])
    assert done.exit_code == 0, done.output
    assert "accuracy on the validation images: " in done.output
    file = tmp_path / "minivgg16-tuned.safetensors"
    assert f"written to {file}" in done.output.replace("\n", "")
    assert load_backbone("minivgg16", weights=file).select("fc8")[0].units == 5
    refused = CliRunner().invoke(app, [*asked, "--epochs", "3"])
    assert refused.exit_code == 1
    assert "error: " in refused.output and "epochs 2 there, 3 here" in refused.output
