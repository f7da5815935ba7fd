"""The file of golden numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from golden.numbers import Golden

FILE = Path(__file__).with_name("golden.json")


def read() -> dict[str, Golden]:
    """Golden numbers by name; none where the file was removed to begin anew."""
    if not FILE.is_file():
        return {}
    return {name: Golden(**entry) for name, entry in json.loads(FILE.read_text("utf-8")).items()}


def write(numbers: Mapping[str, Golden]) -> None:
    """Replace the file; tolerances that are zero are left out."""
    entries = {
        name: {key: value for key, value in asdict(golden).items() if key == "value" or value}
        for name, golden in numbers.items()
    }
    FILE.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", "utf-8")
