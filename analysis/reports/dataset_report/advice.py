"""Which layers to keep for the images of the report, or why nothing can be said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.studies import split_network
from analysis.transfer.recommendation import Recommendation, recommend
from analysis.transfer.reuse import RecommendedEmbedding

if TYPE_CHECKING:
    from analysis.reports.dataset_report.study import DatasetStudy

__all__ = ["ALTERNATIVES_AS", "EMBEDDING", "Advice", "advise", "lines_to_reuse", "save_embedding"]

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

_DEFAULTS = {
    "fc": "last fully connected layer",
    "conv": "last convolution",
    "block": "last block",
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
            "features kept": f"{n:,} of {self.n_features:,} ({n / self.n_features:.0%})",
            "bytes per image": f"{n * size:,} of {4 * self.n_features:,} "
            f"({n * size / (4 * self.n_features):.0%})",
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
        return _DEFAULTS.get(self.kinds[name], kind) if last[self.kinds[name]] == name else kind


def advise(study: DatasetStudy) -> Advice:
    """Recommend layers for a study's images, and fit the embedding to all of them."""
    pair, labels = study.pairs[0], study.images.labels
    X = study.features(pair)
    kinds = study.kinds(pair.network)
    if np.bincount(labels).min() < 3:
        because = (
            "There is no recommendation: two images of every class are needed to choose layers by "
            "and a third to test on, and the smallest class has fewer. Kept is the full-network "
            "embedding of all layers, which needs no choice."
        )
        everything = RecommendedEmbedding(values="discretised").fit(X)
        return Advice(None, because, everything, kinds, X.shape[1])
    found = recommend(X, labels, seed=study.seed)
    fitted = RecommendedEmbedding.of(found.chosen, found.features).fit(X)
    return Advice(found, found.statement, fitted, kinds, X.shape[1])


def lines_to_reuse(study: DatasetStudy) -> str:
    """Python that loads the embedding and gives other images their features."""
    name, weights = split_network(study.networks[0])
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
