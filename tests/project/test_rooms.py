"""The package's rooms import one way, and the light ones stay light."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import analysis

PACKAGE = Path(analysis.__file__).parent
ROOMS = (
    *("paths", "cluster", "data", "networks", "features", "statistics", "transfer", "figures"),
    *("chapters", "book", "cli", "__main__"),
)
WITHOUT_TORCH = ("paths", "cluster", "data", "statistics", "transfer", "figures")
# The front door names things of every room, and fetches them when they are asked for.
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """Room of a dotted module name; names fetched through the front door count as their room."""
    name = module.split(".")[1] if "." in module else ""
    return getattr(analysis, name).__module__.split(".")[1] if name in analysis.__all__ else name


def imported_modules(source: str, module: str, *, is_package: bool) -> Iterator[str]:
    """Every absolute module name that ``source`` imports, inside functions too."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            called = node.func.id if isinstance(node.func, ast.Name) else called
            if called in {"import_module", "__import__"}:
                yield str(node.args[0].value)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "analysis":
            yield "analysis" if node.attr.startswith("__") else f"analysis.{node.attr}"


def imports_of(path: Path) -> set[str]:
    is_package = path.name == "__init__.py"
    return set(imported_modules(path.read_text("utf-8"), dotted(path), is_package=is_package))


def test_imports_are_found_wherever_they_hide():
    source = """
import analysis.data.cards
from . import layers
from ..statistics import signed_ks
def f():
    from analysis import extract
    import torch.nn as nn
    importlib.import_module("analysis.figures")
    return analysis.Study, analysis.__file__
"""
    found = set(imported_modules(source, "analysis.networks.cards", is_package=False))
    assert found == {
        *("analysis", "analysis.data.cards", "analysis.networks.layers", "analysis.extract"),
        *("analysis.statistics.signed_ks", "torch.nn", "analysis.figures", "analysis.Study"),
    }
    assert room_of("analysis.extract") == "features"
    assert set(imported_modules("from .a import b", "analysis.data", is_package=True)) == {
        "analysis.data.a.b"
    }


def test_a_module_imports_only_from_rooms_to_its_left():
    wrong = []
    for path in MODULES:
        here = ROOMS.index(room_of(dotted(path)))
        for name in imports_of(path):
            room = room_of(name) if name.split(".")[0] == "analysis" else ""
            if room and ROOMS.index(room) > here:
                wrong.append(f"{dotted(path)} imports {name}")
    assert not wrong


def test_rooms_of_arrays_and_pictures_never_import_torch():
    light = [path for path in MODULES if room_of(dotted(path)) in WITHOUT_TORCH]
    imported = {name.split(".")[0] for path in light for name in imports_of(path)}
    assert not {"torch", "torchvision"} & imported


def test_torch_is_loaded_only_when_networks_are_used():
    light = ["analysis", *(f"analysis.{room}" for room in WITHOUT_TORCH)]
    program = (
        f"import sys, {', '.join(light)}\n"
        "loaded = {'torch', 'torchvision'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_public_name_exists():
    assert {"Study", "extract", "signed_ks"} < set(analysis.__all__)
    names = {one.name for one in pkgutil.walk_packages(analysis.__path__, "analysis.")}
    for name in names - {"analysis.__main__"} | {"analysis"}:
        module = importlib.import_module(name)
        for entry in getattr(module, "__all__", []):
            assert hasattr(module, entry), f"{name}.__all__ names {entry}"
    with pytest.raises(AttributeError, match="nothing"):
        analysis.nothing  # noqa: B018
