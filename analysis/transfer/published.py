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

from pathlib import Path

import pandas as pd

PUBLISHED_ONE_SHOT = 33.0
"""DeCAF6, linear SVM with dropout, one training image per class, in per cent."""

PUBLISHED_CLASSES = 31
"""Classes of *Office*, by which table 1 is measured."""


def published_caltech() -> pd.DataFrame:
    """Figure 4 left of the paper, a row per cell.

    Returns
    -------
    DataFrame
        ``features`` ("DeCAF5", "DeCAF6", "DeCAF7"), ``classifier``, ``dropout``, ``mean`` and
        ``std`` in per cent; not numbers where the paper has a dash.
    """
    return _table("caltech")


def published_office() -> pd.DataFrame:
    """Table 1 of the paper, a row per cell.

    Returns
    -------
    DataFrame
        ``source`` and ``target`` (by the names of Office-Caltech-10's domains), ``training``,
        ``method``, ``features`` ("SURF", "DeCAF6", "DeCAF7"), ``mean`` and ``deviation`` in per
        cent.
    """
    return _table("office")


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
    return _table("fusion")


def _table(name: str) -> pd.DataFrame:
    path = Path(__file__).with_name(f"published_{name}.csv")
    return pd.read_csv(path, dtype={"n_components": str}, keep_default_na=False, na_values=["nan"])
