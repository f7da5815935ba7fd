"""Features by name, wherever two arrays of them meet: fitted and new, source and target, shards.

And results by class and feature, with their coordinates.

Conventions
-----------
names
    ``fire9_370`` is unit 370 of layer ``fire9``, of a DataArray with the coordinates ``layer`` and
    ``unit``. Of a DataFrame, the names are its columns, where these are text, as scikit-learn has
    it. Nothing else names features: a layer alone does not say which of its units.
order
    Features of one array are put into the order of the other. Others than there are refused.
no names
    Where only one of the two has names, features are taken by position, with a warning.
"""

from __future__ import annotations

import warnings
from typing import Any, TypeVar, cast

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import _get_feature_names, check_is_fitted

from analysis.data.images import checked_labels

Names = NDArray[Any]
Order = NDArray[np.int64] | slice
T = TypeVar("T")


def feature_names(X: Any) -> Names | None:
    """Name of every feature, shape (features,), where X knows them.

    Raises
    ------
    TypeError
        Columns of a DataFrame of which only some are text.
    """
    if not isinstance(X, xr.DataArray):
        names: Names | None = _get_feature_names(X)
        return names
    if not {"layer", "unit"} <= set(X.coords) or X["unit"].ndim != 1:
        return None
    pairs = zip(X["layer"].to_numpy().tolist(), X["unit"].to_numpy().tolist(), strict=True)
    return np.array([f"{layer}_{unit}" for layer, unit in pairs], dtype=object)


def places_of(wanted: Names, given: Names) -> NDArray[np.int64]:
    """Where in ``given`` each of the wanted names is, -1 where it is not or comes twice."""
    places = pd.Series(np.arange(given.size), index=given)
    once = places[~places.index.duplicated(keep=False)]
    return once.reindex(wanted, fill_value=-1).to_numpy(np.int64)


def order_by_name(given: Names | None, wanted: Names | None, what: str) -> Order:
    """Find the order that puts the features of one array beside those of another.

    Parameters
    ----------
    given, wanted : ndarray or None
        As of :func:`feature_names`: of the array to be ordered, and of the one that it meets.
    what : str
        What is to be ordered, for messages.

    Returns
    -------
    ndarray of int or slice
        The slice of everything, where names are equal or missing.

    Raises
    ------
    ValueError
        Other features, or names that come twice and not in this order.
    """
    if given is None or wanted is None:
        if given is not wanted:
            without = "do not have valid feature names" if given is None else "have feature names"
            warnings.warn(
                f"{what} {without}, other than what they meet: features are taken by position",
                stacklevel=4,
            )
        return slice(None)
    if np.array_equal(given, wanted):
        return slice(None)
    at, back = places_of(wanted, given), places_of(given, wanted)
    if (at < 0).any() or (back < 0).any():
        raise ValueError(
            f"expected {what} with the same {wanted.size} features, in any order, got "
            f"{given.size}, without {wanted[at < 0][:3].tolist()}, with "
            f"{given[back < 0][:3].tolist()} instead: take both from the same layers of the same "
            "network"
        )
    return at


def by_name(X: T, names: Names | None, what: str = "X") -> T:
    """Put the features of X, shape (..., features), in order; see :func:`order_by_name`.

    A DataArray may be lazy, and stays so.
    """
    order, chosen = order_by_name(feature_names(X), names, what), cast(Any, X)
    if isinstance(order, slice):
        return X
    if isinstance(X, xr.DataArray):
        return cast(T, chosen.isel({X["unit"].dims[0]: order}))
    return cast(T, chosen[cast(Any, names).tolist()])


class NamedFeatures:
    """What an estimator remembers of its features, as scikit-learn does.

    Attributes
    ----------
    n_features_in_ : int
        How many ``fit`` was given.
    feature_names_in_ : ndarray of object, shape (n_features_in_,)
        Their names, where they have any.
    """

    n_features_in_: int
    feature_names_in_: Names

    def _remember(self, X: Any, n_features: int) -> None:
        names = feature_names(X)
        self.n_features_in_ = n_features
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _in_order(self, X: T, what: str = "X") -> T:
        """X with the features in the order of ``fit``; see :func:`by_name`."""
        check_is_fitted(self)
        return by_name(X, getattr(self, "feature_names_in_", None), what)


Array = NDArray[Any]


def classes_of(labels: ArrayLike, n_images: int) -> tuple[Array, Array, NDArray[np.int64]]:
    """Classes in order, each image's position among them, images per class.

    Raises
    ------
    ValueError
        What :func:`~analysis.data.images.checked_labels` refuses, fewer than two classes.
    """
    labels = checked_labels(labels, n_images)
    classes, members, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if classes.size < 2:
        raise ValueError(
            f"expected at least two classes, got only {classes.tolist()}: a class is compared with "
            "the images outside it"
        )
    narrow = np.uint16 if classes.size <= 2**16 else np.uint32
    return classes, members.astype(narrow), sizes.astype(np.int64)


def labelled(
    values: NDArray[np.float64], classes: Array, features: xr.Dataset, name: str, **attrs: Any
) -> xr.DataArray:
    """Give (classes, features) the coordinates of both, and say where they come from."""
    return xr.DataArray(
        values,
        dims=("class", "feature"),
        coords={"class": classes, **features.coords},
        name=name,
        attrs={**features.attrs, **attrs},
    )
