"""Studies: what a notebook is given, and where it gets its features and tables from."""

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
    "Pair",
    "Study",
    "read_study",
    "refuse_unknown_parameters",
    "slug",
    "split_network",
    "write_csv",
]
