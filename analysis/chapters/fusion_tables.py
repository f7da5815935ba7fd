"""What the chapter on fused layers prints: tables beside the paper's, and sentences from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.transfer.published import published_fusion

__all__ = [
    "beside_paper",
    "compare_alignments",
    "paper_over_global",
    "points_over_global",
    "state_fusion",
    "state_pairs",
]

NO_PAIRS = "No two datasets of this study are domains of each other."
_PAPER = "dos Santos and Ponti (2019)"
_COLUMN = ["layer", "selection"]
_WEIGHTS = {"imagenet": "as learnt on ImageNet", "finetuned": "fine-tuned on the source"}


def points_over_global(table: pd.DataFrame, descriptor: str) -> pd.DataFrame:
    """Accuracy minus that of the global descriptor, both in the mean over numbers of components.

    Parameters
    ----------
    table : DataFrame
        As :func:`analysis.chapters.fusion.measure_fusion` gives it, of one network.
    descriptor : {"fusion", "local"}
        What is compared.

    Returns
    -------
    DataFrame
        ``pair``, ``layer``, ``selection`` and ``points``, aligned by transfer components. A number
        of components that one of the two lacks counts for neither.
    """
    aligned = table[table["alignment"] == "TCA"]
    keys = ["pair", "n_components"]
    whole = aligned[aligned["descriptor"] == "global"].set_index(keys)["accuracy"].rename("whole")
    rows = aligned[aligned["descriptor"] == descriptor].join(whole, on=keys)
    points = (100 * (rows["accuracy"] - rows["whole"])).rename("points")
    by = ["pair", *_COLUMN]
    return rows[by].assign(points=points).groupby(by, sort=False)["points"].mean().reset_index()


def paper_over_global() -> pd.DataFrame:
    """Lay out the paper's averages: fused minus global, in percentage points, by table and weights.

    Returns
    -------
    DataFrame
        ``of`` (the weights), ``pair``, ``global`` (accuracy), and a column for each block and
        selection.
    """
    averages = published_fusion().query("n_components == 'Avg.'")
    rows = []
    for (weights, source, target), part in averages.groupby(
        ["weights", "source", "target"], sort=False
    ):
        whole = float(part.loc[part["descriptor"] == "global", "accuracy"].iloc[0])
        row = {
            "of": _WEIGHTS[str(weights)],
            "pair": f"{source} → {target}",
            "global": f"{whole:.1f}",
        }
        for each in part[part["descriptor"] == "fusion"].to_dict("records"):
            row[f"block {each['block']} {each['selection']}"] = f"{each['accuracy'] - whole:+.1f}"
        rows.append(row)
    return pd.DataFrame(rows).sort_values("of", kind="stable", key=lambda of: of.map(_order))


def _order(of: str) -> int:
    return [*_WEIGHTS.values()].index(of)


def beside_paper(tables: Mapping[str, pd.DataFrame], pairs: Sequence[str]) -> pd.DataFrame:
    """Accuracies of pairs of domains in the layout of the paper's tables, beside its table II.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        What the network is called → :func:`analysis.chapters.fusion.measure_fusion`. From the
        second on, an accuracy above the one in the first gets a star, as in the paper.
    pairs : sequence of str
        As in the column ``pair``.

    Returns
    -------
    DataFrame
        Text, per cent: ``of`` (network and pair, then the paper), ``components`` (numbers, then
        their average), ``global``, and a column for each block, by its place, and selection.
    """
    parts = []
    for pair in pairs:
        before = None
        for name, table in tables.items():
            wide = _laid_out(table[table["pair"] == pair])
            stars = wide > (wide if before is None else before)
            before = wide if before is None else before
            parts.append(_written(wide, stars, f"{name}, {pair}"))
    return pd.concat([*parts, *_published("II")], ignore_index=True)


def _laid_out(table: pd.DataFrame) -> pd.DataFrame:
    """Percent by number of components and descriptor, with averages."""
    shown = table[(table["alignment"] == "TCA") & (table["descriptor"] != "local")]
    blocks = [*dict.fromkeys(shown.loc[shown["descriptor"] == "fusion", "layer"])]
    columns = [
        "global" if kind == "global" else _heading(blocks.index(layer) + 1, selection)
        for kind, layer, selection in shown[["descriptor", *_COLUMN]].itertuples(index=False)
    ]
    wide = shown.assign(column=columns, percent=100 * shown["accuracy"]).pivot(
        index="n_components", columns="column", values="percent"
    )
    wide = wide[[*dict.fromkeys(columns)]].sort_index(ascending=False)
    wide = wide.set_axis([str(size) for size in wide.index])
    wide.loc["Avg."] = wide.mean()
    return wide


def _heading(block: int, selection: str) -> str:
    return f"{block} {selection}"


def _published(number: str) -> Iterator[pd.DataFrame]:
    """One of the paper's tables, a part for each kind of weights."""
    table = published_fusion().query("table == @number")
    names = [
        "global" if not block else _heading(block, selection)
        for block, selection in table[["block", "selection"]].itertuples(index=False)
    ]
    for weights in _WEIGHTS:
        part = table.assign(column=names).query("weights == @weights")
        order = [*dict.fromkeys(part["column"])], [*dict.fromkeys(part["n_components"])]
        wide, stars = (
            part.pivot(index="n_components", columns="column", values=value).loc[order[1], order[0]]
            for value in ("accuracy", "starred")
        )
        source, target = part[["source", "target"]].iloc[0]
        yield _written(
            wide, stars, f"{_PAPER}, {_WEIGHTS[weights]}, {source} → {target}, 31 classes"
        )


def _written(wide: pd.DataFrame, stars: pd.DataFrame, of: str) -> pd.DataFrame:
    """Numbers with one decimal, stars, and dashes."""
    text = pd.DataFrame(
        {
            column: [
                "–" if np.isnan(value) else f"{value:.1f}" + ("*" if star else "")
                for value, star in zip(wide[column], stars[column], strict=True)
            ]
            for column in wide
        }
    )
    text.insert(0, "of", of)
    text.insert(1, "components", [*wide.index])
    return text


def compare_alignments(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy by alignment, in the mean over the pairs.

    Parameters
    ----------
    table : DataFrame
        As :func:`analysis.chapters.fusion.measure_fusion` gives it.

    Returns
    -------
    DataFrame
        ``features`` (kind, layer and selection) and, per cent as text, a column per alignment.
    """
    parts = table["descriptor"], table["layer"], table["selection"]
    names = pd.Series([" ".join(each).strip() for each in zip(*parts, strict=True)], table.index)
    means = (
        table.assign(features=names)
        .groupby(["features", "alignment", "pair"], sort=False)["accuracy"]
        .mean()
        .groupby(["features", "alignment"], sort=False)
        .mean()
    )
    wide = (100 * means).unstack("alignment")
    wide = wide.loc[[*dict.fromkeys(names)], [*dict.fromkeys(table["alignment"])]]
    return wide.map("{:.1f}".format).rename_axis(columns=None).reset_index()


def state_fusion(
    table: pd.DataFrame, even: pd.DataFrame, tuned: pd.DataFrame, choices: pd.DataFrame
) -> str:
    """Say what was found, as a list in Markdown.

    Parameters
    ----------
    table, even, tuned : DataFrame
        Of the network as it is, with both parts at one size, and with its last layers trained.
    choices : DataFrame
        Choices without labels, pairs stacked.
    """
    if table.empty:
        return NO_PAIRS
    fused, local = (points_over_global(table, kind) for kind in ("fusion", "local"))
    by_column = fused.groupby(_COLUMN, sort=False)["points"].mean()
    by_block = local.groupby("layer", sort=False)["points"].mean()
    best = by_column.index[int(by_column.to_numpy().argmax())]
    regrets = choices.groupby("rule")["regret"].mean()
    random = choices.drop_duplicates("pair")["mean_regret"].mean()
    trained = 100 * float(_of_global(tuned).mean() - _of_global(table).mean())
    lines = [
        f"**Fusion** exceeds the global layer in {int((fused['points'] > 0).sum())} of "
        f"{len(fused)} cases; the mean over all of them is {fused['points'].mean():+.1f} points, "
        f"that of the best column, {', '.join(best)}, {by_column.max():+.1f}. The mean of the "
        f"paper's four tables is {_paper_mean():+.1f}.",
        f"**With both parts at one size**, {_at_one_size(even)}.",
        "**Local alone**, points from the global layer, by block: "
        + ", ".join(f"{name} {value:+.1f}" for name, value in by_block.items())
        + ". The paper's first block is nearest to its global layer, and its third furthest.",
        f"**Alignment** moves accuracy by {_gain(table, 'none, unit length'):+.1f} points against "
        "the same features without alignment, each image at unit length.",
        f"**Training** the last layers on the source moves the global descriptor by "
        f"{trained:+.1f} points on the target.",
        f"**Without labels of the target**, the rule with the smallest loss is *{regrets.idxmin()}*"
        f", {100 * regrets.min():.1f} points below the best in hindsight; a choice at random is "
        f"{100 * random:.1f} below. The rule is named after testing.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _at_one_size(even: pd.DataFrame) -> str:
    fused = points_over_global(even, "fusion")
    by_column = fused.groupby(_COLUMN, sort=False)["points"].mean()
    best = by_column.index[int(by_column.to_numpy().argmax())]
    return (
        f"it does in {int((fused['points'] > 0).sum())} of {len(fused)}; the mean is "
        f"{fused['points'].mean():+.1f} points, that of the best column, {', '.join(best)}, "
        f"{by_column.max():+.1f}"
    )


def _paper_mean() -> float:
    averages = published_fusion().query("n_components == 'Avg.' and weights == 'imagenet'")
    whole = averages.query("descriptor == 'global'").set_index("table")["accuracy"]
    fused = averages.query("descriptor == 'fusion'")
    return float((fused["accuracy"] - fused["table"].map(whole)).mean())


def _of_global(table: pd.DataFrame) -> pd.Series[float]:
    of = (table["descriptor"] == "global") & (table["alignment"] == "TCA")
    return table[of].groupby("pair")["accuracy"].mean()


def _gain(table: pd.DataFrame, alignment: str) -> float:
    """Transfer components minus another alignment, global and fused, in the mean over pairs."""
    kept = table[table["descriptor"] != "local"]
    means = kept.groupby(["alignment", "pair"])["accuracy"].mean()
    return 100 * float((means["TCA"] - means[alignment]).mean())


def state_pairs(fused: pd.DataFrame, pairs: Sequence[str]) -> str:
    """Say of each pair how fusion did against the global layer, as a list in Markdown.

    Parameters
    ----------
    fused : DataFrame
        From :func:`points_over_global`.
    pairs : sequence of str
        Those to speak of.
    """
    lines = []
    for pair in pairs:
        part = fused[fused["pair"] == pair]
        best = part.iloc[int(part["points"].to_numpy().argmax())]
        lines.append(
            f"- {pair}: fused minus global {part['points'].mean():+.1f} points on average, better "
            f"in {int((part['points'] > 0).sum())} of {len(part)} cases; at best "
            f"{best['points']:+.1f} ({best['layer']}, {best['selection']})."
        )
    return "\n".join(lines) or NO_PAIRS
