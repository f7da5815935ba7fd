"""Which layers to keep for the images of the report, or why nothing can be said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.chapters import split_network
from analysis.transfer.recommendation import (
    BEST_CANDIDATE,
    Recommendation,
    RecommendedEmbedding,
    recommend,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analysis.book.dataset_report.study import DatasetStudy

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
    at = _worth_testing(labels, MOST_VALUES // X.shape[1], study.seed)
    found = recommend(X[at], labels[at], seed=study.seed)
    drawn = f"{at.size:,} of {labels.size:,} images, drawn by chance: " * (at.size < labels.size)
    fitted = RecommendedEmbedding.of(found.chosen, found.features).fit(X)
    because = drawn + found.statement
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


def _worth_testing(labels: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """Positions of all images, or of about ``most`` of them: small classes whole, others alike."""
    members = np.unique(labels, return_inverse=True)[1]
    sizes = np.bincount(members)
    each = int(sizes.max())
    while each > 3 and np.minimum(sizes, each).sum() > most:
        each -= 1
    rng = np.random.default_rng((seed, labels.size))
    drawn = [rng.permutation(np.flatnonzero(members == k))[:each] for k in range(sizes.size)]
    return np.sort(np.concatenate(drawn))


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
