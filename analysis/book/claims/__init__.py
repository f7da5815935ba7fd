"""The claims of Garcia-Gasulla et al. (2018), sections 5 to 8, tested on a study's results."""

from analysis.book.claims.checking import CLAIMS, check_claims, verdict_counts
from analysis.book.claims.claim import Claim, Finding, NotTestableError
from analysis.book.claims.evidence import Evidence, gather_evidence, table_of_measures
from analysis.book.claims.tables import lacking_table, verdict_table

__all__ = [
    "CLAIMS",
    "Claim",
    "Evidence",
    "Finding",
    "NotTestableError",
    "check_claims",
    "gather_evidence",
    "lacking_table",
    "table_of_measures",
    "verdict_counts",
    "verdict_table",
]
