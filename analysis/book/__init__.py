"""Reports: assemble, execute and build the book of a study."""

from analysis.book.build import BookError, build_book
from analysis.book.execution import NotebookError

__all__ = ["BookError", "NotebookError", "build_book"]
