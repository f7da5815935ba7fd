"""Studies: what a notebook is given, and where it gets its features and tables from."""

from analysis.chapters.descriptions import (
    caveats,
    describe_datasets,
    describe_layers,
    describe_networks,
    describe_overlaps,
)
from analysis.chapters.display import SafeHtml, sectioned
from analysis.chapters.evidence import marked_classes
from analysis.chapters.explorer import Explorer
from analysis.chapters.parameters import (
    PARAMETERS,
    read_study,
    refuse_unknown_parameters,
    split_network,
)
from analysis.chapters.study import Pair, Study
from analysis.chapters.tables import slug, write_csv

__all__ = [
    "PARAMETERS",
    "Explorer",
    "Pair",
    "SafeHtml",
    "Study",
    "caveats",
    "describe_datasets",
    "describe_layers",
    "describe_networks",
    "describe_overlaps",
    "marked_classes",
    "read_study",
    "refuse_unknown_parameters",
    "sectioned",
    "slug",
    "split_network",
    "write_csv",
]
