"""A study: which networks look at which datasets, and how.

A study joins the rooms for a notebook. It loads each dataset and network once, takes features
from the store (or extracts them into it), and keeps the distances between inner and outer
classes in memory.

A study file (``book/studies/*.yml``) holds exactly the parameters that a notebook declares, so
``papermill -f`` reads it as it is.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml

from analysis.chapters.tables import overlap_of, save_table
from analysis.data import ImageDataset, join_datasets, load_dataset, shuffle_labels
from analysis.data.cards import OverlapGroup
from analysis.data.readers import OWN
from analysis.statistics import signed_ks

if TYPE_CHECKING:
    import xarray as xr
    from PIL.Image import Image

    from analysis.features import UnitAtlas
    from analysis.networks import Backbone

PARAMETERS = (
    "title",
    "datasets",
    "networks",
    "crops",
    "seed",
    "reference_images",
    "results",
    "max_images",
)


def read_study(path: Path | str, **overrides: Any) -> dict[str, Any]:
    """Parameters of a study file.

    Parameters
    ----------
    path
        YAML file with any of the keys of :data:`PARAMETERS`.
    **overrides
        Values that replace those of the file; ``None`` leaves the file's.

    Returns
    -------
    dict
        Parameters as a notebook takes them.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not YAML, not a mapping, has a key that studies do not know, or a value of
        another kind.
    """
    path = Path(path)
    if not path.is_file():
        known = sorted(str(p) for p in path.parent.glob("*.yml")) if path.parent.is_dir() else []
        raise FileNotFoundError(f"no study file {path}; known there: {', '.join(known) or 'none'}")
    try:
        study = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(study, dict):
        raise ValueError(f"{path} should hold 'key: value' lines, but holds {type(study).__name__}")
    unknown = sorted(map(str, set(study) - set(PARAMETERS)))
    if unknown:
        raise ValueError(f"{path} has unknown keys {unknown}; known: {', '.join(PARAMETERS)}")
    for key, value in study.items():
        if not _fits(key, value):
            kind = dict.fromkeys(_NUMBERS, "a whole number") | dict.fromkeys(
                _LISTS, "a list of names"
            )
            raise ValueError(
                f"{path}: expected {key} to be {kind.get(key, 'a text')}, got "
                f"{type(value).__name__}"
            )
    return study | {key: value for key, value in overrides.items() if value is not None}


_LISTS = ("datasets", "networks", "reference_images")
_NUMBERS = ("seed", "max_images")


def _fits(key: str, value: object) -> bool:
    """Whether a value is of the kind that a parameter takes."""
    if key in _NUMBERS:
        return isinstance(value, int) and not isinstance(value, bool)
    if key in _LISTS and isinstance(value, list):
        return all(isinstance(name, str) for name in value)
    return isinstance(value, str)


def refuse_unknown_parameters(cells: Sequence[str]) -> None:
    """Stop a notebook that was given a parameter which it does not declare.

    Papermill warns and goes on, so that a misspelt parameter would silently leave the default.

    Parameters
    ----------
    cells
        Sources of the cells run so far: ``In`` inside a notebook. Papermill puts what it injects
        right after the declaring cell, under the comment ``# Parameters``.

    Raises
    ------
    ValueError
        Naming the unknown parameters and the known ones.
    """
    for declaring, injected in pairwise(cells):
        if injected.startswith("# Parameters\n"):
            known, given = _assigned(declaring), _assigned(injected)
            unknown = [name for name in given if name not in known]
            if unknown:
                raise ValueError(
                    f"unknown parameters {', '.join(unknown)}; this notebook takes: "
                    f"{', '.join(known)}"
                )


def _assigned(source: str) -> list[str]:
    """Names that a cell of plain assignments defines."""
    statements = ast.parse(source).body
    targets = [target for s in statements if isinstance(s, ast.Assign) for target in s.targets]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def split_network(spec: str) -> tuple[str, str]:
    """``NAME@WEIGHTS`` as ``(name, weights)``; ``NAME`` alone has ImageNet weights."""
    name, _, weights = spec.partition("@")
    return name, weights or "imagenet"


def as_names(what: str, value: Sequence[str] | str) -> list[str]:
    """Names given as a list, or as one string with commas.

    A comma is part of a name if the name is then that of a file or folder that exists, as in
    ``folder:/photos/cats,dogs`` or ``vgg16@/weights/a,b.pth``.

    Raises
    ------
    ValueError
        If there are none, one is no text, or one is named twice.
    """
    if value in (None, "None") or not isinstance(value, Sequence):
        raise ValueError(
            f"expected names of {what}, as a list or as one text with commas, got {value!r}; leave "
            "the parameter away for the study's own"
        )
    names = _split(value) if isinstance(value, str) else list(value)
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise ValueError(f"expected names of {what}, each a text, got {wrong[0]!r} among them")
    names = [name.strip() for name in names if name.strip()]
    if not names:
        raise ValueError(f"a study needs at least one of {what}, but got {value!r}")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{what} are named more than once: {', '.join(repeated)}")
    return names


def _split(value: str) -> list[str]:
    """Cut at the commas that are not in the name of what exists."""
    parts, names = value.split(","), []
    while parts:
        ends = range(len(parts), 1, -1)
        end = next((end for end in ends if _exists(",".join(parts[:end]))), 1)
        names.append(",".join(parts[:end]))
        del parts[:end]
    return names


def _exists(name: str) -> bool:
    spelled = re.match(rf"\s*(?:(?:{'|'.join(OWN)}):|[^,:@]+@)(.+)", name)
    path = "" if spelled is None else Path(spelled[1].strip()).expanduser()
    return os.path.exists(path)  # noqa: PTH110 - false for what no file can be called


REFERENCES = 1000
"""Reference images among which units look for their strongest."""


@dataclass(frozen=True)
class Pair:
    """One dataset seen by one network of a study."""

    dataset: str
    network: str


@dataclass
class Study:
    """Networks, datasets and the settings under which their features are taken.

    Everything named is looked up on construction, so that a wrong name fails at once.

    Parameters
    ----------
    title
        What readers see.
    datasets
        Dataset names, as a list or as one string with commas
        (``"digits,folder:/my/images,table:/my/labels.csv"``).
    networks
        ``NAME@WEIGHTS`` (``"vgg16@imagenet"``, ``"minivgg16@random"``), as a list or as one
        string with commas; ``NAME`` alone means ``NAME@imagenet``. Weights from a file are called
        by its name without folder and ending.
    crops
        ``"center"``, ``"ten"``, ``"warp"`` or ``"whole"``, see :func:`analysis.features.extract`.
    seed
        Seed of random weights, label shuffles and draws.
    reference_images
        Datasets whose images show what a unit responds to, as a list or as one string with commas.
    results
        Folder of the tables behind the figures. Empty: a folder under
        :func:`analysis.paths.results_root`.
    max_images
        Images of each dataset at most, spread evenly over those of every class; None for all.
        Reference images are not counted.

    ``None`` stands for the default, where there is one: so papermill passes ``-p crops None``.

    Raises
    ------
    ValueError
        If a dataset or network is unknown, or none is named.
    FileNotFoundError
        If a dataset or a weights file is not on this machine.
    """

    title: str
    datasets: Sequence[str] | str
    networks: Sequence[str] | str
    crops: str = "ten"
    seed: int = 0
    reference_images: Sequence[str] | str = "photographs"
    results: str = ""
    max_images: int | None = None
    progress: bool = True
    _specs: dict[str, str] = field(default_factory=dict, init=False, repr=False)
    _data: dict[str, ImageDataset] = field(default_factory=dict, init=False, repr=False)
    _backbones: dict[str, Backbone] = field(default_factory=dict, init=False, repr=False)
    _features: dict[Pair, xr.DataArray] = field(default_factory=dict, init=False, repr=False)
    _distances: dict[Pair, xr.DataArray] = field(default_factory=dict, init=False, repr=False)
    _noise: dict[Pair, xr.DataArray] = field(default_factory=dict, init=False, repr=False)
    _atlases: dict[str, UnitAtlas] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for each in fields(self):
            if getattr(self, each.name) is None and each.default is not MISSING:
                setattr(self, each.name, each.default)
        self.datasets = as_names("datasets", self.datasets)
        specs = as_names("networks", self.networks)
        self._specs = dict(zip(map(_short_spec, specs), specs, strict=True))
        if len(self._specs) < len(specs):  # of several files the same name
            self._specs = dict(zip(specs, specs, strict=True))
        self.networks = [*self._specs]
        self.reference_images = as_names("reference_images", self.reference_images)
        for name in (*self.datasets, *self.reference_images):
            self.data(name)
        for spec in self.networks:
            self.backbone(spec)

    @property
    def pairs(self) -> list[Pair]:
        """Every dataset with every network, network by network."""
        return [Pair(dataset, network) for network in self.networks for dataset in self.datasets]

    @property
    def trained(self) -> list[str]:
        """Networks that have learnt something; all of them where none has."""
        learnt = [spec for spec in self.networks if self.backbone(spec).weights != "random"]
        return learnt or list(self.networks)

    def data(self, name: str) -> ImageDataset:
        """Dataset by its name, loaded once."""
        if name not in self._data:
            data = self._load(name)
            self._data[name] = _thinned(data, self.max_images) if name in self.datasets else data
        return self._data[name]

    def _load(self, name: str) -> ImageDataset:
        return load_dataset(name)

    def reference(self, n: int) -> ImageDataset:
        """About ``n`` reference images: as many of each dataset, evenly spread over its list."""
        share = -(-n // len(self.reference_images))
        parts = [self.data(name) for name in self.reference_images]
        return join_datasets(
            [
                part.subset(np.unique(np.linspace(0, len(part) - 1, share).astype(int)))
                for part in parts
            ]
        )

    def samples(self, n: int) -> dict[str, list[Image]]:
        """At most ``n`` images of each dataset, drawn with the study's seed."""
        rng = np.random.default_rng(self.seed)
        drawn = {name: rng.permutation(len(self.data(name)))[:n] for name in self.datasets}
        return {name: list(self.data(name).subset(chosen)) for name, chosen in drawn.items()}

    def spec(self, network: str) -> str:
        """``NAME@WEIGHTS`` of a network, with the whole path of a file of weights."""
        return self._specs.get(network, network)

    def backbone(self, spec: str) -> Backbone:
        """Network by its ``NAME@WEIGHTS``, loaded once."""
        from analysis.networks import load_backbone  # loads PyTorch

        if spec not in self._backbones:
            name, weights = split_network(self.spec(spec))
            self._backbones[spec] = load_backbone(name, weights=weights, seed=self.seed)
        return self._backbones[spec]

    def features(self, pair: Pair) -> xr.DataArray:
        """Embedding of a pair, images × features, from the store or extracted into it."""
        from analysis.features import extract  # loads PyTorch

        if pair not in self._features:
            self._features[pair] = extract(
                self.data(pair.dataset),
                self.backbone(pair.network),
                crops=self.crops,
                progress=self.progress,
            )
        return self._features[pair]

    def feature(self, pair: Pair, layer: str, unit: int) -> np.ndarray:
        """One feature on all images of a dataset, shape (images,)."""
        X = self.features(pair)
        column = np.flatnonzero((X["layer"].values == layer) & (X["unit"].values == unit))
        if column.size != 1:
            raise ValueError(f"{pair.network} has no unit {unit} of a layer {layer!r}")
        return np.asarray(X[:, column[0]].values)

    def distances(self, pair: Pair) -> xr.DataArray:
        """Signed KS distance of every feature to every class, classes × features."""
        if pair not in self._distances:
            labels = self.data(pair.dataset).labels
            self._distances[pair] = signed_ks(self.features(pair), labels)
        return self._distances[pair]

    def noise_distances(self, pair: Pair) -> xr.DataArray:
        """As :meth:`distances`, under labels shuffled once with the study's seed."""
        if pair not in self._noise:
            labels = shuffle_labels(self.data(pair.dataset).labels, seed=self.seed)
            self._noise[pair] = signed_ks(self.features(pair), labels)
        return self._noise[pair]

    def each(
        self, table_of: Callable[[Pair], pd.DataFrame], pairs: Sequence[Pair] | None = None
    ) -> pd.DataFrame:
        """Tables of some pairs, by default all, stacked; ``network`` and ``dataset`` in front."""
        parts = []
        for pair in self.pairs if pairs is None else pairs:
            part = table_of(pair)
            part.insert(0, "network", pair.network)
            part.insert(1, "dataset", pair.dataset)
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    def with_class_names(self, table: pd.DataFrame) -> pd.DataFrame:
        """Table with the column ``class_name`` beside ``dataset`` and ``class``, its number."""
        names = [
            self.data(row["dataset"]).classes[row["class"]] for row in table.to_dict("records")
        ]
        return table.assign(class_name=names)

    def kinds(self, spec: str) -> dict[str, str]:
        """Kind of each layer of the embedding, by name: ``conv``, ``block`` or ``fc``."""
        return {layer.name: layer.kind for layer in self.backbone(spec).layers}

    def overlap_group(self, pair: Pair) -> OverlapGroup | None:
        """Group of a dataset by its overlap with what the network has learnt.

        None for networks with random weights, for weights of unknown origin, and where nobody has
        compared the two.
        """
        return overlap_of(pair.dataset, self.backbone(pair.network).source_task).group

    def atlas(self, spec: str) -> UnitAtlas:
        """Where in the reference images every unit of a network answers most strongly."""
        from analysis.features import unit_atlas  # loads PyTorch

        if spec not in self._atlases:
            images = self.reference(REFERENCES)
            self._atlases[spec] = unit_atlas(images, self.backbone(spec), progress=self.progress)
        return self._atlases[spec]

    def class_samples(self, dataset: str, label: int, n: int) -> list[Image]:
        """At most ``n`` images of a class, evenly spread over its list."""
        members = np.flatnonzero(self.data(dataset).labels == label)
        chosen = np.unique(np.linspace(0, len(members) - 1, n).astype(int))
        return list(self.data(dataset).subset(members[chosen]))

    def save(self, table: pd.DataFrame, name: str) -> Path:
        """Write the table behind a figure, see :func:`analysis.chapters.tables.save_table`."""
        return save_table(table, name, results=self.results, title=self.title)


_SHIPPED = ("bundled", "bundled-living")
_KEYWORDS = (*_SHIPPED, "imagenet", "places365", "random")


def _short_spec(spec: str) -> str:
    """``vgg16@/weights/mine.pth`` as ``vgg16@mine``, unless that means other weights."""
    name, _, weights = spec.partition("@")
    file = re.fullmatch(r"(.+?)\.(safetensors|pth|pt|pth\.tar|ckpt|bin)", Path(weights).name)
    return spec if file is None or file[1] in _KEYWORDS else f"{name}@{file[1]}"


def one_layer(X: xr.DataArray, layer: str) -> xr.DataArray:
    """One layer's features; they are neighbours, and a slice keeps the stored chunks."""
    columns = np.flatnonzero(X["layer"].to_numpy() == layer)
    return X[:, columns[0] : columns[-1] + 1]


def short_name(name: str) -> str:
    """Name of a dataset for readers: of a folder or a table its last part, ``my photos``."""
    kind, colon, path = name.partition(":")
    return (Path(path).name or name) if colon and kind in OWN else name


def lacks(study: Study, chapter: str) -> str:
    """Say what a study lacks for a chapter to have a subject, and what to do; empty if nothing.

    Parameters
    ----------
    study
        The study.
    chapter
        Name of the notebook, ``"04-tca-fusion"``.
    """
    from analysis.chapters.domains import domain_pairs

    if chapter in ("01a-office-domains", "04-tca-fusion"):
        labelled = 3 if chapter == "01a-office-domains" else 0  # of each class of the target
        try:
            domain_pairs({name: study.data(name) for name in study.datasets}, n_target=labelled)
        except ValueError as error:
            return str(error)
    weights = {split_network(network)[1] for network in study.networks}
    if chapter == "06-bundled-networks" and not weights.intersection(_SHIPPED):
        return (
            "This chapter asks whether the features of the networks that come along can be "
            "trusted. This study has none of them. Name one beside its own: "
            "`make book NETWORK=minivgg16@bundled`."
        )
    return ""


def _thinned(data: ImageDataset, max_images: int | None) -> ImageDataset:
    """About ``max_images`` of a dataset, as many of each class as its share, at least one."""
    if max_images is None or len(data) <= max_images:
        return data
    share = max_images / len(data)
    members = [np.flatnonzero(data.labels == label) for label in np.unique(data.labels)]
    chosen = [
        own[np.linspace(0, len(own) - 1, max(1, round(len(own) * share))).astype(int)]
        for own in members
    ]
    return data.subset(np.sort(np.concatenate(chosen)))
