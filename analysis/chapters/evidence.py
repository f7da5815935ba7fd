"""From rows of a table of distances to pictures of units and classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.figures.evidence import MarkedClass

if TYPE_CHECKING:
    import pandas as pd

    from analysis.chapters.study import Study

__all__ = ["marked_classes"]


def marked_classes(
    study: Study, table: pd.DataFrame, *, n_crops: int = 9, n_samples: int = 4
) -> list[MarkedClass]:
    """Pictures for pairs of a unit and a class.

    Parameters
    ----------
    study
        Where images and networks come from; a unit's crops are looked for in its reference images.
    table
        Columns ``network``, ``dataset``, ``layer``, ``unit``, ``class`` (its number) and
        ``distance``.
    n_crops, n_samples
        Pictures of the unit and of the class, at most.

    Returns
    -------
    list of MarkedClass
        One for each row.
    """
    return [
        MarkedClass(
            layer=row["layer"],
            unit=row["unit"],
            class_name=study.data(row["dataset"]).classes[row["class"]],
            distance=row["distance"],
            crops=study.atlas(row["network"]).strongest(row["layer"], row["unit"])[:n_crops],
            samples=study.class_samples(row["dataset"], row["class"], n_samples),
            dataset=row["dataset"],
        )
        for row in table.to_dict("records")
    ]
