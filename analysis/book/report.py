"""The report on a user's own images: one page, and an embedding to reuse.

A study of one dataset, whose files may be broken; what is said of it, as tables and pictures for
the notebook, with names that anybody may have chosen as safe HTML; which layers to keep, or why
nothing can be said; and the executed notebook as one file of HTML that loads nothing from anywhere.
"""

from __future__ import annotations

import hashlib
import html
import json
import logging
import re
import shutil
import tempfile
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from analysis import paths
from analysis.book.execution import NotebookError, one_at_a_time, remove_leftovers, run_notebook
from analysis.book.sources import find_sources
from analysis.chapters import SafeHtml, Study, slug, split_network
from analysis.chapters.study import as_names
from analysis.data import ImageDataset, load_dataset
from analysis.data.images import identical_images
from analysis.data.readers import absolute_name, left_out_by_reason, own_path
from analysis.figures.dataset_report import ImagePair
from analysis.statistics.noise import first_and_last
from analysis.transfer.recommendation import (
    BEST_CANDIDATE,
    Recommendation,
    RecommendedEmbedding,
    recommend,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analysis.data import ImageDataset


@dataclass
class DatasetStudy(Study):
    """The first dataset and the first network of a study; unreadable images are left out.

    Parameters
    ----------
    title, datasets, networks, crops, seed, reference_images, results, max_images, progress
        As for :class:`analysis.chapters.Study`; further datasets and networks are not looked at.
    broken
        JSON file that names the images to leave out, from :func:`write_broken`. Empty: every image
        of the dataset is read once to find them.

    Raises
    ------
    ValueError
        As for ``Study``, and for datasets that :func:`refuse_unusable` refuses.
    """

    broken: str = ""

    def __post_init__(self) -> None:
        self.datasets = as_names("datasets", self.datasets)[:1]
        self.networks = as_names("networks", self.networks)[:1]
        super().__post_init__()
        refuse_unusable(self.images)

    @property
    def images(self) -> ImageDataset:
        """The dataset."""
        return self.data(self.datasets[0])

    def _load(self, name: str) -> ImageDataset:
        if name not in self.datasets:
            return super()._load(name)
        if not self.broken:
            return load_dataset(name, on_error="skip", progress=self.progress)
        reasons = json.loads(Path(self.broken).read_text(encoding="utf-8"))
        return _leave_out(load_dataset(name), reasons)


def write_broken(data: ImageDataset, path: Path) -> Path:
    """Write which images of a dataset were left out, and why, as JSON."""
    path.write_text(json.dumps(dict(data.skipped), ensure_ascii=False), encoding="utf-8")
    return path


def refuse_unusable(data: ImageDataset) -> None:
    """Stop where there is nothing to compare.

    Raises
    ------
    ValueError
        If there are fewer than two classes, or a class has fewer than two readable images; the
        message names the classes and says what to do.
    """
    if len(data.classes) < 2:
        raise ValueError(
            f"{data.name} has one class, {data.classes[0]!r}: a class is compared with the images "
            "outside it, so there must be two or more sub-folders"
        )
    sizes = np.bincount(data.labels, minlength=len(data.classes))
    small = [data.classes[label] for label in np.flatnonzero(sizes < 2)]
    if small:
        named = ", ".join(map(repr, small[:10])) + (" …" if len(small) > 10 else "")
        broken = f" ({len(data.skipped)} images left out)" if data.skipped else ""
        raise ValueError(
            f"every class needs two readable images or more, but {len(small)} of "
            f"{len(data.classes)} in {data.name}{broken} have fewer: {named}; add images, or move "
            "these folders away"
        )


def _leave_out(data: ImageDataset, reasons: Mapping[str, str]) -> ImageDataset:
    kept = np.array([path not in reasons for path in data.paths])
    lost = reasons.keys() - set(data.paths) - dict(data.skipped).keys()
    if lost:
        raise ValueError(
            f"{data.name} has changed: it lacks {len(lost)} of the {len(reasons)} images that were "
            "left out before"
        )
    return replace(data.subset(kept), skipped=tuple(reasons.items())) if reasons else data


MUCH_BROKEN = 0.02
"""Share of images left out from which on the report says so before anything else."""


def what_was_read(study: DatasetStudy) -> pd.DataFrame:
    """Facts of the dataset and the network, in two columns."""
    data, net = study.images, study.backbone(study.networks[0])
    sizes = np.bincount(data.labels, minlength=len(data.classes))
    ends = {"smallest class": sizes.argmin(), "largest class": sizes.argmax()}
    per_class = {"class sizes": f"{sizes[0]:,} images in every class"}
    if sizes.min() < sizes.max():
        per_class = {"images per class, mean": f"{sizes.mean():.1f}"} | {
            name: f"{data.classes[label]} ({sizes[label]:,})" for name, label in ends.items()
        }
    rows = {
        "dataset": data.name,
        "images": f"{len(data):,}",
        "classes": f"{len(data.classes):,}",
        **per_class,
        "images left out": "; ".join(left_out_by_reason(data)) or "0",
        "network": f"{net.name}, weights {net.weights}",
        "features": f"{net.n_features:,} of {len(net.layers)} layers",
        "crops": study.crops,
    }
    return pd.DataFrame({"": rows.keys(), " ": rows.values()})


def broken_files(data: ImageDataset) -> pd.DataFrame:
    """Images that were left out: ``path`` and ``reason``."""
    rows = [(path, reason.rpartition(f"{path}: ")[2]) for path, reason in data.skipped]
    return pd.DataFrame(rows, columns=["path", "reason"])


def warnings_of(data: ImageDataset) -> list[str]:
    """Sentences that a reader must see first."""
    files = len(data) + len(data.skipped)
    share = len(data.skipped) / files
    said = []
    if share >= MUCH_BROKEN:
        said.append(
            f"{len(data.skipped):,} of {files:,} images ({share:.1%}) are left out; they are named "
            f"below. All numbers are of the others. {'; '.join(left_out_by_reason(data))}."
        )
    sizes = np.bincount(data.labels, minlength=len(data.classes))
    small = int((sizes < 10).sum())
    if small:
        said.append(
            f"{small:,} of {len(sizes):,} classes have fewer than ten images. By chance alone, "
            "wide distances are common in such classes."
        )
    return said


def identical_files(data: ImageDataset) -> pd.DataFrame:
    """Images that are the same byte by byte: ``group``, ``path``, ``class`` and ``classes``.

    ``classes`` is the number of classes in the group; groups that lie in several come first, for
    at least one of their labels must be wrong.
    """
    groups = identical_images(data)
    groups.sort(key=lambda group: -np.unique(data.labels[group]).size)
    rows = [
        {
            "group": number,
            "path": data.paths[position],
            "class": data.classes[data.labels[position]],
            "classes": np.unique(data.labels[group]).size,
        }
        for number, group in enumerate(groups, start=1)
        for position in group
    ]
    return pd.DataFrame(rows, columns=["group", "path", "class", "classes"])


def with_paths(data: ImageDataset, pairs: pd.DataFrame) -> pd.DataFrame:
    """Pairs of images by their paths: ``first``, ``second``, ``distance`` and ``same_class``."""
    paths = np.array(data.paths, dtype=object)
    ends = {end: paths[pairs[end].to_numpy(dtype=int)] for end in ("first", "second")}
    return pairs.assign(**ends)


def pairs_by_class(data: ImageDataset, pairs: pd.DataFrame) -> pd.DataFrame:
    """Pairs of images, counted by their classes.

    Parameters
    ----------
    data
        The images.
    pairs
        Of :func:`analysis.statistics.similarity.near_duplicates`.

    Returns
    -------
    DataFrame
        ``class``, ``other_class``, ``pairs`` and ``least_distance``; pairs across classes first,
        then those of classes with most.
    """
    names = np.array(data.classes, dtype=object)
    labels = np.sort(data.labels[pairs[["first", "second"]].to_numpy(dtype=int)], axis=1)
    table = pd.DataFrame(
        {"class": names[labels[:, 0]], "other_class": names[labels[:, 1]]}, dtype=object
    ).assign(distance=pairs["distance"].to_numpy(), across=labels[:, 0] != labels[:, 1])
    grouped = table.groupby(["across", "class", "other_class"], sort=False)["distance"]
    counted = grouped.agg(pairs="size", least_distance="min").reset_index()
    order = ["across", "pairs", "least_distance"]
    counted = counted.sort_values(order, ascending=[False, False, True], kind="stable")
    return counted.drop(columns="across").reset_index(drop=True)


def image_pairs(data: ImageDataset, pairs: pd.DataFrame, n: int) -> list[ImagePair]:
    """Pictures of the first ``n`` pairs, those across classes before the others."""
    first = pairs.sort_values("same_class", kind="stable").head(n)
    return [
        ImagePair(
            first=data[row["first"]],
            second=data[row["second"]],
            names=(data.paths[row["first"]], data.paths[row["second"]]),
            distance=row["distance"],
        )
        for row in first.to_dict("records")
    ]


def strongest_of_classes(
    study: DatasetStudy, described: pd.DataFrame, side: str, *, most: int
) -> pd.DataFrame:
    """Widest feature of each class, as :func:`analysis.chapters.marked_classes` takes it.

    Parameters
    ----------
    study
        Names the network and the dataset.
    described
        Of :func:`analysis.statistics.noise.describe_classes`.
    side
        ``"presence"`` or ``"absence"``.
    most
        Rows at most: of more classes, the best and the least described ones.

    Returns
    -------
    DataFrame
        ``network``, ``dataset``, ``class``, ``layer``, ``unit`` and ``distance``; without classes
        that have no distance of that sign.
    """
    sign = {"presence": 1, "absence": -1}[side]
    columns: dict[str, Any] = {f"{side}_{name}": name for name in ("layer", "unit", "distance")}
    chosen = described.iloc[first_and_last(len(described), most)].rename(columns=columns)
    chosen = chosen[sign * chosen["distance"] > 0]
    table = chosen[["class", *columns.values()]]
    return table.assign(network=study.networks[0], dataset=study.datasets[0])


_MOST = 20  # rows


def readable(
    table: pd.DataFrame,
    formats: Mapping[str, Any] | None = None,
    *,
    most: int = _MOST,
    none: str = "None.",
) -> SafeHtml:
    """Table as HTML in which every text is shown as it is.

    Parameters
    ----------
    table
        Column names are shown with spaces for underscores, and not at all if they are blank.
    formats
        Column → how to write its values: a format such as ``"{:.2f}"``, or a function.
    most
        Rows to show; the rest are counted.
    none
        What to say where there are no rows.

    Returns
    -------
    SafeHtml
    """
    if table.empty:
        return SafeHtml(f"<p>{html.escape(none)}</p>")
    shown = table.head(most)
    given = {column: how for column, how in (formats or {}).items() if column in shown}
    booleans = {name: _yes for name in shown.columns if shown[name].dtype == bool}
    styled = shown.style.hide(axis="index").format(
        booleans | given, escape="html", na_rep="–", thousands=",", precision=3
    )
    styled = styled.relabel_index([str(name).replace("_", " ") for name in shown], axis="columns")
    if not any(str(name).strip() for name in shown):
        styled = styled.hide(axis="columns")
    left = len(table) - len(shown)
    more = f"<p>… and {left:,} more rows, in the table as a file.</p>" if left else ""
    return SafeHtml(styled.set_uuid("report").to_html() + more)


def warning_boxes(sentences: Sequence[str]) -> SafeHtml:
    """Sentences that stand out; nothing where there are none."""
    boxes = (
        f'<div class="warning admonition"><p>{html.escape(said)}</p></div>' for said in sentences
    )
    return SafeHtml("".join(boxes))


def paragraph(text: str) -> SafeHtml:
    """Text that was not known when the page was written."""
    return SafeHtml(f"<p>{html.escape(text)}</p>")


def code_block(source: str) -> SafeHtml:
    """Code to copy."""
    return SafeHtml(f"<pre>{html.escape(source)}</pre>")


def _yes(value: bool) -> str:
    return "yes" if value else "no"


_CITED = re.compile(r"\{cite:([pt])\}`([^`]+)`")
_LINK = re.compile(r"\[([^]]*)\]\(([^):]+)\)")
_HERE = "https://beside.invalid/"  # stands before links that are not to leave the page
_TABLES = "tables/"
_EXTENSIONS = {"attrs_inline", "colon_fence", "deflist", "dollarmath"}

_SETTINGS: dict[str, Any] = {
    "doctitle_xform": False,
    "embed_stylesheet": False,
    "file_insertion_enabled": False,
    "image_loading": "embed",
    "initial_header_level": 1,
    "math_output": "MathML",
    "myst_disable_syntax": ["html_block", "html_inline"],
    "myst_enable_extensions": _EXTENSIONS,
    "nb_append_css": False,
    "nb_builder_name": "html",
    "nb_execution_mode": "off",
    "nb_output_stderr": "remove",
    "nb_remove_code_source": True,
    "stylesheet_path": None,
    "syntax_highlight": "none",
}


def single_page(notebook: Path, *, title: str) -> str:
    """Render an executed notebook without its code.

    The Markdown is rendered by the parser that the book uses, so that numbers are glued in and
    formulas shown (as MathML). Pictures with their texts, and the tables (CSV) that the prose
    links, are put into the page. Links to other files among the tables expect them beside the page;
    links to other pages of the book become plain text.

    Parameters
    ----------
    notebook
        Executed; the tables that it links lie beside it.
    title
        Title of the browser's window; any text.

    Returns
    -------
    str
        HTML 5. Its policy lets browsers load nothing and run no script.

    Raises
    ------
    RuntimeError
        If the Markdown cannot be rendered without warnings.
    """
    content = json.loads(notebook.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        if cell["cell_type"] == "markdown":
            cited = _CITED.sub(lambda role: _author_year(*role.groups()), "".join(cell["source"]))
            cell["source"] = _LINK.sub(_relink, cited)
    body = _to_html(json.dumps(content))
    body = re.sub(
        rf'<a class="[^"]*" href="{re.escape(_HERE)}([^"]+)"',
        lambda link: _open(html.unescape(link[1]), notebook.parent),
        body,
    )
    style = (files("analysis.book") / "report.css").read_text("utf-8")
    return _PAGE.format(title=html.escape(title), style=style, body=body)


def _author_year(form: str, key: str) -> str:
    """Write what a citation says where there is no list of references: an author and a year."""
    bibliography = (find_sources().prose / "references.bib").read_text(encoding="utf-8")
    entry = bibliography[bibliography.index(f"{{{key},") :]
    first, *others = re.findall(r"author = \{(.*)\},?\n", entry)[0].split(" and ")
    names = " and ".join([first.partition(",")[0], *["others"][: len(others)]])
    year = re.findall(r"year = \{?(\d+)", entry)[0]
    return f"{names} ({year})" if form == "t" else f"({names}, {year})"


def _relink(link: re.Match[str]) -> str:
    """Mark links into the folder of tables; unlink other pages of the book."""
    words, target = link.groups()
    return f"[{words}]({_HERE}{target})" if target.startswith(_TABLES) else words


def _open(target: str, folder: Path) -> str:
    """Begin a link that needs no other file, or one that lies beside the page."""
    if not target.endswith(".csv"):
        return f'<a href="{html.escape(target.removeprefix(_TABLES))}"'
    table = b64encode((folder / target).read_bytes()).decode()
    name = html.escape(Path(target).name)
    return f'<a download="{name}" href="data:text/csv;charset=utf-8;base64,{table}"'


def _to_html(notebook: str) -> str:
    from docutils.core import publish_parts  # all this takes seconds to import
    from myst_nb.docutils_ import Parser

    told = StringIO()
    with tempfile.TemporaryDirectory() as folder:
        parts = publish_parts(
            notebook,
            parser=Parser(),
            writer_name="html5",
            settings_overrides=_SETTINGS | {"nb_output_folder": folder, "warning_stream": told},
        )
    if told.getvalue().strip():
        raise RuntimeError(f"the report's text could not be rendered:\n{told.getvalue()}")
    return str(parts["html_body"])


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


EMBEDDING = "embedding"
"""Name of the folder of the fitted embedding."""

ALTERNATIVES_AS = {
    "mean": "{:.1%}",
    "standard_error": "{:.1%}",
    "n_features": "{:,.0f}",
    "bytes": "{:,.0f}",
    "more_accurate_by": "{:+.1%}",
    "error": "{:.1%}",
}
"""How the columns of :meth:`Advice.alternatives` are written."""

MOST_VALUES = 2**27
"""Features times images that a recommendation looks at: 512 MB, several times over."""

_DEFAULTS = {
    "fc": "last fully connected layer",
    "conv": "last convolution",
    "block": "last block",
    "attention": "last attention",
    "tokens": "last layer of tokens",
}
_SETS = {"all layers": "everything", "all layers, discretised": "full-network embedding"}
_COLUMNS = [
    "features",
    "what",
    "mean",
    "standard_error",
    "n_features",
    "bytes",
    "more_accurate_by",
    "error",
]


@dataclass(frozen=True, eq=False)
class Advice:
    """A recommendation and its embedding, fitted to all images of the report.

    Attributes
    ----------
    recommendation : Recommendation or None
        None where the classes are too small to test anything.
    because : str
        What so many images can tell, or why there is no recommendation.
    embedding : RecommendedEmbedding
        The recommended one; without a recommendation the full-network embedding of all layers.
    """

    recommendation: Recommendation | None
    because: str
    embedding: RecommendedEmbedding
    kinds: dict[str, str]
    n_features: int

    def facts(self) -> pd.DataFrame:
        """Say what is kept, in two columns."""
        kept = self.embedding.embedding_
        values, n = self.embedding.values, kept.kept_.size
        size = {"standardised": 4, "discretised": 1}[values]
        how = {
            "standardised": "real numbers, standardised",
            "discretised": f"-1 below {kept.lower} standard deviations from the mean, "
            f"1 above {kept.upper}, else 0",
        }[values]
        rows = {
            "layers": ", ".join(self.embedding.layers_),
            "values": how,
            "what counts alike": {"features": "every feature", "layers": "every layer"}[
                self.embedding.weights
            ],
            "of these layers": "the features that mark any class"
            if self.recommendation is not None and n < self.recommendation.chosen.n_features
            else "all features",
            "features kept": f"{n:,} of {self.n_features:,} ({_share(n / self.n_features)})",
            "bytes per image": f"{n * size:,} of {4 * self.n_features:,} "
            f"({_share(n * size / (4 * self.n_features))})",
        }
        return pd.DataFrame({"": rows.keys(), " ": rows.values()})

    def alternatives(self) -> pd.DataFrame:
        """All sets of features that were tested, the most accurate first.

        Returns
        -------
        DataFrame
            ``features``, ``what`` (the role of a common default), ``mean`` accuracy over the splits
            and its ``standard_error``, ``n_features``, ``bytes`` (per image), and
            ``more_accurate_by``: than the recommended features in the same splits, with the
            standard ``error`` of that difference. No rows without a recommendation.
        """
        if self.recommendation is None:
            return pd.DataFrame(columns=_COLUMNS)
        table = self.recommendation.summary
        table = table[table["kind"] != "diagnostic"].copy()
        pairs = self.recommendation.differences.set_index("over").reindex(table["features"])
        table["more_accurate_by"] = -pairs["difference"].to_numpy()
        table["error"] = pairs["standard_error"].to_numpy()
        table["what"] = [self._role(*row) for row in table[["features", "kind"]].to_numpy()]
        return table.sort_values("mean", ascending=False, kind="stable", ignore_index=True)[
            _COLUMNS
        ]

    def chance(self) -> float:
        """Accuracy of guessing; NaN without a recommendation."""
        return np.nan if self.recommendation is None else self.recommendation.summary["chance"][0]

    def _role(self, name: str, kind: str) -> str:
        if kind != "single layer":
            return _SETS.get(name, kind)
        last = {kind: layer for layer, kind in self.kinds.items()}
        if last.keys() & {"block", "attention"}:  # a stem is nobody's default
            last.pop("conv", None)
        return _DEFAULTS[self.kinds[name]] if name in last.values() else kind


def _share(value: float) -> str:
    return f"{value:.0%}" if value >= 0.1 else f"{value:.1%}"


def advise(study: DatasetStudy) -> Advice:
    """Recommend layers for a study's images, and fit the embedding to all of them."""
    pair, labels = study.pairs[0], study.images.labels
    X = study.features(pair)
    kinds = study.kinds(pair.network)
    sizes = np.bincount(labels)
    if sizes.min() < 3:
        few = "every class has" if sizes.max() < 3 else "the smallest class has"
        because = (
            "There is no recommendation: two images of every class are needed to choose layers by "
            f"and a third to test on, and {few} fewer. Kept is the full-network "
            "embedding of all layers, which needs no choice."
        )
        everything = RecommendedEmbedding(values="discretised").fit(X)
        return Advice(None, because, everything, kinds, X.shape[1])
    drawn = _draw_images(labels, MOST_VALUES // X.shape[1], study.seed)
    found = recommend(X[drawn], labels[drawn], seed=study.seed)
    which = f"{drawn.size:,} of {labels.size:,} images, drawn by chance: "
    fitted = RecommendedEmbedding.of(found.chosen, found.features).fit(X)
    because = which * (drawn.size < labels.size) + found.statement
    return Advice(found, because + _doubt(found.differences), fitted, kinds, X.shape[1])


def _doubt(differences: pd.DataFrame) -> str:
    """Say it if the recommendation was clearly worse than something else; empty if it was not.

    Clearly: by more than two points and more than three standard errors.
    """
    table = differences[differences["over"] != BEST_CANDIDATE]
    worse = -table["difference"].to_numpy()
    clear = worse > np.maximum(0.02, 3 * table["standard_error"].to_numpy())
    if not clear.any():
        return ""
    row = table[clear].sort_values("difference").iloc[0]
    return (
        f" Do not follow this recommendation blindly: in the same splits {row['over']} was more "
        f"accurate by {-row['difference']:.1%} ± {row['standard_error']:.1%}, see below."
    )


def _draw_images(labels: NDArray[np.int64], max_images: int, seed: int) -> NDArray[np.int64]:
    """Positions of all images, or about ``max_images``: small classes whole, others alike."""
    members = np.unique(labels, return_inverse=True)[1]
    sizes = np.bincount(members)
    per_class = int(sizes.max())
    while per_class > 3 and np.minimum(sizes, per_class).sum() > max_images:
        per_class -= 1
    rng = np.random.default_rng((seed, labels.size))
    drawn = [rng.permutation(np.flatnonzero(members == k))[:per_class] for k in range(sizes.size)]
    return np.sort(np.concatenate(drawn))


def lines_to_reuse(study: DatasetStudy) -> str:
    """Python that loads the embedding and gives other images their features."""
    name, weights = split_network(study.spec(study.networks[0]))
    return "\n".join(
        [
            "from analysis import extract, load_backbone, load_dataset",
            "from analysis.transfer import RecommendedEmbedding",
            "",
            f'embedding = RecommendedEmbedding.load("{EMBEDDING}")',
            'data = load_dataset("folder:/path/to/others")',
            f"net = load_backbone({name!r}, weights={weights!r})",
            f"X = extract(data, net, crops={study.crops!r}, layers=embedding.layers_)",
            "features = embedding.transform(X)",
        ]
    )


def save_embedding(study: DatasetStudy, advice: Advice, tables: Path) -> Path:
    """Write the embedding into the folder ``embedding`` beside a study's tables."""
    return advice.embedding.save(tables / EMBEDDING, classes=study.images.classes)


_LOG = logging.getLogger(__name__)

NOTEBOOK = "05-your-dataset"
PAGE = "report.html"
_UNFINISHED = ".unfinished-"
_TELLING = ("ValueError", "FileNotFoundError", "BrokenImageError", "OSError", "MemoryError")


class Report(NamedTuple):
    """Files of a report, the page and the folder of the fitted embedding; and what it lacks.

    ``left_out`` says how many images for which reason, a line each.
    """

    page: Path
    embedding: Path
    left_out: tuple[str, ...]


def report_dataset(
    dataset: str,
    network: str = "minivgg16@bundled",
    *,
    weights: str | None = None,
    crops: str = "ten",
    seed: int = 0,
    out: Path | str | None = None,
    progress: bool = True,
) -> Report:
    """Write a report on a dataset: one page of HTML, and the recommended embedding.

    Parameters
    ----------
    dataset
        Any name of :func:`analysis.load_dataset`, such as ``folder:/path/to/images`` or
        ``table:/path/to/labels.csv``.
    network, weights
        ``NAME`` or ``NAME@WEIGHTS``; ``weights`` replaces what stands after the ``@``.
    crops, seed
        As in a study.
    out
        Folder of the report; by default ``report-DATASET-NETWORK`` in the current one. What a
        report consists of is replaced there, at the end; anything else is left alone.
    progress
        Show bars: reading, extraction, and the cells of the report.

    Returns
    -------
    Report
        ``out/report.html``, ``out/embedding``, and what was left out.

    Raises
    ------
    ValueError
        For unknown names, and datasets with fewer than two classes or two images in a class.
    FileNotFoundError
        If the images or the weights are not there.
    OSError
        If the folder cannot be written.
    NotebookError
        If a cell of the report fails for another reason.
    """
    from analysis.features import extract  # loads PyTorch
    from analysis.networks import load_backbone

    name, named = split_network(network)
    dataset, spec = absolute_name(dataset), f"{name}@{_absolute_weights(weights or named)}"
    folder = Path(out) if out is not None else Path(f"report-{_short(dataset)}-{slug(name)}")
    folder = folder.expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; name another folder for the report")
    net = load_backbone(name, weights=split_network(spec)[1], seed=seed, progress=progress)
    refuse_unusable(load_dataset(dataset))  # before every image is read
    data = load_dataset(dataset, on_error="skip", progress=progress)
    refuse_unusable(data)
    with _workplace(folder, progress=progress) as work:
        extract(data, net, crops=crops, progress=progress)
        parameters = {
            "title": f"Report on {_short(dataset)}",
            "datasets": [dataset],
            "networks": [spec],
            "crops": crops,
            "seed": seed,
            "reference_images": [dataset],
            "results": "tables",
            "broken": str(write_broken(data, work / "broken.json")),
        }
        executed = _executed(parameters, work, progress=progress)
        page = single_page(executed / f"{NOTEBOOK}.ipynb", title=f"{data.name}, seen by {net.name}")
        (work / PAGE).write_text(page, encoding="utf-8")
        made = _publish(executed / "tables" / EMBEDDING, work / PAGE, folder)
        return Report(*made, tuple(left_out_by_reason(data)))


@contextmanager
def _workplace(folder: Path, *, progress: bool) -> Iterator[Path]:
    """Make a folder inside the report's for what is unfinished, and remove it in the end.

    Reports into one folder wait for each other, so that no page stands beside the embedding of
    another report; what one that was killed left behind is removed.
    """
    lock = (
        paths.home()
        / "locks"
        / hashlib.sha256(str(folder).encode(errors="surrogateescape")).hexdigest()[:16]
    )
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    with one_at_a_time(lock, folder, progress=progress):
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder, _UNFINISHED)
        work = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder))
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
            for parent in made:
                _remove_if_empty(parent)


def _executed(parameters: dict[str, Any], work: Path, *, progress: bool) -> Path:
    """Run the notebook; what it refuses is told without the cell that did."""
    notebook = find_sources().root / "notebooks" / f"{NOTEBOOK}.ipynb"
    try:
        return run_notebook(notebook, parameters, key="report-0-0", cache=work, progress=progress)
    except NotebookError as error:
        cause = error.__cause__
        if getattr(cause, "ename", None) in _TELLING:
            raise ValueError(cause.evalue) from error  # type: ignore[union-attr]
        raise


def _publish(embedding: Path, page: Path, folder: Path) -> tuple[Path, Path]:
    """Move what is finished to its place, file by file, the page last."""
    target = folder / EMBEDDING
    files = sorted(embedding.iterdir(), reverse=True)  # the numbers, then what describes them
    target.mkdir(exist_ok=True)
    for file in files:
        file.replace(target / file.name)
    return page.replace(folder / PAGE), target


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        _LOG.debug("%s is not empty and stays", folder)


def _absolute_weights(weights: str) -> str:
    file = Path(weights).expanduser()
    return file.absolute().as_posix() if file.is_file() else weights


def _short(dataset: str) -> str:
    own = own_path(dataset)
    return slug(dataset if own is None else own.path.stem if own.kind == "table" else own.path.name)
