"""Tables behind figures, as files."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

__all__ = ["slug", "write_csv"]


def write_csv(table: pd.DataFrame, path: Path) -> Path:
    """Write a table as CSV, whole or not at all, replacing a file of that name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        table.to_csv(partial, index=False, float_format="%.6g")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def slug(title: str) -> str:
    """File-name form of a title: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "study"
