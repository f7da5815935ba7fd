"""Reports: assemble, execute and build the book of a study."""

from analysis.reports.book import BookError, build_book
from analysis.reports.execution import NotebookError

__all__ = ["BookError", "NotebookError", "build_book"]
