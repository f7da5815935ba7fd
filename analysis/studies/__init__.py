"""Studies: what a notebook is given, and where it gets its features and tables from."""

from analysis.studies.descriptions import (
    caveats,
    describe_datasets,
    describe_layers,
    describe_networks,
    describe_overlaps,
)
from analysis.studies.display import SafeHtml, sectioned
from analysis.studies.evidence import marked_classes
from analysis.studies.explorer import Explorer
from analysis.studies.parameters import (
    PARAMETERS,
    read_study,
    refuse_unknown_parameters,
    split_network,
)
from analysis.studies.study import Pair, Study
from analysis.studies.tables import slug, write_csv

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
