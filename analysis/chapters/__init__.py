"""Studies: what a notebook is given, and where it gets its features and tables from."""

from analysis.chapters.explorer import Explorer, marked_classes
from analysis.chapters.study import (
    PARAMETERS,
    Pair,
    Study,
    read_study,
    refuse_unknown_parameters,
    split_network,
)
from analysis.chapters.tables import (
    SafeHtml,
    caveats,
    describe_datasets,
    describe_layers,
    describe_networks,
    describe_overlaps,
    sectioned,
    slug,
    write_csv,
)

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
