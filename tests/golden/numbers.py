"""Golden numbers: what is measured, and how far each may move.

They cross the rooms, from images to accuracies, on a small part of the bundled study, so that a
change anywhere which would change the book shows here within seconds, by name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from analysis import ImageDataset, extract, load_backbone, load_dataset
from analysis.book.build import study_parameters
from analysis.book.sources import find_sources
from analysis.chapters import Study
from analysis.data.drawn import (
    digits_rendered,
    glyphs_clean,
    glyphs_cluttered,
    materials,
    materials_unbalanced,
    source_drawn,
    wood_grain,
)
from analysis.data.splits import shuffle_labels
from analysis.statistics import (
    FullNetworkEmbedding,
    expected_threshold,
    noise_thresholds,
    signed_ks,
    tie_counts,
)
from analysis.transfer import TransferComponentAnalysis, one_shot_accuracy, split_accuracies
from analysis.transfer.published import published_caltech, published_fusion, published_office

FORWARD = {"relative": 1e-3}
"""Sums of a forward pass come in another order on another processor."""

STEP = {"absolute": 0.02}
"""Distances and thresholds move in steps: one image that changes its rank moves them by one."""

FEW_IMAGES = {"absolute": 0.05}
"""Accuracies of a hundred images or so, of which some lie on the border."""

SOLVED = {"relative": 1e-6}
"""What a solver finds in double precision."""


FILE = Path(__file__).with_name("golden.json")


class Golden(NamedTuple):
    """A number or a hash, and how far it may move: not at all where nothing is said."""

    value: float | str
    absolute: float = 0.0
    relative: float = 0.0

    def allows(self, found: float | str) -> bool:
        """Whether another value counts as the same."""
        if isinstance(self.value, str) or isinstance(found, str):
            return self.value == found
        return abs(found - self.value) <= max(self.absolute, self.relative * abs(self.value))


def read() -> dict[str, Golden]:
    """Golden numbers by name; none where the file was removed to begin anew."""
    text = FILE.read_text("utf-8") if FILE.is_file() else "{}"
    return {name: Golden(**entry) for name, entry in json.loads(text).items()}


def write(numbers: Mapping[str, Golden]) -> None:
    """Replace the file; tolerances that are zero are left out."""
    entries = {
        name: {key: value for key, value in golden._asdict().items() if key == "value" or value}
        for name, golden in numbers.items()
    }
    FILE.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", "utf-8")


DRAWN = {
    "digits_rendered": partial(digits_rendered, 1),
    "glyphs_clean": partial(glyphs_clean, 8),
    "glyphs_cluttered": partial(glyphs_cluttered, 4),
    "materials": partial(materials, 1),
    "materials_unbalanced": partial(materials_unbalanced, 1, 2),
    "wood_grain": partial(wood_grain, 1, 2),
    "source_drawn": partial(source_drawn, n_per_class=1),
}


def measure() -> dict[str, Golden]:
    """All golden numbers, by name, as they are now."""
    drawn = {name: draw() for name, draw in DRAWN.items()}
    digits = load_dataset("digits").subset(range(150))
    return {
        **dict(_data(drawn, digits)),
        **dict(_networks()),
        **dict(_features_and_statistics(drawn["glyphs_clean"])),
        **dict(_transfer(drawn["glyphs_clean"], drawn["glyphs_cluttered"])),
        **dict(_published()),
        **dict(_study()),
    }


def moved(golden: Mapping[str, Golden], found: Mapping[str, Golden]) -> list[str]:
    """Say which numbers moved, from what to what; which are new, and which are gone."""
    lines = []
    for name, was in golden.items():
        if name not in found:
            lines.append(f"{name}: was {was.value}, is no longer measured")
        elif not was.allows(found[name].value):
            lines.append(f"{name}: was {was}, is {found[name].value}")
    return lines + [f"{name}: is not in the file yet" for name in found if name not in golden]


def _hash(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def _data(drawn: Mapping[str, ImageDataset], digits: ImageDataset) -> Iterator[tuple[str, Golden]]:
    for name, data in drawn.items():
        pixels = np.concatenate([np.asarray(image, float).ravel() for image in data])
        yield f"data: images of {name}", Golden(len(data))
        yield f"data: mean pixel of {name}", Golden(float(pixels.mean()), absolute=0.05)
        yield f"data: deviation of the pixels of {name}", Golden(float(pixels.std()), absolute=0.05)
    for name, data in {"digits": digits, "photographs": load_dataset("photographs")}.items():
        yield f"data: fingerprint of {name}", Golden(data.fingerprint[:16])
    shuffled = shuffle_labels(digits.labels, seed=0)
    yield "data: labels of digits, shuffled", Golden(_hash(shuffled.astype(np.int64)))


def _networks() -> Iterator[tuple[str, Golden]]:
    for weights in ("bundled", "bundled-living", "random"):
        net = load_backbone("minivgg16", weights=weights, seed=0)
        yield f"networks: weights of minivgg16@{weights}", Golden(net.weights_hash[:16])
        yield f"networks: features of minivgg16@{weights}", Golden(net.n_features)


def _features_and_statistics(data: ImageDataset) -> Iterator[tuple[str, Golden]]:
    net = load_backbone("minivgg16", weights="bundled")
    X = extract(data, net, crops="center", progress=False)
    layers = X["layer"].to_numpy()
    for layer in dict.fromkeys(layers.tolist()):
        mean = float(X.values[:, layers == layer].mean(dtype=np.float64))
        yield f"features: mean of {layer} on glyphs_clean", Golden(mean, **FORWARD)
    D = np.asarray(signed_ks(X, data.labels))
    for label, unit in ((0, 10), (3, 700), (7, 1300), (12, 1900), (19, 2079)):
        value = float(D[label, unit])
        yield f"statistics: D_KS of class {label}, feature {unit}", Golden(value, **STEP)
    yield "statistics: widest D_KS", Golden(float(D.max()), **STEP)
    yield "statistics: mean |D_KS|", Golden(float(np.abs(D).mean()), **FORWARD)
    T = noise_thresholds(X, data.labels, n_shuffles=3, seed=0)
    sizes = np.bincount(data.labels)
    expected = expected_threshold(D, sizes, tie_counts(X))
    for name, found in (("shuffled", T), ("expected", expected)):
        yield f"statistics: t+, {name}", Golden(float(found.t_plus), **STEP)
        yield f"statistics: t-, {name}", Golden(float(found.t_minus), **STEP)
    binned = signed_ks(X, data.labels, bins=100)
    yield "statistics: mean |D_KS| of 100 bins", Golden(float(np.abs(binned).mean()), **FORWARD)
    kept = int((np.abs(D) > max(T.t_plus, -T.t_minus)).any(axis=0).sum())
    yield "statistics: features that some class is marked by", Golden(kept, absolute=60)
    embedded = np.asarray(FullNetworkEmbedding().fit_transform(X))
    for value, word in ((1, "high"), (-1, "low")):
        share = float((embedded == value).mean())
        yield f"statistics: share of {word} values in the embedding", Golden(share, **FORWARD)
    accuracies = split_accuracies(embedded, data.labels, n_train=4, n_splits=1, seed=0)
    accuracy = float(accuracies["accuracy"].iloc[0])
    yield "transfer: accuracy of the full-network embedding", Golden(accuracy, **FEW_IMAGES)
    shots = one_shot_accuracy(X.values[:, layers == "fc7"], data.labels, n_draws=5, seed=0)
    yield "transfer: one-shot accuracy of fc7", Golden(float(shots.mean()), **FEW_IMAGES)


def _transfer(source: ImageDataset, target: ImageDataset) -> Iterator[tuple[str, Golden]]:
    net = load_backbone("minivgg16", weights="bundled-living")
    Xs, Xt = (
        extract(data, net, crops="center", layers=["fc7"], progress=False).values.astype(float)
        for data in (source, target)
    )
    tca = TransferComponentAnalysis(20, "linear").fit(Xs, Xt)
    nearest = KNeighborsClassifier(1, algorithm="brute").fit(tca.source_embedding_, source.labels)
    accuracy = float(nearest.score(tca.target_embedding_, target.labels))
    yield "transfer: accuracy after TCA, clean to cluttered glyphs", Golden(accuracy, **FEW_IMAGES)
    rng = np.random.default_rng(0)
    drawn = TransferComponentAnalysis(5, "rbf", 0.1).fit(
        rng.normal(size=(40, 6)), rng.normal(1, 2, size=(30, 6))
    )
    for number, value in enumerate(drawn.eigenvalues_[:3], 1):
        yield (
            f"transfer: eigenvalue {number} of TCA on drawn numbers",
            Golden(float(value), **SOLVED),
        )


def _published() -> Iterator[tuple[str, Golden]]:
    tables = {
        "DeCAF, figure 4": published_caltech()["mean"],
        "DeCAF, table 1": published_office()["mean"],
        "fusion, tables II to V": published_fusion()["accuracy"],
    }
    for name, values in tables.items():
        yield f"published: cells of {name}", Golden(int(values.notna().sum()))
        yield f"published: sum of {name}", Golden(float(values.sum()), **SOLVED)


def _study() -> Iterator[tuple[str, Golden]]:
    parameters = study_parameters(find_sources().study("bundled-full"))
    study = Study(**parameters, progress=False)
    yield "chapters: pairs of dataset and network", Golden(len(study.pairs))
    yield "book: parameters of the whole bundled study", Golden(_hash(np.array(repr(parameters))))
