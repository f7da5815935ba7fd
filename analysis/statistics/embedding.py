"""The full-network embedding: every feature standardised, then high, low or neither.

Conventions
-----------
Garcia-Gasulla et al., *An out-of-the-box full-network embedding for convolutional neural networks*,
ICBK 2018 (arXiv 1705.07706): the spatial mean of every filter and the neurons of fully connected
layers; each feature standardised by the images that the embedding is fitted to; -1 below -0.25,
+1 above 0.15, else 0. The numbers are those of the authors' code. They are standard deviations of a
feature, not distances: thresholds on D_KS (:func:`noise_thresholds`) have another scale.

Where the authors' two programs differ, this one does as the older: the standard deviation is the
population's (n in the denominator), and both bounds themselves give 0. A feature that does not vary
over those images gives 0 for every image. Features are taken after the ReLU (the two programs
differ in that as well), unless ``extract`` was asked for those before it.

A fitted embedding is saved in a folder: numbers as safetensors, all else as JSON. Neither format
can hold anything that is executed when it is read. The JSON is written last and holds the checksum
of the numbers, so that a half-written folder is not taken for a whole one.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

from analysis.paths import written_whole
from analysis.statistics.blocks import blocks_of, conform
from analysis.statistics.named import NamedFeatures, feature_names, places_of

Array = NDArray[Any]

_MEANING = ("weights_hash", "architecture", "pooling", "tokens", "activation")
_PACKAGES = ("layerbook", "numpy", "scikit-learn", "xarray")


class FullNetworkEmbedding(NamedFeatures, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Standardise every feature and say whether it is high (+1), low (-1) or neither (0).

    Parameters
    ----------
    lower, upper : float
        Cut points, in standard deviations from the mean: below ``lower`` gives -1, above ``upper``
        +1, the bounds themselves 0.
    layers : str or sequence of str, optional
        Keep only the features of these layers, of an X with the coordinate ``layer``.

    Attributes
    ----------
    mean_, scale_ : ndarray of float64, shape (kept,)
        Mean and standard deviation of the kept features over the images; a feature that does not
        vary has scale 0.
    kept_ : ndarray of int64, shape (kept,)
        Positions of the kept features among those that ``fit`` was given.
    layers_ : list of str or None
        The layers kept, in the order of the features; None where layers are not known.
    n_features_in_ : int
        Features that ``fit`` was given.
    feature_names_in_ : ndarray of object, shape (n_features_in_,)
        Their names, where they have any: ``fire9_370`` is unit 370 of layer ``fire9``.
    provenance_ : dict
        What the attributes of a DataArray say of the network, its weights and its preprocessing.

    Notes
    -----
    Means are taken in float64, some features at a time, so that no second copy of a large X is
    made. A DataArray on Dask is read once by ``fit``, and only in the kept layers; ``transform``
    leaves it lazy.
    """

    def __init__(
        self,
        lower: float = -0.25,
        upper: float = 0.15,
        *,
        layers: str | Sequence[str] | None = None,
    ) -> None:
        self.lower = lower
        self.upper = upper
        self.layers = layers

    def fit(self, X: ArrayLike | xr.DataArray, y: object = None) -> Self:
        """Learn mean and standard deviation of every feature.

        Parameters
        ----------
        X : array_like, DataFrame or DataArray, shape (images, features)
            Finite numbers, at least two images. A DataArray has the dimensions ``image`` and
            ``feature``.
        y : object
            Not used.

        Raises
        ------
        ValueError
            Bounds out of order, values that are not finite, another shape, unknown layers.
        """
        self._check_bounds()
        names, attributes = None, {}
        checked: Any
        if isinstance(X, xr.DataArray):
            checked, attributes = self._conform(X), X.attrs
            if "layer" in X.coords:
                names = np.asarray(X["layer"].to_numpy(), dtype=object)
        else:
            checked = validate_data(self, X, ensure_min_samples=2)
        self.provenance_ = {str(k): plain_json(v) for k, v in attributes.items()}
        self.kept_ = _kept(self.layers, names, checked.shape[1])
        self.layers_ = None if names is None else list(dict.fromkeys(names[self.kept_].tolist()))
        self.mean_, self.scale_ = moments(checked, self.kept_)
        return self

    def transform(self, X: ArrayLike | xr.DataArray) -> Any:
        """Discretise images.

        Parameters
        ----------
        X : array_like, DataFrame or DataArray, shape (images, features)
            The features that ``fit`` was given. A DataArray with names may hold them in another
            order, or only those that are kept.

        Returns
        -------
        ndarray or DataArray of int8, shape (images, kept)
            -1, 0 and 1. A DataArray for a DataArray, with its coordinates, and lazy if it is.

        Raises
        ------
        ValueError
            Values that are not finite, other features, features of another network.
        """
        check_is_fitted(self)
        bounds = {"lower": self.lower, "upper": self.upper}
        if not isinstance(X, xr.DataArray):
            checked: Array = validate_data(self, X, reset=False)
            kept = checked if self.kept_.size == checked.shape[1] else checked[:, self.kept_]
            return discretised(kept, self.mean_, self.scale_, **bounds)
        X = self._select(X)
        learnt = [xr.DataArray(each, dims="feature") for each in (self.mean_, self.scale_)]
        found: xr.DataArray = xr.apply_ufunc(
            discretised, X, *learnt, kwargs=bounds, dask="parallelized", output_dtypes=[np.int8]
        )
        return found.rename(X.name).assign_attrs(X.attrs | bounds)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> Array:
        """Names of the kept features, shape (kept,), such as ``fire9_370``; else ``x0``, …."""
        check_is_fitted(self)
        names: Array = _check_feature_names_in(self, input_features)
        return names[self.kept_]

    def save(self, folder: str | Path, *, classes: Iterable[str] = ()) -> Path:
        """Write a fitted embedding into a folder, as JSON and safetensors.

        Parameters
        ----------
        folder : path
            Made where it is missing. Holds ``embedding.json`` (thresholds, layers, names of
            features, provenance, versions) and ``embedding.safetensors`` (``mean``, ``scale``,
            ``kept``); files of these names are replaced.
        classes : iterable of str
            Names of the classes among the images that it was fitted to, for the reader.

        Returns
        -------
        Path
            The folder.
        """
        check_is_fitted(self)
        folder, names = Path(folder), getattr(self, "feature_names_in_", None)
        numbers = save({"mean": self.mean_, "scale": self.scale_, "kept": self.kept_})
        facts = {
            "format": FORMAT,
            "format_version": VERSION,
            "lower": float(self.lower),
            "upper": float(self.upper),
            "layers": None if self.layers is None else _as_list(self.layers),
            "kept_layers": self.layers_,
            "n_features_in": int(self.n_features_in_),
            "feature_names_in": None if names is None else [str(name) for name in names],
            "provenance": self.provenance_,
            "classes": [str(name) for name in classes],
            "versions": {package: version(package) for package in _PACKAGES},
            "numbers_sha256": hashlib.sha256(numbers).hexdigest(),
        }
        text = json.dumps(facts, indent=1, allow_nan=False, ensure_ascii=False)
        for name, content in ((NUMBERS, numbers), (FACTS, f"{text}\n".encode())):
            with written_whole(folder / name) as partial:
                partial.write_bytes(content)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what :meth:`save` wrote; nothing in it is executed.

        Parameters
        ----------
        folder : path
            The folder that was saved to.

        Raises
        ------
        FileNotFoundError
            If one of the two files is missing.
        ValueError
            If they hold anything else than what was saved: another format or version, other names,
            types or sizes, another checksum.
        """
        folder = Path(folder)
        for name in (FACTS, NUMBERS):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"{folder} is no saved embedding: it lacks {name}")
        facts = _read_facts(folder / FACTS)
        read = cls(facts["lower"], facts["upper"], layers=facts["layers"])
        read._check_bounds()
        read.n_features_in_ = facts["n_features_in"]
        if facts["feature_names_in"] is not None:
            read.feature_names_in_ = np.array(facts["feature_names_in"], dtype=object)
        read.layers_, read.provenance_ = facts["kept_layers"], facts["provenance"]
        tensors = _read_numbers(folder / NUMBERS, facts)
        read.mean_, read.scale_, read.kept_ = (tensors[k] for k in ("mean", "scale", "kept"))
        return read

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _check_bounds(self) -> None:
        # Not `lower > upper`: NaN is in no order.
        if not (-math.inf < self.lower <= self.upper < math.inf):
            raise ValueError(
                f"expected finite bounds, lower ≤ upper, got {self.lower!r} and {self.upper!r}"
            )

    def _conform(self, X: xr.DataArray) -> xr.DataArray:
        """Check a DataArray as scikit-learn checks arrays, and remember its features."""
        X = _labelled(X)
        if X.shape[0] < 2:
            raise ValueError(
                f"Found array with {X.shape[0]} sample(s) (shape={X.shape}) while a minimum of 2 "
                "is required: one image has no standard deviation"
            )
        self._remember(X, X.shape[1])
        return X

    def _select(self, X: xr.DataArray) -> xr.DataArray:
        """Take the kept features of a DataArray, by name where there are names."""
        X, given = _labelled(X), feature_names(X)
        known = getattr(self, "feature_names_in_", None)
        _refuse_another_network(self.provenance_, X.attrs)
        if given is None or known is None or np.array_equal(given, known):
            if X.shape[1] != self.n_features_in_:
                raise ValueError(
                    f"X has {X.shape[1]} features, but {type(self).__name__} is expecting "
                    f"{self.n_features_in_} features as input"
                )
            at = self.kept_
        else:
            wanted = known[self.kept_]
            at = places_of(wanted, given)
            if (at < 0).any():
                raise ValueError(
                    f"X has {given.size} features, but lacks {(at < 0).sum()} of the {at.size} "
                    f"features that the embedding keeps, such as {wanted[at < 0][0]!r}: extract "
                    f"the layers {self.layers_}"
                )
        return X if np.array_equal(at, np.arange(X.shape[1])) else X.isel(feature=at)


def _labelled(X: xr.DataArray) -> xr.DataArray:
    checked = conform(X)
    assert isinstance(checked, xr.DataArray)  # as it was before
    return checked


def _as_list(layers: str | Sequence[str]) -> list[str]:
    return [layers] if isinstance(layers, str) else [str(name) for name in layers]


def _kept(layers: str | Sequence[str] | None, names: Array | None, n: int) -> NDArray[np.int64]:
    """Positions of the features of some layers."""
    if layers is None:
        return np.arange(n)
    if names is None:
        raise ValueError(
            "layers were chosen, but X does not say which layer a feature belongs to: give a "
            "DataArray with the coordinate 'layer'"
        )
    wanted, known = _as_list(layers), list(dict.fromkeys(names.tolist()))
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise ValueError(f"expected layers among {known}, got {unknown or wanted}")
    return np.flatnonzero(np.isin(names, wanted))


def _refuse_another_network(fitted: Mapping[str, Any], given: Mapping[Any, Any]) -> None:
    for name in _MEANING:
        if name in fitted and name in given and fitted[name] != plain_json(given[name]):
            raise ValueError(
                f"the embedding was fitted to features with {name} {fitted[name]!r}, got "
                f"{given[name]!r}: fit another one, or extract the features it was fitted to"
            )


FIT_VALUES, TRANSFORM_VALUES = 2**22, 2**19
"""Values held in float64 at a time."""


def columns(X: Array | xr.DataArray, kept: Array) -> Iterator[tuple[int, Array]]:
    """Yield ``(first, block)``: the kept features as float64, some at a time."""
    named = isinstance(X, xr.DataArray)  # of an array without names all features are kept
    blocks: Any = blocks_of(X.isel(feature=kept)) if isinstance(X, xr.DataArray) else [(0, X)]
    step = max(1, FIT_VALUES // X.shape[0])
    for offset, block in blocks:
        for first in range(0, block.shape[1], step):
            # Layout decides the order of sums: columns picked by number lie one after the other.
            part = slice(first, first + step)
            yield offset + first, block[:, part if named else kept[part]].astype(np.float64)


def moments(X: Array | xr.DataArray, kept: NDArray[np.int64]) -> tuple[Array, Array]:
    """Mean and standard deviation (population's) of the kept features."""
    mean, scale = np.empty((2, kept.size))
    for first, block in columns(X, kept):
        part = slice(first, first + block.shape[1])
        # Rounding gives equal values a mean beside them, and so a deviation.
        constant = (block == block[0]).all(axis=0)
        mean[part] = np.where(constant, block[0], block.mean(axis=0))
        scale[part] = np.where(constant, 0.0, block.std(axis=0))
    bad = np.flatnonzero(~np.isfinite(mean + scale))
    if bad.size:
        raise ValueError(
            f"expected finite features of a finite variance, got NaN, infinity or a number too "
            f"large in {bad.size}, first in feature {kept[bad[0]]}"
        )
    return mean, scale


def discretised(
    X: Array, mean: Array, scale: Array, *, lower: float, upper: float
) -> NDArray[np.int8]:
    """-1, 0 or 1 for every image and feature, some images at a time."""
    out = np.empty(X.shape, np.int8)
    rows = max(1, TRANSFORM_VALUES // max(1, X.shape[1]))
    for first in range(0, len(X), rows):
        z = X[first : first + rows] - mean
        if not np.isfinite(z).all():
            raise ValueError(
                f"expected finite features, got {(~np.isfinite(z)).sum()} that are not"
            )
        z /= np.where(scale > 0, scale, 1.0)
        out[first : first + rows] = np.subtract(z > upper, z < lower, dtype=np.int8)
    out[:, scale == 0] = 0
    return out


FORMAT, VERSION = "layerbook full-network embedding", 1
FACTS, NUMBERS = "embedding.json", "embedding.safetensors"

_TYPES: dict[str, tuple[type, ...]] = {
    "format": (str,),
    "format_version": (int,),
    "lower": (float,),
    "upper": (float,),
    "layers": (list, type(None)),
    "kept_layers": (list, type(None)),
    "n_features_in": (int,),
    "feature_names_in": (list, type(None)),
    "provenance": (dict,),
    "classes": (list,),
    "versions": (dict,),
    "numbers_sha256": (str,),
}
_MOST = 2**31  # features; their names may be made from their number
_TENSORS = {"mean": np.dtype(np.float64), "scale": np.dtype(np.float64), "kept": np.dtype(np.int64)}


def plain_json(value: Any) -> Any:
    """Turn NumPy's numbers and arrays into Python's, and what JSON does not know into text."""
    known = (np.generic, np.ndarray)
    text = json.dumps(value, default=lambda v: v.tolist() if isinstance(v, known) else str(v))
    return json.loads(text, parse_constant=str)


def _read_facts(path: Path) -> dict[str, Any]:
    """Read what was written beside the numbers, and check its names, types and sizes."""
    try:
        facts = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or too deep
        raise ValueError(f"{path} is not JSON ({error})") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise ValueError(f"{path} is not a {FORMAT}")
    if facts.get("format_version") != VERSION:
        raise ValueError(
            f"{path}: expected format version {VERSION}, got {facts.get('format_version')!r}: read "
            "it with the version of Layerbook that wrote it"
        )
    if set(facts) != set(_TYPES):
        unknown, missing = sorted(set(facts) - set(_TYPES)), sorted(set(_TYPES) - set(facts))
        raise ValueError(f"{path}: unknown entries {unknown}, missing entries {missing}")
    for name, types in _TYPES.items():
        if type(facts[name]) not in types:
            kinds = " or ".join(kind.__name__ for kind in types)
            raise ValueError(f"{path}: expected {name} to be {kinds}, got {facts[name]!r:.60}")
        if list in types and not all(isinstance(each, str) for each in facts[name] or ()):
            raise ValueError(f"{path}: expected {name} to be a list of names")
    n, names = facts["n_features_in"], facts["feature_names_in"]
    if not 0 < n <= _MOST:
        raise ValueError(f"{path}: expected 1 to {_MOST} features, got {n}")
    if names is not None and len(names) != n:
        raise ValueError(f"{path}: expected {n} feature_names_in, got {len(names)}")
    return facts


def _read_numbers(path: Path, facts: dict[str, Any]) -> dict[str, Array]:
    """Read moments and kept features, and check that they are those that were written."""
    content = path.read_bytes()
    checksum = hashlib.sha256(content).hexdigest()
    if checksum != facts["numbers_sha256"]:
        raise ValueError(
            f"{path} is not the file that {FACTS} was written with: expected SHA-256 "
            f"{facts['numbers_sha256']}, got {checksum}; save the embedding again"
        )
    try:
        tensors: dict[str, Array] = load(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a safetensors file ({error})") from error
    if set(tensors) != set(_TENSORS):
        raise ValueError(f"{path}: expected the tensors {sorted(_TENSORS)}, got {sorted(tensors)}")
    kept, mean, scale, n = (
        *(tensors[k] for k in ("kept", "mean", "scale")),
        facts["n_features_in"],
    )
    for name, dtype in _TENSORS.items():
        if tensors[name].dtype != dtype or tensors[name].shape != (kept.size,):
            raise ValueError(
                f"{path}: expected {name} as {dtype} of shape ({kept.size},), got "
                f"{tensors[name].dtype} of shape {tensors[name].shape}"
            )
    if kept.size == 0 or kept.min() < 0 or kept.max() >= n or (np.diff(kept) <= 0).any():
        raise ValueError(f"{path}: expected kept features in order, from 0 to {n - 1}")
    if not np.isfinite(mean).all() or not np.isfinite(scale).all() or scale.min() < 0:
        raise ValueError(f"{path}: expected finite means, and scales from 0")
    return tensors
