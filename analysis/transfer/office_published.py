"""The accuracies that Donahue et al. print in table 1, for printing them beside others.

Conventions
-----------
Donahue et al. (DeCAF, ICML 2014), table 1: mean and ± over five splits, in per cent, of all 31
classes of *Office*. What the ± is they do not say. Office-Caltech-10 has ten of these classes, so
its accuracies are those of another, easier task. The row of Chopra et al. (2013) is left out: it
has deep features of its own, and no ±.
"""

from __future__ import annotations

import pandas as pd

__all__ = ["PUBLISHED_CLASSES", "published_office"]

PUBLISHED_CLASSES = 31

_DOMAINS = {
    "amazon": "office_caltech10/amazon",
    "dslr": "office_caltech10/dslr",
    "webcam": "office_caltech10/webcam",
}
_COLUMNS = [
    (source, features) for source in ("amazon", "dslr") for features in ("SURF", "DeCAF6", "DeCAF7")
]
_ROWS: dict[tuple[str, str], str] = {
    ("S", "Logistic Reg."): "9.63 1.4  48.58 1.3  53.56 1.5  24.22 1.8  88.77 1.2  87.38 2.2",
    ("S", "SVM"): "11.05 2.3  52.22 1.7  53.90 2.2  38.80 0.7  91.48 1.5  89.15 1.7",
    ("T", "Logistic Reg."): "24.33 2.1  72.56 2.1  74.19 2.8  24.33 2.1  72.56 2.1  74.19 2.8",
    ("T", "SVM"): "51.05 2.0  78.26 2.6  78.72 2.3  51.05 2.0  78.26 2.6  78.72 2.3",
    ("ST", "Logistic Reg."): "19.89 1.7  75.30 2.0  76.32 2.0  36.55 2.2  92.88 0.6  91.91 2.0",
    ("ST", "SVM"): "23.19 3.5  80.66 2.3  79.12 2.1  46.32 1.1  94.79 1.2  92.96 2.0",
    (
        "adapt",
        "Daume III (2007)",
    ): "40.26 1.1  82.14 1.9  81.65 2.4  55.07 3.0  91.25 1.1  89.52 2.2",
    ("adapt", "Hoffman et al. (2013)"): (
        "37.66 2.2  80.06 2.7  80.37 2.0  53.65 3.3  93.25 1.5  91.45 1.5"
    ),
    ("adapt", "Gong et al. (2012)"): (
        "39.80 2.3  75.21 1.2  77.55 1.9  39.12 1.3  88.40 1.0  88.66 1.9"
    ),
}


def published_office() -> pd.DataFrame:
    """Table 1 of the paper, a row per cell.

    Returns
    -------
    DataFrame
        ``source`` and ``target`` (by the names of Office-Caltech-10's domains), ``training``,
        ``method``, ``features`` ("SURF", "DeCAF6", "DeCAF7"), ``mean`` and ``deviation`` in per
        cent.
    """
    rows = []
    for (training, method), text in _ROWS.items():
        numbers = [float(number) for number in text.split()]
        cells = zip(_COLUMNS, numbers[::2], numbers[1::2], strict=True)
        rows += [
            {
                "source": _DOMAINS[source],
                "target": _DOMAINS["webcam"],
                "training": training,
                "method": method,
                "features": features,
                "mean": mean,
                "deviation": deviation,
            }
            for (source, features), mean, deviation in cells
        ]
    return pd.DataFrame(rows)
