"""An executed notebook as readers get it."""

from __future__ import annotations

import json
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
            cell["outputs"] = [out for out in map(_without_widget, cell["outputs"]) if out]
    executed.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _without_widget(output: dict[str, Any]) -> dict[str, Any] | None:
    """Leave the picture that stands in for a widget; nothing where there is none."""
    data = output.get("data", {})
    if _WIDGET not in data:
        return output
    pictures = {kind: content for kind, content in data.items() if kind.startswith("image/")}
    return {**output, "data": pictures} if pictures else None
