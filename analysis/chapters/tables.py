"""Tables for readers: as files, as HTML in sections, and those of what a study consists of.

Constants such as :data:`THRESHOLDS` map a heading to what stands below it, for :func:`sectioned`.
Accuracies and differences are expected in per cent and in percentage points.
"""

from __future__ import annotations

import csv
import html
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from analysis import paths
from analysis.data import CARDS
from analysis.data.cards import Overlap
from analysis.paths import written_whole
from analysis.statistics.distributions import KINDS

if TYPE_CHECKING:
    from analysis.chapters.study import Study

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def save_table(table: pd.DataFrame, name: str, *, results: str, title: str) -> Path:
    """Write the table behind a figure as CSV, whole or not at all.

    Parameters
    ----------
    table
        Tidy table.
    name
        File name without ending.
    results, title
        Of the study, as for :class:`analysis.chapters.Study`.

    Returns
    -------
    Path
        The file.
    """
    folder = Path(results) if results else paths.results_root() / slug(title)
    return write_csv(table, folder / f"{name}.csv")


def write_csv(table: pd.DataFrame, path: Path) -> Path:
    """Write a table as CSV, whole or not at all, replacing a file of that name.

    Texts that a spreadsheet would take for a formula (they begin with =, +, -, @, a tab or a
    return, and are no number) get an apostrophe in front, as spreadsheets write texts themselves:
    a class called ``=cmd|...`` could otherwise start a program.
    """
    texts = [str(name) for name in table if not pd.api.types.is_numeric_dtype(table[name].dtype)]
    if texts:
        table = table.assign(**{name: table[name].map(_no_formula) for name in texts})
    returns = any("\r" in str(value) for name in texts for value in table[name])
    # Else a return in a name, which is not quoted by itself, would begin another row.
    quoting: Literal[0, 1] = csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL
    with written_whole(path) as partial:
        table.to_csv(partial, index=False, float_format="%.6g", quoting=quoting)
    return path


def _no_formula(value: object) -> object:
    if not isinstance(value, str) or not value.startswith(_FORMULA) or _is_number(value):
        return value
    return f"'{value}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def slug(title: str) -> str:
    """File-name form of a title: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "study"


_WORDS = {True: "yes", False: "no"}


@dataclass(frozen=True)
class SafeHtml:
    """HTML whose texts are escaped already; Jupyter shows it as the last line of a cell."""

    html: str

    def _repr_html_(self) -> str:
        return self.html


def sectioned(
    table: pd.DataFrame, columns: Mapping[str, str] | None = None, *, by: str = "network"
) -> SafeHtml:
    """Lay a table out in sections, each under a row that bears its name.

    Parameters
    ----------
    table
        Rows of a section need not be neighbours; sections come in order of appearance.
    columns
        Heading → what to write below it: a format of the row's values, such as
        ``"{mean:.2f} ± {error:.2f}"``. Values that are missing are written as "–", truths as "yes"
        and "no". By default all other columns as they are.
    by
        Column that names the section.

    Returns
    -------
    SafeHtml

    Raises
    ------
    KeyError
        If a format names a column that the table lacks.
    """
    headings = [name for name in table if name != by] if columns is None else [*columns]
    body = []
    for name, rows in table.groupby(by, sort=False):
        title = f'<th class="section" colspan="{len(headings)}">{_text(name)}</th>'
        body.append(f"<tr>{title}</tr>")
        for values in rows.to_dict("records"):
            row = {key: _shown(value) for key, value in values.items()}
            if columns is None:
                written = [row[heading] for heading in headings]
            else:
                written = [each.format_map(row) for each in columns.values()]
            body.append(_row("td", written))
    head = _row("th", headings)
    return SafeHtml(
        f'<table class="sectioned"><thead>{head}</thead><tbody>{"".join(body)}</tbody></table>'
    )


def _row(cell: str, texts: Iterable[object]) -> str:
    return "<tr>" + "".join(f"<{cell}>{_text(text)}</{cell}>" for text in texts) + "</tr>"


def _text(value: object) -> str:
    """Escaped text that may be broken after an underscore, an @ or a slash."""
    missing = re.sub(r"(?<=± )nan\b", "–", str(value))
    return re.sub(r"([_@/])", r"\1<wbr>", html.escape(missing))


class _Missing:
    """What is written where a number is missing, in whatever format."""

    def __format__(self, _: str) -> str:
        return "–"

    __str__ = __repr__ = lambda self: "–"


def _shown(value: object) -> object:
    if isinstance(value, bool):
        return _WORDS[value]
    # A class may be called "nan": only numbers are missing.
    return _Missing() if value is None or value != value else value


_DATASET = {"dataset": "{dataset}"}
_AHEAD = {"points ahead": "{difference:+.2f} ± {standard_error:.2f}"}
_MEAN_AHEAD = {
    "points ahead": "{difference:+.2f}",
    "error over datasets": "{over_datasets:.2f}",
    "error over splits": "{standard_error:.2f}",
    "datasets": "{datasets}",
}

THRESHOLDS = _DATASET | {
    "images per class": "{images_per_class:.0f}",
    "t+ (spread)": "{t_plus:.3f} ({spread_plus:.3f})",
    "t− (spread)": "{t_minus:.3f} ({spread_minus:.3f})",
    "kept by t+": "{kept_plus:,.0f}",
    "by t−": "{kept_minus:,.0f}",
    "kept": "{kept:,.0f}",
    "least": "{least:,}",
    "kept shuffled": "{kept_shuffled:,.0f}",
}
"""Of :func:`analysis.statistics.summarise_thresholds`."""

EXPECTED_BY_LAW = {
    "thresholds of": "{of}",
    "weak": "{weak}",
    "number": "{number}",
    "within": "{within:.0%}",
    "distance": "{distance:.4f}",
    "cost": "{cost:.2%}",
}
"""Of :func:`analysis.statistics.costs_by_law`, with ``of`` in words."""

COSTS_OF_SETS = {
    "set": "{features}",
    "features": "{n_features:,}",
    "bytes per image": "{bytes:,}",
    "seconds": "{seconds:.3f}",
}
"""Of :func:`analysis.transfer.tabulate_accuracies`."""

CONTRASTS = {"against": "{against}"} | _MEAN_AHEAD | {"better": "{better}", "worse": "{worse}"}
"""Of :func:`analysis.transfer.summarise_contrasts`."""

BEST_LAYERS = (
    _DATASET
    | {
        "best layer": "{over}",
        "accuracy": "{over_accuracy:.1f}",
        "features": "{over_n_features:,.0f}",
        "embedding": "{accuracy:.1f}",
    }
    | _AHEAD
)
"""Of :func:`analysis.transfer.contrast_full_network`, against the best layer."""

DISTANCE_OR_DISCOVERY = (
    _DATASET
    | {
        "kept by distance": "{n_features:,.0f}",
        "accuracy": "{accuracy:.1f}",
        "by false discovery": "{over_n_features:,.0f}",
        "its accuracy": "{over_accuracy:.1f}",
    }
    | _AHEAD
)
"""Of :func:`analysis.transfer.contrast`, the one against the other."""

LOSSES = (
    _DATASET
    | {
        "recom\u00admended": "{recommended_accuracy:.1f}",
        "best alternative": "{best_accuracy:.1f} {best}",
    }
    | _AHEAD
    | {
        "hindsight, choice, size": "{hindsight:+.1f}, {choice:+.1f}, {size:+.1f}",
        "features": "{n_features:,.0f} ({share:.0%})",
        "reason of a loss": "{reason}",
    }
)
"""Of :func:`analysis.transfer.explain_losses`, with the accuracy of what is recommended."""

TOTAL_LOSSES = _MEAN_AHEAD | {
    "within": "{within}",
    "corrected error": "{corrected_error:.2f}",
    "within it": "{within_corrected}",
    "ahead of the foreseeable": "{foreseeable:+.2f} ± {foreseeable_error:.2f}",
    "within that": "{within_foreseeable}",
    "features kept": "{share:.0%}",
    "smaller on": "{smaller}",
}
"""Of :func:`analysis.transfer.summarise_losses`."""


UNGROUPED = "\N{EN DASH}"


def overlap_of(dataset: str, source_task: str | None) -> Overlap:
    """Overlap of a dataset with a source task; of no group for folders and unknown tasks."""
    if source_task is None or dataset not in CARDS:
        return Overlap()
    return CARDS[dataset].overlap_with(source_task)


def describe_datasets(study: Study) -> pd.DataFrame:
    """One row per dataset: images, classes, images per class, overlap with each source task."""
    rows = []
    for name in study.datasets:
        data = study.data(name)
        sizes = np.bincount(data.labels, minlength=len(data.classes))
        alike = sizes.min() == sizes.max()
        spread = "in every class" if alike else f"({sizes.min()} to {sizes.max()})"
        row: dict[str, Any] = {
            "dataset": name,
            "images": len(data),
            "classes": len(data.classes),
            "images per class": f"{sizes.mean():.0f} {spread}",
        }
        for task in _source_tasks(study):
            row[f"overlap with {task}"] = overlap_of(name, task).group or UNGROUPED
        rows.append(row)
    return pd.DataFrame(rows)


def describe_overlaps(study: Study) -> pd.DataFrame:
    """One row per source task and dataset: its group, and why."""
    rows = [
        {
            "source task": task,
            "dataset": name,
            "group": overlap.group or UNGROUPED,
            "because": overlap.reason or "nobody has compared them",
        }
        for task in _source_tasks(study)
        for name in study.datasets
        for overlap in [overlap_of(name, task)]
    ]
    return pd.DataFrame(rows, columns=["source task", "dataset", "group", "because"])


def describe_networks(study: Study) -> pd.DataFrame:
    """One row per network: its weights, layers and features."""
    rows = []
    for spec in study.networks:
        net = study.backbone(spec)
        rows.append(
            {
                "network": net.name,
                "weights": net.weights,
                "layers": len(net.layers),
                "features": net.n_features,
                "input": f"{net.preprocessing.crop} × {net.preprocessing.crop} px",
            }
        )
    return pd.DataFrame(rows)


def describe_layers(study: Study) -> pd.DataFrame:
    """One row per layer of each architecture: its kind, positions and features."""
    architectures = {study.backbone(spec).name: study.backbone(spec) for spec in study.networks}
    kinds = KINDS | {"block": "convolutional block"}
    rows = [
        {
            "network": name,
            "layer": layer.name,
            "kind": kinds.get(layer.kind, layer.kind),
            "positions": " × ".join(map(str, layer.spatial)) if layer.spatial else "1",
            "features": layer.units,
        }
        for name, net in architectures.items()
        for layer in net.layers
    ]
    return pd.DataFrame(rows)


def caveats(study: Study) -> str:
    """Say what a reader must know before the numbers, as Markdown."""
    untrained = [spec for spec in study.networks if study.backbone(spec).weights == "random"]
    if not untrained:
        return "Every network of this study has been trained."
    names = ", ".join(f"`{spec}`" for spec in untrained)
    return (
        f"**{names} was never trained.** Its weights are random: what its features tell apart, "
        "they tell apart by architecture alone. Read these numbers as the baseline that a "
        "trained network has to exceed."
    )


def _source_tasks(study: Study) -> list[str]:
    tasks = (study.backbone(spec).source_task for spec in study.networks)
    return list(dict.fromkeys(task for task in tasks if task))
