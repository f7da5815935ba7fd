"""What the model of large runs says, as tables and numbers for readers."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd

from analysis.chapters.scale import STAGES, Rates, sizes
from analysis.chapters.scale_layout import Run

__all__ = ["facts", "in_units", "rates_table"]


def rates_table(rates: Rates) -> pd.DataFrame:
    """Rates as readers see them: what, value, unit."""
    shown = (
        ("extraction, per image", "image", 1.0, "core-seconds"),
        ("reading", "read", 1e9, "core-nanoseconds per value"),
        ("exact distances", "exact", 1e9, "core-nanoseconds per value"),
        ("sorting once, for thresholds", "rank", 1e9, "core-nanoseconds per value"),
        ("distances under each labelling", "compare", 1e9, "core-nanoseconds per value"),
        ("thresholds from distances", "settle", 1e9, "core-nanoseconds per distance"),
        ("ranges, for bins", "extent", 1e9, "core-nanoseconds per value"),
        ("counting into bins", "count", 1e9, "core-nanoseconds per value"),
        ("merging counts", "merge", 1e9, "core-nanoseconds per count"),
        ("distances from counts", "table", 1e9, "core-nanoseconds per count"),
        ("samples made ready for kernel values", "prepare", 1e9, "core-nanoseconds per value"),
        ("kernel values", "landmark", 1e12, "core-picoseconds per value and landmark"),
        ("products of kernel features", "product", 1e12, "core-picoseconds per pair of landmarks"),
        ("eigenproblems of 1,000 landmarks", "small", 1.0, "core-seconds"),
        ("size in the store", "stored", 1.0, "of the values' bytes"),
        ("disk, reading", "disk_read", 1e-9, "GB/s"),
        ("disk, writing", "disk_write", 1e-9, "GB/s"),
    )
    values = asdict(rates)
    rows = [(what, values[name] * scale, unit) for what, name, scale, unit in shown]
    return pd.DataFrame(rows, columns=["what", "measured", "unit"])


def in_units(stages: pd.DataFrame) -> pd.DataFrame:
    """Stages as of :func:`plan` in gigabytes and core-hours, other columns as they are."""
    table = stages.copy()
    for name in ("read", "written", "memory"):
        table[name] /= 1e9
    table["core_seconds"] /= 3600
    return table.rename(
        columns={
            "read": "read_gb",
            "written": "written_gb",
            "core_seconds": "core_hours",
            "memory": "memory_gb",
        }
    )


def facts(
    run: Run, rates: Rates, stages: pd.DataFrame, price: float
) -> dict[str, float | int | str]:
    """Plain numbers and names for the text: of one run, as of :func:`plan`."""
    size, by_stage = sizes(run, rates), stages.set_index("stage")
    extraction, exact, binned, thresholds, components = STAGES
    hours = by_stage["core_seconds"] / 3600
    disk = by_stage["read"] / rates.disk_read + by_stage["written"] / rates.disk_write
    found = {
        "n_features": run.n_features,
        "raw_gb": size["raw"] / 1e9,
        "stored_gb": size["stored"] / 1e9,
        "stored_share": rates.stored,
        "n_blocks": int(size["blocks"]),
        "n_chunks": int(size["chunks"]),
        "extraction_hours": hours[extraction],
        "extraction_share": hours[extraction] / hours.sum(),
        "exact_passes": by_stage["passes"][exact],
        "exact_hours": hours[exact],
        "binned_passes": by_stage["passes"][binned],
        "binned_hours": hours[binned],
        "thresholds_hours": hours[thresholds],
        "components_hours": hours[components],
        "widest_gb": by_stage["memory"].max() / 1e9,
        "widest": str(by_stage["memory"].idxmax()),
        "binned_gb": by_stage["memory"][binned] / 1e9,
        "total_hours": hours.sum(),
        "total_cost": hours.sum() * price,
        "slowest_disk_hours": disk.max() / 3600,
        "slowest_disk": str(disk.idxmax()),
    }
    return {name: x.item() if isinstance(x, np.generic) else x for name, x in found.items()}
