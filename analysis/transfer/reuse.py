"""A recommended embedding as a file: what was chosen, fitted, saved, and used on other images."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from analysis.paths import written_whole
from analysis.statistics import FullNetworkEmbedding
from analysis.statistics.named import NamedFeatures
from analysis.transfer.candidates import Candidate, Values, Weights

__all__ = ["RecommendedEmbedding"]

_CHOICE = "recommended.json"


class RecommendedEmbedding(NamedFeatures, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Some layers of labelled features, standardised or discretised, and weighted.

    For features of :func:`analysis.extract`, which know their layers. A fitted one can be saved.

    Parameters
    ----------
    layers : sequence of str, optional
        Those to keep; all by default.
    features : array_like of bool, shape (features,), optional
        Keep only these features of the layers, as they stand in what ``fit`` is given.
    values, weights
        As in :class:`analysis.transfer.candidates.Candidate`.

    Attributes
    ----------
    embedding_ : FullNetworkEmbedding
        Means, deviations and names of the kept features.
    layers_ : list of str
        The layers kept: ``extract(..., layers=embedding.layers_)`` is enough for them.
    """

    def __init__(
        self,
        layers: Sequence[str] | None = None,
        *,
        features: ArrayLike | None = None,
        values: Values = "standardised",
        weights: Weights = "features",
    ) -> None:
        self.layers = layers
        self.features = features
        self.values = values
        self.weights = weights

    @classmethod
    def of(cls, candidate: Candidate, features: ArrayLike | None = None) -> Self:
        """Embedding of a candidate, or of some of its features, not fitted yet."""
        how: dict[str, Any] = {"values": candidate.values, "weights": candidate.weights}
        return cls(candidate.layers, features=features, **how)

    def fit(self, X: xr.DataArray, y: object = None) -> Self:
        """Learn the moments of features (image, feature) with the coordinates layer and unit.

        Raises
        ------
        ValueError
            Unknown values, weights or layers, no feature to keep, features without names, and what
            :meth:`analysis.statistics.FullNetworkEmbedding.fit` refuses.
        """
        for given, known in ((self.values, Values), (self.weights, Weights)):
            if given not in get_args(known):
                raise ValueError(f"expected one of {', '.join(get_args(known))}, got {given!r}")
        _require_names(X)
        X = X.transpose("image", "feature")
        kept = self._kept(X["layer"].to_numpy())
        self.embedding_ = FullNetworkEmbedding().fit(X.isel(feature=kept))
        self.layers_ = list(self.embedding_.layers_ or ())
        self._remember(X, X.shape[1])
        return self

    def transform(self, X: xr.DataArray) -> xr.DataArray:
        """Embed images.

        Parameters
        ----------
        X : DataArray (image, feature)
            Features of the same network; those that are kept are enough.

        Returns
        -------
        DataArray of float32, (image, kept)
            With the coordinates of X, and lazy if it is.

        Raises
        ------
        ValueError
            Features of another network, or some missing.
        """
        check_is_fitted(self)
        _require_names(X)
        discrete = self.embedding_.transform(X)
        if self.values == "discretised":
            values = discrete.astype(np.float32)
        else:
            named, kept = _units(X), _units(discrete)
            scale = np.where(self.embedding_.scale_ > 0, self.embedding_.scale_, np.inf)
            chosen = X.transpose("image", "feature").isel(feature=named.get_indexer(kept))
            values = (chosen - self._by_feature(self.embedding_.mean_)) / self._by_feature(scale)
        weighted: xr.DataArray = values * self._by_feature(self._weights(discrete))
        return weighted.astype(np.float32).assign_attrs(X.attrs)

    def save(self, folder: str | Path, *, classes: Iterable[str] = ()) -> Path:
        """Write a fitted embedding into a folder, as JSON and safetensors.

        Parameters
        ----------
        folder : path
            Holds what :meth:`analysis.statistics.FullNetworkEmbedding.save` writes, and
            ``recommended.json``; files of these names are replaced.
        classes : iterable of str
            Names of the classes, for the reader.

        Returns
        -------
        Path
            The folder.
        """
        check_is_fitted(self)
        written = self.embedding_.save(folder, classes=classes)
        choice = {"values": self.values, "weights": self.weights}
        with written_whole(written / _CHOICE) as partial:
            partial.write_text(json.dumps(choice) + "\n", encoding="utf-8")
        return written

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what :meth:`save` wrote; nothing in it is executed.

        Raises
        ------
        FileNotFoundError
            If a file is missing.
        ValueError
            If they hold anything else than what was saved.
        """
        path = Path(folder) / _CHOICE
        if not path.is_file():
            raise FileNotFoundError(f"{folder} is no saved recommendation: it lacks {_CHOICE}")
        try:
            choice = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or too deep
            raise ValueError(f"{path} is not JSON ({error})") from error
        known = {"values": get_args(Values), "weights": get_args(Weights)}
        if not isinstance(choice, dict) or any(choice.get(k) not in known[k] for k in known):
            raise ValueError(f"{path}: expected values and weights among {known}, got {choice!r}")
        embedding = FullNetworkEmbedding.load(folder)
        layers = list(embedding.layers_ or ())
        read = cls(layers, values=choice["values"], weights=choice["weights"])
        read.embedding_, read.layers_ = embedding, layers
        return read

    def _kept(self, layers: NDArray[Any]) -> NDArray[np.int64]:
        """Positions of the features to keep."""
        unknown = [name for name in self.layers or () if name not in set(layers.tolist())]
        if unknown:
            raise ValueError(f"expected layers among {list(dict.fromkeys(layers))}, got {unknown}")
        of_layers = layers == layers if self.layers is None else np.isin(layers, list(self.layers))
        among = np.asarray(of_layers if self.features is None else self.features, bool)
        if among.shape != layers.shape or not (of_layers & among).any():
            raise ValueError(
                f"expected for each of {layers.size} features whether it is kept, at least one of "
                f"them, got {int(among.sum())} of {among.size}"
            )
        return np.flatnonzero(of_layers & among)

    def _weights(self, kept: xr.DataArray) -> NDArray[np.float64]:
        """Weight of each kept feature: 1, or such that every layer counts alike."""
        if self.weights == "features":
            return np.ones(kept.sizes["feature"])
        layers = kept["layer"].to_numpy()
        _, member, sizes = np.unique(layers, return_inverse=True, return_counts=True)
        alike: NDArray[np.float64] = np.sqrt(layers.size / sizes.size / sizes[member])
        return alike

    @staticmethod
    def _by_feature(values: NDArray[np.float64]) -> xr.DataArray:
        return xr.DataArray(values, dims="feature")


def _require_names(X: Any) -> None:
    if not isinstance(X, xr.DataArray) or not {"layer", "unit"} <= set(X.coords):
        raise ValueError(
            "expected features with the coordinates 'layer' and 'unit', as extract gives them"
        )


def _units(X: xr.DataArray) -> Any:
    return pd.MultiIndex.from_arrays([X["layer"].to_numpy(), X["unit"].to_numpy()])
