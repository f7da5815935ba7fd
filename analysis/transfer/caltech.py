"""The Caltech-101 protocol of Donahue et al. (DeCAF, ICML 2014, section 4.1), for any images.

Conventions
-----------
Equally many training images of each class, all others are test images; the accuracy is the mean
over the classes. ``C`` is chosen split by split: of the training images some of each class validate
machines fitted to the others, the ``C`` of the best (of equals the smallest) is taken, and the
machine fitted again to all training images. Values are tried in rising order until the accuracy has
been below the best twice in a row. The paper does not give its values of ``C`` (ours are
:data:`analysis.transfer.split_fits.GRID`), nor whether it scales features, nor what its ± is.

Every image is scaled to unit length, the mean of the split's training images is subtracted (the
validation images are among them, which have no part in fitting while ``C`` is chosen), and all is
divided by the root of the mean square length of what is fitted, so that ``C`` means the same for
every set of features. No test image has a part in any of this. Features are not scaled one by one.

Dropout, in training, sets each raw value to 0 with probability one half. ``copies`` sets of zeros
are drawn, and the machine is fitted to that many copies of every image, each counted
``1 / copies``. In testing all values are halved; the intercept is not. The validation images are
halved too. (The paper does not say how often it draws.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from analysis.data import stratified_splits
from analysis.statistics.blocks import dense
from analysis.statistics.threads import in_threads
from analysis.transfer.protocols import affordable_n_train
from analysis.transfer.split_fits import CLASSIFIERS, GRID
from analysis.transfer.split_protocol import (
    COLUMNS,
    checked,
    measured_split,
    protocol_on_splits,
)

__all__ = [
    "FIXED_C",
    "SIZES",
    "caltech_protocol",
    "training_size_curve",
]

Array = NDArray[Any]
SIZES = (1, 3, 5, 10, 15, 20, 25, 30)
"""Training images per class of the curve."""
FIXED_C: Mapping[str, float] = {"linear SVM": 1.0, "logistic regression": 30.0}
"""C of the curve over training sizes, the same for every size."""


def caltech_protocol(
    features: Mapping[str, ArrayLike],
    labels: ArrayLike,
    *,
    seed: int,
    n_train: int = 30,
    n_validate: int = 5,
    n_splits: int = 5,
    classifiers: Sequence[str] = tuple(CLASSIFIERS),
    dropout: Sequence[bool] = (False, True),
    copies: int = 1,
    Cs: Sequence[float] = GRID,
    transformers: Mapping[str, BaseEstimator] | None = None,
    tol: float = 1e-4,
) -> pd.DataFrame:
    """Classify images by several sets of features, as the paper classifies Caltech-101.

    Parameters
    ----------
    features : mapping of str to array_like, each of shape (images, any)
        Name → finite features.
    labels : array_like, shape (images,)
        Class of each image.
    seed : int
        Seed of the splits, of what validates, and of dropout.
    n_train : int
        Training images per class. Where the smallest class has no more, as many as
        :func:`analysis.transfer.affordable_n_train` affords, and ``n_validate`` in proportion (at
        least 1).
    n_validate : int
        How many of these choose ``C``.
    n_splits : int
        How many splits.
    classifiers : sequence of str
        ``"linear SVM"``, ``"logistic regression"``, or both.
    dropout : sequence of bool
        Without, with, or both.
    copies : int
        Copies of each training image with values dropped.
    Cs : sequence of float
        Values of C to choose from; a single one is taken without a search.
    transformers : mapping of str to scikit-learn transformer, optional
        Set of features → what is fitted to the training images of a split before images are scaled
        to unit length, such as :class:`analysis.statistics.FullNetworkEmbedding`.
    tol : float
        Of :mod:`analysis.transfer.solvers`.

    Returns
    -------
    DataFrame
        One row per set of features, classifier, dropout and split: ``features``, ``classifier``,
        ``dropout``, ``split``, ``train`` and ``test`` (images), ``C``, ``validation`` (accuracy
        with this ``C``; not a number where there was no search), ``accuracy``, ``chance``, and
        ``seconds``: of choosing C and fitting, and of bringing the images into the basis, which
        both classifiers share and which is counted for each.

    Raises
    ------
    ValueError
        Shapes that do not fit, features that are not finite, fewer than two classes, classes too
        small to train, validate and test, or a classifier or C that is not known.
    """
    y = checked(features, labels, classifiers, Cs, copies)
    n_train, n_validate = _affordable(y, n_train, n_validate, search=len(set(Cs)) > 1)
    return protocol_on_splits(
        features,
        y,
        stratified_splits(y, n_train=n_train, n_splits=n_splits, seed=seed),
        seed=seed,
        n_validate=n_validate,
        classifiers=classifiers,
        dropout=dropout,
        copies=copies,
        Cs=Cs,
        transformers=transformers,
        tol=tol,
    )


def training_size_curve(
    features: Mapping[str, ArrayLike],
    labels: ArrayLike,
    *,
    seed: int,
    sizes: Sequence[int] | None = None,
    n_splits: int = 5,
    Cs: Mapping[str, float] = FIXED_C,
    dropout: Sequence[bool] = (True,),
    copies: int = 1,
    tol: float = 1e-4,
) -> pd.DataFrame:
    """Accuracy by the number of training images per class, from one on, with C fixed.

    ``C`` is the same for every size, because a single image per class leaves none to validate (the
    paper fixes its parameters too, and does not give them). The test images of a split are the same
    for every size: those that the greatest does not train on. Smaller training sets are parts of
    greater ones.

    Parameters
    ----------
    features, labels, seed, n_splits, dropout, copies, tol
        As in :func:`caltech_protocol`.
    sizes : sequence of int, optional
        Training images per class. By default those of :data:`SIZES` that leave every class an image
        to be tested on.
    Cs : mapping of str to float
        Classifier → its ``C``.

    Returns
    -------
    DataFrame
        Columns of :func:`caltech_protocol`, and ``n_train`` (per class) after ``dropout``;
        ``validation`` is not a number.

    Raises
    ------
    ValueError
        As there; or if a class is too small for one of ``sizes``.
    """
    y = checked(features, labels, tuple(Cs), tuple(Cs.values()), copies)
    smallest = int(np.unique(y, return_counts=True)[1].min())
    wanted = sorted([size for size in SIZES if size < smallest] if sizes is None else sizes)
    if not wanted or wanted[0] < 1 or wanted[-1] >= smallest:
        raise ValueError(
            f"expected sizes from 1 to {smallest - 1}, since the smallest class has {smallest} "
            f"images and one must be left to test on; got {wanted}"
        )
    outer = stratified_splits(y, n_train=wanted[-1], n_splits=n_splits, seed=seed)
    parts = [
        (number, _part(y, most, size, seed + number), test)
        for size, (number, (most, test)) in product(wanted, enumerate(outer))
    ]
    found = []
    for (name, X), dropped in product(features.items(), dropout):
        measure = partial(
            measured_split,
            np.asarray(dense(X)),
            y,
            grids={classifier: (C,) for classifier, C in Cs.items()},
            seed=seed,
            draws=copies if dropped else 0,
            tol=tol,
        )
        tables = in_threads(measure, parts)
        found.append(pd.concat(tables).assign(features=name, dropout=dropped))
    table = pd.concat(found, ignore_index=True)
    table["n_train"] = table["train"] // np.unique(y).size
    return table[["features", "classifier", "dropout", "n_train", *COLUMNS]]


def _part(y: Array, most: Array, size: int, seed: int) -> Array:
    """Take some training images; the same seed draws the same order, so that parts are nested."""
    if np.bincount(np.unique(y[most], return_inverse=True)[1]).min() == size:
        return most
    inner = stratified_splits(y[most], n_train=size, n_splits=1, seed=seed)
    part: Array = most[inner[0].train]
    return part


def _affordable(y: Array, n_train: int, n_validate: int, search: bool) -> tuple[int, int]:
    """Training and validation images per class that the smallest class can give."""
    if n_train < 1 or (search and not 1 <= n_validate < n_train):
        raise ValueError(
            "expected at least one image per class to train on and one to validate, got "
            f"n_train={n_train} of which n_validate={n_validate}"
        )
    smallest = int(np.unique(y, return_counts=True)[1].min())
    if smallest > n_train:
        return n_train, n_validate
    fewer = affordable_n_train(y, n_train)
    if fewer < (2 if search else 1):
        raise ValueError(
            f"the smallest class has {smallest} images, too few to train, validate and test; leave "
            "it out, or give a single C"
        )
    return fewer, max(1, n_validate * fewer // n_train)
