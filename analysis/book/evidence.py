"""What a study measured, arranged as its claims ask for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.chapters import Pair, Study, split_network
from analysis.data import CARDS
from analysis.statistics import (
    NoiseThresholds,
    distribution_differences,
    kept_by_part,
    kind_histograms,
    layer_histograms,
    measure_behaviour,
    measure_noise,
    stand_out,
    summarise_thresholds,
    thresholds_between,
)
from analysis.statistics.distributions import KINDS

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

CONV, FC, ALL = KINDS["conv"], KINDS["fc"], "all"
"""The parts of an embedding."""

SHUFFLES = 5
"""As the chapter on noise thresholds has them by default."""

_BINS = 200


@dataclass(frozen=True, eq=False)
class Evidence:
    """What one network of a study shows on the study's datasets.

    Attributes
    ----------
    network
        ``NAME@WEIGHTS``.
    measures, chance
        Rows of :func:`measure_behaviour` with the column ``dataset``, under real labels and under
        labels that were shuffled once.
    differences
        Rows of :func:`distribution_differences`, for layers and for parts of the embedding.
    datasets
        Index: dataset; columns ``images``, ``classes``, ``smallest`` (images of that class) and
        ``expected_images`` (those of the complete dataset, NaN where not known).
    groups
        Overlap group of each dataset with the network's source task, None where it has none.
    first
        Evidence of the study's first trained network of the same architecture, for a network
        that was trained on another source task.
    source_differences
        Columns ``layer``, ``dataset``, ``difference``: as ``differences``, between the network
        and ``first`` on the same dataset.
    alone
        Why there is no ``first``.
    thresholds
        A row for each dataset: its noise thresholds and what they keep, with the columns of
        :func:`summarise_thresholds` and :func:`stand_out`, and for each part of the embedding
        ``pruned_PART``, the share of its pairs that the thresholds set aside.
    shuffled
        The same under the shuffled labels: what holds there too, holds by the nature of the
        distance.
    """

    network: str
    measures: pd.DataFrame
    chance: pd.DataFrame
    differences: pd.DataFrame
    datasets: pd.DataFrame
    groups: Mapping[str, str | None] = field(default_factory=dict)
    first: Evidence | None = None
    source_differences: pd.DataFrame | None = None
    alone: str = "the study has no second trained network of this architecture"
    thresholds: pd.DataFrame = field(default_factory=pd.DataFrame)
    shuffled: Evidence | None = None

    @property
    def trained(self) -> bool:
        """Whether the network has learnt anything."""
        return split_network(self.network)[1] != "random"

    def layers(self, part: str) -> list[str]:
        """Layers of a part, in order."""
        of_part = (self.measures["scope"] == "layer") & (self.measures["kind"] == part)
        return list(dict.fromkeys(self.measures.loc[of_part, "name"]))

    def of(
        self, names: str | Sequence[str], measure: str, *, by_chance: bool = False
    ) -> pd.Series[float]:
        """Measure of a part or of layers (their mean) on each dataset."""
        wanted = [names] if isinstance(names, str) else list(names)
        table = self.chance if by_chance else self.measures
        found = table[table["name"].isin(wanted)].groupby("dataset", sort=False)[measure].mean()
        return found.reindex(self.datasets.index)

    def difference(self, names: str | Sequence[str], datasets: Sequence[str]) -> float:
        """Mean difference between two of the datasets, over layers if several are named."""
        wanted = [names] if isinstance(names, str) else list(names)
        table = self.differences
        chosen = table["layer"].isin(wanted) & table["dataset"].isin(datasets)
        return float(table.loc[chosen & table["other"].isin(datasets), "difference"].mean())


def gather_evidence(
    study: Study, groups: Mapping[Pair, str | None] | None = None
) -> dict[str, Evidence]:
    """Measure everything that the claims need, network by network.

    Parameters
    ----------
    study
        Networks and datasets; features that are missing are extracted.
    groups
        Overlap group of each pair. None: as :meth:`Study.overlap_group` says.

    Returns
    -------
    dict
        Network → evidence, in the study's order.
    """
    groups = groups or {pair: study.overlap_group(pair) for pair in study.pairs}
    looks = {pair: _both_looks(study, pair) for pair in study.pairs}
    real, chance = ({pair: both[k] for pair, both in looks.items()} for k in (0, 1))
    datasets = _describe(study)
    found, by_chance = (
        _pointing_onwards(_by_network(looks, chance, datasets, groups)) for looks in (real, chance)
    )
    return {n: replace(evidence, shuffled=by_chance[n]) for n, evidence in found.items()}


def table_of_measures(evidence: Mapping[str, Evidence]) -> pd.DataFrame:
    """Stack the measures of all networks, under real and under shuffled labels.

    Parameters
    ----------
    evidence
        As of :func:`gather_evidence`.

    Returns
    -------
    DataFrame
        ``network``, ``dataset``, ``labels`` (``"real"`` or ``"shuffled"``) and the columns of
        :func:`measure_behaviour`.
    """
    parts = [
        table.assign(network=network, labels=labels)
        for network, of_network in evidence.items()
        for labels, table in (("real", of_network.measures), ("shuffled", of_network.chance))
    ]
    stacked = pd.concat(parts, ignore_index=True)
    first = ["network", "dataset", "labels"]
    return stacked[first + [name for name in stacked.columns if name not in first]]


@dataclass(frozen=True, eq=False)
class _Look:
    """Measures and histograms of one pair."""

    measures: pd.DataFrame
    histograms: pd.DataFrame
    thresholds: pd.DataFrame


def _both_looks(study: Study, pair: Pair) -> tuple[_Look, _Look]:
    """Under the labels, and under the first shuffle, of which the others are the noise."""
    labels, kinds = study.data(pair.dataset).labels, study.kinds(pair.network)
    D, shuffled, found, *_ = measure_noise(study.features(pair), labels, SHUFFLES, study.seed)
    rest = shuffled[1:]
    by_chance = D.copy(data=shuffled[0])
    return (
        _look(pair, D, kinds, _threshold_row(D, shuffled, found, labels, kinds)),
        _look(
            pair,
            by_chance,
            kinds,
            _threshold_row(by_chance, rest, thresholds_between(by_chance, rest), labels, kinds),
        ),
    )


def _threshold_row(
    D: xr.DataArray,
    shuffled: NDArray[np.float64],
    thresholds: NoiseThresholds,
    labels: NDArray[np.int64],
    kinds: Mapping[str, str],
) -> pd.DataFrame:
    parts = {layer: KINDS[kind] for layer, kind in kinds.items()}
    kept = kept_by_part(D, shuffled, thresholds, parts).set_index("part")["kept"]
    row = [summarise_thresholds(D, shuffled, thresholds, labels), stand_out(D, shuffled[0])]
    pruned = {f"pruned_{part}": 1 - kept.get(part, np.nan) for part in (CONV, FC)}
    return pd.concat(row, axis=1).assign(**pruned)


def _look(pair: Pair, D: xr.DataArray, kinds: Mapping[str, str], thresholds: pd.DataFrame) -> _Look:
    measures = measure_behaviour(D, {layer: KINDS[kind] for layer, kind in kinds.items()})
    by_kind = kind_histograms(D, kinds, bins=_BINS).rename(columns={"kind": "layer"})
    histograms = pd.concat([layer_histograms(D, bins=_BINS), by_kind])
    tables = (measures, histograms, thresholds)
    return _Look(*(table.assign(dataset=pair.dataset) for table in tables))


def _by_network(
    looks: Mapping[Pair, _Look],
    chance: Mapping[Pair, _Look],
    datasets: pd.DataFrame,
    groups: Mapping[Pair, str | None],
) -> dict[str, Evidence]:
    found: dict[str, Evidence] = {}
    for network in dict.fromkeys(pair.network for pair in looks):
        pairs = [pair for pair in looks if pair.network == network]
        evidence = Evidence(
            network,
            pd.concat([looks[pair].measures for pair in pairs]),
            pd.concat([chance[pair].measures for pair in pairs]),
            distribution_differences(pd.concat([looks[pair].histograms for pair in pairs])),
            datasets,
            {pair.dataset: groups.get(pair) for pair in pairs},
            thresholds=pd.concat([looks[pair].thresholds for pair in pairs]).set_index("dataset"),
        )
        found[network] = _beside_first(evidence, found, looks)
    return found


def _describe(study: Study) -> pd.DataFrame:
    rows = {}
    for name in study.datasets:
        data = study.data(name)
        sizes = np.bincount(data.labels, minlength=len(data.classes))
        card = CARDS.get(name)
        rows[name] = {
            "images": len(data),
            "classes": len(data.classes),
            "smallest": int(sizes.min()),
            "expected_images": float(card.images if card and card.images else "nan"),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _beside_first(
    evidence: Evidence, earlier: Mapping[str, Evidence], looks: Mapping[Pair, _Look]
) -> Evidence:
    """Evidence with that of the first network of its architecture, if both were trained."""
    if not evidence.trained:
        return replace(evidence, alone="the network has learnt no source task")
    name = split_network(evidence.network)[0]
    first = next(
        (e for e in earlier.values() if e.trained and split_network(e.network)[0] == name), None
    )
    if first is None:
        return evidence
    parts = []
    for dataset in evidence.datasets.index:
        both = [
            looks[Pair(dataset, network)].histograms.assign(dataset=network)
            for network in (first.network, evidence.network)
        ]
        parts.append(distribution_differences(pd.concat(both)).assign(dataset=dataset))
    columns = ["layer", "dataset", "difference"]
    return replace(evidence, first=first, source_differences=pd.concat(parts)[columns])


def _pointing_onwards(found: dict[str, Evidence]) -> dict[str, Evidence]:
    """Say at each first network under which others the second source task is looked at."""
    for network, evidence in list(found.items()):
        others = [e.network for e in found.values() if e.first and e.first.network == network]
        if others:
            where = ", ".join(others)
            found[network] = replace(evidence, alone=f"looked at under {where}, beside this one")
    return found
