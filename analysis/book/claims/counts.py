"""Claims that are counts: of features, of images and of classes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from analysis.book.claims.claim import Claim, Finding, NotTestableError, conclude, holds_if
from analysis.book.claims.evidence import ALL, CONV, FC, Evidence
from analysis.chapters import split_network

__all__ = ["CLAIMS"]

ROUNDING = 0.05
_PER = "images per class"
_APPROXIMATELY = "Within 5 %, on the complete dataset."
_EXACTLY = "Equal, on the complete dataset."
_COUNTED = "Equal, counted in the embedding of VGG16."


def _features(evidence: Evidence, *, part: str, expected: int) -> Finding:
    name = split_network(evidence.network)[0]
    if name != "vgg16":
        raise NotTestableError(f"the network is {name}, not vgg16")
    table = evidence.measures
    units = int(table.loc[(table["scope"] != "layer") & (table["name"] == part), "units"].iloc[0])
    return Finding(holds_if(units == expected), f"{units:,}")


def _count(
    evidence: Evidence, *, dataset: str, what: str, expected: float, rounded: bool = False
) -> Finding:
    if dataset not in evidence.datasets.index:
        raise NotTestableError(f"the study has no {dataset}")
    row = evidence.datasets.loc[dataset].to_dict()
    if row["images"] != row["expected_images"]:
        raise NotTestableError(
            f"{dataset} is not complete here: {row['images']:,.0f} images, expected "
            f"{row['expected_images']:,.0f}"
        )
    found = row["images"] / row["classes"] if what == _PER else row[what]
    holds = abs(found - expected) <= (ROUNDING * expected if rounded else 0)
    return conclude(holds_if(holds), f"{round(found, 1):,}", [dataset])


def _counted(
    number: str, statement: str, paper: float, test: Callable[[Evidence], Finding], *, how: str
) -> Claim:
    section = "3.3, Table 1" if number.startswith("E") else "6"
    return Claim(number, section, statement, how, f"{paper:,}", test, labelled=False)


def _of_dataset(
    number: str, dataset: str, what: str, expected: int, statement: str, *, rounded: bool = False
) -> Claim:
    test = partial(_count, dataset=dataset, what=what, expected=expected, rounded=rounded)
    how = _APPROXIMATELY if rounded else _EXACTLY
    return _counted(number, statement, expected, test, how=how)


def _of_part(number: str, part: str, expected: int, statement: str) -> Claim:
    test = partial(_features, part=part, expected=expected)
    return _counted(number, statement, expected, test, how=_COUNTED)


CLAIMS = (
    _of_part("E01", ALL, 12416, "Size of VGG16's embedding."),
    _of_part("E02", CONV, 4224, "Its convolutional part (derived from the architecture)."),
    _of_part("E03", FC, 8192, "Its fully connected part (derived from the architecture)."),
    _of_dataset("C14", "wood", "smallest", 14, "Images of the smallest class of wood."),
    _of_dataset("C21", "food101", _PER, 250, "Images per class of food101."),
    _of_dataset(
        "C23", "caltech101", _PER, 91, "Mean images per class of caltech101.", rounded=True
    ),
    _of_dataset(
        "C24", "caltech256", _PER, 120, "Mean images per class of caltech256.", rounded=True
    ),
    _of_dataset("C25", "caltech101", "images", 9146, "Images of caltech101."),
    _of_dataset("C26", "caltech256", "images", 30607, "Images of caltech256."),
    _of_dataset("C27", "caltech101", "classes", 101, "Classes of caltech101."),
    _of_dataset("C28", "caltech256", "classes", 256, "Classes of caltech256."),
)
