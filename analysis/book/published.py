"""An executed notebook as readers get it."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

__all__ = ["make_publishable", "read_json"]

_WIDGET = "application/vnd.jupyter.widget-view+json"


def read_json(notebook: Path) -> dict[str, Any]:
    """Content of a notebook's file, as it is."""
    content: dict[str, Any] = json.loads(notebook.read_text(encoding="utf-8"))
    return content


def make_publishable(executed: Path) -> None:
    """Take out what readers have no use for: paths and times of this run, and dead widgets.

    What is left is the same, byte for byte, in every run that shows the same.
    """
    content = read_json(executed)
    for key in ("papermill", "widgets"):
        content["metadata"].pop(key, None)
    for cell in content["cells"]:
        for key in ("papermill", "execution"):
            cell["metadata"].pop(key, None)
        if "injected-parameters" in cell["metadata"].get("tags", ()):
            cell["id"] = "injected-parameters"  # papermill draws one
        if cell["cell_type"] == "code":
            outputs = [out for out in map(_without_widget, cell["outputs"]) if out]
            cell["outputs"] = [_with_stable_ids(output) for output in outputs]
    executed.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _without_widget(output: dict[str, Any]) -> dict[str, Any] | None:
    """Leave the picture that stands in for a widget; nothing where there is none."""
    data = output.get("data", {})
    if _WIDGET not in data:
        return output
    pictures = {kind: content for kind, content in data.items() if kind.startswith("image/")}
    return {**output, "data": pictures} if pictures else None


def _with_stable_ids(output: dict[str, Any]) -> dict[str, Any]:
    """Name styled tables by what they show, and objects without their place in memory.

    pandas draws the names of styled tables anew in every run.
    """
    data = {kind: _joined(content) for kind, content in output.get("data", {}).items()}
    if "text/plain" in data:
        data["text/plain"] = re.sub(r" at 0x[0-9a-fA-F]+>", ">", data["text/plain"])
    for name in re.findall(r'<table id="T_([0-9a-f]{5})"', data.get("text/html", "")):
        shown = data["text/html"].replace(f"T_{name}", "T_")
        digest = hashlib.sha256(shown.encode()).hexdigest()[:8]
        data["text/html"] = data["text/html"].replace(f"T_{name}", f"T_{digest}")
    return {**output, "data": data} if data else output


def _joined(content: Any) -> Any:
    """Lines of a text as one, as nbformat allows as well; other content as it is."""
    if isinstance(content, list) and all(isinstance(line, str) for line in content):
        return "".join(content)
    return content
