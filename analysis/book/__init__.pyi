from .build import BookError as BookError
from .build import build_book as build_book
from .execution import NotebookError as NotebookError
