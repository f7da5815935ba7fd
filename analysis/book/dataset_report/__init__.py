"""The report on a user's own images: one page, and an embedding to reuse."""

from analysis.book.dataset_report.advice import (
    ALTERNATIVES_AS,
    Advice,
    advise,
    lines_to_reuse,
    save_embedding,
)
from analysis.book.dataset_report.command import Report, report_dataset
from analysis.book.dataset_report.display import (
    code_block,
    paragraph,
    readable,
    warning_boxes,
)
from analysis.book.dataset_report.findings import (
    broken_files,
    identical_files,
    image_pairs,
    pairs_by_class,
    strongest_of_classes,
    warnings_of,
    what_was_read,
    with_paths,
)
from analysis.book.dataset_report.page import single_page
from analysis.book.dataset_report.study import DatasetStudy

__all__ = [
    "ALTERNATIVES_AS",
    "Advice",
    "DatasetStudy",
    "Report",
    "advise",
    "broken_files",
    "code_block",
    "identical_files",
    "image_pairs",
    "lines_to_reuse",
    "pairs_by_class",
    "paragraph",
    "readable",
    "report_dataset",
    "save_embedding",
    "single_page",
    "strongest_of_classes",
    "warning_boxes",
    "warnings_of",
    "what_was_read",
    "with_paths",
]
