"""What every test shares: an isolated home, and the optional real data and weights."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pytest

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

# The tests multiply many small matrices. OpenBLAS cuts each among its threads, which then wait for
# one another longer than one of them would have computed. It reads this when NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


_SLOWEST = {"book", "cluster", "features", "safety"}


class Record(Protocol):
    """Note, at the end of a test, what was withstood; see :func:`withstood`."""

    def __call__(self, kind: Literal["fault", "attack"], what: str, *, tried: int) -> None: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the long tests (make check)")
    parser.addoption(
        "--withstood",
        type=Path,
        metavar="FILE",
        help="write which faults and attacks the tests tried, and how often, to a JSON file",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes minutes; left out without --long")
    file = config.getoption("--withstood")
    if file is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Table(file))


@pytest.hookimpl(optionalhook=True)  # there with pytest-xdist only
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a file in one process, and all that look at the small book in another."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduler(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "book" if file in of_book else file

    files = Path(__file__).parent.rglob("test_*.py")
    of_book = {
        file.relative_to(config.rootpath).as_posix()
        for file in files
        if "small_book" in file.read_text("utf-8")
    }
    return Scheduler(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # What takes longest begins first, so that no process is left alone with it at the end.
    items.sort(key=lambda item: item.path.parent.name not in _SLOWEST)
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.timeout(3600))
            if not config.getoption("--long"):
                item.add_marker(pytest.mark.skip(reason="a long test: make check, or --long"))


@pytest.fixture
def withstood(request: pytest.FixtureRequest) -> Record:
    """Note which fault or attack a test tried and how often, for the table in the book.

    To be called last: what is noted was tried so often, and nothing was lost, which is what the
    test has asserted.
    """

    def record(kind: Literal["fault", "attack"], what: str, *, tried: int) -> None:
        row = {"kind": kind, "what": what, "tried": tried, "test": request.node.nodeid}
        request.node.user_properties.append(("withstood", row))

    return record


class _Table:
    """Writes what was withstood in a run, perhaps of several processes, in which all passed."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows: list[dict[str, object]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            properties = report.user_properties
            self.rows += [row for name, row in properties if name == "withstood"]

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.OK:
            rows = sorted(self.rows, key=lambda row: (row["kind"], row["what"]))
            self.file.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", "utf-8")


@pytest.fixture(scope="session", autouse=True)
def isolated_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep downloads, stores and results of the tests out of the user's own cache."""
    home = tmp_path_factory.mktemp("layerbook-home")
    before = os.environ.get("LAYERBOOK_HOME")
    os.environ["LAYERBOOK_HOME"] = str(home)
    yield home
    if before is None:
        del os.environ["LAYERBOOK_HOME"]
    else:
        os.environ["LAYERBOOK_HOME"] = before


@pytest.fixture(scope="session")
def lent_data() -> Path:
    """Folder of real datasets, named by LAYERBOOK_DATA."""
    return _folder_of("LAYERBOOK_DATA", "real images")


@pytest.fixture(scope="session")
def lent_weights() -> Path:
    """Folder of real weights, named by LAYERBOOK_WEIGHTS."""
    return _folder_of("LAYERBOOK_WEIGHTS", "real weights")


def _folder_of(variable: str, what: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set: this test wants {what}")
    return Path(value)


@pytest.fixture(scope="session")
def small_book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build folder of the whole book, for so few images that it takes about a minute.

    Under ``executed/NOTEBOOK-*/`` are the executed notebooks with their tables, under ``html`` the
    pages.
    """
    from analysis.book import build_book
    from analysis.data import load_dataset

    folder = tmp_path_factory.mktemp("book")
    data = load_dataset("digits_rendered")
    for label in range(3):
        of_class = [index for index in range(len(data)) if data.labels[index] == label][:8]
        (folder / "images" / data.classes[label]).mkdir(parents=True)
        for index in of_class:
            data[index].save(folder / "images" / data.classes[label] / f"{index}.png")
    index = build_book(
        "bundled",
        datasets=f"folder:{folder / 'images'}",
        networks=["minivgg16@bundled", "minivgg16@random"],
        output=folder / "_build",
        progress=False,
    )
    return index.parent.parent


@pytest.fixture(scope="module")
def two_workers() -> Iterator[LocalCluster]:
    """Two worker processes of one thread each, which come back whenever they are killed."""
    import dask
    from distributed import LocalCluster

    # A worker that is not back in time, on a busy machine, would be given up.
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1h"}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,
            dashboard_address=":0",
        ) as cluster,
    ):
        yield cluster


@pytest.fixture
def cluster(two_workers: LocalCluster) -> LocalCluster:
    """The same, with workers that were killed by other tests restarted."""
    two_workers.wait_for_workers(2)
    return two_workers


@pytest.fixture(scope="module")
def client(two_workers: LocalCluster) -> Iterator[Client]:
    """Client of two worker processes of one thread each."""
    from distributed import Client

    with Client(two_workers, set_as_default=False) as connected:
        yield connected


@pytest.fixture(scope="session")
def may_be_empty() -> set[str]:
    """Tables of the small book that need have no row: its files are whole and unlike each other,
    and of its three classes none need share a unit.
    """
    return {
        "02-shared-absences",
        "05-broken-files",
        "05-identical-files",
        "05-near-duplicates",
    }
