"""What every test shares: an isolated home, and the optional real data and weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


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
