"""Figures of the chapter on large runs: core-hours by stage and network, time by workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, NullFormatter

from analysis.figures.panels import legend_below, look_of, name_rows
from analysis.figures.style import WIDTH, literal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_APART = 0.13
"""Of a row: markers of networks that take the same stand one below the other."""


def plot_core_hours(plans: pd.DataFrame, price: float, *, ax: Axes | None = None) -> Axes:
    """Core-hours of every stage, a marker for each network, on a logarithmic axis.

    The title names the stage that takes most, and its share of all stages.

    Parameters
    ----------
    plans
        Columns ``network``, ``stage`` and ``core_hours``.
    price
        Of a core-hour; the axis above has the cost.
    ax
        Where to draw; a new figure without.
    """
    networks, stages = plans["network"].unique(), plans["stage"].unique()
    if ax is None:
        height = 1.5 + 0.45 * len(stages) + 0.25 * -(-len(networks) // 3)
        _, ax = plt.subplots(figsize=(WIDTH, height), layout="constrained")
    for number, network in enumerate(networks):
        own = plans[plans["network"] == network].set_index("stage")["core_hours"]
        ax.plot(
            own[list(stages)],
            [row + _APART * (number - (len(networks) - 1) / 2) for row in range(len(stages))],
            linestyle="",
            markersize=7,
            label=literal(network),
            **look_of(number),
        )
    ax.set_xscale("log")
    ax.xaxis.set_minor_formatter(NullFormatter())
    name_rows(ax, [_capital(stage) for stage in stages])
    ax.grid(axis="both")
    ax.set_title(_costliest(plans))
    ax.set_xlabel("Core-hours")
    ax.xaxis.set_major_formatter(FuncFormatter(_plain))
    ends: Any = (lambda hours: hours * price, lambda cost: cost / price)
    above = ax.secondary_xaxis("top", functions=ends)
    above.set_xlabel(f"Cost, at {price:g} per core-hour")
    above.xaxis.set_major_formatter(FuncFormatter(_plain))
    above.xaxis.set_minor_formatter(NullFormatter())
    legend_below(ax, loc="outside lower center")
    return ax


def plot_time_by_workers(times: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Hours by the clock of every stage against the number of workers, both logarithmic.

    The title says what the most workers gain.

    Parameters
    ----------
    times
        Columns ``stage``, ``workers`` (ascending) and ``hours``, by the clock.
    ax
        Where to draw; a new figure without.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(WIDTH, 4.3), layout="constrained")
    for number, (stage, own) in enumerate(times.groupby("stage", sort=False)):
        ax.plot(
            own["workers"],
            own["hours"],
            markersize=max(4.5, 9 - 1.2 * number),  # so that none hides another of the same height
            linewidth=max(1.0, 3.2 - 0.6 * number),
            label=_capital(str(stage)),
            **look_of(number),
        )
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(workers := sorted(times["workers"].unique()), [f"{n:,}" for n in workers])
    ax.set_title(_fastest(times))
    ax.set_xlabel("Workers of one core each")
    ax.set_ylabel("Hours by the clock")
    ax.yaxis.set_major_formatter(FuncFormatter(_plain))
    ax.grid(axis="both")
    legend_below(ax, loc="outside lower center")
    return ax


def _costliest(plans: pd.DataFrame) -> str:
    hours = plans.pivot(index="network", columns="stage", values="core_hours")
    stages = hours.idxmax(axis=1).unique()
    if len(stages) > 1:
        return "Which stage costs most depends on the network"
    shares = hours[stages[0]] / hours.sum(axis=1)
    least, most = (f"{share:.1%}" for share in (shares.min(), shares.max()))
    share = most if least == most else f"{least} to {most}"
    return f"{_capital(stages[0])} takes {share} of the core-hours"


def _fastest(times: pd.DataFrame) -> str:
    hours = times.groupby("workers")["hours"].sum()
    ends = sorted({hours.index.min(), hours.index.max()})
    return "All stages: " + ", ".join(
        f"{hours[n]:,.1f} hours on {n:,} worker{'' if n == 1 else 's'}" for n in ends
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _plain(value: float, position: int | None = None) -> str:
    return f"{value:,.6g}"
