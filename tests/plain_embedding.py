"""What a recommended embedding is: its layers, standardised or discretised, and weighted."""

from __future__ import annotations

import numpy as np
from sklearn.preprocessing import StandardScaler

from analysis.statistics import FullNetworkEmbedding


def embedded(train, images, names, layers, *, features=None, values, weights):
    """Images (n, kept), by the moments of the training images; ``names``: layer of each feature."""
    kept = np.isin(names, layers) & (True if features is None else features)
    scaler = StandardScaler() if values == "standardised" else FullNetworkEmbedding()
    X = scaler.fit(np.asarray(train)[:, kept]).transform(np.asarray(images)[:, kept]).astype(float)
    own = names[kept]
    if weights == "layers":
        for layer in set(own.tolist()):
            X[:, own == layer] *= np.sqrt(own.size / len(set(own)) / (own == layer).sum())
    return X
