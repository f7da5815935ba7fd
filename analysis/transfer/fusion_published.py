"""The accuracies that dos Santos and Ponti print in tables I to IV, to be shown beside others.

Conventions
-----------
dos Santos and Ponti (SIBGRAPI 2019): accuracy on all target images, in per cent, one run, of a
ResNet-50. A star marks what is better after fine-tuning than before. Numbers, averages and stars
are as printed. Three of the 80 averages are not those of the numbers above them (table III: third
block, flatten, before fine-tuning, 86.7; first block, flatten, after it, 87.2; third block, PCA,
after it, 84.67), one accuracy of table II is no share of 795 images (second block, pool 2D, 128
components, after fine-tuning), seven stars are missing and one is of a tie. An average of fewer
numbers, where PCA has no more than 128 components, is of those.
"""

from __future__ import annotations

import pandas as pd

__all__ = ["published_fusion"]

_PAIRS = {
    "I": ("fruits360", "supermarket_produce"),
    "II": ("amazon", "webcam"),
    "III": ("ham10000", "ph2"),
    "IV": ("corel1000, 80 %", "corel1000, 20 %"),
}
_COLUMNS = [
    ("global", 0, ""),
    *(("fusion", block, name) for block in (1, 2, 3) for name in ("PCA", "flatten", "pool 2D")),
]
_ROWS = ("256", "192", "128", "96", "64", "Avg.")
_TABLES: dict[tuple[str, str], str] = {
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
    for (table, weights), text in _TABLES.items():
        lines = [line.split() for line in text.strip().splitlines()]
        for n_components, cells in zip(_ROWS, lines, strict=True):
            for column, cell in zip(_COLUMNS, cells, strict=True):
                number = cell.rstrip("*")
                accuracy = float("nan") if number == "-" else float(number)
                key = (table, *_PAIRS[table], weights, n_components, *column)
                rows.append((*key, accuracy, cell.endswith("*")))
    columns = ["table", "source", "target", "weights", "n_components", "descriptor", "block"]
    return pd.DataFrame(rows, columns=[*columns, "selection", "accuracy", "starred"])
