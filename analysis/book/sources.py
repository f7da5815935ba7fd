"""Where the book's sources are, and what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

GENERATED_PAGES = ("datasets", "networks", "benchmarks", "faults")
_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class BookSources:
    """Folder with ``_config.yml``, ``book/`` and ``notebooks/``.

    It is the top level of a checkout, or ``analysis/_book`` in an installed package.
    """

    root: Path

    @property
    def config(self) -> Path:
        """Settings of Jupyter Book."""
        return self.root / "_config.yml"

    @property
    def prose(self) -> Path:
        """Folder of the table of contents, the written pages and the references."""
        return self.root / "book"

    @property
    def benchmark_results(self) -> Path:
        """Measurements of the benchmarks page; the file may be missing."""
        return self.root / "benchmarks" / "results.json"

    @property
    def rates(self) -> Path:
        """Rates that the chapter on large runs is made of."""
        return self.root / "benchmarks" / "rates.json"

    @property
    def withstood(self) -> Path:
        """Faults and attacks that the tests tried, of the page on them; the file may be missing."""
        return self.root / "benchmarks" / "withstood.json"

    def pages(self) -> list[str]:
        """Names of all pages in the table of contents, without ending, in order."""
        toc = yaml.safe_load((self.prose / "_toc.yml").read_text(encoding="utf-8"))
        return [toc["root"], *_files_of(toc)]

    def notebooks(self) -> list[Path]:
        """Notebooks of the table of contents, in order.

        Raises
        ------
        FileNotFoundError
            If a page of the table of contents has no source.
        """
        found = []
        for page in self.pages():
            notebook = self.root / "notebooks" / f"{page}.ipynb"
            if notebook.is_file():
                found.append(notebook)
            elif page not in GENERATED_PAGES and not (self.prose / f"{page}.md").is_file():
                raise FileNotFoundError(
                    f"{self.prose / '_toc.yml'} names the page {page!r}, but there is neither "
                    f"notebooks/{page}.ipynb nor book/{page}.md under {self.root}"
                )
        return found

    def study(self, name_or_path: Path | str) -> Path:
        """Study file from its path, or from the bare name of one that comes along.

        Raises
        ------
        FileNotFoundError
            If it is neither; the message lists the names that come along.
        """
        path = Path(name_or_path)
        if path.is_file():
            return path
        folder = self.prose / "studies"
        bundled = {file.stem: file for file in sorted(folder.glob("*.yml"))}
        if str(name_or_path) in bundled:
            return bundled[str(name_or_path)]
        # `book/studies/NAME.yml` is how the documentation spells it, from wherever one runs.
        if (
            path.parts[:-1] == ("book", "studies")
            and path.suffix == ".yml"
            and path.stem in bundled
        ):
            return bundled[path.stem]
        raise FileNotFoundError(
            f"no study file {str(name_or_path)!r}; give a path to a YAML file, "
            f"or one of: {', '.join(bundled) or 'none'}"
        )


def find_sources() -> BookSources:
    """Find the sources installed with the package, or those of the checkout it runs from.

    Raises
    ------
    FileNotFoundError
        If neither is there.
    """
    candidates = (_PACKAGE / "_book", _PACKAGE.parent)
    for root in candidates:
        sources = BookSources(root)
        if sources.config.is_file() and (sources.prose / "_toc.yml").is_file():
            return sources
    raise FileNotFoundError(
        "the book's sources (_config.yml, book/, notebooks/) should be in "
        f"{' or '.join(map(str, candidates))}, but are in neither; install layerbook again"
    )


def _files_of(entry: dict[str, Any]) -> Iterator[str]:
    for key in ("parts", "chapters", "sections"):
        for child in entry.get(key, []):
            if "file" in child:
                yield child["file"]
            yield from _files_of(child)
