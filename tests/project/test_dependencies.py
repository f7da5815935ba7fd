"""One hand-edited list of dependencies: what is derived from it agrees with it."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def read_toml(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / name).read_text("utf-8"))


PYPROJECT = read_toml("pyproject.toml")
LOCK = read_toml("uv.lock")
THE_PROJECT = next(entry for entry in LOCK["package"] if entry["name"] == "layerbook")


def normal(requirements: list[str]) -> set[tuple[str, SpecifierSet]]:
    parsed = [Requirement(line) for line in requirements]
    return {(canonicalize_name(one.name), one.specifier) for one in parsed}


def locked_requirements(entries: list[dict[str, str]]) -> set[tuple[str, SpecifierSet]]:
    return {(entry["name"], SpecifierSet(entry.get("specifier", ""))) for entry in entries}


def pins(text: str) -> dict[tuple[str, str], tuple[bool, ...]]:
    """``{(name, version): machines}`` of a requirements file in which every line is a pin."""
    found = {}
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            one = Requirement(line)
            match = re.fullmatch(r"==([^*]+)", str(one.specifier))
            assert match, f"not a pin: {line}"
            found[canonicalize_name(one.name), match.group(1)] = where(str(one.marker or ""))
    return found


SYSTEMS = tuple(
    dict(zip(("sys_platform", "os_name", "platform_machine"), words.split(), strict=True))
    for words in (
        *("linux posix x86_64", "linux posix aarch64", "linux posix ppc64le"),
        *("darwin posix arm64", "darwin posix x86_64", "win32 nt AMD64", "emscripten posix wasm32"),
    )
)
PYTHONS = ("3.11.0", "3.11.9", "3.12.0", "3.13.1", "3.14.0", "3.15.0", "3.16.0")


def where(marker: str) -> tuple[bool, ...]:
    """Which machines a marker lets in: uv says the same in other words from release to release."""
    if not marker:
        return (True,) * (len(SYSTEMS) * len(PYTHONS) * 2)
    return tuple(
        Marker(marker).evaluate(
            system
            | {"python_full_version": python, "python_version": ".".join(python.split(".")[:2])}
            | {"platform_python_implementation": made_by, "implementation_name": made_by.lower()}
        )
        for system, python, made_by in product(SYSTEMS, PYTHONS, ("CPython", "PyPy"))
    )


def exported() -> str:
    return (ROOT / "requirements.lock").read_text("utf-8")


def test_uv_lock_has_the_dependencies_of_pyproject():
    metadata = THE_PROJECT["metadata"]
    assert locked_requirements(metadata["requires-dist"]) == normal(
        PYPROJECT["project"]["dependencies"]
    )
    groups = metadata["requires-dev"]
    assert groups.keys() == PYPROJECT["dependency-groups"].keys()
    for group, requirements in PYPROJECT["dependency-groups"].items():
        assert locked_requirements(groups[group]) == normal(requirements)
    assert LOCK["requires-python"] == PYPROJECT["project"]["requires-python"]


def test_requirements_lock_has_the_versions_of_uv_lock():
    locked = {
        (entry["name"], entry["version"]) for entry in LOCK["package"] if entry != THE_PROJECT
    }
    assert pins(exported()).keys() == locked


def test_requirements_lock_is_what_uv_exports():
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed; the test above compares names and versions without it")
    command = ["uv", "export", "--frozen", "--no-hashes", "--no-emit-project", "--quiet"]
    fresh = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert pins(exported()) == pins(fresh), "run `make lock`"


def test_markers_are_compared_by_what_they_let_in():
    linux = "sys_platform == 'linux'"
    assert where(linux) == where("'linux' == sys_platform")
    for marker, other in (
        (linux, "sys_platform == 'linux' or os_name == 'nt'"),
        ("python_full_version < '3.12'", "python_full_version < '3.11.5'"),
        ("python_full_version == '3.12.*'", ""),
        ("platform_machine == 'x86_64'", "platform_machine == 'aarch64'"),
    ):
        assert where(marker) != where(other)


def test_no_lock_names_a_local_build():
    assert "+cpu" not in exported(), "PyTorch comes from PyPI, and with it a matching torchvision"
    assert {
        entry["source"].get("registry") for entry in LOCK["package"] if entry != THE_PROJECT
    } == {"https://pypi.org/simple"}


def test_conda_installs_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    python, pip, by_pip = environment["dependencies"]
    assert python.startswith("python=")
    allowed = SpecifierSet(PYPROJECT["project"]["requires-python"])
    assert f"{python.removeprefix('python=')}.0" in allowed
    assert pip == "pip"
    assert by_pip == {"pip": ["-r requirements.lock", "-e ."]}


def test_the_supported_python_is_said_alike():
    floor = re.fullmatch(r">=3\.(\d+)", PYPROJECT["project"]["requires-python"])
    assert floor, "the Makefile and the README name a lowest version and no highest"
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert f"sys.version_info < (3, {floor[1]})" in makefile
    for text in (makefile, (ROOT / "README.md").read_text("utf-8")):
        assert set(re.findall(r"Python 3\.(\d+) or newer", text)) == {floor[1]}


def test_the_version_is_said_alike():
    version = PYPROJECT["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == version
    assert citation["license"] == PYPROJECT["project"]["license"]
    assert THE_PROJECT["version"] == version
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    newest = re.search(r"^## \[(\d[^]]*)\]", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == version
