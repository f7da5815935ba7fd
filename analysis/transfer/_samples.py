"""What estimators and protocols are given: samples and labels, checked once."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.data.images import checked_labels
from analysis.statistics.blocks import dense
from analysis.statistics.named import NamedFeatures

Floats = NDArray[np.float64]


def checked_samples(X: ArrayLike, what: str, n_features: int | None = None) -> Floats:
    """Take samples as float64 if they are finite and of the expected width; sparse ones as dense.

    Raises
    ------
    ValueError
        If they are not (samples, features), not finite, or of another width.
    """
    values = np.asarray(dense(X), dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"expected {what} of shape (samples, features), got {values.shape}")
    if n_features is not None and values.shape[1] != n_features:
        raise ValueError(
            f"expected {n_features} features as in the other samples, but {what} have "
            f"{values.shape[1]}: take both from the same layers of the same network"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"expected finite {what}, got {(~np.isfinite(values)).sum()} others")
    return values


def images_and_labels(
    features: Any, labels: ArrayLike, name: str = ""
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Features and labels as arrays, if they fit together and there is something to tell apart.

    Raises
    ------
    ValueError
        Shapes that do not fit, features that are not finite, labels that are missing or of mixed
        kinds, fewer than two classes.
    """
    X, shape = np.asarray(dense(features)), np.shape(labels)
    if X.ndim != 2 or 0 in X.shape or shape != X.shape[:1]:
        raise ValueError(
            f"{name}expected features (images, features) and one label per image, got {X.shape} "
            f"and {shape}"
        )
    if not np.isfinite(X).all():
        raise ValueError(
            f"{name}expected finite features, got {(~np.isfinite(X)).sum()} that are not"
        )
    y = checked_labels(labels, len(X))
    if (classes := np.unique(y)).size < 2:
        raise ValueError(f"expected at least two classes, got only {classes.tolist()}")
    return X, y


def whole_number(name: str, value: Any, least: int | None = None) -> int:
    """Take a number as an integer where it is one, such as 5.0.

    Raises
    ------
    ValueError
        If it is not, or below ``least``.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not float(value).is_integer():
        raise ValueError(f"expected {name} to be a whole number, such as 20, got {value!r}")
    if least is not None and value < least:
        raise ValueError(f"expected {name} of at least {least}, got {value}")
    return int(float(value))


class KnownFeatures(NamedFeatures):
    """Of estimators that take samples (samples, features)."""

    def _samples(self, X: ArrayLike, what: str = "samples") -> Floats:
        """Take samples with the features that ``fit`` was given, in their order.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            Other features; what :func:`checked_samples` refuses.
        """
        return checked_samples(self._in_order(X, what), what, self.n_features_in_)
