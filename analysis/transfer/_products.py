"""Training images scaled once, and their inner products layer by layer, for every set of features.

A linear machine on some layers needs of the training images nothing but their inner products, and
those of several layers are sums of those of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas
from sklearn.preprocessing import StandardScaler

from analysis.statistics import FullNetworkEmbedding

Array = NDArray[Any]
Values = Literal["standardised", "discretised"]
VALUES: tuple[Values, ...] = ("standardised", "discretised")


@dataclass(frozen=True, eq=False)
class ScaledImages:
    """Training images in both kinds of values.

    Attributes
    ----------
    scalers : mapping of str to transformer
        ``standardised`` and ``discretised``, fitted to the training images.
    rows : mapping of str to ndarray of float64, shape (images, features)
        The training images so scaled.
    products : mapping of (str, str) to ndarray of float64, shape (images, images)
        Inner products by kind of values and layer, divided by the layer's number of features.
    scaling : mapping of str to float
        Seconds that scaling took, per feature.
    multiplying : mapping of (str, str) to float
        Seconds that the products took.
    """

    scalers: Mapping[Values, Any]
    rows: Mapping[Values, NDArray[np.float64]]
    products: Mapping[tuple[Values, str], NDArray[np.float64]]
    scaling: Mapping[Values, float]
    multiplying: Mapping[tuple[Values, str], float]

    def inner(self, values: Values, shares: Mapping[str, float]) -> NDArray[np.float64]:
        """Inner products by several layers, each with its share."""
        parts = [self.products[values, layer] for layer in shares]
        total: NDArray[np.float64] = np.zeros(parts[0].size)
        for part, share in zip(parts, shares.values(), strict=True):
            total = blas.daxpy(part.ravel(), total, a=share)
        return total.reshape(parts[0].shape)


def scale_images(X: Array, layers: Array) -> ScaledImages:
    """Scale training images (images, features), whose features belong to these layers."""
    scalers: dict[Values, Any] = {
        "standardised": StandardScaler(),
        "discretised": FullNetworkEmbedding(),
    }
    wide = X.astype(np.float64)
    rows, products, scaling, multiplying = {}, {}, {}, {}
    for values in VALUES:
        begun = perf_counter()
        rows[values] = scalers[values].fit_transform(wide).astype(np.float64, copy=False)
        scaling[values] = (perf_counter() - begun) / layers.size
        for layer in dict.fromkeys(layers.tolist()):
            begun = perf_counter()
            part = rows[values][:, layers == layer]
            products[values, layer] = part @ part.T / part.shape[1]
            multiplying[values, layer] = perf_counter() - begun
    return ScaledImages(scalers, rows, products, scaling, multiplying)
