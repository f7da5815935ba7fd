"""Which layers to keep, chosen from training images alone.

Conventions
-----------
candidates
    Every run of consecutive layers (networks of many layers: of neighbouring groups of them), in
    two kinds of values, *standardised* and *discretised* (the full-network embedding), weighted in
    two ways: every feature alike, or every layer alike, where a feature counts one over the number
    of features in its layer.
left out
    A candidate is judged by images that a classifier was not fitted to, one at a time. The
    classifier is the linear machine of :func:`analysis.transfer.linear_svm`, fitted by squared
    errors, because then all images can be left out in closed form: with inner products K (plus 1
    for the intercept) and A = K + I / 2C, the output for image i without it is
    y_i - (A⁻¹y)_i / (A⁻¹)_ii. What is compared is the machine's own loss for the image left out,
    the squared hinge, summed over its classes; with few images it tells candidates apart where
    shares of right answers, in steps of one image, do not. Means and deviations of features are
    those of all training images.
plausible
    With many classes and few images of each, the summed loss mostly tells how well a machine says
    that an image is not of a class, which features that tell little do well. So a candidate is
    passed over if fewer of the images left out are classified rightly than by the candidate that
    does best there, by more than two standard errors of that difference.
tolerance
    Of the plausible candidates whose mean loss exceeds the least one by at most ``tolerance``
    standard errors of that difference, taken image by image, the one with the fewest features is
    chosen (of equals: fewer bytes, then the lesser loss). By default only equals are that close:
    one standard error cost 0.4 points on fresh tasks (:mod:`analysis.transfer.recommendation`).
products
    A linear machine on some layers needs of the training images nothing but their inner products,
    and those of several layers are sums of those of each. So images are scaled once, and multiplied
    layer by layer, for every set of features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import blas, lapack
from sklearn.preprocessing import StandardScaler

from analysis.data.labels import checked_labels
from analysis.statistics import FullNetworkEmbedding
from analysis.statistics.blocks import dense
from analysis.statistics.threads import one_blas_thread

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


Weights = Literal["features", "layers"]

GROUPS = 8
"""Most groups of layers whose runs are candidates."""

BYTES: Mapping[str, int] = {"standardised": 4, "discretised": 1}
"""Per feature."""

_RIDGE = 0.5  # 1 / 2C of the linear machine


@dataclass(frozen=True)
class Candidate:
    """Layers to keep, and what becomes of their features.

    Attributes
    ----------
    layers : tuple of str
        In order.
    values : {"standardised", "discretised"}
        Real numbers, or -1, 0 and 1.
    weights : {"features", "layers"}
        What counts alike.
    sizes : tuple of int
        Features of each layer.
    """

    layers: tuple[str, ...]
    values: Values
    weights: Weights
    sizes: tuple[int, ...]

    @property
    def n_features(self) -> int:
        """Features of all its layers."""
        return sum(self.sizes)

    @property
    def n_bytes(self) -> int:
        """Bytes per image."""
        return self.n_features * BYTES[self.values]

    @property
    def shares(self) -> dict[str, float]:
        """Weight of each layer in the inner products of images, with the sum 1."""
        alike = self.weights == "layers"
        weights = [1 / len(self.layers) if alike else n / self.n_features for n in self.sizes]
        return dict(zip(self.layers, weights, strict=True))

    def __str__(self) -> str:
        first, last = self.layers[0], self.layers[-1]
        return f"{first if first == last else f'{first} to {last}'}, {self.values}"


class LeftOut(NamedTuple):
    """Images left out one at a time, by candidate.

    Attributes
    ----------
    loss : ndarray of float64, shape (candidates, images)
        Squared hinge loss, summed over the classes.
    right : ndarray of bool, shape (candidates, images)
        Whether the image got its class.
    """

    loss: NDArray[np.float64]
    right: NDArray[np.bool_]


def candidate_embeddings(
    feature_layers: ArrayLike, *, groups: int = GROUPS
) -> tuple[Candidate, ...]:
    """List every embedding that can be chosen.

    Parameters
    ----------
    feature_layers : array_like of str, shape (features,)
        Layer of each feature.
    groups : int
        Networks of more layers are cut into so many groups of neighbours, of which runs are made;
        single layers are candidates in any case.

    Returns
    -------
    tuple of Candidate
        Of a single layer, both weights are the same, and only ``"features"`` is there.
    """
    names, sizes = _layers(feature_layers)
    at = np.unique(np.linspace(0, len(names), min(groups, len(names)) + 1).round().astype(int))
    runs = {tuple(names[a:b]) for a in at.tolist() for b in at.tolist() if a < b}
    runs |= {(name,) for name in names}
    ordered = sorted(runs, key=lambda run: (names.index(run[0]), len(run)))
    weights: tuple[Weights, ...] = ("features", "layers")
    values: tuple[Values, ...] = ("standardised", "discretised")
    return tuple(
        Candidate(run, value, weight, tuple(sizes[name] for name in run))
        for run in ordered
        for value in values
        for weight in weights[: 1 if len(run) == 1 else 2]
    )


@one_blas_thread
def judge_candidates(
    X: ArrayLike, labels: ArrayLike, feature_layers: ArrayLike, candidates: Sequence[Candidate]
) -> LeftOut:
    """Leave out every image once, for every candidate.

    Parameters
    ----------
    X : array_like, shape (images, features)
        Features of the training images; nothing else is looked at.
    labels : array_like, shape (images,)
        Class of each.
    feature_layers : array_like of str, shape (features,)
        Layer of each feature.
    candidates : sequence of Candidate
        As :func:`candidate_embeddings` lists them.

    Returns
    -------
    LeftOut
        Losses, and which images were classified rightly.
    """
    return judge_scaled(
        scale_images(np.asarray(dense(X)), np.asarray(feature_layers)), labels, candidates
    )


def judge_scaled(
    images: ScaledImages, labels: ArrayLike, candidates: Sequence[Candidate]
) -> LeftOut:
    """As :func:`judge_candidates`, of training images that are scaled already."""
    classes, members = np.unique(checked_labels(labels), return_inverse=True)
    targets = np.where(members[:, None] == np.arange(classes.size), 1.0, -1.0)
    outputs = [_left_out(images.inner(k.values, k.shares), targets) for k in candidates]
    loss = [(np.maximum(0, 1 - targets * each) ** 2).sum(axis=1) for each in outputs]
    right = [each.argmax(axis=1) == members for each in outputs]
    return LeftOut(np.array(loss), np.array(right))


def choose_smallest(
    candidates: Sequence[Candidate], judged: LeftOut, *, tolerance: float = 0.0
) -> pd.DataFrame:
    """Choose the smallest candidate among those about as good as the best.

    Parameters
    ----------
    candidates : sequence of Candidate
        At least one.
    judged : LeftOut
        From :func:`judge_candidates`, on equally many images per class.
    tolerance : float
        Standard errors (see the conventions); 0 chooses the best, and the smallest of equals.

    Returns
    -------
    DataFrame
        A row per candidate: ``candidate``, ``layers`` (how many), ``values``, ``weights``,
        ``n_features``, ``bytes``, ``accuracy`` and ``loss`` (of images left out), ``behind`` (by
        how much its loss exceeds the least of plausible ones), ``standard_error`` (of that),
        ``plausible``, ``near`` (plausible and within the tolerance), ``best`` and ``chosen`` (true
        in one row each).
    """
    table = pd.DataFrame(
        {
            "candidate": [str(each) for each in candidates],
            "layers": [len(each.layers) for each in candidates],
            "values": [each.values for each in candidates],
            "weights": [each.weights for each in candidates],
            "n_features": [each.n_features for each in candidates],
            "bytes": [each.n_bytes for each in candidates],
            "accuracy": judged.right.mean(axis=1),
            "loss": judged.loss.mean(axis=1),
        }
    )
    small = [table["bytes"], table["n_features"]]  # the last key counts first
    table["plausible"] = _plausible(judged.right)
    best = np.lexsort([*small, table["loss"], ~table["plausible"]])[0]
    excess = judged.loss - judged.loss[best]
    table["behind"] = excess.mean(axis=1)
    table["standard_error"] = excess.std(axis=1) / np.sqrt(excess.shape[1])
    table["near"] = table["plausible"] & (table["behind"] <= tolerance * table["standard_error"])
    chosen = np.lexsort([table["behind"], *small, ~table["near"]])[0]
    table["best"] = table.index == best
    table["chosen"] = table.index == chosen
    return table


def _plausible(right: NDArray[np.bool_], errors: float = 2.0) -> NDArray[np.bool_]:
    """Tell which candidates are not clearly less accurate than the most accurate one."""
    lost = right[right.mean(axis=1).argmax()].astype(float) - right
    near: NDArray[np.bool_] = lost.mean(axis=1) <= errors * lost.std(axis=1) / lost.shape[1] ** 0.5
    return near


def _layers(feature_layers: ArrayLike) -> tuple[list[str], dict[str, int]]:
    """Layers in order, and the number of features of each."""
    each = [str(name) for name in np.asarray(feature_layers).tolist()]
    names = list(dict.fromkeys(each))
    return names, {name: each.count(name) for name in names}


def _left_out(K: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give outputs (images, classes), each image's by a machine fitted to all the others."""
    A = K + 1
    A.flat[:: len(A) + 1] += _RIDGE
    factor, _ = lapack.dpotrf(A.T, lower=1, overwrite_a=1)
    inverse, _ = lapack.dtrtri(factor, lower=1, overwrite_c=1)  # of A = L L^T, L⁻¹
    diagonal = np.einsum("ij,ij->j", inverse, inverse)
    fitted = blas.dtrmm(
        1.0, inverse, blas.dtrmm(1.0, inverse, targets, lower=1), lower=1, trans_a=1
    )
    outputs: NDArray[np.float64] = targets - fitted / diagonal[:, None]
    return outputs
