"""The accuracies on Caltech-101 that Donahue et al. print, for printing them beside others.

Conventions
-----------
Donahue et al. (DeCAF, ICML 2014), figure 4 left and section 4.1: mean accuracy per class and ± over
five splits, in per cent, with 30 training images of each class. What the ± is they do not say. The
fifth layer is flattened, the sixth and the seventh are fully connected. With dropout the fifth has
no number.
"""

from __future__ import annotations

import pandas as pd

__all__ = ["PUBLISHED_ONE_SHOT", "published_caltech"]

_FEATURES = ("DeCAF5", "DeCAF6", "DeCAF7")
_ROWS: dict[tuple[str, bool], str] = {
    ("logistic regression", False): "63.29 6.6  84.30 1.6  84.87 0.6",
    ("logistic regression", True): "nan nan  86.08 0.8  85.68 0.6",
    ("linear SVM", False): "77.12 1.1  84.77 1.2  83.24 1.2",
    ("linear SVM", True): "nan nan  86.91 0.7  85.51 0.9",
}

PUBLISHED_ONE_SHOT = 33.0
"""DeCAF6, linear SVM with dropout, one training image per class, in per cent."""


def published_caltech() -> pd.DataFrame:
    """Figure 4 left of the paper, a row per cell.

    Returns
    -------
    DataFrame
        ``features`` ("DeCAF5", "DeCAF6", "DeCAF7"), ``classifier``, ``dropout``, ``mean`` and
        ``std`` in per cent; not numbers where the paper has a dash.
    """
    rows = []
    for (classifier, dropout), text in _ROWS.items():
        numbers = [float(number) for number in text.split()]
        for name, mean, std in zip(_FEATURES, numbers[::2], numbers[1::2], strict=True):
            rows.append((name, classifier, dropout, mean, std))
    return pd.DataFrame(rows, columns=["features", "classifier", "dropout", "mean", "std"])
