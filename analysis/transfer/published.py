"""The accuracies that papers print, for printing them beside others.

Conventions
-----------
Donahue et al. (DeCAF, ICML 2014), figure 4 left and section 4.1: mean accuracy per class and ± over
five splits, in per cent, with 30 training images of each class. What the ± is they do not say. The
fifth layer is flattened, the sixth and the seventh are fully connected. With dropout the fifth has
no number.

Donahue et al. (DeCAF, ICML 2014), table 1: mean and ± over five splits, in per cent, of all 31
classes of *Office*. What the ± is they do not say. Office-Caltech-10 has ten of these classes, so
its accuracies are those of another, easier task. The row of Chopra et al. (2013) is left out: it
has deep features of its own, and no ±.

dos Santos and Ponti (SIBGRAPI 2019), tables I to IV: accuracy on all target images, in per cent,
one run, of a ResNet-50. A star marks what is better after fine-tuning than before. Numbers,
averages and stars are as printed. Three of the 80 averages are not those of the numbers above them
(table III: third block, flatten, before fine-tuning, 86.7; first block, flatten, after it, 87.2;
third block, PCA, after it, 84.67), one accuracy of table II is no share of 795 images (second
block, pool 2D, 128 components, after fine-tuning), seven stars are missing and one is of a tie. An
average of fewer numbers, where PCA has no more than 128 components, is of those.
"""

from __future__ import annotations

import pandas as pd

_DECAF = ("DeCAF5", "DeCAF6", "DeCAF7")
_CALTECH: dict[tuple[str, bool], str] = {
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
    for (classifier, dropout), text in _CALTECH.items():
        numbers = [float(number) for number in text.split()]
        for name, mean, std in zip(_DECAF, numbers[::2], numbers[1::2], strict=True):
            rows.append((name, classifier, dropout, mean, std))
    return pd.DataFrame(rows, columns=["features", "classifier", "dropout", "mean", "std"])


PUBLISHED_CLASSES = 31

_OFFICE_COLUMNS = [
    (source, features) for source in ("amazon", "dslr") for features in ("SURF", "DeCAF6", "DeCAF7")
]
_OFFICE: dict[tuple[str, str], str] = {
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
    for (training, method), text in _OFFICE.items():
        numbers = [float(number) for number in text.split()]
        cells = zip(_OFFICE_COLUMNS, numbers[::2], numbers[1::2], strict=True)
        for (source, features), mean, deviation in cells:
            domains = (f"office_caltech10/{source}", "office_caltech10/webcam")
            rows.append((*domains, training, method, features, mean, deviation))
    columns = ["source", "target", "training", "method", "features", "mean", "deviation"]
    return pd.DataFrame(rows, columns=columns)


_FUSION_PAIRS = {
    "I": ("fruits360", "supermarket_produce"),
    "II": ("amazon", "webcam"),
    "III": ("ham10000", "ph2"),
    "IV": ("corel1000, 80 %", "corel1000, 20 %"),
}
_FUSION_COLUMNS = [
    ("global", 0, ""),
    *(("fusion", block, name) for block in (1, 2, 3) for name in ("PCA", "flatten", "pool 2D")),
]
_FUSION_ROWS = ("256", "192", "128", "96", "64", "Avg.")
_FUSION: dict[tuple[str, str], str] = {
    ("I", "imagenet"): """
        28.24  20.41  36.48  26.35  19.96  37.18  25.3  19.61  37.33  26.35
        30.24  20.11  36.08  29.64  20.31  37.33  29.09  20.46  37.48  29.44
        34.23  21.61  38.32  32.98  21.31  38.87  32.19  20.46  37.77  32.83
        33.63  22.01  39.42  32.24  22.36  40.52  31.74  21.36  40.27  32.39
        27.59  19.86  37.77  27.84  20.51  39.62  27.4  19.91  38.92  27.79
        30.79  20.8  37.61  29.81  20.89  38.7  29.14  20.36  38.35  29.76
    """,
    ("I", "finetuned"): """
        23.75  41.37*  36.33  35.73*  37.97*  36.98  35.83*  33.63*  37.18  35.83*
        25.65  41.22*  36.48*  36.48*  38.37  36.93  36.58*  30.44*  36.58  36.58*
        31.39  41.47*  38.87*  38.82*  37.48*  39.27*  38.77*  32.58*  37.43  38.77*
        29.74  41.37*  39.97*  39.52*  38.42*  40.67*  39.47*  29.14*  39.52  39.52*
        25.3  41.87*  37.97*  39.87*  38.62*  39.37  39.92*  31.59*  38.37  39.92*
        27.17  41.46*  37.92*  38.08*  38.17*  38.64  38.11*  31.48*  37.82  38.12*
    """,
    ("II", "imagenet"): """
        40.63  42.01  47.04  42.01  40.25  47.17  42.14  41.64  45.79  41.89
        48.18  46.67  52.08  48.81  45.79  51.95  48.81  46.16  50.69  48.3
        51.95  51.45  56.86  53.08  48.55  53.58  53.46  52.7  53.58  53.46
        55.35  54.47  59.37  55.22  53.46  58.99  55.72  53.21  55.85  55.6
        60.13  59.12  63.4  62.01  58.99  65.53  61.64  60.0  63.14  61.64
        51.25  50.74  55.75  52.23  49.41  55.44  52.35  50.74  53.81  52.18
    """,
    ("II", "finetuned"): """
        39.37  40.63  46.04  40.0  41.38*  46.67  40.0  39.75  45.53  40.13
        47.55  44.65  51.45  46.54  45.91*  52.7*  46.54  45.91  49.43  46.67
        48.55  48.43  54.34  49.31  49.06*  52.83  46.56  50.44  54.47*  49.18
        55.47*  53.84  60.13*  55.72*  54.34*  58.49  56.35*  45.91  57.48*  56.1
        60.88*  61.51*  64.91*  60.88  60.0*  64.91  60.75  61.51*  62.77  61.13
        50.36  49.81  55.37  50.49  50.14*  55.12  50.04  48.7  53.94*  50.64
    """,
    ("III", "imagenet"): """
        88.0  -  88.5  87.5  -  86.5  87.5  -  88.0  87.5
        86.0  -  88.0  86.5  -  89.5  87.5  -  87.5  86.5
        83.0  84.0  85.5  83.5  83.5  86.5  83.5  84.0  85.5  83.5
        85.0  84.5  86.0  85.0  85.5  86.0  85.0  84.0  85.5  85.0
        86.5  84.0  86.5  86.0  85.0  87.0  86.0  83.5  87.0  86.5
        85.7  84.17  86.9  85.7  84.67  87.1  85.9  83.83  86.5  85.8
    """,
    ("III", "finetuned"): """
        87.5  -  88.0  87.0  -  89.0*  87.0  -  89.0*  87.0
        86.5  -  89.0*  87.5*  -  88.0  87.5  -  86.5  87.5*
        85.0*  84.5*  87.5*  83.5  83.5  85.5  83.5  84.5*  84.0  83.5
        86.0  84.5  84.0  85.5  84.5  84.0  85.0  85.0*  84.0  85.0
        85.0  85.5*  87.5*  85.5  84.5  86.0  85.5  84.5*  87.0  85.5
        86.0  84.83*  87.5*  85.8*  84.17  86.5  85.7  84.7*  86.1  85.7
    """,
    ("IV", "imagenet"): """
        91.5  -  92.0  91.5  -  93.5  91.0  -  93.5  91.0
        93.5  -  95.5  94.0  -  96.0  94.0  -  95.0  94.0
        94.5  96.0  96.5  95.0  96.0  95.0  95.0  96.5  95.5  95.0
        95.0  95.0  95.5  95.5  96.0  96.0  95.5  95.5  96.5  95.5
        95.0  95.0  96.0  95.0  95.5  96.5  95.0  96.0  95.5  95.0
        93.9  95.33  95.1  94.2  95.83  95.4  94.1  96.0  95.2  94.1
    """,
    ("IV", "finetuned"): """
        92.5*  -  93.5*  92.0*  -  95.0*  92.0*  -  92.5  92.0*
        94.0*  -  95.5  94.5*  -  95.5  94.5*  -  96.5*  94.5*
        95.5*  96.0  96.5  96.0*  96.0  94.5  95.5*  96.5  95.5  95.5*
        95.0  95.5*  95.5*  95.0  95.5  96.0  95.0  95.5  96.5  95.0
        95.0  95.5  95.5  95.0  95.5  95.5  95.0  96.5*  95.5  95.0
        94.4*  95.67*  95.3*  94.5*  95.67  95.3  94.4*  96.17*  95.3*  94.4*
    """,
}


def published_fusion() -> pd.DataFrame:
    """Tables I to IV of the paper, a row per cell.

    Returns
    -------
    DataFrame
        ``table`` ("I" to "IV"), ``source``, ``target``, ``weights`` ("imagenet", "finetuned"),
        ``n_components`` (text: "256" to "64" and "Avg."), ``descriptor`` ("global", "fusion"),
        ``block`` (1 to 3, 0 for global), ``selection`` ("PCA", "flatten", "pool 2D", empty for
        global), ``accuracy`` in per cent (NaN where the paper has a dash) and ``starred``.
    """
    rows = []
    for (table, weights), text in _FUSION.items():
        lines = [line.split() for line in text.strip().splitlines()]
        for n_components, cells in zip(_FUSION_ROWS, lines, strict=True):
            for column, cell in zip(_FUSION_COLUMNS, cells, strict=True):
                number = cell.rstrip("*")
                accuracy = float("nan") if number == "-" else float(number)
                key = (table, *_FUSION_PAIRS[table], weights, n_components, *column)
                rows.append((*key, accuracy, cell.endswith("*")))
    columns = ["table", "source", "target", "weights", "n_components", "descriptor", "block"]
    return pd.DataFrame(rows, columns=[*columns, "selection", "accuracy", "starred"])
