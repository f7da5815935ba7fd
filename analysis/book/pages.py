"""Pages that are written anew: facts of the study, datasets, networks, benchmarks, faults.

Each function returns MyST Markdown.
"""

from __future__ import annotations

import ast
import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.book.execution import EXECUTION
from analysis.chapters import caveats, describe_overlaps
from analysis.chapters.study import short_name
from analysis.data.cards import CARDS, DatasetCard

if TYPE_CHECKING:
    from analysis.chapters import Study
    from analysis.networks import Backbone, Layer

_NUMBERS = {
    "Images",
    "Classes",
    "Layers",
    "Features",
    "Units",
    "Value",
    "Target",
    "Tries",
    "Minutes",
}


_FINDINGS = {
    "02-dks-distributions": (
        "**{share:.0%} of all distances** between a class and the rest are beyond 0.25 in "
        "{network}; with shuffled labels it is {noise_share:.0%}. The layer with fewest is "
        "{worst_layer} ({worst_share:.0%}), that with most {best_layer} ({best_share:.0%})."
    ),
    "03-noise-thresholds": (
        "**{share:.0%} of the embedding** says more of a class than noise does, in the mean over "
        "classes and datasets; of shuffled labels the same thresholds keep {noise_share:.0%}."
    ),
    "01-decaf-layers": (
        "**A {chosen}** classifies {chosen_mean:.1f} % of {subject} correctly; features of random "
        "weights {random_mean:.1f} %, the best descriptor made by hand, {descriptor}, "
        "{descriptor_mean:.1f} %."
    ),
    "03a-full-network-embedding": (
        "**The full-network embedding** against the last layer: {last_layer:+.1f} points (better "
        "on {last_layer_better} of {n_datasets} datasets); against the best single layer, chosen "
        "in hindsight: {best_layer:+.1f}."
    ),
    "02b-claims": (
        "**The paper's claims** hold {n_holds} times and fail {n_fails} times for the trained "
        "networks of this study; {n_untested} times it cannot test them."
    ),
}
_PICTURE_TAG = "landing-picture"


def findings(executed: Sequence[Path], folder: Path) -> str:
    """Say what this run found, with a picture, for the landing page.

    Parameters
    ----------
    executed
        Folders of the executed notebooks. Their sentences are filled with the numbers that these
        have glued; the picture is that of the cell with the tag ``landing-picture``.
    folder
        Where the picture is written.
    """
    lines, picture = [], ""
    for notebook in sorted(path for one in executed for path in one.glob("*.ipynb")):
        glued: dict[str, Any] = {}
        for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
            for output in cell.get("outputs", ()):
                data = output.get("data", {})
                if name := output.get("metadata", {}).get("scrapbook", {}).get("name"):
                    (text,) = (value for kind, value in data.items() if kind.endswith("text/plain"))
                    glued[name] = _glued("".join(text))
                if _PICTURE_TAG in cell["metadata"].get("tags", ()) and "image/png" in data:
                    (folder / "_landing.png").write_bytes(base64.b64decode(data["image/png"]))
                    alt = cell["metadata"]["mystnb"]["image"]["alt"]
                    picture = f"![{alt}](_landing.png)\n\n*From [](<{notebook.name}>).*"
        if notebook.stem in _FINDINGS:
            sentence = _FINDINGS[notebook.stem].format_map(glued)
            lines.append((notebook.stem, f"- {sentence} [More](<{notebook.name}>)"))
    if not lines:
        return ""
    ordered = sorted(lines, key=lambda line: [*_FINDINGS].index(line[0]))
    return "\n\n".join(["## What this run found", picture, "\n".join(x for _, x in ordered)])


def _glued(text: str) -> Any:
    """Value that a notebook glued; of a text, Markdown that shows it."""
    try:
        value = ast.literal_eval(text)
    except ValueError:
        return float(text)  # nan, inf
    return _plain(short_name(value)) if isinstance(value, str) else value


def study_facts(study: Study) -> str:
    """Say what this build of the book looked at; the landing page includes it."""
    datasets = [
        (_code(name), f"{len(data):,}", f"{len(data.classes):,}")
        for name, data in ((name, study.data(name)) for name in study.datasets)
    ]
    networks = [
        (_code(net.name), _code(net.weights), len(net.layers), f"{net.n_features:,}")
        for net in map(study.backbone, study.networks)
    ]
    return "\n\n".join(
        [
            "## This study",
            f"**{_plain(study.title)}.** This copy of the book was built for the datasets and "
            f"networks below, with `crops: {study.crops}` and `seed: {study.seed}`. "
            "The [next page](using.md) says how to build it for others.",
            _table(("Dataset", "Images", "Classes"), datasets),
            _table(("Network", "Weights", "Layers", "Features"), networks),
            caveats(study),
        ]
    )


def datasets_page(study: Study) -> str:
    """Every dataset with a card, those of the study first in detail."""
    here = []
    for name in study.datasets:
        data = study.data(name)
        skipped = f"; {len(data.skipped)} images left out" if data.skipped else ""
        here.append(
            (
                _code(name),
                f"{len(data):,}{skipped}",
                f"{len(data.classes):,}",
                f"`{data.fingerprint[:12]}`",
            )
        )
    known = [
        (
            f"`{card.name}`",
            _count(card.images),
            _count(card.classes),
            _overlap(card.overlap_group),
            _how_obtained(card),
            card.licence or "not established",
            f"{{cite:p}}`{card.citation}`",
        )
        for card in CARDS.values()
    ]
    notes = [
        f"`{card.name}`\n: {_plain(' '.join(said))}"
        for card in CARDS.values()
        if (said := [text for text in (card.note, card.obtain, _reason(card)) if text])
    ]
    return "\n\n".join(
        [
            "# Datasets",
            "## In this study",
            "A dataset's fingerprint is a hash of its files and labels: two studies with equal "
            "fingerprints looked at the same images.",
            _table(("Dataset", "Images", "Classes", "Fingerprint"), here),
            *_overlaps(study),
            "## All that Layerbook knows by name",
            "*Overlap* says what a dataset shares with the source task that a network was trained "
            "on: **a**, its classes are a subset of the source's; **b**, they partly intersect; "
            "**c**, they are disjoint. A dash: not judged. For the datasets of the papers the "
            "source is ImageNet, and the groups are those of "
            "{cite:t}`garciagasulla2018behavior`. For the datasets that come along it is the "
            "source of the bundled network, photographs and drawn classes (`source_drawn`). "
            "Counts are those of the complete dataset as it is loaded. "
            "`layerbook fetch NAME` downloads and verifies what is marked *fetch*, and "
            "says where to ask for the others.",
            _table(
                ("Dataset", "Images", "Classes", "Overlap", "Obtained", "Licence", "Reference"),
                known,
            ),
            "A licence is *not established* where none could be found in the publisher's own "
            "words: ask before you republish images.",
            "## What to know before using them",
            "\n\n".join(notes),
        ]
    )


def _overlaps(study: Study) -> list[str]:
    rows = [
        (_code(row["source task"]), _code(row["dataset"]), row["group"], _plain(row["because"]))
        for row in describe_overlaps(study).to_dict("records")
    ]
    if not rows:
        return ["No network of this study is known to have learnt a task to compare them with."]
    return [
        "What they share with the tasks that the networks of this study have learnt:",
        _table(("Source task", "Dataset", "Overlap", "Because"), rows),
    ]


def networks_page(study: Study) -> str:
    """Each network of the study with its layers."""
    sections = [
        "# Networks",
        "The layers below make up the embedding, in this order. A convolutional layer gives one "
        "feature per filter (the mean over its positions), a fully connected one one per neuron.",
    ]
    for net in map(study.backbone, study.networks):
        sections += _network_section(net)
    return "\n\n".join(sections)


def benchmarks_page(results: Path) -> str:
    """Measured times and sizes, if any come along.

    Parameters
    ----------
    results
        JSON file: a list of measurements, or a mapping that holds it as ``results``. Each has
        ``name, value, unit`` and may have ``target`` and ``passed``.
    """
    heading = "# Benchmarks"
    if not results.is_file():
        return (
            f"{heading}\n\nThis copy of the book came without measurements. "
            "`make bench` in a checkout takes them; the next build shows them here."
        )
    content = json.loads(results.read_text(encoding="utf-8"))
    rows = content["results"] if isinstance(content, dict) else content
    machine = content.get("machine") if isinstance(content, dict) else None
    return "\n\n".join(
        [
            heading,
            "How long the main steps take and what they need, measured by `make bench`"
            + (f" on: {_plain(_machine(machine))}." if machine else "."),
            _table(
                ("Measured", "Value", "Unit", "Target", "Met"),
                [
                    (
                        _plain(row["name"]),
                        _number(row["value"]),
                        row.get("unit", ""),
                        _target(row),
                        {True: "yes", False: "**no**"}.get(row.get("passed"), "–"),
                    )
                    for row in rows
                ],
            ),
        ]
    )


def minutes_by_notebook(executed: Sequence[Path]) -> str:
    """How long the notebooks of this copy took; a section of the page of benchmarks."""
    rows = []
    for folder in executed:
        seconds = json.loads((folder / EXECUTION).read_text("utf-8"))["seconds"]
        rows += [(f"[](<{path.name}>)", f"{seconds / 60:.1f}") for path in folder.glob("*.ipynb")]
    return "\n\n".join(
        [
            "## This copy of the book",
            "How long each notebook ran, the first alone and the others side by side:",
            _table(("Notebook", "Minutes"), rows),
        ]
    )


def faults_page(withstood: Path) -> str:
    """Which faults and attacks a run of the tests tried, and how often.

    Parameters
    ----------
    withstood
        JSON file that ``pytest --withstood`` writes when every test has passed: a list of
        ``kind`` (``fault`` or ``attack``), ``what``, ``tried`` (how often), ``test``.
    """
    heading = "# What was tried against it"
    if not withstood.is_file():
        return (
            f"{heading}\n\nThis copy of the book came without a record of the tests. "
            "`make check` in a checkout makes one; the next build shows it here."
        )
    rows = json.loads(withstood.read_text(encoding="utf-8"))
    return "\n\n".join(
        [
            heading,
            f"The tests break things on purpose, {_tries(rows)} times in the run that wrote this "
            "page, and then compare with what an undisturbed run gives. The record is written "
            "only when every test has passed, so nothing was lost in any row; what a row asserts, "
            "its test says. `make check` repeats them all.",
            *_of_kind(rows, "fault", "## Faults", "What goes wrong without anybody wanting it."),
            *_of_kind(rows, "attack", "## Attacks", "What somebody prepared in order to do harm."),
        ]
    )


def _of_kind(rows: Sequence[Mapping[str, Any]], kind: str, *above: str) -> list[str]:
    together: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["kind"] == kind:
            together.setdefault(row["what"], []).append(row)
    if not together:
        return []
    lines = [
        (_plain(what), _tries(same), "nothing", ", ".join(_test_files(same)))
        for what, same in sorted(together.items())
    ]
    return [*above, _table(("What was tried", "Tries", "Lost", "Test"), lines)]


def _tries(rows: Iterable[Mapping[str, Any]]) -> str:
    return f"{sum(row['tried'] for row in rows):,}"


def _test_files(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted({f"`{row['test'].partition('::')[0]}`" for row in rows})


def _target(row: Mapping[str, Any]) -> str:
    """Aim of a measurement with its direction, which follows from whether it was met."""
    target, passed = row.get("target"), row.get("passed")
    if target is None or passed is None:
        return _number(target)
    return f"{'≥' if (row['value'] >= target) == passed else '≤'} {_number(target)}"


def _network_section(net: Backbone) -> list[str]:
    preprocessing = net.preprocessing
    facts = (
        f"{len(net.layers)} layers, {net.n_features:,} features. Weights: {_code(net.weights)} "
        f"(hash `{net.weights_hash[:12]}`). Images are resized to a shorter side of "
        f"{preprocessing.resize} pixels and cropped to {preprocessing.crop} × {preprocessing.crop}."
    )
    rows = [
        (_code(layer.name), layer.kind, f"{layer.units:,}", _size(layer)) for layer in net.layers
    ]
    return [
        f"## {_plain(net.name)}, {_plain(net.weights)}",
        facts,
        _table(("Layer", "Kind", "Units", "Positions"), rows),
    ]


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    rule = ["---:" if name in _NUMBERS else "---" for name in header]
    lines = [header, rule, *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) + " |"
        for row in lines
    )


def _plain(text: str) -> str:
    """Text as Markdown that shows it unchanged."""
    for mark in "\\`*_{}[]<>#$&":
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())


def _code(text: object) -> str:
    """Text as code in Markdown, fenced by more backticks than it holds in a row."""
    line = " ".join(str(text).split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    apart = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{apart}{line}{apart}{fence}"


def _how_obtained(card: DatasetCard) -> str:
    if card.layout == "bundled":
        return "comes along"
    return "fetch" if card.sources else "on request"


def _machine(machine: object) -> str:
    if isinstance(machine, dict):
        return ", ".join(f"{key} {value}" for key, value in machine.items())
    return str(machine)


def _reason(card: DatasetCard) -> str:
    """Why the dataset is in its group, or in none."""
    if not card.overlap_reason:
        return ""
    group = f"Overlap {card.overlap_group}" if card.overlap_group else "Not judged"
    return f"{group}: {card.overlap_reason}"


def _overlap(group: str | None) -> str:
    return group or "–"


def _count(number: int | None) -> str:
    return "not established" if number is None else f"{number:,}"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"


def _size(layer: Layer) -> str:
    return "–" if layer.spatial is None else " × ".join(map(str, layer.spatial))
