"""House rules that a linter does not know."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "analysis").rglob("*.py"))
MACHINE_PATH = re.compile(r"(?:^|[^a-z.\w])/(?:home|root|tmp|work|mnt|Users)/[\w.-]", re.MULTILINE)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tracked_files() -> list[Path]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: which files belong to the project is not known")
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]


def public_definitions(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Functions and classes without a leading underscore, methods of such classes included."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            if "overload" in map(ast.unparse, node.decorator_list):
                continue  # the definition that follows explains them all
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body, f"{prefix}{node.name}.")


def calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def test_everything_public_is_explained():
    bare = []
    for path in MODULES:
        tree = ast.parse(path.read_text("utf-8"))
        definitions = [("module", tree), *public_definitions(tree.body)]
        bare += [f"{name_of(path)}: {name}" for name, n in definitions if not ast.get_docstring(n)]
    assert not bare


def test_the_package_neither_prints_nor_draws_on_a_global_figure():
    found = []
    for path in MODULES:
        unwanted = {"plt.show", "plt.gca", "plt.gcf"}
        if path.name != "__main__.py":
            unwanted.add("print")
        used = unwanted & set(calls(ast.parse(path.read_text("utf-8"))))
        found += [f"{name_of(path)}: {name}" for name in used]
    assert not found


def test_no_file_names_a_place_on_one_machine():
    assert MACHINE_PATH.search("open('/ho" + "me/ada/x')") and MACHINE_PATH.search("/wo" + "rk/a")
    assert not MACHINE_PATH.search("folder:/path/to/images")
    found = []
    for path in tracked_files():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue  # a picture
        found += [f"{name_of(path)}: {hit.group().strip()}" for hit in MACHINE_PATH.finditer(text)]
    assert not found
